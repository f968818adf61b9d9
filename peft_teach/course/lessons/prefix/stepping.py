"""Lesson 04: `generate` with a prefix, whose positions went wrong, and the law as a test."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...check.exercise import Exercise, Verdict
from ...check.judge import NO_RETURN, named, rejected, report
from ...check.mutants import Law
from ...check.stand_ins import Pairs, TinyDecoder, drawn_pairs, held_in
from .mutants import BROKEN, RIGHT, Read, put, read_with, text

HERE = "peft_teach.course.lessons.prefix.stepping"

# ── prefix.generate ──────────────────────────────────────────────────────────────────────────


def generate(read: Callable, pairs: Pairs, ids: Tensor, new: int) -> Tensor:
    """Continue ids (batch, tokens) by `new` tokens, each the likeliest: (batch, new).

    `read(ids, positions, pairs)` gives logits and the pairs with what was read behind them.
    """
    found = []
    for _ in range(new):
        held = held_in(pairs)
        logits, pairs = read(ids, torch.arange(held, held + ids.shape[1]), pairs)
        ids = logits[:, -1:].argmax(-1)
        found.append(ids)
    return torch.cat(found, 1)


def generate_wrong(read, pairs, ids, new):
    """Look as if it worked: the lesson shows it."""
    length = pairs[0][0].shape[2]
    positions = torch.arange(length, length + ids.shape[1])
    logits, cache = read(ids, positions, pairs)
    words = [logits[:, -1:].argmax(-1)]
    while len(words) < new:
        positions = torch.tensor([ids.shape[1] + len(words) - 1])
        logits, cache = read(words[-1], positions, cache)
        words.append(logits[:, -1:].argmax(-1))
    return torch.cat(words, 1)


def generate_cases(seed: int) -> list[dict]:
    """Sizes: the smallest first; then two sentences, a long prefix, a single new token."""
    return [{"length": length, "tokens": tokens, "batch": batch, "new": new,
             "seed": 10 * seed + i} for i, (length, tokens, batch, new) in enumerate(
                 ((2, 3, 1, 4), (5, 4, 2, 6), (9, 1, 1, 5), (3, 6, 1, 1)))]


def run_generate(generate: Callable, case: dict) -> dict[str, Any]:
    decoder, pairs, ids = given_to(case)
    before, calls = ([x.clone() for pair in pairs for x in pair], ids.clone()), []

    def read(ids: Tensor, positions: Any, pairs: Pairs) -> tuple[Tensor, Pairs]:
        positions = torch.atleast_1d(torch.as_tensor(positions))
        calls.append({"held": held_in(pairs), "tokens": ids.shape[1],
                      "positions": positions.flatten()[:ids.shape[1]].tolist()})
        return decoder(ids, positions.long(), pairs)

    found = generate(read, pairs, ids, case["new"])
    after = [x for pair in pairs for x in pair]
    return {"found": found, "calls": calls, "intact": torch.equal(ids, before[1]) and len(
        after) == len(before[0]) and all(map(torch.equal, after, before[0]))}


def given_to(case: dict) -> tuple[TinyDecoder, Pairs, Tensor]:
    """Return the decoder, its prefix, and the ids that are to be continued, (batch, tokens)."""
    decoder = TinyDecoder(case["seed"])
    generator = torch.Generator().manual_seed(700 + case["seed"])
    return (decoder, drawn_pairs(decoder, case["length"], case["seed"], case["batch"]),
            torch.randint(41, (case["batch"], case["tokens"]), generator=generator))


def judge_generate(case: dict, seen: dict) -> Verdict:
    found, length = seen["found"], case["length"]
    if found is None:
        return rejected("no_return")
    if not seen["intact"]:
        return Verdict(False, "Afterwards the prefix or the ids are not what they were.")
    decoder, pairs, ids = given_to(case)
    right = generate(decoder, pairs, ids, case["new"])
    if not isinstance(found, Tensor) or found.shape != right.shape:
        return Verdict(False, f"Asked for {case['new']} tokens behind {tuple(ids.shape)}, it gave "
                              f"{named(found)}; expected these alone, {tuple(right.shape)}.")
    if verdict := _is_misplaced(length, seen["calls"]):
        return verdict
    if torch.equal(found, right):
        return Verdict(True)
    row = int((found != right).any(1).int().argmax())    # the first sentence that differs
    told = (f"With a prefix of {length} and {case['tokens']} tokens: the new tokens of sentence "
            f"{row + 1} are {found[row].tolist()}; expected {right[row].tolist()}.")
    forgets = any(call["held"] < length + case["tokens"] for call in seen["calls"][1:])
    return Verdict(False, told, "forgets" if forgets else None)


def _is_misplaced(length: int, calls: list[dict]) -> Verdict | None:
    """Is there a call whose tokens have other positions than there are keys before them?"""
    off = [(call["positions"] or [0])[0] - call["held"] for call in calls]
    for n, call in enumerate(calls, 1):
        held, positions = call["held"], call["positions"]
        wanted = list(range(held, held + call["tokens"]))
        if positions != wanted or not all(isinstance(each, int) for each in positions):
            usual = {"late": (0, -length), "from_zero": (-length, -length), "twice": (0, length)}
            return Verdict(
                False, f"With a prefix of {length}: in call {n}, {held} keys stand before the "
                       f"first token; its positions are {positions}, expected {wanted}.",
                next((name for name, (first, later) in usual.items()
                      if off == [first, *[later] * (len(off) - 1)]), None))
    return None


GENERATE_MISTAKES = {
    "no_return": NO_RETURN,
    "late": "The first call is right, and all later ones count as if there were no prefix: each "
            "new word falls back by its length.",
    "from_zero": "That is where the words would stand without a prefix.",
    "twice": "The prefix is counted twice: its length is in what the pairs hold already.",
    "forgets": "What was read is in the pairs that read gives back: the next call needs these.",
}

GENERATE = Exercise(
    id="prefix.generate", lesson="04", names=("generate",), points=2, minutes=6, difficulty=2,
    cases=generate_cases, run=run_generate, judge=judge_generate,
    returns=report(found=Any, intact=bool, calls=list[report(
        held=int, tokens=int, positions=list[int | float])]), mistakes=GENERATE_MISTAKES,
    hints=("The first new word is right, so the first call is. What do all later calls have in "
           "common?",
           "Write down, for a prefix of 2 and a text of 3 words, the position of each word: in "
           "the first call, then of the first new word, then of the second.",
           "Which number is always equal to the position of the next word? It can be read off the "
           "pairs."))

# ── prefix.stepwise ──────────────────────────────────────────────────────────────────────────


def stepwise_holds(read: Read, ids: Tensor) -> None:
    """Object to a `read` whose logits depend on the pieces in which a text is read."""
    whole, _ = read(ids, None)
    for size in (1, 2, 3):
        cache, rows = None, []
        for piece in ids.split(size, 1):
            logits, cache = read(piece, cache)
            rows.append(logits)
        found = torch.cat(rows, 1)
        assert torch.allclose(found, whole, atol=1e-4), f"pieces of {size}"


LAW = Law(RIGHT, BROKEN, put)
STEPWISE = Exercise(
    id="prefix.stepwise", lesson="04", names=("stepwise_holds",), points=3, minutes=9,
    difficulty=2, cases=lambda seed: [{"seed": seed}],
    run=LAW.run, judge=LAW.judge, returns=LAW.returns, mistakes=LAW.mistakes,
    hints=("What should be equal to what? Read the text once as a whole, and keep the logits.",
           "Then read it anew, from cache None, piece by piece, handing on the cache; torch.cat "
           "puts the logits of the pieces side by side.",
           "Which pieces tell most? Single tokens, and pieces of two or three; and compare every "
           "token's logits, not the last one's alone."),
    arguments=lambda pieces: (read_with(pieces["prefixed"]), text()))
