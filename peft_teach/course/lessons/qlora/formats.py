"""What sixteen levels cost: on a model's weights, on uniform numbers, in its hidden states."""

import copy
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

import pandas
import torch
from torch import Tensor, nn

from .... import models
from ....progress_bar import bar
from .four_bits import BLOCK, maxima, nearest, relative
from .live import hidden

PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
SAMPLE = 200_000 // BLOCK        # blocks that a histogram shows
E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6)                    # of magnitudes, as the next
BITSANDBYTES = (0, 0.0625, 2, 3, 4, 6, 8, 12)


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of all linear layers of the blocks, by name."""
    return {name: model.get_submodule(name).weight.detach().float().cpu()
            for name in models.find(model, PLACES)}


def sample(matrices: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return some blocks, from −1 to 1, and their maxima: (blocks, 64), (blocks, 1)."""
    rows = torch.cat([W.reshape(-1, BLOCK) for W in matrices.values()])
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:SAMPLE]
    top = maxima(rows[chosen])
    return rows[chosen] / top, top


def tables(levels: Callable) -> dict[str, Tensor]:
    """Return levels by the name of their format; with 0 twice there are fifteen.

    `levels` makes them from the quantiles of a distribution.
    """
    return {"NF4": levels(NormalDist().inv_cdf), "even, 16": levels(lambda p: 2 * p - 1),
            "int4": torch.arange(-7, 8) / 7, "FP4 e2m1": _both_signs(E2M1),
            "FP4 bitsandbytes": _both_signs(BITSANDBYTES)}


def _both_signs(magnitudes: Sequence[float]) -> Tensor:
    marks = torch.tensor([-m for m in magnitudes] + [*magnitudes]).unique()    # sorted
    return marks / marks.max()


@torch.no_grad()
def formats(matrices: Mapping[str, Tensor], tables: Mapping[str, Tensor], model: nn.Module,
            batches: Sequence[Mapping[str, Tensor]]) -> pandas.DataFrame:
    """Return the relative errors that each table makes, one scale of 32 bits a block of 64.

    On the matrices, on a million numbers drawn uniformly from −1 to 1, and in the last hidden
    states of the batches' tokens, all matrices rounded. `model` stays as it is.
    """
    uniform = 2 * torch.rand(1 << 20, generator=torch.Generator().manual_seed(0)) - 1
    rounded, right, rows = copy.deepcopy(model), hidden(model, batches)[-1], {}
    for name, levels in bar(tables.items(), "tables"):
        made = {matrix: nearest(W, maxima(W), levels) for matrix, W in matrices.items()}
        for matrix, found in made.items():
            rounded.get_submodule(matrix).weight.copy_(found)
        rows[name] = {"the model's weights": relative(zip(made.values(), matrices.values())),
                      "uniform numbers": relative([(nearest(uniform, maxima(uniform), levels),
                                                    uniform)]),
                      "last hidden states": relative([(hidden(rounded, batches)[-1], right)])}
    return pandas.DataFrame(rows).T
