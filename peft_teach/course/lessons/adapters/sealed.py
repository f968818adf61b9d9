"""Lesson 05: sealed blocks, and the probes that tell what is inside.

A block is any post-LN one: what its two sub-layers give, `attention` and `ffn`, is the
prober's to choose, for one token at a time; where the bottleneck stands, is not.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...checks.exercise import Exercise, Verdict
from ...checks.judge import named, recognised, rejected, report
from .start import narrow

PLACES = ("houlsby", "post_attention", "pfeiffer", "bapna", "parallel", "ends")
MOST = 4
SCALE = 4.0

Ask = Callable[[Tensor, Tensor, Tensor], Tensor]


def norm(v: Tensor) -> Tensor:
    """Shift a vector to mean 0 and stretch it to variance 1: a LayerNorm of weight 1, bias 0."""
    return (v - v.mean(-1, keepdim=True)) / v.std(-1, unbiased=False, keepdim=True)


def block(place: str, A: Callable[[Tensor], Tensor], B: Callable[[Tensor], Tensor]) -> Ask:
    """Return a post-LN block with bottlenecks at this place; B is the second, where it has two."""
    def call(x: Tensor, attention: Tensor, ffn: Tensor) -> Tensor:
        x = x + A(x) if place == "ends" else x
        o = attention + A(attention) if place in ("houlsby", "post_attention") else attention
        r = norm(x + o)
        o = ffn + B(ffn) if place == "houlsby" else ffn
        o = o + SCALE * A(r) if place == "parallel" else o
        y = norm(r + o + A(norm(r + o))) if place == "pfeiffer" else norm(r + o)
        return (y + A(norm(y)) if place == "bapna" else y + B(y) if place == "ends" else y)

    return call


class TooMany(RuntimeError):
    """A fifth probe."""


class Sealed:
    """What the prober holds: called with three vectors of width d, at most four times."""

    def __init__(self, call: Ask, d: int):
        self._call, self.d, self.asked = call, d, 0

    def __call__(self, x: Tensor, attention: Tensor, ffn: Tensor) -> Tensor:
        vectors = [torch.as_tensor(v) for v in (x, attention, ffn)]
        for name, v in zip(("x", "attention", "ffn"), vectors):
            if v.shape != (self.d,):
                raise ValueError(f"ask takes three vectors of {self.d} entries; {name} has the "
                                 f"shape {tuple(v.shape)}")
        self.asked += 1
        if self.asked > MOST:
            raise TooMany("four probes are all there are")
        dtype = vectors[0].dtype if vectors[0].is_floating_point() else torch.float32
        with torch.no_grad():
            y = self._call(*(v.detach().double() for v in vectors)).to(dtype)
        if all(v.isfinite().all() for v in vectors) and not y.isfinite().all():
            raise ValueError("norm met a vector whose entries are all equal, and divides by their "
                             "spread: ask with sums that have one")
        return y


def drawn(d: int, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Return a bottleneck with weights as large as one that has learned much."""
    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).double()

    m = 2 * d
    tensors = draw(m, d) / d**0.5, draw(m) / 2, draw(d, m) / m**0.5, draw(d) / 2
    return lambda u: narrow(u, *tensors)


# ── adapters.sealed ──────────────────────────────────────────────────────────────────────────


def sealed_cases(seed: int) -> list[dict]:
    """Return widths, each with the seed from which all six blocks are drawn."""
    return [{"d": d, "seed": 10 * seed + i} for i, d in enumerate((8, 16, 32))]


def run_sealed(name_placement, case: dict) -> dict[str, Any]:
    """Hand over six blocks; what each was called, and after how many probes."""
    generator = torch.Generator().manual_seed(700 + case["seed"])
    order = torch.randperm(len(PLACES), generator=generator).tolist()
    return {PLACES[i]: _named(name_placement, PLACES[i], case["d"], generator) for i in order}


def _named(name_placement, place: str, d: int, generator: torch.Generator) -> dict[str, Any]:
    ask = Sealed(block(place, drawn(d, generator), drawn(d, generator)), d)
    try:
        said = name_placement(lambda x, attention, ffn: ask(x, attention, ffn), norm, d)
    except TooMany:
        said = "too many"
    return {"said": said, "asked": ask.asked}


def judge_sealed(case: dict, seen: dict) -> Verdict:
    for place, each in seen.items():
        if each["asked"] > MOST:
            return rejected("too_many", f"A block may be asked {MOST} times, and name_placement "
                                        f"asked a fifth time where {place} was inside.")
        if each["said"] is None:
            return rejected("no_return")
    said = {place: each["said"] if isinstance(each["said"], str) else named(each["said"])
            for place, each in seen.items()}
    wrong = {place: said[place] for place in PLACES if said[place] != place}
    if not wrong:
        return Verdict(True)
    told = "It said " + ", ".join(f"{found} where {place} was inside"
                                  for place, found in wrong.items()) + "."
    if len({*said.values()}) == 1:
        return rejected("always_the_same", told)
    if not {*said.values()} <= {*PLACES}:
        return Verdict(False, f"{told} There are six names: {', '.join(PLACES)}.")
    return rejected(recognised(CONFUSED, lambda both: all(
        {place, found} == both for place, found in wrong.items())) or "mixed", told)


CONFUSED = {"which_half": {"houlsby", "post_attention"}, "which_input": {"pfeiffer", "parallel"},
            "unnormed": {"bapna", "ends"}}
SEALED_MISTAKES = {
    "too_many": "Four probes are all there are. What do two outputs that are equal rule out, all "
                "at once?",
    "always_the_same": "Whatever was inside, the answer was the same: is it made from what ask "
                       "gives?",
    "which_half": "Both read what the attention gives. Only one reads what the feed-forward part "
                  "gives: which change of it does every norm overlook?",
    "which_input": "One reads the normed sum at the end, the other what the feed-forward part was "
                   "given. Keep the first as it is, and move the second.",
    "unnormed": "Both leave the block without a norm. Only one reads x.",
    "mixed": "Take two of the formulas that were confused, and look for inputs at which one of "
             "them gives the same as before, and the other does not. (Two outputs that should be "
             "equal differ by up to about 1e-5: torch.equal and torch.allclose's own atol, 1e-8, "
             "tell them apart.)",
}

SEALED = Exercise(
    id="adapters.sealed", names=("name_placement",), points=3, minutes=20,
    difficulty=3, cases=sealed_cases, run=run_sealed, judge=judge_sealed,
    returns=report(**dict.fromkeys(PLACES, report(said=Any, asked=int))), mistakes=SEALED_MISTAKES,
    hints=("One output alone parts the six into two and four: which formulas end with a norm?",
           "Then compare two outputs. Let x + attention be the same and the two parts be others: "
           "for whom does nothing change?",
           "What is left is a pair. For each, write down what the adapter reads, and change that "
           "while the sums stay as they are; or the other way round. Adding 1 to every entry is "
           "something that a norm does not see."))
