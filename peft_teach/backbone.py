"""What wraps a whole backbone: vectors before the text, and the caches that hold them.

    class SoftPrompt(BackboneAdapter):
        def forward(self, input_ids=None, *, inputs_embeds=None, **rest):
            room = self.make_room(rest, length)    # mask, positions and cache, with vectors before
            ...
            return self.call_base(room, ...)

A backbone counts every vector that it reads; `generate`, labels and positions count the words of
the text. What keeps the two apart stands here, so that a method reads as its equation.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from .adapter import Adapter
from .errors import NotSupported
from .models import cache_name, is_encoder, key_value_shape, positions
from .shapes import expect

if TYPE_CHECKING:
    from transformers import PreTrainedModel


CACHES = ("past_key_values", "cache")    # what transformers' versions call the cache


class Front(NamedTuple):
    """What a cache was filled with before the text: how many vectors, and their values, flat.

    A cache keeps the values of a prompt or prefix, because its keys alone do not tell whose it is:
    a layer with a sliding window has dropped the first of them.
    """

    length: int = 0
    values: Tensor | None = None

    def is_same(self, other: "Front") -> bool:
        """Return whether there are as many vectors, with the same values."""
        if self.length != other.length or self.values is None or other.values is None:
            return self.length == other.length
        return self.values.shape == other.values.shape and torch.allclose(
            self.values.to(other.values), other.values, rtol=0, atol=0, equal_nan=True)


class Room(NamedTuple):
    """Room for vectors before a text: what `BackboneAdapter.make_room` gives.

    `arguments` are the backbone's own, with a mask and positions that count the vectors. `cache`
    is what it appends to, or None; where it is `filled`, as while generating, the vectors `front`
    are in it already. They stand behind the `padding` of each row, (batch, 1) or None.
    """

    arguments: dict[str, Any]
    cache: Any
    filled: bool
    front: Front
    padding: Tensor | None


class BackboneAdapter(Adapter):
    """An adapter around the whole backbone, which answers what a head asks of a backbone.

    A subclass returns the hidden states of the real tokens only, so that labels, pooling and
    `generate` stay transformers' own; where the backbone pools by itself, as BERT's does, it pools
    these again. Around a bare backbone the adapter is the model.
    """

    base: "PreTrainedModel"

    def __call__(self, *args, **kwargs):
        if not self.enabled:    # the base reads a cache as it is
            for name in CACHES:
                _check_front(kwargs.get(name), Front())
        return super().__call__(*args, **kwargs)

    def make_room(self, arguments: dict, length: int, needs_cache: bool = False) -> Room:
        """Make room for `length` vectors before the text in a backbone's keyword arguments.

        The mask and the positions that were given become those of a text that starts `length`
        later. Unless positions say otherwise, a decoder's text begins where the mask does: padding
        before it would move it away from the vectors. With `needs_cache` there is always a cache.
        Raises `NotSupported` for a mask of pairs; for a cache that is static, or was filled behind
        other vectors or with padding alone; and, if a cache is needed, for gradient checkpointing,
        which drops it.
        """
        if needs_cache and self.training and any(
                getattr(module, "gradient_checkpointing", False) for module in self.base.modules()):
            raise NotSupported("Gradient checkpointing drops cached keys and values, and with them "
                               "the prefix.", hint="train the prefix without checkpointing: it "
                                                   "keeps few activations of its own")
        own = [p.detach().flatten() for p in self.parameters(recurse=False)]
        front = Front(length, torch.cat(own))    # not those of an MLP
        cache, filled = _find_cache(arguments, front)
        mask, position = _flat_mask(arguments), arguments.get("position_ids")
        padding = None
        if not is_encoder(self.base):
            seen, padding = cache.get_seq_length() if filled else 0, _padding_in_front(mask)
            position = positions_in_text(mask, seen) if position is None else position
            if filled and padding is not None and padding.max() > seen:
                raise NotSupported("A row of this cache was filled with padding alone, before "
                                   f"which its {length} vectors now stand.",
                                   expected="a token of each row in the first part that is read",
                                   hint="the whole text at once, or a larger prefill_chunk_size")
        if mask is not None:
            mask = behind_padding(mask.new_ones(len(mask), length), mask, padding)
        rest = {name: x for name, x in arguments.items() if name not in CACHES}
        return Room(
            rest | {"attention_mask": mask,                               # (batch, length + seen)
                    "position_ids": None if position is None else position + length},
            new_cache() if cache is None and needs_cache else cache, filled, front, padding)

    def call_base(self, room: Room, input_ids: Tensor | None = None, **given):
        """Call the backbone with a cache that holds, or is to hold, the vectors before the text.

        What is `given` stands in place of the room's arguments. The backbone counts the vectors;
        whoever reads the cache afterwards counts tokens alone, so that a later turn of `generate`
        may start from it.
        """
        arguments, cache = room.arguments | given, room.cache
        if cache is not None:
            arguments[cache_name()] = cache
            vars(cache).pop("get_seq_length", None)    # the class's own counts all
        try:
            out = self.base(input_ids, **arguments)
        finally:
            _count_tokens(cache, room.front)
        if cache is None:    # then the backbone may have made one
            _count_tokens(out.get(cache_name()), room.front)
        elif arguments.get("use_cache") is False and cache_name() in out:
            out[cache_name()] = None    # or `generate` would go on with it, unasked
        return out

    def call_behind(self, K: Tensor, V: Tensor, room: Room, input_ids: Tensor | None,
                    inputs_embeds: Tensor | None):
        """Call the backbone with a text whose tokens find K and V before them, in every layer.

        K and V are (layers, length, d_kv), and the room has a cache for them.
        """
        _, heads, d_head = key_value_shape(self.base)
        K, V = (x.unflatten(2, (heads, d_head)).transpose(1, 2)[:, None].to(self.base.dtype)
                for x in (K, V))                             # (layers, 1, heads, length, d_head)
        x, given = input_ids, {"inputs_embeds": inputs_embeds}
        if x is None:    # no words are there to count positions by
            x = expect(inputs_embeds, "batch seq d_model", called="inputs_embeds")
            if room.arguments["position_ids"] is None:
                given["position_ids"] = positions(self.base, None, x.shape[1]) + K.shape[3]
        with _in_front(room.cache, [*zip(K, V)], len(x), x.shape[1], room.padding):
            return self.call_base(room, input_ids, **given)

    @property
    def config(self):
        """The backbone's configuration."""
        return self.base.config

    @property
    def base_model(self) -> nn.Module:
        """The backbone as transformers calls it: this module, which stands in its place."""
        return self

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the frozen weights."""
        return self.base.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.base.device

    def get_input_embeddings(self) -> Any:
        """Return the backbone's table of word embeddings."""
        return self.base.get_input_embeddings()

    def set_input_embeddings(self, table: nn.Module) -> None:
        """Give the backbone another table of word embeddings."""
        self.base.set_input_embeddings(table)

    def resize_token_embeddings(self, *args, **kwargs) -> nn.Module:
        """Resize the backbone's table as transformers does; return it."""
        return self.base.resize_token_embeddings(*args, **kwargs)


