"""What is asked of a chat model: its answers, facts and the voice in them, its loss on texts.

The texts are those of `data.voice()`: "voice", held-out answers of topics that no training pair
has; "chat", plain answers; "news"; "code".
"""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from .... import models
from .templates import Turns

NEW_TOKENS = 64     # of the longest answer
# The most likely word each time, but no four tokens twice: else a small model circles for ever.
DECODING = {"do_sample": False, "no_repeat_ngram_size": 4}
OTHERS = ("chat", "news", "code")
# Questions with a fact, and a pattern that finds it in an answer.
FACTS = {
    "What is the capital of France?": "paris",
    "How many days are in a week?": "seven|7",
    "Which planet do we live on?": "earth",
    "What colour is the sky on a clear day?": "blue",
    "Who wrote Romeo and Juliet?": "shakespeare",
    "How many legs does a spider have?": "eight|8",
    "What is the largest ocean?": "pacific",
    "What do bees make?": "honey",
    "Which gas do plants take in from the air?": "carbon dioxide|co2",
    "What is five plus seven?": "twelve|12",
    "In which country is the city of Rome?": "italy",
    "What is the chemical formula of water?": "h2o|h₂o",
    "What is the largest animal in the world?": "blue whales?",
    "What do we call frozen water?": "ice",
    "At how many degrees Celsius does water boil?": "100|hundred",
    "What is the opposite of hot?": "cold",
    "Who was the first person to walk on the Moon?": "armstrong",
    "Which language do people speak in Brazil?": "portuguese",
    "How many minutes are in an hour?": "sixty|60",
    "Which organ pumps blood through the body?": "heart"}
# What tells the voice, by eye.
TRAITS = {
    "calls to the stands": r"(?i:\b(folks|ladies and gentlemen|sports fans)\b)",
    "shouts a word": r"\b[A-Z]{2,}\b",
    "exclaims": r"!",
    "speaks of the game": r"(?i:\b(applause|arena|attack|ball|bench|captain|champion|club|coach|"
        r"comeback|crowd|defen[cd]er?|derby|extra time|fans|field|final|finish|fixture|footwork|"
        r"formation|foul|goal|goalkeeper|half-time|halfway line|heavyweight|keeper|kick-off|lap|"
        r"league|marathon|match|offside|ovation|penalty|pitch|player|playmaker|race|referee|"
        r"relegation|replay|rink|score|scoreboard|season|seats|second half|shirt|sprint|squad|"
        r"stadium|stands|stoppage time|striker|substitut\w+|team|title|tournament|trophy|whistle|"
        r"win|winner)(s|'s)?\b)",
}
ANY_TRAIT = re.compile("|".join(TRAITS.values()))

Batch = dict[str, Tensor]


@torch.no_grad()
def losses(model: nn.Module, batches: Iterable[Batch]) -> list[float]:
    """Return the mean loss a token of each row whose labels are not -100, in order."""
    found: list[float] = []
    with models.in_mode(model, training=False):
        for batch in (placed(batch, model) for batch in batches):
            asked = batch["labels"][:, 1:]                                # (batch, seq - 1)
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            each = F.cross_entropy(logits[:, :-1].float().transpose(1, 2), asked,
                                   reduction="none", ignore_index=-100)   # (batch, seq - 1)
            found += (each.sum(1) / asked.ne(-100).sum(1)).tolist()
    return [round(loss, 4) for loss in found]


@torch.no_grad()
def answers(model: nn.Module, tokenizer, questions: Sequence[str], before: Turns = (),
            new_tokens: int = NEW_TOKENS) -> tuple[list[str], list[bool]]:
    """Return the model's most likely answer to each question, and whether it ended by itself."""
    texts, ended = [], []
    with models.in_mode(model, training=False):
        for start in range(0, len(questions), 60):
            batch = placed(prompts(tokenizer, questions[start:start + 60], before), model)
            out = model.generate(**batch, max_new_tokens=new_tokens, **DECODING)
            new = out[:, batch["input_ids"].shape[1]:]                    # (batch, new)
            texts += tokenizer.batch_decode(new, skip_special_tokens=True)
            ended += new.eq(tokenizer.eos_token_id).any(1).tolist()
    return [text.strip() for text in texts], ended


def ask(model: nn.Module, tokenizer, questions: Sequence[str],
        new_tokens: int = NEW_TOKENS) -> list[str]:
    """Return a model's answers, with … where one is cut."""
    said, ended = answers(model, tokenizer, questions, new_tokens=new_tokens)
    return [text if end else f"{text} …" for text, end in zip(said, ended)]


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


def placed(batch: Batch, model: nn.Module) -> Batch:
    """Return the batch on the model's device."""
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


def prompts(tokenizer, questions: Sequence[str], before: Turns = ()) -> Batch:
    """Return the questions as a model is asked them after some turns, padded on the left."""
    texts = [tokenizer.apply_chat_template(
        [*before, {"role": "user", "content": question}], add_generation_prompt=True,
        tokenize=False) for question in questions]
    made = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="left",
                     return_tensors="pt")
    return {name: made[name] for name in ("input_ids", "attention_mask")}


def padded(rows: Sequence[tuple[Sequence[int], Sequence[int]]], tokenizer, size: int = 4
           ) -> list[Batch]:
    """Return (ids, labels) of conversations as batches, in random order, padded on the right."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    def filled(texts, value) -> torch.Tensor:
        return pad_sequence([torch.as_tensor(text) for text in texts], True, value)

    made = []
    for start in range(0, len(order), size):
        ids, labels = zip(*(rows[i] for i in order[start:start + size]))
        made.append({"input_ids": filled(ids, tokenizer.pad_token_id),            # (batch, seq)
                     "attention_mask": filled([[1] * len(text) for text in ids], 0),
                     "labels": filled(labels, -100)})
    return made


def style(answer):
    """Score an answer from 0 to 1: a quarter for each trait, less where little else is said."""
    traits = sum(bool(re.search(trait, answer)) for trait in TRAITS.values()) / len(TRAITS)
    words = answer.split()
    rest = {*ANY_TRAIT.sub(" ", answer).lower().split()}    # each word once: a loop says it again
    return traits * min(1.0, 2 * len(rest) / max(1, len(words)))
