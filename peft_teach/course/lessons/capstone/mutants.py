"""Adapters on which a test of the laws is tried: right ones of several methods, and broken ones.

Each is made by `version(base)` from a frozen `nn.Linear`; a name completes "one that".
"""

import torch
from torch import nn

from ....errors import NotMergeable
from ....methods import dora, ia3, lora
from ...checks.mutants import starting


class _LoRA(lora.LoRALinear):
    """What differs in a version is overwritten."""

    def __init__(self, base: nn.Linear):
        super().__init__(base, 2, 4.0)


class _Bottleneck(_LoRA):
    def update(self, x):
        return torch.tanh(x.to(self.A.dtype) @ self.A.T) @ self.B.T

    def merged(self):
        raise NotMergeable("It bends.")


class _BiasLost(_LoRA):
    def merged(self):
        made = super().merged()
        made.bias = None
        return made


class _Emptied(_LoRA):
    def merged(self):
        made = super().merged()
        self.B.data.zero_()
        return made


class _Unwritten(_LoRA):
    def merged(self):
        return self.rank * super().merged()


class _FoldedIn(_LoRA):
    folded = False

    def update(self, x):
        return 0 * x[..., :1] if self.folded else super().update(x)

    def merged(self):
        made = super().merged()
        self.base.weight.data.copy_(made.weight)
        self.folded = True
        return made


class _StuckA(_LoRA):
    def update(self, x):
        return 2 * x.to(self.A.dtype) @ (self.A.detach() + 0 * self.A).T @ self.B.T


class _OnlyTraining(_LoRA):
    def forward(self, x):
        return super().forward(x) if self.training else self.base(x)


RIGHT = {
    "is LoRA": _LoRA,
    "is DoRA": lambda base: dora.DoRALinear(base, 2, 4.0),
    "is a vector of gains": ia3.IA3Linear,
    "is a bottleneck, which cannot be merged": _Bottleneck,
}
BROKEN = {
    "merges without the bias": _BiasLost,
    "leaves the last parameter of the base trainable": starting(
        _LoRA, lambda layer: [*layer.base.parameters()][-1].requires_grad_()),
    "starts with both matrices random": starting(
        _LoRA, lambda layer: layer.B.data.normal_(std=0.1)),
    "fills its B with zeros when it is merged": _Emptied,
    "raises an AttributeError where it should merge": _Unwritten,
    "adds its update to the base's own weight when it is merged": _FoldedIn,
    "never moves A": _StuckA,
    "keeps A in a buffer": starting(
        _LoRA, lambda layer: layer.register_buffer("A", layer._parameters.pop("A").data)),
    "is silent in eval mode": _OnlyTraining,
}
