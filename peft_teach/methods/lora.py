"""LoRA: learn a low-rank correction of a frozen weight.

    y = x Wᵀ + b + s ((x Aᵀ) Bᵀ + c)      s = alpha / rank,  or alpha / √rank (rsLoRA)

    symbol  shape           trained  starts as
    x       (…, n_in)       –        the layer's input
    W, b    (n_out, n_in)   no       the pretrained weight and bias
    A       (rank, n_in)    yes      uniform in ±1/√n_in
    B       (n_out, rank)   yes      zero, so that the first output is the base's, exactly
    c       (n_out,)        yes      zero; B's bias, there with use_bias only
    s       number          no       a constant

Cost: rank · (n_in + n_out) parameters per matrix (`count`), nothing at inference once merged. The
paper has no c; Hugging Face peft calls it lora_bias.

Sources: Hu et al. 2021, arXiv 2106.09685, §4.1 (the equation) and §4.2 (which matrices);
Kalajdzievski 2023, arXiv 2312.03732 (rsLoRA); Hayou et al. 2024, arXiv 2402.12354 (LoRA+).
One deviation from the paper: A starts uniform, as in the authors' code and in Hugging Face peft,
where the paper says Gaussian.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from .. import models
from ..core import Adapter, attach, begin, note
from ..errors import BadConfig, NoAdapter, NotMergeable, NotSupported
from ..nf4 import Linear4bit
from ..shapes import expect
from ..valid import Settings, Share, is_positive, is_whole

LEARNING_RATE = 3e-3    # of query and value: assets/records/lora.json; SmolLM2's in ia3.json
Alpha = Annotated[float, is_positive, "a positive number; often twice the rank"]


@dataclass(frozen=True)
class Config(Settings):
    """Where LoRA goes and how large it is.

    `targets` are places, module names or patterns of them, "linear" every linear layer of the
    blocks; None is query and value, or the projection that holds both. `layers` are block numbers
    (None for all), `dropout` a probability on the input of A, `rank_stabilized` takes
    s = alpha / √rank, `use_bias` gives B a bias.
    """

    rank: int = 8
    alpha: Alpha = 16.0
    dropout: Share = 0.0
    rank_stabilized: bool = False
    use_bias: bool = False
    targets: tuple[str, ...] | None = None
    layers: tuple[int, ...] | None = None


def count(n_in: int, n_out: int, rank: int, use_bias: bool = False) -> int:
    """Return how many parameters LoRA trains for one (n_out, n_in) matrix."""
    return rank * (n_in + n_out) + (n_out if use_bias else 0)


def scale(rank: int, alpha: float, rank_stabilized: bool = False) -> float:
    """Return s. With alpha / √rank the size of the update does not shrink as the rank grows."""
    return alpha / math.sqrt(rank) if rank_stabilized else alpha / rank


class LoRALinear(Adapter):
    """A frozen `nn.Linear` with a trained correction of rank `rank`."""

    base: nn.Linear | Linear4bit

    def __init__(self, base: nn.Linear | Linear4bit, rank: int = 8, alpha: float = 16.0,
                 dropout: float = 0.0, rank_stabilized: bool = False, use_bias: bool = False):
        Config(alpha=alpha, dropout=dropout, rank_stabilized=rank_stabilized, use_bias=use_bias)
        _check(base, rank)
        super().__init__(base)
        self.scale = scale(rank, alpha, rank_stabilized)
        self.dropout = nn.Dropout(dropout)
        n_in, n_out = base.in_features, base.out_features
        self.A = nn.Parameter(torch.empty(rank, n_in))                # (rank, n_in)
        self.B = nn.Parameter(torch.zeros(n_out, rank))               # (n_out, rank)
        self.c = nn.Parameter(torch.zeros(n_out)) if use_bias else None   # (n_out,)
        nn.init.uniform_(self.A, -1 / math.sqrt(n_in), 1 / math.sqrt(n_in))

    def forward(self, x: Tensor) -> Tensor:
        expect(x, "... n_in", n_in=self.base.in_features)
        y = self.base(x)                                              # (…, n_out)
        h = self.dropout(x).to(self.A.dtype) @ self.A.T               # (…, rank), float32
        u = self.scale * h @ self.B.T                                 # (…, n_out), float32
        if self.c is not None:
            u = u + self.scale * self.c                               # (…, n_out)
        return (y + u).to(y.dtype)                                    # (…, n_out)

    def delta(self) -> Tensor:
        """Return ΔW = s B A, the correction as one (n_out, n_in) matrix, in A's and B's dtype."""
        return self.scale * self.B @ self.A                           # (n_out, n_in)

    def merged(self) -> nn.Linear:
        """Return one plain linear layer with weight W + ΔW, summed in float32, then rounded.

        Its bias is b + s c, summed alike; a base without a bias has no place for c.
        """
        if models.is_packed(self.base):
            raise NotMergeable(f"This {type(self.base).__name__} holds its weight in bytes, of "
                               "another library's form.",
                               expected="a plain nn.Linear, or a layer that pt.qlora put into 4 "
                                        "bits", hint="keep the adapter on the model")
        W, b = self.base.weight, self.base.bias
        if self.c is not None and b is None:
            raise NotMergeable("The base has no bias, so LoRA's own bias c has nowhere to go.",
                               expected="a base layer with a bias",
                               hint="keep the adapter on the model, or train with use_bias=False")
        linear = nn.Linear(self.base.in_features, self.base.out_features, bias=b is not None,
                           device="meta", dtype=W.dtype)
        linear.weight = nn.Parameter((W.float() + self.delta()).detach().to(W.dtype))
        if b is not None:
            shift = 0 if self.c is None else self.scale * self.c
            linear.bias = nn.Parameter((b.float() + shift).detach().to(b.dtype))
        return linear.train(self.base.training)


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Put LoRA on the model's targets, freeze the rest but the head; return the model to keep."""
    config = begin(model, config, Config)

    def make(base: nn.Linear) -> LoRALinear:
        return LoRALinear(base, config.rank, config.alpha, config.dropout,
                          config.rank_stabilized, config.use_bias)

    model = attach(model, where(model, config.targets), make, config.layers, config.also_train)
    return note(model, "lora", config)


