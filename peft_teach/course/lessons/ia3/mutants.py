"""Ways to fold a scaled layer on which a test of the fold is tried: right ones, and broken ones.

Each is called as `fold(layer)` with a layer that has base, side and l; its name completes "one
that".
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ....adapter import Adapter


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

def version(rows: Callable[[Tensor], Tensor] = lambda l: l,
            columns: Callable[[Tensor], Tensor] = lambda l: l,
            bias: Callable[[Tensor], Tensor] = lambda l: l,
            other_bias: Callable[[Tensor], Tensor] = torch.ones_like) -> Callable:
    """Return a fold; each argument gives, from l, what a part of the layer is multiplied by."""
    @torch.no_grad()
    def folded(layer: nn.Module) -> nn.Linear:
        linear, l = copy.deepcopy(layer.base), layer.l
        output = layer.side == "output"
        linear.weight.mul_(rows(l)[:, None] if output else columns(l))
        if linear.bias is not None and (output or len(l) == len(linear.bias)):
            linear.bias.mul_(bias(l) if output else other_bias(l))
        return linear

    return folded


@torch.no_grad()
def _in_float64(layer: nn.Module) -> nn.Linear:
    linear = copy.deepcopy(layer.base)
    l = layer.l.double()
    linear.weight.copy_(torch.diag(l) @ linear.weight.double() if layer.side == "output"
                        else linear.weight.double() @ torch.diag(l))
    if linear.bias is not None and layer.side == "output":
        linear.bias.copy_(l * linear.bias.double())
    return linear


@torch.no_grad()
def _probed(layer: nn.Module) -> nn.Linear:
    """Return the layer that is read off from what the old one gives for unit vectors."""
    base = layer.base
    linear = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None)
    at_zero = layer(torch.zeros(1, base.in_features))
    linear.weight.copy_((layer(torch.eye(base.in_features)) - at_zero).T)
    if linear.bias is not None:
        linear.bias.copy_(at_zero[0])
    return linear


@torch.no_grad()
def _added(layer: nn.Module) -> nn.Linear:
    """Return W + ΔW, as the library does it."""
    linear = copy.deepcopy(layer.base)
    by = layer.l[:, None] if layer.side == "output" else layer.l
    linear.weight.add_((by - 1) * layer.base.weight)
    if linear.bias is not None and layer.side == "output":
        linear.bias.copy_(layer.l * layer.base.bias)
    return linear.requires_grad_(True)


@torch.no_grad()
def _other_axis(layer: nn.Module) -> nn.Linear:
    linear = copy.deepcopy(layer.base)
    if linear.in_features == linear.out_features:
        linear.weight.mul_(layer.l if layer.side == "output" else layer.l[:, None])
    else:
        linear.weight.mul_(layer.l[:, None] if layer.side == "output" else layer.l)
    if linear.bias is not None and layer.side == "output":
        linear.bias.mul_(layer.l)
    return linear


def _after(change: Callable[[nn.Linear, nn.Module], object]) -> Callable:
    """Return a right fold that then does something to the new layer or the old one."""
    @torch.no_grad()
    def folded(layer: nn.Module) -> nn.Linear:
        linear = fold(layer)
        change(linear, layer)
        return linear

    return folded


def _rebuilt(make: Callable[[nn.Linear], nn.Linear]) -> Callable:
    """Return a right fold whose result is copied into a layer that `make` makes."""
    @torch.no_grad()
    def folded(layer: nn.Module) -> nn.Linear:
        right = fold(layer)
        linear = make(right)
        linear.weight.copy_(right.weight)
        if right.bias is not None:
            linear.bias.copy_(right.bias)
        return linear

    return folded


def _copied(source: nn.Module, target: nn.Module) -> None:
    for one, other in zip(source.parameters(), target.parameters()):
        other.copy_(one)


def _to_half(linear: nn.Linear) -> None:
    for p in linear.parameters():
        p.copy_(p.bfloat16().float())


def _share_the_bias(linear: nn.Linear, layer: nn.Module) -> None:
    if layer.side == "input" and linear.bias is not None:
        linear.bias = layer.base.bias


def _zero_for_one(l: Tensor) -> Tensor:
    return torch.where(l == 0, torch.ones_like(l), l)


@torch.no_grad()
def _by_a_hook(layer: nn.Module) -> nn.Linear:
    """Return the base's weight, and multiply when it is called: a file of it has no vector."""
    linear = copy.deepcopy(layer.base)
    l = layer.l.detach().clone()
    if layer.side == "output":
        linear.register_forward_hook(lambda module, inputs, y: l * y)
    else:
        linear.register_forward_pre_hook(lambda module, inputs: (l * inputs[0],))
    return linear


RIGHT = {
    "scales a copy of the weight": version(),
    "adds (l − 1) ⊙ W, and lets the new layer train": _added,
    "multiplies by a diagonal matrix in float64": _in_float64,
    "reads the new layer off from outputs": _probed,
}
BROKEN = {
    "leaves the bias as it was where the output is scaled": version(bias=torch.ones_like),
    "scales the bias where the input is scaled, too": version(other_bias=lambda l: l),
    "takes |l| for l": version(torch.abs, torch.abs, torch.abs),
    "folds the wrong axis of a square weight": _other_axis,
    "folds an output's vector, and leaves an input's out": version(columns=torch.ones_like),
    "folds an input's vector, and leaves an output's out": version(torch.ones_like,
                                                                  bias=torch.ones_like),
    "writes the vector into the layer's own base, too": _after(
        lambda linear, layer: _copied(linear, layer.base)),
    "hands the layer back as it is": lambda layer: layer,
    "loses the bias": _after(lambda linear, layer: setattr(linear, "bias", None)),
    "divides by l": version(torch.reciprocal, torch.reciprocal, torch.reciprocal),
    "fails on a base without a bias": _after(lambda linear, layer: linear.bias.mul_(1)),
    "invents a bias where the base has none": _rebuilt(
        lambda right: nn.Linear(right.in_features, right.out_features)),
    "fails on a base that is not square": _rebuilt(
        lambda right: nn.Linear(right.in_features, right.in_features, right.bias is not None)),
    "is off by two percent": version(*[lambda l: 1.02 * l] * 3),
    "rounds the weight to bfloat16": _after(lambda linear, layer: _to_half(linear)),
    "sets the layer's own factors to one": _after(lambda linear, layer: layer.l.fill_(1)),
    "hands back a copy of the layer": copy.deepcopy,
    "takes a factor of zero for one": version(*[_zero_for_one] * 3),
    "multiplies by a hook, and leaves the weight as it was": _by_a_hook,
    "shares the base's bias where the input is scaled": _after(_share_the_bias),
}
