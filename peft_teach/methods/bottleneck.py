"""Bottleneck adapters: small networks with a narrow middle, added to what a frozen layer computes.

    A(u) = W_up act(W_down u + b_down) + b_up

    symbol          shape            trained  starts as
    u               (…, d_model)     –        what the adapter reads; with a norm of its own, LN(u)
    W_down, b_down  (size, d_model)  yes      "normal": N(0, 0.01²) cut at 2σ; "zero": ±1/√d_model
    W_up, b_up      (d_model, size)  yes      "normal": N(0, 0.01²) cut at 2σ; "zero": zero
    b_down, b_up                     yes      zero
    LN              2 × (d_model)    yes      one and zero; only with own_norm=True
    s               number           no       a constant, 1 by default

The papers differ in where A stands. Three positions cover them all:

    reads     wraps                             computes
    output    any module F                      y + s A(y)           y = F(x)
    normed    the LayerNorm after a sub-layer   LN(x + s A(LN(x)))   the pretrained LN, twice
    input     a feed-forward block F            F(x) + s A(x)
              its second half, in BERT          F(h, r + s A(r))     r is the block's input

With r the residual stream before a sub-layer and o what the sub-layer adds, a layer becomes:

    value           after            post-LN: BERT, RoBERTa, …     pre-LN: GPT-2, Llama, …
    HOULSBY         attention, ffn   LN(r + o + A(o))              r + o + A(o)
    POST_ATTENTION  attention        LN(r + o + A(o))              r + o + A(o)
    PFEIFFER        ffn              LN(r + o + A(LN(r + o)))      r + o + A(r + o)
    BAPNA           ffn              y + A(LN_new(y))              y + A(LN_new(y)), y = r + o
    PARALLEL        ffn              LN(r + o + s A(r))            r + o + s A(LN(r))

Cost: 2 · d_model · size + size + d_model parameters each (`count`). No linear layer can absorb A,
as act stands between the two matrices. A parallel A with the act of a block without a gate can be
merged by hand, into a wider block.

At the start, "zero" gives exactly the base's output. "normal" stays near it:
‖A(u)‖ ≤ σ² (√size + √d_model)² ‖u‖ with σ = 0.01, which is 8 % of what A reads for d_model 384 and
size 64, and in practice 1 %. Both matrices zero would be exact as well, and never learn.

Sources: Houlsby et al. 2019, arXiv 1902.00751, §2.1; Pfeiffer et al. 2021, arXiv 2005.00247, and
2020, arXiv 2005.00052; Bapna & Firat 2019, arXiv 1909.08478; He et al. 2022, arXiv 2110.04366, §3
and §4.
Deviations. Houlsby et al. also train the model's LayerNorms: these belong to the base, and stay
frozen here. Their code starts at σ = 0.001, their paper at 0.01, which is taken; on BERT they adapt
what the dropout left of o, where A stands before the dropout here. On pre-LN models PARALLEL reads
the block's own input, as He et al. draw it; the `adapters` library reads r before its norm.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from .. import models
from ..core import Adapter, attach, begin, note
from ..errors import BadConfig
from ..shapes import expect
from ..valid import Settings, is_positive, is_whole, one_of

LEARNING_RATE = 2e-3    # learns on MiniLM: assets/records/rates.json; on SmolLM2 hardly
Activation = Literal["relu", "gelu", "silu", "tanh"]
Init = Literal["normal", "zero"]
ACTIVATIONS = {"relu": nn.functional.relu, "gelu": nn.functional.gelu, "silu": nn.functional.silu,
               "tanh": torch.tanh}


@dataclass(frozen=True)
class Config(Settings):
    """What a bottleneck looks like, what it reads and where it stands.

    `size` is the width of the middle, `scale` the s before A, `own_norm` puts a new LayerNorm
    before A. `reads` and `init` are said above. `targets=None` is the end of every layer: the norm
    that closes it, or the block itself where no norm does; for reads="input" it is `ffn`.
    `layers` are block numbers, None for all.
    """

    size: Annotated[int, is_whole, "a whole number from 1; often d_model / 16"] = 64
    scale: Annotated[float, is_positive, "a positive number; 4 in He et al. 2022"] = 1.0
    activation: Activation = "relu"
    reads: Literal["output", "normed", "input"] = "normed"
    own_norm: bool = False
    init: Init = "normal"
    targets: tuple[str, ...] | None = None
    layers: tuple[int, ...] | None = None

    def __post_init__(self):
        super().__post_init__()
        one_of("activation", self.activation, ACTIVATIONS)
        one_of("reads", self.reads, ("output", "normed", "input"))
        one_of("init", self.init, ("normal", "zero"))
        if self.reads == "normed" and self.own_norm:
            raise BadConfig("own_norm=True with reads='normed': what A reads is normalized "
                            "already.",
                            hint="own_norm=False; or reads='output', as in pt.bottleneck.BAPNA")


# All have one size, so that the variants can be compared; 64 is that of Houlsby's code.

# Houlsby et al. 2019: after both sub-layers, before the skip connection.
HOULSBY = Config(activation="gelu", reads="output", targets=("attention_out", "ffn_out"))
# Pfeiffer et al. 2021: one a layer; it reads the normed sum, and adds to the sub-layer's output.
PFEIFFER = Config(activation="relu", reads="normed")
# Bapna & Firat 2019: one at the end of every layer, with a new LayerNorm.
BAPNA = Config(activation="relu", reads="output", own_norm=True)
# Half of Houlsby's; no paper is named after it.
POST_ATTENTION = Config(activation="gelu", reads="output", targets=("attention_out",))
# He et al. 2022: beside the feed-forward block, four times as strong, silent at the start.
PARALLEL = Config(scale=4.0, activation="relu", reads="input", init="zero")
# One on the embeddings, one on the last hidden state: the layers between stay untouched. No paper.
ENDS = Config(activation="relu", reads="output", targets=("embeddings", "last"))


def count(d_model: int, size: int, own_norm: bool = False) -> int:
    """Return how many parameters one bottleneck trains."""
    return 2 * d_model * size + size + d_model + (2 * d_model if own_norm else 0)


class Bottleneck(nn.Module):
    """A(u): down to `size` features, an activation, and up again."""

    def __init__(self, d_model: int, size: int = 64, activation: Activation = "relu",
                 own_norm: bool = False, init: Init = "normal"):
        Config(size, activation=activation, reads="output", own_norm=own_norm, init=init)
        super().__init__()
        self.act = ACTIVATIONS[activation]
        self.norm = nn.LayerNorm(d_model) if own_norm else nn.Identity()
        self.W_down = nn.Parameter(torch.empty(size, d_model))        # (size, d_model)
        self.b_down = nn.Parameter(torch.zeros(size))                 # (size)
        self.W_up = nn.Parameter(torch.zeros(d_model, size))          # (d_model, size)
        self.b_up = nn.Parameter(torch.zeros(d_model))                # (d_model)
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

    def __init__(self, base: nn.Module, A: Bottleneck, scale: float = 1.0):
        Config(scale=scale)
        super().__init__(base)
        self.A, self.scale = A, scale

    def correction(self, u: Tensor) -> Tensor:
        """Return s A(u) in float32: what it is added to is rounded after the sum."""
        return self.scale * self.A(u)                                 # (…, d_model)


class OutputAdapter(BottleneckAdapter):
    """y + s A(y), where y is the module's output: after a sub-layer, a norm or a whole block."""

    def forward(self, *args, **kwargs) -> Tensor:
        y = self.base(*args, **kwargs)                                # (…, d_model)
        return (y + self.correction(y)).to(y.dtype)                   # (…, d_model)


