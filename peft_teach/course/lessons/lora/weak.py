"""A test of LoRA's start that lets broken layers pass, as the lesson shows it; and one of them."""

import torch

from . import mutants


def looks_right(make):
    """Raise unless the layer starts right."""
    base, x = torch.nn.Linear(6, 4).requires_grad_(False), torch.randn(8, 6)
    layer = make(base, 2, 4.0)
    assert torch.allclose(layer(x), base(x)), "the start"
    before = layer.A.clone(), layer.B.clone()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        optimizer.step()
    assert not any(map(torch.equal, (layer.A, layer.B), before)), "the steps"


class BrokenLoRA(mutants.StuckA):
    """Gives A a gradient of zero, so that weight decay alone moves it."""
