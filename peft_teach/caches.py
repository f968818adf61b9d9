"""A cache with vectors before the text: filled with them, known by them, counting tokens alone."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .errors import NotSupported
from .padding import behind_padding

CACHES = ("past_key_values", "cache")    # what transformers' versions call the cache


class Front(NamedTuple):
    """What a cache was filled with before the text: how many vectors, and their values, flat.

    A cache keeps the values of a prompt or prefix, because its keys alone do not tell whose it is:
    a layer with a sliding window has dropped the first of them.
    """

    length: int = 0
    values: Tensor | None = None

    def is_same(self, other: "Front") -> bool:
        """Return whether there are as many vectors, with the same values."""
        if self.length != other.length or self.values is None or other.values is None:
            return self.length == other.length
        return self.values.shape == other.values.shape and torch.allclose(
            self.values.to(other.values), other.values, rtol=0, atol=0, equal_nan=True)


def new_cache() -> Any:
    """Return an empty cache, which a backbone reads and appends to."""
    from transformers import DynamicCache

    return DynamicCache()


@contextmanager
def in_front(cache, K: Tensor, V: Tensor, batch: int, seq: int, padding: Tensor | None
             ) -> Iterator[None]:
    """Within this block a backbone that reads a text into an empty cache finds K and V before it.

    They are (layers, 1, heads, length, d_head). The cache is filled with them before the backbone
    makes its masks. Behind `padding` not all of them fit there: the others come with the text's own
    keys and values, instead of those of the padding.
    """
    def both(x: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        x = behind_padding(x.to(text), text, padding, dim=2)    # (batch, heads, length + seq, d)
        return x[:, :, :length], x[:, :, length:]

    def update(keys: Tensor, values: Tensor, layer: int, *rest, **more):    # transformers 5.24 on
        pair = (both(x[layer], text)[1] for x, text in ((K, keys), (V, values)))
        return type(cache).update(cache, *pair, layer, *rest, **more)

    length = K.shape[3]
    text = torch.zeros_like(K[0, :, :, :1]).expand(batch, -1, seq, -1)    # not known yet
    for layer, pair in enumerate(zip(K, V)):
        cache.update(*(both(x, text)[0] for x in pair), layer)
    if padding is not None:
        cache.update = update
    try:
        yield
    finally:
        vars(cache).pop("update", None)


def find_cache(arguments: dict, front: Front) -> tuple[Any, bool]:
    """Find the cache among a backbone's keyword arguments, by either name.

    Returns `(cache, filled)`: the object that the model appends to or None, and whether the
    vectors before the text are in it already. Raises `NotSupported` for a static cache, and for
    one that was filled with other vectors before the text, or with none.
    """
    found = (arguments.get(name) for name in CACHES)
    cache = next((c for c in found if c is not None), None)
    if getattr(cache, "is_compileable", False):
        raise NotSupported("This cache is static: made for a fixed number of tokens, with no room "
                           "for vectors in front of them.", hint="generate with the default cache")
    check_front(cache, front)
    return cache, _is_filled(cache)


def check_front(cache, front: Front) -> None:
    """Raise `NotSupported` for a cache that was filled behind other vectors than these."""
    there = getattr(cache, "peft_teach_front", Front())
    if not _is_filled(cache) or there.is_same(front):
        return
    differ = (f"This cache was filled with {there.length} vectors before the text, and this model "
              f"puts {front.length} there.")
    if there.length == front.length:
        differ = (f"This cache was filled with {there.length} other vectors before the text than "
                  "this model puts there now: another adapter's, or its own before they changed.")
    raise NotSupported(differ, expected="a cache that the model filled as it is now, or an empty "
                                        "one",
                       hint="start again with the whole text and without past_key_values")


def count_tokens(cache, front: Front) -> None:
    """Let a filled cache count its tokens alone, without the vectors before them.

    `generate` skips as many tokens of its input as the cache counts.
    """
    if _is_filled(cache):
        cache.peft_teach_front = front
        # Of the layers, not of the cache: one that holds itself would outlive its training step,
        # and with it the graph that made its keys and values.
        cache.get_seq_length = functools.partial(_tokens_in, cache.layers, front.length)


def _tokens_in(layers: list, front: int, layer_idx: int = 0) -> int:
    return max(0, layers[layer_idx].get_seq_length() - front)


def _is_filled(cache) -> bool:
    return cache is not None and type(cache).get_seq_length(cache) > 0
