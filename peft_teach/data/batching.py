"""Texts, or conversations, as batches that a model reads."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import BadData, NotSupported, kind_of
from ..valid import is_integer, is_number, is_several
from .tasks import Dataset, Example

IGNORED = -100          # the label of a token that is given, not asked for


def batches(examples: Sequence[Example], tokenizer, batch_size: int = 16, max_tokens: int = 32,
            shuffle: bool = True, seed: int = 0, epochs: int = 1,
            device: torch.device | str | None = None) -> list[dict[str, Tensor]]:
    """Return batches of `examples`, each example once an epoch, ready for `model(**batch)`.

        input_ids       (batch, seq)  int64   padded to the longest text of this batch
        attention_mask  (batch, seq)  int64   0 at the padding, on `tokenizer.padding_side`
        labels          (batch,)      int64   float32 where they are ratings

    Texts are cut to `max_tokens`, special tokens included. With `shuffle`, texts of similar length
    share a batch, which saves most of the padding; the order follows from `seed` alone and touches
    no global generator. Without it, the order is that of `examples`, so that predictions can be
    laid beside them. `token_type_ids` are left out: BERT takes zeros. Raises `BadData`.
    """
    examples = _checked(examples)
    _check_sizes(tokenizer, batch_size, max_tokens, epochs, seed)
    room = tokenizer.num_special_tokens_to_add() + 1  # below that, tokenizers do not cut at all
    if max_tokens < room:
        raise BadData(f"max_tokens is {max_tokens}.", expected=f"at least {room}")
    tokens = tokenizer([text for text, _ in examples], truncation=True,
                       max_length=max_tokens)["input_ids"]
    empty = [text for (text, _), row in zip(examples, tokens) if not row]
    if empty:
        raise BadData(f"{len(empty)} texts have no tokens, the first is {empty[0]!r}.",
                      expected="at least one token a text", hint="drop the empty texts")

    whole = all(is_integer(label) for _, label in examples)
    dtype = torch.int64 if whole else torch.float32

    made = []
    for chosen in _ordered([*map(len, tokens)], batch_size, shuffle, seed, epochs):
        batch = _padded([tokens[i] for i in chosen], tokenizer)
        batch["labels"] = torch.tensor([examples[i][1] for i in chosen], dtype=dtype)    # (batch,)
        made.append({name: tensor.to(device) for name, tensor in batch.items()})
    return made


def chat(conversations: Sequence, tokenizer, batch_size: int = 16, max_tokens: int = 256,
         shuffle: bool = True, seed: int = 0, epochs: int = 1,
         device: torch.device | str | None = None) -> list[dict[str, Tensor]]:
    """Return batches of `conversations` for a language model, with labels on the answers alone.

        input_ids       (batch, seq)  int64   what the tokenizer's chat template writes
        attention_mask  (batch, seq)  int64   0 at the padding, on `tokenizer.padding_side`
        labels          (batch, seq)  int64   as `labels` says; -100 at the padding

    A conversation is a pair, (question, answer), or a list of turns, {"role": ..., "content": ...}.
    The rest is as in `batches`, but no answer is cut: one that does not fit into `max_tokens`, or
    is missing, raises `BadData`.
    """
    conversations = [*conversations] if is_several(conversations) else []
    if not conversations:
        raise BadData("There are no conversations.", expected="at least one (question, answer)")
    _check_sizes(tokenizer, batch_size, max_tokens, epochs, seed)
    rows = []
    for number, conversation in enumerate(conversations):
        ids, asked = labels(_turns(conversation, number), tokenizer)
        end = max((i + 1 for i, label in enumerate(asked) if label != IGNORED), default=0)
        if end == 0:
            raise BadData(f"Conversation {number} has no answer: {conversation!r:.80}.",
                          expected="at least one turn of the assistant")
        if end > max_tokens:
            raise BadData(f"Conversation {number} has {end} tokens, and max_tokens is {max_tokens}:"
                          " its answer would be cut.",
                          hint=f"max_tokens={end}, or leave this conversation out")
        rows.append((ids[:max_tokens], asked[:max_tokens]))

    made = []
    for chosen in _ordered([len(ids) for ids, _ in rows], batch_size, shuffle, seed, epochs):
        batch = _padded([rows[i][0] for i in chosen], tokenizer)
        batch["labels"] = _filled([rows[i][1] for i in chosen], IGNORED, tokenizer.padding_side)
        made.append({name: tensor.to(device) for name, tensor in batch.items()})
    return made


def labels(turns: Sequence[Mapping[str, str]], tokenizer) -> tuple[list[int], list[int]]:
    """Return a conversation's token ids, as the chat template writes it, and as many labels.

    The label is the token itself where the model is to write: in each turn of the assistant, up to
    the token that ends the turn, included. Everywhere else it is -100, also for what the template
    writes behind that token (SmolLM2's a line break): by then the model has stopped. Raises
    `NotSupported` for a tokenizer without a chat template, or with one that ends no turn, or that
    writes a turn differently once others follow.
    """
    def written(count: int, **options) -> str:
        return tokenizer.apply_chat_template(turns[:count], tokenize=False, **options)

    if not tokenizer.chat_template:
        raise NotSupported("The tokenizer has no chat template.",
                           expected="that of a chat model, such as 'smollm2'")
    text = written(len(turns))
    told = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = told["input_ids"]
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    asked = [IGNORED] * len(ids)
    for number, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        before, until = written(number, add_generation_prompt=True), written(number + 1)
        if not (until.startswith(before) and text.startswith(until)):
            raise NotSupported(f"This chat template writes turn {number} differently once others "
                               "follow, or not where an answer is to begin.",
                               hint="a conversation of one question and its answer")
        own = [i for i, (start, end) in enumerate(told["offset_mapping"])
               if end > len(before) and start < len(until)]
        ends = [i for i in own if ids[i] in special]
        if not ends:
            raise NotSupported(f"This chat template writes no token that ends turn {number}: a "
                               "model would not learn to stop.",
                               expected="a special token behind each answer")
        for i in range(own[0], ends[-1] + 1):
            asked[i] = ids[i]
    return ids, asked


def _turns(conversation, number: int) -> list[dict[str, str]]:
    """Return the turns of a conversation, which is a pair or a list of them."""
    match conversation:
        case (str(question), str(answer)):
            return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        case [*turns] if turns and all(isinstance(turn, Mapping) and {"role", "content"} <= {*turn}
                                       for turn in turns):
            return turns
    raise BadData(f"Conversation {number} is {conversation!r:.80}.",
                  expected='(question, answer), or a list of {"role": ..., "content": ...}',
                  hint="chat([conversation], ...), where there is one")


def _check_sizes(tokenizer, batch_size: int, max_tokens: int, epochs: int, seed: int) -> None:
    """Raise `BadData` for sizes or a tokenizer of which no batch can be made."""
    for name, size, least in (("batch_size", batch_size, 1), ("max_tokens", max_tokens, 1),
                              ("epochs", epochs, 1), ("seed", seed, 0)):
        if not is_integer(size, least):
            raise BadData(f"{name} is {size!r}.", expected=f"a whole number, at least {least}")
    if not hasattr(tokenizer, "pad_token_id"):
        raise BadData(f"The tokenizer is {kind_of(tokenizer)}.",
                      expected="a tokenizer of transformers'",
                      hint="model, tokenizer = pt.models.load('minilm', labels=2)")
    if tokenizer.pad_token_id is None:
        raise BadData("The tokenizer has no padding token, so texts cannot share a batch.",
                      expected="a tokenizer with a pad_token",
                      hint="tokenizer.pad_token = tokenizer.eos_token (the mask hides it anyway)")


def _checked(examples: Sequence[Example]) -> list[Example]:
    """Return the examples as a list; raise `BadData` unless each is a text with a number."""
    if isinstance(examples, Dataset):
        raise BadData(f"{examples!r} is a whole data set.", expected="one of its splits",
                      hint="batches(dataset.train, ...)")
    examples = [*examples] if is_several(examples) else []
    if not examples:
        raise BadData("There are no examples.", expected="at least one (text, label)")
    for number, example in enumerate(examples):
        match example:
            case (str(), label) if is_number(label):
                continue
        raise BadData(f"Example {number} is {example!r}.",
                      expected="(text, label), label an int and no bool, or a float to predict")
    return examples


def _ordered(lengths: Sequence[int], batch_size: int, shuffle: bool, seed: int,
             epochs: int) -> list[Sequence[int]]:
    """Return the indices of each batch, epoch after epoch."""
    generator = torch.Generator().manual_seed(seed)
    return [chosen for _ in range(epochs)
            for chosen in (_bucketed(lengths, batch_size, generator) if shuffle
                           else _cut(range(len(lengths)), batch_size))]


def _bucketed(lengths: Sequence[int], batch_size: int,
              generator: torch.Generator) -> list[Sequence[int]]:
    """Return batches of indices: random, yet of similar length within a batch.

    Sorting everything would always put the same texts together. So shuffle, sort within pools of 50
    batches, and shuffle the batches, for otherwise each pool would run from short to long.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    made = []
    for pool in _cut(order, 50 * batch_size):
        made += _cut(sorted(pool, key=lengths.__getitem__), batch_size)
    return [made[i] for i in torch.randperm(len(made), generator=generator)]


def _cut(indices: Sequence[int], size: int) -> list[Sequence[int]]:
    """Return pieces of `size`; the last one may be shorter."""
    return [indices[start:start + size] for start in range(0, len(indices), size)]


def _padded(rows: list[list[int]], tokenizer) -> dict[str, Tensor]:
    """Return token ids of different lengths as one tensor, with the mask of what is real."""
    side = tokenizer.padding_side
    return {"input_ids": _filled(rows, tokenizer.pad_token_id, side),
            "attention_mask": _filled([[1] * len(row) for row in rows], 0, side)}


def _filled(rows: list[list[int]], value: int, side: str) -> Tensor:
    """Return rows of different lengths as one tensor, (batch, seq), with `value` on this side."""
    made = torch.full((len(rows), max(map(len, rows))), value)
    for i, row in enumerate(rows):
        start = made.shape[1] - len(row) if side == "left" else 0
        made[i, start:start + len(row)] = torch.tensor(row)
    return made
