"""What wraps a whole backbone: vectors before the text, and the caches that hold them.

    class SoftPrompt(BackboneAdapter):
        def forward(self, input_ids=None, *, inputs_embeds=None, **rest):
            in_cache = self.make_room(rest, length)    # in the mask, the positions and the cache
            ...
            return self.call_base(..., **rest)

A backbone counts every vector that it reads; `generate`, labels and positions count the words of
the text. What keeps the two apart stands here, so that a method reads as its equation.
"""

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from .core import Adapter
from .errors import NotSupported
from .families import cache_name, is_encoder, positions

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Front(NamedTuple):
    """What a cache was filled with before the text: how many vectors, and their values, flat.

    A cache keeps the values of a prompt or prefix, because its keys alone do not tell whose it is:
    a layer with a sliding window has dropped the first of them.
    """

    length: int = 0
    values: Tensor | None = None

    def is_same(self, other: "Front") -> bool:
        """Return whether the vectors are as many, and each of their values is the same."""
        if self.length != other.length or self.values is None or other.values is None:
            return self.length == other.length
        return self.values.shape == other.values.shape and torch.allclose(
            self.values.to(other.values), other.values, rtol=0, atol=0, equal_nan=True)


class BackboneAdapter(Adapter):
    """An adapter around the whole backbone: what a head asks of a backbone, it answers.

    A subclass returns the hidden states of the real tokens only, so that labels, pooling and
    `generate` stay transformers' own; where the backbone pools by itself, as BERT's does, it pools
    these again. Around a bare backbone the adapter is the model.
    """

    base: "PreTrainedModel"

    def __call__(self, *args, **kwargs):
        if not self.enabled:    # the base reads a cache as it is
            for name in ("past_key_values", "cache"):
                _check_front(kwargs.get(name), Front())
        return super().__call__(*args, **kwargs)

    def make_room(self, arguments: dict, length: int, needs_cache: bool = False) -> bool:
        """Make room for `length` vectors before the text in a backbone's keyword arguments.

        The mask and the positions that were given become those of a text that starts `length`
        later, and "cache" and "front" are what `call_base` wants. A decoder's text begins where
        the mask does, if no positions say otherwise: padding before it would move it away from the
        vectors. With `needs_cache` there is always a cache. Returns whether it holds the vectors
        already, as it does while generating. Raises `NotSupported` for a mask of pairs, a static
        cache, one that was filled behind other vectors, or, where a cache is needed, gradient
        checkpointing, which drops it.
        """
        if needs_cache and self.training and is_recomputing(self.base):
            raise NotSupported("Gradient checkpointing drops cached keys and values, and with them "
                               "the prefix.", hint="train the prefix without checkpointing: it "
                                                   "keeps few activations of its own")
        own = [p.detach().flatten() for p in self.parameters(recurse=False)]
        front = Front(length, torch.cat(own))    # of an MLP that only makes vectors, nothing
        cache, in_cache = pop_cache(arguments, front)
        place = arguments.get("position_ids")
        if place is None and not is_encoder(self.base):
            place = places_in_text(arguments.get("attention_mask"), _tokens_seen(cache))
        arguments |= {
            "attention_mask": widen_mask(arguments.get("attention_mask"), length),
            "position_ids": None if place is None else place + length,
            "cache": new_cache() if cache is None and needs_cache else cache,
            "front": front,
        }
        return in_cache

    def call_base(self, *args, cache, front: Front, **kwargs):
        """Call the backbone with a cache that holds, or is to hold, vectors before the text.

        The backbone counts them; whoever reads the cache afterwards counts tokens alone, so that
        a later turn of `generate` may start from it.
        """
        if cache is not None:
            kwargs[cache_name()] = cache
            vars(cache).pop("get_seq_length", None)    # of the class: it counts all
        try:
            out = self.base(*args, **kwargs)
        finally:
            count_tokens(cache, front)
        if cache is None:    # then the backbone may have made one
            count_tokens(out.get(cache_name()), front)
        elif kwargs.get("use_cache") is False and cache_name() in out:
            out[cache_name()] = None    # or `generate` would go on with it, unasked
        return out

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


