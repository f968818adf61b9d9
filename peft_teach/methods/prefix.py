"""Prefix tuning: give every layer's attention trained keys and values in front of its own.

    attention(Q, [K ; XWₖ], [V ; XWᵥ])        in each layer, with a K and a V of its own

    symbol  shape                    trained  starts as
    X       (batch, seq, d_model)    –        the layer's input, which is as long as before
    K, V    (layers, length, d_kv)   yes      small normal numbers, or the keys and values of words

Cost: length · layers · 2 · d_kv parameters (`count`); d_kv = key-value heads · d_head, d_model
where queries are not grouped. While they train, they may come out of an MLP (`projection.py`),
which `flatten` and files drop. Nothing can be merged: the prefix is an input, not a weight.

The real tokens take the positions after the prefix; to K and V no position is added. A key of
zero is not "no prefix": it has logit 0, and a share of the attention.

Sources: Li & Liang 2021, arXiv 2101.00190, §4 (the method) and §4.3 (the MLP); without MLP and on
encoders, Liu et al. 2021, arXiv 2110.07602 (P-tuning v2).
One deviation from the paper: without projection K and V are trained as they are, which the paper
finds unstable. P-tuning v2 and Hugging Face peft train them so, and peft starts 50 times as large.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from .. import models
from ..adapter import adapters
from ..backbone import BackboneAdapter, check_length
from ..caches import prefilled
from ..core import prepare, wrap
from ..errors import BadConfig, NoAdapter, NotSupported
from ..notes import change_settings
from ..settings import Length, Settings, checked, unsaved
from ..shapes import expect
from ..valid import as_words, is_count
from .initial import check_words, prefix_of_words
from .projection import Projection

LEARNING_RATE = 1e-2    # learns on both models: assets/records/rates.json
START_STD = 0.02    # of the random start, as in the embeddings of most models


class Prefix(BackboneAdapter):
    """A frozen backbone whose attention sees `length` trained keys and values in every layer."""

    def __init__(self, base: nn.Module, length: int = 20, projection: int | None = None):
        Config.check(length=length, projection=projection)
        if not models.reads_cache(base):
            raise NotSupported(f"{type(base).__name__} ignores keys and values from outside.",
                               hint="pt.prompt, or another model")
        check_length(base, length, "prefix")
        super().__init__(base)
        self.length, self.projection = length, None
        self.layers, self.heads, d_head = models.key_value_shape(base)
        d_kv, d_model = self.heads * d_head, self.get_input_embeddings().embedding_dim
        if projection is None:
            shape = (self.layers, length, d_kv)
            self.K = nn.Parameter(START_STD * torch.randn(shape))         # (layers, length, d_kv)
            self.V = nn.Parameter(START_STD * torch.randn(shape))         # (layers, length, d_kv)
        else:
            self.projection = Projection(length, d_model, projection, self.layers, d_kv)

    def forward(self, input_ids: Tensor | None = None, *, inputs_embeds: Tensor | None = None,
                **rest):
        K, V = self.keys_and_values()                                     # (layers, length, d_kv)
        inputs = self.prepare_inputs(rest, K, V, needs_cache=True)
        if inputs.cached:                           # while generating: K and V are in the cache
            return self.call_base(inputs, input_ids, inputs_embeds=inputs_embeds)
        x = input_ids                                                     # (batch, seq)
        if x is None:
            x = expect(inputs_embeds, "batch seq d_model", called="inputs_embeds")
        K, V = self.by_head(K), self.by_head(V)
        with prefilled(inputs.cache, K, V, x.shape[:2], inputs.padding):
            # Each layer appends XWₖ and XWᵥ to what the cache holds of it: [K ; XWₖ], [V ; XWᵥ].
            return self.call_base(inputs, input_ids, inputs_embeds=inputs_embeds,
                                  position_ids=self.text_positions(inputs, input_ids, x.shape[1]))

    def keys_and_values(self) -> tuple[Tensor, Tensor]:
        """Return K and V, each (layers, length, d_kv), which the MLP makes where there is one."""
        return (self.K, self.V) if self.projection is None else self.projection()

    def by_head(self, made: Tensor) -> Tensor:
        """Return K or V as a cache holds it, (layers, 1, heads, length, d_head)."""
        return made.unflatten(2, (self.heads, -1)).transpose(1, 2)[:, None].to(self.base.dtype)

    def stored(self) -> dict[str, Tensor]:
        """Return what a file keeps, K and V; an MLP makes them once more, and is left out."""
        K, V = self.keys_and_values()
        return {"K": K, "V": V}


@dataclass(frozen=True)
class Config(Settings):
    """How long the prefix is, how it starts, and whether an MLP makes it while training.

    `start` is "random", or "text": the keys and values that the model itself computes for the
    text in `words`, repeated or cut to `length`; it needs the tokenizer. `projection` is the MLP's
    hidden size (512 in the paper's code), None for no MLP. A file keeps K and V alone.
    """

    length: Length = 20
    start: Literal["random", "text"] = unsaved("random")
    words: Annotated[tuple[str, ...], as_words] = unsaved(())
    projection: Annotated[int | None, checked(
        lambda n: n is None or is_count(n),
        "the hidden size of the MLP, or None for no MLP")] = unsaved(None)

    def __post_init__(self):
        super().__post_init__()
        check_words(self.start, self.words, reading=("text",))
        if self.start == "text" and self.projection is not None:
            raise BadConfig("start='text' with a projection.", expected="one of the two")

    def learning_rate(self, model: nn.Module) -> float:
        return LEARNING_RATE


def count(length: int, layers: int, d_kv: int, d_model: int = 0,
          projection: int | None = None) -> int:
    """Return how many parameters a prefix trains; with an MLP of this size, E and the MLP's."""
    n_out = layers * 2 * d_kv
    if projection is None:
        return length * n_out
    return length * d_model + (d_model + 1) * projection + (projection + 1) * n_out


def inject(model: nn.Module, config: Config | None = None, tokenizer=None) -> nn.Module:
    """Put a prefix into every layer, freeze the rest but the head; return the model to keep.

    `tokenizer` is needed for start="text". Raises `NotSupported` for a family whose attention
    ignores a cache.
    """
    note, config = prepare(model, config, Config)

    @torch.no_grad()
    def make(base: nn.Module) -> Prefix:
        prefix = Prefix(base, config.length, config.projection)
        if config.start == "text":
            K, V = prefix_of_words(prefix, config.words, config.length, tokenizer)
            prefix.K.copy_(K)
            prefix.V.copy_(V)
        return prefix

    makers = dict.fromkeys(models.find(model, "backbone"), make)
    return wrap(model, note, makers, config.also_train)


@torch.no_grad()
def flatten(model: nn.Module) -> nn.Module:
    """After training, keep what the MLP makes and drop the MLP. Returns the model to keep."""
    found = [a for a in adapters(model).values() if isinstance(a, Prefix)]
    if not found:
        raise NoAdapter("There is no prefix on this model.",
                        hint="model = pt.prefix.inject(model, pt.prefix.Config(projection=512))")
    for prefix in (a for a in found if a.projection is not None):
        prefix.K, prefix.V = (nn.Parameter(x.clone()) for x in prefix.keys_and_values())
        prefix.projection = None
    change_settings(model, projection=None)
    return model
