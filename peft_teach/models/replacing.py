"""How one module takes another's place in a model: under each name, with its hooks and ties.

    put_around    a wrapper in the place of its `base`
    put_back      a module in the place of a wrapper
    replace       any module by another
"""

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from .families import config_of


def put_around(model: nn.Module, wrappers: Mapping[str, nn.Module]) -> nn.Module:
    """Put each wrapper in the place of its `base`; return the model to keep."""
    def depth(name: str) -> int:
        return name.count(".") + bool(name)    # the model itself, "", is the outermost

    for name in sorted(wrappers, key=depth, reverse=True):    # a wrapper lengthens inner names
        model = replace(model, name, wrappers[name])
        if name:
            _move_ties(model, name, f"{name}.base")
    return model


def put_back(model: nn.Module, modules: Mapping[str, nn.Module]) -> nn.Module:
    """Put each module in the place of a wrapper; return the model to keep."""
    for name, module in modules.items():    # outer ones come first, so inner names are plain again
        wrapper: Any = model.get_submodule(name)
        model = replace(model, name, keep_mark(module, wrapper.base))
        if name:
            _move_ties(model, f"{name}.base", name)
    return model


def replace(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Put `module` in the place of `name` in `model`; return the model to keep.

    A module that the model has under several names is replaced under each. The empty name is the
    model itself: then that is `module`. Hooks belong to the place, and so to `module` from then on.
    """
    old = model.get_submodule(name)
    move_hooks(old, module)
    if not name:
        return module
    for parent in [*model.modules()]:
        for child, here in parent._modules.items():
            if here is old:
                setattr(parent, child, module)
    return model


CONVERTED = "was_conv1d"    # noted on a layer that was one, by `layers.to_linear`
TABLES = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks",
          "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_backward_pre_hooks",
          "_backward_hooks")


def keep_mark(new: nn.Module, old: nn.Module) -> nn.Module:
    """Note on a layer made of another that this one was converted, if it was; return it."""
    if CONVERTED in vars(old):
        setattr(new, CONVERTED, True)
    return new


def move_hooks(old: nn.Module, new: nn.Module) -> None:
    """Give a module the hooks of the one whose place it takes, to be called after its own.

    A table moves, so that a handle still removes its own; where both have some, those of `new` go
    into the table of `old`, and their handles no longer find them. Hooks by which torch makes a
    weight out of others, `weight_norm` and `prune`, stay with the weight.
    """
    if old._backward_hooks:
        new._is_full_backward_hook, old._is_full_backward_hook = old._is_full_backward_hook, None
    for name in TABLES:
        table = vars(old)[name]
        if not table:
            continue
        stay = {key: hook for key, hook in table.items()
                if type(hook).__module__.startswith("torch.nn.utils.")}
        move = vars(new)[name] | {key: hook for key, hook in table.items() if key not in stay}
        table.clear()
        table.update(move)
        vars(old)[name], vars(new)[name] = OrderedDict(stay), table


def drop_hooks(copied: nn.Module) -> None:
    """Take off the hooks that came with a copy: the place has them."""
    move_hooks(copied, nn.Module())


def copy_of(module: nn.Module) -> Any:
    """Return a deep copy without hooks; on modules inside it they are one and the same in both."""
    _, *inside = module.modules()
    copied = copy.deepcopy(module, {id(vars(m)[t]): vars(m)[t] for m in inside for t in TABLES})
    drop_hooks(copied)
    return copied


# ── weights that transformers ties ────────────────────────────────────────────────────────────


def _move_ties(model: nn.Module, old: str, new: str) -> None:
    """Tell transformers that the weights it ties in the module `old` are now in `new`.

    It looks for them by the names that its class lists whenever the word embeddings change.
    """
    def moved(name: str) -> str:
        return new + name[len(old):] if name.startswith(old + ".") else name

    ties = getattr(model, "_tied_weights_keys", None)
    if isinstance(ties, dict):
        _tie_by(model, {moved(a): moved(b) for a, b in ties.items()})


def cut_ties(model: nn.Module, names: Iterable[str]) -> None:
    """Let the weights of these modules be their own, where transformers ties them to others.

    An adapter was merged into them. What it learned would be lost as soon as the word embeddings
    change: transformers ties them anew.
    """
    ties = getattr(model, "_tied_weights_keys", None)
    if not isinstance(ties, dict) or not getattr(config_of(model), "tie_word_embeddings", False):
        return
    named = dict(model.named_parameters(remove_duplicate=False))
    kept = {a: b for a, b in ties.items() if named.get(a) is named.get(b)    # a pattern is no name
            or not any(tied.startswith(f"{n}.") for n in names for tied in (a, b))}
    if kept != ties:
        for name in ties.keys() - kept.keys():
            getattr(model, "all_tied_weights_keys", {}).pop(name, None)
        _tie_by(model, kept)
        config_of(model).tie_word_embeddings = bool(kept)


def _tie_by(model: nn.Module, ties: dict[str, str]) -> None:
    model.__dict__.pop("_tied_weights_keys", None)    # what the class says, where that is the same
    if getattr(model, "_tied_weights_keys", None) != ties:
        model.__dict__["_tied_weights_keys"] = ties
