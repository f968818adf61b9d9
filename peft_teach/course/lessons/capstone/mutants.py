"""Adapters on which a test of the laws is tried: right ones of several methods, and broken ones.

Each is made by `version(base)` from a frozen `nn.Linear`; a name completes "one that".
"""

import torch
from torch import Tensor, nn

from ....adapter import Adapter
from ....errors import NotMergeable
from ....methods import dora, ia3
from ...checks.mutants import starting


class _LoRA(Adapter):
    """What differs in a version is overwritten."""

    def __init__(self, base: nn.Linear):
        super().__init__(base)
        dtype = base.weight.dtype
        self.A = nn.Parameter(torch.randn(2, base.in_features, dtype=dtype))
        self.B = nn.Parameter(torch.zeros(base.out_features, 2, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.update(x)

    def update(self, x: Tensor) -> Tensor:
        return 2 * x @ self.A.T @ self.B.T

    def merged(self) -> nn.Module:
        return self.plain(self.base.weight + 2 * self.B @ self.A, self.base.bias)

    def plain(self, weight: Tensor, bias: Tensor | None) -> nn.Linear:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        layer.weight.data = weight.detach().clone()
        if bias is not None:
            layer.bias.data = bias.detach().clone()
        return layer


class _Bottleneck(_LoRA):
    def update(self, x):
        return torch.tanh(x @ self.A.T) @ self.B.T

    def merged(self):
        raise NotMergeable("It bends.")


class _BiasLost(_LoRA):
    def merged(self):
        return self.plain(self.base.weight + 2 * self.B @ self.A, None)


class _Emptied(_LoRA):
    def merged(self):
        made = super().merged()
        self.B.data.zero_()
        return made


class _Unwritten(_LoRA):
    def merged(self):
        return self.plain(self.base.weight + self.scale * self.B @ self.A, self.base.bias)


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
        return 2 * x @ (self.A.detach() + 0 * self.A).T @ self.B.T


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
