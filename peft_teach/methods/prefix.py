"""Prefix tuning: give every layer's attention trained keys and values in front of its own.

    attention(Q, [K ; XWₖ], [V ; XWᵥ])        in each layer, with a K and a V of its own

    symbol  shape                    trained  starts as
    X       (batch, seq, d_model)    –        the layer's input, which is as long as before
    K, V    (layers, length, d_kv)   yes      small normal numbers, or the keys and values of words
    E       (length, d_model)        yes      with `projection` only: normal
    MLP     d_model → projection     yes      with `projection` only: a Tanh between two linear
            → layers · 2 · d_kv               layers, whose output is all K and V of a vector of E

Cost: length · layers · 2 · d_kv parameters (`count`); d_kv = key-value heads · d_head, d_model
where queries are not grouped. The MLP is larger by far, and is for training only: `flatten` or a
file keeps its output. Nothing can be merged: the prefix is an input, not a weight.

The real tokens take the positions after the prefix. Keys and values are used as they are: no
position is added to them. A key of zero is not "no prefix": it has logit 0, and a share of the
attention.

Sources: Li & Liang 2021, arXiv 2101.00190, §4 (the method) and §4.3 (the MLP); without MLP and on
encoders, Liu et al. 2021, arXiv 2110.07602 (P-tuning v2).
One deviation from the paper: without projection K and V are trained as they are, which it finds
unstable; P-tuning v2 and Hugging Face peft do so by default, and peft starts them 50 times as
large.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from .. import models
from ..backbone import BackboneAdapter, in_front, new_cache
from ..core import adapters, attach, begin, need_note, note
from ..errors import BadConfig, NoAdapter, NotSupported, unknown
from ..shapes import expect
from ..valid import Length, Settings, is_whole

LEARNING_RATE = 1e-2    # learns on both models: assets/records/rates.json
STARTS = ("random", "text")
START_STD = 0.02    # of the random start, as in the embeddings of most models


@dataclass(frozen=True)
class Config(Settings):
    """How long the prefix is, how it starts, and whether an MLP makes it while training.

    `start` is "random", or "text": the keys and values that the model itself computes for the
    text in `words`, repeated or cut to `length`; it needs the tokenizer. `projection` is the MLP's
    hidden size (512 in the paper's code), None for no MLP. A file keeps K and V alone.
    """

    length: Length = 20
    start: Literal["random", "text"] = field(default="random", metadata={"stored": "random"})
    words: tuple[str, ...] = field(default=(), metadata={"stored": ()})
    projection: Annotated[
        int | None, lambda n: n is None or is_whole(n),
        "the hidden size of the MLP, or None for no MLP",
    ] = field(default=None, metadata={"stored": None})

    def __post_init__(self):
        super().__post_init__()
        if self.start not in STARTS:
            raise unknown("start", self.start, STARTS)
        if bool(self.words) != (self.start == "text"):
            raise BadConfig(f"start={self.start!r} with words={self.words!r}.",
                            expected="words for 'text', and for no other start")
        if self.start == "text" and self.projection is not None:
            raise BadConfig("start='text' with a projection.",
                            expected="K and V without an MLP in between")


def count(length: int, layers: int, d_kv: int, d_model: int = 0,
          projection: int | None = None) -> int:
    """Return how many parameters a prefix trains; with an MLP of this size, E and the MLP's."""
    n_out = layers * 2 * d_kv
    if projection is None:
        return length * n_out
    return length * d_model + (d_model + 1) * projection + (projection + 1) * n_out


class Prefix(BackboneAdapter):
    """A frozen backbone whose attention sees `length` trained keys and values in every layer."""

    def __init__(self, base: nn.Module, length: int = 20, projection: int | None = None):
        Config(length, projection=projection)
        _check(base, length)
        super().__init__(base)
        self.length = length
        self.layers, self.heads, self.d_head = models.key_value_shape(base)
        shape = (self.layers, length, self.heads * self.d_head)           # (layers, length, d_kv)
        if projection is None:
            self.K, self.V = (nn.Parameter(START_STD * torch.randn(shape)) for _ in "KV")
        else:
            d_model = self.get_input_embeddings().embedding_dim
            self.E = nn.Parameter(torch.randn(length, d_model))           # (length, d_model)
            self.mlp = nn.Sequential(nn.Linear(d_model, projection), nn.Tanh(),
                                     nn.Linear(projection, 2 * shape[0] * shape[2]))

    def stored(self) -> dict[str, Tensor]:
        """Return K and V, each (layers, length, d_kv), with or without an MLP."""
        if hasattr(self, "K"):
            return {"K": self.K, "V": self.V}
        made = self.mlp(self.E).unflatten(1, (self.layers, 2, -1))    # (length, layers, 2, d_kv)
        K, V = made.permute(2, 1, 0, 3)                                   # (layers, length, d_kv)
        return {"K": K, "V": V}

    def forward(self, input_ids: Tensor | None = None, *, inputs_embeds: Tensor | None = None,
                **rest):
        in_cache, padding = self.make_room(rest, self.length, needs_cache=True)
        if in_cache:
            return self.call_base(input_ids, inputs_embeds=inputs_embeds, **rest)
        x = input_ids
        if x is None:
            x = expect(inputs_embeds, "batch seq d_model", called="inputs_embeds")
            if rest["position_ids"] is None:         # there are no words to count positions from
                rest["position_ids"] = (models.positions(self.base, None, x.shape[1])
                                        + self.length)
        with in_front(rest["cache"], self._per_layer(), len(x), x.shape[1], padding):
            return self.call_base(input_ids, inputs_embeds=inputs_embeds, **rest)

    def _per_layer(self) -> list[tuple[Tensor, ...]]:
        """Return K and V of each layer as a cache holds them: (1, heads, length, d_head)."""
        K, V = (x.unflatten(2, (self.heads, self.d_head)).transpose(1, 2)[:, None]
                .to(self.base.dtype) for x in self.stored().values())
        return [*zip(K, V)]


def inject(model: nn.Module, config: Config | None = None, tokenizer=None) -> nn.Module:
    """Put a prefix into every layer, freeze the rest but the head; return the model to keep.

    `tokenizer` is needed for start="text". Raises `NotSupported` for a family whose attention
    ignores a cache.
    """
    config = begin(model, config, Config)

    def make(base: nn.Module) -> Prefix:
        prefix = Prefix(base, config.length, config.projection)
        _start(prefix, config, tokenizer)
        return prefix

    return note(attach(model, "backbone", make, None, config.also_train), "prefix", config)


@torch.no_grad()
def flatten(model: nn.Module) -> nn.Module:
    """After training, keep what the MLP makes and drop the MLP. Returns the model to keep."""
    found = [a for a in adapters(model).values() if isinstance(a, Prefix)]
    if not found:
        raise NoAdapter("There is no prefix on this model.",
                        hint="model = pt.prefix.inject(model, pt.prefix.Config(projection=512))")
    for prefix in found:
        for name, x in prefix.stored().items():
            setattr(prefix, name, nn.Parameter(x.detach().clone()))
        for name in ("E", "mlp"):
            if hasattr(prefix, name):
                delattr(prefix, name)
    noted = need_note(model)
    if noted.config is not None:
        note(model, noted.method, replace(noted.config, projection=None))
    return model


@torch.no_grad()
def _start(prefix: Prefix, config: Config, tokenizer) -> None:
    """Let K and V be what the frozen model computes for a text; nothing to do for "random"."""
    if config.start == "random":
        return
    if tokenizer is None:
        raise BadConfig("start='text' reads words, and no tokenizer was given.",
                        hint="pt.prefix.inject(model, config, tokenizer)")
    base = prefix.base
    vocabulary = prefix.get_input_embeddings().num_embeddings
    ids = [i for text in config.words for i in models.token_ids(text, tokenizer, vocabulary)]
    ids = torch.tensor([(ids * prefix.length)[:prefix.length]], device=base.device)
    cache = new_cache()
    with models.in_mode(base, training=False):
        base(ids, **{models.cache_name(): cache})
    for layer, made in enumerate(cache.layers):
        for own, x in ((prefix.K, made.keys), (prefix.V, made.values)):
            own[layer] = x[0].transpose(0, 1).flatten(1)                  # (length, d_kv)


def _check(base: nn.Module, length: int) -> None:
    if not models.reads_cache(base):
        raise NotSupported(f"{type(base).__name__} ignores keys and values from outside, and with "
                           "them a prefix.", hint="pt.prompt, or another model")
    longest = models.longest_input(base)
    if length >= longest:
        raise BadConfig(f"length is {length}, and this model has {longest} positions.",
                        expected="a prefix that leaves room for the text")
