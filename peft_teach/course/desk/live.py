"""What a lesson sees of a model on the spot: its answers, before and after, beside another's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas
import torch
from torch import Tensor, nn

from ... import models
from ...errors import BadConfig
from ..checks.mutants import outcome


def placed(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch on the device on which the lesson computes."""
    return {name: t.to(models.best_device()) for name, t in batch.items()}


@torch.no_grad()
def logits(model: nn.Module, batches: list[dict[str, Tensor]]) -> Tensor:
    """Return the logits of all sentences of some batches, (sentences, classes), on the CPU."""
    device = next(model.parameters()).device
    return torch.cat([model(**{name: t.to(device) for name, t in batch.items()
                               if name != "labels"}).logits.float().cpu() for batch in batches])


def read(model: nn.Module, tokenizer, text: str,
         before: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """Return what the model makes of a text, below what it made of it `before`.

    With one output that is a rating, otherwise how likely it finds each of two classes. Raises
    `BadConfig` where it was the other before: then this is another model.
    """
    found, = logits(model, [tokenizer([text], return_tensors="pt")])
    if len(found) == 1:
        return _below(before, {"rating, −4 to 4": f"{round(found.item(), 1) + 0:+.1f}"})
    negative, positive = found.softmax(-1)
    return likelihoods(negative, positive, before)


def likelihoods(negative: Tensor, positive: Tensor,
                before: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """Return the two as a row in percent, below what they were `before`."""
    return _below(before, {"negative": f"{negative:.0%}", "positive": f"{positive:.0%}"})


def _below(before: pandas.DataFrame | None, row: Mapping[str, str]) -> pandas.DataFrame:
    if before is None:
        return pandas.DataFrame(row, index=["before training"])
    if {*before}.isdisjoint(row):    # a lesson may have added a column of its own
        raise BadConfig(f"This model gives {', '.join(row)}.",
                        expected=f"{', '.join(before)}, as before: the model that was trained",
                        hint="run the cell that trains it, to its end, and then this one")
    return pandas.concat([before, pandas.DataFrame(row, index=["after training"])])


def compare_outputs(model: nn.Module, batches: list[dict[str, Tensor]],
                    others: Mapping[str, nn.Module]) -> pandas.DataFrame:
    """Return how far other models' logits are from the first one's."""
    exact, rows = logits(model, batches), {}
    for name, other in others.items():
        off = (logits(other, batches) - exact).abs()
        rows[name] = {"logits off by, on average": f"{off.mean():.1e}",
                      "at most": f"{off.max():.1e}"}
    return pandas.DataFrame(rows).T


def tried(tests: Sequence[Callable], *given: Any) -> pandas.DataFrame:
    """Return what each test says when it is called with what is given, such as a broken layer."""
    with torch.random.fork_rng(devices=[]):    # `outcome` seeds it
        said = {test.__name__: outcome(test, *given) for test in tests}
    return pandas.DataFrame({"the broken version": {
        name: f"rejects it: {error}" if isinstance(error, str) else "accepts it"
        for name, error in said.items()}})
