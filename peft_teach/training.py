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

import inspect
import math
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import core, models
from .backbone import places_in_text
from .batch import as_list, check
from .errors import BadConfig, BadData, NotSupported, TrainingDiverged, TrainingStopped
from .methods import METHODS, full, qlora
from .valid import is_number, is_positive, is_several, is_share, is_whole
from .waiting import bar

Batch = dict[str, Tensor]

OWN = 1e-3    # the learning rate of adapters that no method here made


@dataclass(frozen=True)
class Step:
    """What one step of training did.

    `loss` is the mean over its batches before the update, `tokens` the real tokens in them (0 for
    images), `seconds` the time from batch to updated weights, `lr` the rate of the first group.
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


@dataclass(frozen=True)
class LanguageEvaluation:
    """How well a language model predicts each of `tokens` tokens from those before it.

    `loss` is the mean in nats, `perplexity` its exponential, and `accuracy` the share of tokens
    (from 0 to 1) that the model found most likely.
    """

    loss: float
    perplexity: float
    accuracy: float
    tokens: int


def seed(n: int) -> None:
    """Seed Python, NumPy and torch, so that a run can be repeated on the same machine."""
    if not is_whole(n, 0, 2**32 - 1):
        raise BadConfig(f"The seed is {n!r}.", expected="a whole number from 0 to 2**32 - 1")
    random.seed(n)
    np.random.seed(n)
    torch.manual_seed(n)


def train(model: nn.Module, batches: Iterable[Batch], lr: float | None = None, *,
          groups: list[dict] | None = None, warmup: float = 0.1, clip: float = 1.0,
          weight_decay: float = 0.0, accumulate: int = 1) -> Iterator[Step]:
    """Train once over `batches`, dicts of tensors with `labels`; yield a `Step` after each one.

    `lr` None takes the rate of the model's method (`learning_rate`). `groups` are optimizer groups
    with rates of their own (LoRA+); without them all that trains learns at `lr`. `warmup` is the
    share of steps in which the rate rises to its full value, `clip` the largest norm of the
    gradients (`math.inf` for any). A step is made of `accumulate`
    batches, the last one perhaps of fewer, and is that of one batch with all their examples.
    Stopping early is safe: the model is back in eval mode when the generator ends or is dropped.
    Raises `BadData` for no batches, for batches without labels or with a class that the model has
    not, and `BadConfig` for a setting that cannot work, or if nothing trains. While it runs,
    `TrainingStopped` when it is interrupted and `TrainingDiverged`, before the update, for a loss
    or gradient that is not finite: both hold the steps that were done.
    """
    models.refuse_wrapped(model)
    batches = as_list(batches)
    if not batches:
        raise BadData("There are no batches to train on.",
                      hint="batches = pt.data.batches(examples, tokenizer)")
    for batch in batches:
        check(model, batch)
    core.adopt(model)
    core.refuse_lost(model)
    lr = learning_rate(model) if lr is None else lr
    for name, value in {"lr": lr, "weight_decay": weight_decay, "warmup": warmup, "clip": clip,
                        "accumulate": accumulate}.items():
        _check_setting(name, value)
    groups = _groups(model, groups)
    if any(p.dtype == torch.float16 for group in groups for p in group["params"]):
        raise BadConfig("Parameters in float16 would train: Adam's small numbers are zero there, "
                        "and the loss becomes nan.", expected="float32 or bfloat16",
                        hint="pt.models.load(name, dtype=torch.bfloat16)")
    parts = [batches[i:i + accumulate] for i in range(0, len(batches), accumulate)]
    return _steps(model, parts, groups, lr, warmup, clip, weight_decay)


# What a setting may be, and what to say where it is not; betas to weight_decay are AdamW's.
_SETTINGS = {
    "lr": (is_positive, "a positive, finite learning rate"),
    "betas": (lambda b: isinstance(b, tuple | list) and len(b) == 2 and all(map(is_share, b)),
              "two shares of what is remembered, from 0 to below 1"),
    "eps": (lambda x: is_number(x, 0) and x < math.inf, "a finite number from 0"),
    "weight_decay": (lambda x: is_number(x, 0) and x < math.inf, "a finite number from 0"),
    "warmup": (lambda x: is_number(x, 0, 1), "the share of steps in which the rate rises, 0 to 1"),
    "clip": (lambda x: is_number(x, 0) and x > 0,
             "the largest norm of the gradients, above 0; math.inf clips nothing"),
    "accumulate": (is_whole, "the number of batches in a step, from 1"),
}
_OF_A_GROUP = ("params", "lr", "betas", "eps", "weight_decay")


def _check_setting(name: str, value) -> None:
    holds, expected = _SETTINGS[name]
    if not holds(value):
        raise BadConfig(f"{name} is {value!r}.", expected=expected)


def _groups(model: nn.Module, groups: Iterable[Mapping[str, Any]] | None) -> list[dict]:
    """Return optimizer groups as AdamW takes them, in copies: it writes in them.

    Without any, all that trains is one. Raises `BadConfig` if nothing trains, for another setting
    than AdamW's, and for what is no parameter of the model that trains, or stands there twice.
    """
    given: list[Any] = [*groups] if is_several(groups) else [] if groups is None else [groups]
    if not all(isinstance(group, Mapping) for group in given):
        raise BadConfig(f"groups is {groups!r:.60}.", expected="a list of dicts with 'params'")
    given = given or [{"params": [p for p in model.parameters() if p.requires_grad]}]
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    seen, made = set(), []
    for group in given:
        strange = [name for name in group if name not in _OF_A_GROUP]
        if strange or "params" not in group:
            raise BadConfig("A group has " + (f"{strange[0]!r}." if strange else "no 'params'."),
                            expected="of each group " + ", ".join(_OF_A_GROUP))
        for name, value in group.items():
            if name != "params":
                _check_setting(name, value)
        params = group["params"]
        single = isinstance(params, Tensor) or not is_several(params)
        params = [params] if single else [*params]
        for p in params:
            if id(p) not in trained or id(p) in seen:
                shape = f", {tuple(p.shape)}," if isinstance(p, Tensor) else ""
                raise BadConfig(f"A group holds a {type(p).__name__}{shape} that "
                                + ("stands in another place, too." if id(p) in seen else
                                   "is no parameter of this model, or does not train."),
                                expected="parameters with requires_grad, each once",
                                hint="pt.adapter_parameters(model).values()")
            seen.add(id(p))
        made.append({**group, "params": params})
    if len({core.is_sharded(p) for group in made for p in group["params"]}) > 1:
        raise NotSupported("Only a part of what trains is sharded over processes (FSDP2).",
                           expected="all or nothing sharded",
                           hint="fully_shard(model), after its blocks")
    if not seen:
        raise BadConfig("No parameter of this model trains.",
                        hint="put a method on it: model = pt.lora.inject(model)")
    return made


def learning_rate(model: nn.Module) -> float:
    """Return the rate that stands in the file of the model's method, for AdamW.

    It was found on one small encoder and one small language model, with the method's defaults: a
    place to begin. What acts more strongly learns at less: a bottleneck by its scale, LoRA on
    "linear", all layers, at QLoRA's. With batches of 16, most learn in 60 steps; BitFit, prompts
    and prefixes had not begun by then at any rate tried: give them 120 at least, BitFit 250. It is
    `full`'s for a model without a method, and `OWN` for a class of your own.
    """
    note = core.note_of(model)
    if note is None:
        return full.LEARNING_RATE
    if note.method is None:
        return OWN
    if isinstance(note.config, full.Config) and note.config.train == "head":
        return full.HEAD_LEARNING_RATE
    if "linear" in (getattr(note.config, "targets", None) or ()):
        return qlora.LEARNING_RATE
    return METHODS[note.method].LEARNING_RATE / getattr(note.config, "scale", 1)


def _steps(model, parts, groups, lr, warmup, clip, weight_decay) -> Iterator[Step]:
    """Make one step of each part, a list of batches."""
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: rate(i, len(parts), warmup))
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    done: list[Step] = []
    model.train()
    try:
        for index, part in enumerate(parts):
            start, now = time.perf_counter(), optimizer.param_groups[0]["lr"]
            asked = [_asked(model, batch) for batch in part]
            value = 0.0
            for batch, count in zip(part, asked):
                loss = model(**_ready(model, batch)).loss
                if len(part) > 1:    # a mean over this batch: weighed as in the mean over all
                    loss = loss * (count / max(1, sum(asked)))
                loss.backward()
                value += loss.item()
            norm = nn.utils.clip_grad_norm_(trained, clip)
            if not math.isfinite(value) or not norm.isfinite():
                raise TrainingDiverged(done, "gradient" if math.isfinite(value) else "loss")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            tokens = sum(map(_tokens, part))
            done.append(Step(index, value, tokens, time.perf_counter() - start, now))
            yield done[-1]
    except KeyboardInterrupt:
        raise TrainingStopped(done, len(parts)) from None
    finally:
        optimizer.zero_grad(set_to_none=True)    # an interrupt leaves half a step's gradients
        model.eval()


def _asked(model: nn.Module, batch: Batch) -> int:
    """Return how many labels a batch's loss is the mean over."""
    labels = batch["labels"]
    if labels.is_floating_point():
        return len(labels)
    return int((labels[:, 1:] if models.is_language_model(model) else labels).ne(-100).sum())


