"""The exercises of lesson 06: where a vector folds, layer, reach, merge, its law, a broken one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...checks import merge_judge
from ...checks.adapter_judge import MISTAKES, Method, frozen_linear, linear_case
from ...checks.exercise import VALUE, Exercise, Verdict, cut, resolved
from ...checks.judge import changed, close, drawing, named, recognised, rejected, report
from ...checks.merge_judge import Merge
from ...checks.mutants import Law, Loophole
from . import block, mutants

# ── ia3.folds ────────────────────────────────────────────────────────────────────────────────

RIGHT = {"key": {"key rows", "query rows"}, "value": {"value rows", "attention_out columns"},
         "sum": set(), "before": {"ffn_in rows"}, "after": {"ffn_out columns"}}


def run_folds(folds: Any, case: Any) -> dict[str, Any]:
    """Hand on the table in one form: a sorted list of places for each vector."""
    said = {}
    for vector, places in folds.items() if isinstance(folds, Mapping) else ():
        listed = places if isinstance(places, list | tuple | set | frozenset | dict) else [places]
        said[str(vector)[:40]] = sorted({" ".join(str(place)[:60].lower().split())
                                         for place in listed} - {"none", ""})
    return {"said": said, "type": named(folds)}


def judge_folds(case: Any, seen: Mapping) -> Verdict:
    """Compare with what holds; show on a block of random weights what a wrong place does."""
    said = seen["said"]
    if set(said) != set(RIGHT):
        return rejected("not_a_table", f"It is {seen['type']} with {sorted(map(str, said))}.")
    for vector, places in said.items():
        for place in places:
            if place not in block.FOLDS:
                return rejected("no_place", f"{vector!r} names {place!r}.")
    right = sum(set(said[vector]) == RIGHT[vector] for vector in RIGHT)
    told = f"{right} of 5 are right."
    if right == len(RIGHT):
        return Verdict(True, "Five vectors, and each place that alone does what it does.")
    for vector, places in said.items():
        for place in places:
            if place not in RIGHT[vector]:
                off = block.apart(vector, place)
                shown = ("the sizes do not even fit" if off is None else
                         f"the output of a block of random weights changes by up to {off:.2f}")
                return rejected(_why_not(vector, place), f"{told} The vector {vector!r}, taken "
                                f"away and put into the {place} instead: {shown}.")
    missing = next(vector for vector in RIGHT if set(said[vector]) != RIGHT[vector])
    if not said[missing]:
        return rejected("none_named", f"{told} For {missing!r} you name no place.")
    return rejected("half", f"{told} What you name for {missing!r} is right, and not all.")


def _why_not(vector: str, place: str) -> str:
    if vector == "sum":
        return "through_norm"
    if (vector, place) in (("after", "ffn_in rows"), ("before", "ffn_out columns")):
        return "through_activation"
    turned = {f"{name} {'rows' if side == 'columns' else 'columns'}"
              for name, side in map(str.split, RIGHT[vector])}
    return "wrong_side" if place in turned else "elsewhere"


FOLDS = Exercise(
    id="ia3.folds", names=("folds",), points=2, minutes=9, difficulty=2, answer=VALUE,
    cases=lambda seed: [{"block": "post-norm"}], run=run_folds, judge=judge_folds,
    returns=report(said=dict[str, list[str]], type=str),
    mistakes={
        "not_a_table": "Wanted is a dict with the keys key, value, sum, before and after, and a "
                       "set of places for each.",
        "no_place": "A place is one of the six matrices, a space, and rows or columns: "
                    "\"key rows\".",
        "through_norm": "A LayerNorm stands between that vector and the next matrix, and the sum "
                        "comes from two terms. Is a sum with one term scaled the scaled sum? "
                        "And what does the norm do with the mean and the spread of what it reads?",
        "through_activation": "The activation stands between them: is gelu(l h) equal to "
                              "l gelu(h)?",
        "wrong_side": "A row makes one output feature, a column reads one input feature. Is the "
                      "factor on what that matrix gives, or on what it reads?",
        "elsewhere": "What of that matrix's output, or of its input, does the vector multiply? "
                     "Follow one feature through the drawing.",
        "none_named": "There is one at least: a matrix that makes what the vector multiplies, or "
                      "one that reads it.",
        "half": "Keys meet queries in a product, and values pass through a weighted mean. Who else "
                "could carry the factor?",
    },
    hints=("Write down one entry of what comes out behind the next matrix, with the factor in it, "
           "as a sum. Which factor of each term could take l?",
           "For the key: a score is a sum over features of query times key. For the value: a mean "
           "over tokens keeps each feature by itself.",
           "Try it: pictures.apart(\"key\", \"key columns\") says how far the output is off. "
           "Ask it only after you have an answer to defend."))


# ── ia3.layer ────────────────────────────────────────────────────────────────────────────────


def linear_cases(seed: int) -> list[dict]:
    """Return layers that differ in side, shape, bias and dtype, with inputs and scaling vectors."""
    draw = drawing(1000 + seed)
    cases = []
    for side, n_in, n_out, bias, dtype, batch in (
            # square ones first: there a vector or a bias on the wrong side fits, and is named
            ("output", 3, 3, True, torch.float32, (2,)), ("input", 3, 3, True, torch.float32, (2,)),
            ("output", 5, 9, False, torch.float32, (3, 2)),
            ("output", 4, 3, True, torch.float32, (3, 2)),
            ("input", 4, 3, True, torch.float32, (3, 2)),
            ("input", 1536, 384, True, torch.float32, (2, 3)),
            ("output", 8, 8, True, torch.bfloat16, (3, 2))):
        cases.append(linear_case(draw, n_in, n_out, bias, dtype, batch) | {
            "side": side, "l": 1 + 0.7 * draw(n_out if side == "output" else n_in)})
    return cases


def scaled(base: nn.Linear, case: Mapping) -> Tensor:
    """Return what the layer gives."""
    x, l = case["x"], case["l"]
    if case["side"] == "input":
        return base((l * x).to(x.dtype))
    y = base(x)
    return (l * y).to(y.dtype)


def usual_scales(base: nn.Linear, case: Mapping) -> dict[str, Any]:
    """Return what the usual mistakes give."""
    x, l, y = case["x"], case["l"], base(case["x"])
    output = case["side"] == "output"
    found = {"plus_one": y * (1 + l) if output else base((x * (1 + l)).to(x.dtype))}
    square = case["n_in"] == case["n_out"]
    if square:
        found["other_side"] = base((l * x).to(x.dtype)) if output else l * y
    if case["b"] is not None and (output or square):
        bare = F.linear(x if output else (l * x).to(x.dtype), base.weight)
        found["bias_spared"] = l * bare + case["b"] if output else bare + l * case["b"]
    return found


def at_one(method: Method, case: Mapping, seen: Mapping) -> Verdict | None:
    """Does l start at one?"""
    l = seen["start_own"]["l"]
    if (l == 1).all():
        return None
    return rejected("not_one", f"The entries of l start between {l.min():.3g} and {l.max():.3g}; "
                               "expected 1.")


FORMULAS = {"output": "l ⊙ (x Wᵀ + b), bias and all",
            "input": "(l ⊙ x) Wᵀ + b, with the base's bias as it is"}
LAYER_METHOD = Method(
    name="Gains", base=frozen_linear, own=("l",), arguments=("side",), equation=scaled,
    formula="l ⊙ base(x), or base(l ⊙ x)", usual=usual_scales, starts=(at_one,),
    praise="Starts as the base, and learns one number a feature, on either side.")


def run_layer(gains: Any, case: Mapping) -> dict[str, Any]:
    """Try the class as any adapter, and note the side that its layer keeps."""
    made = []

    def kept(base: nn.Linear, side: str) -> Any:
        made.append(gains(base, side))
        return made[-1]

    seen = LAYER_METHOD.run(kept, case)
    whole = {"side": str(getattr(made[0], "side", "nothing"))[:40]} if "again" in seen else {}
    return seen | whole


def judge_layer(case: Mapping, seen: Any) -> Verdict:
    """Ask what every adapter is asked, and then for the side."""
    method = replace(LAYER_METHOD, formula=FORMULAS[case["side"]])
    verdict = method.judge(case, seen)
    if verdict.passed and seen.get("side") != case["side"]:
        return rejected("side_lost", f"layer.side is {seen.get('side')}; expected "
                                     f"{case['side']!r}.")
    return verdict


LAYER = Exercise(
    id="ia3.layer", names=("Gains",), points=2, minutes=9, difficulty=1,
    equivalents=("peft_teach.methods.ia3:IA3Linear",),
    cases=linear_cases, run=run_layer, judge=judge_layer,
    returns=LAYER_METHOD.returns(side=str), mistakes=MISTAKES | {
        "side_lost": "Who folds the layer later must know which side l is on: keep it as "
                     "self.side.",
        "shapes": "l has one entry a feature: of the output where side is \"output\", of the input "
                  "where it is \"input\".",
        "not_one": "A factor that changes nothing is 1.",
        "plus_one": "The factor is 1 + l. Here l itself is the factor, and starts at one.",
        "other_side": "The vector stands on the other side: \"output\" scales what the base gives, "
                      "\"input\" what it reads.",
        "bias_spared": "Mind the bias. With \"output\" the whole output is scaled, bias and all; "
                       "with \"input\" the base's bias comes as it is.",
    },
    hints=("One parameter, whose length depends on side. Which attribute of an nn.Linear says how "
           "many features it gives, which how many it reads?",
           "Leave the work to self.base: what comes before it, and what after?",
           "l is float32 and the base may not be. Of which dtype must the input be when the base "
           "reads it, and of the output when you give it back?"))


# ── ia3.merge ────────────────────────────────────────────────────────────────────────────────


NESTED = (("output", "input", 4, 3, True), ("input", "output", 5, 4, True),
          ("output", "output", 3, 5, False), ("input", "input", 6, 6, True))


def merge_cases(seed: int) -> list[dict]:
    """Return those of the layer; and scaled layers around such layers, "inner" (side, l)."""
    draw = drawing(3000 + seed)
    nested = [{"n_in": n_in, "n_out": n_out, "side": side, "W": draw(n_out, n_in),
               "b": draw(n_out) if bias else None,
               "l": draw(n_out if side == "output" else n_in),
               "inner": [(inner, draw(n_out if inner == "output" else n_in))]}
              for side, inner, n_in, n_out, bias in NESTED]
    return [*({**case, "inner": []} for case in linear_cases(seed)), *nested]


class Bare(nn.Module):
    """A finished layer that has what the task names, and no method that would do it."""

    def __init__(self, base: nn.Module, side: str, l: Tensor):
        super().__init__()
        self.base, self.side = base, side
        self.l = nn.Parameter(l.clone())

    def forward(self, x: Tensor) -> Tensor:
        return scaled(self.base, {"x": x, "l": self.l, "side": self.side})


def _layer(case: Mapping) -> Bare:
    """Return the layer of a case, around those that stand further in."""
    base = frozen_linear(case)
    for side, l in case["inner"]:
        base = Bare(base, side, l)
    return Bare(base, case["side"], case["l"])


def _inside(case: Mapping) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of what the outermost vector stands on, with the inner ones folded."""
    W, b = case["W"], case["b"]
    for side, l in case["inner"]:
        W = l[:, None] * W if side == "output" else l * W
        b = l * b if b is not None and side == "output" else b
    return W, b


