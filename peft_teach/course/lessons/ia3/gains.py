"""The reference answers of lesson 06."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....core import Adapter


class Gains(Adapter):
    """A frozen linear layer whose output or input is scaled, feature by feature."""

    def __init__(self, base: nn.Linear, side: str):
        super().__init__(base)
        self.side = side
        n = base.out_features if side == "output" else base.in_features
        self.l = nn.Parameter(torch.ones(n, device=base.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        if self.side == "input":
            return self.base((self.l * x).to(x.dtype))
        y = self.base(x)                                              # (…, n_out)
        return (self.l * y).to(y.dtype)


@torch.no_grad()
def fold(layer: nn.Module) -> nn.Linear:
    """Return a plain linear layer that gives what a layer with base, side and l gives.

    The base may be such a layer itself.
    """
    linear = copy.deepcopy(layer.base) if isinstance(layer.base, nn.Linear) else fold(layer.base)
    if layer.side == "input":
        linear.weight.copy_(linear.weight * layer.l)                  # column by column
        return linear
    linear.weight.copy_(linear.weight * layer.l[:, None])             # row by row
    if linear.bias is not None:
        linear.bias.copy_(linear.bias * layer.l)
    return linear


def fold_holds(fold: Callable, make: Callable) -> None:
    """Object to a `fold` whose layer is not plain, differs, or is tied to what was folded."""
    for side in ("output", "input"):
        for bias, n_in in ((True, 6), (False, 6), (True, 4)):    # square, so that both axes fit
            base = nn.Linear(n_in, 6, bias=bias).requires_grad_(False)
            layer = make(base, side)
            with torch.no_grad():
                layer.l.copy_(torch.randn(len(layer.l)))
                layer.l[0] = 0
                x = torch.randn(4, n_in)
                before = layer(x)
                linear = fold(layer)
                assert type(linear) is nn.Linear
                assert torch.allclose(linear(x), before, atol=1e-5)
                by_itself = F.linear(x, linear.weight, linear.bias)      # no hook in it
                assert torch.allclose(by_itself, before, atol=1e-5)
                for p in linear.parameters():
                    p.fill_(0.5)
                assert torch.equal(layer(x), before)


def nearest_gains(W: Tensor, delta: Tensor) -> Tensor:
    """Return the gains (n_out,) for which diag(l − 1) W is nearest to ΔW, both (n_out, n_in)."""
    square = W.square().sum(1)                                        # (n_out,)
    return 1 + (W * delta).sum(1) / square.clamp(min=1e-30)
