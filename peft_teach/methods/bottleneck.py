"""Bottleneck adapters: small networks with a narrow middle, added to what a frozen layer computes.

    A(u) = W_up act(W_down u + b_down) + b_up

    symbol  shape            trained  starts as
    u       (…, d_model)     –        what the adapter reads; with a norm of its own, LN(u)
    W_down  (size, d_model)  yes      "normal": N(0, 0.01²) cut at 2σ; "zero": ±1/√d_model
    W_up    (d_model, size)  yes      "normal": N(0, 0.01²) cut at 2σ; "zero": zero
    b_down  (size,)          yes      zero
    b_up    (d_model,)       yes      zero
    LN      2 × (d_model,)   yes      one and zero; only with own_norm=True
    s       number           no       a constant, 1 by default

    reads     wraps                             computes
    output    any module F                      y + s A(y)           y = F(x)
    normed    the LayerNorm after a sub-layer   LN(x + s A(LN(x)))   the pretrained LN, twice
    input     a feed-forward block F            F(x) + s A(x)
              its second half, in BERT          F(h, r + s A(r))     r is the block's input

Cost: 2 · d_model · size + size + d_model parameters each (`count`). No linear layer can absorb A,
as act stands between its matrices.

At the start, "zero" gives exactly the base's output. "normal" stays near it: A(u) is about 1 % as
large as u for d_model 384 and size 64. Both matrices zero would be exact, too, and never learn.

Sources: Houlsby et al. 2019, arXiv 1902.00751, §2.1; Pfeiffer et al. 2021, arXiv 2005.00247, and
2020, arXiv 2005.00052; Bapna & Firat 2019, arXiv 1909.08478; He et al. 2022, arXiv 2110.04366, §3
and §4 (PARALLEL). All presets have the size of Houlsby's code, so that they can be compared. With r
the residual stream before a sub-layer and o what that adds:

    preset          A stands         post-LN, as BERT                 pre-LN, as GPT-2, Llama
    HOULSBY         after both       LN(r + o + A(o))                 r + o + A(o)
    PFEIFFER        after ffn        LN(r + o + A(LN(r + o)))         r + o + A(r + o)
    BAPNA           after ffn        y + A(LN_new(y)), y = LN(r + o)  y + A(LN_new(y)), y = r + o
    PARALLEL        beside ffn       LN(r + o + 4 A(r))               r + o + 4 A(LN(r))
    POST_ATTENTION  after attention  as HOULSBY; no paper's           as HOULSBY
    ENDS            at both ends     y + A(y), y the embeddings, the last hidden state; no paper's

In pre-LN, PARALLEL is as He et al. draw it; the `adapters` library has A(r) there, too.

Three deviations from Houlsby et al.: they also train the model's LayerNorms, which belong to the
base and stay frozen here; their code starts at σ = 0.001, their paper, as here, at 0.01; and on
BERT their A reads the sub-layer's output after its dropout, and ours before it.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from .. import models
from ..adapter import Adapter
from ..core import prepare, wrap
from ..errors import BadConfig
from ..settings import Layers, Settings, Targets, checked
from ..shapes import expect
from ..valid import is_count, is_positive
from .placements import need_readable, usual_targets

LEARNING_RATE = 2e-3    # learns on MiniLM: assets/records/rates.json; on SmolLM2 hardly
Activation = Literal["relu", "gelu", "silu", "tanh"]
Init = Literal["normal", "zero"]
ACTIVATIONS = {"relu": nn.functional.relu, "gelu": nn.functional.gelu, "silu": nn.functional.silu,
               "tanh": torch.tanh}


class Bottleneck(nn.Module):
    """A(u): down to `size` features, an activation, and up again."""

    def __init__(self, d_model: int, size: int = 64, activation: Activation = "relu",
                 own_norm: bool = False, init: Init = "normal"):
        Config.check(size=size, activation=activation, own_norm=own_norm, init=init)
        super().__init__()
        self.act = ACTIVATIONS[activation]
        self.norm = nn.LayerNorm(d_model) if own_norm else nn.Identity()
        self.W_down = nn.Parameter(torch.empty(size, d_model))        # (size, d_model)
        self.b_down = nn.Parameter(torch.zeros(size))                 # (size,)
        self.W_up = nn.Parameter(torch.zeros(d_model, size))          # (d_model, size)
        self.b_up = nn.Parameter(torch.zeros(d_model))                # (d_model,)
        if init == "normal":
            for W in (self.W_down, self.W_up):
                nn.init.trunc_normal_(W, std=0.01, a=-0.02, b=0.02)
        else:
            nn.init.uniform_(self.W_down, -1 / math.sqrt(d_model), 1 / math.sqrt(d_model))

    def forward(self, u: Tensor) -> Tensor:
        expect(u, "... d_model", called="u", d_model=self.W_down.shape[1])
        u = self.norm(u.to(self.W_down.dtype))                        # (…, d_model), float32
        h = self.act(u @ self.W_down.T + self.b_down)                 # (…, size)
        return h @ self.W_up.T + self.b_up                            # (…, d_model)


class BottleneckAdapter(Adapter):
    """A frozen module and the bottleneck A beside it; a subclass says what A reads."""

    def __init__(self, base: nn.Module, A: nn.Module, scale: float = 1.0):
        Config.check(scale=scale)
        super().__init__(base)
        self.A, self.scale = A, scale


class OutputAdapter(BottleneckAdapter):
    """y + s A(y): after a sub-layer, a norm or a whole block."""

    def forward(self, *args, **kwargs) -> Tensor:
        y = self.base(*args, **kwargs)                                # (…, d_model)
        return (y + self.scale * self.A(y)).to(y.dtype)               # (…, d_model)


class NormedAdapter(BottleneckAdapter):
    """LN(x + s A(LN(x))), where x is the sum of a sub-layer and what it read."""

    def forward(self, x: Tensor) -> Tensor:
        LN = self.base
        return LN((x + self.scale * self.A(LN(x))).to(x.dtype))       # (…, d_model)


class InputAdapter(BottleneckAdapter):
    """F(x) + s A(x): A works beside F, not after it.

    BERT's F comes in two halves; the second takes the inner activations h and the block's input r,
    and computes LN(W h + r). What is added to r arrives before LN, as it should.
    """

    def forward(self, x: Tensor, r: Tensor | None = None) -> Tensor:
        if r is None:
            y = self.base(x)                                          # (…, d_model)
            return (y + self.scale * self.A(x)).to(y.dtype)           # (…, d_model)
        h, r = x, (r + self.scale * self.A(r)).to(r.dtype)            # (…, d_ff), (…, d_model)
        return self.base(h, r)                                        # (…, d_model)


FORMS = {"output": OutputAdapter, "normed": NormedAdapter, "input": InputAdapter}


@dataclass(frozen=True)
class Config(Settings):
    """What a bottleneck looks like, what it reads and where it stands.

    `size` is the width of the middle, `scale` the s before A, `own_norm` puts a new LayerNorm
    before A. `targets=None` is the end of every layer: the norm that closes it, or the block
    itself where no norm does, whose A then reads "output" for "normed"; for reads="input" it is
    `ffn`. `layers` are block numbers, None for all.
    """

    size: Annotated[int, checked(is_count, "a whole number from 1; often d_model / 16")] = 64
    scale: Annotated[float, checked(is_positive, "a positive number; 4 in He et al. 2022")] = 1.0
    activation: Activation = "relu"
    reads: Literal["output", "normed", "input"] = "normed"
    own_norm: bool = False
    init: Init = "normal"
    targets: Targets = None
    layers: Layers = None

    def learning_rate(self, model: nn.Module) -> float:
        return LEARNING_RATE / self.scale


HOULSBY = Config(activation="gelu", reads="output", targets=("attention_out", "ffn_out"))
PFEIFFER = Config(activation="relu", reads="normed")
BAPNA = Config(activation="relu", reads="output", own_norm=True)
POST_ATTENTION = Config(activation="gelu", reads="output", targets=("attention_out",))
PARALLEL = Config(scale=4.0, activation="relu", reads="input", init="zero")
ENDS = Config(activation="relu", reads="output", targets=("embeddings", "last"))


def count(d_model: int, size: int, own_norm: bool = False) -> int:
    """Return how many parameters one bottleneck trains."""
    return 2 * d_model * size + size + d_model + (2 * d_model if own_norm else 0)


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Put bottlenecks into the model, freeze the rest but the head; return the model to keep.

    Without a config it is `PFEIFFER`. Transformers' recorded `hidden_states` miss an adapter
    around a block: read them by a hook there. Raises `BadConfig`, `NoTargets`, `AlreadyAdapted`,
    or `NotSupported` for an unknown family; then the model is as it was.
    """
    note, config = prepare(model, config, Config)
    targets, reads = config.targets, config.reads
    if targets is None:
        targets, reads = usual_targets(model, reads)
    need_readable(model, targets, reads)
    if reads == "normed" and config.own_norm:
        raise BadConfig("own_norm=True with reads='normed': what A reads is normalized already.",
                        hint="own_norm=False; or reads='output', as in pt.bottleneck.BAPNA")
    form, d_model = FORMS[reads], models.config_of(model).hidden_size

    def make(base: nn.Module) -> BottleneckAdapter:
        A = Bottleneck(d_model, config.size, config.activation, config.own_norm, config.init)
        return form(base, A, config.scale)

    makers = dict.fromkeys(models.find(model, targets, config.layers), make)
    return wrap(model, note, makers, config.also_train)
