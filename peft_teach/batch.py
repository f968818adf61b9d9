"""What a batch must be before a model reads it: names, dtypes, shapes and ranges, said in words.

    input_ids       (batch, seq)  int64   each below the size of the vocabulary
    inputs_embeds   (batch, seq, d_model)  in their place
    attention_mask  (batch, seq)  0 or 1
    labels          (batch,) or (batch, 1), of a language model, a masked one too, (batch, seq)

Otherwise a mistake would show as an error of torch's, many calls later, or not at all.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from . import models
from .backbone import BackboneAdapter
from .errors import BadData, NotSupported, kind_of
from .padding import positions_in_text
from .valid import is_several
from .wrapped import refuse_wrapped

Batch = dict[str, Tensor]

BESIDE = ("token_type_ids", "position_ids")    # integers beside the ids, of their shape


def as_list(batches: Iterable) -> list:
    """Return batches as a list; `BadData` for what is not several."""
    if is_several(batches) and not isinstance(batches, Tensor):
        return list(batches)
    raise BadData(f"batches is {kind_of(batches)}.", expected="a list of dicts of tensors",
                  hint="pt.data.batches(examples, tokenizer)")


def check(model: nn.Module, batch: Mapping[str, Tensor], labelled: bool = True) -> None:
    """Raise `BadData` for a batch that this model cannot read, or without labels if it needs them.

    Of a model that is not transformers' own little is known: only that it takes named tensors.
    """
    if not isinstance(batch, Mapping) or not all(
            isinstance(x, Tensor) and isinstance(name, str) for name, x in batch.items()):
        raise BadData(f"A batch is {kind_of(batch)}: {batch!r:.60}.",
                      expected="a list of dicts of tensors",
                      hint="[batch], where there is one; or pt.data.batches(examples, tokenizer)")
    if labelled and "labels" not in batch:
        raise BadData(f"A batch holds {', '.join(batch)}, but no 'labels'.",
                      hint="pt.data.batches puts the labels into each batch")
    takes = inspect.signature(model.forward).parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in takes):
        strange = [name for name in batch if name not in {p.name for p in takes}]
        if strange:
            raise BadData(f"A batch holds {strange[0]!r}, which this {type(model).__name__} does "
                          "not take.", expected=", ".join(p.name for p in takes))
    here = next(model.parameters(), None)
    for name, x in batch.items():
        if name in ("past_key_values", "cache"):
            raise _unfit(name, x, "no cache in a batch")
        if x.is_complex() or (x.is_meta and here is not None and not here.is_meta):
            raise _unfit(name, x, "real numbers, and not on the meta device")
    reads_text = getattr(model, "main_input_name", None) == "input_ids"
    shape = _check_text(model, batch) if reads_text else None
    if "labels" in batch:
        _check_labels(model, batch["labels"], shape)


def _check_text(model: Any, batch: Mapping[str, Tensor]) -> tuple[int, int]:
    """Raise `BadData` for words that this model cannot read; return their (batch, seq)."""
    given = [name for name in ("input_ids", "inputs_embeds") if name in batch]
    if len(given) != 1:
        raise BadData(f"A batch holds {', '.join(batch)}.",
                      expected="either 'input_ids' or 'inputs_embeds'")
    x = batch[given[0]]
    words, d_model = _table(model)
    if given == ["input_ids"]:
        _check_whole("input_ids", x, "(batch, seq)", x.ndim == 2 and x.numel() > 0, words,
                     "use the tokenizer that belongs to this model")
    elif not (x.is_floating_point() and x.ndim == 3 and x.numel() and d_model in (0, x.shape[2])):
        raise _unfit("inputs_embeds", x, f"floats of shape (batch, seq, {d_model})")
    batch_size, seq = shape = x.shape[:2]
    mask = batch.get("attention_mask")
    if mask is not None and (mask.shape != shape if mask.ndim <= 2 else len(mask) != batch_size):
        raise _unfit("attention_mask", mask, f"the shape of the tokens, {tuple(shape)}")
    if mask is not None and mask.ndim == 2 and not mask.is_meta and (mask.bool() != mask).any():
        raise BadData("attention_mask holds other numbers than 0 and 1.",
                      expected="1 for a token, and 0 for padding")
    config = models.config_of(model)
    front = max((getattr(m, "length", 0) for m in model.modules()
                 if isinstance(m, BackboneAdapter)), default=0)
    longest = _positions(model)
    if longest and seq + front > longest:
        before = f", {front} vectors before them," if front else ""
        raise BadData(f"A batch has rows of {seq} tokens{before} and this model has {longest} "
                      "positions.", hint=f"max_tokens={longest - front}, or cut the texts")
    for name, size in zip(BESIDE, (getattr(config, "type_vocab_size", 0), longest - front)):
        if name in batch:
            fits = batch[name].shape in (shape, (1, seq))
            _check_whole(name, batch[name], str(tuple(shape)), fits, max(0, size))
    return batch_size, seq


def _check_labels(model: nn.Module, labels: Tensor, shape: tuple[int, int] | None) -> None:
    """Raise `BadData` for labels that are no classes of this model, or not one for each row."""
    classes, words = _number_of_classes(model), models.can_generate(model)
    kind = getattr(getattr(model, "config", None), "problem_type", None)
    if shape is not None:
        rows = ((shape[0],), (shape[0], 1))
        many = (shape[0], getattr(model, "num_labels", shape[1]))    # a masked model's: tokens
        one = labels.dtype == torch.int64
        if models.is_language_model(model):
            fits, says = one and labels.shape == shape, f"int64 of the tokens' shape, {shape}"
        elif words:
            fits, says = one and labels.ndim == 2 and len(labels) == shape[0], (
                f"int64 of shape ({shape[0]}, seq)")
        elif classes is None:
            fits, says = labels.shape in (*rows, many), f"shape {rows[0]} or {many}"
        else:
            several = kind is None and labels.is_floating_point() and labels.shape == many
            fits, says = several or (one and labels.shape in (*rows, shape)), (
                f"int64 of shape {rows[0]}: one class a row; or 0.0 and 1.0 of shape {many}")
        if not fits:
            raise _unfit("labels", labels, says)
    if labels.is_meta:
        return
    if labels.is_floating_point() and not labels.isfinite().all():
        raise BadData("The labels hold nan or infinity.", expected="finite numbers")
    if classes is None or labels.is_floating_point():    # several classes at once, or a regression
        return
    strange = labels[(labels != -100) & ((labels < 0) | (labels >= classes))]
    if len(strange):
        raise BadData(f"A batch holds the label {strange[0]}, and this model has {classes} "
                      f"{'tokens' if words else 'classes'}.",
                      expected=f"labels from 0 to {classes - 1}; -100 where nothing is asked",
                      hint="use the tokenizer that belongs to this model" if words else
                           "count the classes from 0, or load the model with labels=N for N of "
                           "them")


def ready(model: nn.Module, batch: Batch) -> Batch:
    """Return the batch on the model's device, and a language model's rows as they would be alone.

    Nothing is asked of padding, nor of the token behind it. Where padding precedes a row, positions
    count from its first token, as `generate` counts. Models themselves count the padding, too,
    which moves the text away from GPT-2's learned positions, and from any prompt or prefix.
    """
    device = next(model.parameters()).device
    batch = {name: x.to(device) for name, x in batch.items()}
    mask = batch.get("attention_mask")
    if mask is None or mask.ndim != 2 or not models.is_language_model(model):
        return batch
    if "labels" in batch:
        asked = mask.bool() & mask.bool().roll(1, 1)    # (batch, seq); the first never is
        batch["labels"] = batch["labels"].masked_fill(~asked, -100)
    position = positions_in_text(mask)                  # (batch, seq)
    if position is not None and "position_ids" not in batch:
        if "position_ids" in inspect.signature(model.forward).parameters:
            batch["position_ids"] = position
        else:
            refuse_wrapped(model)    # a wrapper does not say what it takes
    return batch


def tokens_in(batch: Batch) -> int:
    """Return how many real tokens a batch holds; 0 for images."""
    mask, ids = batch.get("attention_mask"), batch.get("input_ids")
    return int(mask.sum()) if mask is not None else 0 if ids is None else ids.numel()


def _number_of_classes(model: nn.Module) -> int | None:
    """Return how many classes a classifier has, or tokens what generates; None for others."""
    if models.can_generate(model):
        return models.config_of(model).get_text_config().vocab_size
    kind = getattr(getattr(model, "config", None), "problem_type", None)
    classes = getattr(model, "num_labels", 1)
    return classes if classes > 1 and kind in (None, "single_label_classification") else None


def _table(model: Any) -> tuple[int, int]:
    """Return the size of the vocabulary and of an embedding; zeros where transformers finds none.

    It finds none through a wrapper around the backbone.
    """
    try:
        words, d_model = model.get_input_embeddings().weight.shape
    except (NotImplementedError, AttributeError):
        return 0, 0
    return words, d_model


def _positions(model: nn.Module) -> int:
    """Return how many tokens have a position in a model that learned one for each; else 0."""
    tables = ("position_embeddings", "wpe", "embed_positions")
    if not any(isinstance(m, nn.Embedding) and name.rpartition(".")[2] in tables
               for name, m in model.named_modules()):
        return 0
    try:
        return models.longest_input(model)
    except NotSupported:    # of a family that is not known
        return 0


def _check_whole(name: str, x: Tensor, shape: str, fits: bool, size: int,
                 hint: str | None = None) -> None:
    """Raise `BadData` unless these are whole numbers of the right shape, from 0 to below `size`."""
    if x.dtype not in (torch.int64, torch.int32) or not fits:
        raise _unfit(name, x, f"int64 of shape {shape}")
    if not x.is_meta and x.numel() and (x.min() < 0 or (size and x.max() >= size)):
        raise BadData(f"{name} goes from {x.min()} to {x.max()}.",
                      expected=f"numbers from 0{f' to {size - 1}' if size else ''}", hint=hint)


def _unfit(name: str, x: Tensor, expected: str) -> BadData:
    kind = str(x.dtype).removeprefix("torch.")
    return BadData(f"{name} is {kind} of shape {tuple(x.shape)}.", expected=expected,
                   hint="pt.data.batches(examples, tokenizer) makes batches that fit")
