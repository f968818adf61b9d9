"""The exercises of lesson 07: count, layer, law of the start, a broken layer, case and merge."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....adapter import Adapter
from ... import records
from ...checks import merge_judge
from ...checks.adapter_judge import (
    MISTAKES,
    Method,
    drawn_at_start,
    frozen_linear,
    linear_cases,
    random_beside_zero,
)
from ...checks.exercise import VALUE, Exercise, Verdict
from ...checks.judge import judged_count, number, rejected, report
from ...checks.merge_judge import Merge
from ...checks.mutants import Law, Loophole
from ...checks.observe import Spy
from . import mutants, recorded

# ── lora.count ───────────────────────────────────────────────────────────────────────────────


def count_cases(seed: int) -> list[dict]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [(6, 10, 2), (384, 1536, 8), (5, 5, 1)]
    sizes += [tuple(torch.randint(1, 200, (3,), generator=generator).tolist()) for _ in range(3)]
    return [{"n_in": n_in, "n_out": n_out, "rank": rank} for n_in, n_out, rank in sizes]


def run_count(lora_count, case: dict):
    return lora_count(case["n_in"], case["n_out"], case["rank"])


def judge_count(case: dict, found) -> Verdict:
    n_in, n_out, rank = case["n_in"], case["n_out"], case["rank"]
    right = rank * (n_in + n_out)
    wrong = {"whole_matrix": n_in * n_out, "square_only": 2 * rank * n_in,
             "multiplied": rank * n_in * n_out, "with_base": n_in * n_out + right}
    return judged_count(found, right, f"lora_count({n_in}, {n_out}, {rank})", wrong,
                        "A and B, each by its shape.")


COUNT_MISTAKES = {
    "not_whole": "A number of parameters is a whole number: an int.",
    "whole_matrix": "That is all of W. LoRA trains A and B instead of it.",
    "square_only": "That is right only where n_in = n_out. How long is a column of B?",
    "multiplied": "All three numbers are multiplied. Neither matrix has both n_in and n_out in its "
                  "shape.",
    "with_base": "W is frozen, so it does not count as trained.",
}

COUNT = Exercise(
    id="lora.count", names=("lora_count",), points=1, minutes=4, difficulty=1,
    reference="peft_teach.methods.lora:count",
    cases=count_cases, run=run_count, judge=judge_count, mistakes=COUNT_MISTAKES,
    hints=("How many entries has a matrix of the shape of A? And one of the shape of B?",
           "The last dimension of x is n_in. After A it is rank, and after B it is n_out.",
           "Draw both for n_in = 3, n_out = 2 and rank 1, and count the entries."))


# ── lora.layer ───────────────────────────────────────────────────────────────────────────────


def _scale(case: dict) -> float:
    return case["alpha"] / case["rank"]


def _matrix(case: Mapping, s: float) -> Tensor:
    """W + s B A, (n_out, n_in), in double precision."""
    return case["W"].double() + s * case["B"].double() @ case["A"].double()


def _output(base: Any, case: Mapping, s: float) -> Tensor:
    """LoRA's output by the one matrix that a layer must not build, rounded once."""
    b = None if base.bias is None else base.bias.double()
    return F.linear(case["x"].double(), _matrix(case, s), b).to(case["x"].dtype)


WATCHED = 1000    # entries of a matrix from which on it is told from what the products make


def run_layer(LoRALinear: Any, case: dict) -> dict[str, Any]:
    """Observe the layer as any adapter; then compare its start, see it drawn, and watch a call."""
    seen = LORA.run(LoRALinear, case)
    if "again" not in seen:
        return seen
    base, x = frozen_linear(case), case["x"]
    layer = LoRALinear(base, case["rank"], case["alpha"])
    seen["to_the_bit"] = torch.equal(layer(x), base(x))
    entries, tokens = case["n_in"] * case["n_out"], x.numel() // case["n_in"]
    with torch.no_grad(), Spy(*base.parameters()) as spy:
        for mode in (True, False):
            layer.train(mode)(x)
    return seen | {"drawn": drawn_at_start(LoRALinear),
                   "built": (spy.largest >= entries >= WATCHED
                             and tokens < min(case["n_in"], case["n_out"])),
                   "halved": spy.halved}


