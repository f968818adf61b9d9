"""How well a model does now: loss and accuracy of a classifier, perplexity of a language model."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from . import models
from .batch import Batch, as_list, check, ready
from .errors import BadData
from .progress_bar import bar
from .wrapped import need_model, refuse_wrapped


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
    need_model(model)
    if not hasattr(model, "config"):
        refuse_wrapped(model)    # DataParallel does not say whether it writes, nor how many
    measure = _next_tokens if models.is_language_model(model) else _classes
    loss = right = count = 0
    with models.in_mode(model, training=False):
        for batch in bar(as_list(batches), "evaluating"):
            check(model, batch)
            batch = ready(model, batch)
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
    logits, labels = out.logits, batch["labels"].flatten()    # (batch, classes), (batch,)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or logits.shape[1] == 1:
        raise BadData(f"labels {tuple(batch['labels'].shape)} for logits {tuple(logits.shape)}: "
                      "there is no accuracy of these.",
                      expected="one class an example, labels (batch,) and logits (batch, classes); "
                               "or a language model")
    count = int((labels != -100).sum())                  # the loss is the mean over these
    right = int((logits.argmax(-1) == labels).sum())
    return out.loss.item() * count if count else 0.0, right, count


def _next_tokens(out, batch: Batch) -> tuple[float, int, int]:
    """Return a language model's summed loss, the right guesses, and the number of tokens."""
    asked = batch["labels"][:, 1:]                       # (batch, seq - 1)
    logits = out.logits[:, :-1]                          # (batch, seq - 1, vocabulary)
    kept = asked != -100
    logits, asked = logits[kept].float(), asked[kept]    # (tokens, vocabulary), (tokens,)
    loss = nn.functional.cross_entropy(logits, asked, reduction="sum").item()
    return loss, (logits.argmax(-1) == asked).sum().item(), len(asked)
