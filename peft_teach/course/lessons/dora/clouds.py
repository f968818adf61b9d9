"""What the DoRA paper's figure measures: how far rows of a weight change in length, and turn.

Source: Liu et al. 2024, arXiv 2402.09353, §3.2, eqs. (3) and (4), a row for their column.
"""

from torch import Tensor


def moves(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 − cos of each row's angle, and the change of its length: both (n_out,), ≥ 0."""
    before, after = before.double(), after.double()
    length, new = before.norm(dim=1), after.norm(dim=1)               # (n_out,)
    cosine = (before * after).sum(dim=1) / (length * new)
    return (1 - cosine).clamp_min(0), (new - length).abs()


def point(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Return ΔD and ΔM of one matrix: the means of `moves` over its rows."""
    turn, change = moves(before, after)
    return turn.mean().item(), change.mean().item()
