"""Lesson 04, keys and values in front: how many they are, and what a frozen model is given."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ...check.exercise import Exercise, Verdict
from ...check.judge import (
    NO_RETURN,
    close,
    difference,
    named,
    plain,
    recognised,
    rejected,
    report,
    whole,
)
from ...check.observe import as_leaves, loss

HERE = "peft_teach.course.lessons.prefix.front"

# ── prefix.count ─────────────────────────────────────────────────────────────────────────────


def prefix_counts(length: int, layers: int, d_kv: int, d_model: int, hidden: int
                  ) -> tuple[int, int]:
    """Return how many parameters train with the MLP of Li & Liang, and how many are kept.

    Arguments are the prefix's length, the layers, the width of a key, the width of the model, and
    that of the MLP's hidden layer. Li & Liang 2021, arXiv 2101.00190, §4.3.
    """
    made = 2 * layers * d_kv                       # by the MLP, for each vector of E
    trained = length * d_model + (d_model * hidden + hidden) + (hidden * made + made)
    return trained, length * made


def count_cases(seed: int) -> list[dict]:
    """Sizes: small, MiniLM, BERT-base, SmolLM2, where keys are narrower, and a drawn one."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(3, 90, (5,), generator=generator).tolist()
    sizes = [(2, 3, 5, 7, 11), (20, 6, 384, 384, 512), (20, 12, 768, 768, 768),
             (10, 30, 192, 576, 512), drawn]
    return [dict(zip(("length", "layers", "d_kv", "d_model", "hidden"), each)) for each in sizes]


def run_count(prefix_counts: Callable, case: dict) -> dict[str, Any]:
    return {"found": prefix_counts(*case.values())}


def judge_count(case: dict, seen: dict) -> Verdict:
    found, (trained, kept) = seen["found"], prefix_counts(**case)
    if found is None:
        return rejected("no_return")
    numbers = tuple(whole(plain(each)) for each in found) if isinstance(
        found, tuple | list) else ()
    if numbers == (trained, kept):
        return Verdict(True)
    told = (f"prefix_counts({', '.join(map(str, case.values()))}) gave "
            f"{found if numbers else named(found)}; expected two whole numbers, "
            f"{(trained, kept)}.")
    made = 2 * case["layers"] * case["d_kv"]
    usual = {"values_missing": (trained - (case["hidden"] + 1) * made // 2, kept // 2),
             "no_biases": (trained - case["hidden"] - made, kept), "all_kept": (trained, trained)}
    mistake = next((name for name, slip in usual.items() if numbers == slip), None)
    return Verdict(False, told, mistake or ("trained" if numbers[1:] == (kept,) else None))


COUNT_MISTAKES = {
    "no_return": NO_RETURN,
    "values_missing": "Each vector makes a key and a value.",
    "no_biases": "Both linear layers of the MLP have a bias, as wide as what they give.",
    "all_kept": "After training, keys and values are all that is needed: neither E nor the MLP.",
    "trained": "What is kept is right. What trains is E and the MLP: write down the shapes of its "
               "two linear layers.",
}

COUNT = Exercise(
    id="prefix.count", lesson="04", names=("prefix_counts",), points=1, minutes=4, difficulty=1,
    cases=count_cases, run=run_count, judge=judge_count,
    returns=report(found=Any), mistakes=COUNT_MISTAKES,
    hints=("Begin with what is kept: one vector of the prefix, one layer. How many entries?",
           "The MLP gives, for one vector of E, all that this vector is in all layers. So how wide "
           "is its last layer?",
           "A linear layer from n to m has n · m + m parameters, lesson 00's count. E is a table "
           "besides."))

# ── prefix.front ─────────────────────────────────────────────────────────────────────────────


def prefixed(K: Tensor, V: Tensor, mask: Tensor, heads: int
             ) -> tuple[list[tuple[Tensor, Tensor]], Tensor, Tensor]:
    """Return what a frozen model is given besides its words: pairs, a mask, positions.

    K, V (layers, length, heads · width); mask (batch, seq), 1 for words, 0 for padding, on either
    side. A pair for each layer: keys and values (batch, heads, length, width). The mask is (batch,
    length + seq), the positions (batch, seq).
    """
    batch, length = len(mask), K.shape[1]

    def by_head(x: Tensor) -> Tensor:
        """(length, heads · width) to (batch, heads, length, width)"""
        return x.unflatten(-1, (heads, -1)).transpose(0, 1).expand(batch, -1, -1, -1)

    pairs = [(by_head(k), by_head(v)) for k, v in zip(K, V)]
    wide = torch.cat([mask.new_ones(batch, length), mask], 1)
    return pairs, wide, length + mask.long().cumsum(1) - 1


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
    "no_return": NO_RETURN,
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
    id="prefix.front", lesson="04", names=("prefixed",), points=3, minutes=10, difficulty=3,
    cases=front_cases, run=run_front, judge=judge_front,
    returns=report(found=Any, intact=bool, trains=bool), mistakes=FRONT_MISTAKES,
    hints=("One layer, one sentence first: a row of K is a vector for all heads, side by side. "
           "Lesson 00 cut queries in the same way.",
           "For the positions: with a mask of 0 0 1 1 1 the words are the third to the fifth "
           "token, and the first to the third word. Which function of a tensor counts up?",
           "`expand` gives every sentence of a batch the same entries without a copy, and a "
           "gradient comes back through it."))