def _merged(case: Mapping) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the plain layer."""
    (W, b), l = _inside(case), case["l"]
    if case["side"] == "input":
        return (l * W.float()).to(W.dtype), b
    return (l[:, None] * W.float()).to(W.dtype), b if b is None else (l * b.float()).to(b.dtype)


def _usual(case: Mapping) -> dict[str, Tensor]:
    """What the usual mistakes give: weights, and the bias that was not scaled."""
    (W, b), l, output = _inside(case), case["l"], case["side"] == "output"
    usual = {"inner_lost": (l[:, None] if output else l) * case["W"].float()}
    if W.shape[0] == W.shape[1]:
        usual["other_axis"] = (l if output else l[:, None]) * W.float()
    if b is not None and output:
        usual["bias_as_it_was"] = b
    elif b is not None and len(l) == len(b):    # of a square base: elsewhere it does not fit
        usual["bias_scaled"] = l * b.float()
    return usual


def _told(case: Mapping) -> str:
    told = f"side = {case['side']!r}, {case['n_in']} features in and {case['n_out']} out."
    inner = f" Its base is a scaled layer, with side = {case['inner'][-1][0]!r}." if case[
        "inner"] else ""
    return told + inner


FOLD = Merge(name="fold", layer=_layer, right=_merged, formula="W with the vector folded into it",
             told=_told, usual=_usual,
             praise="One plain layer with the same outputs, and nothing else has changed.")
MERGE = Exercise(
    id="ia3.merge", names=("fold",), points=2, minutes=13, difficulty=2,
    equivalents=("peft_teach.methods.ia3:IA3Linear.merged",),
    cases=merge_cases, run=FOLD.run, judge=FOLD.judge, returns=FOLD.returns,
    mistakes=merge_judge.MISTAKES | {
        "inner_lost": "The vector of the layer inside is lost: it stands between the plain layer "
                      "and these.",
        "other_axis": "The vector went along the other axis: W is (n_out, n_in). Which axis counts "
                      "what the layer gives, which what it reads?",
        "bias_as_it_was": "Here the whole output is scaled, and the bias is a part of it.",
        "bias_scaled": "Here only what the base reads is scaled. The bias is added afterwards, as "
                       "it was.",
    },
    hints=("Write the output of each side as a sum: weight times input, plus bias. Where does l "
           "stand in each of the two terms?",
           "A weight is (n_out, n_in). For one side l must run down the rows, for the other along "
           "them: which needs a new axis?",
           "Where the base is itself a scaled layer: what would make a plain layer of that one?"))


# ── ia3.holds ────────────────────────────────────────────────────────────────────────────────


LAW = Law(mutants.RIGHT, mutants.BROKEN,
          call=lambda fold_holds, fold: fold_holds(fold, mutants.Gains))
HOLDS = Exercise(
    id="ia3.holds", names=("fold_holds",), points=3, minutes=20, difficulty=3,
    **LAW.fields,
    hints=("Make a layer, give l random entries, and compare what it gives with what the fold "
           "gives, on a random input. Which sides, and which bases?",
           "Several broken ones have the right outputs: they write into the layer, or are tied to "
           "it, or hold their factors elsewhere than in the weight. What do you look at, and when? "
           "What happens to the layer if you fill the new one's parameters with something else?",
           "Right ones round differently, and one works in float64: compare by torch.allclose, "
           "not bit for bit; and ask for an nn.Linear, not for how it was made."),
    arguments=lambda pieces: (pieces["fold"], pieces["Gains"]))


# ── ia3.broken ───────────────────────────────────────────────────────────────────────────────


LOOPHOLE = Loophole("ia3", "looks_folded", "fold_holds",
                    call=lambda test, fold: test(fold, resolved(cut("ia3", "Gains"))))
BROKEN = Exercise(
    id="ia3.broken", names=("broken_fold",), points=2, minutes=5, difficulty=2,
    optional=True, kept=False,
    **LOOPHOLE.fields,
    hints=("Go through the law, sentence by sentence: which line of looks_folded asks it?",
           "Which layers does looks_folded never make, and which factors does it never draw?",
           "What happens to a bias where the output is scaled? And where it is the input?"))


# ── ia3.nearest ──────────────────────────────────────────────────────────────────────────────


def nearest_gains(W: Tensor, delta: Tensor) -> Tensor:
    """Return the vector (n_out,) for which diag(l − 1) W is nearest to ΔW, both (n_out, n_in)."""
    return 1 + torch.linalg.lstsq(W[..., None].double(), delta[..., None].double(),
                                  driver="gelsd").solution.flatten().float()


def nearest_cases(seed: int) -> list[dict]:
    """Return weights and changes of them: random, reachable, unreachable, with a row of zeros."""
    draw = drawing(5000 + seed)
    cases = []
    for n_out, n_in in ((3, 4), (6, 6), (384, 384)):
        W = draw(n_out, n_in) * (0.5 + draw(n_out, 1).abs())
        cases.append({"W": W, "delta": 0.3 * draw(n_out, n_in) + draw(n_out, 1) * W})
    W = draw(5, 4)
    cases.append({"W": W, "delta": 0.1 * draw(5, 1) * W})
    W = draw(4, 3)
    W[2] = 0
    return [*cases, {"W": W, "delta": draw(4, 3)}]


def run_nearest(nearest_gains, case: Mapping) -> dict[str, Any]:
    """Ask for the vector, and whether the inputs are what they were."""
    given = {name: t.clone() for name, t in case.items()}
    return {"found": nearest_gains(given["W"], given["delta"]), "changed": changed(case, given)}


def judge_nearest(case: Mapping, seen: Mapping) -> Verdict:
    """Compare with the closed form; say how far from ΔW the change is, and how near it can be."""
    W, delta, found = case["W"], case["delta"], seen["found"]
    if found is None:
        return rejected("no_return")
    if seen["changed"]:
        return rejected("input_changed", f"Afterwards {seen['changed']} is not what it was before.")
    if not isinstance(found, Tensor) or found.shape != W.shape[:1]:
        return rejected("shape", f"For a weight {tuple(W.shape)} it gave {named(found)}.")
    found, full = found.float(), W.any(1)
    if not found[~full].isfinite().all():
        return rejected("zero_row", "Row 2 of W is zero, and its factor came out as "
                                    f"{found[~full][0].item()}.")
    right = nearest_gains(W, delta)
    if close(found[full], right[full], 1e-3):
        return Verdict(True, "No other vector comes nearer to ΔW.")
    told = (f"For a weight {tuple(W.shape)} the change that this vector makes is "
            f"{((found - 1)[:, None] * W - delta).norm():.4g} from ΔW; "
            f"{((right - 1)[:, None] * W - delta).norm():.4g} can be reached.")
    usual = {"minus_one": right - 1, "ratio_of_norms": (W + delta).norm(dim=1) / W.norm(dim=1)}
    if W.shape[0] == W.shape[1]:
        usual["columns"] = 1 + (W * delta).sum(0) / W.square().sum(0)
    return Verdict(False, told, recognised(usual, lambda l: close(found[full], l[full], 1e-3)))


NEAREST = Exercise(
    id="ia3.nearest", names=("nearest_gains",), points=2, minutes=9, difficulty=2,
    cases=nearest_cases, run=run_nearest,
    judge=judge_nearest, returns=report(found=Any, changed=str), mistakes={
        "input_changed": "W and ΔW stay as they are: make new tensors.",
        "shape": "One factor for each row of W, in a vector: (n_out,), not (n_out, 1).",
        "zero_row": "A row of zeros stays zero whatever its factor is, so any finite one will do. "
                    "Keep the division from 0 / 0.",
        "minus_one": "That is the factor minus 1. A factor that changes nothing is 1.",
        "ratio_of_norms": "That makes each row as long as it is after the change. Wanted is the "
                          "multiple of the row that comes nearest to it, which may be another.",
        "columns": "One factor for each column. Here the vector stands on the output: on the rows.",
    },
    hints=("Rows do not mix: for one row w and its change d, which number a makes a · w nearest "
           "to d?",
           "|a w − d|² is a parabola in a. Where is its lowest point?",
           "The factor is 1 + a: the row itself is there before anything changes. And a row that "
           "is zero?"))

EXERCISES = (FOLDS, LAYER, MERGE, HOLDS, BROKEN, NEAREST)