def judge_layer(case: dict, seen: Mapping) -> Verdict:
    """Ask what every adapter is asked; then what only shows in training and in the time it takes.
    """
    verdict = LORA.judge(case, seen)
    if not verdict.passed:
        return verdict
    if not seen["to_the_bit"]:
        return Verdict(False, "As it is made, before any training, the output is near the base's, "
                              "but not the same bit for bit: let the base compute its own output.")
    if seen["built"]:
        return rejected("matrix_built", f"A call of the layer built a matrix of {case['n_out']} × "
                                        f"{case['n_in']}.")
    if seen["halved"]:
        return rejected("halved", f"On a {case['W'].dtype} base, a product with A or B is computed "
                                  f"in {case['W'].dtype}.")
    return verdict


LORA = Method(
    name="LoRALinear", base=frozen_linear, arguments=("rank", "alpha"), own=("A", "B"),
    equation=lambda base, case: _output(base, case, _scale(case)), formula="base(x) + s (x Aᵀ) Bᵀ",
    usual=lambda base, case: {"no_scale": _output(base, case, 1.0)},
    starts=(random_beside_zero,),
    attributes=lambda case: {"scale": _scale(case)},
    praise="Starts as the base, the right correction, and both matrices learn.")

LAYER_MISTAKES = MISTAKES | {
    "A_size": "Behind each entry of x Aᵀ is a sum of n_in random terms. How large is such a sum, "
              "against one of its terms?",
    "both_zero": "Each gradient has the other matrix as a factor: they stay at zero.",
    "both_random": "Then the output is not the base's bit for bit. Which start makes the product "
                   "zero?",
    "alike": "What is alike gets the same gradients and stays alike: the rank would be lower.",
    "matrix_built": "That is what LoRA saves: go through the rank numbers in between, so that A "
                    "and B never meet.",
    "halved": "Then what a small step changed is rounded away before it reaches the output: take "
              "x.float(), and leave A and B as they are.",
    "no_scale": "The correction is not scaled: s is alpha / rank.",
    "no_scale_attribute": "Keep alpha / rank as self.scale: merging needs it later.",
}

LAYER = Exercise(
    id="lora.layer", names=("LoRALinear",), points=3, minutes=14, difficulty=2,
    reference="peft_teach.methods.lora:LoRALinear",
    cases=linear_cases, run=run_layer, judge=judge_layer, mistakes=LAYER_MISTAKES,
    returns=LORA.returns(to_the_bit=bool, drawn=list[dict[str, Tensor]], built=bool, halved=bool),
    hints=("Shapes first: which of the two matrices meets x, and with which side? Test your layer "
           "on nn.Linear(4, 3), rank 2, before you run the check.",
           "A sum of n independent random terms is about √n times as large as one of them: that "
           "decides how large the entries of the random matrix are.",
           "Three things decide about half precision: which dtype your parameters have, where the "
           "input becomes float32, and where the result becomes what the base gives."))


# ── lora.start ───────────────────────────────────────────────────────────────────────────────


LAW = Law(mutants.RIGHT, mutants.BROKEN)
START = Exercise(
    id="lora.start", names=("start_holds",), points=2, minutes=9, difficulty=2,
    **LAW.fields,
    hints=("Two properties at the start, two after some training. Any optimizer serves that leaves "
           "a parameter alone whose gradient is zero; a few steps are enough.",
           "How many steps does each of the two allowed starts need until both matrices have "
           "moved? A right layer must not be rejected after fewer.",
           "\"To the bit\" is stricter than \"close\". And what of the parameters that must not "
           "move: can your test see it if one of them does? Beware of an optimizer with weight "
           "decay: it moves a parameter whose gradient is zero."),
    arguments=lambda pieces: (pieces["LoRALinear"],))


