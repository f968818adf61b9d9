"""What a value may be: a whole number, a positive one, a share, several things, names, blocks.

No bool is a number here, though Python takes True for 1; NumPy's numbers are.
"""

import math
import numbers
import sys
from collections.abc import Iterable
from typing import Any, TypeGuard

import torch

from .errors import BadConfig

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)    # that files hold


def is_integer(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Return whether this is a whole number, NumPy's too, and no bool, from `low` to `high`."""
    return _is(numbers.Integral, value) and low <= value <= high


def is_count(value: Any) -> bool:
    """Return whether this is a whole number from 1."""
    return is_integer(value, 1)


def is_several(value: Any) -> TypeGuard[Iterable]:
    """Return whether this can be iterated over; a tensor without axes cannot."""
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def is_positive(value: Any) -> bool:
    """Return whether this is a number above zero, at most a float's largest, and no bool."""
    return _is(numbers.Real, value) and 0 < value <= sys.float_info.max


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Return whether this is a number, and no bool, nor nan, from `low` to `high`."""
    return _is(numbers.Real, value) and low <= value <= high


def is_share(value: Any) -> bool:
    """Return whether this is a probability below one."""
    return _is(numbers.Real, value) and 0 <= value < 1


def _is(kind: type, value: object) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def as_words(words, name: str, expected: str = "one text, or several") -> tuple[str, ...]:
    """Return one or several texts as a tuple; `BadConfig` for anything else."""
    found = () if words is None else (words,)
    if is_several(words) and not isinstance(words, str):
        found = tuple(words)
    if not all(isinstance(w, str) for w in found):
        raise BadConfig(f"{name} is {words!r}.", expected=expected)
    return found


def as_targets(targets, name: str = "targets") -> tuple[str, ...]:
    """Return one or several places or module names as a tuple; `BadConfig` for anything else."""
    targets = as_words(targets, name, "places or module names, as text")
    if "all-linear" in targets:
        raise BadConfig(f"{name} is 'all-linear', which is peft's word.",
                        expected="places or module names",
                        hint=f"{name}='linear': every linear layer of the blocks")
    return targets


def as_layers(layers, name: str = "layers") -> tuple[int, ...] | None:
    """Return one or several block numbers as a tuple, and None as None; `BadConfig` otherwise."""
    layers = (layers,) if is_integer(layers, 0) else layers
    if layers is not None and (isinstance(layers, str) or not is_several(layers)
                               or not all(is_integer(i) for i in layers)):
        raise BadConfig(f"{name} is {layers!r}.", expected="block numbers, or None for all",
                        hint=f"{name}=….tolist()" if hasattr(layers, "tolist") else None)
    return None if layers is None else tuple(int(i) for i in layers)