def where(model: nn.Module, targets: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return these targets; for None query and value, as in the paper, or `qkv` where it is one."""
    if targets is not None:
        return targets
    return ("qkv",) if "qkv" in models.places(model) else ("query", "value")


def plus_groups(model: nn.Module, lr: float, ratio: float = 16.0) -> list[dict]:
    """LoRA+: return optimizer groups in which B learns `ratio` times as fast as A.

    B's bias, where there is one, keeps pace with it. Everything else that trains, the head for
    one, keeps `lr`. Hayou et al. 2024 §4.
    """
    B = [p for m in model.modules() if isinstance(m, LoRALinear)
         for p in (m.B, m.c) if p is not None]
    if not B:
        raise NoAdapter("LoRA+ sets the learning rates of A and B, and this model has neither.",
                        hint="model = pt.lora.inject(model, pt.lora.Config())")
    fast = {id(p) for p in B}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in fast]
    return [{"params": rest, "lr": lr}, {"params": B, "lr": lr * ratio}]


def _check(base: nn.Linear | Linear4bit, rank: int) -> None:
    if not hasattr(base, "in_features"):    # a linear layer of one's own will do
        raise NotSupported(f"LoRA corrects a linear layer, and this is a {type(base).__name__}.",
                           hint="choose targets such as 'query', 'value', 'ffn_in'")
    largest = min(base.in_features, base.out_features)
    if not is_whole(rank, 1, largest):
        raise BadConfig(f"rank {rank!r} for a matrix of {base.out_features} × {base.in_features}.",
                        expected=f"a whole number from 1 to {largest}: no matrix of this shape has "
                                 "a larger rank")
