"""Trainings of lesson 01 that went wrong, each by one change, to be told by their symptoms.

The step is the lesson's own, so that what is shown does not depend on the reader's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .... import training

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
    lr *= {5: 100, 6: 0.01}.get(change, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    start, losses = _weights(model), []
    for index, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = lr * training.rate(index, len(batches), 0.1)
        if change == 3:
            batch = {**batch, "labels": batches[index - 1]["labels"]}
        losses.append(_step(change, model, batch, optimizer))
    model.eval()
    return Symptoms(losses, (_weights(model) - start).norm().item())


def _step(change: int | None, model: nn.Module, batch: Mapping[str, Tensor],
          optimizer: torch.optim.Optimizer) -> float:
    model.train()
    loss = model(**batch).loss
    (-loss if change == 4 else loss).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if change == 2:
        optimizer.zero_grad()
    optimizer.step()
    if change != 1:
        optimizer.zero_grad()
    return loss.item()


def _weights(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def patients(fresh: Callable[[], nn.Module], batches: Sequence[Mapping[str, Tensor]],
             lr: float) -> dict[str, tuple[nn.Module, Symptoms]]:
    """Train a fresh model for each run, and one as it should be; return all, by name."""
    found = {}
    for name, change in {"healthy": None, **RUNS}.items():
        model = fresh()
        found[name] = model, train(change, model, batches, lr)
    return found