class NormedAdapter(BottleneckAdapter):
    """LN(x + s A(LN(x))), around the LayerNorm that closes a sub-layer: x is the sum r + o."""

    def forward(self, x: Tensor) -> Tensor:
        u = self.correction(self.base(x))                             # (…, d_model)
        return self.base((x + u).to(x.dtype))                         # (…, d_model)


class InputAdapter(BottleneckAdapter):
    """F(x) + s A(x), around a feed-forward block: A works beside F, not after it.

    BERT's F comes in two halves; the second one takes the inner activations h and the block's
    input r, and computes LN(W h + r). What is added to r arrives before LN, as it should.
    """

    def forward(self, x: Tensor, r: Tensor | None = None) -> Tensor:
        if r is None:
            y = self.base(x)                                          # (…, d_model)
            return (y + self.correction(x)).to(y.dtype)               # (…, d_model)
        r = (r + self.correction(r)).to(r.dtype)                      # (…, d_model)
        return self.base(x, r)                                        # x is h: (…, d_ff)


# What each form can wrap: places at which vectors of d_model features come out, or go in.
FORMS = {
    "output": (OutputAdapter, ("attention_out", "ffn_out", "ffn", "attention_norm", "ffn_norm",
                               "block", "embeddings", "last")),
    "normed": (NormedAdapter, ("attention_norm", "ffn_norm")),
    "input": (InputAdapter, ("ffn",)),
}


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Put bottlenecks into the model, freeze the rest but the head; return the model to keep.

    Without a config it is `PFEIFFER`. Transformers' recorded `hidden_states` miss an adapter
    around a block: read them by a hook there. Raises `BadConfig`, `NoTargets`, `AlreadyAdapted`,
    or `NotSupported` for an unknown family; then the model is as it was.
    """
    config = begin(model, PFEIFFER if config is None else config, Config)
    targets, make = _form(model, config)
    model = attach(model, targets, lambda base: make(base, Bottleneck(
        models.config_of(model).hidden_size, config.size, config.activation, config.own_norm,
        config.init), config.scale), config.layers, config.also_train)
    return note(model, "bottleneck", config)


def _form(model: nn.Module, config: Config) -> tuple[tuple[str, ...], type[BottleneckAdapter]]:
    """Return the targets in this model and the class that wraps them."""
    reads, targets = config.reads, config.targets
    table = models.places(model)
    if targets is None and reads == "input":
        targets = ("ffn",)
    elif targets is None and "ffn_norm" in table:
        targets = ("ffn_norm",)
    elif targets is None:    # pre-LN: no norm closes a layer, and A reads the sum as it is
        targets, reads = ("block",), "output"
    make, fitting = FORMS[reads]
    fitting = [place for place in fitting if place in table]
    allowed = {name for place in fitting for name in table[place]}
    for name in models.find(model, targets):
        if name not in allowed:
            raise BadConfig(f"reads={reads!r} cannot be had at {name}.",
                            expected="one of these places: " + (", ".join(fitting) or "none here"),
                            hint="another `reads`, or targets=None for the usual places")
    return targets, make
