"""The exercises of lesson 03: the place that is read, and the nearest words.

`front` has the soft prompt and its law."""

from typing import Any

import torch
from torch import Tensor

from ...checks.exercise import Exercise, Verdict
from ...checks.judge import close, difference, named, recognised, rejected, report
from ...checks.observe import Spy
from .front import FRONT, HOLDS


def _pair(found: Any) -> Verdict | None:
    """What is said of anything but two things."""
    if found is None:
        return rejected("no_return")
    if not isinstance(found, tuple | list) or len(found) != 2:
        return Verdict(False, f"It gave {named(found)}; expected two things.")
    return None


# ── prompt.places ────────────────────────────────────────────────────────────────────────────


def first_and_last(h: Tensor, attention_mask: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return the hidden states of the first and of the last real token of each text, one by one.

    h is (batch, length + seq, d), the prompt's places in front; attention_mask (batch, seq) is the
    text's alone. Both results are (batch, d).
    """
    real = [states[length:][mask.bool()] for states, mask in zip(h, attention_mask)]
    return torch.stack([text[0] for text in real]), torch.stack([text[-1] for text in real])


def places_cases(seed: int) -> list[dict]:
    """Return hidden states, every entry another one, and masks that are padded on either side."""
    generator = torch.Generator().manual_seed(8200 + seed)
    cases = []
    for length, batch, seq, side, last_is_whole in (
            (3, 4, 8, "right", False), (6, 4, 9, "left", False), (5, 3, 7, "none", True),
            (2, 4, 10, "left", True)):    # no single row says on which side the padding is
        mask = torch.ones(batch, seq, dtype=torch.long)
        for i in range(1, batch):    # by 2 tokens and more: in no row do two mistakes meet
            if side != "none":
                mask[i, seq - i - 1:] = 0
        if side == "left":
            mask = mask.flip(0, 1) if last_is_whole else mask.flip(1)
        cases.append({"h": torch.randn(batch, length + seq, 6, generator=generator),
                      "attention_mask": mask, "length": length, "side": side})
    return cases


def run_places(first_and_last, case: dict) -> dict[str, Any]:
    leaf, mask = case["h"].clone().requires_grad_(), case["attention_mask"].clone()
    h = leaf.clone()
    found = first_and_last(h, mask, case["length"])
    grads = [torch.autograd.grad(x.sum(), leaf, retain_graph=True)[0] if isinstance(
        x, Tensor) and x.requires_grad else None for x in (() if _pair(found) else found)]
    return {"found": found, "grads": grads,
            "intact": torch.equal(h, case["h"]) and torch.equal(mask, case["attention_mask"])}


def judge_places(case: dict, seen: dict) -> Verdict:
    if verdict := _pair(seen["found"]):
        return verdict
    if not seen["intact"]:
        return Verdict(False, "Afterwards h or the mask is not what it was.")
    h, mask, length = case["h"], case["attention_mask"], case["length"]
    with torch.enable_grad():
        right = run_places(first_and_last, case)
    told = f"{length} vectors in front of {mask.shape[1]} tokens, padding: {case['side']}. The"
    for name, found, value in zip(("first", "last"), seen["found"], right["found"]):
        if close(found, value, 1e-4):
            continue
        told = f"{told} {name} of each text"
        if not isinstance(found, Tensor) or found.shape != value.shape:
            return Verdict(False, difference(told, found, value))
        row = next(i for i in range(len(h)) if not close(found[i], value[i], 1e-4))
        here = (h[row] - found[row]).abs().sum(-1)
        place, wanted = int(here.argmin()), int((h[row] - value[row]).abs().sum(-1).argmin())
        if here[place] > 1e-4:
            return Verdict(False, f"{told}: in text {row} it is the state of no place.")
        told = f"{told}: in text {row} it was read at place {place}; expected place {wanted}."
        return Verdict(False, told, _slip(name, place, wanted, case, row))
    if not all(map(close, seen["grads"], right["grads"])):
        return rejected("no_gradient", f"{told} states lead no gradient, or a wrong one, to h.")
    return Verdict(True, "At P's end plus the text's own place, on whichever side the padding is.")


def _slip(name: str, place: int, wanted: int, case: dict, row: int) -> str | None:
    """Name the slip by the place that was read: each leads to another one."""
    length, mask = case["length"], case["attention_mask"][row]
    if place == 0:
        return "first_vector"
    if place == wanted - length:
        return "not_moved"
    if place >= length and not mask[place - length]:
        return "padding_first" if name == "first" else "padding_last"
    return "counted" if place == length + int(mask.sum()) - 1 else None


PLACES_MISTAKES = {
    "first_vector": "That is the place of a vector of P. The text begins behind all of them.",
    "not_moved": "The place was counted in the text alone. In h the text begins at `length`.",
    "padding_first": "That place is padding: on the left, a text begins where its mask does.",
    "padding_last": "That place is padding. The last place is a text's own only where no text of "
                    "the batch is longer.",
    "no_gradient": "A head that reads these states trains the prompt through them: no .detach() "
                   "and no .data.",
    "counted": "How many tokens are real says where the last one is only if the padding is on the "
               "right.",
}

PLACES = Exercise(
    id="prompt.places", names=("first_and_last",), points=2, minutes=8, difficulty=2,
    optional=True,
    cases=places_cases, run=run_places, judge=judge_places, mistakes=PLACES_MISTAKES,
    returns=report(found=Any, grads=list[Tensor | None], intact=bool),
    hints=("Draw two rows of a batch, padded on the right and on the left, with two vectors in "
           "front. Which numbers of places do you want?",
           "The mask is the text's alone. Where is its first 1, and where its last? Where is "
           "either in h?",
           "argmax of a row of 0 and 1 gives the place of the first 1; flip gives a row from its "
           "end. A row of h is picked with two indices: which text, and which place."))


# ── prompt.snap ──────────────────────────────────────────────────────────────────────────────


def snap_cases(seed: int) -> list[dict]:
    """Return vectors and a table in which the nearest, the most alike and the largest differ."""
    generator = torch.Generator().manual_seed(8600 + seed)
    cases = []
    for length, vocabulary, d, t in ((4, 300, 8, 1.0), (3, 50, 6, 0.25), (10, 3000, 64, 0.5)):
        E = torch.randn(vocabulary, d, generator=generator)
        E *= 0.3 + 2 * torch.rand(vocabulary, 1, generator=generator)     # of different lengths
        P = E[torch.randperm(vocabulary, generator=generator)[:length]] * 1.3
        P = P + 0.2 * torch.randn(length, d, generator=generator)
        P[0] = 0.1 * torch.randn(d, generator=generator)                  # near the shortest token
        cases.append({"P": P, "E": E, "t": t})
    return cases


def run_snap(snap, case: dict) -> dict[str, Any]:
    P, E = case["P"].clone(), case["E"].clone()
    with Spy() as spy:
        found = snap(P, E, case["t"])
    return {"found": found, "largest": spy.largest,
            "intact": torch.equal(P, case["P"]) and torch.equal(E, case["E"])}


def _tokens(value: Any) -> Tensor | None:
    """Whole numbers as a tensor of them; None for all else."""
    try:
        ids = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return None if ids.is_floating_point() or ids.dtype == torch.bool else ids


def judge_snap(case: dict, seen: dict) -> Verdict:
    if verdict := _pair(seen["found"]):
        return verdict
    if not seen["intact"]:
        return Verdict(False, "Afterwards P or E is not what it was before.")
    (given, moved), (P, E, t) = seen["found"], (case["P"], case["E"], case["t"])
    size, ids = f"{len(P)} vectors, {len(E):,} tokens, t = {t:g}:", _tokens(given)
    if ids is None or ids.shape != P.shape[:1]:
        return Verdict(False, f"{size} the first of the two is {named(given)}; expected a whole "
                              "number for each vector.")
    distances = torch.cdist(P, E, compute_mode="donot_use_mm_for_euclid_dist")
    right = distances.argmin(1)
    if not torch.equal(ids, right):
        i = int((ids != right).nonzero()[0])
        there = f", {distances[i, ids[i]]:.2f} away" if 0 <= ids[i] < len(E) else ""
        told = (f"{size} for vector {i} it took token {ids[i]}{there}; expected {right[i]}, "
                f"{distances[i, right[i]]:.2f} away.")
        cosine = (P / P.norm(dim=1, keepdim=True)) @ (E / E.norm(dim=1, keepdim=True)).T
        return Verdict(False, told, recognised({"angle": cosine, "product": P @ E.T},
                                               lambda scores: ids.equal(scores.argmax(1))))
    wanted = (1 - t) * P + t * E[right]
    if not close(moved, wanted, 1e-4):
        told = f"{size} the tokens are right. {difference('What was moved', moved, wanted)}"
        return Verdict(False, told, recognised({"other_way": t * P + (1 - t) * E[right]},
                                               lambda value: close(moved, value, 1e-4)))
    if seen["largest"] > max(E.numel(), len(P) * len(E)):
        return rejected("too_large", f"{size} a tensor of {seen['largest']:,} entries was made, "
                                     f"where E has {E.numel():,}.")
    return Verdict(True, "The nearest by distance, and a straight way there.")


SNAP_MISTAKES = {
    "angle": "That is the token of the most similar direction. A distance counts the length, too.",
    "product": "That is the token of the largest scalar product: long vectors win there, however "
               "far away they are.",
    "other_way": "It goes the other way round: t = 0 leaves P as it is.",
    "too_large": "In the lesson's model that would be a gigabyte. |p − e|² = |p|² − 2 p·e + |e|² "
                 "needs no difference of vectors; torch has a function for it, too.",
}

SNAP = Exercise(
    id="prompt.snap", names=("snap",), points=2, minutes=7, difficulty=2,
    cases=snap_cases, run=run_snap, judge=judge_snap, mistakes=SNAP_MISTAKES,
    returns=report(found=Any, largest=int, intact=bool),
    hints=("A table of distances has a row for each vector and an entry in it for each token: how "
           "large is that here, and how large if all differences are kept?",
           "Write |p − e|² out. Which of its three terms decides nothing about which token is "
           "the nearest?",
           "At t the vector is a mixture of P and the token, and the two shares add up to 1."))

EXERCISES = (FRONT, HOLDS, PLACES, SNAP)
