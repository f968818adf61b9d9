"""The exercises of lesson 03: the place that is read, the start by labels, the nearest words.

`front` has the soft prompt and its law."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...checks.exercise import Exercise, Verdict
from ...checks.judge import NO_RETURN, close, difference, named, recognised, rejected, report
from ...checks.operations import Spy
from ...checks.stand_ins import Output, ScaledEmbedding
from .front import FRONT, HOLDS

# ── prompt.start ─────────────────────────────────────────────────────────────────────────────────

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
            return Verdict(False, told, _start_slip(found[i], answer, case, vectors))
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


def _start_slip(found: Tensor, answer: str, case: dict, vectors: Tensor) -> str | None:
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
    "no_return": NO_RETURN,
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
    id="prompt.places", lesson="03", names=("first_and_last",), points=2, minutes=8, difficulty=2,
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
    "no_return": NO_RETURN,
    "angle": "That is the token of the most similar direction. A distance counts the length, too.",
    "product": "That is the token of the largest scalar product: long vectors win there, however "
               "far away they are.",
    "other_way": "It goes the other way round: t = 0 leaves P as it is.",
    "too_large": "In the lesson's model that would be a gigabyte. |p − e|² = |p|² − 2 p·e + |e|² "
                 "needs no difference of vectors; torch has a function for it, too.",
}

SNAP = Exercise(
    id="prompt.snap", lesson="03", names=("snap",), points=2, minutes=7, difficulty=2,
    cases=snap_cases, run=run_snap, judge=judge_snap, mistakes=SNAP_MISTAKES,
    returns=report(found=Any, largest=int, intact=bool),
    hints=("A table of distances has a row for each vector and an entry in it for each token: how "
           "large is that here, and how large if all differences are kept?",
           "Write |p − e|² out. Which of its three terms decides nothing about which token is "
           "the nearest?",
           "At t the vector is a mixture of P and the token, and the two shares add up to 1."))

EXERCISES = (FRONT, HOLDS, PLACES, START, SNAP)
