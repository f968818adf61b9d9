"""Layers with two narrow matrices, A (rank, n_in) and B (n_out, rank): cases, and their start."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .adapter_judge import Method, drawing, linear_case
from .exercise import Verdict
from .judge import rejected

# One of the two matrices starts at zero, and what passes through the other stays as large as it
# was. The root mean square of what comes out, for random inputs of size 1, may lie between these:
# PyTorch's usual uniform start of a layer gives 0.58.
SIZE = (0.45, 1.8)
# Layers made to see how the random matrix is drawn: a deviation that depends on no width or rank
# is too small in one of them or too large in the other, and 1/√n_out is not 1/√n_in.
DRAWN = ((1024, 256, 3), (64, 64, 64))    # n_in, n_out, rank


LAYERS = (    # n_in, n_out, rank, alpha, bias, dtype, and the axes of x before the last
    (4, 3, 2, 6.0, True, torch.float32, (2,)),
    (5, 9, 4, 10.0, False, torch.float32, (3, 2)),
    (384, 96, 8, 16.0, True, torch.float32, (2, 3)),
    (8, 8, 4, 8.0, True, torch.bfloat16, (3, 2)))


def linear_cases(seed: int, layers: Iterable[tuple] = LAYERS) -> list[dict]:
    """Return layers with inputs, A and B, in the order given: the first that fails is shown."""
    draw = drawing(1000 + seed)
    return [linear_case(draw, n_in, n_out, bias, dtype, batch)
            | {"rank": rank, "alpha": alpha, "A": draw(rank, n_in) / n_in**0.5,
               "B": draw(n_out, rank)}
            for n_in, n_out, rank, alpha, bias, dtype, batch in layers]


def drawn_at_start(kind: Any) -> list[dict[str, Tensor]]:
    """Return what the parameters of the layers of `DRAWN` start as."""
    layers = [kind(nn.Linear(n_in, n_out).requires_grad_(False), rank, 2.0 * rank)
              for n_in, n_out, rank in DRAWN]
    return [{name: p.detach().float() for name, p in layer.own_parameters().items()}
            for layer in layers]


def random_beside_zero(method: Method, case: dict, seen: dict) -> Verdict | None:
    """Is one of A and B zero, and the other random and sized to keep its inputs' size?"""
    A, B = seen["start_own"]["A"], seen["start_own"]["B"]
    if not A.any() and not B.any():
        return rejected("both_zero", "A and B both start at zero.")
    if A.any() and B.any():
        return rejected("both_random", f"A starts with entries of up to {A.abs().max():.2g}, and B "
                                       f"of up to {B.abs().max():.2g}; expected zero in one.")
    name, side = ("A", "x Aᵀ") if A.any() else ("B", "what B makes of it")
    for sizes, drawn in zip(DRAWN, seen["drawn"]):
        told = "n_in = {}, n_out = {}, rank {}".format(*sizes)
        rows = drawn[name] if name == "A" else drawn[name].T    # (rank, features)
        sigma = torch.linalg.svdvals(rows)
        if 8 * len(rows) <= rows.shape[1] and sigma[-1] < 0.1 * sigma[0]:
            return rejected("alike", f"The {'rows' if name == 'A' else 'columns'} of {name} start "
                                     "along fewer directions than there are: their singular values "
                                     f"go from {sigma[0]:.2g} down to {sigma[-1]:.2g} ({told}).")
        passed = drawn[name].square().sum(1).mean().sqrt()    # what inputs of size 1 become
        if not SIZE[0] < passed < SIZE[1]:
            told = (f"What goes in has entries of about 1; {side} starts with entries of about "
                    f"{passed:.2g}, expected about 1 ({told}).")
            return rejected("A_size", told) if name == "A" else Verdict(False, told)
        if abs(rows.mean()) > rows.std() / 2:
            return Verdict(False, f"The entries of {name} start with a mean of {rows.mean():.2g} "
                                  f"and a deviation of {rows.std():.2g}; expected a mean of about "
                                  "0, since entries of one sign make directions that are nearly "
                                  "one.")
    return None
