"""An adapter's folder, written, unless something would be lost; `store` says what is in it."""

import json
from collections.abc import Container
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from . import fingerprints, folder, models, notes
from .adapter import adapters, by_plain_name, plain_name
from .contents import (
    adapter_state,
    added_parameters,
    copies,
    head_parameters,
    head_state,
    loadable_state,
    random_buffers,
)
from .errors import NotSupported
from .notes import Note
from .trained_copy import TrainedCopy

TENSORS, DESCRIPTION = "adapter.safetensors", "adapter.json"
CHECKPOINT = "model.safetensors"    # where transformers' Trainer looks for weights


def write_adapter(model: nn.Module, path: str | Path) -> Path:
    """Write the adapter and the head of a model into the folder `path`; return it.

    Raises `NoAdapter` without a method, `NotSupported` if more trains or changed than the file
    would keep, and `AdapterFileError` as `store.save` does.
    """
    note = notes.need_note(model)
    refuse_lost(model)
    _refuse_changed(model, note)
    tensors = adapter_state(model) | copies(head_state(model))
    description = {
        "format": 1,
        "method": note.method,
        "config": note.config and asdict(note.config.as_stored()),
        "base": base_of(model, note),
        "quantized": bool(models.quantized(model)),
        "drawn": random_buffers(model),
    }
    if note.method is None:
        by_name = adapters(model)
        also = [name for name, a in by_name.items() if isinstance(a, TrainedCopy)]
        description |= {"wrapped": [n for n in by_name if n not in also], "also_train": also}
    text = json.dumps(description)    # before any file is written, because it may fail
    return folder.write(path, {
        TENSORS: folder.pack(tensors, {DESCRIPTION: text}),    # two have no fixed order
        DESCRIPTION: text.encode()})


def save_checkpoint(model: nn.Module, path: str | Path, is_main_process: bool = True,
                    state_dict: dict | None = None, push_to_hub: bool = False, **others) -> None:
    """Stand for an adapted model's `save_pretrained`: its adapter, and a file for `Trainer`.

    It resumes from `model.safetensors`: what a save keeps of the adapters, and whatever else
    trains, by the names that they have now. There is no config.json, from which transformers would
    draw a base at random. `others` are options of its own format. Raises `NotSupported` for tensors
    from elsewhere, as they come from sharded training, and for a push to the Hub.
    """
    if state_dict is not None or push_to_hub:
        raise NotSupported("An adapted model is saved from its own parameters, into a folder.",
                           hint="save_pretrained(folder), or pt.save(model, folder)")
    if not is_main_process:
        return
    own = {id(t) for t in (loadable_state(model) | head_state(model)).values()}
    tensors = copies({n: t for n, t in (*model.named_parameters(), *model.named_buffers())
                      if t.requires_grad or id(t) in own})
    write_adapter(model, path)
    folder.write(path, {CHECKPOINT: folder.pack(tensors, {"format": "pt"})})


def base_of(model: nn.Module, note: Note) -> dict[str, list]:
    """Return the fingerprint of an adapted model's base, with resized tables as they are now."""
    return note.fingerprint | fingerprints.sample({
        name: p for name, p in _weights(model).items()
        if name in note.fingerprint and name not in note.weights
        and list(p.shape) != note.fingerprint[name][0]})


def _weights(model: nn.Module, but: Container[int] = ()) -> dict[str, Tensor]:
    return by_plain_name(model, fingerprints.original_tensors(model, but))


def _refuse_changed(model: nn.Module, note: Note) -> None:
    """Raise `NotSupported` where the base is not what it was: what it learned would be lost.

    Left out is what may change without training: a table that was resized, a weight in bytes or of
    another library's kind, and what a `make` of one's own was given and may change, as PiSSA takes
    from the base what it puts into the adapter.
    """
    given = {id(t) for t in (loadable_state(model) | head_state(model)).values()}
    if note.method is None:
        given |= {id(p) for adapter in adapters(model).values() for p in adapter.parameters()}
    changed = [name for name, p in _weights(model, given).items()
               if name not in note.weights and fingerprints.is_readable(p)
               and note.fingerprint.get(name, [None, []])[0] == list(p.shape)
               and not fingerprints.is_as_noted(p, note.fingerprint[name][1], note.bits.get(name))]
    if changed:
        raise _not_kept(changed, "changed since the method was put on, and would",
                        "put the method on a fresh model, with {} to train that")


def refuse_lost(model: nn.Module) -> None:
    """Raise `NotSupported` if a parameter of an adapted model trains that no file would keep."""
    if not notes.is_adapted(model):
        return
    kept = {id(p) for p in (*added_parameters(model).values(), *head_parameters(model).values())}
    lost = [plain_name(model, name) for name, p in model.named_parameters()
            if p.requires_grad and id(p) not in kept]
    if lost:
        raise _not_kept(lost, "would train, and", "requires_grad_(False) before it trains; or put "
                                                  "the method on a fresh model with {}")


def _not_kept(names: list[str], what: str, hint: str) -> NotSupported:
    """Return the error that a file would not keep these weights; `hint` has a {} for a setting."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return NotSupported(f"{names[0]}{more} {what} be lost: a file keeps the adapter and the head.",
                        expected="a frozen base",
                        hint=hint.format(f"also_train=({names[0].rpartition('.')[0]!r},)"))
