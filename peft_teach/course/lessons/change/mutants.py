"""`inject`, and versions of it, to test a test of it: some are right, and each mutant has one slip.
"""

import copy
from collections.abc import Callable, Sequence

from torch import nn

from .... import models
from ....adapter import Adapter, adapters

Make = Callable[[nn.Module], Adapter]


def inject(model: nn.Module, targets: Sequence[str], make: Make) -> nn.Module:
    """Wrap every module that has a target's name in `make(module)`; return the model to keep.

    What `make` adds and the head train, nothing else. Raises `KeyError` for an unknown target,
    before anything is changed. `pt.attach` is this and a few safeguards.
    """
    modules = dict(model.named_modules())
    hits: dict[str, nn.Module] = {}
    for target in targets:
        found = {n: m for n, m in modules.items() if n == target or n.endswith(f".{target}")}
        if not found:
            raise KeyError(f"no module is called {target!r}")
        hits |= found
    head = models.head(model)
    for name, p in model.named_parameters():
        p.requires_grad_(name in head)
    for name, base in hits.items():
        owner, _, child = name.rpartition(".")
        setattr(modules[owner], child, make(base))    # the owner itself, were it wrapped already
    return model


def _known(model: nn.Module, targets: Sequence[str]) -> list[str]:
    names = [f".{name}" for name, _ in model.named_modules()]
    return [target for target in targets if any(name.endswith(f".{target}") for name in names)]


def _raises_value_error(model: nn.Module, targets: Sequence[str], make: Make) -> nn.Module:
    try:
        return inject(model, targets, make)
    except KeyError as error:
        raise ValueError(*error.args) from None


def _refuses_late(model: nn.Module, targets: Sequence[str], make: Make) -> nn.Module:
    model = inject(model, known := _known(model, targets), make)
    if len(known) < len(targets):
        raise KeyError(f"of {targets}, only {known} are there")
    return model


def _then(slip: Callable[[nn.Module], object]) -> Callable:
    def version(model: nn.Module, targets: Sequence[str], make: Make) -> nn.Module:
        slip(model := inject(model, targets, make))
        return model

    return version


def _unwrap_last(model: nn.Module) -> None:
    *_, (name, adapter) = adapters(model).items()
    models.replace(model, name, adapter.base)


def _thaw_others(model: nn.Module) -> None:
    wrapped = {p for adapter in adapters(model).values() for p in adapter.parameters()}
    for p in set(model.parameters()) - wrapped:
        p.requires_grad_(True)


RIGHT = {
    "raises KeyError for an unknown name": inject,
    "raises ValueError for an unknown name": _raises_value_error,
    "wraps in another order": lambda model, targets, make: inject(model, targets[::-1], make),
    "returns a copy": lambda model, targets, make: inject(copy.deepcopy(model), targets, make),
}
BROKEN = {
    "accepts an unknown name among known ones": lambda model, targets, make: inject(
        model, _known(model, targets) or targets, make),
    "skips one of two": _then(_unwrap_last),
    "wraps for the first target alone": lambda model, targets, make: inject(
        model, targets if len(_known(model, targets)) < len(targets) else targets[:1], make),
    "takes query_norm for query": lambda model, targets, make: inject(
        model, [*targets, *_known(model, [f"{target}_norm" for target in targets])], make),
    "leaves the base trainable": _then(lambda model: [
        adapter.base.requires_grad_(True) for adapter in adapters(model).values()]),
    "freezes the head": _then(lambda model: [
        model.get_parameter(name).requires_grad_(False) for name in models.head(model)]),
    "leaves trainable what it did not wrap": _then(_thaw_others),
    "wraps each module twice": lambda model, targets, make: inject(
        model, targets, lambda base: make(make(base))),
    "refuses after it has changed the model": _refuses_late,
}
