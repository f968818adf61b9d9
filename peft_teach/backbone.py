"""What wraps a whole backbone: virtual tokens before the text, and the caches that hold them.

    class SoftPrompt(BackboneAdapter):
        def forward(self, input_ids=None, *, inputs_embeds=None, **rest):
            inputs = self.prepare_inputs(rest, P)    # mask, positions and cache, with room for P
            ...
            return self.call_base(inputs, ...)

A backbone counts virtual tokens, too, the vectors of a prompt or a prefix; `generate`, labels and
positions count those of the text. What keeps the two apart is here, so that a method reads as its
equation.
"""

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from .adapter import Adapter
from .caches import CACHES, check_virtual, count_text, find_cache, new_cache
from .errors import BadConfig, BadData, NotSupported
from .models import cache_name, first_position, is_encoder, longest_input, positions
from .padding import behind_padding, flat_mask, left_padding, positions_in_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Inputs(NamedTuple):
    """What a backbone reads beside a text: what `BackboneAdapter.prepare_inputs` gives.

    `arguments` are the backbone's own, with a mask and positions that count the virtual tokens.
    `cache` is what it appends to, or None; where they are `cached`, as while generating, the
    `virtual` tokens are in it already. They come after each row's `padding`, (batch, 1) or None.
    """

    arguments: dict[str, Any]
    cache: Any
    cached: bool
    virtual: Tensor    # (length, numbers)
    padding: Tensor | None


class BackboneAdapter(Adapter):
    """An adapter around the whole backbone, which answers what a head asks of a backbone.

    A subclass returns the hidden states of the real tokens only, so that labels, pooling and
    `generate` stay transformers' own; where the backbone pools by itself, as BERT's does, it pools
    these again. Around a bare backbone the adapter is the model.
    """

    base: "PreTrainedModel"

    def __call__(self, *args, **kwargs):
        if len(args) > 1:    # a method takes all but the first by the base's names
            _, *named = inspect.signature(self.base.forward).bind_partial(*args).arguments.items()
            return self(args[0], **dict(named), **kwargs)
        if not self.enabled:    # the base reads a cache as it is
            for name in CACHES:
                check_virtual(kwargs.get(name))
        return super().__call__(*args, **kwargs)

    def prepare_inputs(self, arguments: dict, *vectors: Tensor, needs_cache: bool = False
                       ) -> Inputs:
        """Make room for vectors, (…, length, d), before the text in a backbone's keyword arguments.

        The mask and the positions that were given become those of a text that starts `length`
        later. Unless positions say otherwise, a decoder's text begins where the mask does: padding
        before it would move it away from the vectors. With `needs_cache` there is always a cache.
        Raises `NotSupported` for a mask or a cache in which there is no room for them.
        """
        if needs_cache and self.training and any(
                getattr(module, "gradient_checkpointing", False) for module in self.base.modules()):
            raise NotSupported("Gradient checkpointing drops cached keys and values, and with them "
                               "the prefix.", hint="train the prefix without checkpointing: it "
                                                   "keeps few activations of its own")
        length = vectors[0].shape[-2]
        virtual = torch.cat([x.detach().movedim(-2, 0).flatten(1) for x in vectors], 1)
        cache, cached = find_cache(arguments, virtual)
        mask, position = flat_mask(arguments), arguments.get("position_ids")
        padding = None
        if not is_encoder(self.base):
            seen, padding = cache.get_seq_length() if cached else 0, left_padding(mask)
            position = positions_in_text(mask, seen) if position is None else position
            if cached and padding is not None and padding.max() > seen:
                raise NotSupported("A row of this cache was filled with padding alone, before "
                                   f"which its {length} vectors now stand.",
                                   expected="a token of each row in the first part that is read",
                                   hint="the whole text at once, or a larger prefill_chunk_size")
        if mask is not None:
            mask = behind_padding(mask.new_ones(len(mask), length), mask, padding)
        rest = {name: x for name, x in arguments.items() if name not in CACHES}
        return Inputs(
            rest | {"attention_mask": mask,                               # (batch, length + seen)
                    "position_ids": None if position is None else position + length},
            new_cache() if cache is None and needs_cache else cache, cached, virtual, padding)

    def call_base(self, inputs: Inputs, input_ids: Tensor | None = None, **given):
        """Call the backbone with a cache that holds, or is to hold, the virtual tokens.

        What is `given` overrides the arguments among the inputs. The backbone counts all tokens;
        whoever reads the cache afterwards counts the text alone, so that a later turn of `generate`
        may start from it.
        """
        arguments, cache = inputs.arguments | given, inputs.cache
        if cache is not None:
            arguments[cache_name()] = cache
            vars(cache).pop("get_seq_length", None)    # the class's own counts all
        try:
            out = self.base(input_ids, **arguments)
        finally:
            count_text(cache, inputs.virtual)
        if cache is None:    # then the backbone may have made one
            count_text(out.get(cache_name()), inputs.virtual)
        elif arguments.get("use_cache") is False and cache_name() in out:
            out[cache_name()] = None    # or `generate` would go on with it, unasked
        return out

    def embed(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor | None:
        """Return a text's embedded words, (batch, seq, d_model); `BadData` for ids beside them."""
        if input_ids is None:
            return inputs_embeds
        if inputs_embeds is not None:
            raise BadData("Both input_ids and inputs_embeds are given.", expected="one of the two")
        return self.get_input_embeddings()(input_ids)

    def text_positions(self, inputs: Inputs, input_ids: Tensor | None, seq: int) -> Tensor:
        """Return the positions of a text of `seq` tokens behind virtual ones, (1 or batch, seq).

        Padding that a backbone does not count stays where it is.
        """
        if inputs.arguments["position_ids"] is not None:
            return inputs.arguments["position_ids"]
        position = positions(self.base, input_ids, seq)
        return position + len(inputs.virtual) * (position >= first_position(self.base))

    def positions_and_types(self, inputs: Inputs, input_ids: Tensor | None, seq: int
                            ) -> dict[str, Tensor]:
        """Return those of the virtual tokens and of a text of `seq` tokens behind them.

        For vectors that the backbone reads as it reads words: theirs are the first positions.
        """
        length, position = len(inputs.virtual), self.text_positions(inputs, input_ids, seq)
        first = positions(self.base, None, length)                        # (1, length)
        beside = {"position_ids": behind_padding(first, position, inputs.padding)}
        types = inputs.arguments.get("token_type_ids")
        return beside if types is None else beside | {
            "token_type_ids": nn.functional.pad(types, (length, 0))}      # (batch, length + seq)

    # ── what a head asks of a backbone ────────────────────────────────────────────────────────────

    @property
    def config(self):
        """The backbone's configuration."""
        return self.base.config

    @property
    def base_model(self) -> nn.Module:
        """The backbone, as transformers calls it: this module, which takes its place."""
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


def check_length(base: nn.Module, length: int, what: str) -> None:
    """Raise `BadConfig` for a prompt or prefix that takes all of a model's positions."""
    longest = longest_input(base)
    if length >= longest:
        raise BadConfig(f"length is {length}, and this model has {longest} positions.",
                        expected=f"a {what} that leaves room for the text")
