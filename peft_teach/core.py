"""The idea that carries the library: an adapter holds one frozen module, its base.

Every parameter that an `Adapter` registers *outside* `base` is its own. From this single rule
follow freezing, counting, saving, disabling, merging and removing, the same for every method:

    class LoRALinear(Adapter):
        def __init__(self, base, rank):
            super().__init__(base)
            self.A = nn.Parameter(...)      # its own
            ...

    model = attach(model, ("query", "value"), lambda base: LoRALinear(base, rank=8))
"""

import copy
import functools
import itertools
import warnings
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.func import functional_call

from . import frozen, models, state
from .errors import AlreadyAdapted, BadConfig, NoAdapter, NotMergeable, NotSupported
from .state import Note
from .valid import as_targets

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ANSWERED = ("weight", "bias", "attention_type")    # what an adapter lets its base answer for


class Adapter(nn.Module):
    """A module around one frozen module, `base`; a method is a subclass with its own `forward`.

    Own parameters are float32, whatever the dtype of the base (`attach` sees to that). A subclass
    computes its correction u with them, adds it to the base's output y, and then rounds the sum:
    `(y + u).to(y.dtype)`. If u were rounded first, half precision would lose small corrections. No
    subclass asks whether it is enabled: while it is not, a call goes straight to the base.
    """

    read_as = ""    # its name inside of torch's own modules that read weights, for `frozen.Asked`

    def __init__(self, base: nn.Module):
        super().__init__()
        self.base = base
        self._on = True
        self._blocks: list[_Block] = []    # those of `disabled` that it is in

    @property
    def enabled(self) -> bool:
        """Whether it acts: it was not set to False, and no block of `disabled` is open."""
        return self._on and not any(block.open for block in self._blocks)

    @enabled.setter
    def enabled(self, on: bool) -> None:
        self._on = on

    def __getstate__(self) -> dict:
        """Leave the blocks of `disabled` out: a copy is in none, nor is what a file brings back."""
        return {**self.__dict__, "_blocks": []}

    def __call__(self, *args, **kwargs):
        if not self.enabled:
            return self.base(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    def __getattr__(self, name: str):
        """Fall back on the base for a name such as `weight` that a subclass does not define.

        A model may look at one from outside: T5 asks for `wo.weight.dtype`, and ModernBERT asks
        a block for its `attention_type`. Those of torch's modules that compute with what they
        read, and would pass the adapter by, are told all, but get a `frozen.Asked` for a weight.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name not in ANSWERED and not self.read_as:
                raise
        found = getattr(self.base, name)
        return frozen.asked(found, self.read_as) if self.read_as and self.enabled else found

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register an own parameter, even one that shares its name with one of the base."""
        if name in ANSWERED:
            self._parameters.setdefault(name, None)    # torch would take the base's for it
        super().register_parameter(name, param)

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are not the base's, by name."""
        return {n: p for n, p in self.named_parameters() if not n.startswith("base.")}

    def own_tensors(self) -> dict[str, Tensor]:
        """Return what a file fills: the own parameters, of a trained copy its buffers, too."""
        return {**self.own_parameters()}

    def stored(self) -> Mapping[str, Tensor]:
        """Return what a file keeps of this adapter: its own tensors, unless it says less."""
        return self.own_tensors()

    def merged(self) -> nn.Module:
        """Return a new plain module with the same output; change nothing."""
        raise NotMergeable(f"{type(self).__name__} cannot be folded into a "
                           f"{type(self.base).__name__}.",
                           hint="keep the adapter on the model, or pt.remove it")


class TrainedCopy(Adapter):
    """A copy of a frozen module, trained in its place: what `also_train` puts on.

    Its weights are float32 and rounded to the base's dtype where they are used, so that small
    steps add up. Its buffers are its own, such as the means that a BatchNorm counts. A module in 4
    bits, without parameters or a `forward` raises `NotSupported`.
    """

    def __init__(self, base: nn.Module):
        super().__init__(base)
        self.trained = copy.deepcopy(base)
        own = [*self.trained.parameters()]
        called = type(base).forward is not nn.Module.forward    # a list of layers is not
        if (not own or not called or not all(p.is_floating_point() for p in own)
                or models.quantized(base)):
            raise NotSupported(f"No copy of this {type(base).__name__} could be trained.",
                               expected="a module that is called and has parameters, not in 4 bits",
                               hint="choose another for also_train")
        self.trained.requires_grad_(True)

    def forward(self, *args, **kwargs):
        return functional_call(self.trained, self.weights(), args, kwargs)

    def weights(self) -> dict[str, Tensor]:
        """Return the trained weights by name, in the dtype of the base."""
        return {name: p.to(self.base.get_parameter(name).dtype)
                for name, p in self.trained.named_parameters()}

    def own_tensors(self) -> dict[str, Tensor]:
        """Return the trained weights, and beside them the buffers that a state dict keeps."""
        return {**self.own_parameters()} | {
            f"{name}.{own}": b for name, module in self.trained.named_modules(prefix="trained")
            for own, b in frozen.buffers(module).items()}

    def merged(self) -> nn.Module:
        """Return the trained copy, in the dtype of the base."""
        module = copy.deepcopy(self.base)
        module.load_state_dict(self.weights() | dict(self.trained.named_buffers()), strict=False)
        return module


def note_of(model: nn.Module) -> Note | None:
    """Return the note on an adapted model, or None; nothing is written.

    Where adapters were put in by hand, as lesson 02 does, nobody wrote one: it is what `adopt`
    would write. The base is frozen, so its fingerprint is the one that it had.
    """
    noted, found = state.of(model), adapters(model)
    if noted.note is not None or noted.inside or not found:
        return noted.note
    own = {id(p) for adapter in found.values() for p in adapter.own_parameters().values()}
    base = [plain_name(model, name) for name, p in model.named_parameters() if id(p) not in own]
    seen, bits = fingerprint(model), checksums(model)    # a head is in no fingerprint
    return Note(noted.quantized | {name: seen[name] for name in base if name in seen},
                dict.fromkeys(base, True), {name: bits[name] for name in base if name in bits})


def need_note(model: nn.Module) -> Note:
    """Return the note on an adapted model; raise `NoAdapter` for another."""
    note = note_of(model)
    if note is None:
        raise NoAdapter("No method was put on this model.",
                        hint="model = pt.lora.inject(model, pt.lora.Config()), or pt.attach(...)")
    return note


def adopt(model: nn.Module) -> Note | None:
    """Write the note on a model into which adapters were put by hand; return that of any model.

    What was frozen by hand since then is held still, too.
    """
    found = note_of(model)
    if found is not None:
        state.change(model, note=found)
        guard(model)
    return found


def begin(model: nn.Module, config, kind: type):
    """Open an injection: return the settings, the method's default for None.

    Raises `BadConfig` for another method's settings, or what `refuse_adapted` raises.
    """
    config = kind() if config is None else config
    if not isinstance(config, kind):
        module = kind.__module__.rpartition(".")[2]
        raise BadConfig(f"The settings are a {type(config).__module__.rpartition('.')[2]}."
                        f"{type(config).__name__}.", expected=f"a pt.{module}.Config, or None")
    refuse_adapted(model)
    return config


def note(model: nn.Module, method: str | None, config) -> nn.Module:
    """Write down which method is on an adapted model, and with which settings; return it."""
    state.change(model, note=replace(need_note(model), method=method, config=config))
    return model


def refuse_adapted(model: nn.Module) -> None:
    """Raise `AlreadyAdapted` for a model that has a method, `BadConfig` for no model at all."""
    noted, found = state.of(model), adapters(model)
    refuse_sharded(model)
    if torch.is_inference_mode_enabled():
        raise BadConfig("Inside torch.inference_mode() new parameters can never be trained.",
                        hint="leave that block first, or use torch.no_grad()")
    theirs = [type(m).__name__ for m in model.modules() if type(m).__module__.startswith("peft.")]
    if theirs:
        raise AlreadyAdapted(f"Hugging Face peft put its own modules on this model: {theirs[0]}.",
                             expected="the model that peft was given, before or afterwards",
                             hint="its merge_and_unload() or unload() returns it; what it saved, "
                                  "pt.export.from_peft reads")
    if noted.note is not None and not noted.note.wraps:
        raise AlreadyAdapted("This model is fully fine-tuned, or its head is: its own weights "
                             "train, and there is nothing to take off.",
                             expected="a model that no method was put on",
                             hint="load a fresh one; fresh.load_state_dict(model.state_dict()) "
                                  "gives it what was trained")
    if noted.note is not None or noted.inside or found:
        raise AlreadyAdapted("A method was already put on this model.",
                             expected="a model without one; keep what inject returned",
                             hint="pt.remove or pt.merge it first, or load a fresh model")


def describe(model: nn.Module) -> Note:
    """Return the note that begins with this unadapted model, or the one that was begun before.

    A fingerprint reads every tensor, and quantizing changes them. So whoever takes it first stores
    it (`state.change(model, before=note)`), and `attach` continues from there.
    """
    begun = state.of(model).before
    if begun is not None:
        return begun
    return Note(fingerprint(model), {n: p.requires_grad for n, p in model.named_parameters()},
                checksums(model))


def fingerprint(model: nn.Module) -> dict[str, list]:
    """Return `{name: [shape, 16 values]}` of the backbone, by which a file recognizes its base.

    The values are evenly spaced and rounded to bfloat16, then to four digits, so that a model and
    its half-precision copy differ by one step of bfloat16 at most, and by the digits. The head is
    left out: it is new for every task. A converted layer counts as the `Conv1D` that it was, and
    a 4-bit weight as what it was before, so that a model is the same before and after.
    """
    head = set(models.head(model))
    noted = state.of(model).quantized    # a 4-bit weight is no parameter
    return noted | {name: [list(p.shape), sample(p)]
                    for name, p in _as_they_came(model).items() if name not in head}


def base_of(model: nn.Module) -> dict[str, list]:
    """Return the fingerprint of an adapted model's base; a table that was resized as it is now."""
    note = need_note(model)
    kept = note.weights | {f"{name}.weight" for name in state.of(model).converted}
    now = _laid_out(model)
    return note.fingerprint | {
        name: [list(now[name].shape), sample(now[name])]
        for name, (shape, _) in note.fingerprint.items()
        if name in now and name not in kept and list(now[name].shape) != shape}


def checksums(model: nn.Module) -> dict[str, tuple]:
    """Return `{name: checksum}` of the numbers in a model, each as it came in: all their bits."""
    return {name: checksum(p) for name, p in _as_they_came(model).items() if is_readable(p)}


def checksum(p: Tensor) -> tuple[str, int]:
    """Return a tensor's dtype, and a sum that is another if one bit of it is."""
    flat = p.detach().cpu().reshape(-1).view(torch.uint8).clone()    # NumPy pins what it is given
    return str(p.dtype), zlib.crc32(flat.numpy().data)


def is_readable(p: Tensor) -> bool:
    """Return whether these are numbers here: no bytes of another library's, no shape alone."""
    return type(p) in (Tensor, nn.Parameter) and p.dtype in FLOATS and not p.is_meta


def frozen_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that should be as they were when the method came.

    Left out is what may have become another without training: a table that was resized, a weight
    in bytes or of another library's kind, and what a `make` of one's own was given and may change,
    as PiSSA takes from the base what it puts into the adapter.
    """
    note, found = need_note(model), adapters(model).values()
    given = {id(p) for adapter in found
             for p in (adapter.own_parameters().values() if note.method else adapter.parameters())}
    return {name: p for name, p in _as_they_came(model, given).items()
            if name not in note.weights and is_readable(p)
            and note.fingerprint.get(name, [[], []])[0] == list(p.shape)}


def _as_they_came(model: nn.Module, but: Container[int] = ()) -> dict[str, Tensor]:
    """Return what `_laid_out` does, the weight of a converted layer as the `Conv1D` had it."""
    turned = {f"{name}.weight" for name in state.of(model).converted}
    return {name: p.T if name in turned else p for name, p in _laid_out(model).items()
            if id(p) not in but}


def _laid_out(model: nn.Module) -> dict[str, Tensor]:
    """Return all parameters by plain name, each in the order of numbers that it came in."""
    found: dict[str, Tensor] = {plain_name(model, n): p for n, p in model.named_parameters()}
    for name, layer in model.named_modules():
        if models.is_packed(layer):
            found[plain_name(model, f"{name}.weight")] = models.packed_weight(layer)
    return found


def sample(p: Tensor) -> list[float]:
    """Return 16 values of a tensor, as a fingerprint holds them."""
    if p.is_meta:    # a shape without numbers
        return []
    flat = p.detach().reshape(-1)
    steps = min(16, flat.numel())
    where = [i * (flat.numel() - 1) // max(1, steps - 1) for i in range(steps)]
    return [float(f"{v:.4g}") for v in flat[where].cpu().to(torch.bfloat16).tolist()]


# ── putting adapters on ──────────────────────────────────────────────────────────────────────


def attach(model: nn.Module, targets: str | tuple[str, ...],
           make: Callable[[Any], Adapter],
           layers: tuple[int, ...] | None = None,
           also_train: str | tuple[str, ...] | None = None) -> nn.Module:
    """Wrap every target in `make(base)`, freeze the backbone, leave the head trainable.

    `targets` are places (`pt.models.places(model)`), full module names or patterns of them, as in
    "*.0.*.query"; `layers` keeps only these block numbers of places. Of what `also_train` names in
    the same way, a `TrainedCopy` trains. Returns the model to keep. Raises `AlreadyAdapted`,
    `NoTargets`, `NotSupported` for a place in an unknown family, or `BadConfig` for a target in the
    head, one that is named twice, or if `make` breaks the contract; then the model is as it was.
    """
    refuse_adapted(model)
    named = as_targets(also_train, "also_train")
    also = models.find(model, named) if named else ()
    return wrap(model, models.find(model, targets, layers), make, also)


def wrap(model: nn.Module, names: tuple[str, ...], make: Callable[[Any], Adapter],
         also: tuple[str, ...] = ()) -> nn.Module:
    """Do what `attach` does, at modules that are named in full; a bare backbone is "" itself."""
    if not callable(make):
        raise BadConfig(f"make is a {type(make).__name__}.", expected="a class or a function of "
                                                                      "the module to wrap",
                        hint="lambda base: pt.lora.LoRALinear(base, rank=8)")
    head, makers = models.head(model), dict.fromkeys(names, make) | dict.fromkeys(also, TrainedCopy)
    for name in makers:
        if any(own.startswith(name + ".") for own in head):
            raise BadConfig(f"{name} belongs to the task head.",
                            expected="a target in the backbone; every method trains the head")
    _check_copied(model, names, also)
    begun = describe(model)
    with all_or_nothing(model):    # `make` may raise, and may have changed what it was given
        wrappers, converted = _build(model, makers)
        state.change(model, before=None, converted=state.of(model).converted + converted)
        return place(model, wrappers, begun)


def _check_copied(model: nn.Module, names: tuple[str, ...], also: tuple[str, ...]) -> None:
    """Raise where a copy would leave out an adapter in it, or come apart from what it shares."""
    for name in also:
        twice = next((n for n in (*names, *also) if n.startswith(f"{name}.")), None)
        if twice or name in names:
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


def place(model: nn.Module, wrappers: dict[str, Adapter], begun: Note) -> nn.Module:
    """Freeze the backbone, then put each wrapper where its base stood; return the model to keep."""
    head = set(models.head(model))
    for name, p in model.named_parameters():
        p.requires_grad_(name in head)
    for wrapper in wrappers.values():
        wrapper.base.requires_grad_(False)    # a converted layer is new: it was not frozen above
    for name in sorted(wrappers, key=_depth, reverse=True):    # an outer one hides names
        model = models.replace(model, name, wrappers[name])
        if name:
            models.move_ties(model, name, f"{name}.base")
    if "" in wrappers:
        state.change(wrappers[""].base, inside=True)
    state.change(model, note=begun)
    guard(model)
    return model


def _depth(name: str) -> int:
    return len(name.split(".")) if name else 0


def _build(model: nn.Module, makers: Mapping[str, Callable[[Any], Adapter]]
           ) -> tuple[dict[str, Adapter], tuple]:
    """Make all wrappers before any is put in place, and check each against the contract."""
    known = {id(p) for p in model.parameters()}
    wrappers, converted = {}, []
    for name, make in makers.items():
        base = model.get_submodule(name)
        if models.is_conv1d(base):
            base = models.to_linear(base)
            converted.append(name)
        wrapper = make(base)
        if not isinstance(wrapper, Adapter) or wrapper.base is not base:
            raise BadConfig(f"make(base) gave a {type(wrapper).__name__} for {name}.",
                            expected="an Adapter that holds exactly this module as its `base`",
                            hint="class Mine(pt.Adapter): ... super().__init__(base)")
        known |= {id(p) for p in base.parameters()}    # a converted layer's are new
        buffers = [n for n in wrapper.state_dict() if not n.startswith("base.")
                   and n not in wrapper.own_tensors()]
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
        beside = next(itertools.chain(base.parameters(), model.parameters()), None)
        if beside is not None:
            wrapper.to(beside.device)
        for p in wrapper.own_parameters().values():
            p.data = p.data.float()    # whatever the default dtype, or the base's
        wrappers[name] = wrapper.train(base.training)
    return wrappers, tuple(converted)


_NOTES = (state.KEY, "save_pretrained", "resize_token_embeddings", "_tied_weights_keys",
          "train", "training", "forward", "use_nested_tensor")


@contextmanager
def all_or_nothing(model: nn.Module) -> Iterator[None]:
    """If this block raises, the model's modules, modes, `requires_grad` and notes are as before."""
    modules = list(model.named_modules(remove_duplicate=False))
    notes = [{key: m.__dict__[key] for key in _NOTES if key in m.__dict__} for _, m in modules]
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        yield
    except BaseException:
        for (name, module), noted in zip(modules, notes):    # parents first
            parent, _, child = name.rpartition(".")
            if name:
                setattr(model.get_submodule(parent), child, module)
            for key in _NOTES:
                module.__dict__.pop(key, None)
            module.__dict__.update(noted)
        for p, flag in flags:
            p.requires_grad_(flag)
        raise


def guard(model: nn.Module) -> None:
    """Guard an adapted model against what torch and transformers do to it by themselves.

    Its frozen modules stay as they are, its adapters are not passed by, and what transformers saves
    or resizes goes through this library. A model without a method is let go.
    """
    frozen.let_go(model)
    if state.of(model).note is not None:
        frozen.hold_still(model)
    inside = {id(m) for reader in model.modules() if isinstance(reader, frozen.READERS)
              for m in reader.modules()}
    for name, adapter in adapters(model).items():
        adapter.read_as = name if id(adapter) in inside else ""
    models.guard_save(model)
    if adapters(model) and hasattr(type(model), "resize_token_embeddings"):
        model.__dict__["resize_token_embeddings"] = functools.partial(_resize, model)
    else:
        model.__dict__.pop("resize_token_embeddings", None)


def _resize(model: Any, *args, **options):
    """Stand for `resize_token_embeddings`: refuse where an adapter has the table's size."""
    for what in ("input", "output"):
        table = getattr(model, f"get_{what}_embeddings", lambda: None)()
        if isinstance(table, Adapter):
            raise NotSupported(f"The model's {what} embeddings carry an adapter that has their "
                               "size.", expected="a table without an adapter",
                               hint="resize before the method is put on; or pt.merge, pt.remove")
    return type(model).resize_token_embeddings(model, *args, **options)


def _set_requires_grad(model: nn.Module, flags: dict[str, bool]) -> None:
    """Put flags back by name; parameters that came later keep theirs."""
    for name, p in model.named_parameters():
        p.requires_grad_(flags.get(name, p.requires_grad))


# ── looking at them ──────────────────────────────────────────────────────────────────────────


def adapters(model: nn.Module) -> dict[str, Adapter]:
    """Return the adapters on a model by the name of the module that each one wraps."""
    models.refuse_wrapped(model)
    return {plain_name(model, n): m for n, m in model.named_modules() if isinstance(m, Adapter)}


def plain_name(model: nn.Module, name: str) -> str:
    """Return a module or parameter name as it is in the unadapted model."""
    here, kept = model, []
    for part in name.split("."):
        if not (isinstance(here, Adapter) and part == "base"):
            kept.append(part)
        here = getattr(here, part, None)
    return ".".join(kept)


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what a method trains, head excluded: `{"…query.A": parameter}`.

    These are the adapters' own parameters with `requires_grad`. For full fine-tuning, which has no
    adapter, they are the trained backbone weights. Raises `NoAdapter` on a model that no method
    was put on.
    """
    return {name: p for name, p in method_parameters(model).items() if p.requires_grad}


def method_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return all that a method added or trains, by full name, frozen parameters included."""
    note = need_note(model)
    found = adapters(model)
    if found:
        return {_join(name, own): p for name, adapter in found.items()
                for own, p in adapter.own_parameters().items()}
    return {n: p for n, p in model.named_parameters() if n in note.weights}


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of what a file keeps of a method, detached and on the CPU.

    These are the adapters' own parameters, frozen ones included. A prefix with projection keeps
    the keys and values that it makes.
    """
    found = adapters(model)
    kept = {_join(name, own): p for name, adapter in found.items()
            for own, p in adapter.stored().items()} if found else method_state(model)
    return copies(kept)


def drawn(model: nn.Module) -> dict[str, list]:
    """Return `{name: [shape, 16 values]}` of the adapters' own buffers, which no file keeps.

    What is random and frozen is drawn from a seed whenever a method is put on, and by these values
    a file knows it again: a seed alone gives other numbers in another version of torch.
    """
    return {_join(name, own): [list(buffer.shape), sample(buffer)]
            for name, adapter in adapters(model).items()
            for own, buffer in adapter.named_buffers()
            if not own.startswith("base.") and own not in adapter.own_tensors()}


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU, detached and contiguous, as a file wants them.

    Of a tensor that FSDP2 shards over processes, the whole: each process has to ask for it.
    """
    whole = {name: t.full_tensor() if is_sharded(t) else t for name, t in tensors.items()}
    return {name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, t in whole.items()}


def is_sharded(p: Tensor) -> TypeGuard[Any]:
    """Return whether this is a `DTensor`, of which each process holds a part."""
    return hasattr(p, "full_tensor")


def refuse_sharded(model: nn.Module) -> None:
    """Raise `NotSupported` for a model whose weights FSDP2 shards over processes."""
    if any(map(is_sharded, model.parameters())):
        raise NotSupported("The weights of this model are sharded over processes (FSDP2).",
                           expected="a whole model",
                           hint="inject, load, swap and merge before fully_shard. pt.save gathers "
                                "what a sharded model learned, if each process calls it")


def _join(name: str, own: str) -> str:
    return f"{name}.{own}" if name else own


class _Block:
    """One block of `disabled`: while it is open, the adapters that know it are silent."""

    open = True


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Within this block every adapter is silent: the backbone computes as before, bit for bit.

    (But for a GPT-2 in float16, whose `Conv1D`s became linear layers: these round otherwise.)
    It is so in every thread. Blocks may overlap: the adapters act again when the last has ended. An
    adapter that `swap` brings in meanwhile is silent, too, until then; one that is put on by
    `inject` or `load`, after the old ones were removed, is not, nor is a copy of the model.
    """
    block, found = _Block(), [*_need_adapters(model, "disable").values()]
    try:
        for adapter in found:
            adapter._blocks.append(block)
        yield model
    finally:
        block.open = False    # for an adapter that was swapped in, too
        for adapter in found:
            adapter._blocks.remove(block)


def stay_silent(new: Iterable[Adapter], old: Iterable[Adapter]) -> None:
    """Silence adapters where the ones they replace are silent, until the same blocks end."""
    blocks = {block for adapter in old for block in adapter._blocks if block.open}
    for adapter in new:
        adapter._blocks.extend(blocks)


def head_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the task head's parameters by the names that they have on the unadapted model."""
    head = set(models.head(model))
    named = {plain_name(model, n): p for n, p in model.named_parameters()}
    return {n: p for n, p in named.items() if n in head}


def head_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what a file keeps of the head: its parameters, and the buffers beside them."""
    return _with_buffers(model, head_parameters(model))


def method_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what a file fills of a method, buffers of what trains included."""
    found = adapters(model)
    if not found:
        return _with_buffers(model, method_parameters(model))
    return {_join(name, own): t for name, adapter in found.items()
            for own, t in adapter.own_tensors().items()}


def _with_buffers(model: nn.Module, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Add the buffers of modules that train: a BatchNorm counts means and variances there."""
    return {**parameters} | {
        plain_name(model, _join(name, own)): b
        for name, module in frozen.owners(model, parameters.values()).items()
        for own, b in frozen.buffers(module).items()}


def refuse_lost(model: nn.Module) -> None:
    """Raise `NotSupported` if a parameter of an adapted model trains that no file would keep."""
    if note_of(model) is None:
        return
    kept = {id(p) for p in (*method_parameters(model).values(), *head_parameters(model).values())}
    lost = [plain_name(model, name) for name, p in model.named_parameters()
            if p.requires_grad and id(p) not in kept]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise NotSupported(f"{lost[0]}{more} would train, and be lost: a file keeps the adapter "
                           "and the head.", expected="a frozen base",
                           hint="requires_grad_(False) before it trains; or put the method on a "
                                f"fresh model with also_train=({lost[0].rpartition('.')[0]!r},)")


# ── taking them off ──────────────────────────────────────────────────────────────────────────


def merge(model: nn.Module) -> nn.Module:
    """Fold every adapter into the module that it wraps. Returns the model to keep.

    All merged modules are made before any is put in place: if one raises `NotMergeable`, the
    model is as it was. Of a 4-bit base, layers without an adapter stay in 4 bits until
    `pt.models.to_hf`. A merged weight that was tied to another, as a `lm_head` is to the word
    embeddings, is one of its own from then on (`tie_word_embeddings` becomes False).
    """
    if torch.is_inference_mode_enabled():
        raise BadConfig("Inside torch.inference_mode() the merged weights could never be trained.",
                        hint="leave that block first, or use torch.no_grad()")
    adopt(model)
    refuse_sharded(model)
    merged = {n: models.keep_hooks(a.merged(), a.base)
              for n, a in _need_adapters(model, "merge").items()}
    for name, own, p in ((n, *named) for n, m in merged.items() for named in m.named_parameters()):
        if p.is_floating_point() and not p.is_meta and not p.isfinite().all():
            raise NotMergeable(f"Merged, {name}.{own} would hold nan or infinity.",
                               expected=f"numbers that {p.dtype} can hold",
                               hint="model.float() first, if the adapter's own are finite")
    model = _replace_all(model, merged)
    models.cut_ties(model, merged)
    return model


def remove(model: nn.Module) -> nn.Module:
    """Take every adapter off and put back what it wrapped. Returns the model to keep.

    Warns if that is a base in 4 bits: its exact weights are gone.
    """
    adopt(model)
    _need_adapters(model, "remove")
    model = undo(model)
    if models.quantized(model):
        warnings.warn("The base stays in 4 bits. pt.models.to_hf(model) makes plain layers of it, "
                      "with the rounded weights; for the exact ones load a fresh model.",
                      stacklevel=2)
    return model


def undo(model: nn.Module) -> nn.Module:
    """Forget the method on a model, full fine-tuning included; weights stay as they are."""
    return _replace_all(model, {n: a.base for n, a in adapters(model).items()})


def _replace_all(model: nn.Module, modules: dict[str, nn.Module]) -> nn.Module:
    note = need_note(model)
    state.change(model, note=None)
    for name, module in modules.items():    # outer ones come first, and uncover the inner names
        model = models.replace(model, name, module)
        if name:
            models.move_ties(model, f"{name}.base", name)
    state.change(model, inside=False)
    _set_requires_grad(model, note.requires_grad)
    guard(model)
    return model


def _need_adapters(model: nn.Module, verb: str) -> dict[str, Adapter]:
    need_note(model)
    found = adapters(model)
    if not found:
        raise NoAdapter(f"There is no adapter to {verb}: full fine-tuning changes the weights "
                        "themselves.",
                        hint="keep a copy of the base weights if you want them back")
    return found
