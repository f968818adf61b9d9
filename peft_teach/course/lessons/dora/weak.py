"""A test of DoRA that lets broken layers pass, as the lesson shows it; and one of them."""

import torch

from . import mutants


def looks_right(make):
    """Raise unless the layer is right."""
    frozen, x = torch.nn.Linear(6, 4).requires_grad_(False), torch.randn(8, 6)
    layer = make(frozen, 2, 2.0)
    assert torch.allclose(layer(x), frozen(x), atol=1e-4), "the start"
    with torch.no_grad():
        layer.A.copy_(torch.randn(2, 6))
        layer.B.copy_(torch.randn(4, 2))
    rows = (layer(torch.eye(6)) - layer(torch.zeros(6))).T
    assert torch.allclose(rows.norm(dim=1), layer.m, atol=1e-4), "the lengths"
    layer(x).norm().backward()
    assert all(p.grad.any() for p in (layer.A, layer.B, layer.m)), "the gradients"


class BrokenDoRA(mutants.Leaky):
    """Lets the gradient flow through the norm."""