# ── positions and masks ──────────────────────────────────────────────────────────────────────


def count_from_front(backbone: nn.Module, room: Room, input_ids: Tensor | None, seq: int
                     ) -> dict[str, Tensor]:
    """Return positions and types of the vectors and of a text of `seq` tokens behind them.

    For a backbone that reads the vectors as it reads words: theirs are the first positions.
    """
    length, position = room.front.length, room.arguments["position_ids"]
    if position is None:
        position = positions(backbone, input_ids, seq) + length           # (1 or batch, seq)
    first = positions(backbone, None, length)                             # (1, length)
    found = {"position_ids": behind_padding(first, position, room.padding)}
    types = room.arguments.get("token_type_ids")
    return found if types is None else found | {
        "token_type_ids": nn.functional.pad(types, (length, 0))}          # (batch, length + seq)


def _flat_mask(arguments: dict[str, Any]) -> Tensor | None:
    """Return the mask, (batch, seen + seq), or None; raise `NotSupported` for one of pairs."""
    mask = arguments.get("attention_mask")
    if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
        raise NotSupported("The attention mask is not one of two axes, so it says of each pair "
                           "of tokens what is seen.", hint="pass a mask of (batch, seq)")
    return mask


def positions_in_text(mask: Tensor | None, seen: int = 0) -> Tensor | None:
    """Return how many real tokens precede each token, (batch, seq), the first `seen` left out.

    `mask` is (batch, seen + seq). None if there is no padding in front: then a model counts alike.
    """
    if mask is None or mask.ndim != 2 or mask[:, 0].all():
        return None
    return (mask.long().cumsum(-1) - 1).clamp(min=0)[:, seen:]


def _padding_in_front(mask: Tensor | None) -> Tensor | None:
    """Return how many tokens of padding each row of a mask begins with, (batch, 1).

    None if no row begins with any.
    """
    if mask is None or mask[:, 0].all():
        return None
    return (mask.long().cumsum(1) == 0).sum(1, keepdim=True)


