"""What a test of "a token at a time equals all at once" is tried on: ways to read with a prefix.

Each is `read(ids, cache) -> (logits, cache)`, ids (batch, tokens). The cache is None before the
first piece of a text, and otherwise what the last call gave; the prefix is read before the text.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .tiny import Decoder, Pairs, drawn_pairs, held_in

LENGTH = 3
Read = Callable[[Tensor, object], tuple[Tensor, object]]


def reading(decoder: Decoder, pairs: Pairs, *, start: Callable[[int, int], int] | None = None,
            held: Callable[[Pairs | None, Pairs], Pairs] | None = None,
            kept: Callable[[Pairs], Pairs] = lambda pairs: pairs,
            reaches: Callable[[int, int], Tensor] | None = None) -> Read:
    """Return a `read` with one decision changed.

    `start(length, held)`: the position of a piece's first token; `held(cache, prefix)`: what the
    piece reads before itself; `kept(pairs)`: what of it the cache keeps; `reaches`: the mask.
    """
    length = held_in(pairs)

    def read(ids: Tensor, cache: Pairs | None) -> tuple[Tensor, Pairs]:
        before = held(cache, pairs) if held else pairs if cache is None else cache
        count = length if cache is None else held_in(cache)
        first = start(length, count) if start else count
        logits, grown = decoder(ids, torch.arange(first, first + ids.shape[1]), before, reaches)
        return logits, kept(grown)

    return read


def right(decoder: Decoder, pairs: Pairs) -> dict[str, Read]:
    """Return ways to read that hold."""
    plain = reading(decoder, pairs)

    def in_place(ids: Tensor, cache: list | None) -> tuple[Tensor, list]:
        cache = [None] if cache is None else cache
        logits, cache[0] = plain(ids, cache[0])
        return logits, cache

    def one_by_one(ids: Tensor, cache: Pairs | None) -> tuple[Tensor, Pairs]:
        rows = []
        for i in range(ids.shape[1]):
            logits, cache = plain(ids[:, i:i + 1], cache)
            rows.append(logits)
        return torch.cat(rows, 1), cache

    def from_the_start(ids: Tensor, cache: Tensor | None) -> tuple[Tensor, Tensor]:
        text = ids if cache is None else torch.cat([cache, ids], 1)
        return plain(text, None)[0][:, -ids.shape[1]:], text

    def far_away(ids: Tensor, cache: Pairs | None) -> tuple[Tensor, Pairs]:
        return reading(decoder, pairs, start=lambda length, held: held + 5)(ids, cache)

    return {"reads it as it should be": plain,
            "writes into the cache that it is given": in_place,
            "reads a piece token by token": one_by_one,
            "keeps the text alone and reads all of it anew": from_the_start,
            "leaves a gap behind the prefix, always the same": far_away}


def broken(decoder: Decoder, pairs: Pairs) -> dict[str, Read]:
    """Return ways to read that break the law, each by one slip."""
    plain, length = reading(decoder, pairs), held_in(pairs)

    def with_prefix_again(cache: Pairs | None, prefix: Pairs) -> Pairs:
        if cache is None:
            return prefix
        return [tuple(torch.cat([p.expand(len(c), -1, -1, -1), c], 2) for p, c in zip(*each))
                for each in zip(prefix, cache)]

    def without_prefix(cache: Pairs | None, prefix: Pairs) -> Pairs:
        return prefix if cache is None else [tuple(x[:, :, length:] for x in pair)
                                             for pair in cache]

    def last_seven(grown: Pairs) -> Pairs:
        cut = max(0, held_in(grown) - length - 7)
        return [tuple(torch.cat([x[:, :, :length], x[:, :, length + cut:]], 2) for x in pair)
                for pair in grown]

    def top_left(held: int, tokens: int) -> Tensor:
        both = torch.ones(tokens, held + tokens, dtype=torch.bool)
        return both if tokens == 1 or held == length else both.tril(held - 1).logical_or(
            both.tril(0))

    def open_pieces(held: int, tokens: int) -> Tensor:
        both = torch.ones(tokens, held + tokens, dtype=torch.bool)
        return both.tril(held) if held == length else both

    first: list[Pairs] = []

    def remembers(ids: Tensor, cache: Pairs | None) -> tuple[Tensor, Pairs]:
        logits, grown = plain(ids, first[0] if cache is None and first else cache)
        first[:] = [grown]
        return logits, grown

    def counted_anew(ids: Tensor, cache: Pairs | None) -> tuple[Tensor, Pairs]:
        return reading(decoder, pairs, start=lambda length, held: (
            held if cache is None else held - length))(ids, cache)

    def stands_still(ids: Tensor, cache: Pairs | None) -> tuple[Tensor, Pairs]:
        return reading(decoder, pairs, start=lambda length, held: (
            held if cache is None else length + 1))(ids, cache)

    def weaker(ids: Tensor, cache: Pairs | None) -> tuple[Tensor, Pairs]:
        logits, grown = plain(ids, cache)
        return torch.cat([logits[:, :-1] / 2, logits[:, -1:]], 1), grown

    def last_alone(ids: Tensor, cache: Pairs | None) -> tuple[Tensor, Pairs]:
        logits, grown = plain(ids, cache)
        kept = logits.clone()
        kept[:, :-1] *= cache is None
        return kept, grown

    def two_words_exchanged(ids: Tensor, cache: Pairs | None) -> tuple[Tensor, Pairs]:
        logits, grown = plain(ids, cache)
        order = torch.arange(logits.shape[-1])
        order[[17, 23]] = order[[23, 17]]
        return logits if cache is None else logits[..., order], grown

    return {
        "counts later words as if there were no prefix": counted_anew,
        "puts the prefix in again with each piece": reading(decoder, pairs, held=with_prefix_again),
        "forgets the prefix after the first piece": reading(decoder, pairs, held=without_prefix),
        "gives all words after the second one position": stands_still,
        "drops what lies more than seven words back": reading(decoder, pairs, kept=last_seven),
        "lets the words of a later piece read each other": reading(decoder, pairs,
                                                                   reaches=open_pieces),
        "hides the last word before a later piece of two": reading(decoder, pairs,
                                                                   reaches=top_left),
        "goes on from the text before": remembers,
        "halves the logits of all but a piece's last token": weaker,
        "leaves zeros for all but the last token of a later piece": last_alone,
        "gives two words each other's logits in later pieces": two_words_exchanged,
    }


def on_trial(seed: int) -> tuple[dict[str, Read], dict[str, Read]]:
    """Return the right and the broken ways, made anew, for a decoder and prefix of this seed."""
    decoder = Decoder(seed)
    pairs = drawn_pairs(decoder, LENGTH, seed)
    return right(decoder, pairs), broken(decoder, pairs)


def text(seed: int) -> Tensor:
    """Return the ids that a test is given, (1, 9)."""
    return torch.randint(41, (1, 9), generator=torch.Generator().manual_seed(900 + seed))


def read_with(prefixed: Callable, seed: int = 0) -> Read:
    """Return a `read` made with a reader's own `prefixed`: what `audit` puts the test to."""
    decoder = Decoder(seed)
    generator = torch.Generator().manual_seed(500 + seed)
    K, V = torch.randn(2, decoder.layers, LENGTH, decoder.heads * decoder.width,
                       generator=generator)

    def read(ids: Tensor, cache: tuple | None) -> tuple[Tensor, tuple]:
        seen, held = cache or (0, None)
        mask = torch.ones(len(ids), seen + ids.shape[1], dtype=torch.long)
        pairs, _, positions = prefixed(K, V, mask, decoder.heads)
        before = [tuple(pair) for pair in pairs] if held is None else held
        logits, grown = decoder(ids, positions[:, seen:], before)
        return logits, (seen + ids.shape[1], grown)

    return read
