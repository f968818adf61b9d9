"""Adapters on disk: one folder each, the tensors as safetensors and a small json beside them.

    movie-lora/
        adapter.safetensors    adapter and head, by the unadapted model's names
        adapter.json           method, settings, a fingerprint of the base, and whether it was in
                               4 bits; a fingerprint of what is drawn from a seed; after a bare
                               `attach`, which modules it wrapped

The metadata of the first repeats all of the second, and is the one that counts: tensors are never
read with the settings of another save.

The base itself is never stored, unless all of it is trained. `load` checks the fingerprint, so
that an adapter does not land on another base by mistake. Nothing here unpickles.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import contents, core, fingerprints, folder, guards, models, notes, saving, whole
from .adapter import adapters
from .errors import AdapterFileError, PeftTeachError
from .folder import as_path
from .methods import METHODS
from .models.layers import as_they_came
from .nf4 import Linear4bit
from .rollback import all_or_nothing
from .saving import DESCRIPTION, TENSORS
from .valid import is_whole

__all__ = ["Saved", "load", "save", "saved", "swap"]

AXES = ("rank", "size", "length", "projection")    # settings that are an axis of a tensor
SHORT = 64    # steps along such an axis that are soon built, whatever else a file lacks


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

    Both files are written beside their places and then moved there: what fails leaves the old save
    or the new one, whole, and so do two processes that save into one folder. Raises `NoAdapter` on
    a model without a method, `NotSupported` if more trains or changed than the file would keep, and
    `AdapterFileError` for a folder that cannot be written, or for numbers that are not finite.
    """
    guards.adopt(model)
    return saving.write(model, path)


def load(model: nn.Module, path: str | Path, make: core.Make | None = None) -> nn.Module:
    """Put the adapter in the folder `path` on an unadapted model; return the model to keep.

    After a bare `attach` no method is named: give as `make` what `attach` had, `make(base)`, and
    the same modules are wrapped. Raises `AlreadyAdapted`, or `AdapterFileError` for a missing or
    damaged file, another base, other values drawn from a seed, or a missing, unexpected, misshapen
    or infinite tensor; then the model is as it was. Warns if the adapter was saved on a base in 4
    bits and this one is not, or the reverse.
    """
    file = _read(path)
    notes.refuse_adapted(model)
    _check_base(file.says["base"], fingerprints.of_base(model, as_they_came(model)), path)
    with all_or_nothing(model):
        model = _inject(model, file) if make is None else _attach(model, file, make)
        _copy_into(model, file)
    return model


def swap(model: nn.Module, path: str | Path) -> nn.Module:
    """Exchange the adapter on `model` for the one in `path`; return the model to keep.

    Where method and settings agree, only tensors are copied, which takes milliseconds; otherwise
    the old adapter is removed and the new one loaded. A failure leaves the old one in place. After
    a bare `attach` no settings are known: what is no tensor, such as a scale, stays as attached.
    Inside `pt.disabled(model)` the new adapter is silent, too, until that block ends.
    Warns, as `load` does, if only one of file and model has a base in 4 bits.
    """
    note = guards.adopt(model)
    if note is None:
        return load(model, path)
    whole.refuse_sharded(model)
    file = _read(path)
    try:
        _check_base(file.says["base"], saving.base_of(model, note), path)
    except AdapterFileError:    # perhaps saved before the word embeddings were resized
        _check_base(file.says["base"], note.fingerprint, path)
    bare = file.method is None and note.method is None
    same = bare or (file.method, _config(file)) == (note.method, note.config)
    if not same and (not note.wraps or file.method == "full"):
        raise AdapterFileError(f"{path} holds {file.method!r}, the model {note.method!r}: full "
                               "fine-tuning changed or changes the base.",
                               hint="load a fresh model, then pt.load(model, path)")
    old = adapters(model).values()
    with all_or_nothing(model):
        model = model if same else _inject(core.undo(model), file)
        _copy_into(model, file)
    core.stay_silent(adapters(model).values(), old)
    return model


