"""Lesson 03: what a prompt starts as, by the answers that the model may have to give."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...check.exercise import Exercise, Verdict
from ...check.judge import NO_RETURN, close, named, recognised, rejected, report
from ...check.stand_ins import Output, ScaledEmbedding

HERE = "peft_teach.course.lessons.prompt.starts"
PADDING, FIRST, LAST = 0, 1, 2    # the special tokens


class Encoding(Output):
    """What a tokenizer gives: read by key or attribute, and sent to a device, as transformers' is.
    """

    def to(self, device: Any) -> "Encoding":
        return Encoding(**{name: value.to(device) for name, value in self.items()})


class Pieces:
    """A tokenizer of a few words: pieces of words, and, if `specials`, a special token at each end.

    Called as transformers' are: with BERT's specials are added unless one says no, with SmolLM2's
    they never are. A word with a blank before it is another token than one without.
    """

    def __init__(self, pieces: dict[str, list[int]], specials: bool):
        self.pieces, self.specials = pieces, specials
        self.all_special_ids, self.pad_token_id = [PADDING, FIRST, LAST], PADDING

    def __call__(self, text: str | Sequence[str], add_special_tokens: bool = True,
                 padding: bool | str = False, return_tensors: str | None = None,
                 **rest) -> Encoding:
        one = isinstance(text, str)
        rows = [self._ids(each, add_special_tokens) for each in ([text] if one else text)]
        masks = [[1] * len(row) for row in rows]
        if padding not in (False, "do_not_pad"):
            longest = max(map(len, rows))
            rows, masks = ([[*row, *[PADDING] * (longest - len(row))] for row in each]
                           for each in (rows, masks))    # PADDING and "unread" are both 0
        if return_tensors is not None:    # unequal rows: torch says so, as transformers does
            return Encoding(input_ids=torch.tensor(rows), attention_mask=torch.tensor(masks))
        return Encoding(input_ids=rows[0] if one else rows,
                        attention_mask=masks[0] if one else masks)

    def _ids(self, text: str, add_special_tokens: bool) -> list[int]:
        ids = [i for word in re.findall(r" ?[^ ]+", text) for i in self.pieces[word]]
        return [FIRST, *ids, LAST] if add_special_tokens and self.specials else ids

    def encode(self, text: str, add_special_tokens: bool = True, **rest) -> Any:
        return self(text, add_special_tokens, **rest)["input_ids"]

    def tokenize(self, text: str, add_special_tokens: bool = False) -> list[str]:
        return [f"#{i}" for i in self(text, add_special_tokens)["input_ids"]]

    def convert_tokens_to_ids(self, tokens):
        return int(tokens[1:]) if isinstance(tokens, str) else [int(t[1:]) for t in tokens]


def label_start(embed: nn.Module, tokenizer, answers: list[str], common: list[int], length: int,
                generator: torch.Generator) -> Tensor:
    """Return the (length, d) vectors that a prompt starts as, by the answers of the task.

    `embed` gives the vectors of token ids. One vector for each answer, the mean of its tokens'; the
    rest those of different tokens drawn from `common`, of which none is an answer's.
    """
    labels = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in answers]
    free = [i for i in common if not any(i in ids for ids in labels)]
    drawn = torch.randperm(len(free), generator=generator)[:length - len(labels)]
    rest = torch.tensor(free)[drawn]                                      # (rest,)
    with torch.no_grad():
        means = [embed(torch.tensor(ids)).mean(0) for ids in labels]      # (d,) each
        return torch.cat([torch.stack(means), embed(rest)])


def start_cases(seed: int) -> list[dict]:
    """Return word vectors, answers of one token and of several, and how much is to be filled."""
    generator = torch.Generator().manual_seed(8400 + seed)

    def case(pieces: dict[str, list[int]], common: int, length: int, scale: float = 1.0,
             specials: bool = True) -> dict:
        own = [i for ids in pieces.values() for i in ids]
        order = [*own[:2], *(torch.randperm(60, generator=generator) + 30)[:common - 2].tolist()]
        return {"seed": 10 * seed + length, "answers": list(pieces), "scale": scale,
                "pieces": pieces | {word.strip(): [i + 10 for i in ids]
                                    for word, ids in pieces.items()},
                "common": order, "length": length, "specials": specials}

    return [case({" no": [3], " yes": [7]}, 22, 20),    # nearly all that is common, and different
            case({" dreadful": [4, 9, 5], " fine": [8, 21, 17]}, 14, 14, specials=False),
            case({" so": [11], " it": [13], " goes": [12, 6]}, 25, 9, scale=2.5)]


def embedding(case: dict) -> nn.Module:
    """Make the word vectors of a case; called, it scales them, as Gemma's does."""
    made = ScaledEmbedding(100, 5, case["scale"])
    generator = torch.Generator().manual_seed(case["seed"])
    with torch.no_grad():
        made.weight.copy_(torch.randn(100, 5, generator=generator))
    return made