# ── lora.broken ──────────────────────────────────────────────────────────────────────────────


class BrokenLoRA(mutants.StuckA):
    """Gives A a gradient of zero, so that weight decay alone moves it."""


LOOPHOLE = Loophole("lora", "looks_right", "start_holds")
BROKEN = Exercise(
    id="lora.broken", names=("BrokenLoRA",), points=2, minutes=5, difficulty=2,
    optional=True, kept=False, reference="peft_teach.course.lessons.lora.exercises:BrokenLoRA",
    **LOOPHOLE.fields,
    hints=("Go through the law, sentence by sentence: which line of looks_right asks it?",
           "\"To the bit\", \"the gradient moves\", \"nothing in the base\": how closely does each "
           "line look?",
           "AdamW has a weight decay. What does it do to a parameter whose gradient is zero, and "
           "how would you make the gradient of A zero?"))


# ── lora.case ────────────────────────────────────────────────────────────────────────────────

ASKED = 8           # the rank at which the lesson has the reader ask before
SAME_SIZE = 1.1     # two sizes of a first update are called equal within this factor


def judge_case(_: Any, seen: Mapping) -> Verdict:
    """Look both pairs up in the record: recorded, decided, controlled."""
    told = []
    for name, pair in seen.items():
        if (settings := _settings(pair)) is None:
            return rejected("not_settings", f"{name} is not two dicts with exactly rank, alpha and "
                                            "lr, three numbers.")
        rows = [recorded.runs(**setting) for setting in settings]
        for setting, runs in zip(settings, rows):
            if not runs:
                told = "rank {rank}, alpha {alpha:.4g}, lr {lr:g}".format(**setting)
                return rejected("not_recorded", f"In {name}: {told} is not in the record.")
        means = " and ".join(f"{records.accuracy(runs)[0]:.1%}" for runs in rows)
        told.append(f"{name}: {means}")
        if sorted(map(recorded.ends, rows)) != ["fails", "learns"]:
            return rejected("same_outcome", f"In {name} the two end at {means}.")
        if verdict := (_same_size if name == "clears" else _alpha_alone)(*settings):
            return verdict
    return Verdict(True, "; ".join(told) + ". Size alone does not explain it, and alpha alone is "
                                           "enough to make a run fail.")


def _settings(pair: Any) -> list[dict] | None:
    """The two settings of a pair in Python's numbers, a rank of 8.0 as 8; None for all else."""
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return None
    found = []
    for setting in pair:
        if not isinstance(setting, dict) or setting.keys() != {"rank", "alpha", "lr"}:
            return None
        numbers = {key: number(value) for key, value in setting.items()}
        if None in numbers.values() or not float(numbers["rank"]).is_integer():
            return None
        found.append(numbers | {"rank": int(numbers["rank"])})
    return found


def _same_size(one: Mapping, other: Mapping) -> Verdict | None:
    sizes = [recorded.first_size(**setting) for setting in (one, other)]
    if max(sizes) > SAME_SIZE * min(sizes):
        return rejected("other_size", "In clears, the first ‖ΔW‖ of one is "
                                      f"{max(sizes) / min(sizes):.3g} times that of the other.")
    return None


def _alpha_alone(one: Mapping, other: Mapping) -> Verdict | None:
    differing = [key for key in one if not math.isclose(one[key], other[key], rel_tol=0.01)]
    if differing != ["alpha"]:
        return rejected("not_controlled", f"In convicts the two differ in "
                                          f"{' and '.join(differing) or 'nothing'}.")
    highest = max(one["rank"], other["rank"])
    if highest >= ASKED:
        return rejected("rank_suspected" if highest > ASKED else "asked_already",
                        f"In convicts the one that fails has rank {highest}.")
    return None


