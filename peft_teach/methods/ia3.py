"""(IA)³: learn to amplify or inhibit keys, values and the inside of the feed-forward network.

    key        K' = l_k ⊙ K           K = x W_kᵀ + b_k
    value      V' = l_v ⊙ V           V = x W_vᵀ + b_v
    ffn        y = (l_ff ⊙ h) Wᵀ + b      h: what `ffn_out` reads, the activated hidden layer

    symbol  shape           trained  starts as
    l_k     (d_key,)        yes      ones, so that the first output is the base's, exactly
    l_v     (d_value,)      yes      ones
    l_ff    (d_ffn,)        yes      ones
    W       (n_out, n_in)   no       a pretrained weight; W_k and W_v likewise
    b       (n_out,)        no       its bias, if there is one; b_k and b_v likewise

Cost: L (d_key + d_value + d_ffn) parameters for L blocks (`count`); nothing at inference once
merged: l scales rows of a weight and its bias, or columns.

Source: Liu et al. 2022, arXiv 2205.05638, §3.3. The paper's T5 has an encoder and a decoder; here
each block has one attention. In a gated FFN l_ff scales the gated product, where the authors'
T-Few scales its linear branch: the same function. Where a norm follows the key's projection, as in
Qwen3 and Gemma 3, l_k stands before it. Hugging Face peft's default scales more than the paper: on
BERT the input of `attention_out` too, on GPT-2 the queries.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import models
from ..adapter import Adapter
from ..core import prepare, wrap
from ..errors import BadConfig, NotSupported
from ..settings import Layers, Settings, Targets
from ..shapes import expect
from ..valid import is_integer

LEARNING_RATE = 1e-2    # learns on both models: assets/records/rates.json
SIDES = {"key": "output", "value": "output", "qkv": "output",    # qkv is fused, as in GPT-2
         "attention_out": "input", "ffn_out": "input"}


class IA3Linear(Adapter):
    """A frozen `nn.Linear` whose output or input is scaled, with one trained number per feature."""

    base: nn.Linear

    def __init__(self, base: nn.Linear, side: str = "output"):
        models.need_linear(base, plain=True)
        if side not in ("output", "input"):
            raise BadConfig(f"side is {side!r}.", expected="'output' or 'input'")
        super().__init__(base)
        self.side = side
        n = base.out_features if side == "output" else base.in_features
        self.l = nn.Parameter(torch.ones(n))                          # (n_out,) or (n_in,)

    def forward(self, x: Tensor) -> Tensor:
        expect(x, "... n_in", n_in=self.base.in_features)
        l = self.factors()                                            # (n_in,) or (n_out,), float32
        if self.side == "input":
            return self.base((l * x).to(x.dtype))                     # (…, n_out)
        y = self.base(x)                                              # (…, n_out)
        return (l * y).to(y.dtype)                                    # (…, n_out)

    def factors(self) -> Tensor:
        """Return one factor per feature of the side that is scaled: l."""
        return self.l

    def merged(self) -> nn.Linear:
        """Return one plain linear layer, whose rows (for an output) or columns l scales."""
        l, W, b = self.factors(), self.base.weight, self.base.bias    # W is (n_out, n_in)
        if self.side == "input":
            return models.linear_like(self.base, (l * W).to(W.dtype))
        b = None if b is None else (l * b).to(b.dtype)                # (n_out,)
        return models.linear_like(self.base, (l[:, None] * W).to(W.dtype), b)


class FusedIA3Linear(IA3Linear):
    """A fused projection whose keys and values are scaled, and whose queries stay as they are.

    Its output comes in equal `parts`, each of which begins with `first` features of queries.
    """

    def __init__(self, base: nn.Linear, first: int, parts: int = 1):
        super().__init__(base)
        n = base.out_features
        if not is_integer(parts, 1, n) or n % parts or not is_integer(first, 0, n // parts - 1):
            raise BadConfig(f"first is {first!r} in {parts!r} parts of {n} features.",
                            expected="equal parts, and fewer features of queries than one has")
        self.first, self.parts = first, parts
        self.l = nn.Parameter(torch.ones(n - parts * first))          # (n_out - parts · first,)

    def factors(self) -> Tensor:
        """Return one factor per feature: in each part ones for the queries, and then l."""
        l = self.l.unflatten(0, (self.parts, -1))                     # (parts, the rest of a part)
        return nn.functional.pad(l, (self.first, 0), value=1.0).flatten()         # (n_out,)


@dataclass(frozen=True)
class Config(Settings):
    """Where (IA)³ goes.

    `targets` None takes the paper's three vectors: key, value and ffn_out, or qkv and ffn_out
    where a model fuses its projections. Given as places or module names, they may also be
    attention_out, whose input is then scaled. `layers` are block numbers, None for all.
    """

    targets: Targets = None
    layers: Layers = None

    def learning_rate(self, model: nn.Module) -> float:
        return LEARNING_RATE


def count(layers: int, d_key: int, d_value: int, d_ffn: int) -> int:
    """Return how many parameters the paper's three vectors have in a model of `layers` blocks."""
    return layers * (d_key + d_value + d_ffn)


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Put the vectors on the model's targets, freeze the rest but the head; return the model.

    Raises `NotSupported` for a target that has no vector.
    """
    note, config = prepare(model, config, Config)
    places, targets = models.place_of(model), config.targets
    if targets is None:
        targets = ("qkv", "ffn_out") if "qkv" in places.values() else ("key", "value", "ffn_out")
    makers = {name: _maker(model, places.get(name) or name)
              for name in models.find(model, targets, config.layers)}
    return wrap(model, note, makers, config.also_train)


def _maker(model: nn.Module, place: str) -> Callable[[nn.Linear], IA3Linear]:
    """Return what wraps a layer at this place."""
    if place not in SIDES:
        raise NotSupported(f"(IA)³ has no vector for {place}.",
                           expected="targets among " + ", ".join(SIDES),
                           hint="pt.attach(model, names, pt.ia3.IA3Linear)")
    if place == "qkv":
        return lambda base: FusedIA3Linear(base, *models.fused_queries(model))
    return lambda base: IA3Linear(base, SIDES[place])
