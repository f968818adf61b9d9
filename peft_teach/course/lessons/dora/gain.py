"""Scaled LoRA: DoRA's functions, written without lengths.

    y = g ⊙ (x Vᵀ) + b          V = W + s B A

DoRA has m / ‖V‖ in place of g. Here g itself is trained, and starts at one.
"""

import torch
from torch import Tensor, nn

from ....methods.lora import LoRALinear


class GainLinear(LoRALinear):
    """LoRA with a trained factor behind each output; the bias stands outside, as in DoRA."""

    def __init__(self, base: nn.Linear, rank: int = 8, alpha: float = 16.0):
        super().__init__(base, rank, alpha)
        self.g = nn.Parameter(torch.ones(base.out_features, device=base.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        b = 0 if self.base.bias is None else self.base.bias
        return self.g * (super().forward(x) - b) + b                  # (…, n_out)

    def delta(self) -> Tensor:
        """Return ΔW = g ⊙ V − W, (n_out, n_in)."""
        W = self.base.weight
        return self.g[:, None] * (W + super().delta()) - W
