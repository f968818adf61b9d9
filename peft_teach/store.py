"""Adapters on disk: one folder each, the tensors as safetensors and a small json beside them.

    movie-lora/
        adapter.safetensors    adapter and head, by the unadapted model's names
        adapter.json           method, settings, and a fingerprint of the base

The base itself is never stored. `load` checks the fingerprint, so that an adapter cannot land on
a model that it was not trained for. Nothing here unpickles.
"""

import builtins
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor, nn

from . import core, models
from .errors import AdapterFileError, PeftTeachError
from .methods import full, lora

METHODS = {"full": full, "lora": lora}
TENSORS, DESCRIPTION = "adapter.safetensors", "adapter.json"


@dataclass(frozen=True)
class Saved:
    """One adapter on disk. `parameters` counts adapter and head; `size_bytes` is both files."""

    name: str
    method: str | None
    parameters: int
    size_bytes: int
    path: Path


def save(model: nn.Module, path: str | Path) -> Path:
    """Write the adapter and the head of `model` into the folder `path`; return it.

    Each file is written beside its place and then moved there, so a failure leaves the old one.
    Raises `NoAdapter` on a model without a method.
    """
    state = _full_state(model)
    record = core.record_of(model)
    description = {
        "format": 1,
        "method": record.method,
        "config": record.config and dataclasses.asdict(record.config),
        "base": record.fingerprint,
    }
    told = json.dumps(description).encode()    # before anything is written: it may fail
    folder = Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdapterFileError(f"{folder} cannot be a folder: {error.strerror}.",
                               expected="a folder, new or old") from error
    copies = {name: p.detach().cpu().clone(memory_format=torch.contiguous_format)
              for name, p in state.items()}
    _write(folder / TENSORS, write_tensors(copies, metadata={"format": "pt"}))
    _write(folder / DESCRIPTION, told)
    return folder


def load(model: nn.Module, path: str | Path) -> nn.Module:
    """Put the adapter in the folder `path` on an unadapted model; return the model to keep.

    Raises `AlreadyAdapted`, or `AdapterFileError` for a missing or damaged file, another base, or
    a missing, unexpected or misshapen tensor; then the model is as it was.
    """
    description, tensors = _read(path)
    record = core.new_record(model)
    _check_base(description["base"], record.fingerprint, path)
    method = _method(description, path)
    config = _config(method, description["config"], path)
    was_converted = model.__dict__.get("peft_teach_converted")
    model = _inject(method, model, config, path)
    try:
        _copy_into(model, tensors, path)
    except AdapterFileError:
        core.undo(model)
        if not was_converted:
            models.to_hf(model)
        raise
    return model


def swap(model: nn.Module, path: str | Path) -> nn.Module:
    """Exchange the adapter on `model` for the one in `path`; return the model to keep.

    Where method and settings agree, only tensors are copied, which takes milliseconds; otherwise
    the old adapter is removed and the new one loaded. A failure leaves the old one at work. After
    a bare `attach` no settings are known: what is no tensor, such as a scale, stays as attached.
    """
    record = core.record_of(model)
    if record is None:
        return load(model, path)
    description, tensors = _read(path)
    _check_base(description["base"], record.fingerprint, path)
    if description["method"] == record.method and (
            record.method is None
            or _config(_method(description, path), description["config"], path) == record.config):
        _copy_into(model, tensors, path)
        return model
    method = _method(description, path)
    config = _config(method, description["config"], path)
    if not record.wraps or method is full:
        raise AdapterFileError(f"{path} holds {description['method']!r}, the model "
                               f"{record.method!r}: full fine-tuning changed or changes the base.",
                               hint="load a fresh model, then pt.load(model, path)")
    wrappers = core.adapters(model)
    core.remove(model)
    try:
        _copy_into(_inject(method, model, config, path), tensors, path)
    except AdapterFileError:
        if core.record_of(model) is not None:
            core.undo(model)
        core.place(model, wrappers, record)
        raise
    return model


def list(folder: str | Path) -> builtins.list[Saved]:
    """Return the adapters saved directly under `folder`, by name; other folders are passed over."""
    found = []
    for path in sorted(Path(folder).glob(f"*/{DESCRIPTION}")):
        try:
            description, tensors = _read(path.parent)
        except AdapterFileError:
            continue
        size = sum((path.parent / f).stat().st_size for f in (TENSORS, DESCRIPTION))
        found.append(Saved(path.parent.name, description["method"],
                           sum(t.numel() for t in tensors.values()), size, path.parent))
    return found


# ── the parts ────────────────────────────────────────────────────────────────────────────────


