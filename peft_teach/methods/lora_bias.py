"""LoRA with a bias on B, as in Hugging Face peft: `lora.Config(use_bias=True)`.

    y = x Wᵀ + b + s ((x Aᵀ) Bᵀ + c)

    symbol  shape     trained  starts as
    c       (n_out,)  yes      zero, so that the first output is still the base's, exactly

Cost: n_out parameters per matrix besides LoRA's (`lora.count`).

Source: no paper's; it is peft's `lora_bias`.
"""

import torch
from torch import Tensor, nn

from .. import models
from ..errors import NotMergeable
from ..nf4 import Linear4bit
from .lora import LoRALinear


class BiasedLoRALinear(LoRALinear):
    """LoRA whose B has a bias, c; it is scaled by s, as B is."""

    def __init__(self, base: nn.Linear | Linear4bit, *args, **settings):
        super().__init__(base, *args, **settings)
        self.c = nn.Parameter(torch.zeros(base.out_features))         # (n_out,)

    def update(self, x: Tensor) -> Tensor:
        """Return u = s ((x Aᵀ) Bᵀ + c)."""
        return super().update(x) + self.scale * self.c                # (…, n_out)

    def merged(self) -> nn.Linear:
        """Return one plain linear layer with W + ΔW, whose bias is b + s c."""
        b = self.base.bias                                            # (n_out,)
        if b is None:
            raise NotMergeable("The base has no bias, so LoRA's own bias c has nowhere to go.",
                               expected="a base layer with a bias",
                               hint="keep the adapter on the model, or train with use_bias=False")
        return models.with_bias(super().merged(), (b + self.scale * self.c).to(b.dtype))
