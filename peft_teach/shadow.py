"""A function of ours before a module's own method: in the module's `__dict__`, which is read first.

Copies and pickles of a model take it along, and `core.all_or_nothing` puts back what was there.
"""

import functools
from collections.abc import Callable

from torch import nn


def put(module: nn.Module, name: str, ours: Callable, wanted: bool = True) -> None:
    """Let `module.name(…)` be `ours(module, …)`; if not `wanted`, what stood before it again."""
    if stands(module, name, ours) == wanted:
        return
    own = vars(module)
    if wanted:
        here, shadow = own.get(name), functools.partial(ours, module)
        vars(shadow)["before"] = getattr(here, "before", {name: here} if here else {})
        own[name] = shadow
    else:
        own |= own.pop(name).before


def stands(module: nn.Module, name: str, ours: Callable) -> bool:
    """Return whether this function was put before the method of this very module."""
    here = vars(module).get(name)
    return isinstance(here, functools.partial) and here.func is ours and here.args[0] is module
