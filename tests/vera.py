"""VeRA: learn two vectors around a pair of frozen random matrices that all layers share.

    y = x Wᵀ + c + b ⊙ (d ⊙ (x Aᵀ)) Bᵀ

    symbol  shape           trained  starts as
    x       (…, n_in)       –        the layer's input
    W, c    (n_out, n_in)   no       the pretrained weight and bias
    A       (rank, n_in)    no       uniform in ±√(6 / n_in); one for all layers of this shape
    B       (n_out, rank)   no       uniform in ±√(6 / rank); one for all layers of this shape
    d       (rank,)         yes      0.1
    b       (n_out,)        yes      zero, so that the first output is the base's, exactly

Cost: rank + n_out parameters a matrix (`count`). A and B are in no file: they are drawn anew from
`seed`, and `load` checks that they are what they were. Nothing at inference once merged.

Source: Kopiczko et al. 2023, arXiv 2310.11454, §3.1 (the equation), §3.2 (the count), §3.3 (the
starts). One deviation from the paper: it shares one pair, since all its matrices have one shape;
here each shape has its own.
"""

import copy
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from peft_teach import models
from peft_teach.adapter import Adapter
from peft_teach.core import prepare, wrap
from peft_teach.settings import Layers, Rank, Settings, Targets, checked
from peft_teach.shapes import expect
from peft_teach.valid import is_integer

LEARNING_RATE = 5e-2    # MiniLM learned film reviews faster than at 1e-2, with one seed


@dataclass(frozen=True)
class Config(Settings):
    """Where VeRA goes, how many rows A has, and the seed of A and B.

    `targets` None is query and value, or the projection that holds both; `layers` are block
    numbers, None for all. The rank is larger than LoRA's: a row more of A and a column more of B
    cost one number.
    """

    rank: Rank = 256
    seed: Annotated[int, checked(lambda n: is_integer(n, 0, 2**63 - 1),
                                 "a whole number, 0 or more")] = 0
    targets: Targets = None
    layers: Layers = None

    def learning_rate(self, model: nn.Module) -> float:
        return LEARNING_RATE


def count(n_out: int, rank: int) -> int:
    """Return how many parameters VeRA trains for one (n_out, n_in) matrix."""
    return rank + n_out


class Projections(nn.Module):
    """The frozen A and B of all layers of one shape, drawn from a seed."""

    def __init__(self, n_in: int, n_out: int, rank: int, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        for name, shape in (("A", (rank, n_in)), ("B", (n_out, rank))):
            drawn = torch.empty(shape, dtype=torch.float32, device="cpu")
            nn.init.kaiming_uniform_(drawn, generator=generator)
            self.register_buffer(name, drawn, persistent=False)


class VeRALinear(Adapter):
    """A frozen `nn.Linear` with a trained choice from what A and B compute."""

    def __init__(self, base: nn.Linear, shared: Projections):
        super().__init__(base)
        self.shared = shared    # one module in many adapters: moved once, copied once
        self.d = nn.Parameter(torch.full((len(shared.A),), 0.1))      # (rank,)
        self.b = nn.Parameter(torch.zeros(len(shared.B)))             # (n_out,)

    def forward(self, x: Tensor) -> Tensor:
        expect(x, "... n_in", n_in=self.base.in_features)
        y = self.base(x)                                              # (…, n_out)
        h = self.d * (x.to(self.d.dtype) @ self.shared.A.T)           # (…, rank), float32
        u = self.b * (h @ self.shared.B.T)                            # (…, n_out), float32
        return (y + u).to(y.dtype)                                    # (…, n_out)

    def delta(self) -> Tensor:
        """Return ΔW, whose rows are scaled by b: (b ⊙ B) (d ⊙ A)."""
        return (self.b[:, None] * self.shared.B) @ (self.d[:, None] * self.shared.A)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return one plain linear layer with W + ΔW, summed in float32, then rounded."""
        linear = copy.deepcopy(self.base)
        linear.weight.copy_(self.base.weight + self.delta())          # (n_out, n_in)
        return linear


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Put VeRA on the model's targets, freeze the rest but the head; return the model to keep."""
    note, config = prepare(model, config, Config)
    pairs: dict[tuple[int, int], Projections] = {}

    def make(base: nn.Linear) -> VeRALinear:
        models.need_linear(base, plain=True)
        shape = base.in_features, base.out_features
        if shape not in pairs:
            pairs[shape] = Projections(*shape, config.rank, config.seed)
        return VeRALinear(base, pairs[shape])

    targets = models.query_and_value(model) if config.targets is None else config.targets
    makers = dict.fromkeys(models.find(model, targets, config.layers), make)
    return wrap(model, note, makers, config.also_train)
