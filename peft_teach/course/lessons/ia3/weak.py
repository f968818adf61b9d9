"""A test of a fold that lets broken ones pass, as the lesson shows it."""

import torch
from torch import nn


def looks_folded(fold, make):
    """Raise unless the fold is right."""
    for side in ("output", "input"):
        base = nn.Linear(6, 4, bias=False).requires_grad_(False)    # no bias, as in Llama
        layer, x = make(base, side), torch.randn(8, 6)
        layer.l.data.uniform_(0.5, 2)
        before = layer(x)
        linear = fold(layer)
        assert type(linear) is nn.Linear, "the kind"
        assert torch.allclose(linear(x), before, atol=1e-5), "the output"
        assert torch.allclose(layer(x), before, atol=1e-5), "the layer"