def rate(index: int, steps: int, warmup: float) -> float:
    """Return the learning rate's factor at step `index` of `steps`: up to 1, then down to 0."""
    rising = max(1, round(warmup * steps))
    if index < rising:
        return (index + 1) / rising
    return (steps - index) / max(1, steps - rising + 1)


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch]) -> Evaluation | LanguageEvaluation:
    """Return loss and accuracy of a classifier, or loss and perplexity of a language model.

    Accuracy counts the examples whose largest logit is the label's; a label of -100 asks for
    nothing. A language model is asked for each token from those before it; `labels` are the tokens
    themselves, and what is given, not asked for, is -100 there: the prompt of an answer, say.
    Padding is left out on either side, and every token counts the same, in whichever batch. Each
    module's mode is kept. Raises `BadData` for no examples, no labels, or labels that are no
    classes, and `NotSupported` for a wrapper that hides which model is in it.
    """
    models.need_model(model)
    if not hasattr(model, "config"):
        models.refuse_wrapped(model)    # DataParallel does not say whether it writes, nor how many
    measure = _next_tokens if models.is_language_model(model) else _classes
    loss = right = count = 0
    with models.in_mode(model, training=False):
        for batch in bar(as_list(batches), "evaluating"):
            check(model, batch)
            batch = _ready(model, batch)
            sums = measure(model(**batch), batch)
            loss, right, count = loss + sums[0], right + sums[1], count + sums[2]
    if not count:
        raise BadData("There are no batches to evaluate on, or nothing in them to predict.",
                      hint="batches = pt.data.batches(examples, tokenizer, shuffle=False)")
    loss, accuracy = loss / count, right / count
    if measure is _classes:
        return Evaluation(loss, accuracy, count)
    perplexity = torch.tensor(loss, dtype=torch.float64).exp().item()    # inf, not an error
    return LanguageEvaluation(loss, perplexity, accuracy, count)


