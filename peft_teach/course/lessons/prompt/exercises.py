"""The exercises of lesson 03; here the place that is read, and the nearest words.

`front` has the soft prompt and its law, `starts` the start by labels.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, close, named, rejected, strange
from .front import FRONT, HOLDS
from .starts import START

_close = partial(close, tolerance=1e-4)


def _copied(value: Any) -> Any:
    """A tensor as it is now; of anything else, what it is."""
    return value.detach().clone() if isinstance(value, Tensor) else named(value)


# ── prompt.places ────────────────────────────────────────────────────────────────────────────


def first_and_last(h: Tensor, attention_mask: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return the hidden states of the first and of the last real token of each text.

    h is (batch, length + seq, d), the prompt's places in front; attention_mask (batch, seq) is the
    text's alone. Both results are (batch, d).
    """
    rows, mask = torch.arange(len(h)), attention_mask.bool()
    first = mask.int().argmax(1)                                          # (batch,)
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)               # (batch,)
    return h[rows, length + first], h[rows, length + last]


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
    pair = isinstance(found, tuple | list) and len(found) == 2
    slopes = [torch.autograd.grad(x.sum(), leaf, retain_graph=True)[0] if isinstance(
        x, Tensor) and x.requires_grad else torch.zeros_like(leaf) for x in (
            found if pair else ())]
    return {"gave": named(found), "pair": pair,
            "first": _copied(found[0]) if pair else "nothing",
            "last": _copied(found[1]) if pair else "nothing", "slopes": slopes,
            "intact": torch.equal(h, case["h"]) and torch.equal(mask, case["attention_mask"])}


def judge_places(case: dict, seen) -> Verdict:
    if odd := strange(seen, "gave", "pair", "first", "last", "slopes", "intact", gave=str,
                      pair=bool, first=(Tensor, str), last=(Tensor, str), slopes=list,
                      intact=bool):
        return odd
    if seen["gave"] == "None":
        return rejected("no_return")
    if not seen["pair"]:
        return rejected("no_pair", f"It gave {seen['gave']}.")
    h, mask, length = case["h"], case["attention_mask"], case["length"]
    if not seen["intact"]:
        return rejected("inputs_changed", "Afterwards h or the mask is not what it was.")
    right = dict(zip(("first", "last"), first_and_last(h, mask, length)))
    for name, value in right.items():
        found = seen[name]
        if _close(found, value):
            continue
        told = (f"{length} vectors in front of {mask.shape[1]} tokens, padding: {case['side']}. "
                f"The {name} of each text")
        if not isinstance(found, Tensor) or found.shape != value.shape:
            what = found if isinstance(found, str) else f"of shape {tuple(found.shape)}"
            return rejected("shape", f"{told} is {what}; expected {tuple(value.shape)}.")
        row = next(i for i in range(len(h)) if not _close(found[i], value[i]))
        here = (h[row] - found[row]).abs().sum(-1)
        place = int(here.argmin())
        wanted = int((h[row] - value[row]).abs().sum(-1).argmin())
        if here[place] > 1e-4:
            return Verdict(False, f"{told}: in text {row} it is the state of no place.")
        told = f"{told}: in text {row} it was read at place {place}; expected place {wanted}."
        return Verdict(False, told, _slip(name, place, wanted, case, row))
    with torch.enable_grad():
        leaf = h.clone().requires_grad_()
        for name, state, slope in zip(right, first_and_last(leaf, mask, length), seen["slopes"]):
            if not close(slope, torch.autograd.grad(state.sum(), leaf, retain_graph=True)[0]):
                return rejected("no_gradient", f"No gradient goes from the {name} states to h.")
    return Verdict(True, "At P's end plus the text's own place, on whichever side the padding is.")


