"""A language model asked for one word: does it like the film?

    words = Words(model, tokenizer)
    few = ask(draw(data.train, 16, seed=0))           "Review: …\nSentiment:", 8 of each label
    batches = pt.data.batches(few, tokenizer, 8, 64)  padded on the left

No new head: the logits of " negative" and " positive" behind the question are the two classes, so
`pt.train` and `pt.evaluate` take it for a classifier. What is trained is the model's own.
"""

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from .... import models
from ....adapter import adapters
from ....data import Example
from ...checks.stand_ins import Output
from ...desk import reviews as reading

SHORT = 16                              # words of the longest review that is asked about
TOKENS = 64                             # room for each of these, and the question
PLACES = ("key", "value", "ffn_out")
BY_HAND = (0.8, 1.0, 1.25)              # what a factor may be that is set by hand
BLOCKS = {"all": range(30), "lower": range(15), "upper": range(15, 30)}    # of SmolLM2's


class Words(nn.Module):
    """A causal language model as a classifier of two words. Rows are padded on the left."""

    num_labels = len(reading.WORDS)

    def __init__(self, model: nn.Module, tokenizer):
        super().__init__()
        self.model = model
        self.ids = reading.two_words(tokenizer)

    def forward(self, input_ids: Tensor, attention_mask: Tensor,
                labels: Tensor | None = None) -> Output:
        """Return the logits (batch, 2) of the two words, and the loss where there are labels."""
        last = self.features(input_ids, attention_mask)                       # (batch, d)
        logits = last @ self.model.get_output_embeddings().weight[self.ids].T    # (batch, 2)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return Output(loss=loss, logits=logits)

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return what the model holds where the word would follow, (batch, d)."""
        hidden = self.model.base_model(input_ids=input_ids, attention_mask=attention_mask,
                                       use_cache=False).last_hidden_state
        return hidden[:, -1]


def ask(examples: Iterable[Example]) -> list[Example]:
    """Return the short reviews among these as questions, with their labels."""
    return [Example(reading.QUESTION.format(text), label)
            for text, label in reading.short(examples, SHORT)]


def setting_of(by_hand: Mapping) -> str:
    """Return the name of a setting by hand: "value 0.8, upper"; "as it comes" for ones alone."""
    turned = [f"{place} {by_hand[place]:g}" for place in PLACES if by_hand[place] != 1]
    return ", ".join([*turned, by_hand["blocks"]]) if turned else "as it comes"


def settings() -> dict[str, dict]:
    """Return every setting that can be made by hand, by its name."""
    made = [dict(zip(PLACES, gains)) | {"blocks": blocks} for blocks in BLOCKS
            for gains in itertools.product(BY_HAND, repeat=len(PLACES))]
    return {setting_of(by_hand): by_hand for by_hand in made}


@torch.no_grad()
def turn(model: nn.Module, by_hand: Mapping) -> None:
    """Set every factor of these blocks to one number a place, and all others to one."""
    chosen = {name: by_hand[place] for place in PLACES
              for name in models.find(model, place, tuple(BLOCKS[by_hand["blocks"]]))}
    for name, adapter in adapters(model).items():
        adapter.l.fill_(chosen.get(name, 1.0))


def draw(examples: Sequence[Example], n: int, seed: int) -> list[Example]:
    """Return n examples, half of them of each label; of one seed, few are the first of many."""
    shuffled = random.Random(seed).sample(list(examples), len(examples))
    kinds = ([e for e in shuffled if e.label == label][:n // 2] for label in (0, 1))
    return [example for pair in zip(*kinds, strict=True) for example in pair]
