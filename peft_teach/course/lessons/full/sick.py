"""Trainings of lesson 01 that went wrong, each by one change, to be told by their symptoms.

The step is the lesson's own, so that what is shown does not depend on the reader's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .... import training
from ...checks.observe import weights_of

CHANGES = {
    1: "the gradients are never cleared",
    2: "the gradients are cleared between the backward pass and the optimizer's step",
    3: "each batch has the labels of the batch before",
    4: "the loss has the wrong sign",
    5: "the rate is 100 times as large",
    6: "the rate is 100 times as small",
}
RUNS = {"A": 3, "B": 1, "C": 6}    # the change in each run


@dataclass(frozen=True)
class Symptoms:
    """What is seen of a run: the loss of each step, and how far its weights went, as a norm."""

    losses: Sequence[float]
    moved: float


def train(change: int | None, model: nn.Module, batches: Sequence[Mapping[str, Tensor]],
          lr: float) -> Symptoms:
    """Train once over the batches, with one change; None trains as it should be."""
    lr *= 0.01 if change == 6 else 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    start, losses = weights_of(model), []
    for index, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = lr * training.rate(index, len(batches), 0.1)
        if change == 3:
            batch = {**batch, "labels": batches[index - 1]["labels"]}
        loss = model.train()(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if change != 1:
            optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return Symptoms(losses, (weights_of(model) - start).norm().item())


def patients(fresh: Callable[[], nn.Module], batches: Sequence[Mapping[str, Tensor]],
             lr: float) -> dict[str, tuple[nn.Module, Symptoms]]:
    """Train a fresh model for each run, and one as it should be; return all, by name."""
    found = {}
    for name, change in {"healthy": None, **RUNS}.items():
        model = fresh()
        found[name] = model, train(change, model, batches, lr)
    return found
