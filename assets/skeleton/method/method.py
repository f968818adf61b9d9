"""Name: what it learns, in one line.

    y = base(x) + g ⊙ base(x)

    symbol  shape           trained  starts as
    x       (…, n_in)       –        the layer's input
    base    (n_out, n_in)   no       a pretrained linear layer
    g       (n_out,)        yes      zero, so that the first output is the base's, exactly

Cost: n_out parameters per matrix (`count`), nothing at inference once merged.

Source: Author et al. 20YY, arXiv 0000.00000, §1 (the equation).
No deviation from the paper.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import models
from ..adapter import Adapter
from ..core import prepare, wrap
from ..settings import Layers, Settings, Targets
from ..shapes import expect

LEARNING_RATE = 1e-2    # learns on both models: assets/records/rates.json


class NameLinear(Adapter):
    """A frozen `nn.Linear` with a trained gain on each of its outputs."""

    base: nn.Linear

    def __init__(self, base: nn.Linear):
        models.need_linear(base, plain=True)
        super().__init__(base)
        self.g = nn.Parameter(torch.zeros(base.out_features))         # (n_out,)

    def forward(self, x: Tensor) -> Tensor:
        expect(x, "... n_in", n_in=self.base.in_features)
        y = self.base(x)                                              # (…, n_out)
        u = self.g * y                                                # (…, n_out), float32
        return (y + u).to(y.dtype)                                    # (…, n_out)

    def merged(self) -> nn.Linear:
        """Return one plain linear layer, its gains computed in float32, then rounded."""
        W, b = self.base.weight, self.base.bias                       # (n_out, n_in), (n_out,)
        if b is not None:
            b = ((1 + self.g) * b).to(b.dtype)                        # (n_out,)
        return models.linear_like(self.base, ((1 + self.g)[:, None] * W).to(W.dtype), b)


@dataclass(frozen=True)
class Config(Settings):
    """Where Name goes.

    `targets` are places or module names, None is query and value, or the projection that holds
    both; `layers` are block numbers, None for all.
    """

    targets: Targets = None
    layers: Layers = None

    def learning_rate(self, model: nn.Module) -> float:
        return LEARNING_RATE


def count(n_out: int) -> int:
    """Return how many parameters Name trains for one (n_out, n_in) matrix."""
    return n_out


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Put Name on its targets, freeze all else but the head; return the model to keep."""
    note, config = prepare(model, config, Config)
    targets = models.query_and_value(model) if config.targets is None else config.targets
    makers = dict.fromkeys(models.find(model, targets, config.layers), NameLinear)
    return wrap(model, note, makers, config.also_train)