def count_from_front(backbone: nn.Module, arguments: dict, input_ids: Tensor | None, seq: int,
                     length: int) -> None:
    """Give the `length` vectors before the text positions of their own, and token types.

    For a backbone that reads them as it reads words: theirs are the first positions, and the
    text's come after. `arguments` are as `make_room` left them, for a text of `seq` tokens.
    """
    place = arguments["position_ids"]
    if place is None:
        place = positions(backbone, input_ids, seq) + length              # (1 or batch, seq)
    first = positions(backbone, None, length).expand(len(place), -1)      # (1 or batch, length)
    arguments["position_ids"] = torch.cat([first, place], dim=1)
    if arguments.get("token_type_ids") is not None:
        arguments["token_type_ids"] = nn.functional.pad(arguments["token_type_ids"], (length, 0))


def places_in_text(mask: Tensor | None, seen: int = 0) -> Tensor | None:
    """Return how many real tokens precede each but the first `seen`: (batch, seq).

    `mask` is (batch, seen + seq). None where a model's own count is the same, without padding in
    front.
    """
    if mask is None or mask.ndim != 2 or mask[:, 0].all():
        return None
    return (mask.long().cumsum(-1) - 1).clamp(min=0)[:, seen:]


def widen_mask(mask: Tensor | None, length: int) -> Tensor | None:
    """Let a mask (batch, seen) show `length` more tokens in front: (batch, length + seen)."""
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        raise NotSupported("The attention mask is not one of two axes, so it says of each pair of "
                           "tokens what is seen.", hint="pass a mask of (batch, seq)")
    return nn.functional.pad(mask, (length, 0), value=1)


# ── caches ───────────────────────────────────────────────────────────────────────────────────


def new_cache() -> Any:
    """Return an empty cache, which a backbone reads and appends to."""
    from transformers import DynamicCache

    return DynamicCache()


def pop_cache(arguments: dict, front: Front) -> tuple[Any, bool]:
    """Take the cache out of a backbone's keyword arguments, by either name.

    Returns `(cache, in_cache)`: the object that the model appends to or None, and whether the
    vectors before the text are in it already. Raises `NotSupported` for a static cache, and for
    one that was filled with other vectors before the text, or with none.
    """
    found = [arguments.pop(name, None) for name in ("past_key_values", "cache")]
    cache = next((c for c in found if c is not None), None)
    if getattr(cache, "is_compileable", False):
        raise NotSupported("This cache is static: made for a fixed number of tokens, with no room "
                           "for vectors in front of them.", hint="generate with the default cache")
    _check_front(cache, front)
    return cache, _is_filled(cache)


def _check_front(cache, front: Front) -> None:
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


def count_tokens(cache, front: Front) -> None:
    """Let a filled cache count its tokens alone, without the vectors before them.

    `generate` takes as many tokens of its input for known as the cache counts.
    """
    if _is_filled(cache):
        cache.peft_teach_front = front
        # Of the layers, not of the cache: one that holds itself would outlive its training step,
        # and with it the graph that made its keys and values.
        cache.get_seq_length = functools.partial(_tokens_in, cache.layers, front.length)


def _tokens_in(layers: list, front: int, layer_idx: int = 0) -> int:
    return max(0, layers[layer_idx].get_seq_length() - front)


def _tokens_seen(cache) -> int:
    return cache.get_seq_length() if _is_filled(cache) else 0


def _is_filled(cache) -> bool:
    return cache is not None and type(cache).get_seq_length(cache) > 0


def is_recomputing(backbone: nn.Module) -> bool:
    """Return whether gradient checkpointing is on: it drops the cache while training."""
    return any(getattr(module, "gradient_checkpointing", False) for module in backbone.modules())
