"""Film reviews as prompts for a language model, and its answer read at one position.

    Review: A quiet, funny, generous film.
    Sentiment: positive

The answer is the word after the colon. Whatever precedes the review, an instruction in words or
vectors that are not words, the model is asked at the same position, and its answer is the word with
the larger logit of two.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..checks.stand_ins import Output

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WORDS = (" negative", " positive")    # by label; one token each, in SmolLM2
LONGEST = 10                          # words of a review: short ones, so that a CPU is enough
QUESTION = "Review: {}\nSentiment:"

Batch = dict[str, Tensor]


def short(split: Iterable, longest: int = LONGEST) -> list:
    """Return the examples of a split that have at most `longest` words, in its order."""
    return [example for example in split if len(example.text.split()) <= longest]


def text_of(example) -> str:
    """Return the prompt of a review, with its answer."""
    text, label = example
    return QUESTION.format(text) + WORDS[label]


def ask(examples: Sequence, tokenizer, size: int = 8, before: str = "",
        seed: int | None = None) -> list[Batch]:
    """Return batches of `size` reviews with their answers, padded on the right.

        input_ids       (batch, seq)  `before`, the review, and its answer
        attention_mask  (batch, seq)  0 at the padding
        labels          (batch, seq)  the answer at its position, -100 everywhere else

    With a seed the order is random, otherwise that of `examples`.
    """
    rows = [tokenizer(before + text_of(example))["input_ids"] for example in examples]
    order = list(range(len(rows)))
    if seed is not None:
        order = torch.randperm(
            len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    return [_padded([rows[i] for i in order[start:start + size]], tokenizer.pad_token_id)
            for start in range(0, len(order), size)]


def _padded(rows: list[list[int]], pad: int) -> Batch:
    ids = torch.full((len(rows), max(map(len, rows))), pad)              # (batch, seq)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, row in enumerate(rows):
        ids[i, :len(row)], mask[i, :len(row)] = torch.tensor(row), 1
        labels[i, len(row) - 1] = row[-1]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def two_words(tokenizer) -> list[int]:
    """Return the token ids of the two answers, by label."""
    return [tokenizer(word)["input_ids"][0] for word in WORDS]


@torch.no_grad()
def gaps(model: nn.Module, batches: Iterable[Batch], words: Sequence[int]) -> Tensor:
    """Return the logit of " positive" minus that of " negative" for each review, in order.

    `model` gives logits (batch, seq, vocabulary), each for the next token.
    """
    found, device = [], next(model.parameters()).device
    for batch in batches:
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        position = batch["labels"].ne(-100).int().argmax(1)               # (batch,)
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        at = logits[torch.arange(len(position)), position - 1]            # (batch, vocabulary)
        found.append((at[:, words[1]] - at[:, words[0]]).float().cpu())
    return torch.cat(found)


class AtTheAnswer(nn.Module):
    """A language model that computes logits at the answer only: the same loss, sooner.

    All other positions have the label -100, so their logits do not matter.
    """

    model: "PreTrainedModel"

    def __init__(self, model: "PreTrainedModel"):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Output:
        h = self.model.base_model(input_ids, attention_mask=attention_mask).last_hidden_state
        row, position = torch.arange(len(labels)), labels.ne(-100).int().argmax(1)
        logits = self.model.get_submodule("lm_head")(h[row, position - 1])    # (batch, vocabulary)
        loss = nn.functional.cross_entropy(logits, labels[row, position])
        return Output(loss=loss, logits=logits)
