"""What is asked of a chat model: its answers, its loss on texts of four kinds, a task unseen.

The texts are those of `data.voice()`: "voice", held-out answers of topics that no training pair
has; "chat", plain answers; "news"; "code".
"""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .... import data, models
from ...desk import reviews as reading
from .templates import Turns

NEW_TOKENS = 64     # of the longest answer
# The most likely word each time, but no four tokens twice: else a small model circles for ever.
DECODING = {"do_sample": False, "no_repeat_ngram_size": 4}
REVIEWS = 240       # a third as many more find the threshold
SYSTEM = ("You are an excited sports commentator at a live match. Answer each question in two or "
          "three sentences, correctly, and as if you were commenting on the match.")
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
            new_tokens: int = NEW_TOKENS, size: int = 60) -> tuple[list[str], list[bool]]:
    """Return the model's most likely answer to each question, and whether it ended by itself."""
    texts, ended = [], []
    with models.in_mode(model, training=False):
        for start in range(0, len(questions), size):
            batch = placed(prompts(tokenizer, questions[start:start + size], before), model)
            out = model.generate(**batch, max_new_tokens=new_tokens, **DECODING)
            new = out[:, batch["input_ids"].shape[1]:]                    # (batch, new)
            texts += tokenizer.batch_decode(new, skip_special_tokens=True)
            ended += new.eq(tokenizer.eos_token_id).any(1).tolist()
    return [text.strip() for text in texts], ended


def right(question: str, answer: str) -> bool:
    """Return whether an answer has the fact that this question of `FACTS` asks for."""
    return bool(re.search(rf"\b({FACTS[question]})\b", answer, re.IGNORECASE))


def placed(batch: Batch, model: nn.Module) -> Batch:
    """Return the batch on the model's device."""
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


def told(examples: Sequence[data.Pair] = ()) -> Turns:
    """Return a system prompt that describes the voice, and examples of it."""
    said = [("system", SYSTEM)] + [turn for pair in examples
                                   for turn in zip(("user", "assistant"), pair)]
    return [{"role": role, "content": text} for role, text in said]


def prompts(tokenizer, questions: Sequence[str], before: Turns = ()) -> Batch:
    """Return the questions as a model is asked them after some turns, padded on the left."""
    texts = [tokenizer.apply_chat_template(
        [*before, {"role": "user", "content": question}], add_generation_prompt=True,
        tokenize=False) for question in questions]
    made = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="left",
                     return_tensors="pt")
    return {name: made[name] for name in ("input_ids", "attention_mask")}


def without_end(batches: Iterable[Batch], tokenizer) -> list[Batch]:
    """Return batches whose labels never ask for the end of a turn."""
    return [batch | {"labels": batch["labels"].masked_fill(
        batch["labels"] == tokenizer.eos_token_id, -100)} for batch in batches]


def with_question(batches: Iterable[Batch]) -> list[Batch]:
    """Return batches whose labels ask for all that precedes the answer, too."""
    return [batch | {"labels": _from_the_start(batch)} for batch in batches]


def _from_the_start(batch: Batch) -> Tensor:
    """Return labels (batch, seq) on every token from the first to each row's last label."""
    asked = batch["labels"] != -100                                       # (batch, seq)
    up_to_last = asked.flip(1).cummax(1).values.flip(1) & batch["attention_mask"].bool()
    return batch["input_ids"].masked_fill(~up_to_last, -100)


def texts(voice: data.Voice, tokenizer, size: int = 12) -> dict[str, list[Batch]]:
    """Return the texts to measure a loss on, by kind: answers alone, or all tokens."""
    def chat(pairs):
        return data.chat(pairs, tokenizer, size, shuffle=False)

    return {"voice": chat(voice.validation), "chat": chat(voice.others["chat"]),
            "news": plain(voice.others["news"], tokenizer),
            "code": plain(voice.others["code"], tokenizer)}


def plain(texts: Sequence[str], tokenizer, size: int = 12) -> list[Batch]:
    """Return texts as batches that ask for every token."""
    made = []
    for start in range(0, len(texts), size):
        batch = tokenizer(list(texts[start:start + size]), padding=True, return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]           # (batch, seq)
        made.append({"input_ids": ids, "attention_mask": mask,
                     "labels": ids.masked_fill(mask == 0, -100)})
    return made


def films(model: nn.Module, tokenizer, reviews: int = REVIEWS) -> dict[str, list[bool]]:
    """Return which film reviews the model judges correctly, a task that nobody trained it on.

    "films" takes the threshold that suits the model best on other reviews, for what moves all
    margins alike is not forgotten; "films at 0" takes the larger of the two words' logits.
    """
    task = data.load("movies")
    parts = [reading.short(split)[:count] for split, count in (
        (task.validation, reviews // 3), (task.test, reviews))]
    words = reading.two_words(tokenizer)
    with models.in_mode(model, training=False):
        other, found = (reading.margins(model, reading.ask(part, tokenizer, 24), words)
                        for part in parts)
    labels = [torch.tensor([example.label for example in part]).bool() for part in parts]
    return {name: ((found > bound) == labels[1]).tolist() for name, bound in (
        ("films", best_threshold(other, labels[0])), ("films at 0", 0))}


def best_threshold(margins: Tensor, labels: Tensor) -> float:
    """Return the threshold between two margins with the fewest mistakes, (reviews,) both."""
    ordered = margins.sort().values
    bounds = torch.cat([ordered[:1] - 1, (ordered[1:] + ordered[:-1]) / 2, ordered[-1:] + 1])
    return float(bounds[((margins > bounds[:, None]) == labels.bool()).sum(1).argmax()])
