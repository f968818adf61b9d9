"""Layers of LoRA on which a test of their start is tried: right ones, and broken ones.

Each is made by `version(base, rank, alpha)` from a frozen `nn.Linear`; its name completes "one
that".
"""

from torch import nn

from ....methods.lora import LoRALinear
from ...checks.mutants import starting


class _AZero(LoRALinear):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base, rank, alpha)
        nn.init.zeros_(self.A)
        nn.init.normal_(self.B, std=rank**-0.5)


class _ScaledFirst(LoRALinear):
    def update(self, x):
        return nn.functional.linear(nn.functional.linear(self.scale * x, self.A), self.B)


class _Off(LoRALinear):
    def forward(self, x):    # two to four in the last place
        return (1 + 2**-22) * super().forward(x)


class StuckA(LoRALinear):
    def update(self, x):    # a gradient of zero, by which weight decay alone moves A
        return self.scale * (x @ (self.A.detach() + 0 * self.A).T) @ self.B.T


class _StuckB(_AZero):
    def update(self, x):
        return self.scale * (x @ self.A.T) @ self.B.detach().T


class _Writes(LoRALinear):
    def forward(self, x):
        self.base.weight.data += 1e-2 * self.B.data @ self.A.data
        return super().forward(x)


RIGHT = {
    "starts with A random and B zero": LoRALinear,
    "starts with A zero and B random": _AZero,
    "draws A from a normal distribution": starting(
        LoRALinear, lambda layer: nn.init.normal_(layer.A, std=0.1)),
    "is scaled by alpha over the root of the rank": starting(
        LoRALinear, lambda layer: setattr(layer, "scale", layer.scale * len(layer.A)**0.5)),
    "scales its input in place of its output": _ScaledFirst,
}
BROKEN = {
    "multiplies every output by 1.0000002": _Off,
    "gives A a gradient of zero": StuckA,
    "never moves B": _StuckB,
    "leaves the bias of the base trainable": starting(
        LoRALinear, lambda layer: layer.base.bias.requires_grad_()),
    "writes into the weight of the base while it trains": _Writes,
    "starts with A and B both at zero": starting(
        LoRALinear, lambda layer: nn.init.zeros_(layer.A)),
    "starts with A and B both random": starting(
        LoRALinear, lambda layer: nn.init.normal_(layer.B)),
}
