"""What the tests of prompts and prefixes share: a tokenizer of numbers, inputs and rows."""

import torch
from tiny import MORE_DECODERS, MORE_ENCODERS

import peft_teach as pt
from peft_teach import models

LENGTH, WORDS = 5, (7, 8, 9, 10, 11)
TEXT = " ".join(map(str, WORDS))
DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
FAMILIES = ("bert", "roberta", "distilbert", *DECODERS)
# The families that came later and take a prompt in each form; OPT's language model does not, and
# ModernBERT ignores the keys and values of a prefix. What both libraries can do, peft does alike,
# except for what it reads off padding: the positions of decoders, RoBERTa and its kin where padding
# comes first, and a decoder's head where it comes last.
LATER_DECODERS = tuple(family for family in MORE_DECODERS if family != "opt")
LATER = (*MORE_ENCODERS, *LATER_DECODERS)
# peft leaves padding between its vectors and a text, where a window counts it: not in these.
WIDE = {family: {"sliding_window": 42} for family in ("gemma2", "gemma3_text")}
GREEDY = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}


class Numbers:
    """A tokenizer that reads "7 8" as the ids 7 and 8; 0 and 1 are special, 4 stands for none."""

    all_special_ids = (0, 1)

    def __init__(self, size: int = 97):
        self.size = size

    def __repr__(self):    # names the test: an address would be another in every process
        return f"Numbers({self.size})"

    def __len__(self):
        return self.size

    def __call__(self, text, add_special_tokens=True):
        ids = [int(word) for word in text.split()]
        return {"input_ids": [0, *ids, 1] if add_special_tokens else ids}

    def convert_ids_to_tokens(self, ids):
        return ["[unused4]" if i == 4 else str(i) for i in ids]


def words_before(batch: dict, next_to_text: bool = False) -> dict:
    """Return the batch with WORDS as ordinary tokens in front, padding after them included.

    With `next_to_text` they stand behind the padding that a row begins with, as a decoder reads
    them.
    """
    words, rows = torch.tensor(WORDS), []
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"]):
        start = mask.tolist().index(1) if next_to_text else 0
        rows.append([torch.cat([row[:start], more, row[start:]])
                     for row, more in ((ids, words), (mask, torch.ones_like(words)))])
    ids, mask = map(torch.stack, zip(*rows))
    return {"input_ids": ids, "attention_mask": mask}


def with_positions(model, batch: dict, padding: bool) -> dict:
    """Return the batch with positions, if a decoder reads it; padding in front may count, too.

    A plain model and peft's count it. With a prompt or prefix, ours counts each row's own tokens.
    """
    if models.is_encoder(model):
        return batch
    mask = batch["attention_mask"]
    counted = torch.ones_like(mask) if padding else mask
    return batch | {"position_ids": (counted.cumsum(1) - 1).clamp(min=0)}


def the(model) -> pt.Adapter:
    """Return the one adapter on a model."""
    (adapter,) = pt.adapters(model).values()
    return adapter


@torch.no_grad()
def row_by_row(model, batch) -> torch.Tensor:
    """Continue each row alone, greedily, without a cache and without padding."""
    rows = []
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"].bool()):
        ids = ids[mask][None]
        for _ in range(6):
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], 1)
        rows.append(ids[0, -6:])
    return torch.stack(rows)
