"""What a test of "a token at a time equals all at once" is tried on: ways to read with a prefix.

Each is `read(ids, cache) -> (logits, cache)`, ids (batch, tokens). The cache is None before the
first piece of a text, and otherwise what the last call gave; the prefix is read before the text.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...checks.stand_ins import Pairs, TinyDecoder, drawn_pairs, held_in

LENGTH = 3
DECODER = TinyDecoder()
PREFIX = drawn_pairs(DECODER, LENGTH, 0)
Read = Callable[[Tensor, object], tuple[Tensor, object]]


def reading(ids: Tensor, cache: Pairs | None, *,
            start: Callable[[int], int] = lambda held: held,
            before: Callable[[Pairs], Pairs] = lambda cache: cache,
            kept: Callable[[Pairs], Pairs] = lambda pairs: pairs,
            said: Callable[[Tensor, bool], Tensor] = lambda logits, later: logits,
            reaches: Callable[[int, int], Tensor] | None = None) -> tuple[Tensor, Pairs]:
    """Read as it should be, except for one decision.

    `start(held)`: the position of a piece's first token; `before(cache)`: what a later piece reads
    before itself; `kept(pairs)`: what of it the cache keeps; `said(logits, later)`: its logits, of
    a later piece or the first; `reaches`: the mask.
    """
    first = start(held_in(PREFIX if cache is None else cache))
    logits, grown = DECODER(ids, torch.arange(first, first + ids.shape[1]),
                            PREFIX if cache is None else before(cache), reaches)
    return said(logits, cache is not None), kept(grown)


# ── right ones ───────────────────────────────────────────────────────────────────────────────


def in_place(ids: Tensor, cache: list | None) -> tuple[Tensor, list]:
    cache = [None] if cache is None else cache
    logits, cache[0] = reading(ids, cache[0])
    return logits, cache


def one_by_one(ids: Tensor, cache: Pairs | None) -> tuple[Tensor, Pairs]:
    rows = []
    for piece in ids.split(1, 1):
        logits, cache = reading(piece, cache)
        rows.append(logits)
    return torch.cat(rows, 1), cache


def from_the_start(ids: Tensor, cache: Tensor | None) -> tuple[Tensor, Tensor]:
    text = ids if cache is None else torch.cat([cache, ids], 1)
    return reading(text, None)[0][:, -ids.shape[1]:], text


RIGHT = {
    "reads it as it should be": reading,
    "writes into the cache that it is given": in_place,
    "reads a piece token by token": one_by_one,
    "keeps the text alone and reads all of it anew": from_the_start,
    "leaves a gap behind the prefix, always the same": partial(
        reading, start=lambda held: held + 5),
}

# ── broken ones ──────────────────────────────────────────────────────────────────────────────


def with_prefix_again(cache: Pairs) -> Pairs:
    return [tuple(torch.cat(both, 2) for both in zip(*each)) for each in zip(PREFIX, cache)]


def without_prefix(cache: Pairs) -> Pairs:
    return [tuple(x[:, :, LENGTH:] for x in pair) for pair in cache]


def last_seven(pairs: Pairs) -> Pairs:
    cut = max(LENGTH, held_in(pairs) - 7)
    return [tuple(torch.cat([x[:, :, :LENGTH], x[:, :, cut:]], 2) for x in pair) for pair in pairs]


def open_pieces(held: int, tokens: int) -> Tensor:
    both = torch.ones(tokens, held + tokens, dtype=torch.bool)
    return both.tril(held) if held == LENGTH else both


def top_left(held: int, tokens: int) -> Tensor:
    both = torch.ones(tokens, held + tokens, dtype=torch.bool)
    return both if tokens == 1 or held == LENGTH else both.tril(held - 1).logical_or(both.tril(0))


last_read: list[Pairs] = []    # by `remembers`, of the text before


def remembers(ids: Tensor, cache: Pairs | None) -> tuple[Tensor, Pairs]:
    logits, grown = reading(ids, last_read[0] if cache is None and last_read else cache)
    last_read[:] = [grown]
    return logits, grown


def weaker(logits: Tensor, later: bool) -> Tensor:
    return torch.cat([logits[:, :-1] / 2, logits[:, -1:]], 1)


def last_alone(logits: Tensor, later: bool) -> Tensor:
    return torch.cat([logits[:, :-1] * (not later), logits[:, -1:]], 1)


def two_exchanged(logits: Tensor, later: bool) -> Tensor:
    order = torch.arange(logits.shape[-1])
    order[[17, 23]] = order[[23, 17]]
    return logits[..., order] if later else logits


BROKEN = {
    "counts later words as if there were no prefix": partial(
        reading, start=lambda held: held if held == LENGTH else held - LENGTH),
    "puts the prefix in again with each piece": partial(reading, before=with_prefix_again),
    "forgets the prefix after the first piece": partial(reading, before=without_prefix),
    "gives all words after the second one position": partial(
        reading, start=lambda held: min(held, LENGTH + 1)),
    "drops what lies more than seven words back": partial(reading, kept=last_seven),
    "lets the words of a later piece read each other": partial(reading, reaches=open_pieces),
    "hides the last word before a later piece of two": partial(reading, reaches=top_left),
    "goes on from the text before": remembers,
    "halves the logits of all but a piece's last token": partial(reading, said=weaker),
    "leaves zeros for all but the last token of a later piece": partial(reading, said=last_alone),
    "gives two words each other's logits in later pieces": partial(reading, said=two_exchanged),
}


def put(test: Callable, version: Read) -> Any:
    """Put a test to a way to read."""
    last_read.clear()
    return test(lambda ids, cache=None: version(ids, cache), text())


def text() -> Tensor:
    """Return the ids that a test is given, (1, 9)."""
    return torch.randint(41, (1, 9), generator=torch.Generator().manual_seed(900))


def read_with(prefixed: Callable) -> Read:
    """Return a `read` made with a reader's own `prefixed`: what `audit` puts the test to."""
    K, V = torch.randn(2, DECODER.layers, LENGTH, DECODER.heads * DECODER.width,
                       generator=torch.Generator().manual_seed(500))

    def read(ids: Tensor, cache: tuple | None) -> tuple[Tensor, tuple]:
        seen, held = cache or (0, None)
        mask = torch.ones(len(ids), seen + ids.shape[1], dtype=torch.long)
        pairs, _, positions = prefixed(K, V, mask, DECODER.heads)
        prefix = [tuple(pair) for pair in pairs] if held is None else held
        logits, grown = DECODER(ids, positions[:, seen:], prefix)
        return logits, (seen + ids.shape[1], grown)

    return read
