"""What fails leaves the model as it was: its modules, modes, `requires_grad` and notes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from . import guards, state

# What comes and goes with a method, in a module's `__dict__`.
_MARKS = (state.KEY, *guards.SHADOWS, "_tied_weights_keys", "training", "use_nested_tensor")


@contextmanager
def all_or_nothing(model: nn.Module) -> Iterator[None]:
    """If this block raises, the model's modules, modes, `requires_grad` and notes are as before."""
    modules = list(model.named_modules(remove_duplicate=False))
    before = [{key: m.__dict__[key] for key in _MARKS if key in m.__dict__} for _, m in modules]
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        yield
    except BaseException:
        for (name, module), marks in zip(modules, before):    # parents first
            parent, _, child = name.rpartition(".")
            if name:
                setattr(model.get_submodule(parent), child, module)
            for key in _MARKS:
                module.__dict__.pop(key, None)
            module.__dict__.update(marks)
        for p, flag in flags:
            p.requires_grad_(flag)
        raise
