"""A weight in four bits, as the reader writes it: levels, blocks, two indices a byte, the layer.

It takes any sixteen levels. The library's own, with double quantization, is `peft_teach.nf4`.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ....nf4 import LEVELS

BLOCK = 64
TOP = 0.9677083    # the last level's probability: the mean of 1 − 1/32 and 1 − 1/30, cut


def levels(quantile: Callable[[float], float]) -> Tensor:
    """Return 16 levels, ascending from −1 to 1: on each side equal steps of probability."""
    def side(count: int) -> list[float]:
        return [quantile(0.5 + (TOP - 0.5) * k / count) / quantile(TOP)
                for k in range(1, count + 1)]

    return torch.tensor([*(-q for q in side(7)[::-1]), 0.0, *side(8)])    # (16,)


def quantize(W: Tensor, levels: Tensor, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """Return packed (n/2,) uint8, two indices a byte, and the blocks' maxima (n/block,)."""
    blocks = W.detach().float().reshape(-1, block)
    top = blocks.abs().amax(dim=1)
    scaled = blocks * (1 / top.clamp(min=1e-38))[:, None]    # as bitsandbytes does: equal bytes
    index = torch.bucketize(scaled, middles(levels.to(W.device))).to(torch.uint8).reshape(-1)
    return index[0::2] << 4 | index[1::2], top


def dequantize(packed: Tensor, top: Tensor, levels: Tensor, shape: Sequence[int]) -> Tensor:
    """Return Ŵ of this shape, float32; the block's length follows from those of both tensors."""
    index = torch.stack([packed >> 4, packed & 15], dim=1).reshape(len(top), -1).long()
    return (levels.to(top.device)[index] * top[:, None]).reshape(shape)


class Linear4bit(nn.Module):
    """A frozen linear layer, y = x Ŵᵀ + b, that makes Ŵ at each use."""

    def __init__(self, linear: nn.Linear, levels: Tensor = LEVELS):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.levels = levels
        packed, top = quantize(linear.weight, levels)
        self.register_buffer("packed", packed)
        self.register_buffer("top", top)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone(),
                                                                  requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """Ŵ, (n_out, n_in)."""
        return dequantize(self.packed, self.top, self.levels,
                          (self.out_features, self.in_features))

    def forward(self, x: Tensor) -> Tensor:
        def product(x: Tensor) -> Tensor:
            return F.linear(x, self.weight, self.bias)

        return checkpoint(product, x, use_reentrant=False)    # keeps x, and makes Ŵ once more


# ── back to the levels, without packing ──────────────────────────────────────────────────────


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
