"""Versions of `inject`, to test a test of it: right ones, and mutants.

All are one function with one thing changed, so that a version is broken in nothing else.
"""

import copy
from collections.abc import Callable, Iterable
from itertools import chain

from torch import nn

from .... import models
from ....core import Adapter

Make = Callable[[nn.Module], Adapter]
Hits = dict[str, list[str]]    # by target: the names of the modules that it means


def injection(
    error: type[Exception] = KeyError,
    is_hit: Callable[[str, str], bool] = lambda name, target: f".{name}".endswith(f".{target}"),
    is_missing: Callable[[Hits], bool] = lambda hits: not all(hits.values()),
    chosen: Callable[[Hits], Iterable[str]] = lambda hits: chain(*hits.values()),
    begin: Callable[[nn.Module], nn.Module] = lambda model: model,
    refuses_late: bool = False,
    end: Callable[[nn.Module, list[str]], None] = lambda model, names: None,
) -> Callable[[nn.Module, tuple[str, ...], Make], nn.Module]:
    """Return an `inject`; each argument is one of its decisions."""
    def inject(model: nn.Module, targets: tuple[str, ...], make: Make) -> nn.Module:
        model = begin(model)
        modules = dict(model.named_modules())
        hits = {t: [name for name in modules if is_hit(name, t)] for t in targets}
        refusal = error(f"no module is called {[t for t in hits if not hits[t]]}")
        if is_missing(hits) and not refuses_late:
            raise refusal
        names = list(dict.fromkeys(chosen(hits)))
        head = models.head(model)
        for name, p in model.named_parameters():
            p.requires_grad_(name in head)
        for name in names:
            owner, _, child = name.rpartition(".")
            setattr(modules[owner], child, make(modules[name]))
        if is_missing(hits):
            raise refusal
        end(model, names)
        return model

    return inject


def _thaw_bases(model: nn.Module, names: list[str]) -> None:
    for name in names:
        model.get_submodule(name).base.requires_grad_(True)


def _freeze_head(model: nn.Module, names: list[str]) -> None:
    for name in models.head(model):
        model.get_parameter(name).requires_grad_(False)


def _thaw_others(model: nn.Module, names: list[str]) -> None:
    for name, p in model.named_parameters():
        if not name.startswith(tuple(f"{wrapped}." for wrapped in names)):
            p.requires_grad_(True)


def _wrap_again(model: nn.Module, names: list[str]) -> None:
    for name in names:
        wrapper = model.get_submodule(name)
        models.replace(model, name, type(wrapper)(wrapper))


RIGHT = {
    "raises KeyError for an unknown name": injection(KeyError),
    "raises ValueError for an unknown name": injection(ValueError),
    "wraps in another order": injection(
        KeyError, chosen=lambda hits: reversed([*chain(*hits.values())])),
    "returns a copy": injection(ValueError, begin=copy.deepcopy),
}
BROKEN = {
    "accepts an unknown name among known ones": injection(
        is_missing=lambda hits: not any(hits.values())),
    "skips one of two": injection(chosen=lambda hits: [name for t in hits for name in hits[t][:1]]),
    "wraps for the first target alone": injection(chosen=lambda hits: next(iter(hits.values()))),
    "takes query_norm for query": injection(
        is_hit=lambda name, target: name.rpartition(".")[2].startswith(target)),
    "leaves the base trainable": injection(end=_thaw_bases),
    "freezes the head": injection(end=_freeze_head),
    "leaves trainable what it did not wrap": injection(end=_thaw_others),
    "wraps each module twice": injection(end=_wrap_again),
    "refuses after it has changed the model": injection(refuses_late=True),
}
