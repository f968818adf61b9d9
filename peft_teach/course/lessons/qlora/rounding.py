"""Back to the levels: a matrix rounded to NF4's, to the nearest one or stochastically.

Here the block maxima are given: those of the base, on whose levels the base stands, or new ones.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from ....nf4 import LEVELS

BLOCK = 64


def maxima(W: Tensor) -> Tensor:
    """Return the largest magnitude of each block of 64, (blocks, 1)."""
    return W.reshape(-1, BLOCK).abs().amax(dim=1, keepdim=True).clamp_min(1e-38)


def middles(levels: Tensor) -> Tensor:
    """Return where the nearest level changes, between each two neighbours."""
    return (levels[1:] + levels[:-1]) / 2


def nearest(W: Tensor, top: Tensor, levels: Tensor = LEVELS) -> Tensor:
    """Return W, each weight at its nearest level; the levels of a block end at its `top`."""
    index = torch.bucketize(W.reshape(-1, BLOCK) / top, middles(levels))
    return (levels[index] * top).reshape(W.shape)


def relative(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return ‖found − right‖ / ‖right‖ of (found, right) pairs, all taken as one long vector."""
    squares = torch.tensor([[(found - right).square().sum(), right.square().sum()]
                            for found, right in pairs]).sum(0)
    return (squares[0] / squares[1]).sqrt().item()


def dice(W: Tensor, top: Tensor, levels: Tensor, generator: torch.Generator) -> Tensor:
    """Return W, each weight at one of the two levels around it, so that its expectation is W.

    `top` has a number for each block. What lies beyond the last level goes to it.
    """
    top = top.reshape(-1, 1)                                          # (blocks, 1)
    x = (W.reshape(len(top), -1) / top).clamp(levels[0], levels[-1])
    low = (torch.bucketize(x, levels, right=True) - 1).clamp(0, len(levels) - 2)
    below, above = levels[low], levels[low + 1]
    up = torch.rand(x.shape, generator=generator) < (x - below) / (above - below)
    return (torch.where(up, above, below) * top).reshape(W.shape)
