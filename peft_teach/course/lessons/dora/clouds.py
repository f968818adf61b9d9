"""What the DoRA paper's figure measures: how far rows of a weight change in length, and turn.

Source: Liu et al. 2024, arXiv 2402.09353, §3.2, eqs. (3) and (4), a row for their column.
"""

import torch
from torch import Tensor


def moves(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Return the change of each row's length, and 1 − cos of its angle: both (n_out,), ≥ 0."""
    before, after = before.double(), after.double()
    length, new = before.norm(dim=1), after.norm(dim=1)               # (n_out,)
    cosine = (before * after).sum(dim=1) / (length * new)
    return (new - length).abs(), (1 - cosine).clamp_min(0)


def point(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Return ΔM and ΔD of one matrix: the means of `moves` over its rows."""
    change, turn = moves(before, after)
    return change.mean().item(), turn.mean().item()


def correlation(x: Tensor, y: Tensor) -> float:
    """Return Pearson's correlation of two lists of numbers."""
    return torch.corrcoef(torch.stack([torch.as_tensor(x), torch.as_tensor(y)]))[0, 1].item()


def random_like(update: Tensor, rank: int, generator: torch.Generator) -> Tensor:
    """Return a random matrix of this rank, with an update's shape and norm."""
    n_out, n_in = update.shape
    made = torch.randn(n_out, rank, generator=generator) @ torch.randn(
        rank, n_in, generator=generator)
    return made * (update.norm() / made.norm())
