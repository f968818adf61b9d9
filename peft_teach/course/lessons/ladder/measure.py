"""What is measured of a model that predicts ratings, and how one run's predictions are kept.

    guess = predictions(model, batches)       (sentences,)
    r2(guess, ratings)                        share of the ratings' variance that is predicted
    sign_accuracy(guess, ratings)             right signs, where people were not neutral
    interval(a, b)                            95 % of the mean of a − b, over seeds and sentences
    pack(guess), unpack(text)                 a byte a sentence, as text
"""

import base64

import numpy as np
import torch
from torch import Tensor

from .... import models
from ....waiting import bar
from ...verdict import T95

NEUTRAL = 0.5         # a mean rating within this of zero has no sign, as in `data.load`
PARTS = 31            # predictions are kept in steps of 1/31, so ±4.1 fits a byte


@torch.no_grad()
def predictions(model, batches: list[dict]) -> Tensor:
    """Return a model's prediction for each sentence, in the order of the batches."""
    with models.in_mode(model, training=False):
        return torch.cat([
            model(**{name: x for name, x in batch.items() if name != "labels"}).logits[:, 0]
            for batch in bar(batches, "evaluating")])


def ratings(batches: list[dict]) -> Tensor:
    """Return the ratings of batches, (sentences,)."""
    return torch.cat([batch["labels"] for batch in batches])


def r2(guess: Tensor, rating: Tensor) -> float:
    """Return the share of variance that is predicted: 1 for all, 0 for the mean of these."""
    return float(1 - (guess - rating).square().mean() / rating.var(correction=0))


def sign_accuracy(guess: Tensor, rating: Tensor) -> float:
    """Return the share of right signs among the sentences that were not rated neutral."""
    told = rating.abs() > NEUTRAL
    return float(((guess > 0) == (rating > 0))[told].float().mean())


def interval(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Return the 95 % interval of the mean of a − b, for new seeds and new sentences.

    a, b (seeds, sentences), 2 to 10 seeds: two methods' errors on the same sentences with the same
    seeds. The mean varies with the seeds and with the sentences; what varies with both at once
    stands in either part, so the interval is a little too wide, and never too narrow.
    """
    d = (a - b).double()                                              # (seeds, sentences)
    seeds, sentences = d.shape
    of_seeds, of_sentences = d.mean(1).var() / seeds, d.mean(0).var() / sentences
    half = (T95[seeds]**2 * of_seeds + 1.96**2 * of_sentences).sqrt()
    return float(d.mean() - half), float(d.mean() + half)


def pack(guess: Tensor) -> str:
    """Return predictions as text, each rounded to 1/31."""
    steps = (guess * PARTS).round().clamp(-127, 127)
    return base64.b64encode(steps.numpy().astype(np.int8).tobytes()).decode()


def unpack(text: str) -> Tensor:
    """Return the predictions that `pack` wrote."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), np.int8) / PARTS).float()
