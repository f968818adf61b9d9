"""Lesson 04: `generate` with a prefix, whose positions went wrong, and the law as a test."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, named, rejected, strange
from ...mutants import MISTAKES, false_positives, outcomes, score, survivors
from .tiny import Decoder, Pairs, drawn_pairs, held_in
from .versions import Read, on_trial, read_with, text

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
    decoder = Decoder(case["seed"])
    pairs = drawn_pairs(decoder, case["length"], case["seed"], case["batch"])
    ids = given_ids(case)
    before = [x.clone() for pair in pairs for x in pair], ids.clone()
    calls = []

    def read(ids, positions, pairs):
        positions = torch.atleast_1d(torch.as_tensor(positions))
        places = positions.flatten()[:ids.shape[1]].tolist() if positions.numel() else []
        calls.append({"held": held_in(pairs), "tokens": ids.shape[1], "positions": places})
        return decoder(ids, positions.long(), pairs)

    found = generate(read, pairs, ids, case["new"])
    intact = torch.equal(ids, before[1]) and len(pairs) == decoder.layers and all(
        torch.equal(a, b) for a, b in zip(before[0], (x for pair in pairs for x in pair)))
    return {"gave": named(found), "calls": calls, "intact": intact,
            "found": found.detach().clone() if isinstance(found, Tensor) else None}


def given_ids(case: dict) -> Tensor:
    """Return the ids that are to be continued, (batch, tokens)."""
    generator = torch.Generator().manual_seed(700 + case["seed"])
    return torch.randint(41, (case["batch"], case["tokens"]), generator=generator)


def judge_generate(case: dict, seen) -> Verdict:
    if odd := strange(seen, "gave", "calls", "intact", "found", gave=str, calls=list,
                      intact=bool, found=(Tensor, type(None))):
        return odd
    if seen["gave"] == "None":
        return rejected("no_return")
    decoder = Decoder(case["seed"])
    pairs = drawn_pairs(decoder, case["length"], case["seed"], case["batch"])
    right, calls = generate(decoder, pairs, given_ids(case), case["new"]), seen["calls"]
    if any(strange(call, "held", "tokens", "positions", held=int, tokens=int, positions=list)
           for call in calls):
        return Verdict(False, "The check's report is not whole.")
    if not seen["intact"]:
        return rejected("input_changed", "Afterwards the prefix or the ids are not what they were.")
    found = seen["found"]
    if found is None or found.shape != right.shape:
        return rejected("shape", f"Asked for {case['new']} tokens behind "
                                 f"{tuple(given_ids(case).shape)}, it gave {seen['gave']}.")
    for place in (place for call in calls for place in call["positions"]):
        if not isinstance(place, int) or isinstance(place, bool):
            return rejected("positions_kind", f"It called read with the position {place}.")
    if verdict := _misplaced(case, calls):
        return verdict
    if torch.equal(found, right):
        return Verdict(True, "A word's position is how many keys stand before it.")
    later = calls[1:]
    row = int((found != right).any(1).int().argmax())    # the first sentence that differs
    told = (f"With a prefix of {case['length']} and {case['tokens']} tokens: the new tokens of "
            f"sentence {row + 1} are {found[row].tolist()}; expected {right[row].tolist()}.")
    if any(call["held"] < case["length"] + case["tokens"] for call in later):
        return rejected("forgets", told)
    if any(call["tokens"] > 1 for call in later):
        return rejected("again", told)
    return Verdict(False, told)


def _misplaced(case: dict, calls: list[dict]) -> Verdict | None:
    """Is there a call that gave its first token another position than there are keys before it?"""
    length = case["length"]
    off = [(call["positions"] or [-1])[0] - call["held"] for call in calls]
    if any(call["held"] < length for call in calls):
        return rejected("no_prefix", "It called read with pairs that do not hold the prefix.")
    starts = [(call["positions"] or [0])[0] for call in calls]
    straight = all(call["positions"] == list(range(start, start + call["tokens"]))
                   for call, start in zip(calls, starts))
    if not any(off) and straight:
        return None
    place = next((i for i, each in enumerate(off) if each), 0)
    call, later = calls[place], off[1:]
    told = (f"In call {place + 1}, {call['held']} keys stand before the first token, "
            f"{length} of the prefix among them, and its position is {call['positions'][:1]}.")
    mistake = None
    if off[0] == 0 and later and all(each == -length for each in later):
        mistake = "late"
    elif all(each == -length for each in off):
        mistake = "from_zero"
    elif later and all(each == length for each in later):
        mistake = "twice"
    elif off[0] == 0 and len(later) > 1 and {b - a for a, b in pairwise(later)} == {-1}:
        mistake = "stands_still"
    elif off[0] == 0 and later and all(each in (-1, 1) for each in later):
        mistake = "one_off"
    return rejected(mistake, told) if mistake else Verdict(False, told)


GENERATE_MISTAKES = {
    "no_return": NO_RETURN,
    "input_changed": "The prefix serves every text: what was read belongs behind a copy of it.",
    "shape": "It gives the new tokens alone, (batch, new).",
    "positions_kind": "A position is a whole number: it is how many keys stand before.",
    "late": "The first call is right, and all later ones count as if there were no prefix: each "
            "new word falls back by its length.",
    "from_zero": "That is where the words would stand without a prefix.",
    "twice": "The prefix is counted twice: its length is in what the pairs hold already.",
    "stands_still": "Every new word is given one and the same position.",
    "one_off": "That is one place off. The first position is 0, so a word's position is how many "
               "stand before it.",
    "no_prefix": "The first call reads on from the prefix, and gives back pairs that hold it, and "
                 "the words behind it.",
    "forgets": "What was read is in the pairs that read gives back: the next call needs these.",
    "again": "The words were read again, behind themselves. They are in the pairs already: the "
             "next call reads the new token alone.",
}

GENERATE = Exercise(
    id="prefix.generate", lesson="04", names=("generate",), points=2, minutes=6, difficulty=2,
    reference=f"{HERE}:generate", cases=generate_cases, run=run_generate, judge=judge_generate,
    mistakes=GENERATE_MISTAKES,
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


def run_stepwise(stepwise_holds: Callable, case: dict) -> dict[str, Any]:
    """Put the test on trial, and note in which pieces it reads."""
    right, broken = on_trial(case["seed"])
    ids, pieces = text(case["seed"]), set()

    def put(read):
        def noted(ids, cache=None):
            pieces.add("more" if cache is not None and ids.shape[1] > 1 else
                       "one" if ids.shape[1] == 1 else "whole")
            return read(ids, cache)

        return stepwise_holds(noted, ids.clone())

    answers = outcomes(put, right | broken, case["seed"])
    return {"answers": answers, "pieces": sorted(pieces)}


def judge_stepwise(case: dict, seen) -> Verdict:
    """Judge a test by its outcomes, and name what learners slip on."""
    if odd := strange(seen, "answers", "pieces", answers=dict, pieces=list):
        return odd
    right, broken = on_trial(case["seed"])
    verdict = score(seen["answers"], right, broken)
    if verdict.mistake == "accused":
        wronged = false_positives(seen["answers"], right)
        special = ("exact" if "reads it as it should be" in wronged else "old_cache"
                   if wronged == ["writes into the cache that it is given"] else "accused")
        return rejected(special, verdict.message)
    if verdict.mistake == "let_through":
        missed = survivors(seen["answers"], broken)
        if missed == [EXCHANGED]:
            return rejected("one_number", verdict.message)
        for names, special in SLIPS:
            if names.issuperset(missed):
                return rejected(special, verdict.message)
    return verdict


EXCHANGED = "gives two words each other's logits in later pieces"
SLIPS = (
    ({"lets the words of a later piece read each other",
      "hides the last word before a later piece of two",
      "leaves zeros for all but the last token of a later piece"}, "one_size"),
    ({"gives all words after the second one position",
      "drops what lies more than seven words back",
      "lets the words of a later piece read each other",
      "hides the last word before a later piece of two",
      "leaves zeros for all but the last token of a later piece"}, "too_short"),
)
STEPWISE_MISTAKES = MISTAKES | {
    "exact": "Two ways of adding up the same numbers differ by rounding, about 1e-6: what is "
             "equal to four digits holds.",
    "accused": "What a cache is, the task leaves open: hand on what you were given, and look at "
               "the logits alone.",
    "old_cache": "A cache may be written into, so an old one is used up: go on with the one that "
                 "came back.",
    "one_number": "A sum, a maximum or one word's logit may be equal where the logits are not: "
                  "compare all of them.",
    "one_size": "A token at a time it cannot be told from a right one. In which other pieces can "
                "a text be read?",
    "too_short": "It shows in the third piece, or later: read the text to its end.",
}

STEPWISE = Exercise(
    id="prefix.stepwise", lesson="04", names=("stepwise_holds",), points=3, minutes=9,
    difficulty=2, reference=f"{HERE}:stepwise_holds", cases=lambda seed: [{"seed": seed}],
    run=run_stepwise, judge=judge_stepwise, mistakes=STEPWISE_MISTAKES,
    hints=("What should be equal to what? Read the text once as a whole, and keep the logits.",
           "Then read it anew, from cache None, piece by piece, handing on the cache; torch.cat "
           "puts the logits of the pieces side by side.",
           "Which pieces tell most? Single tokens, and pieces of two or three; and compare every "
           "token's logits, not the last one's alone."),
    arguments=lambda pieces: (read_with(pieces["prefixed"]), text(0)))
