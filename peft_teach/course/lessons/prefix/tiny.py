"""The smallest decoder that a prefix and its positions can be tried on, and readings of a text."""

from collections.abc import Callable

import torch
from torch import Tensor

Pairs = list[tuple[Tensor, Tensor]]    # a layer each: keys and values, (batch, heads, held, width)


class Decoder:
    """A frozen random decoder of rotary positions; every token and position makes a difference."""

    def __init__(self, seed: int = 0, layers: int = 2, heads: int = 2, width: int = 6,
                 vocabulary: int = 41):
        generator = torch.Generator().manual_seed(seed)
        self.heads, self.width, self.layers, d = heads, width, layers, heads * width
        self.table = torch.randn(vocabulary, d, generator=generator)
        self.weights = torch.randn(layers, 4, d, d, generator=generator) / d**0.5
        self.weights[:, :2] *= 1.6
        self.out = torch.randn(d, vocabulary, generator=generator)

    def __call__(self, ids: Tensor, positions: Tensor, pairs: Pairs | None,
                 reaches: Callable[[int, int], Tensor] | None = None) -> tuple[Tensor, Pairs]:
        """Read ids (batch, tokens) after what the pairs hold; logits, and the pairs grown.

        `positions` are (tokens,) or (batch, tokens). `reaches(held, tokens)` is the mask, (tokens,
        held + tokens): by default a token reads all that is held, and the piece up to itself.
        """
        x = self.table[ids]                                               # (batch, tokens, d)
        if positions.ndim == 1:
            positions = positions[None]
        grown = []
        for layer, (Q, K, V, O) in enumerate(self.weights):
            q, k, v = (self._heads(x @ W) for W in (Q, K, V))
            q, k = self._turned(q, positions), self._turned(k, positions)
            if pairs is not None:
                k, v = (torch.cat([old.expand(len(x), -1, -1, -1), new], 2)
                        for old, new in zip(pairs[layer], (k, v)))
            grown.append((k, v))
            tokens, held = x.shape[1], k.shape[2] - x.shape[1]
            mask = (reaches or reading)(held, tokens)
            scores = (q @ k.mT / self.width**0.5).masked_fill(~mask, -torch.inf)
            read = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
            x = x + torch.tanh(read @ O)
        return torch.nn.functional.layer_norm(x, x.shape[-1:]) @ self.out, grown

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, self.width)).transpose(1, 2)

    def _turned(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotate by the position (Su et al. 2021, arXiv 2104.09864)."""
        half = self.width // 2
        angle = positions[:, None, :, None].float() / 4.0**torch.arange(half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def reading(held: int, tokens: int) -> Tensor:
    """Return the mask of a piece of so many tokens, of which none reads a later one."""
    return torch.ones(tokens, held + tokens, dtype=torch.bool).tril(held)


def drawn_pairs(decoder: Decoder, length: int, seed: int, batch: int = 1) -> Pairs:
    """Return a random prefix of this length for a decoder."""
    generator = torch.Generator().manual_seed(500 + seed)
    shape = (batch, decoder.heads, length, decoder.width)
    return [tuple(torch.randn(shape, generator=generator) for _ in "kv")
            for _ in range(decoder.layers)]


def held_in(pairs: Pairs | None) -> int:
    """Return how many tokens the pairs hold, those of the prefix among them."""
    return 0 if pairs is None else pairs[0][0].shape[2]
