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

from torch import Tensor, nn


def mlp(d_model: int, size: int, layers: int, d_kv: int) -> nn.Sequential:
    """Return the network: from a vector to one token's keys and values in every layer."""
    return nn.Sequential(nn.Linear(d_model, size), nn.Tanh(), nn.Linear(size, layers * 2 * d_kv))


def by_layer(made: Tensor, layers: int) -> tuple[Tensor, Tensor]:
    """Return what it made, (length, layers · 2 · d_kv), as K and V, (layers, length, d_kv) each."""
    K, V = made.unflatten(1, (layers, 2, -1)).permute(2, 1, 0, 3)     # (layers, length, d_kv)
    return K, V
