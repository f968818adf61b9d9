"""Which modules a method's targets mean: places, full names, or patterns of them."""

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from ..errors import BadConfig, NoTargets, NotSupported
from ..valid import as_layers, as_targets, is_integer
from .families import LINEAR, SINGLE, family_of, places


def find(model: nn.Module, targets: str | tuple[str, ...],
         layers: tuple[int, ...] | None = None) -> tuple[str, ...]:
    """Turn targets into module names, without repeats.

    A target is a place, a full module name, or a pattern of such names, as for files, in which a
    star matches dots, too: "*.0.*.query". A module with several names is returned by its first. A
    name that is also a place, as "embeddings" is on a bare BERT, means the place. "linear" is every
    linear layer of the blocks. `layers` keeps only these blocks of the places that every block has.
    Raises `NoTargets` for a target, and `BadConfig` for a block, that the model lacks.
    """
    layers = as_layers(layers)
    first = {module: name for name, module in model.named_modules()}
    modules = {name: first[module]
               for name, module in model.named_modules(remove_duplicate=False) if name}
    chosen = [name for t in as_targets(targets) for name in _expanded(t, modules, model)]
    family = family_of(model)
    table = places(model) if family else {}
    absent = [t for t in chosen if t not in table and t not in modules]
    if absent or not chosen:
        what = ", ".join(map(repr, absent)) or "module without a name: no target was given"
        if family is None:
            ends = dict.fromkeys(name.rpartition(".")[2] for name in modules)
            close = [f"'*{end}', say; or " for t in absent for end in get_close_matches(t, ends, 1)]
            raise NotSupported(
                f"This {type(model).__name__} has no {what}; its places are not known.",
                expected="module names or patterns; here they end in " + ", ".join([*ends][:20]),
                hint="".join(close) + "print([name for name, _ in model.named_modules()])")
        close = [f"did you mean {place!r}?" for t in absent if t not in family.lacks
                 for place in get_close_matches(t, table, 1)]
        why = "; ".join(reason for place, reason in family.lacks.items() if place in absent)
        raise NoTargets(f"This model has no {what}{': ' if why else ''}{why}.",
                        expected="a place, here " + ", ".join(table) + ", or a full module name or "
                                 "a pattern, such as '*.0.*'",
                        hint=_called_elsewhere(absent, table) or " ".join(close)
                             or "print pt.models.places(model)")
    if layers is not None:
        _check_layers(layers, [table[t] for t in chosen if t in table and t not in SINGLE])
    names = []
    for target in chosen:
        here = table.get(target, (target,))
        if layers is not None and target in table and target not in SINGLE:
            here = tuple(here[i] for i in sorted(layers))
        names.extend(here)
    return tuple(dict.fromkeys(modules.get(name, name) for name in names))


def _expanded(target: str, modules: dict[str, str], model: nn.Module) -> Sequence[str]:
    """Return what "linear" or a pattern of module names stands for; of any other target, itself."""
    if target == "linear" and target not in modules:
        return linear_places(model)
    if any(sign in target for sign in "*?["):
        return [m for m in modules if fnmatchcase(m, target)] or [target]
    return [target]


def _called_elsewhere(absent: list[str], table: dict[str, tuple[str, ...]]) -> str | None:
    """Say which places are called so in another library's targets: "q_proj" is the query."""
    found = {t: [repr(place) for place, names in table.items() if names[0].endswith(f".{t}")]
             for t in absent}
    return "; ".join(f"{t!r} is {' or '.join(p)} here" for t, p in found.items() if p) or None


def query_and_value(model: nn.Module) -> tuple[str, ...]:
    """Return the places of queries and values, or of the fused projection that makes both."""
    return ("qkv",) if "qkv" in places(model) else ("query", "value")


def linear_places(model: nn.Module) -> tuple[str, ...]:
    """Return the places of this model that are one linear layer each."""
    return tuple(place for place in places(model) if place in LINEAR)


def _check_layers(layers: tuple[int, ...], chosen: list[tuple[str, ...]]) -> None:
    if not chosen:
        raise BadConfig(f"layers={layers}, and no target is a place that every block has.",
                        expected="layers=None; or targets such as 'query', 'ffn_in', 'block'")
    count = len(chosen[0])
    if not layers or not all(is_integer(i, 0, count - 1) for i in layers):
        raise BadConfig(f"layers={layers} " + ("names a block that does not exist." if layers
                                               else "names no block."),
                        expected=f"block numbers from 0 to {count - 1}, or None for all")


def place_of(model: nn.Module) -> dict[str, str]:
    """Map module names to places; empty for a family that is not known."""
    return {} if family_of(model) is None else {
        name: place for place, names in places(model).items() for name in names}
