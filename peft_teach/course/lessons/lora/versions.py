"""Layers of LoRA on which a test of their start is tried: right ones, and broken ones.

Each is made by `version(base, rank, alpha)` from a frozen `nn.Linear`; what stands before it goes
on from "one that".
"""

import torch
from torch import Tensor, nn

from ....core import Adapter


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


class _Uniform(_LoRA):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base, rank, alpha)
        nn.init.kaiming_uniform_(self.A, a=5**0.5)


class _ByTheRoot(_LoRA):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base, rank, alpha)
        self.scale = alpha / rank**0.5


class _ScaledFirst(_LoRA):
    def correction(self, x):
        return nn.functional.linear(nn.functional.linear(self.scale * x, self.A), self.B)


class _NearlyZero(_LoRA):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base, rank, alpha)
        nn.init.normal_(self.B, std=1e-6)


class _StuckA(_LoRA):
    def correction(self, x):
        return self.scale * (x @ self.A.detach().T) @ self.B.T


class _StuckB(_AZero):
    def correction(self, x):
        return self.scale * (x @ self.A.T) @ self.B.detach().T


class _Writes(_LoRA):
    def forward(self, x):
        self.base.weight.data += 1e-2 * self.B.data @ self.A.data
        return super().forward(x)


class _ThawedBias(_LoRA):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base, rank, alpha)
        base.bias.requires_grad_()


class _BothZero(_LoRA):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base, rank, alpha)
        nn.init.zeros_(self.A)


class _BothRandom(_LoRA):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base, rank, alpha)
        nn.init.normal_(self.B)


class _WithoutBias(_LoRA):
    def forward(self, x):
        return nn.functional.linear(x, self.base.weight) + self.correction(x)


class _Dead(_BothRandom):
    def correction(self, x):
        return self.scale * (x @ (0 * self.A).T) @ (0 * self.B).T


DEAD = "has A and B random and multiplies both by zero, so that neither gets a gradient"
RIGHT = {
    "starts with A random and B zero": _LoRA,
    "starts with A zero and B random": _AZero,
    "draws A uniformly": _Uniform,
    "is scaled by alpha over the root of the rank": _ByTheRoot,
    "scales its input in place of its output": _ScaledFirst,
}
BROKEN = {
    "starts with A random and every entry of B near a millionth": _NearlyZero,
    "never moves A": _StuckA,
    "never moves B": _StuckB,
    "leaves the bias of the base trainable": _ThawedBias,
    "writes into the weight of the base while it trains": _Writes,
    "starts with A and B both at zero": _BothZero,
    DEAD: _Dead,
    "loses the bias of the base": _WithoutBias,
    "starts with A and B both random": _BothRandom,
}
