"""A cache prefilled with virtual tokens: known by them, and counting the text's alone.

Virtual tokens are the vectors of a prompt or a prefix, here as one tensor, (length, numbers). The
cache keeps it, because its keys alone do not tell whose they are: a layer with a sliding window
has dropped the first of them.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .errors import NotSupported
from .padding import behind_padding

CACHES = ("past_key_values", "cache")    # what transformers' versions call the cache
NO_TOKENS = torch.empty(0, 0)


def new_cache() -> Any:
    """Return an empty cache, which a backbone reads and appends to."""
    from transformers import DynamicCache

    return DynamicCache()


@contextmanager
def prefilled(cache, K: Tensor, V: Tensor, shape: tuple[int, ...], padding: Tensor | None
              ) -> Iterator[None]:
    """Within this block a backbone that reads a text into an empty cache finds K and V before it.

    They are (layers, 1, heads, length, d_head), the text's `shape` is (batch, seq). The cache is
    filled with them before the backbone makes its masks. Behind `padding` not all of them fit
    there: the others come with the text's own keys and values, instead of those of the padding.
    """
    def both(x: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        x = behind_padding(x.to(text), text, padding, dim=2)    # (batch, heads, length + seq, d)
        return x[:, :, :length], x[:, :, length:]

    def update(keys: Tensor, values: Tensor, layer: int, *rest, **more):    # transformers 5.24 on
        pair = (both(x[layer], text)[1] for x, text in ((K, keys), (V, values)))
        return type(cache).update(cache, *pair, layer, *rest, **more)

    (batch, seq), length = shape, K.shape[3]
    text = torch.zeros_like(K[0, :, :, :1]).expand(batch, -1, seq, -1)    # not known yet
    for layer, pair in enumerate(zip(K, V)):
        cache.update(*(both(x, text)[0] for x in pair), layer)
    if padding is not None:
        cache.update = update
    try:
        yield
    finally:
        vars(cache).pop("update", None)


def find_cache(arguments: dict, virtual: Tensor) -> tuple[Any, bool]:
    """Find the cache among a backbone's keyword arguments, by either name.

    Returns `(cache, filled)`: the object that the model appends to or None, and whether the
    `virtual` tokens are in it already. Raises `NotSupported` for a static cache, and for one that
    was filled behind others, or none.
    """
    given = (arguments.get(name) for name in CACHES)
    cache = next((c for c in given if c is not None), None)
    if getattr(cache, "is_compileable", False):
        raise NotSupported("This cache is static: made for a fixed number of tokens, with no room "
                           "for vectors in front of them.", hint="generate with the default cache")
    check_virtual(cache, virtual)
    return cache, _is_filled(cache)


def check_virtual(cache, virtual: Tensor = NO_TOKENS) -> None:
    """Raise `NotSupported` for a cache that was filled behind other virtual tokens than these."""
    before = getattr(cache, "peft_teach_virtual", NO_TOKENS)
    if not _is_filled(cache) or (before.shape == virtual.shape and torch.allclose(
            before.to(virtual), virtual, rtol=0, atol=0, equal_nan=True)):
        return
    differ = (f"This cache was filled with {len(before)} vectors before the text, and this model "
              f"puts {len(virtual)} there.")
    if len(before) == len(virtual):
        differ = (f"This cache was filled with {len(before)} other vectors before the text than "
                  "this model puts there now: another adapter's, or its own before they changed.")
    raise NotSupported(differ, expected="a cache that the model filled as it is now, or an empty "
                                        "one",
                       hint="start again with the whole text and without past_key_values")


def count_text(cache, virtual: Tensor) -> None:
    """Let a filled cache count the text's tokens alone, without the virtual ones before them.

    `generate` skips as many tokens of its input as the cache counts.
    """
    if _is_filled(cache):
        cache.peft_teach_virtual = virtual
        # Of the layers, not of the cache: one that holds itself would outlive its training step,
        # and with it the graph that made its keys and values.
        cache.get_seq_length = functools.partial(_text_in, cache.layers, len(virtual))


def _text_in(layers: list, virtual: int, layer_idx: int = 0) -> int:
    return max(0, layers[layer_idx].get_seq_length() - virtual)


def _is_filled(cache) -> bool:
    return cache is not None and type(cache).get_seq_length(cache) > 0
