"""The MLP through which a prefix may be trained: all keys and values come out of one network.

    [K ; V] = tanh(E W₁ᵀ + b₁) W₂ᵀ + b₂

    symbol  shape                      trained  starts as
    E       (length, d_model)          yes      normal numbers
    W₁      (size, d_model)            yes      as in torch's linear layers
    b₁      (size,)                    yes      as in torch's linear layers
    W₂      (layers · 2 · d_kv, size)  yes      as in torch's linear layers
    b₂      (layers · 2 · d_kv,)       yes      as in torch's linear layers
    K, V    (layers, length, d_kv)     –        what comes out: what a file keeps

Cost: many times the prefix itself (`prefix.count`), while it trains; afterwards the MLP is dropped.

Source: Li & Liang 2021, arXiv 2101.00190, §4.3: more stable than training K and V as they are.
One deviation from the paper, whose E is narrower (512 or 800, by task): here it is d_model wide, as
in the authors' code.
"""

import torch
from torch import Tensor, nn


class Projection(nn.Module):
    """E and the MLP: a call returns K and V, each (layers, length, d_kv)."""

    def __init__(self, length: int, d_model: int, size: int, layers: int, d_kv: int):
        super().__init__()
        self.layers = layers
        self.E = nn.Parameter(torch.randn(length, d_model))           # (length, d_model)
        first, second = nn.Linear(d_model, size), nn.Linear(size, layers * 2 * d_kv)
        self.W1, self.b1 = first.weight, first.bias                   # (size, d_model), (size,)
        self.W2, self.b2 = second.weight, second.bias                 # (layers · 2 · d_kv, size)

    def forward(self) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.E @ self.W1.T + self.b1)                  # (length, size)
        return by_layer(h @ self.W2.T + self.b2, self.layers)


def by_layer(made: Tensor, layers: int) -> tuple[Tensor, Tensor]:
    """Return (length, layers · 2 · d_kv) numbers as K and V, each (layers, length, d_kv)."""
    K, V = made.unflatten(1, (layers, 2, -1)).permute(2, 1, 0, 3)     # (layers, length, d_kv)
    return K, V
