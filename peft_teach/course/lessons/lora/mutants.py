"""Layers of LoRA on which a test of their start is tried: right ones, and broken ones.

Each is made by `version(base, rank, alpha)` from a frozen `nn.Linear`; its name completes "one
that".
"""

import torch
from torch import Tensor, nn

from ....adapter import Adapter
from ...checks.mutants import starting


class _LoRA(Adapter):
    """A random, B zero; what differs in a version is overwritten."""

    def __init__(self, base: nn.Linear, rank: int = 8, alpha: float = 16.0):
        super().__init__(base)
        self.scale = alpha / rank
        self.A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.correction(x)

    def correction(self, x: Tensor) -> Tensor:
        return self.scale * (x @ self.A.T) @ self.B.T


class _AZero(_LoRA):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base, rank, alpha)
        nn.init.zeros_(self.A)
        nn.init.normal_(self.B, std=rank**-0.5)


class _ScaledFirst(_LoRA):
    def correction(self, x):
        return nn.functional.linear(nn.functional.linear(self.scale * x, self.A), self.B)


class _Off(_LoRA):
    def forward(self, x):    # two to four in the last place
        return (1 + 2**-22) * super().forward(x)


class StuckA(_LoRA):
    def correction(self, x):    # a gradient of zero, by which weight decay alone moves A
        return self.scale * (x @ (self.A.detach() + 0 * self.A).T) @ self.B.T


class _StuckB(_AZero):
    def correction(self, x):
        return self.scale * (x @ self.A.T) @ self.B.detach().T


class _Writes(_LoRA):
    def forward(self, x):
        self.base.weight.data += 1e-2 * self.B.data @ self.A.data
        return super().forward(x)


RIGHT = {
    "starts with A random and B zero": _LoRA,
    "starts with A zero and B random": _AZero,
    "draws A uniformly": starting(_LoRA, lambda layer: nn.init.kaiming_uniform_(
        layer.A, a=5**0.5)),
    "is scaled by alpha over the root of the rank": starting(
        _LoRA, lambda layer: setattr(layer, "scale", layer.scale * len(layer.A)**0.5)),
    "scales its input in place of its output": _ScaledFirst,
}
BROKEN = {
    "multiplies every output by 1.0000002": _Off,
    "gives A a gradient of zero": StuckA,
    "never moves B": _StuckB,
    "leaves the bias of the base trainable": starting(
        _LoRA, lambda layer: layer.base.bias.requires_grad_()),
    "writes into the weight of the base while it trains": _Writes,
    "starts with A and B both at zero": starting(
        _LoRA, lambda layer: nn.init.zeros_(layer.A)),
    "starts with A and B both random": starting(
        _LoRA, lambda layer: nn.init.normal_(layer.B)),
}
