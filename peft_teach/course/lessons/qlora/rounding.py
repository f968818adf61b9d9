"""Back to the levels: a matrix rounded to the nearest ones, its block maxima given."""

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
