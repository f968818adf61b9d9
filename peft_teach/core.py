"""How adapters get onto a model, and off it again: attach, freeze, disable, merge, remove.

    model = attach(model, ("query", "value"), lambda base: LoRALinear(base, rank=8))

What an `Adapter` is, `adapter.py` says: a module around one frozen module, its base. Here each one
is put in the place of its base, and the base is put back, or the two become one. Whatever fails,
the model is as it was. First `notes` records the unadapted model; last, `guards` overrides what
would bypass the adapters.
"""

import inspect
import itertools
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from . import guards, models, notes
from .adapter import Adapter, adapters
from .errors import BadConfig, NoAdapter, NotMergeable, NotSupported, kind_of
from .models import replacing
from .notes import Note, prepare
from .trained_copy import TrainedCopy
from .valid import as_targets
from .wrapped import refuse_sharded

Make = Callable[[Any], Adapter]    # of the module to wrap

# ── putting adapters on ──────────────────────────────────────────────────────────────────────


def attach(model: nn.Module, targets: str | tuple[str, ...], make: Make,
           layers: tuple[int, ...] | None = None,
           also_train: str | tuple[str, ...] | None = None) -> nn.Module:
    """Wrap every target in `make(base)`, freeze the backbone, leave the head trainable.

    `targets` are places (`pt.models.places(model)`), full module names or patterns of them, as in
    "*.0.*.query"; `layers` keeps only these block numbers of places. What `also_train` names in
    the same way is trained as a `TrainedCopy`. Returns the model to keep. Raises `AlreadyAdapted`,
    `NoTargets`, `NotSupported` for a place in an unknown family, or `BadConfig` for a target in the
    head, one in `also_train`, too, or if `make` breaks the contract; then the model is as it was.
    """
    note, _ = prepare(model)
    return wrap(model, note, dict.fromkeys(models.find(model, targets, layers), make),
                as_targets(also_train, "also_train"))


def wrap(model: nn.Module, note: Note, makers: Mapping[str, Make],
         also_train: tuple[str, ...] | None = None) -> nn.Module:
    """Wrap each module in what its `make(base)` returns: what every `inject` ends with.

    `makers` names modules in full; "" is a bare backbone itself. What `also_train` names, as
    targets do, gets trained copies. Everything but the adapters and the head is frozen, and `note`
    is on the model that is returned. Raises `BadConfig` for a module in the head, one in both, or
    if `make` breaks the contract; then the model is as it was.
    """
    also = models.find(model, also_train) if also_train else ()
    head = {*models.head(model)}
    _check_targets(makers, also, head)
    _check_copies(model, also, makers)
    makers = {**makers, **dict.fromkeys(also, TrainedCopy)}
    with all_or_nothing(model):    # but for numbers that `make` changed in place
        wrappers = _build(model, makers)
        for name, p in model.named_parameters():
            p.requires_grad_(name in head)
        for wrapper in wrappers.values():
            wrapper.base.requires_grad_(False)    # a converted layer is new: it was not frozen yet
        model = replacing.put_around(model, wrappers)
        guards.guard(model)
        notes.put_on(model, note)
        return model


def _build(model: nn.Module, makers: Mapping[str, Make]) -> dict[str, Adapter]:
    """Make all wrappers before any is put in place, and check each against the contract."""
    known = {id(p) for p in model.parameters()}
    wrappers = {}
    for name, make in makers.items():
        base = models.as_linear(model.get_submodule(name))
        try:
            wrapper = make(base)
        except Exception as error:
            error.add_note(f"That was at {name}.")
            raise
        if not isinstance(wrapper, Adapter) or wrapper.base is not base:
            raise BadConfig(f"make(base) gave {kind_of(wrapper)} for {name}.",
                            expected="an Adapter that holds exactly this module as its `base`",
                            hint="class Mine(pt.Adapter): ... super().__init__(base)")
        known |= {id(p) for p in base.parameters()}    # a converted layer's are new
        _check_contract(wrapper, known)
        beside = next(itertools.chain(base.parameters(), base.buffers(), model.parameters()), None)
        if beside is not None:
            wrapper.to(beside.device)
        for p in wrapper.own_parameters().values():
            p.data = p.data.float()    # whatever the default dtype, or the base's
        for module in {*wrapper.modules()} - {*base.modules()}:
            module.training = base.training
        wrappers[name] = wrapper
    return wrappers


