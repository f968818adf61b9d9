"""The exercises of lesson 04: keys and values in front, `generate`, a law of steps; `mixture`."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ...checks.exercise import Exercise, Verdict
from ...checks.judge import (
    close,
    difference,
    named,
    recognised,
    rejected,
    report,
)
from ...checks.mutants import Law
from ...checks.observe import as_leaves, loss
from ...checks.stand_ins import Pairs, TinyDecoder, drawn_pairs, held_in
from .mixture import GATE, SHARE
from .mutants import BROKEN, RIGHT, put, read_with, text

# ── prefix.front ─────────────────────────────────────────────────────────────────────────────


def prefixed(K: Tensor, V: Tensor, mask: Tensor, heads: int
             ) -> tuple[list[tuple[Tensor, Tensor]], Tensor, Tensor]:
    """Return what a frozen model is given besides its words: pairs, a mask, positions.

    K, V (layers, length, heads · width); mask (batch, seq), 1 for words, 0 for padding, on either
    side. A pair for each layer: keys and values (batch, heads, length, width). The mask is (batch,
    length + seq), the positions (batch, seq).
    """
    batch, length = len(mask), K.shape[1]
    layers = zip(*(torch.stack(x.chunk(heads, -1), 1) for x in (K, V)))    # (heads, length, width)
    pairs = [(k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in layers]
    wide = nn.functional.pad(mask, (length, 0), value=1)
    return pairs, wide, wide.long().cumsum(1)[:, length:] - 1


def front_cases(seed: int) -> list[dict]:
    """Sizes; the smallest first, then MiniLM padded on the right, SmolLM2 on the left."""
    sizes = ({"batch": 1, "seq": 3, "layers": 1, "heads": 2, "width": 3, "length": 2, "pad": 0},
             {"batch": 2, "seq": 4, "layers": 2, "heads": 4, "width": 5, "length": 1, "pad": -3},
             {"batch": 2, "seq": 5, "layers": 6, "heads": 12, "width": 32, "length": 20, "pad": 2},
             {"batch": 3, "seq": 6, "layers": 4, "heads": 3, "width": 64, "length": 7, "pad": -2})
    return [{**size, "seed": 10 * seed + i} for i, size in enumerate(sizes)]


def front_inputs(case: dict) -> dict[str, Tensor]:
    """Make K, V and the mask; `pad` tokens of the first sentence are padding, < 0 on the left."""
    generator = torch.Generator().manual_seed(4000 + case["seed"])
    shape = (case["layers"], case["length"], case["heads"] * case["width"])
    mask = torch.ones(case["batch"], case["seq"], dtype=torch.long)
    if case["pad"] > 0:
        mask[0, -case["pad"]:] = 0
    elif case["pad"] < 0:
        mask[0, :-case["pad"]] = 0
        mask[-1, :1] = 0
    return {"K": torch.randn(shape, generator=generator),
            "V": torch.randn(shape, generator=generator), "mask": mask}


def run_front(prefixed: Callable, case: dict) -> dict[str, Any]:
    """Call it; what it gave, and whether a gradient of the pairs comes back to all of K and V."""
    given = front_inputs(case)
    leaves = as_leaves(given)
    handed = {name: leaf.clone() for name, leaf in leaves.items()}
    found = prefixed(*handed.values(), case["heads"])
    if isinstance(found, tuple | list) and len(found) == 3 and isinstance(found[0], Iterable):
        pairs = [[*pair] for pair in found[0] if isinstance(pair, Iterable)]    # a zip's, too
        found = (pairs, *found[1:])
        trained = [x for pair in pairs for x in pair if isinstance(x, Tensor) and x.requires_grad]
        if trained:
            sum(map(loss, trained)).backward()
    return {"found": found, "intact": torch.equal(handed["mask"], given["mask"]),
            "trains": all(p.grad is not None and bool(p.grad.all())
                          for p in (leaves["K"], leaves["V"]))}


def judge_front(case: dict, seen: dict) -> Verdict:
    found, given = seen["found"], front_inputs(case)
    if found is None:
        return rejected("no_return")
    if not isinstance(found, tuple | list) or len(found) != 3:
        return Verdict(False, f"It gave {named(found)}; expected three things: the pairs, the "
                              "wider mask, the positions.")
    if not seen["intact"]:
        return Verdict(False, "Afterwards the mask is not what it was.")
    right = prefixed(**given, heads=case["heads"])
    return (_pairs_are_right(case, found[0], right[0]) or (
        None if seen["trains"] else rejected("no_gradient", "No gradient finds its way back from "
                                             "the pairs to every entry of K and V."))
            or _mask_is_right(case, found[1], right[1])
            or _positions_are_right(case, found[2], right[2]) or Verdict(True))


def _pairs_are_right(case: dict, pairs: Any, right: list) -> Verdict | None:
    given, heads, batch = front_inputs(case), case["heads"], case["batch"]
    told = f"With K of shape {tuple(given['K'].shape)}, {heads} heads and a batch of {batch}:"
    if not isinstance(pairs, list) or [len(pair) for pair in pairs] != [2] * len(right):
        return Verdict(False, f"{told} the pairs are not keys and values for each layer.")
    for layer, both in enumerate(zip(pairs, right)):
        for i, (found, wanted) in enumerate(zip(*both)):
            if not close(found, wanted):
                mixed = given["KV"[i]][layer].reshape(wanted.shape[1:]).expand_as(wanted)
                return Verdict(False, f"{told} {difference(f'pairs[{layer}][{i}]', found, wanted)}",
                               "heads_mixed" if close(found, mixed) else None)
    return None


def _mask_is_right(case: dict, wide: Any, right: Tensor) -> Verdict | None:
    mask, is_tensor = front_inputs(case)["mask"], isinstance(wide, Tensor)
    if is_tensor and torch.equal(wide.float(), right.float()):
        return None
    return Verdict(False, f"With a prefix of {case['length']}, the mask {mask.tolist()} becomes "
                          f"{wide.tolist() if is_tensor else named(wide)}; expected "
                          f"{right.tolist()}.",
                   "mask_short" if is_tensor and wide.shape == mask.shape else None)


def _positions_are_right(case: dict, positions: Any, right: Tensor) -> Verdict | None:
    mask, length = front_inputs(case)["mask"], case["length"]
    if not isinstance(positions, Tensor) or positions.shape != mask.shape or (
            positions.dtype not in (torch.int32, torch.int64)):
        kind = f" of {positions.dtype}" if isinstance(positions, Tensor) else ""
        return Verdict(False, f"The positions are {named(positions)}{kind}; expected whole numbers "
                              f"(int64 or int32), {tuple(mask.shape)}.")
    words = mask.bool()
    for row, found, wanted in zip(words, positions, right):
        if not torch.equal(found[row], wanted[row]):
            usual = {"from_zero": right - length, "padding_counted": length + torch.arange(
                mask.shape[1]).expand(mask.shape)}
            return Verdict(
                False, f"With a prefix of {length} and the mask {row.long().tolist()} of a "
                       f"sentence, the words' positions are {found[row].tolist()}; expected "
                       f"{wanted[row].tolist()}.",
                recognised(usual, lambda slip: torch.equal(positions[words], slip[words])))
    if not ((positions >= 0) & (positions < length + mask.shape[1])).all():
        return Verdict(False, f"The padding has the positions {positions[~words].tolist()}; any "
                              "from 0 to length + seq − 1 will do, others are in no table.")
    return None


FRONT_MISTAKES = {
    "heads_mixed": "A view as (heads, length, width) gives a head whole vectors, not its part of "
                   "each: cut the last axis, then move the heads to the front.",
    "no_gradient": "K and V are to be trained: no detach, no new tensor made of their values.",
    "mask_short": "The mask must say of the prefix, too, that it may be read: it is longer than "
                  "the words.",
    "from_zero": "Those are the positions without a prefix. It takes the first ones.",
    "padding_counted": "Padding on the left was counted: a padded sentence would be read at other "
                       "positions than alone. What counts how many *words* stand before?",
}

FRONT = Exercise(
    id="prefix.front", names=("prefixed",), points=3, minutes=12, difficulty=3,
    cases=front_cases, run=run_front, judge=judge_front,
    returns=report(found=Any, intact=bool, trains=bool), mistakes=FRONT_MISTAKES,
    hints=("One layer, one sentence first: a row of K is a vector for all heads, side by side. "
           "Lesson 00 cut queries in the same way.",
           "For the positions: with a mask of 0 0 1 1 1 the words are the third to the fifth "
           "token, and the first to the third word. Which function of a tensor counts up?",
           "`expand` gives every sentence of a batch the same entries without a copy, and a "
           "gradient comes back through it."))


# ── prefix.generate ──────────────────────────────────────────────────────────────────────────


def generate(read: Callable, pairs: Pairs, ids: Tensor, new: int) -> Tensor:
    """Continue ids (batch, tokens) by `new` tokens, each the likeliest: (batch, new).

    `read(ids, positions, pairs)` gives logits. Here it reads the whole text for each token, and
    keeps nothing of it.
    """
    text, held = ids, held_in(pairs)
    for _ in range(new):
        logits, _ = read(text, torch.arange(held, held + text.shape[1]), pairs)
        text = torch.cat([text, logits[:, -1:].argmax(-1)], 1)
    return text[:, ids.shape[1]:]


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
    "late": "The first call is right, and all later ones count as if there were no prefix: each "
            "new word falls back by its length.",
    "from_zero": "That is where the words would stand without a prefix.",
    "twice": "The prefix is counted twice: its length is in what the pairs hold already.",
    "forgets": "What was read is in the pairs that read gives back: the next call needs these.",
}

GENERATE = Exercise(
    id="prefix.generate", names=("generate",), points=1, minutes=8, difficulty=2,
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


LAW = Law(RIGHT, BROKEN, put)
STEPWISE = Exercise(
    id="prefix.stepwise", names=("stepwise_holds",), points=3, minutes=12,
    difficulty=2, optional=True, **LAW.fields,
    hints=("What should be equal to what? Read the text once as a whole, and keep the logits.",
           "Then read it anew, from cache None, piece by piece, handing on the cache; torch.cat "
           "puts the logits of the pieces side by side.",
           "Which pieces tell most? Single tokens, and pieces of two or three; and compare every "
           "token's logits, not the last one's alone."),
    arguments=lambda pieces: (read_with(pieces["prefixed"]), text()))


EXERCISES = (FRONT, GENERATE, STEPWISE, SHARE, GATE)
