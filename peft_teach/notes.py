"""The note on an adapted model: taken before a method changes anything, kept while it is on.

A note is one frozen value (`state.Note`). `prepare` makes it, before anything of the model is
changed; `state.write` puts it on the model, when all adapters are in their places.
"""

from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

from . import fingerprints, state
from .adapter import Adapter, adapters
from .errors import AlreadyAdapted, BadConfig, NoAdapter
from .models.layers import as_they_came
from .state import Note
from .whole import refuse_sharded, refuse_wrapped

S = TypeVar("S")    # a method's settings


def prepare(model: nn.Module, config: S | None = None, kind: type[S] | None = None
            ) -> tuple[Note, S]:
    """Check that a model can take a method; return the note on the model, and the settings.

    `kind` is the method's class of settings, and None in `config` means its defaults. Raises
    `BadConfig` for another method's settings, or what `refuse_adapted` raises.
    """
    method, found = None, config
    if kind is not None:
        method, found = kind.__module__.rpartition(".")[2], kind() if config is None else config
        if not isinstance(found, kind):
            raise BadConfig(f"The settings are a {type(found).__module__.rpartition('.')[2]}."
                            f"{type(found).__name__}.", expected=f"a pt.{method}.Config, or None")
    refuse_adapted(model)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    tensors = as_they_came(model)
    note = Note(fingerprints.of_base(model, tensors), flags, fingerprints.checksums(tensors),
                method=method, config=found)
    return note, note.config


def refuse_adapted(model: nn.Module) -> None:
    """Raise `AlreadyAdapted` for a model that has a method, `BadConfig` for no model at all."""
    refuse_wrapped(model)
    refuse_sharded(model)
    here = state.of(model)
    if torch.is_inference_mode_enabled():
        raise BadConfig("Inside torch.inference_mode() new parameters can never be trained.",
                        hint="leave that block first, or use torch.no_grad()")
    theirs = [type(m).__name__ for m in model.modules() if type(m).__module__.startswith("peft.")]
    if theirs:
        raise AlreadyAdapted(f"Hugging Face peft put its own modules on this model: {theirs[0]}.",
                             expected="the model that peft was given, before or afterwards",
                             hint="its merge_and_unload() or unload() returns it; what it saved, "
                                  "pt.export.from_peft reads")
    if here.note is not None and not here.note.wraps:
        raise AlreadyAdapted("This model is fully fine-tuned, or its head is: its own weights "
                             "train, and there is nothing to take off.",
                             expected="a model that no method was put on",
                             hint="load a fresh one; fresh.load_state_dict(model.state_dict()) "
                                  "gives it what was trained")
    found = any(isinstance(module, Adapter) for module in model.modules())
    if here.note is not None or here.inside or found:
        raise AlreadyAdapted("A method was already put on this model.",
                             expected="a model without one; keep what inject returned",
                             hint="pt.remove or pt.merge it first, or load a fresh model")


def note_of(model: nn.Module) -> Note | None:
    """Return the note on an adapted model, or None; nothing is written.

    If adapters were put in by hand, as in lesson 02, nobody wrote one: then it is the one that
    `guards.adopt` would write. The base is frozen, so its fingerprint is what it was.
    """
    here, found = state.of(model), adapters(model)
    if here.note is not None or here.inside or not found:
        return here.note
    own = {id(p) for adapter in found.values() for p in adapter.own_parameters().values()}
    base = as_they_came(model, own)
    return Note(fingerprints.of_base(model, base), dict.fromkeys(base, True),
                fingerprints.checksums(base))


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


def change_settings(model: nn.Module, **settings) -> None:
    """Change a method's settings on the note, if there is one with settings on this model."""
    note = state.of(model).note
    if note is not None and note.config is not None:
        state.change(model, note=replace(note, config=replace(note.config, **settings)))


def is_adapted(model: nn.Module) -> bool:
    """Return whether a method is on this model, noted or put in by hand."""
    here, found = state.of(model), adapters(model)
    return here.note is not None or (not here.inside and bool(found))
