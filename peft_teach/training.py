"""A training loop that can be read: one generator, one step at a time.

    for step in pt.train(model, batches):
        print(step.index, step.loss)

AdamW, a linear warm-up and then a linear decay to zero, gradients clipped to norm 1. Whatever has
`requires_grad` is trained; what that is, the method has decided.

To evaluate now and then, do it in the loop's body; each module's mode is kept:

    for step in pt.train(model, batches):
        if step.index % 50 == 49:
            print(step.index, pt.evaluate(model, validation).accuracy)
"""

import math
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from . import guards, notes, running_stats
from .batch import Batch, as_list, check, ready, tokens_in
from .errors import BadConfig, BadData, TrainingDiverged, TrainingStopped
from .idle import refuse_disabled, refuse_idle
from .methods import full
from .optimizer_groups import check_setting, groups_of
from .valid import is_integer
from .wrapped import refuse_wrapped, reshard
from .writing import refuse_lost

DEFAULT_LEARNING_RATE = 1e-3    # of adapters that no method here made


@dataclass(frozen=True)
class Step:
    """What one step of training did.

    `loss` is the batch's before the update, `tokens` how many real tokens are in it (0 for images),
    `seconds` the time from batch to updated weights, `lr` the rate of the first group.
    """

    index: int
    loss: float
    tokens: int
    seconds: float
    lr: float


def train(model: nn.Module, batches: Iterable[Batch], lr: float | None = None, *,
          groups: list[dict] | None = None, warmup: float = 0.1, clip: float = 1.0,
          weight_decay: float = 0.0) -> Iterator[Step]:
    """Train once over `batches`, dicts of tensors with `labels`; yield a `Step` after each one.

    `lr` None takes the rate of the model's method (`learning_rate`). `groups` are optimizer groups
    with rates of their own (LoRA+); without them all that trains learns at `lr`. `warmup` is the
    share of steps in which the rate rises to its full value, `clip` the largest norm of the
    gradients (`math.inf` for any). Stopping early is safe: the model is back in eval mode when the
    generator ends or is dropped.

    Raises `BadData` for no batches, for batches without labels or with a class that the model does
    not have, and `BadConfig` for a setting that cannot work, if nothing trains, or if `pt.disabled`
    or `torch.no_grad` is open. The first step, before its update, raises `BadConfig` for an adapter
    that would learn nothing (`idle.refuse_idle`). An interrupt raises `TrainingStopped`; a loss or
    gradient that is not finite, before the update, `TrainingDiverged`: with the steps done so far.
    """
    refuse_wrapped(model)
    if not torch.is_grad_enabled():
        raise BadConfig("Inside torch.no_grad() nothing trains.", hint="leave that block first")
    batches = as_list(batches)
    if not batches:
        raise BadData("There are no batches to train on.",
                      hint="batches = pt.data.batches(examples, tokenizer)")
    for batch in batches:
        check(model, batch)
    reshard(model)
    guards.adopt(model)
    refuse_disabled(model)
    refuse_lost(model)
    lr = learning_rate(model) if lr is None else lr
    for name, value in {"lr": lr, "weight_decay": weight_decay, "warmup": warmup,
                        "clip": clip}.items():
        check_setting(name, value)
    return _steps(model, batches, groups_of(model, groups), lr, warmup, clip, weight_decay)


def _steps(model: nn.Module, batches: list[Batch], groups: list[dict], lr: float, warmup: float,
           clip: float, weight_decay: float) -> Iterator[Step]:
    """Make one step of each batch."""
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: rate(i, len(batches), warmup))
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    done: list[Step] = []
    stats = [b for module in running_stats.owners(model, trained).values()
             for b in running_stats.buffers(module).values()]
    stats_before: list[Tensor] = []
    model.train()
    try:
        model.zero_grad()    # somebody may have left some
        for index, batch in enumerate(batches):
            refuse_disabled(model)
            stats_before = [b.clone() for b in stats]
            start, now = time.perf_counter(), optimizer.param_groups[0]["lr"]
            loss = model(**ready(model, batch)).loss
            if loss.requires_grad:    # by chance it may depend on nothing that trains
                loss.backward()
            value = loss.item()
            if index == 0:
                refuse_idle(model, trained, batches)
            norm = nn.utils.clip_grad_norm_(trained, clip)
            if not math.isfinite(value) or not norm.isfinite():
                raise TrainingDiverged(done, "gradient" if math.isfinite(value) else "loss")
            optimizer.step()
            stats_before = []
            model.zero_grad()
            schedule.step()
            seconds = time.perf_counter() - start
            done.append(Step(index, value, tokens_in(batch), seconds, now))
            yield done[-1]
    except KeyboardInterrupt:
        raise TrainingStopped(done, len(batches)) from None
    finally:
        model.zero_grad()                        # an interrupt leaves half a step's gradients
        for b, was in zip(stats, stats_before):    # and means of a step that was not made
            b.copy_(was)
        model.eval()


def rate(index: int, steps: int, warmup: float) -> float:
    """Return the learning rate's factor at step `index` of `steps`: up to 1, then down to 0."""
    rising = max(1, round(warmup * steps))
    if index < rising:
        return (index + 1) / rising
    return (steps - index) / max(1, steps - rising + 1)


def learning_rate(model: nn.Module) -> float:
    """Return the rate that the model's method recommends, for AdamW.

    It was found on one small encoder and one small language model, with the method's defaults: a
    place to begin. With batches of 16, most methods learn in 60 steps; BitFit, prompts and prefixes
    had not begun by then at any rate tried: give them 120 at least, BitFit 250. It is `full`'s for
    a model without a method, and `DEFAULT_LEARNING_RATE` for adapters of your own.
    """
    note = notes.note_of(model)
    if note is None:
        return full.LEARNING_RATE
    if note.method is None:
        return DEFAULT_LEARNING_RATE
    return note.config.learning_rate(model)


def seed(n: int) -> None:
    """Seed Python, NumPy and torch, so that a run can be repeated on the same machine."""
    if not is_integer(n, 0, 2**32 - 1):
        raise BadConfig(f"The seed is {n!r}.", expected="a whole number from 0 to 2**32 - 1")
    random.seed(n)
    np.random.seed(n)
    torch.manual_seed(n)
