"""What a lesson sees of a model on the spot: its answers, before and after, beside another's."""

from collections.abc import Mapping

import pandas
import torch
from torch import Tensor, nn

from ... import models


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
    """Return what the model makes of a text, below what it made of it `before`."""
    return likelihoods(*logits(model, [tokenizer([text], return_tensors="pt")]).softmax(-1)[0],
                       before)


def likelihoods(negative: Tensor, positive: Tensor,
                before: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """Return the two as a row in percent, below what they were `before`."""
    row = {"negative": f"{negative:.0%}", "positive": f"{positive:.0%}"}
    when = "before training" if before is None else "after training"
    return pandas.concat([before, pandas.DataFrame(row, index=[when])])


def compare_outputs(model: nn.Module, batches: list[dict[str, Tensor]],
                    others: Mapping[str, nn.Module]) -> pandas.DataFrame:
    """Return how far other models' logits are from the first one's, and the answers that differ."""
    exact, rows = logits(model, batches), {}
    for name, other in others.items():
        found = logits(other, batches)
        off = (found - exact).abs()
        rows[name] = {"logits off by, on average": f"{off.mean():.1e}",
                      "at most": f"{off.max():.1e}",
                      f"answers of {len(exact)} that differ": int(
                          (found.argmax(1) != exact.argmax(1)).sum())}
    return pandas.DataFrame(rows).T
