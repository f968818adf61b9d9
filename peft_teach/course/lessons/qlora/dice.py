"""The exercise of lesson 08 on chance: each weight to one of its two levels, right on average."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ....nf4 import LEVELS
from ...checks.exercise import Exercise, Verdict
from ...checks.judge import changed, difference, recognised, rejected, report
from ...checks.observe import detached
from . import four_bits

# ── qlora.dice ───────────────────────────────────────────────────────────────────────────────

FAR = 6             # standard errors
TENTHS = torch.tensor([1e-5, *(k / 10 for k in range(1, 10)), 1 - 1e-5])    # and on a level


def dice_cases(seed: int) -> list[dict]:
    """Return weights between levels, on them and beyond; and blocks of other sizes and levels."""
    generator = torch.Generator().manual_seed(1000 + seed)    # the draws do not know the weights
    W = 2.4 * torch.rand(3000, 64, generator=generator) - 1.2
    W[:, :16] = LEVELS
    other = torch.randn(80, 96, generator=generator) * torch.rand(80, 1, generator=generator)
    return [{"W": W, "top": torch.ones(len(W)), "levels": LEVELS, "seed": seed},
            dice_case(other, four_bits.levels(lambda p: 2 * p - 1), seed)]    # evenly spaced


def dice_case(W: Tensor, levels: Tensor, seed: int) -> dict:
    """Return a case with the blocks' own maxima, a tenth smaller: some weights lie beyond."""
    return {"W": W, "top": 0.9 * W.reshape(-1, 64).abs().amax(1), "levels": levels, "seed": seed}


def run_dice(dice, case: dict) -> dict[str, Any]:
    """Draw twice from one generator, and once more from its beginning."""
    def draw(generator: torch.Generator) -> Any:
        return detached(dice(*handed.values(), case["levels"], generator))

    handed = {name: case[name].clone() for name in ("W", "top")}
    generator = torch.Generator().manual_seed(case["seed"])
    before = torch.get_rng_state()
    first, second = draw(generator), draw(generator)
    again = draw(torch.Generator().manual_seed(case["seed"]))
    return {"first": first, "differs": not _equal(first, second), "repeats": _equal(first, again),
            "global_intact": torch.equal(before, torch.get_rng_state()),
            "changed": changed({name: case[name] for name in handed}, handed)}


def _equal(a: Any, b: Any) -> bool:
    return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)


def judge_dice(case: dict, seen: Mapping) -> Verdict:
    found, W, top, levels = seen["first"], case["W"], case["top"][:, None], case["levels"]
    if not isinstance(found, Tensor) or found.shape != W.shape:
        return Verdict(False, difference("dice(W, …)", found, W))
    if seen["changed"]:
        return rejected("changed", f"After the call, {seen['changed']} is not what it was.")
    x = (W.reshape(len(top), -1) / top).clamp(levels[0], levels[-1])    # (blocks, 64)
    low = (torch.bucketize(x, levels, right=True) - 1).clamp(0, len(levels) - 2)
    below, above = levels[low], levels[low + 1]
    share = (x - below) / (above - below)
    y = found.float().reshape(x.shape) / top
    up, down = ((y - mark).abs() < 1e-4 for mark in (above, below))
    if not (up | down).all():
        place = int((up | down).reshape(-1).int().argmin())
        at, low, high, went = (t.reshape(-1)[place].item() for t in (
            W.reshape(x.shape) / top, below, above, y))
        return rejected("elsewhere", f"A weight at {at:.3f}, {_stands(at, low, high)}, went to "
                                     f"{went:.3f}.")
    if not seen["differs"] and torch.equal(up, share > 0.5):
        return rejected("nearest", "Two draws, one after the other from one generator, are equal: "
                                   "each weight is at its nearest level.")
    if verdict := _unfair(up.double(), share.double()):
        return verdict
    for name, told in {"repeats": "Two generators with one seed give two results.",
                       "global_intact": "It took torch's global random numbers.",
                       "differs": "Two draws, one after another from one generator, are equal."
                       }.items():
        if not seen[name]:
            return rejected("generator", told)
    return Verdict(True, "On average each weight is where it was, and every draw is on the levels.")


def _stands(at: float, low: float, high: float) -> str:
    """Say where a weight stands: between two levels, on one of them, or beyond the last."""
    if not low <= at <= high:
        return f"beyond the level {low if at < low else high:.3f}"
    if at in (low, high):
        return "on a level"
    return f"between the levels {low:.3f} and {high:.3f}"


def _unfair(up: Tensor, share: Tensor) -> Verdict | None:
    """Of weights as far from the next level: does their share go up, and each by itself?"""
    tenth = torch.bucketize(share, TENTHS)                             # (blocks, 64)
    count = torch.bincount(tenth.flatten(), minlength=12).clamp(min=1)

    def mean(each: Tensor) -> Tensor:
        return torch.bincount(tenth.flatten(), each.flatten(), 12) / count

    found, right = mean(up), mean(share)
    for axis in (0, 1):
        sums = (up - found[tenth]).sum(axis)
        ratio = sums.square().sum() / (found * (1 - found))[tenth].sum()    # independent: about 1
        if ratio > 1 + FAR * (2 / len(sums))**0.5:
            return rejected("together", f"How many weights go up together varies {ratio:.1f} times "
                                        "as much as if each were drawn by itself.")
    off = (found - right).abs() - FAR * (mean(share * (1 - share)) / count).sqrt() - 1e-3
    if off.max() <= 0:
        return None
    mistake = recognised({"coin": 0.5, "turned": 1 - right}, lambda usual: (
        (found - usual)[1:-1].abs() < 0.05).all())
    if not mistake and (at := int(off.argmax())) in (0, len(TENTHS)):
        left = found[at] if at == 0 else 1 - found[at]
        return rejected("elsewhere", f"Of {count[at]:,} weights on a level, {left:.0%} left it.")
    at = 1 + int(off[1:-1].argmax())
    return Verdict(False, f"Of {count[at]:,} weights about {right[at]:.0%} of the way to the next "
                          f"level, {found[at]:.0%} went up; expected {right[at]:.0%}.", mistake)


DICE = Exercise(
    id="qlora.dice", names=("dice",), points=3, minutes=9, difficulty=2,
    cases=dice_cases, run=run_dice, judge=judge_dice,
    returns=report(first=Any, differs=bool, repeats=bool, global_intact=bool, changed=str),
    mistakes={
        "coin": "That is a fair coin. The nearer level must be drawn more often.",
        "turned": "The farther level is drawn more often: the probability is turned round.",
        "nearest": "That is the nearest level. Where is chance?",
        "elsewhere": "Only the two levels around a weight may be drawn. A weight on a level stays "
                     "there, and one beyond the last level goes to that.",
        "together": "One random number decided for several weights. Each needs its own.",
        "generator": "Draw all random numbers from the given generator, and do not seed it.",
        "changed": "Both are still needed: work on a copy.",
    },
    hints=("Let a weight w lie between the levels l and h. With probability p it goes to h. What "
           "is its expectation, and which p makes that w?",
           "torch.bucketize or torch.searchsorted says which level lies below. At the last level "
           "there is none above: clamp the index.",
           "torch.rand(shape, generator=generator) < p is true with probability p, for each weight "
           "by itself. Everything is in units of the group's top."))
