"""What sixteen marks cost: on a model's weights, on uniform numbers, in its hidden states."""

import copy
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

import pandas
import torch
from torch import Tensor, nn

from .... import models, nf4, waiting
from .rounding import BLOCK, maxima, middles, nearest, relative

PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
SAMPLE = 200_000 // BLOCK        # blocks that a histogram shows
E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6)                    # of magnitudes, as the next
BITSANDBYTES = (0, 0.0625, 2, 3, 4, 6, 8, 12)


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of all linear layers of the blocks, by name."""
    return {name: models.layer_of(model, name).weight.detach().float().cpu()
            for name in models.find(model, PLACES)}


def sample(matrices: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return some of a model's blocks, from −1 to 1, and their maxima: (blocks, 64), (blocks, 1).
    """
    rows = torch.cat([W.reshape(-1, BLOCK) for W in matrices.values()])
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:SAMPLE]
    top = maxima(rows[chosen])
    return rows[chosen] / top, top


def tables(levels: Callable, matrices: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return sixteen marks by the name of their format; some have 0 twice, and so fifteen marks.

    `levels` makes marks from the quantiles of a distribution. The last are fitted to these
    matrices.
    """
    return {"NF4": levels(NormalDist().inv_cdf), "even, 16": levels(lambda p: 2 * p - 1),
            "int4": torch.arange(-7, 8) / 7, "FP4 e2m1": _both_signs(E2M1),
            "FP4 bitsandbytes": _both_signs(BITSANDBYTES), "fitted": fitted(matrices)}


def _both_signs(magnitudes: Sequence[float]) -> Tensor:
    marks = torch.tensor([-m for m in magnitudes] + [*magnitudes]).unique()    # sorted
    return marks / marks.max()


def fitted(matrices: Mapping[str, Tensor], rounds: int = 60) -> Tensor:
    """Fit sixteen marks to a sample of the weights by Lloyd's algorithm, from NF4's on.

    Each weight goes to its nearest mark, then each mark to the mean of its weights; an error
    counts as it does in the matrix, by its block's maximum. NF4's 0 stays there.
    """
    (x, top), marks = sample(matrices), nf4.LEVELS
    counts = top.square().expand_as(x)
    for _ in range(rounds):
        index = torch.bucketize(x, middles(marks)).reshape(-1)
        total = torch.zeros(len(marks)).index_add(0, index, (counts * x).reshape(-1))
        marks = total / torch.zeros(len(marks)).index_add(0, index, counts.reshape(-1))
        marks[nf4.ZERO] = 0
    return marks


@torch.no_grad()
def formats(matrices: Mapping[str, Tensor], tables: Mapping[str, Tensor], model: nn.Module,
            batches: Sequence[Mapping[str, Tensor]]) -> pandas.DataFrame:
    """Return the relative errors that each table makes, one scale of 32 bits a block of 64.

    On the matrices, on a million numbers drawn uniformly from −1 to 1, and in the last hidden
    states of the batches' tokens, all matrices rounded. `model` stays as it is.
    """
    uniform = 2 * torch.rand(1 << 20, generator=torch.Generator().manual_seed(0)) - 1
    rounded, right, rows = copy.deepcopy(model), hidden(model, batches), {}
    for name, levels in waiting.bar(tables.items(), "tables"):
        made = {matrix: nearest(W, maxima(W), levels) for matrix, W in matrices.items()}
        for matrix, found in made.items():
            models.layer_of(rounded, matrix).weight.copy_(found)
        rows[name] = {"the model's weights": relative(zip(made.values(), matrices.values())),
                      "uniform numbers": relative([(nearest(uniform, maxima(uniform), levels),
                                                    uniform)]),
                      "last hidden states": relative([(hidden(rounded, batches), right)]),
                      "bits a weight": 4 + 32 / BLOCK}
    return pandas.DataFrame(rows).T


def hidden(model: nn.Module, batches: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Return the last hidden states of all real tokens, (tokens, d_model)."""
    with models.in_mode(model, training=False):
        return torch.cat([
            model.base_model(batch["input_ids"], batch["attention_mask"]).last_hidden_state[
                batch["attention_mask"].bool()] for batch in batches])


def block_sizes(matrices: Mapping[str, Tensor]) -> pandas.DataFrame:
    """Return bits a weight, counted, and the relative error, by the number of weights in a block.

    The last row's maxima are quantized, too.
    """
    rows = {}
    for size, double in waiting.bar(((32, False), (64, False), (256, False), (1024, False),
                                     (64, True)), "block sizes"):
        held = [(nf4.quantize(W, size, double), W) for W in matrices.values()]
        n = sum(W.numel() for _, W in held)
        rows[f"{size:,}{', maxima in 8 bits' * double}"] = {
            "bits a weight": 8 * sum(q.size_bytes for q, _ in held) / n,
            "relative error": relative([(nf4.dequantize(q), W) for q, W in held])}
    return pandas.DataFrame(rows).T.rename_axis("weights in a block")


# ── a colleague's bytes ──────────────────────────────────────────────────────────────────────


def colleague(W: Tensor, levels: Tensor) -> pandas.DataFrame:
    """Return what a colleague's matrix looks like beside a right one: its norm and its error."""
    return symptoms(W, levels).loc[["right", "swapped"]].drop(columns="mean").rename(
        {"swapped": "the colleague's"})


def symptoms(W: Tensor, levels: Tensor) -> pandas.DataFrame:
    """Return of each suspect: the norm of Ŵ, its relative error, its mean (of magnitudes of W).

    Swapped are the halves of each byte.
    """
    top = maxima(W)
    right = nearest(W, top, levels)
    index = torch.bucketize(W.reshape(-1, BLOCK) / top, middles(levels))
    made = {"right": right, "descending": (levels.flip(0)[index] * top).reshape(W.shape),
            "swapped": right.reshape(-1, 2).flip(1).reshape(W.shape),
            "doubled": 2 * right, "positive": right.abs()}
    return pandas.DataFrame({name: {
        "norm": (found.norm() / W.norm()).item(), "relative error": relative([(found, W)]),
        "mean": (found.mean() / W.abs().mean()).item()} for name, found in made.items()}).T
