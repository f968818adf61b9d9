"""A random mask, trained: some entries of a weight learn, and nobody chose which.

    y = x (W + M)ᵀ + b        M: zero but at k places, drawn once, where it is trained

Xu and Zhang 2024, arXiv 2405.02596: with so few entries a much larger learning rate is needed.
"""

import copy

import torch
from torch import Tensor, nn

from ....core import Adapter
from ....shapes import expect


class Masked(Adapter):
    """A frozen `nn.Linear` with `count` trained entries, at places that torch's generator draws."""

    def __init__(self, base: nn.Linear, count: int):
        super().__init__(base)
        self.register_buffer("place", torch.randperm(base.weight.numel())[:count],   # (count,)
                             persistent=False)
        self.M = nn.Parameter(torch.zeros(count))

    def forward(self, x: Tensor) -> Tensor:
        expect(x, "... n_in", n_in=self.base.in_features)
        return nn.functional.linear(x, self.trained_weight(), self.base.bias)

    def trained_weight(self) -> Tensor:
        W = self.base.weight                                             # (n_out, n_in)
        change = self.M.new_zeros(W.numel()).scatter(0, self.place, self.M)    # (n_out · n_in,)
        return W + change.view_as(W)

    def merged(self) -> nn.Linear:
        linear = copy.deepcopy(self.base)
        linear.weight = nn.Parameter(self.trained_weight().detach(), requires_grad=False)
        return linear
