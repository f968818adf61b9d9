"""Methods overridden on an adapted model: torch's or transformers' own would bypass adapters.

    save_pretrained             saves the adapter, by `writing.save_checkpoint`; without one,
                                refuses where it would lie, by `models.guard_save`
    resize_token_embeddings     refuses where an adapter has the table's size
    train                       keeps frozen BatchNorms in eval mode
    forward                     of torch's encoder: its fast path bypasses no adapter

`core` calls `guard` when all adapters are in their places, and when they are off again.
"""

import copy
from typing import Any

from torch import Tensor, nn

from . import models, notes, running_stats
from .adapter import Adapter
from .errors import NotSupported
from .notes import Note
from .overrides import is_overridden, override
from .writing import save_checkpoint

# Torch's modules that read the weights of modules inside them, and what else these have.
READERS = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)


def guard(model: nn.Module, adapted: bool = True) -> None:
    """Guard an adapted model against what torch and transformers do to it by themselves.

    What is guarded already stays as it is. If the model is no longer `adapted`, all is undone.
    """
    carries = adapted and any(isinstance(module, Adapter) for module in model.modules())
    in_eval = running_stats.frozen_with_stats(model) if adapted else set()
    inside = {m for reader in model.modules() if isinstance(reader, READERS)
              for m in reader.modules()}
    for name, module in model.named_modules():
        if isinstance(module, Adapter):
            module.read_as, module.read_whole = name, module in inside
        if module in in_eval:
            module.training = False
        elif is_overridden(module, "train", running_stats.train_children):
            module.training = model.training
        override(module, "train", running_stats.train_children, module in in_eval)
        if isinstance(module, nn.TransformerEncoder):
            override(module, "forward", _call_encoder, carries)
    if hasattr(type(model), "resize_token_embeddings"):
        override(model, "resize_token_embeddings", _resize, carries)
    override(model, "save_pretrained", save_checkpoint, carries)
    if not carries:
        models.guard_save(model)


def adopt(model: nn.Module) -> Note | None:
    """Return the note on a model; if its adapters were put in by hand, write it first.

    What was frozen by hand since then is kept in eval mode, too.
    """
    note = notes.note_of(model)
    if note is not None:
        guard(model)
        notes.put_on(model, note)
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


def _call_encoder(encoder: nn.TransformerEncoder, *args, **kwargs) -> Tensor:
    """Stand for its `forward`: without nested tensors, which its fast path reads, if one acts."""
    if any(isinstance(module, Adapter) and module.enabled for module in encoder.modules()):
        encoder = copy.copy(encoder)
        encoder.use_nested_tensor = False
    return type(encoder).forward(encoder, *args, **kwargs)