def behind_padding(vectors: Tensor, text: Tensor, padding: Tensor | None, dim: int = 1) -> Tensor:
    """Put `vectors` before a text, in each row behind the padding that it begins with.

    Both are (batch or 1, …), and are joined along `dim`. A sliding window counts padding, too, so
    none may stand between the two. The text keeps its place at the right end.
    """
    rows = max(len(vectors), len(text), 1 if padding is None else len(padding))
    both = torch.cat([x.expand(rows, *x.shape[1:]) for x in (vectors, text)], dim)
    if padding is None:
        return both
    length, i = vectors.shape[dim], torch.arange(both.shape[dim], device=both.device)
    source = torch.where(i < padding, i + length,                         # (batch, length + seq)
                         torch.where(i < padding + length, i - padding, i))
    shape = [rows, *[1] * (both.ndim - 1)]
    shape[dim] = -1
    return both.take_along_dim(source.view(shape), dim)


# ── caches ───────────────────────────────────────────────────────────────────────────────────


def new_cache() -> Any:
    """Return an empty cache, which a backbone reads and appends to."""
    from transformers import DynamicCache

    return DynamicCache()


@contextmanager
def _in_front(cache, vectors: list[tuple[Tensor, ...]], batch: int, seq: int,
             padding: Tensor | None) -> Iterator[None]:
    """Within this block a backbone that reads a text into an empty cache finds vectors before it.

    `vectors` are keys and values of each layer, (1, heads, length, d_head). The cache is filled
    with them before the backbone makes its masks. Behind `padding` not all of them fit there: the
    others come with the text's own keys and values, instead of those of the padding.
    """
    def both(x: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        x = behind_padding(x.to(text), text, padding, dim=2)    # (batch, heads, length + seq, d)
        return x[:, :, :length], x[:, :, length:]

    def update(keys: Tensor, values: Tensor, layer: int, *rest, **more):    # transformers 5.24 on
        pair = (both(x, text)[1] for x, text in zip(vectors[layer], (keys, values)))
        return type(cache).update(cache, *pair, layer, *rest, **more)

    length = vectors[0][0].shape[2]
    for layer, pair in enumerate(vectors):
        text = torch.zeros_like(pair[0][:, :, :1]).expand(batch, -1, seq, -1)    # not known yet
        cache.update(*(both(x, text)[0] for x in pair), layer)
    if padding is not None:
        cache.update = update
    try:
        yield
    finally:
        vars(cache).pop("update", None)


def _find_cache(arguments: dict, front: Front) -> tuple[Any, bool]:
    """Find the cache among a backbone's keyword arguments, by either name.

    Returns `(cache, filled)`: the object that the model appends to or None, and whether the
    vectors before the text are in it already. Raises `NotSupported` for a static cache, and for
    one that was filled with other vectors before the text, or with none.
    """
    found = (arguments.get(name) for name in CACHES)
    cache = next((c for c in found if c is not None), None)
    if getattr(cache, "is_compileable", False):
        raise NotSupported("This cache is static: made for a fixed number of tokens, with no room "
                           "for vectors in front of them.", hint="generate with the default cache")
    _check_front(cache, front)
    return cache, _is_filled(cache)


def _check_front(cache, front: Front) -> None:
    """Raise `NotSupported` for a cache that was filled behind other vectors than these."""
    there = getattr(cache, "peft_teach_front", Front())
    if not _is_filled(cache) or there.is_same(front):
        return
    differ = (f"This cache was filled with {there.length} vectors before the text, and this model "
              f"puts {front.length} there.")
    if there.length == front.length:
        differ = (f"This cache was filled with {there.length} other vectors before the text than "
                  "this model puts there now: another adapter's, or its own before they changed.")
    raise NotSupported(differ, expected="a cache that the model filled as it is now, or an empty "
                                        "one",
                       hint="start again with the whole text and without past_key_values")


def _count_tokens(cache, front: Front) -> None:
    """Let a filled cache count its tokens alone, without the vectors before them.

    `generate` skips as many tokens of its input as the cache counts.
    """
    if _is_filled(cache):
        cache.peft_teach_front = front
        # Of the layers, not of the cache: one that holds itself would outlive its training step,
        # and with it the graph that made its keys and values.
        cache.get_seq_length = functools.partial(_tokens_in, cache.layers, front.length)


def _tokens_in(layers: list, front: int, layer_idx: int = 0) -> int:
    return max(0, layers[layer_idx].get_seq_length() - front)


def _is_filled(cache) -> bool:
    return cache is not None and type(cache).get_seq_length(cache) > 0