def saved(folder: str | Path) -> list[Saved]:
    """Return the adapters saved directly under `folder`, by name; other folders are passed over."""
    found = []
    for path in sorted(as_path(folder).glob(f"*/{TENSORS}")):
        try:
            file = _read(path.parent)
        except AdapterFileError:
            continue
        size = sum(f.stat().st_size for f in (path, path.with_name(DESCRIPTION)) if f.is_file())
        found.append(Saved(path.parent.name, file.method,
                           sum(t.numel() for t in file.tensors.values()), size, path.parent))
    return found


def __getattr__(name: str):
    """Let `store.list` be `saved`: a global of that name would hide Python's own in this file."""
    if name == "list":
        return saved
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def method_of(path: str | Path) -> str:
    """Return the method that a folder names. Nothing is built.

    Raises `AdapterFileError`, as `load` does.
    """
    file = _read(path)
    _method(file)
    return file.method


# ── the parts ────────────────────────────────────────────────────────────────────────────────


class _File(NamedTuple):
    """A folder as it was read, in the form that `save` writes: what its json says, its tensors."""

    path: str | Path
    method: Any    # its name; None after a bare `attach`
    says: dict[str, Any]
    tensors: dict[str, Tensor]


def _read(path: str | Path) -> _File:
    """Read a folder that `save` wrote; raise `AdapterFileError` for another, or a damaged one."""
    theirs = (as_path(path) / "adapter_config.json").is_file()
    description, tensors = folder.read(path, DESCRIPTION, TENSORS, "pt.save",
                                      "pt.export.from_peft(model, path) reads a folder of peft's"
                                      if theirs else
                                      "pt.saved(folder) shows the adapters in a folder")
    if not _is_description(description):
        raise AdapterFileError(f"{path} does not describe an adapter of this version.",
                               expected="format 1, with method, config and base")
    return _File(path, description["method"], description, tensors)


def _is_description(found) -> bool:
    """Return whether parsed json has the form that `save` writes, down to each number."""
    if not isinstance(found, dict) or found.get("format") != 1 or not isinstance(
            found.get("quantized"), bool):
        return False
    base, drawn = found.get("base"), found.get("drawn")
    if not (isinstance(base, dict) and isinstance(drawn, dict)):
        return False
    named = isinstance(found.get("method"), str) and isinstance(found.get("config"), dict)
    bare = found.get("method", ...) is None and found.get("config", ...) is None and all(
        isinstance(names, list) and all(isinstance(n, str) for n in names)
        for names in (found.get("wrapped"), found.get("also_train")))
    return (named or bare) and all(
        isinstance(entry, list) and len(entry) == 2
        and all(isinstance(part, list) for part in entry)
        and all(isinstance(v, int | float) and not abs(v) >= 1e39 for v in entry[1])    # or NaN
        for entry in (*base.values(), *drawn.values()))


def _method(file: _File) -> Any:
    """Return the module of the file's method; `AdapterFileError` if no method here is that."""
    if file.method is None:
        raise AdapterFileError(f"{file.path} was saved after a bare pt.attach, so no method is "
                               "named.",
                               hint="pt.load(model, path, make=...) with the class or function "
                                    "that pt.attach had, on a model without adapters")
    if file.method not in METHODS:
        raise AdapterFileError(f"{file.path} holds the method {file.method!r}.",
                               expected="one of " + ", ".join(METHODS))
    return METHODS[file.method]


def _config(file: _File) -> Any:
    """Return the settings of the file's method, which a stranger may have written."""
    method = _method(file)
    try:
        return method.Config(**{k: tuple(v) if isinstance(v, list) else v
                                for k, v in file.says["config"].items()})
    except (PeftTeachError, TypeError) as error:
        raise AdapterFileError(f"{file.path} has settings that this method does not know: "
                               f"{getattr(error, 'found', error)}") from error


