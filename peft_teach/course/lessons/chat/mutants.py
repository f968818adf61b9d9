"""Batches of a chat: right ones, and some from which no model learns to stop."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .... import data
from .templates import tokenizer_of, turns

Batch = dict[str, Tensor]

TALKS = (turns("Why?", "Because, folks!", "And then?", "Goal!"), turns("Is it far?", "No."),
         turns("Who won, and how?", "We won, and we won well."), turns("Why not?", "Rain.", "So?",
                                                                      "No match."))
END = 1    # the token that ends a turn, and that pads


@cache
def tokenizer() -> Any:
    """Return the talks' tokenizer. Only here does transformers arrive."""
    return tokenizer_of("chatml", [turn for talk in TALKS for turn in talk])


def batch(side: str = "right", asked: Callable[[Batch], Tensor] = lambda made: made["labels"],
          pad: int = END) -> Batch:
    """Return the talks as one batch; `asked` changes its labels."""
    tokenizer().padding_side = side
    made = data.chat(TALKS, tokenizer(), batch_size=len(TALKS), shuffle=False)[0]
    made["labels"] = asked({name: tensor.clone() for name, tensor in made.items()})
    made["input_ids"][made["attention_mask"] == 0] = pad
    return made


def batch_by(labels: Callable) -> Batch:
    """Return the first talk as a batch, with the labels of `labels(turns, tokenizer)`."""
    ids, asked = (torch.as_tensor(each)[None] for each in labels(TALKS[0], tokenizer()))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": asked}


def without_padding_token(made: Batch) -> Tensor:
    """The famous bug: the padding is masked by its token, which also ends a turn."""
    return made["labels"].masked_fill(made["input_ids"] == END, -100)


def with_questions(made: Batch) -> Tensor:
    return made["input_ids"].masked_fill(made["attention_mask"] == 0, -100)


def with_what_follows(made: Batch) -> Tensor:
    """The line break that the template writes behind the end is asked for, too."""
    behind = (made["labels"] == END).roll(1, dims=1) & made["attention_mask"].bool()
    return torch.where(behind, made["input_ids"], made["labels"])


def without_first_end(made: Batch) -> Tensor:
    """Everything after a row's first answer is asked for, but not that answer's end."""
    ends = made["labels"] == END                                          # (batch, seq)
    first = ends & (ends.cumsum(1) == 1) & (ends.sum(1, keepdim=True) > 1)
    asked = (made["labels"] != -100).cummax(1).values & made["attention_mask"].bool()
    return made["input_ids"].masked_fill(first | ~asked, -100)


def without_last_end(made: Batch) -> Tensor:
    labels = made["labels"]
    for row in labels:
        row[(row == END).nonzero()[1:]] = -100
    return labels


def cut() -> Batch:
    """The batch, its questions asked for, cut in the middle of its longest row's last answer."""
    return {name: tensor[:, :-3] for name, tensor in batch(asked=with_questions).items()}


RIGHT = {
    "is padded on the right": batch,
    "is padded on the left": lambda: batch("left"),
    "has a padding token of its own": lambda: batch(pad=2),
    "asks for the questions, too": lambda: batch(asked=with_questions),
    "asks for the line break behind the end, too": lambda: batch(asked=with_what_follows),
}
BROKEN = {
    "hides the padding by its token": lambda: batch(asked=without_padding_token),
    "asks for the last end of a row, not for its first": lambda: batch(asked=without_first_end),
    "asks for the first end of a row, not for its last": lambda: batch(asked=without_last_end),
    "asks for the questions, too, and is cut in the middle of an answer": cut,
    "asks for everything but the token of the padding": lambda: batch(
        asked=lambda made: without_padding_token(made | {"labels": with_questions(made)})),
}
