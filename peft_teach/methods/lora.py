"""LoRA: learn a low-rank correction of a frozen weight.

    y = x Wᵀ + b + s (z Aᵀ) Bᵀ            s = alpha / rank,  or alpha / √rank (rsLoRA)

    symbol  shape           trained  starts as
    x       (…, n_in)       –        the layer's input
    z       (…, n_in)       –        dropout(x) while training, else x
    W       (n_out, n_in)   no       the pretrained weight
    b       (n_out,)        no       the pretrained bias, if there is one
    A       (rank, n_in)    yes      uniform in ±1/√n_in
    B       (n_out, rank)   yes      zero, so that the first output is the base's, exactly
    s       number          no       a constant
    c       (n_out,)        yes      zero; with use_bias=True alone, and then s c is added, too

Cost: rank · (n_in + n_out) parameters per matrix (`count`), nothing at inference once merged.

Sources: Hu et al. 2021, arXiv 2106.09685, §4.1 (the equation) and §4.2 (which matrices);
Kalajdzievski 2023, arXiv 2312.03732 (rsLoRA). A second page: two learning rates, `lora_plus.py`.
Two deviations from the paper: A starts uniform, as in the authors' code and in Hugging Face peft,
where the paper says Gaussian; and B may have a bias c, peft's `lora_bias`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import models
from ..adapter import Adapter, adapters
from ..core import prepare, wrap
from ..errors import BadConfig, NotMergeable
from ..nf4 import Linear4bit
from ..settings import Alpha, Layers, Rank, Settings, Share, Targets
from ..shapes import expect
from .lora_plus import plus_groups as plus_groups

LEARNING_RATE = 3e-3    # of query and value: assets/records/lora.json
LINEAR_LEARNING_RATE = 1e-3    # on all linear layers, where it acts more strongly: QLoRA's


class LoRALinear(Adapter):
    """A frozen `nn.Linear` with a trained correction of rank `rank`; disabled, it is its base."""

    base: nn.Linear | Linear4bit

    def __init__(self, base: nn.Linear | Linear4bit, rank: int = 8, alpha: float = 16.0,
                 dropout: float = 0.0, rank_stabilized: bool = False, use_bias: bool = False):
        Config.check(rank=rank, alpha=alpha, dropout=dropout, rank_stabilized=rank_stabilized,
                     use_bias=use_bias)
        models.need_linear(base)
        n_in, n_out = base.in_features, base.out_features
        if rank > min(n_in, n_out):
            raise BadConfig(f"rank {rank} for a matrix of {n_out} × {n_in}.",
                            expected=f"at most {min(n_in, n_out)}: no such matrix has a larger one")
        super().__init__(base)
        self.scale = scale(rank, alpha, rank_stabilized)
        self.dropout = nn.Dropout(dropout)
        self.A = nn.Parameter(torch.empty(rank, n_in))                # (rank, n_in)
        self.B = nn.Parameter(torch.zeros(n_out, rank))               # (n_out, rank)
        self.c = nn.Parameter(torch.zeros(n_out)) if use_bias else None    # (n_out,)
        nn.init.uniform_(self.A, -1 / math.sqrt(n_in), 1 / math.sqrt(n_in))

    def forward(self, x: Tensor) -> Tensor:
        expect(x, "... n_in", n_in=self.base.in_features)
        y = self.base(x)                                              # (…, n_out)
        z = self.dropout(x)                                           # (…, n_in)
        u = self.update(z)                                            # (…, n_out), float32
        return (y + u).to(y.dtype)                                    # (…, n_out)

    def update(self, z: Tensor) -> Tensor:
        """Return u = s (z Aᵀ) Bᵀ, and s c if there is a c."""
        h = z.to(self.A.dtype) @ self.A.T                             # (…, rank), float32
        return self.scale * nn.functional.linear(h, self.B, self.c)   # (…, n_out)

    def delta(self) -> Tensor:
        """Return ΔW = s B A, the correction as one (n_out, n_in) matrix, in A's and B's dtype."""
        return self.scale * self.B @ self.A                           # (n_out, n_in)

    def merged(self) -> nn.Linear:
        """Return one plain linear layer: W + ΔW, and b + s c, each rounded after the sum."""
        W, b = models.weight_of(self.base), self.base.bias            # (n_out, n_in), (n_out,)
        if self.c is not None:
            if b is None:
                raise NotMergeable("The base has no bias, to which B's could be added.",
                                   expected="a base layer with a bias",
                                   hint="keep the adapter on the model, or use_bias=False")
            b = (b + self.scale * self.c).to(b.dtype)
        return models.linear_like(self.base, (W + self.delta()).to(W.dtype), b)


@dataclass(frozen=True)
class Config(Settings):
    """Where LoRA goes and how large it is.

    `targets` are places, module names or patterns of them; "linear" is every linear layer of the
    blocks, None is query and value, or the projection that holds both. `layers` are block numbers
    (None for all), `dropout` is a probability on the input of A, `rank_stabilized` takes
    s = alpha / √rank, and `use_bias` gives B a bias.
    """

    rank: Rank = 8
    alpha: Alpha = 16.0
    dropout: Share = 0.0
    rank_stabilized: bool = False
    use_bias: bool = False
    targets: Targets = None
    layers: Layers = None

    def learning_rate(self, model: nn.Module) -> float:
        return usual_learning_rate(model)


def count(n_in: int, n_out: int, rank: int, use_bias: bool = False) -> int:
    """Return how many parameters LoRA trains for one (n_out, n_in) matrix."""
    return rank * (n_in + n_out) + (n_out if use_bias else 0)


def scale(rank: int, alpha: float, rank_stabilized: bool = False) -> float:
    """Return s. With alpha / √rank the size of the update does not shrink as the rank grows."""
    return alpha / math.sqrt(rank) if rank_stabilized else alpha / rank


def usual_learning_rate(model: nn.Module) -> float:
    """Return the usual rate, or the one for LoRA on every linear layer of the blocks."""
    here = {name for name, a in adapters(model).items() if isinstance(a, LoRALinear)}
    linear = {name for name, place in models.place_of(model).items() if place in models.LINEAR}
    everywhere = linear and linear <= here    # in an unknown family none is known
    return LINEAR_LEARNING_RATE if everywhere else LEARNING_RATE


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Put LoRA on the model's targets, freeze the rest but the head; return the model to keep."""
    note, config = prepare(model, config, Config)
    targets = models.query_and_value(model) if config.targets is None else config.targets

    def make(base: nn.Linear | Linear4bit) -> LoRALinear:
        return LoRALinear(base, config.rank, config.alpha, config.dropout, config.rank_stabilized,
                          config.use_bias)

    makers = dict.fromkeys(models.find(model, targets, config.layers), make)
    return wrap(model, note, makers, config.also_train)