def _inject(model: nn.Module, file: _File) -> nn.Module:
    """Put the file's method on a model, with its settings."""
    method, config = _method(file), _config(file)
    _check_axes(model, config, file)
    try:
        return method.inject(model, config)
    except (PeftTeachError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise AdapterFileError(f"{file.path} has settings that do not fit this model: "
                               f"{getattr(error, 'found', error)}",
                               expected="the settings as pt.save wrote them",
                               hint="for layers in 4 bits that the method cannot wrap, a fresh "
                                    "model" if models.quantized(model) else None) from error


def _attach(model: nn.Module, file: _File, make: core.Make) -> nn.Module:
    """Wrap again what a bare `attach` wrapped, and train a copy of what it trained one of."""
    if file.method is not None:
        raise AdapterFileError(f"{file.path} holds the method {file.method!r}.",
                               expected="make=... only for what a bare pt.attach put on",
                               hint="pt.load(model, path)")
    wrapped, also = file.says["wrapped"], file.says["also_train"]
    modules = {name for name, _ in model.named_modules()}
    strange = [name for name in (*wrapped, *also) if name not in modules]
    if strange:
        raise AdapterFileError(f"{file.path} says that {strange[0]!r} was wrapped, which this "
                               "model has not.", expected="the settings as pt.save wrote them")
    note, _ = notes.prepare(model)
    return core.wrap(model, note, dict.fromkeys(wrapped, make), tuple(also))


def _check_axes(model: nn.Module, config, file: _File) -> None:
    """Refuse an axis that the file has too few numbers for, before anything of it is built.

    For each step along its axis, every method has at least as many numbers as the narrowest linear
    layer of the backbone has features. A short axis is built, to say then what is missing.
    """
    longest = max((n for t in file.tensors.values() for n in t.shape), default=0)
    fills = sum(t.numel() for t in file.tensors.values()) // _narrowest(model)
    most = min(longest, max(fills, SHORT))
    for name in AXES:
        claimed = getattr(config, name, None)
        if is_whole(claimed, most + 1):
            raise AdapterFileError(f"{file.path} has settings that do not fit its tensors: {name} "
                                   f"{claimed}.", expected="the settings as pt.save wrote them")


def _narrowest(model: nn.Module) -> int:
    """Return the fewest features that go into or come out of a linear layer of the backbone."""
    head, sides = set(models.head(model)), []
    for name, module in model.named_modules():
        if f"{name}.weight" not in head:
            if models.is_conv1d(module):
                sides += module.weight.shape
            elif isinstance(module, nn.Linear | Linear4bit):
                sides += (module.in_features, module.out_features)
    return max(1, min(sides, default=1))


def _check_base(saved: dict, here: dict, path) -> None:
    """Compare two fingerprints: names, shapes, and values to the precision of half floats."""
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
        if not fingerprints.close(values, here[name][1]):
            raise AdapterFileError(f"{path} was made for a model with other weights: {name} "
                                   "differs.",
                                   expected="the base that the adapter was trained on",
                                   hint="load the pretrained model afresh; a merged or fully "
                                        "fine-tuned model is another base")


def _check_drawn(saved: dict, here: dict, path) -> None:
    """Compare what was drawn from a seed when the file was saved with what is drawn here."""
    for name in sorted(saved.keys() | here.keys()):
        there, found = (table.get(name, [None, []]) for table in (saved, here))
        if there[0] != found[0] or not fingerprints.close(there[1], found[1]):
            raise AdapterFileError(f"{path} was saved with another {name}: its seed draws other "
                                   "values here.", expected="those that it was trained with",
                                   hint="the version of torch that the adapter was trained with")


def _tell_of_rounding(model: nn.Module, file: _File) -> None:
    """Warn if the file was saved on a base in 4 bits and the model's is not, or the reverse."""
    here, there = bool(models.quantized(model)), file.says["quantized"]
    if here != there:
        kinds = {True: "in 4 bits", False: "exact"}
        warnings.warn(f"{file.path} was saved on a base whose weights were {kinds[there]}, and "
                      f"here they are {kinds[here]}: the outputs differ by the rounding. A fresh "
                      "model has exact ones; pt.qlora.inject makes 4 bits.", stacklevel=4)


def _copy_into(model: nn.Module, file: _File) -> None:
    """Copy all tensors into their parameters, or raise before the first is copied.

    Then warn where one base is exact and the other rounded: their fingerprints are equal.
    """
    _check_drawn(file.says["drawn"], contents.drawn(model), file.path)
    here = contents.method_state(model) | contents.head_state(model)
    folder.check(file.tensors, here, file.path)
    with torch.no_grad():
        for name, p in here.items():
            p.copy_(file.tensors[name])
    _tell_of_rounding(model, file)