# ── disabling them ───────────────────────────────────────────────────────────────────────────

ENDING = threading.RLock()    # held while a block of `disabled` ends: none is joined meanwhile


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Within this block each adapter is disabled: the backbone computes as before, bit for bit.

    (GPT-2's `Conv1D`s stay linear layers, whose kernel may round differently; a base in 4 bits
    stays so.)
    This holds in every thread. Blocks may overlap: the adapters act again when the last has ended.
    What `swap` brings in meanwhile is disabled, too; a copy, or what `inject` puts on, is not.
    """
    block = _Block()
    try:
        block.disable(_need_adapters(model, "disable").values())
        yield model
    finally:
        with ENDING:
            for adapter in block.adapters:
                adapter.disabled_by.remove(block)


def keep_disabled(new: Iterable[Adapter], old: Iterable[Adapter]) -> None:
    """Disable adapters where those that they replace are disabled, until the same blocks end."""
    with ENDING:
        for block in {b for adapter in old for b in adapter.disabled_by}:
            block.disable(new)


class _Block:
    """The adapters that are disabled in one open block of `disabled`."""

    def __init__(self):
        self.adapters: set[Adapter] = set()

    def disable(self, more: Iterable[Adapter]) -> None:
        for adapter in {*more} - self.adapters:
            adapter.disabled_by.append(self)
            self.adapters.add(adapter)


# ── taking them off ──────────────────────────────────────────────────────────────────────────


def merge(model: nn.Module) -> nn.Module:
    """Fold every adapter into the module that it wraps. Returns the model to keep.

    All merged modules are made before any is put in place: if one raises `NotMergeable`, as a
    disabled adapter does, the model is as it was. In a 4-bit base, layers without an adapter stay
    in 4 bits until `pt.models.to_hf`. A merged weight that was tied to another, as a `lm_head` is
    to the word embeddings, is its own from then on (`tie_word_embeddings` becomes False).
    """
    if torch.is_inference_mode_enabled():
        raise BadConfig("Inside torch.inference_mode() the merged weights could never be trained.",
                        hint="leave that block first, or use torch.no_grad()")
    refuse_sharded(model)
    by_name = _need_adapters(model, "merge")
    off = [n for n, a in by_name.items() if not a.enabled]
    if off:
        raise NotMergeable(f"The adapter at {off[0] or 'the model'} is disabled; merged, it would "
                           "act.", expected="merging outside of pt.disabled(model)",
                           hint="pt.remove(model), for the model without any")
    merged = {n: a.merged() for n, a in by_name.items()}
    for name, module in merged.items():
        if not isinstance(module, nn.Module):
            raise BadConfig(f"merged() gave {kind_of(module)} for {name or 'the model'}.",
                            expected="a new plain module with the same output")
        for own, p in module.named_parameters():
            if p.is_floating_point() and not p.is_meta and not p.isfinite().all():
                raise NotMergeable(f"Merged, {name}.{own} would hold nan or infinity.",
                                   expected=f"numbers that {p.dtype} can hold",
                                   hint="model.float() first, if the adapter's own are finite")
    for name, module in merged.items():    # a hook on a base is not copied: it moves
        replacing.drop_hooks(module)
        replacing.move_hooks(by_name[name].base, module)
    model = _put_back(model, merged)
    replacing.cut_ties(model, merged)
    return model


def remove(model: nn.Module) -> nn.Module:
    """Take every adapter off and put back what it wrapped. Returns the model to keep.

    Warns if that is a base in 4 bits: its exact weights are gone.
    """
    _need_adapters(model, "remove")
    model = undo(model)
    if models.quantized(model):
        warnings.warn("The base stays in 4 bits. pt.models.to_hf(model) makes plain layers of it, "
                      "with the rounded weights; for the exact ones load a fresh model.",
                      stacklevel=2)
    return model


def undo(model: nn.Module) -> nn.Module:
    """Forget the method on a model, full fine-tuning included; weights stay as they are."""
    return _put_back(model, {n: a.base for n, a in adapters(model).items()})


def _put_back(model: nn.Module, modules: dict[str, nn.Module]) -> nn.Module:
    """Put each module where an adapter stood, and give every parameter its old `requires_grad`."""
    note = notes.written(model)
    model = replacing.put_back(model, modules)
    for name, p in model.named_parameters():    # one that came later keeps its own
        was = True if note is None else note.requires_grad.get(name, p.requires_grad)
        p.requires_grad_(was and p.is_floating_point())    # bytes of a packed layer never train
    notes.clear(model)
    guards.guard(model, adapted=False)
    return model


def _need_adapters(model: nn.Module, verb: str) -> dict[str, Adapter]:
    """Return the adapters on a model; raise `NoAdapter` if there is none to `verb`."""
    by_name = adapters(model)
    if by_name:
        return by_name
    if notes.written(model) is None:
        raise notes.no_method()
    raise NoAdapter(f"There is no adapter to {verb}: full fine-tuning changes the weights "
                    "themselves.", hint="keep a copy of the base weights if you want them back")


# ── all or nothing ───────────────────────────────────────────────────────────────────────────


@contextmanager
def all_or_nothing(model: nn.Module) -> Iterator[None]:
    """If this block raises, the modules, all that they hold, and `requires_grad` are as before.

    Numbers that were changed in place, by `copy_`, are not.
    """
    held = [(own, own.copy()) for m in model.modules() for own in (vars(m), *vars(m).values())
            if isinstance(own, dict | set)]    # attributes, and tables of parameters, hooks, …
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        yield
    except BaseException:
        for own, before in held:
            own.clear()
            own.update(before)
        for p, flag in flags:
            p.requires_grad_(flag)
        raise


# ── what cannot be put on ────────────────────────────────────────────────────────────────────


def _check_contract(wrapper: Adapter, known: set[int]) -> None:
    """Raise `BadConfig` unless what is outside an adapter's base is parameters of its own.

    `known` holds the `id` of each parameter that the model has already.
    """
    kept = {**wrapper.own_parameters(), **wrapper.stored()}
    buffers = [n for n in wrapper.state_dict() if not n.startswith("base.") and n not in kept]
    if buffers:
        raise BadConfig(f"{type(wrapper).__name__} registers the buffer {', '.join(buffers)}, "
                        "and a file keeps parameters only.",
                        expected="nn.Parameter(tensor, requires_grad=False), which is kept; or "
                                 "register_buffer(..., persistent=False), if it is drawn from "
                                 "a seed: a file keeps 16 values of it")
    shared = [n for n, p in wrapper.own_parameters().items() if id(p) in known]
    if shared:
        raise BadConfig(f"{type(wrapper).__name__} registers {', '.join(shared)}, which the "
                        "model already has.",
                        expected="own parameters only: all that is outside `base` is trained",
                        hint="keep a second frozen module unregistered, in a tuple or list")


def _check_targets(makers: Mapping[str, Make], also: tuple[str, ...], head: set[str]) -> None:
    """Raise `BadConfig` for a target that cannot be wrapped, or copied."""
    for make in makers.values():
        try:
            inspect.signature(make).bind("base")
            wrong = "it is a module already" * isinstance(make, nn.Module)
        except (TypeError, ValueError) as error:    # the second of a builtin, such as dict
            wrong = str(error)
        if wrong:
            raise BadConfig(f"make cannot be called as make(base): {wrong}.",
                            expected="a class or a function of the module to wrap",
                            hint="lambda base: pt.lora.LoRALinear(base, rank=8)")
    for name in (*makers, *also):
        if any(own.startswith(name + ".") for own in head):
            raise BadConfig(f"{name} belongs to the task head.",
                            expected="a target in the backbone; every method trains the head")


def _check_copies(model: nn.Module, names: tuple[str, ...], wrapped: Mapping[str, Make]) -> None:
    """Raise `BadConfig` or `NotSupported` for a module of which no copy may train.

    A copy would leave out an adapter inside it, and come apart from a weight that it shares.
    `wrapped` names the modules that get an adapter.
    """
    for name in names:
        twice = next((n for n in (*wrapped, *names) if n.startswith(f"{name}.")), None)
        if twice or name in wrapped:
            raise BadConfig(f"also_train holds {name}, and {twice or name} is named, too.",
                            expected="each module once: trained itself, or through an adapter")
        copied = model.get_submodule(name)
        inside = {id(p) for p in copied.parameters()}
        here = tuple(f"{n}." for n, m in model.named_modules(remove_duplicate=False) if m is copied)
        shared = next((n for n, p in model.named_parameters(remove_duplicate=False)
                       if id(p) in inside and not n.startswith(here)), None)
        if shared:
            raise NotSupported(f"{name} shares a weight with {shared}, and a trained copy would "
                               "come apart from it.",
                               expected="also_train=(…) with modules whose weights are their own")