def _slip(name: str, place: int, wanted: int, case: dict, row: int) -> str | None:
    """Name the slip by the place that was read: each leads to another one."""
    length, mask = case["length"], case["attention_mask"][row]
    if name == "first" and place == 0:
        return "first_vector"
    if place == wanted - length:
        return "not_moved"
    if place >= length and not mask[place - length]:
        return "padding_first" if name == "first" else "padding_last"
    if name == "last" and place == length + int(mask.sum()) - 1:
        return "counted"
    return "one_off" if abs(place - wanted) == 1 else None


PLACES_MISTAKES = {
    "no_return": NO_RETURN,
    "no_pair": "Two things come back: the first of each text, and the last.",
    "shape": "Each is (batch, d): one hidden state for each text.",
    "inputs_changed": "What was given was changed: make new tensors.",
    "first_vector": "That is the place of a vector of P. The text begins behind all of them.",
    "not_moved": "The place was counted in the text alone. In h the text begins at `length`.",
    "padding_first": "That place is padding: on the left, a text begins where its mask does.",
    "padding_last": "That place is padding. The last place is a text's own only where no text of "
                    "the batch is longer.",
    "one_off": "One place off.",
    "no_gradient": "A head that reads these states trains the prompt through them: no .detach() "
                   "and no .data.",
    "counted": "How many tokens are real says where the last one is only if the padding is on the "
               "right.",
}

PLACES = Exercise(
    id="prompt.places", lesson="03", names=("first_and_last",), points=2, minutes=8, difficulty=2,
    reference="peft_teach.course.lessons.prompt.exercises:first_and_last",
    cases=places_cases, run=run_places, judge=judge_places, mistakes=PLACES_MISTAKES,
    hints=("Draw two rows of a batch, padded on the right and on the left, with two vectors in "
           "front. Which numbers of places do you want?",
           "The mask is the text's alone. Where is its first 1, and where its last? Where is "
           "either in h?",
           "argmax of a row of 0 and 1 gives the place of the first 1; flip gives a row from its "
           "end. A row of h is picked with two indices: which text, and which place."))


# ── prompt.snap ──────────────────────────────────────────────────────────────────────────────


