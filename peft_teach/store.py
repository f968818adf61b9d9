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

import torch
from torch import nn

from . import contents, core, fingerprints, folder, guards, models, notes
from .adapter import adapters
from .errors import AdapterFileError, PeftTeachError
from .folder import as_path
from .reading import AdapterFile, read
from .wrapped import refuse_sharded
from .writing import DESCRIPTION, TENSORS, base_of, write_adapter

__all__ = ["Saved", "load", "save", "saved", "swap"]


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
    return write_adapter(model, path)


def load(model: nn.Module, path: str | Path, make: core.Make | None = None) -> nn.Module:
    """Put the adapter in the folder `path` on an unadapted model; return the model to keep.

    After a bare `attach` no method is named: give as `make` what `attach` had, `make(base)`, and
    the same modules are wrapped. Raises `AlreadyAdapted`, or `AdapterFileError` for a missing or
    damaged file, another base, other values drawn from a seed, or a missing, unexpected, misshapen
    or infinite tensor; then the model is as it was. Warns if one base of the two is in 4 bits.
    """
    file = read(path)
    notes.refuse_adapted(model)
    file.check_base(fingerprints.of_model(model, fingerprints.original_tensors(model)), model)
    with core.all_or_nothing(model):
        model = _inject(model, file) if make is None else _attach(model, file, make)
        _copy_into(model, file)
    return model


def swap(model: nn.Module, path: str | Path) -> nn.Module:
    """Exchange the adapter on `model` for the one in `path`; return the model to keep.

    Where method and settings agree, only tensors are copied, which takes milliseconds; otherwise
    the old adapter is removed and the new one loaded. A failure leaves the old one in place. After
    a bare `attach` no settings are known: what is no tensor, such as a scale, stays as attached.
    Inside `pt.disabled(model)` the new adapter is disabled, too. Warns as `load` does.
    """
    note = guards.adopt(model)
    if note is None:
        return load(model, path)
    refuse_sharded(model)
    file = read(path)
    try:
        file.check_base(base_of(model, note), model)
    except AdapterFileError:    # perhaps saved before the word embeddings were resized
        file.check_base(note.fingerprint, model)
    bare = file.method is None and note.method is None
    same = bare or (file.method == note.method and file.config() == note.config.as_stored()
                    and contents.loadable_state(model).keys() <= file.tensors.keys())
    if not same and (not note.wraps or file.method == "full"):
        raise AdapterFileError(f"{path} holds {file.method!r}, the model {note.method!r}: full "
                               "fine-tuning changed or changes the base.",
                               hint="load a fresh model, then pt.load(model, path)")
    old = adapters(model).values()
    with core.all_or_nothing(model):
        model = model if same else _inject(core.undo(model), file)
        _copy_into(model, file)
    core.keep_disabled(adapters(model).values(), old)
    return model


def saved(folder: str | Path) -> list[Saved]:
    """Return the adapters saved directly under `folder`, by name; other folders are passed over."""
    saves = []
    for path in sorted(as_path(folder).glob(f"*/{TENSORS}")):
        try:
            file = read(path.parent)
        except AdapterFileError:
            continue
        size = sum(f.stat().st_size for f in (path, path.with_name(DESCRIPTION)) if f.is_file())
        saves.append(Saved(path.parent.name, file.method,
                           sum(t.numel() for t in file.tensors.values()), size, path.parent))
    return saves


# ── the parts ────────────────────────────────────────────────────────────────────────────────


def _inject(model: nn.Module, file: AdapterFile) -> nn.Module:
    """Put the file's method on a model, with its settings."""
    method, config = file.module(), file.config()
    file.check_axes(model, config)
    try:
        return method.inject(model, config)
    except (PeftTeachError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise AdapterFileError(f"{file.path} has settings that do not fit this model: "
                               f"{getattr(error, 'found', error)}",
                               expected="the settings as pt.save wrote them",
                               hint="for layers in 4 bits that the method cannot wrap, a fresh "
                                    "model" if models.quantized(model) else None) from error


def _attach(model: nn.Module, file: AdapterFile, make: core.Make) -> nn.Module:
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
                               "model does not have.",
                               expected="the settings as pt.save wrote them")
    note, _ = notes.prepare(model)
    try:
        return core.wrap(model, note, dict.fromkeys(wrapped, make), tuple(also))
    except PeftTeachError as error:
        raise AdapterFileError(f"{file.path} says what was wrapped or trained, and it does not fit "
                               f"this model and make: {error.found}", expected=error.expected,
                               hint=error.hint) from error


def _tell_of_rounding(model: nn.Module, file: AdapterFile) -> None:
    """Warn if the file was saved on a base in 4 bits and the model's is not, or the reverse."""
    is_rounded, was_rounded = bool(models.quantized(model)), file.says["quantized"]
    if is_rounded != was_rounded:
        was, now = ("in 4 bits", "exact") if was_rounded else ("exact", "in 4 bits")
        warnings.warn(f"{file.path} was saved on a base whose weights were {was}, and "
                      f"here they are {now}: the outputs differ by the rounding. A fresh "
                      "model has exact ones; pt.qlora.inject makes 4 bits.", stacklevel=4)


def _copy_into(model: nn.Module, file: AdapterFile) -> None:
    """Copy all tensors into their parameters, or raise before the first is copied.

    Then warn where one base is exact and the other rounded: their fingerprints are equal.
    """
    file.check_drawn(contents.random_buffers(model))
    state = contents.loadable_state(model) | contents.head_state(model)
    folder.check(file.tensors, state, file.path)
    with torch.no_grad():
        for name, p in state.items():
            p.copy_(file.tensors[name])
    _tell_of_rounding(model, file)


def __getattr__(name: str):
    """Give `saved` its other name, which as a global would hide Python's own `list` here."""
    if name == "list":
        return saved
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
