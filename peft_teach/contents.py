"""What a method added to a model, by name: what trains, what a file keeps of it, and its writing.

Names are those of the unadapted model, followed by the adapter's own: "…query.A".

    here                  returns, head excluded                   of each `Adapter`
    adapter_parameters    what trains                              own_parameters, those that train
    method_parameters     what was added or trains                 own_parameters
    method_state          what a file fills                        own_parameters, stored buffers
    adapter_state         copies of what a file keeps              stored

`store` says what is in which file, and `write_adapter` is what its `save` ends with.
"""

import json
from collections.abc import Container, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from . import fingerprints, folder, frozen, models, notes
from .adapter import Adapter, adapters, by_plain_name, full_name, plain_name
from .errors import NotSupported
from .notes import Note
from .trained_copy import TrainedCopy
from .whole import is_sharded

TENSORS, DESCRIPTION = "adapter.safetensors", "adapter.json"
CHECKPOINT = "model.safetensors"    # where transformers' Trainer looks for weights


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what a method trains, head excluded: `{"…query.A": parameter}`.

    These are the adapters' own parameters with `requires_grad`. For full fine-tuning, which has no
    adapter, they are the trained backbone weights. Raises `NoAdapter` on a model without a method.
    """
    return {name: p for name, p in method_parameters(model).items() if p.requires_grad}


def method_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return all that a method added or trains, by full name, frozen parameters included."""
    by_name, note = adapters(model), notes.written(model)
    if by_name:
        return {full_name(name, own): p for name, adapter in by_name.items()
                for own, p in adapter.own_parameters().items()}
    if note is None:
        raise notes.no_method()
    return {n: p for n, p in model.named_parameters() if n in note.weights}


def head_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the task head's parameters by the names that they have on the unadapted model."""
    head = set(models.head(model))
    return {n: p for n, p in by_plain_name(model, dict(model.named_parameters())).items()
            if n in head}


# ── what a file keeps, and fills ─────────────────────────────────────────────────────────────


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of what a file keeps of a method, detached and on the CPU.

    These are the adapters' own parameters, frozen ones included, and the buffers of trained copies.
    A prefix with projection keeps the keys and values that it makes.
    """
    by_name = adapters(model)
    state = {full_name(name, own): p for name, adapter in by_name.items()
             for own, p in adapter.stored().items()} if by_name else method_state(model)
    return copies(state)


def method_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a method that a file fills, with the buffers of what trains."""
    by_name = adapters(model)
    if not by_name:
        return _with_buffers(model, method_parameters(model))
    return {full_name(name, own): t for name, adapter in by_name.items()
            for own, t in (adapter.own_parameters() | _buffers(adapter, stored=True)).items()}


def drawn(model: nn.Module) -> dict[str, list]:
    """Return the fingerprint of the adapters' own buffers, which no file keeps.

    What is random and frozen is drawn from a seed whenever a method is put on, and a file
    recognizes it by these values: the same seed gives other numbers in another version of torch.
    """
    return fingerprints.take({
        full_name(name, own): buffer for name, adapter in adapters(model).items()
        for own, buffer in _buffers(adapter, stored=False).items()})


def _buffers(adapter: Adapter, stored: bool) -> dict[str, Tensor]:
    """Return the buffers outside of an adapter's base that a file keeps, or all others."""
    buffers = {own: b for own, b in adapter.named_buffers() if not own.startswith("base.")}
    kept = adapter.stored() if buffers else {}    # a prefix's MLP would run for it
    return {own: b for own, b in buffers.items() if (own in kept) == stored}


def head_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what a file keeps of the head: its parameters, and the buffers beside them."""
    return _with_buffers(model, head_parameters(model))


def _with_buffers(model: nn.Module, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Add the buffers of modules that train: a BatchNorm counts means and variances there."""
    return {**parameters} | {
        plain_name(model, full_name(name, own)): b
        for name, module in frozen.owners(model, parameters.values()).items()
        for own, b in frozen.buffers(module).items()}


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU, detached and contiguous, as a file wants them.

    A tensor that FSDP2 shards over processes is copied whole: each process has to ask for it.
    """
    whole = {name: t.full_tensor() if is_sharded(t) else t for name, t in tensors.items()}
    return {name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, t in whole.items()}


def refuse_lost(model: nn.Module) -> None:
    """Raise `NotSupported` if a parameter of an adapted model trains that no file would keep."""
    if not notes.is_adapted(model):
        return
    kept = {id(p) for p in (*method_parameters(model).values(), *head_parameters(model).values())}
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


# ── written ──────────────────────────────────────────────────────────────────────────────────


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
        "drawn": drawn(model),
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
    own = {id(t) for t in (method_state(model) | head_state(model)).values()}
    tensors = copies({n: t for n, t in (*model.named_parameters(), *model.named_buffers())
                      if t.requires_grad or id(t) in own})
    write_adapter(model, path)
    folder.write(path, {CHECKPOINT: folder.pack(tensors, {"format": "pt"})})


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
    given = {id(t) for t in (method_state(model) | head_state(model)).values()}
    if note.method is None:
        given |= {id(p) for adapter in adapters(model).values() for p in adapter.parameters()}
    changed = [name for name, p in _weights(model, given).items()
               if name not in note.weights and fingerprints.is_readable(p)
               and note.fingerprint.get(name, [None, []])[0] == list(p.shape)
               and not fingerprints.is_as_noted(p, note.fingerprint[name][1], note.bits.get(name))]
    if changed:
        raise _not_kept(changed, "changed since the method was put on, and would",
                        "put the method on a fresh model, with {} to train that")
