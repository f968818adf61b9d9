"""Which modules a peft folder means: peft's rules for the names in its settings, and our targets.

    target_modules           names or their ends; or a regular expression for the whole name; or
                             "all-linear"
    layers_to_transform      blocks, of what a name's end matched
    exclude_modules, modules_to_save    what is left out
    feedforward_modules      those of (IA)³ whose input is scaled

A folder may come from a stranger: its patterns run within a fifth of a second each.
"""

import functools
import re
from pathlib import Path
from typing import Any

import regex
from torch import nn

from .. import models
from ..adapter import adapters
from ..errors import AdapterFileError
from ..nf4 import Linear4bit
from ..trained_copy import TrainedCopy

# Python's own `re` takes years for some patterns.
match, _fullmatch = (functools.partial(f, timeout=0.2) for f in (regex.match, regex.fullmatch))


def adapted(model: nn.Module) -> dict[str, Any]:
    """Return the method's own adapters, by the modules that they wrap."""
    return {name: adapter for name, adapter in adapters(model).items()
            if not isinstance(adapter, TrainedCopy)}


def targeted(model: nn.Module, settings: dict, path: str | Path) -> tuple[str, ...]:
    """Return the modules that a peft file adapts, by peft's rules, in the file's order.

    A list holds names or their ends, and `layers_to_transform` picks blocks of those matched by
    their end; a string is a regular expression for the whole name, or "all-linear".
    """
    wanted = names_in(settings, "target_modules", path)
    excluded = names_in(settings, "exclude_modules", path)
    saved = names_in(settings, "modules_to_save", path)
    modules = {name: module for name, module in model.named_modules() if name
               and not _is_match(name, excluded)
               and not any(match(rf"(^|.*\.){m}($|\..*)", name) for m in saved or ())}
    if isinstance(wanted, str) and wanted.lower() == "all-linear":
        found = _all_linear(model, modules)
    elif isinstance(wanted, str):
        found = [name for name in modules if _fullmatch(wanted, name)]
    else:
        found = [name for end in wanted or () for name in modules
                 if name == end or (ends_in(name, end) and _in_layers(name, settings))]
    if not found:
        raise AdapterFileError(f"{path} adapts {wanted!r}, and this model has no such module.",
                               expected="an adapter for this model",
                               hint="print pt.models.places(model)")
    return tuple(dict.fromkeys(found))


def _all_linear(model: nn.Module, modules: dict[str, nn.Module]) -> list[str]:
    last = getattr(model, "get_output_embeddings", lambda: None)()
    head = {name.rpartition(".")[0] for name in models.head(model)}
    return [name for name, module in modules.items() if name not in head and module is not last
            and (isinstance(module, nn.Linear | Linear4bit) or models.is_conv1d(module))]


def _in_layers(name: str, settings: dict) -> bool:
    layers, patterns = settings.get("layers_to_transform"), settings.get("layers_pattern")
    if layers is None or layers == []:
        return True
    patterns = [patterns] if isinstance(patterns, str) else patterns
    found = re.match(r".*?\.[^.]*\.(\d+)\.", name) if not patterns else next(
        filter(None, (match(rf"(?:^|.*?\.){p}\.(\d+)\.", name) for p in patterns)), None)
    return found is not None and int(found[1]) in ([layers] if isinstance(layers, int) else layers)


def _is_match(name: str, wanted: str | list[str] | None) -> bool:
    if isinstance(wanted, str):
        return _fullmatch(wanted, name) is not None
    return any(name == end or ends_in(name, end) for end in wanted or ())


def is_feedforward(name: str, inputs: str | list[str] | None) -> bool:
    """Return whether (IA)³ scales the input of this module, by `feedforward_modules`."""
    if isinstance(inputs, str):
        return _fullmatch(inputs, name) is not None
    return name.endswith(tuple(inputs or ()))


def ends_in(name: str, end: str) -> bool:
    """Return whether a module's name ends in this one, part by part."""
    return name.endswith("." + end)


def names_in(settings: dict, key: str, path: str | Path) -> str | list[str] | None:
    """Return the names in one of peft's settings, or its pattern; `AdapterFileError` for others."""
    found = settings.get(key)
    if found is None or (isinstance(found, str) and key != "modules_to_save"):
        return found
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise AdapterFileError(f"{path}: {key} is {found!r}.", expected="a list of module names")
    return found


def as_places(model: nn.Module, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple | None]:
    """Return places and blocks that mean just these modules; or else their names, and None."""
    place_of = models.place_of(model)
    table = models.places(model) if place_of else {}
    targets = tuple(dict.fromkeys(place_of.get(name, name) for name in names))
    blocks = {table[place_of[n]].index(n) for n in names
              if place_of.get(n, "last") not in models.SINGLE}
    for layers in (None, tuple(sorted(blocks)) or None):
        if {*models.find(model, targets, layers)} == {*names}:
            return targets, layers
    return names, None
