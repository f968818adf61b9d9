"""On the spot: batches of the reader's labels, answers word by word."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from .... import models
from .measure import DECODING, NEW_TOKENS, Batch, answers, placed, prompts


@torch.no_grad()
def stream(model: nn.Module, tokenizer, question: str, new_tokens: int = NEW_TOKENS) -> None:
    """Write a model's most likely answer, word by word, cut after `new_tokens`."""
    from transformers import TextStreamer

    writer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    batch = placed(prompts(tokenizer, [question]), model)
    with models.in_mode(model, training=False):
        out = model.generate(**batch, max_new_tokens=new_tokens, streamer=writer, **DECODING)
    if out[0, -1] != tokenizer.eos_token_id:
        print(f"… [cut after {new_tokens} tokens]")


def ask(model: nn.Module, tokenizer, questions: Sequence[str],
        new_tokens: int = NEW_TOKENS) -> list[str]:
    """Return a model's answers, with … where one is cut."""
    said, ended = answers(model, tokenizer, questions, new_tokens=new_tokens)
    return [text if end else f"{text} …" for text, end in zip(said, ended)]


def padded(rows: Sequence[tuple[Sequence[int], Sequence[int]]], tokenizer, size: int = 4,
           seed: int = 0) -> list[Batch]:
    """Return (ids, labels) of conversations as batches, in random order, padded on the right."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    def filled(texts, value) -> torch.Tensor:
        return pad_sequence([torch.as_tensor(text) for text in texts], True, value)

    made = []
    for start in range(0, len(order), size):
        ids, labels = zip(*(rows[i] for i in order[start:start + size]))
        made.append({"input_ids": filled(ids, tokenizer.pad_token_id),            # (batch, seq)
                     "attention_mask": filled([[1] * len(text) for text in ids], 0),
                     "labels": filled(labels, -100)})
    return made
