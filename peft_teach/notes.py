"""The note on an adapted model: taken before a method changes anything, kept while it is on.

A note is one frozen value, which is replaced, never changed: so an injection that fails puts back
what was there. `save`, `load`, `swap`, `remove` and the export read it.
"""

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import nn

from . import fingerprints
from .adapter import Adapter, adapters, by_plain_name
from .errors import AlreadyAdapted, BadConfig, NoAdapter
from .wrapped import refuse_sharded, refuse_wrapped

S = TypeVar("S")    # a method's settings
KEY = "peft_teach_note"    # in the model's `__dict__`, so that copies and pickles keep it
INSIDE = "inside"    # in place of a note on a bare backbone that an adapter wraps


@dataclass(frozen=True)
class Note:
    """The method on a model, and the unadapted model below it.

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


def prepare(model: nn.Module, config: S | None = None, kind: type[S] | None = None
            ) -> tuple[Note, S]:
    """Check that a model can take a method; return the note on the model, and the settings.

    `kind` is the method's class of settings, and None in `config` means its defaults. Raises
    `BadConfig` for another method's settings, or what `refuse_adapted` raises.
    """
    method, settings = None, config
    if kind is not None:
        method = kind.__module__.rpartition(".")[2]
        settings = kind() if config is None else config
        if not isinstance(settings, kind):
            raise BadConfig(f"The settings are of type {type(settings).__module__}."
                            f"{type(settings).__name__}.",
                            expected=f"a pt.{method}.Config, or None")
    refuse_adapted(model)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    tensors = fingerprints.original_tensors(model)
    note = Note(fingerprints.of_model(model, tensors), flags, fingerprints.checksums(tensors),
                method=method, config=settings)
    return note, note.config


def refuse_adapted(model: nn.Module) -> None:
    """Raise `AlreadyAdapted` for a model that has a method, `BadConfig` for no model at all."""
    refuse_wrapped(model)
    refuse_sharded(model)
    if torch.is_inference_mode_enabled():
        raise BadConfig("Inside torch.inference_mode() new parameters can never be trained.",
                        hint="leave that block first, or use torch.no_grad()")
    foreign = [type(m).__name__ for m in model.modules() if type(m).__module__.startswith("peft.")]
    if foreign:
        raise AlreadyAdapted(f"Hugging Face peft put its own modules on this model: {foreign[0]}.",
                             expected="the model that peft was given, before or afterwards",
                             hint="its merge_and_unload() or unload() returns it; what it saved, "
                                  "pt.export.from_peft reads")
    note = vars(model).get(KEY)
    if isinstance(note, Note) and not note.wraps:
        raise AlreadyAdapted("This model is fully fine-tuned, or its head is: its own weights "
                             "train, and there is nothing to take off.",
                             expected="a model that no method was put on",
                             hint="load a fresh one; fresh.load_state_dict(model.state_dict()) "
                                  "gives it what was trained")
    if note is not None or any(isinstance(module, Adapter) for module in model.modules()):
        raise AlreadyAdapted("A method was already put on this model.",
                             expected="a model without one; keep what inject returned",
                             hint="pt.remove or pt.merge it first, or load a fresh model")


# ── read, and written ────────────────────────────────────────────────────────────────────────


def is_adapted(model: nn.Module) -> bool:
    """Return whether a method is on this model, noted or put in by hand."""
    return bool(adapters(model)) or written(model) is not None


def written(model: nn.Module) -> Note | None:
    """Return the note that was written on a model, or None."""
    note = vars(model).get(KEY)
    return note if isinstance(note, Note) else None


def note_of(model: nn.Module) -> Note | None:
    """Return the note on an adapted model, or None; nothing is written.

    If adapters were put in by hand, as in lesson 02, nobody wrote one: then it is the one that
    `guards.adopt` would write. The base is frozen, so its fingerprint is what it was.
    """
    by_name, note = adapters(model), written(model)
    if note is not None or not by_name:
        return note
    own = {id(t) for a in by_name.values() for n, t in (*a.named_parameters(), *a.named_buffers())
           if not n.startswith("base.")}
    base = fingerprints.original_tensors(model, own)
    return Note(by_plain_name(model, fingerprints.of_model(model, base)),
                dict.fromkeys(by_plain_name(model, base), True),
                by_plain_name(model, fingerprints.checksums(base)))


def need_note(model: nn.Module) -> Note:
    """Return the note on an adapted model; raise `NoAdapter` for another."""
    note = note_of(model)
    if note is None:
        raise no_method()
    return note


def no_method() -> NoAdapter:
    """Return the error that no method is on a model."""
    return NoAdapter("No method was put on this model.",
                     hint="model = pt.lora.inject(model, pt.lora.Config()), or pt.attach(...)")


def put_on(model: nn.Module, note: Note) -> None:
    """Put the note on a model that a method was put on; mark a backbone inside an adapter."""
    if isinstance(model, Adapter):
        vars(model.base)[KEY] = INSIDE
    vars(model)[KEY] = note


def clear(model: nn.Module) -> None:
    """Take the note off, so that a plain model stays plain and unpickles without this library."""
    vars(model).pop(KEY, None)


def change_settings(model: nn.Module, **settings) -> None:
    """Change a method's settings on the note, if there is one with settings on this model."""
    note = written(model)
    if note is not None and note.config is not None:
        put_on(model, replace(note, config=replace(note.config, **settings)))
