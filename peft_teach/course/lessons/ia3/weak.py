"""A test of a fold that lets broken ones pass, as the lesson shows it."""

import torch
from torch import nn


def looks_folded(fold, make):
    """Raise unless the fold is right."""
    for side in ("output", "input"):
        base = nn.Linear(6, 4, bias=False).requires_grad_(False)    # no bias, as in Llama
        layer, x = make(base, side), torch.randn(8, 6)
        layer.l.data.uniform_(0.5, 2)
        y, plain = layer(x), fold(layer)
        assert isinstance(plain, nn.Linear), "the kind"
        assert torch.allclose(plain(x), y, atol=1e-5), "the output"
        assert torch.allclose(layer(x), y, atol=1e-5), "the layer"
