"""An adapter that starts as a repair of its 4-bit base: the best rank r of what rounding lost.

LoftQ (Li et al. 2023, arXiv 2310.08659), one iteration; the same weighted by a layer's inputs; and
PiSSA's order (Meng et al. 2024, arXiv 2404.02948): the strongest directions go into the adapter
first, and the rest is rounded.
"""

import torch
from torch import Tensor

from ....nf4 import dequantize, quantize
from ....spectra import singular_values


def rounded(W: Tensor) -> Tensor:
    """Return Ŵ, in NF4 with double quantization, as `qlora` holds it."""
    return dequantize(quantize(W, double=True))


def best(E: Tensor, rank: int, root: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return B (n_out, rank) and A (rank, n_in) such that BA is nearest to E (n_out, n_in).

    With `root` (n_in, n_in), a root of the inputs' second moments: nearest on these inputs.
    """
    U, S, Vt = torch.linalg.svd(E if root is None else E @ root, full_matrices=False)
    half = S[:rank].sqrt()
    A = half[:, None] * Vt[:rank]
    return U[:, :rank] * half, A if root is None else torch.linalg.solve(root, A, left=False)


def share(E: Tensor, rank: int) -> float:
    """Return the share of ‖E‖² that the best matrix of this rank takes away."""
    energy = singular_values(E).square()
    return (energy[:rank].sum() / energy.sum()).item()
