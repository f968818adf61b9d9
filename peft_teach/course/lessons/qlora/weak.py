"""A test of a four-bit layer that lets broken ones pass, as the lesson shows; and one of them."""

import torch

from . import mutants


def looks_small(make):
    """Raise unless the layer holds four bits a weight, and 32 for each group."""
    layer, x = make(torch.nn.Linear(64, 6, bias=False)), torch.randn(3, 64)
    held = sum(t.nbytes for t in layer.state_dict().values())
    assert held == 6 * 64 // 2 + 4 * 6, "the bytes"
    assert torch.allclose(layer(x), x @ layer.weight.T, atol=1e-5), "the output"
    assert all(not p.requires_grad for p in layer.parameters()), "what trains"


class Broken4bit(mutants.Detached):
    """Passes no gradient to its input."""
