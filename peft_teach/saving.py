"""Writing an adapter: the two files of its folder, and what `save_pretrained` writes for it.

`store.save` is what one calls, and `store` says which file holds what.
"""

import json
from collections.abc import Container
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from . import contents, fingerprints, folder, models
from .adapter import adapters, by_plain_name
from .errors import NotSupported
from .notes import Note, need_note
from .trained_copy import TrainedCopy

TENSORS, DESCRIPTION = "adapter.safetensors", "adapter.json"
CHECKPOINT = "model.safetensors"    # where transformers' Trainer looks for weights


def write(model: nn.Module, path: str | Path) -> Path:
    """Write the adapter and the head of a model into the folder `path`; return it.

    Raises `NoAdapter` without a method, `NotSupported` if more trains or changed than the file
    would keep, and `AdapterFileError` as `store.save` does.
    """
    note = need_note(model)
    contents.refuse_lost(model)
    _refuse_changed(model, note)
    tensors = contents.adapter_state(model) | contents.copies(contents.head_state(model))
    description = {
        "format": 1,
        "method": note.method,
        "config": note.config and asdict(note.config.as_stored()),
        "base": base_of(model, note),
        "quantized": bool(models.quantized(model)),
        "drawn": contents.drawn(model),
    }
    if note.method is None:
        found = adapters(model)
        also = [name for name, a in found.items() if isinstance(a, TrainedCopy)]
        description |= {"wrapped": [name for name in found if name not in also], "also_train": also}
    told = json.dumps(description)    # before any file is written, because it may fail
    return folder.write(path, {
        TENSORS: folder.pack(tensors, {DESCRIPTION: told}),    # two have no fixed order
        DESCRIPTION: told.encode()})


def save_checkpoint(model: nn.Module, path: str | Path, is_main_process: bool = True,
                    state_dict: dict | None = None, push_to_hub: bool = False, **others) -> None:
    """Stand for `save_pretrained` on an adapted model: `write`, and a file for `Trainer` to resume.

    That is `model.safetensors`: what a save keeps of the adapters, and whatever else trains, by
    the names that they have now. There is no config.json, from which transformers would draw a base
    at random. `others` are options of its own format. Raises `NotSupported` for tensors from
    elsewhere, as they come from sharded training, and for a push to the Hub.
    """
    if state_dict is not None or push_to_hub:
        raise NotSupported("An adapted model is saved from its own parameters, into a folder.",
                           hint="save_pretrained(folder), or pt.save(model, folder)")
    if not is_main_process:
        return
    own = {id(t) for t in (contents.method_state(model) | contents.head_state(model)).values()}
    kept = contents.copies({n: t for n, t in (*model.named_parameters(), *model.named_buffers())
                            if t.requires_grad or id(t) in own})
    write(model, path)
    folder.write(path, {CHECKPOINT: folder.pack(kept, {"format": "pt"})})


def base_of(model: nn.Module, note: Note) -> dict[str, list]:
    """Return the fingerprint of an adapted model's base, with resized tables as they are now."""
    return note.fingerprint | fingerprints.take({
        name: p for name, p in _weights(model).items()
        if name in note.fingerprint and name not in note.weights
        and list(p.shape) != note.fingerprint[name][0]})


def _weights(model: nn.Module, but: Container[int] = ()) -> dict[str, Tensor]:
    return by_plain_name(model, fingerprints.as_they_came(model, but))


def _refuse_changed(model: nn.Module, note: Note) -> None:
    """Raise `NotSupported` where the base is not what it was: what it learned would be lost.

    Left out is what may change without training: a table that was resized, a weight in bytes or of
    another library's kind, and what a `make` of one's own was given and may change, as PiSSA takes
    from the base what it puts into the adapter.
    """
    given = {id(p) for adapter in adapters(model).values()
             for p in (adapter.own_parameters().values() if note.method else adapter.parameters())}
    changed = [name for name, p in _weights(model, given).items()
               if name not in note.weights and fingerprints.is_readable(p)
               and note.fingerprint.get(name, [[], []])[0] == list(p.shape)
               and not fingerprints.is_as_noted(p, note.fingerprint[name][1], note.bits.get(name))]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise NotSupported(f"{changed[0]}{more} changed since the method was put on, and would be "
                           "lost: a file keeps the adapter and the head.", expected="a frozen base",
                           hint="put the method on a fresh model, with "
                                f"also_train=({changed[0].rpartition('.')[0]!r},) to train that")
