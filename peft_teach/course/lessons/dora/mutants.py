"""Layers of DoRA on which a test of its law is tried: right ones, and broken ones.

Each is made by `version(base, rank, alpha)` from a frozen `nn.Linear`; its name completes "one
that".
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....adapter import Adapter
from ...checks.mutants import starting


class _DoRA(Adapter):
    """Builds W' at each call; what differs in a version is overwritten."""

    def __init__(self, base: nn.Linear, rank: int = 8, alpha: float = 16.0):
        super().__init__(base)
        self.scale = alpha / rank
        self.A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))
        self.m = nn.Parameter(self.norm(base.weight).clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.gain()[:, None] * self.V(), self.base.bias)

    def gain(self) -> Tensor:
        return self.m / self.norm(self.V())

    def V(self) -> Tensor:
        return self.base.weight + self.scale * self.B @ self.A

    def norm(self, V: Tensor) -> Tensor:
        return V.detach().norm(dim=1)


class _OnTheBasesOutput(_DoRA):
    def forward(self, x):
        y, g = self.base(x), self.m / (self.norm(self.V()) + 1e-7)
        Wx = y if self.base.bias is None else y - self.base.bias
        return y + (g - 1) * Wx + g * self.scale * ((x @ self.A.T) @ self.B.T)


class Leaky(_DoRA):
    def norm(self, V):
        return V.norm(dim=1)


class _Unscaled(_DoRA):
    def gain(self):
        return self.m / self.norm(self.base.weight + self.B @ self.A)


class _ScaledBias(_DoRA):
    def forward(self, x):
        return self.gain() * F.linear(x, self.V(), self.base.bias)


class _OldNorm(_DoRA):
    def gain(self):
        return self.m / self.norm(self.base.weight)


class _OneNorm(_DoRA):
    def norm(self, V):
        return V.detach().norm().expand(len(V))


class _StuckM(_DoRA):
    def gain(self):
        return self.m.detach() / self.norm(self.V())


class _StuckA(_DoRA):
    def V(self):
        return self.base.weight + self.scale * self.B @ self.A.detach()


class _StuckB(_DoRA):
    def V(self):
        return self.base.weight + self.scale * self.B.detach() @ self.A


RIGHT = {
    "starts with A random and B zero": _DoRA,
    "starts with A zero and B random": starting(_DoRA, lambda layer: (
        nn.init.zeros_(layer.A), nn.init.normal_(layer.B, std=len(layer.A)**-0.5))),
    "adds to the output of the base, and 1e-7 to the norm": _OnTheBasesOutput,
    "is scaled by alpha over the root of the rank": starting(
        _DoRA, lambda layer: setattr(layer, "scale", layer.scale * len(layer.A)**0.5)),
}
BROKEN = {
    "lets the gradient flow through the norm": Leaky,
    "takes the norm of W + B A, without the scale": _Unscaled,
    "starts with m rounded to half precision": starting(
        _DoRA, lambda layer: layer.m.data.copy_(layer.m.data.bfloat16())),
    "scales the bias along with the row": _ScaledBias,
    "leaves the bias of the base trainable": starting(    # or the weight, where there is none
        _DoRA, lambda layer: [*layer.base.parameters()][-1].requires_grad_()),
    "never moves m": _StuckM,
    "never moves A": _StuckA,
    "never moves B": _StuckB,
    "divides by the norm of W, not of V": _OldNorm,
    "divides every row by one norm, of the whole matrix": _OneNorm,
}
