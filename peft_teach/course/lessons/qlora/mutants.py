"""4-bit layers on which a test of their bits is tried: right ones, and broken ones.

Each is made by `version(linear)`; its name completes "one that".
"""

from torch import nn
from torch.nn import functional as F

from ....nf4 import LEVELS
from ...checks.mutants import starting
from .four_bits import Linear4bit, dequantize, quantize


class _Buffers(Linear4bit):
    """The reference, in a class of its own: a law takes the names off its versions."""


class _Parameters(Linear4bit):
    def __init__(self, linear):
        super().__init__(linear)
        self.indices, self.maxima = (nn.Parameter(self._buffers.pop(name), requires_grad=False)
                                     for name in ("packed", "top"))

    @property
    def weight(self):
        return dequantize(self.indices, self.maxima, LEVELS, (self.out_features, self.in_features))


class _Keeps(Linear4bit):
    @property
    def weight(self):
        if not hasattr(self, "W"):
            self.register_buffer("W", super().weight, persistent=False)
        return self.W


class _Half(Linear4bit):
    def __init__(self, linear):
        super().__init__(linear)
        self.packed, self.top = quantize(linear.weight, LEVELS, 32)


class _Beside(Linear4bit):
    def __init__(self, linear):
        super().__init__(linear)
        self.original = linear.requires_grad_(False)


class Detached(Linear4bit):
    def forward(self, x):
        return F.linear(x.detach(), self.weight, self.bias).requires_grad_()


RIGHT = {
    "holds two buffers": _Buffers,
    "holds its tensors as parameters that do not train": _Parameters,
}
BROKEN = {
    "keeps the weight that it made at its first use as a buffer": _Keeps,
    "has a maximum for each 32 weights": _Half,
    "trains its maxima": starting(Linear4bit, lambda layer: setattr(
        layer, "top", nn.Parameter(layer._buffers.pop("top")))),
    "holds the layer that it was made from, frozen, beside its bytes": _Beside,
    "passes no gradient to its input": Detached,
    "holds its tensors where neither parameters() nor buffers() lists them": starting(
        Linear4bit, lambda layer: [vars(layer).update({name: layer._buffers.pop(name)})
                                   for name in ("packed", "top")]),
}