def snap(P: Tensor, E: Tensor, t: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the token nearest to each vector of P, (length,), and P moved by t on its way there.

    Distances are Euclidean. E is (vocabulary, d); t = 0 leaves P, t = 1 gives the tokens' vectors.
    """
    squares = E.square().sum(1) - 2 * P @ E.T         # (length, vocabulary), but for |p|²
    ids = squares.argmin(1)
    return ids, (1 - t) * P + t * E[ids]


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
    with _Largest() as watched:
        found = snap(P, E, case["t"])
    pair = isinstance(found, tuple | list) and len(found) == 2
    ids = found[0] if pair else None
    gave = named(ids)
    if isinstance(ids, list | tuple):    # of tensors of one number each, too
        ids = [i.item() if isinstance(i, Tensor) and not i.dim() else i for i in ids]
    if isinstance(ids, Tensor) and not ids.is_floating_point() and ids.dtype != torch.bool:
        ids = ids.tolist()
    whole = isinstance(ids, list | tuple) and all(type(i) is int for i in ids)
    return {"gave": named(found), "pair": pair, "ids": list(ids) if whole else [],
            "what": gave, "whole": whole,
            "moved": _copied(found[1]) if pair else "nothing", "largest": watched.largest,
            "intact": torch.equal(P, case["P"]) and torch.equal(E, case["E"])}


class _Largest(TorchDispatchMode):
    """How many entries the largest tensor has that torch makes meanwhile."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and not out._is_view():
            self.largest = max(self.largest, out.numel())
        return out


def judge_snap(case: dict, seen) -> Verdict:
    if odd := strange(seen, "gave", "pair", "ids", "what", "whole", "moved", "largest", "intact",
                      gave=str, pair=bool, ids=list, what=str, whole=bool, moved=(Tensor, str),
                      largest=int, intact=bool):
        return odd
    if seen["gave"] == "None":
        return rejected("no_return")
    if not seen["pair"]:
        return rejected("no_pair", f"It gave {seen['gave']}.")
    P, E, t = case["P"], case["E"], case["t"]
    size = f"{len(P)} vectors, {len(E):,} tokens, t = {t:g}:"
    if not seen["whole"]:
        return rejected("ids", f"{size} the first of the two is {seen['what']}.")
    if not seen["intact"]:
        return rejected("inputs_changed", "Afterwards P or E is not what it was before.")
    ids, moved = seen["ids"], seen["moved"]
    distances = torch.cdist(P, E, compute_mode="donot_use_mm_for_euclid_dist")
    right = distances.argmin(1).tolist()
    if ids != right:
        told = f"{size} the tokens {ids[:4]}; expected {right[:4]}."
        if len(ids) == len(right):
            i = next(i for i in range(len(ids)) if ids[i] != right[i])
            if 0 <= ids[i] < len(E):
                told = (f"{size} for vector {i} it took token {ids[i]}, which is "
                        f"{distances[i, ids[i]]:.2f} away; token {right[i]} is "
                        f"{distances[i, right[i]]:.2f} away.")
        cosine = (P / P.norm(dim=1, keepdim=True)) @ (E / E.norm(dim=1, keepdim=True)).T
        usual = {"angle": cosine, "product": P @ E.T, "farthest": distances}
        return Verdict(False, told, next((name for name, value in usual.items()
                                          if ids == value.argmax(1).tolist()), None))
    wanted = (1 - t) * P + t * E[right]
    if not _close(moved, wanted):
        if not isinstance(moved, Tensor) or moved.shape != P.shape:
            what = moved if isinstance(moved, str) else named(moved)
            return rejected("shape", f"{size} the second of the two is {what}.")
        usual = {"other_way": t * P + (1 - t) * E[right], "all_the_way": E[right],
                 "added": P + t * E[right]}
        return Verdict(False, f"{size} the tokens are right, and what was moved is not.",
                       next((name for name, value in usual.items() if _close(moved, value)), None))
    bound = max(E.numel(), len(P) * len(E))
    if seen["largest"] > bound:
        return rejected("too_large", f"{size} a tensor of {seen['largest']:,} entries was made, "
                                     f"where E has {E.numel():,}.")
    return Verdict(True, "The nearest by distance, and a straight way there.")


SNAP_MISTAKES = {
    "no_return": NO_RETURN,
    "no_pair": "Two things come back: the tokens, and the moved vectors.",
    "ids": "The tokens are whole numbers, one for each vector: a tensor of them, or a list.",
    "inputs_changed": "What was given was changed: make new tensors.",
    "angle": "That is the token of the most similar direction. A distance counts the length, too.",
    "product": "That is the token of the largest scalar product: long vectors win there, however "
               "far away they are.",
    "farthest": "That is the token that is farthest away.",
    "shape": "What was moved has the shape of P.",
    "other_way": "It goes the other way round: t = 0 leaves P as it is.",
    "all_the_way": "That is the end of the way, whatever t is.",
    "added": "t times the token was added to P. On the way from one to the other, the first "
             "becomes less.",
    "too_large": "In the lesson's model that would be a gigabyte. |p − e|² = |p|² − 2 p·e + |e|² "
                 "needs no difference of vectors; torch has a function for it, too.",
}

SNAP = Exercise(
    id="prompt.snap", lesson="03", names=("snap",), points=2, minutes=7, difficulty=2,
    reference="peft_teach.course.lessons.prompt.exercises:snap",
    cases=snap_cases, run=run_snap, judge=judge_snap, mistakes=SNAP_MISTAKES,
    hints=("A table of distances has a row for each vector and an entry in it for each token: how "
           "large is that here, and how large if all differences are kept?",
           "Write |p − e|² out. Which of its three terms decides nothing about which token is "
           "the nearest?",
           "At t the vector is a mixture of P and the token, and the two shares add up to 1."))

EXERCISES = (FRONT, HOLDS, PLACES, START, SNAP)