CASE = Exercise(
    id="lora.case", names=("clears", "convicts"), points=2, minutes=9, difficulty=3,
    answer=VALUE, cases=lambda seed: [{"record": "lora"}], judge=judge_case,
    run=lambda pairs, case: dict(zip(("clears", "convicts"), pairs)),
    returns=report(clears=Any, convicts=Any),
    mistakes={
        "not_settings": "Each of the two is a pair of dicts with rank, alpha and lr.",
        "not_recorded": "The list above has the settings that were trained.",
        "same_outcome": "One of the two must learn (78 % or more) and the other fail: "
                        "otherwise nothing is decided.",
        "other_size": "Then the size could still be to blame. At one rate it is proportional to "
                      "alpha / √rank.",
        "not_controlled": "Alpha is the suspect, so it alone may differ: of two things that "
                          "differ, either could have done it.",
        "rank_suspected": "There, somebody will say that it was the rank. Show it below rank 8.",
        "asked_already": "Of rank 8 the lesson has asked already. If you are right, it holds at "
                         "another rank, too: predict it, then ask.",
    },
    hints=("For each explanation, ask what it forbids. Equal sizes with different ends: that is "
           "what \"it is the size\" forbids.",
           "The size of the first update is proportional to alpha / √rank. Which settings of the "
           "list have that of rank 64 with alpha 128?",
           "For the second pair, stay at one rank below 8. Where does the list have two values of "
           "alpha?"))


# ── lora.merge ───────────────────────────────────────────────────────────────────────────────


class _Bare(Adapter):
    """A finished layer that has what the task names, and no method that would do it."""

    def __init__(self, case: Mapping):
        super().__init__(frozen_linear(case))
        self.scale = _scale(case)
        self.A, self.B = (nn.Parameter(case[name].clone()) for name in ("A", "B"))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return (y + self.scale * x.float() @ self.A.T @ self.B.T).to(y.dtype)


def _merged_weight(case: Mapping) -> tuple[Tensor, Tensor | None]:
    """W + s B A, rounded once, and the bias."""
    return _matrix(case, _scale(case)).to(case["W"].dtype), case["b"]


def judge_merge(case: Mapping, seen: Mapping) -> Verdict:
    """Ask what every merge is asked, and in half precision for the nearest numbers there are."""
    verdict, (right, _) = MERGED.judge(case, seen), _merged_weight(case)
    if not verdict.passed or right.dtype == torch.float32:
        return verdict
    off = (seen["weight"] != right).float().mean()
    if off > 0.05:
        return rejected("summed_in_half", f"In {right.dtype}, {off:.0%} of the numbers are not "
                                          "those next to W + s B A.")
    return verdict


MERGED = Merge(
    name="merged", layer=_Bare, right=_merged_weight, formula="W + s B A", keeps_device=True,
    usual=lambda case: {"no_scale": _matrix(case, 1.0)},
    praise="One plain layer, the same outputs, and the adapter is untouched.")
MERGE = Exercise(
    id="lora.merge", names=("merged",), points=2, minutes=9, difficulty=2,
    equivalents=("peft_teach.methods.lora:LoRALinear.merged",),
    cases=linear_cases, run=MERGED.run, judge=judge_merge, returns=MERGED.returns,
    mistakes=merge_judge.MISTAKES | {
        "no_scale": "The scale is missing.",
        "summed_in_half": "Near, but rounded more than once: the sum belongs to float32.",
    },
    hints=("Take x out of the equation's two products. What stands in the bracket?",
           "Check your function as the check does: on a layer with random A and B, compare the two "
           "outputs, and look at the layer's own weight afterwards.",
           "In bfloat16, two roundings are one too many: which of your sums and products are not "
           "in float32?"))


EXERCISES = (COUNT, LAYER, START, BROKEN, CASE, MERGE)
