"""Soft prompt tuning: put trained vectors in front of the embedded words.

    h = f([P ; embed(x)])                 f is frozen, and reads P as if it were words

    symbol  shape                           trained  starts as
    x       (batch, seq)                    –        token ids
    P       (length, d_model)               yes      random in ±0.5, or as words (`start`)
    h       (batch, length + seq, d_model)  –        of which the head sees the last seq

Cost: length · d_model parameters in all (`count`), and a sequence that is longer by `length` in
every layer, at inference too. Nothing can be merged: the prompt is an input, not a weight.

The prompt takes the positions 0 … length − 1, is visible to every token (in a layer with a sliding
window, to those within reach), and has no labels: the head receives the hidden states of the real
tokens only.

Sources: Lester et al. 2021, arXiv 2104.08691, §2 (the method) and §3.2 (the starts).
Two deviations from the paper: T5 reads the prompt in its encoder alone; here there is one stack.
T5 answers in words, so that P alone trains; here a new task head trains beside it.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from .. import models
from ..backbone import BackboneAdapter, check_length
from ..core import prepare, wrap
from ..errors import NotSupported
from ..padding import behind_padding
from ..settings import Length, Settings, unsaved
from ..shapes import expect
from ..valid import as_words
from .initial import check_words, prompt_of_words

LEARNING_RATE = 3e-2    # learns on both models: assets/records/rates.json
COMMON = 5_000    # Lester et al. sample from that many of the most common tokens


class SoftPrompt(BackboneAdapter):
    """A frozen backbone that reads `length` trained vectors before its input."""

    def __init__(self, base: nn.Module, length: int = 20,
                 pool: Literal["cls", "first"] = "cls"):
        Config.check(length=length, pool=pool)
        check_length(base, length, "prompt")
        if pool == "first" and not models.is_encoder(base):
            raise NotSupported("pool='first' is for encoders: a decoder's head reads the last "
                               "token.", hint="pool='cls', which leaves a decoder's head as it is")
        super().__init__(base)
        self.length, self.pool = length, pool
        d_model = self.get_input_embeddings().embedding_dim
        self.P = nn.Parameter(torch.empty(length, d_model))               # (length, d_model)
        nn.init.uniform_(self.P, -0.5, 0.5)

    def forward(self, input_ids: Tensor | None = None, *, inputs_embeds: Tensor | None = None,
                **rest):
        inputs = self.prepare_inputs(rest, self.P)
        if inputs.cached:                           # while generating: the prompt is in the cache
            return self.call_base(inputs, input_ids, inputs_embeds=inputs_embeds)
        x = self.embed(input_ids, inputs_embeds)                          # (batch, seq, d_model)
        x = expect(x, "batch seq d_model", d_model=self.P.shape[1], called="inputs_embeds")
        Px = behind_padding(self.P.to(x.dtype)[None], x, inputs.padding)  # (batch, length + seq, d)
        positions = self.positions_and_types(inputs, input_ids, x.shape[1])
        out = self.call_base(inputs, inputs_embeds=Px, return_dict=True, **positions)
        out = self.without_prompt(out)
        return out.to_tuple() if rest.get("return_dict") is False else out

    def without_prompt(self, out):
        """Keep only the text's tokens in a backbone's output, and pool again if it pools."""
        h = out.last_hidden_state                                         # (batch, length + seq, d)
        real = h[:, self.length:]                                         # (batch, seq, d_model)
        if self.pool == "first":                     # the head reads at 0, where [CLS] would stand
            real = torch.cat([h[:, :1], real[:, 1:]], dim=1)
        out.last_hidden_state = real
        if out.get("pooler_output") is not None:
            out.pooler_output = self.base.get_submodule("pooler")(real)   # (batch, d_model)
        if out.get("hidden_states") is not None:
            out.hidden_states = tuple(h[:, self.length:] for h in out.hidden_states)
        if out.get("attentions") is not None:        # of the text, to the prompt, too
            out.attentions = tuple(a[:, :, self.length:] for a in out.attentions)
        return out


@dataclass(frozen=True)
class Config(Settings):
    """How long the prompt is, and what it starts as.

    `start` is "random"; "vocabulary", sampled from the 5,000 most common tokens; "labels", one
    vector for each text in `words`, the rest sampled; or "text", the text in `words`, repeated or
    cut to `length`. All but "random" need the tokenizer. `pool` is what an encoder's head reads:
    "cls", the first real token, or "first", the first vector of the prompt, as in Hugging Face
    peft. A file keeps the trained prompt, and not how it started.
    """

    length: Length = 20
    start: Literal["random", "vocabulary", "labels", "text"] = unsaved("random")
    words: Annotated[tuple[str, ...], as_words] = unsaved(())
    pool: Literal["cls", "first"] = "cls"

    def __post_init__(self):
        super().__post_init__()
        check_words(self.start, self.words, reading=("labels", "text"))

    def learning_rate(self, model: nn.Module) -> float:
        return LEARNING_RATE


def count(length: int, d_model: int) -> int:
    """Return how many parameters a prompt trains."""
    return length * d_model


def inject(model: nn.Module, config: Config | None = None, tokenizer=None) -> nn.Module:
    """Put a soft prompt before the backbone, freeze all but the head; return the model to keep.

    `tokenizer` is needed for every start but "random".
    """
    note, config = prepare(model, config, Config)

    @torch.no_grad()
    def make(base: nn.Module) -> SoftPrompt:
        prompt = SoftPrompt(base, config.length, config.pool)
        if config.start != "random":
            prompt.P.copy_(prompt_of_words(prompt, config.start, config.words, config.length,
                                           tokenizer, COMMON))
        return prompt

    makers = dict.fromkeys(models.find(model, "backbone"), make)
    return wrap(model, note, makers, config.also_train)
