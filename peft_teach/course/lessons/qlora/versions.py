"""4-bit layers on which a test of their bits is tried: right ones, and broken ones.

Each is made by `version(linear)`; what stands before it goes on from "one that".
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ....nf4 import LEVELS
from .four_bits import dequantize, quantize


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer = layer
        return F.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx, dy):
        return dy @ ctx.layer.weight, None


class _Four(nn.Module):
    """Two buffers; what differs in a version is overwritten."""

    block = 64

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.out_features, self.in_features = self.shape = linear.weight.shape
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone(),
                                                                  requires_grad=False)
        self.hold(*quantize(linear.weight, LEVELS, self.block))

    def hold(self, packed: Tensor, top: Tensor) -> None:
        self.register_buffer("packed", packed)
        self.register_buffer("top", top)

    @property
    def weight(self) -> Tensor:
        return dequantize(self.packed, self.top, LEVELS, self.shape)

    def forward(self, x: Tensor) -> Tensor:
        return _Product.apply(x, self)


class _Checkpoint(_Four):
    def forward(self, x):
        return checkpoint(lambda x: F.linear(x, self.weight, self.bias), x, use_reentrant=False)


class _Parameters(_Four):
    def hold(self, packed, top):
        self.packed, self.top = (nn.Parameter(t, requires_grad=False) for t in (packed, top))


class _OneBuffer(_Four):
    def hold(self, packed, top):
        self.register_buffer("bytes", torch.cat([packed, top.view(torch.uint8)]))

    @property
    def weight(self):
        packed, top = self.bytes.tensor_split([self.shape.numel() // 2])
        return dequantize(packed, top.clone().view(torch.float32), LEVELS, self.shape)


class _Keeps(_Four):
    @property
    def weight(self):
        if not hasattr(self, "W"):
            self.register_buffer("W", super().weight, persistent=False)
        return self.W


class _Half(_Four):
    block = 32


class _Trains(_Four):
    def hold(self, packed, top):
        self.register_buffer("packed", packed)
        self.top = nn.Parameter(top)

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)


class _Unpacked(_Four):
    def hold(self, packed, top):
        super().hold(torch.stack([packed >> 4, packed & 15], dim=1).reshape(-1), top)

    @property
    def weight(self):
        return (LEVELS[self.packed.long()].view(-1, 64) * self.top[:, None]).view(self.shape)


class _Beside(_Four):
    def __init__(self, linear):
        super().__init__(linear)
        self.original = linear.requires_grad_(False)


class _Detached(_Four):
    def forward(self, x):
        return F.linear(x.detach(), self.weight, self.bias).requires_grad_()


class _Unregistered(_Four):
    def hold(self, packed, top):
        self.packed, self.top = packed, top


RIGHT = {
    "holds two buffers": _Four,
    "computes its forward pass again instead of keeping anything": _Checkpoint,
    "holds its tensors as parameters that do not train": _Parameters,
    "holds all its bytes in one buffer": _OneBuffer,
}
BROKEN = {
    "keeps the weight that it made at its first use as a buffer": _Keeps,
    "has a maximum for each 32 weights": _Half,
    "trains its maxima": _Trains,
    "stores each index in a byte of its own": _Unpacked,
    "holds the layer that it was made from, frozen, beside its bytes": _Beside,
    "passes no gradient to its input": _Detached,
    "holds its tensors where neither parameters() nor buffers() lists them": _Unregistered,
}
