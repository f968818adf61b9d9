"""What an update looks like from inside: its singular values, how many matter, where they point.

    ΔW = U diag(σ) Vᵀ        σ₁ ≥ σ₂ ≥ … ≥ 0

    σ   (k,)        how strongly each direction is changed;   k = min(n_out, n_in)
    U   (n_out, k)  the output directions;   V   (n_in, k)  the input directions

Source: Hu et al. 2021, arXiv 2106.09685, §7.2 and its appendix on subspace similarity.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .adapter import adapters
from .errors import BadConfig
from .shapes import expect
from .valid import is_integer, is_number


def update(before: Tensor, after: Tensor) -> Tensor:
    """Return ΔW = after − before, (n_out, n_in), in float32."""
    n_out, n_in = expect(before, "n_out n_in", called="before").shape
    expect(after, "n_out n_in", called="after", n_out=n_out, n_in=n_in)
    return (after.float() - before.float()).detach()


def singular_values(matrix: Tensor) -> Tensor:
    """Return the singular values of (n_out, n_in), largest first, (min(n_out, n_in),)."""
    return torch.linalg.svdvals(expect(matrix, "n_out n_in", called="matrix").detach().float())


def energy_rank(sigma: Tensor, share: float = 0.9) -> int:
    """Return how many leading singular values hold this share of the energy, Σσ²; 0 for none."""
    if not is_number(share, 0, 1) or share == 0:
        raise BadConfig(f"share is {share!r}.", expected="a number above 0, at most 1")
    energy = expect(sigma, "k", called="sigma").double().square().cumsum(0)
    if energy.numel() == 0 or energy[-1] == 0:
        return 0
    return int((energy < share * energy[-1]).sum().item()) + 1


def truncate(matrix: Tensor, rank: int) -> Tensor:
    """Return the nearest matrix of at most this rank, (n_out, n_in) (Eckart and Young)."""
    expect(matrix, "n_out n_in", called="matrix")
    if not is_integer(rank, 0, min(matrix.shape)):
        raise BadConfig(f"rank {rank!r} for a matrix of {tuple(matrix.shape)}.",
                        expected=f"0 to {min(matrix.shape)}")
    U, sigma, Vt = torch.linalg.svd(matrix.detach().float(), full_matrices=False)
    return U[:, :rank] * sigma[:rank] @ Vt[:rank]                     # (n_out, n_in)


def overlap(one: Tensor, other: Tensor, k: int, side: str = "in") -> float:
    """Return how far the k leading directions of two matrices span the same space, from 0 to 1.

    ‖XᵀY‖²_F / k for orthonormal X, Y of k columns each: input directions ("in") or output
    directions ("out"). Two random k-dimensional subspaces of d dimensions give k / d.
    """
    if side not in ("in", "out"):
        raise BadConfig(f"side is {side!r}.", expected="'in' or 'out'")
    bases = []
    for matrix in (one, other):
        expect(matrix, "n_out n_in", called="matrix")
        if not is_integer(k, 1, min(matrix.shape)):
            raise BadConfig(f"k is {k!r} for a matrix of {tuple(matrix.shape)}.",
                            expected=f"1 to {min(matrix.shape)}")
        U, _, Vt = torch.linalg.svd(matrix.detach().float(), full_matrices=False)
        bases.append(Vt[:k].T if side == "in" else U[:, :k])          # (d, k)
    expect(bases[1], f"{side} k", called="other", **{side: len(bases[0])})
    return float((bases[0].T @ bases[1]).square().sum() / k)


def updates(model: nn.Module, before: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ΔW of every matrix in `before`, a dict of weights by module name as they were.

    Reads an adapter's `delta()` where it has one, and the merged or changed weight otherwise.
    """
    wrapped: dict[str, Any] = {**adapters(model)}
    modules: dict[str, Any] = dict(model.named_modules())
    if not isinstance(before, Mapping) or not all(name in wrapped or name in modules
                                                  for name in before):
        raise BadConfig(f"before is {before!r:.60}.",
                        expected="a dict of weights by the names of this model's modules")
    modules |= {name: adapter.merged() for name, adapter in wrapped.items()
                if name in before and not hasattr(adapter, "delta")}
    return {name: wrapped[name].delta().detach() if hasattr(wrapped.get(name), "delta")
            else update(weight, modules[name].weight)
            for name, weight in before.items()}
