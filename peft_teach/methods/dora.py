"""DoRA: split each row of the weight into length and direction; LoRA turns the direction.

    y = g ⊙ (V z) + b + W (x − z)          V = W + s B A,   g = m / ‖V‖,   s = alpha / rank

    symbol  shape           trained  starts as
    x       (…, n_in)       –        the layer's input
    z       (…, n_in)       –        dropout(x) while training, else x
    W       (n_out, n_in)   no       the pretrained weight
    b       (n_out,)        no       the pretrained bias, if there is one; never scaled
    A       (rank, n_in)    yes      uniform in ±1/√n_in
    B       (n_out, rank)   yes      zero
    m       (n_out,)        yes      ‖W‖: with B zero, the first output is the base's
    ‖V‖     (n_out,)        –        the length of each row of V; a constant in backward
    s       number          no       a constant

Cost: LoRA's parameters and n_out more per matrix (`count`), and V built once a step for its norm;
nothing at inference once merged.

Sources: Liu et al. 2024, arXiv 2402.09353, §4.1 (the equation), §4.3 (‖V‖ held constant).
One deviation from the paper, which speaks of columns: as in the authors' code and in Hugging Face
peft there is one magnitude per *output* feature. As in peft, too, the base reads x as it is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import models
from ..core import prepare, wrap
from ..errors import NotSupported
from ..nf4 import Linear4bit
from ..settings import Alpha, Layers, Rank, Settings, Share, Targets
from ..shapes import expect
from . import lora

LEARNING_RATE = lora.LEARNING_RATE    # on MiniLM: assets/records/rates.json


class DoRALinear(lora.LoRALinear):
    """LoRA with a trained length for each row; `base` is an `nn.Linear` or its 4-bit form."""

    def __init__(self, base: nn.Linear | Linear4bit, rank: int = 8, alpha: float = 16.0,
                 dropout: float = 0.0):
        super().__init__(base, rank, alpha, dropout)
        if models.is_packed(base):
            raise NotSupported(f"DoRA needs the weight, and this {type(base).__name__} holds it in "
                               "bytes, of another library's form.",
                               expected="a plain nn.Linear",
                               hint="pt.qlora.Config(dora=True) on a model with plain layers")
        self.to(base.weight.device)    # the norm below needs W, A and B in one place
        self.m = nn.Parameter(self.norm())                            # (n_out,)

    def forward(self, x: Tensor) -> Tensor:
        expect(x, "... n_in", n_in=self.base.in_features)
        z = self.dropout(x)                                           # (…, n_in)
        b = 0.0 if self.base.bias is None else self.base.bias         # (n_out,)
        frozen = self.base(z)                                         # (…, n_out): W z + b
        Vz = frozen.to(self.A.dtype) - b + self.update(z)             # (…, n_out), float32
        y = self.g * Vz + b + self.dropped(x, z, frozen)              # (…, n_out)
        return y.to(frozen.dtype)                                     # (…, n_out)

    def dropped(self, x: Tensor, z: Tensor, frozen: Tensor) -> Tensor | float:
        """Return W (x − z), of what dropout leaves out; `frozen` is W z + b."""
        return 0.0 if z is x else self.base(x).to(self.A.dtype) - frozen

    def V(self) -> Tensor:
        """Return V = W + s B A, (n_out, n_in)."""
        return self.base.weight.to(self.A.dtype) + super().delta()

    @property
    def g(self) -> Tensor:
        """How many times as long each row of V is made, (n_out,)."""
        return self.m / self.norm()                                   # (n_out,)

    @torch.no_grad()
    def norm(self) -> Tensor:
        """Return ‖V‖, (n_out,); no gradient flows through it. A row of zeros counts as tiny."""
        norm = torch.linalg.vector_norm(self.V(), dim=1)              # (n_out,)
        return norm.clamp_min(torch.finfo(norm.dtype).tiny)

    def delta(self) -> Tensor:
        """Return ΔW = g ⊙ V − W, the correction as one (n_out, n_in) matrix. `merged` adds it."""
        return self.g[:, None] * self.V() - self.base.weight.to(self.A.dtype)


@dataclass(frozen=True)
class Config(Settings):
    """Where DoRA goes and how large it is; the fields mean what they mean in `lora.Config`."""

    rank: Rank = 8
    alpha: Alpha = 16.0
    dropout: Share = 0.0
    targets: Targets = None
    layers: Layers = None

    def learning_rate(self, model: nn.Module) -> float:
        return lora.usual_learning_rate(model)


def count(n_in: int, n_out: int, rank: int) -> int:
    """Return how many parameters DoRA trains for one (n_out, n_in) matrix."""
    return lora.count(n_in, n_out, rank) + n_out


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Put DoRA on the model's targets, freeze the rest but the head; return the model to keep."""
    note, config = prepare(model, config, Config)
    targets = models.query_and_value(model) if config.targets is None else config.targets

    def make(base: nn.Linear | Linear4bit) -> DoRALinear:
        return DoRALinear(base, config.rank, config.alpha, config.dropout)

    makers = dict.fromkeys(models.find(model, targets, config.layers), make)
    return wrap(model, note, makers, config.also_train)
