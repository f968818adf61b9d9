"""What is measured of a model that predicts ratings, and how one run's predictions are kept.

    guess = predictions(model, batches)       (sentences,)
    r2(guess, ratings)                        share of the ratings' variance that is predicted
    sign_accuracy(guess, ratings)             right signs, where people were not neutral
    pack(guess), unpack(text)                 a byte a sentence, as text
"""

import base64

import numpy as np
import torch
from torch import Tensor

from .... import models
from ....waiting import bar

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


def pack(guess: Tensor) -> str:
    """Return predictions as text, each rounded to 1/31."""
    steps = (guess * PARTS).round().clamp(-127, 127)
    return base64.b64encode(steps.numpy().astype(np.int8).tobytes()).decode()


def unpack(text: str) -> Tensor:
    """Return the predictions that `pack` wrote."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), np.int8) / PARTS).float()
