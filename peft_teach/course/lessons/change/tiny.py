"""The smallest model that an injection can be tried on, and two adapters for it."""

import torch
from torch import Tensor, nn

from ....core import Adapter


class Tiny(nn.Module):
    """Two blocks and a head: token ids (batch, seq) to logits (batch, 2).

    A block holds a `query`, its norm, `query_norm`, and a `value`.
    """

    def __init__(self, width: int = 6, blocks: int = 2):
        super().__init__()
        self.embedding = nn.Embedding(11, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.classifier = nn.Linear(width, 2)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids)                                 # (batch, seq, width)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean(1))                             # (batch, 2)


class Block(nn.Module):
    """Queries, normalized, and values, added to what came in."""

    def __init__(self, width: int):
        super().__init__()
        self.query = nn.Linear(width, width)
        self.query_norm = nn.LayerNorm(width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.query_norm(self.query(x))) * self.value(x)


class Scale(Adapter):
    """y = a · base(x), around a layer or a whole block; one trained number, 1 at the start."""

    def __init__(self, base: nn.Module):
        super().__init__(base)
        self.a = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * self.base(x)


class Affine(Adapter):
    """y = gain · base(x) + shift, around a module or a part of a model that ends with a bias."""

    def __init__(self, base: nn.Module):
        super().__init__(base)
        width = len([*base.parameters()][-1])
        self.gain = nn.Parameter(torch.ones(width))                   # (n_out,)
        self.shift = nn.Parameter(torch.zeros(width))                 # (n_out,)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.base(x) + self.shift
