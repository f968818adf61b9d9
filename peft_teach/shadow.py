"""A function of ours before a module's own method: in the module's `__dict__`, which is read first.

Copies and pickles of a model take it along, and `core.all_or_nothing` puts back what was there.
"""

import functools
from collections.abc import Callable

from torch import nn


def put(module: nn.Module, name: str, ours: Callable, wanted: bool = True) -> None:
    """Let `module.name(…)` be `ours(module, …)`; if not `wanted`, the module's own again."""
    if stands(module, name, ours) != wanted:
        vars(module).pop(name, None)
        if wanted:
            vars(module)[name] = functools.partial(ours, module)


def stands(module: nn.Module, name: str, ours: Callable) -> bool:
    """Return whether this function was put before the method of this very module."""
    here = vars(module).get(name)
    return isinstance(here, functools.partial) and here.func is ours and here.args[0] is module
