"""BitFit: train the biases, and nothing else.

    y = base(x) + b

    symbol  shape      trained  starts as
    base    –          no       a pretrained linear layer or LayerNorm that has a bias
    b       (n_out,)   yes      zero, so that the first output is the base's, exactly

Cost: one number per feature. Of a BERT with its pooler, L (7 d_model + d_ffn) + 2 d_model
parameters (`count`), about a thousandth of the model; nothing at inference once merged.

Source: Ben Zaken et al. 2021, arXiv 2106.10199, §3.
One deviation from the paper, which trains the biases themselves: here b is what is added to them,
so that it can be saved, disabled and removed. Gradients and steps are the same, but weight decay
draws b to zero, and so each bias to its pretrained value instead of to zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import models
from ..adapter import Adapter
from ..core import prepare, wrap
from ..errors import NoTargets, NotSupported, kind_of
from ..nf4 import Linear4bit
from ..settings import Layers, Settings, Targets
from ..shapes import expect

LEARNING_RATE = 3e-3    # learns on both models: assets/records/rates.json
KINDS = (nn.Linear, Linear4bit, nn.LayerNorm)


class BiasAdapter(Adapter):
    """A frozen linear layer, also in 4 bits, or LayerNorm, with a trained addition to its bias."""

    base: nn.Linear | nn.LayerNorm

    def __init__(self, base: nn.Linear | nn.LayerNorm):
        _check(base)
        super().__init__(base)
        norm = isinstance(base, nn.LayerNorm)
        self.n_in = base.normalized_shape[-1] if norm else base.in_features
        self.b = nn.Parameter(torch.zeros_like(base.bias, dtype=torch.float32))    # (n_out,)

    def forward(self, x: Tensor) -> Tensor:
        expect(x, "... n_in", n_in=self.n_in)
        y = self.base(x)                                              # (…, n_out)
        return (y + self.b).to(y.dtype)                               # (…, n_out)

    def merged(self) -> nn.Module:
        """Return the same kind of layer, whose bias is the rounded sum of the two."""
        b = self.base.bias                                            # (n_out,)
        return models.with_bias(self.base, (b + self.b).to(b.dtype))


@dataclass(frozen=True)
class Config(Settings):
    """Whose biases are trained.

    `targets` None takes every linear layer and LayerNorm of the backbone that has a bias, pooler
    included; `layers`, block numbers, then keeps those inside these blocks. Otherwise `targets`
    are places or module names: ("query", "ffn_in") are the two biases per block that the
    paper finds nearly sufficient.
    """

    targets: Targets = None
    layers: Layers = None

    def learning_rate(self, model: nn.Module) -> float:
        return LEARNING_RATE


def count(layers: int, d_model: int, d_ffn: int, outside: int = 2) -> int:
    """Return how many biases a BERT or GPT-2 of `layers` blocks has in its backbone.

    In a block they are query, key, value, the two output projections and the two norms of d_model
    each, and ffn_in of d_ffn. `outside` is how many are outside the blocks: 2 in BERT (a norm
    and the pooler), 1 in GPT-2 (the last norm).
    """
    return layers * (7 * d_model + d_ffn) + outside * d_model


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Put a trained b beside the biases, freeze the rest but the head; return the model to keep.

    Raises `NoTargets` for a model or a target without biases.
    """
    note, config = prepare(model, config, Config)
    names = (_biased(model, config.layers) if config.targets is None
             else models.find(model, config.targets, config.layers))
    if not names:
        raise NoTargets("This model has no biases, so BitFit finds nothing to train.",
                        expected="linear layers or LayerNorms with a bias, as in BERT or GPT-2",
                        hint="pt.lora, or another method that works beside the weights")
    return wrap(model, note, dict.fromkeys(names, BiasAdapter), config.also_train)


def _biased(model: nn.Module, layers: tuple[int, ...] | None) -> tuple[str, ...]:
    """Return the names of the layers with a bias in the backbone, or in these blocks of it."""
    parts = [getattr(model, "base_model", model)]
    if layers is not None:
        parts = [model.get_submodule(name) for name in models.find(model, "block", layers)]
    inside = {m for part in parts for m in part.modules()}
    head = {name.rpartition(".")[0] for name in models.head(model)}
    return tuple(name for name, m in model.named_modules() if m in inside and name not in head
                 and (isinstance(m, KINDS) or models.is_conv1d(m)) and m.bias is not None)


def _check(base: nn.Module) -> None:
    hint = "targets=None takes every bias there is"
    if not isinstance(base, KINDS):
        raise NotSupported(f"BitFit changes biases, and this is {kind_of(base)}.",
                           expected="an nn.Linear or nn.LayerNorm", hint=hint)
    if base.bias is None:
        raise NoTargets(f"This {type(base).__name__} has no bias.",
                        expected="targets that have one", hint=hint)
