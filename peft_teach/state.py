"""What this library notes on a model: one frozen value, which is replaced, never changed.

A value that is only ever replaced can be put back: an injection that fails leaves the model with
the one that it had. `save`, `load`, `swap`, `remove` and the export read nothing else.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

KEY = "peft_teach_state"    # in the model's `__dict__`, so that copies and pickles keep it


@dataclass(frozen=True)
class Note:
    """What is noted on an adapted model.

    `fingerprint` describes the base before any change. `bits` holds a checksum of each of its
    tensors; no file keeps these, as the same base has others in half precision. `requires_grad` is
    what `remove` and `merge` put back; `wraps` says whether modules were wrapped. Full fine-tuning
    wraps none, and names the backbone's `weights` that it trains. `method` and `config` are None
    after a bare `attach`.
    """

    fingerprint: dict[str, list] = field(repr=False)
    requires_grad: dict[str, bool] = field(repr=False)
    bits: dict[str, tuple] = field(default_factory=dict, repr=False)
    wraps: bool = True
    weights: frozenset[str] = field(default=frozenset(), repr=False)
    method: str | None = None
    config: Any = None


@dataclass(frozen=True)
class State:
    """All notes on one model.

    `note` is there while a method is. `converted` are the layers that were `Conv1D`s, and
    `quantized` the fingerprints of weights that are held in 4 bits: both outlive the method.
    `inside` marks a backbone that an adapter wraps, so that it is not adapted again.
    """

    note: Note | None = None
    converted: tuple[str, ...] = ()
    quantized: dict[str, list] = field(default_factory=dict)
    inside: bool = False


def of(model: nn.Module) -> State:
    """Return the notes on a model; empty ones for a model without."""
    return getattr(model, "__dict__", {}).get(KEY) or State()


def write(model: nn.Module, note: Note, base: nn.Module, converted: tuple[str, ...] = ()) -> None:
    """Write the note on a model that a method was put on, and that these layers were `converted`.

    `base` is the model as it was: another one if an adapter wraps a bare backbone, which is then
    marked as inside of it.
    """
    before = of(base)
    converted = (*before.converted, *converted)
    if base is not model:
        change(base, inside=True, converted=converted)
    change(model, note=note, converted=converted, quantized=before.quantized)


def change(model: nn.Module, **fields) -> None:
    """Replace the notes on a model by a copy in which these fields are new.

    Empty notes are removed, so that a plain model stays plain and unpickles without this library.
    """
    new = replace(of(model), **fields)
    if new == State():
        model.__dict__.pop(KEY, None)
    else:
        model.__dict__[KEY] = new