def _full_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what a file holds: the adapter's parameters, and the head's."""
    head = set(models.head(model))
    named = {core.plain_name(model, n): p for n, p in model.named_parameters()}
    return core.adapter_parameters(model) | {n: p for n, p in named.items() if n in head}


def _write(file: Path, content: bytes) -> None:
    beside = file.with_name(file.name + ".part")
    try:
        beside.write_bytes(content)
        os.replace(beside, file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise AdapterFileError(f"{file} could not be written: {error.strerror}.",
                               hint="make room on the disk, or save elsewhere") from error


def _read(path: str | Path) -> tuple[dict, dict[str, Tensor]]:
    folder = Path(path).expanduser()
    for name in (DESCRIPTION, TENSORS):
        if not (folder / name).is_file():
            raise AdapterFileError(f"{folder} has no {name}.",
                                   expected="a folder that pt.save wrote",
                                   hint="pt.store.list(folder) shows the adapters in a folder")
    try:
        description = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        tensors = parse_tensors((folder / TENSORS).read_bytes())
    except (ValueError, SafetensorError) as error:
        raise AdapterFileError(f"{folder} is damaged: {error}.",
                               expected="the two files as pt.save wrote them",
                               hint="copy them again, or train again") from error
    if not _is_description(description):
        raise AdapterFileError(f"{folder / DESCRIPTION} does not describe an adapter of this "
                               "version.", expected="format 1, with method, config and base")
    return description, tensors


def _is_description(found) -> bool:
    """Return whether parsed json has the form that `save` writes, down to each number."""
    if not isinstance(found, dict) or found.get("format") != 1 or not isinstance(
            found.get("base"), dict):
        return False
    named = isinstance(found.get("method"), str) and isinstance(found.get("config"), dict)
    bare = found.get("method", ...) is None and found.get("config", ...) is None
    return (named or bare) and all(
        isinstance(entry, builtins.list) and len(entry) == 2
        and all(isinstance(part, builtins.list) for part in entry)
        and all(isinstance(value, int | float) for value in entry[1])
        for entry in found["base"].values())


def _method(description: dict, path):
    name = description["method"]
    if name is None:
        raise AdapterFileError(f"{path} was saved after a bare pt.attach, so no method is named.",
                               hint="attach the same class again, then pt.store.swap(model, path)")
    if name not in METHODS:
        raise AdapterFileError(f"{path} holds the method {name!r}.",
                               expected="one of " + ", ".join(METHODS))
    return METHODS[name]


def _config(method, fields: dict, path):
    try:
        return method.Config(**{k: tuple(v) if isinstance(v, builtins.list) else v
                                for k, v in fields.items()})
    except TypeError as error:
        raise AdapterFileError(f"{path} has settings that this method does not know: "
                               f"{error}.") from error


def _inject(method, model: nn.Module, config, path) -> nn.Module:
    try:
        return method.inject(model, config)
    except (PeftTeachError, TypeError) as error:
        raise AdapterFileError(f"{path} has settings that do not fit this model: {error}",
                               expected="the settings as pt.save wrote them") from error


def _check_base(saved: dict, here: dict, path) -> None:
    """Compare two fingerprints: names, shapes, and values within one bfloat16 rounding."""
    if saved.keys() != here.keys():
        name = sorted(saved.keys() ^ here.keys())[0]
        where = "only the file" if name in saved else "only this model"
        raise AdapterFileError(f"{path} was made for another model: {where} has {name}.",
                               expected="the base that the adapter was trained on")
    for name, (shape, values) in saved.items():
        if shape != here[name][0]:
            raise AdapterFileError(f"{path} was made for another model: {name} is {here[name][0]} "
                                   f"here, {shape} there.",
                                   expected="the base that the adapter was trained on")
        a, b = torch.tensor(values), torch.tensor(here[name][1])
        if a.shape != b.shape or not (
                (a == b) | ((a - b).abs() <= 2**-7 * torch.maximum(a.abs(), b.abs()))).all():
            raise AdapterFileError(f"{path} was made for a model with other weights: {name} "
                                   "differs.",
                                   expected="the base that the adapter was trained on",
                                   hint="load the pretrained model afresh; a merged or fully "
                                        "fine-tuned model is another base")


def _copy_into(model: nn.Module, tensors: dict[str, Tensor], path) -> None:
    """Copy all tensors into their parameters, or raise before the first is copied."""
    state = _full_state(model)
    problems = [f"missing {n}" for n in state if n not in tensors]
    problems += [f"unexpected {n}" for n in tensors if n not in state]
    problems += [f"{n} is {tuple(tensors[n].shape)}, not {tuple(p.shape)}"
                 for n, p in state.items() if n in tensors and tensors[n].shape != p.shape]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise AdapterFileError(f"{path} does not fit this model: {'; '.join(problems[:3])}{more}.",
                               expected=f"the {len(state)} tensors of this method and head")
    with torch.no_grad():
        for name, p in state.items():
            p.copy_(tensors[name])
