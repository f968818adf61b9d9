"""LoRA whose B has a bias: no paper's, but Hugging Face peft's `lora_bias`.

    y = x Wᵀ + b + s ((z Aᵀ) Bᵀ + c)

    symbol  shape     trained  starts as
    c       (n_out,)  yes      zero; all else as in `lora.py`
"""

import torch
from torch import Tensor, nn

from .. import models
from ..errors import NotMergeable
from .lora import LoRALinear


class BiasedLoRALinear(LoRALinear):
    """A frozen linear layer with LoRA and c beside it."""

    def __init__(self, base, *args, **settings):
        super().__init__(base, *args, **settings)
        self.c = nn.Parameter(torch.zeros(base.out_features))         # (n_out,)

    def update(self, z: Tensor) -> Tensor:
        """Return u = s ((z Aᵀ) Bᵀ + c)."""
        return super().update(z) + self.scale * self.c                # (…, n_out)

    def merged(self) -> nn.Linear:
        """Return one plain linear layer with W + ΔW, whose bias is b + s c."""
        b = self.base.bias                                            # (n_out,)
        if b is None:
            raise NotMergeable("The base has no bias, so LoRA's own bias c has nowhere to go.",
                               expected="a base layer with a bias",
                               hint="keep the adapter on the model, or train with use_bias=False")
        W = models.weight_of(self.base)                               # (n_out, n_in)
        return models.linear_like(self.base, (W + self.delta()).to(W.dtype),
                                  (b + self.scale * self.c).to(b.dtype))
