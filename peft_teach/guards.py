"""What is shadowed on an adapted model, so that torch and transformers do it no harm.

    save_pretrained             saves the adapter, by `saving.save_checkpoint`
    resize_token_embeddings     refuses where an adapter has the table's size
    train                       of frozen modules: they stay as they are, see `frozen`
    forward                     of torch's encoder: it bypasses no adapter, see `bypass`

`core` calls `guard` when all adapters are in their places, and `let_go` when they are off again.
"""

import functools
from typing import Any

from torch import nn

from . import bypass, frozen, notes
from .adapter import Adapter
from .errors import NotSupported
from .models.plain import guard_save
from .notes import Note
from .saving import save_checkpoint

# In a module's `__dict__`, where they come and go with a method.
SHADOWS = ("save_pretrained", "resize_token_embeddings", "train", "forward")


def guard(model: nn.Module) -> None:
    """Guard an adapted model against what torch and transformers do to it by themselves.

    Its adapters are not bypassed, its frozen modules stay as they are, and what transformers saves
    or resizes goes through this library, unless it is fully fine-tuned: then no adapter is there to
    be saved. What is guarded already stays as it is.
    """
    if any(isinstance(module, Adapter) for module in model.modules()):
        _shadow(model)
    bypass.keep_in_path(model)
    frozen.hold_still(model)


def _shadow(model: nn.Module) -> None:
    """Stand before transformers' methods that would save a base, or resize below an adapter."""
    for name, ours in {"save_pretrained": save_checkpoint,
                       "resize_token_embeddings": _resize}.items():
        here: Any = model.__dict__.get(name)
        stands = getattr(here, "func", None) is ours and here.args == (model,)
        if not stands and (name == "save_pretrained" or hasattr(type(model), name)):
            model.__dict__[name] = functools.partial(ours, model)


def let_go(model: nn.Module) -> None:
    """Undo `guard` on a model whose adapters were taken off."""
    guard_save(model)
    model.__dict__.pop("resize_token_embeddings", None)
    bypass.keep_in_path(model, adapted=False)
    frozen.hold_still(model, adapted=False)


def adopt(model: nn.Module) -> Note | None:
    """Return the note on a model; if its adapters were put in by hand, write it first.

    What was frozen by hand since then is held still, too.
    """
    note = notes.note_of(model)
    if note is not None:
        guard(model)
        notes.write(model, note)
    return note


def _resize(model: Any, *args, **options):
    """Stand for `resize_token_embeddings`: refuse where an adapter has the table's size."""
    for what in ("input", "output"):
        table = getattr(model, f"get_{what}_embeddings", lambda: None)()
        if isinstance(table, Adapter):
            raise NotSupported(f"The model's {what} embeddings carry an adapter that has their "
                               "size.", expected="a table without an adapter",
                               hint="resize before the method is put on; or pt.merge, pt.remove")
    return type(model).resize_token_embeddings(model, *args, **options)
