"""A training loop that can be read: one generator, one step at a time.

    for step in pt.train(model, batches, lr=2e-3):
        print(step.index, step.loss)

AdamW, a linear warm-up and then a linear decay to zero, gradients clipped to norm 1. Whatever has
`requires_grad` is trained; what that is, the method has decided.
"""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from . import models
from .errors import BadConfig, BadData, TrainingStopped

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Step:
    """What one step of training did.

    `loss` is the mean over the batch before the update, `tokens` the real tokens in it, `seconds`
    the time from batch to updated weights, `lr` the rate of the first group at this step.
    """

    index: int
    loss: float
    tokens: int
    seconds: float
    lr: float


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and accuracy (from 0 to 1) over `examples` examples."""

    loss: float
    accuracy: float
    examples: int


def seed(n: int) -> None:
    """Seed Python, NumPy and torch, so that a run can be repeated on the same machine."""
    random.seed(n)
    np.random.seed(n)
    torch.manual_seed(n)


def train(model: nn.Module, batches: Sequence[Batch], lr: float = 2e-3, *,
          groups: list[dict] | None = None, warmup: float = 0.1, clip: float = 1.0,
          weight_decay: float = 0.0) -> Iterator[Step]:
    """Train once over `batches`, dicts of tensors with `labels`; yield a `Step` after each one.

    `groups` are optimizer groups with rates of their own (LoRA+); without them all that trains
    learns at `lr`. `warmup` is the share of steps in which the rate rises to its full value.
    Stopping early is safe: the model is back in eval mode when the generator ends or is dropped.
    Raises `BadData` for no batches or batches without labels, `BadConfig` if nothing trains, and
    `TrainingStopped`, with the steps that were done, when it is interrupted.
    """
    batches = list(batches)
    if not batches:
        raise BadData("There are no batches to train on.",
                      hint="batches = pt.data.batches(examples, tokenizer)")
    if "labels" not in batches[0]:
        raise BadData(f"A batch holds {', '.join(batches[0])}, but no 'labels'.",
                      hint="pt.data.batches puts the labels into each batch")
    if not lr > 0:
        raise BadConfig(f"lr is {lr!r}.", expected="a positive learning rate")
    groups = [dict(group) for group in groups or ()] or [    # copies: the optimizer writes in them
        {"params": [p for p in model.parameters() if p.requires_grad]}]
    if not any(group["params"] for group in groups):
        raise BadConfig("No parameter of this model trains.",
                        hint="put a method on it: model = pt.lora.inject(model)")
    return _steps(model, batches, groups, lr, warmup, clip, weight_decay)


def _steps(model, batches, groups, lr, warmup, clip, weight_decay) -> Iterator[Step]:
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: rate(i, len(batches), warmup))
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    place = next(model.parameters()).device
    done: list[Step] = []
    model.train()
    try:
        for index, batch in enumerate(batches):
            start, now = time.perf_counter(), optimizer.param_groups[0]["lr"]
            loss = model(**{k: v.to(place) for k, v in batch.items()}).loss
            loss.backward()
            nn.utils.clip_grad_norm_(trained, clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            value = loss.item()
            done.append(Step(index, value, _tokens(batch), time.perf_counter() - start, now))
            yield done[-1]
    except KeyboardInterrupt:
        raise TrainingStopped(done, len(batches)) from None
    finally:
        optimizer.zero_grad(set_to_none=True)    # an interrupt leaves half a step's gradients
        model.eval()


def rate(index: int, steps: int, warmup: float) -> float:
    """Return the learning rate's factor at step `index` of `steps`: up to 1, then down to 0."""
    rising = max(1, round(warmup * steps))
    if index < rising:
        return (index + 1) / rising
    return (steps - index) / max(1, steps - rising + 1)


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch]) -> Evaluation:
    """Return loss and accuracy of a classifier on `batches`; each module's mode is kept.

    Accuracy counts the examples whose largest logit is the label's. Raises `BadData` for no
    examples or no labels.
    """
    place = next(model.parameters()).device
    loss = right = count = 0
    with models.in_mode(model, training=False):
        for batch in batches:
            if "labels" not in batch:
                raise BadData(f"A batch holds {', '.join(batch)}, but no 'labels'.",
                              hint="pt.data.batches puts the labels into each batch")
            out = model(**{k: v.to(place) for k, v in batch.items()})
            labels = batch["labels"].to(place)                       # (batch,)
            right += (out.logits.argmax(-1) == labels).sum().item()
            loss += out.loss.item() * len(labels)
            count += len(labels)
    if not count:
        raise BadData("There are no batches to evaluate on.",
                      hint="batches = pt.data.batches(examples, tokenizer, shuffle=False)")
    return Evaluation(loss / count, right / count, count)


def _tokens(batch: Batch) -> int:
    mask = batch.get("attention_mask")
    return int(mask.sum()) if mask is not None else batch["input_ids"].numel()