def _classes(out, batch: Batch) -> tuple[float, int, int]:
    """Return a classifier's summed loss, the right answers, and the number of examples."""
    logits, labels = out.logits, batch["labels"]         # (batch, classes), (batch,)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or logits.shape[1] == 1:
        raise BadData(f"labels {tuple(labels.shape)} for logits {tuple(logits.shape)}: there is no "
                      "accuracy of these.",
                      expected="one class an example, labels (batch,) and logits (batch, classes); "
                               "or a language model")
    count = int((labels != -100).sum())                  # the loss is the mean over these
    right = int((logits.argmax(-1) == labels).sum())
    return out.loss.item() * count if count else 0.0, right, count


def _ready(model: nn.Module, batch: Batch) -> Batch:
    """Return the batch on the model's device; a language model's with positions."""
    place = next(model.parameters()).device
    batch = {name: x.to(place) for name, x in batch.items()}
    return _with_positions(model, batch) if models.is_language_model(model) else batch


def _with_positions(model: nn.Module, batch: Batch) -> Batch:
    """Let positions count from each row's first token where padding precedes it.

    So `generate` counts. Models themselves count padding, and move the text away from where it
    would stand alone: a GPT-2's from its learned positions, any from a prompt or prefix.
    """
    place = places_in_text(batch.get("attention_mask"))  # (batch, seq)
    if place is None or "position_ids" in batch:
        return batch
    if "position_ids" not in inspect.signature(model.forward).parameters:
        models.refuse_wrapped(model)    # a wrapper does not say what it takes
        return batch
    return batch | {"position_ids": place}


def _next_tokens(out, batch: Batch) -> tuple[float, int, int]:
    """Return a language model's summed loss, the right guesses, and the number of tokens."""
    asked = batch["labels"][:, 1:]                       # (batch, seq - 1)
    logits = out.logits[:, :-1]                          # (batch, seq - 1, vocabulary)
    kept = asked != -100
    if "attention_mask" in batch:
        real = batch["attention_mask"].bool()            # (batch, seq)
        kept &= real[:, :-1] & real[:, 1:]               # nothing is asked of padding, nor for it
    logits, asked = logits[kept].float(), asked[kept]    # (tokens, vocabulary), (tokens,)
    loss = nn.functional.cross_entropy(logits, asked, reduction="sum").item()
    return loss, (logits.argmax(-1) == asked).sum().item(), len(asked)


def _tokens(batch: Batch) -> int:
    mask, ids = batch.get("attention_mask"), batch.get("input_ids")
    return int(mask.sum()) if mask is not None else 0 if ids is None else ids.numel()