def run_start(label_start, case: dict) -> dict[str, Any]:
    """Call it twice with one seed of the generator, once with another, and once with one used.

    That one has drawn for `found`, and what it draws next is something else.
    """
    embed, common, answers = embedding(case), list(case["common"]), list(case["answers"])
    table, seen = embed.weight.detach().clone(), {}
    made = {name: torch.Generator().manual_seed(seed)
            for name, seed in (("found", 1), ("again", 1), ("other", 2))}
    for name, generator in (*made.items(), ("later", made["found"])):
        torch.manual_seed(len(seen))    # torch's own generator has no part in it
        seen[name] = label_start(embed, Pieces(case["pieces"], case["specials"]), answers, common,
                                 case["length"], generator)
        if not isinstance(seen[name], Tensor):
            return {"found": seen[name]}
    return seen | {"intact": torch.equal(embed.weight, table) and common == case[
        "common"] and answers == case["answers"]}


def judge_start(case: dict, seen) -> Verdict:
    length, found, table = case["length"], seen["found"], embedding(case).weight.detach()
    vectors, pieces = case["scale"] * table, case["pieces"]
    labels = [pieces[answer] for answer in case["answers"]]
    if found is None:
        return rejected("no_return")
    if not isinstance(found, Tensor) or found.shape != (length, table.shape[1]):
        return Verdict(False, f"For {length} vectors of {table.shape[1]} entries it gave "
                              f"{named(found)}; expected one tensor of shape (length, d).")
    if not seen["intact"]:
        return Verdict(False, "Afterwards the table or a list is not what it was.")
    for i, (answer, ids) in enumerate(zip(case["answers"], labels)):
        if not _same(found[i], vectors[ids].mean(0)):
            told = f"The answer {answer!r} is the tokens {ids}; vector {i} is not their mean."
            return Verdict(False, told, _slip(found[i], answer, case, vectors))
    drawn = []
    for i, row in enumerate(found[len(labels):], len(labels)):
        gaps = (vectors - row).abs().sum(1)
        if gaps.min() > 1e-3:
            is_bare = (table - row).abs().sum(1).min() < 1e-3
            return Verdict(False, f"Vector {i} is none that embed gives of a token.",
                           "not_called" if is_bare else None)
        drawn.append(int(gaps.argmin()))
    if outside := [t for t in drawn if t not in case["common"]]:
        return Verdict(False, f"Token {outside[0]} was taken, which is none of the "
                              f"{len(case['common'])} common ones.")
    if own := [t for t in drawn if any(t in ids for ids in labels)]:
        return rejected("labels_repeated", f"Token {own[0]} was drawn, and an answer has it.")
    if len(set(drawn)) < len(drawn):
        twice = next(t for t in drawn if drawn.count(t) > 1)
        return rejected("repeated", f"Of {len(drawn)} drawn tokens {twice} is there "
                                    f"{drawn.count(twice)} times.")
    if not _same(seen["again"], found):
        return rejected("own_chance", "Called again with a generator of the same seed, it drew "
                                      "other tokens.")
    if len(drawn) > 2 and _same(seen["later"], found):
        return Verdict(False, "Called twice with one generator, which is to go on, it drew the "
                              "same tokens twice.")
    if 2 < len(drawn) < len(case["common"]) / 2 and _same(seen["other"].sum(0), found.sum(0)):
        return Verdict(False, f"Of {len(case['common'])} common tokens it took the same "
                              f"{len(drawn)} with a generator of another seed, in another order.")
    return Verdict(True, "A mean for each answer, and different common tokens behind them.")


def _same(a: Any, b: Tensor) -> bool:
    return close(a, b, 1e-4)


def _slip(found: Tensor, answer: str, case: dict, vectors: Tensor) -> str | None:
    """Name the slip by what stands where the mean of an answer's tokens should."""
    ids, stripped = case["pieces"][answer], case["pieces"][answer.strip()]
    return recognised({
        "special": vectors[[FIRST, *ids, LAST]].mean(0), "stripped": vectors[stripped].mean(0),
        "one_subword": (vectors[ids[0]], vectors[ids[-1]]),
        "not_called": vectors[ids].mean(0) / case["scale"]}, lambda value: _same(found, value))


START_MISTAKES = {
    "no_return": NO_RETURN,
    "special": "A tokenizer puts special tokens around a text unless it is told not to.",
    "stripped": "The answer stands behind a colon, with its blank: without the blank it is "
                "another token.",
    "not_called": "`embed` does more than look up: called, this one scales what stands in its "
                  "table. The model would read vectors of another length.",
    "one_subword": "Of an answer of several sub-words, one alone was taken.",
    "labels_repeated": "An answer's tokens stand in front already; the rest is filled from the "
                       "other common ones.",
    "repeated": "A token was drawn twice. The paper's code draws without putting back.",
    "own_chance": "The generator that was given decides alone: hand it to what draws.",
}

START = Exercise(
    id="prompt.start", lesson="03", names=("label_start",), points=2, minutes=9, difficulty=2,
    cases=start_cases, run=run_start, judge=judge_start, mistakes=START_MISTAKES,
    returns=report(found=Any) | report(**dict.fromkeys(
        ("found", "again", "other", "later"), Tensor), intact=bool),
    hints=("Two parts, one behind the other. For the first: print what the tokenizer makes of "
           "\" positive\" and of \"positive\". Is everything that it gives the answer's?",
           "For each answer a row for each sub-word, of which the mean is left. Which rows: those "
           "of the table, or those that the model reads?",
           "For the rest: leave out of `common` what the answers have. To draw without putting "
           "back, put all that is left in a random order; which function of torch takes a "
           "generator and gives such an order?"))
