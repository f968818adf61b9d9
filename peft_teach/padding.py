"""Left padding: how much there is, and how virtual tokens and positions step behind it.

A mask is (batch, seen + seq): 1 for a token, 0 for padding. What was seen before is in a cache.
"""

from typing import Any

import torch
from torch import Tensor

from .errors import NotSupported


def flat_mask(arguments: dict[str, Any]) -> Tensor | None:
    """Return the mask, (batch, seen + seq), or None; raise `NotSupported` for one of pairs."""
    mask = arguments.get("attention_mask")
    if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
        raise NotSupported("The attention mask is not one of two axes, so it says of each pair "
                           "of tokens what is seen.", hint="pass a mask of (batch, seq)")
    return mask


def positions_in_text(mask: Tensor | None, seen: int = 0) -> Tensor | None:
    """Return how many real tokens precede each token, (batch, seq), the first `seen` left out.

    `mask` is (batch, seen + seq). None if no padding is in front: then a model itself counts so.
    """
    if mask is None or mask.ndim != 2 or mask[:, 0].all():
        return None
    return (mask.long().cumsum(-1) - 1).clamp(min=0)[:, seen:]


def left_padding(mask: Tensor | None) -> Tensor | None:
    """Return how much padding each row of a mask begins with, (batch, 1); None if none does."""
    if mask is None or mask[:, 0].all():
        return None
    return (mask.long().cumsum(1) == 0).sum(1, keepdim=True)


def behind_padding(vectors: Tensor, text: Tensor, padding: Tensor | None, dim: int = 1) -> Tensor:
    """Put `vectors` before a text, in each row behind the padding that it begins with.

    Both are (batch or 1, …), and are joined along `dim`. A sliding window counts padding, too, so
    none may come between the two. The text keeps its place at the right end.
    """
    rows = max(len(vectors), len(text), 1 if padding is None else len(padding))
    both = torch.cat([x.expand(rows, *x.shape[1:]) for x in (vectors, text)], dim)
    if padding is None:
        return both
    length, i = vectors.shape[dim], torch.arange(both.shape[dim], device=both.device)
    source = torch.where(i < padding, i + length,                         # (batch, length + seq)
                         torch.where(i < padding + length, i - padding, i))
    shape = [rows, *[1] * (both.ndim - 1)]
    shape[dim] = -1
    return both.take_along_dim(source.view(shape), dim)
