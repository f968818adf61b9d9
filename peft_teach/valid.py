"""What settings may be: whole numbers, positive numbers, shares, words.

Python takes True for 1, and numpy's integers cannot be written to json. So a method's settings
are held to plain numbers before anything is built with them.
"""

import math
from collections.abc import Iterable

from .errors import BadConfig


def is_whole(value, low: int = 1, high: float = math.inf) -> bool:
    """Return whether this is an int, and no bool, from `low` to `high`."""
    return type(value) is int and low <= value <= high


def is_positive(value) -> bool:
    """Return whether this is a finite int or float above zero."""
    return type(value) in (int, float) and 0 < value < math.inf


def is_share(value) -> bool:
    """Return whether this is a probability below one."""
    return type(value) in (int, float) and 0 <= value < 1


def as_words(words) -> tuple[str, ...]:
    """Return one or several texts as a tuple; `BadConfig` for anything else."""
    words = (words,) if isinstance(words, str) else () if words is None else words
    if not isinstance(words, Iterable) or not all(isinstance(w, str) for w in words):
        raise BadConfig(f"{words!r} are no words.", expected="one text, or several")
    return tuple(words)


def as_tuples(targets, layers) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Return targets and layers as tuples, in whatever form they came; None layers stay None.

    Raises `BadConfig` for what is neither one of them nor several.
    """
    targets = (targets,) if isinstance(targets, str) else () if targets is None else targets
    if not isinstance(targets, Iterable) or not all(isinstance(t, str) for t in targets):
        raise BadConfig(f"targets is {targets!r}.", expected="places or module names, as text")
    layers = (layers,) if is_whole(layers, 0) else layers
    if layers is not None and (isinstance(layers, str) or not isinstance(layers, Iterable)
                               or not all(is_whole(i, -math.inf) for i in layers)):
        raise BadConfig(f"layers is {layers!r}.", expected="block numbers, or None for all")
    return tuple(targets), None if layers is None else tuple(layers)
