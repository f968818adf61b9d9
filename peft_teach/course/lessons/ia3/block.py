"""One encoder block, small, with five places for a vector: into which weights does each fold?

    x ─ query, key, value ─ attention ─ attention_out ─ + x ─ norm ─ ffn_in ─ gelu ─ ffn_out ─ + ─
                 key value                            sum                before  after

A vector at one of the five places of `VECTORS`, or one of the six matrices with its rows or its
columns scaled by it: `apart` says how far the outputs of the two lie apart.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

WIDTH, HEADS, WIDE, TOKENS = 8, 2, 12, 5
MATRICES = {"query": (WIDTH, WIDTH), "key": (WIDTH, WIDTH), "value": (WIDTH, WIDTH),
            "attention_out": (WIDTH, WIDTH), "ffn_in": (WIDE, WIDTH), "ffn_out": (WIDTH, WIDE)}
FOLDS = tuple(f"{name} {side}" for name in MATRICES for side in ("rows", "columns"))
VECTORS = {"key": WIDTH, "value": WIDTH, "sum": WIDTH, "before": WIDE, "after": WIDE}

Weights = Mapping[str, tuple[Tensor, Tensor]]


def weights(generator: torch.Generator) -> Weights:
    """Return a matrix (n_out, n_in) and a bias (n_out,) for each of the six, float64."""
    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {name: (draw(n_out, n_in) / n_in**0.5, draw(n_out))
            for name, (n_out, n_in) in MATRICES.items()}


def block(x: Tensor, weights: Weights, gains: Mapping[str, Tensor] = {}) -> Tensor:
    """Return the block's output (tokens, width), with a vector at each place that has one."""
    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, *weights[name])

    def scaled(place: str, x: Tensor) -> Tensor:
        return x * gains[place] if place in gains else x

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, -1)).transpose(0, 1)      # (heads, tokens, width / heads)

    q, k, v = (heads(linear("query", x)), heads(scaled("key", linear("key", x))),
               heads(scaled("value", linear("value", x))))
    mixed = (q @ k.mT / (WIDTH // HEADS) ** 0.5).softmax(-1) @ v
    mixed = mixed.transpose(0, 1).flatten(1)                         # (tokens, width)
    x = F.layer_norm(scaled("sum", x + linear("attention_out", mixed)), (WIDTH,))
    h = scaled("after", F.gelu(scaled("before", linear("ffn_in", x))))    # (tokens, wide)
    return F.layer_norm(x + linear("ffn_out", h), (WIDTH,))


def folded(weights: Weights, fold: str, l: Tensor) -> Weights | None:
    """Return the weights with l in one matrix; None where it does not fit. Rows take their bias."""
    name, side = fold.split()
    W, b = weights[name]
    if len(l) != W.shape[0 if side == "rows" else 1]:
        return None
    return {**weights, name: (l[:, None] * W, l * b) if side == "rows" else (W * l, b)}


def apart(vector: str, fold: str, seed: int = 0) -> float | None:
    """Return the largest difference between a vector at its place and the same folded; None where
    it does not fit.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(TOKENS, WIDTH, generator=generator, dtype=torch.float64)
    drawn = weights(generator)
    l = 1 + 0.5 * torch.randn(VECTORS[vector], generator=generator, dtype=torch.float64)
    inside = folded(drawn, fold, l)
    if inside is None:
        return None
    return (block(x, drawn, {vector: l}) - block(x, inside)).abs().max().item()
