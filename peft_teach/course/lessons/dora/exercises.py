"""The exercises of lesson 09: layer, law, a broken layer, scaled LoRA, referee, forgery."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from statistics import stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...checks.adapter_judge import (
    MISTAKES,
    Method,
    drawn_at_start,
    frozen_linear,
    learns,
    linear_cases,
    random_beside_zero,
)
from ...checks.exercise import Exercise, Verdict
from ...checks.judge import (
    changed,
    close,
    difference,
    drawing,
    named,
    not_a_tensor,
    number,
    recognised,
    rejected,
    report,
    scalar,
)
from ...checks.mutants import Law, Loophole
from ...verdicts import SAME, T95, UNSURE, of_runs
from . import mutants

# ── dora.layer ───────────────────────────────────────────────────────────────────────────────


def layer_cases(seed: int) -> list[dict]:
    """Return lesson 07's layers of float32, each with an m, half of it negative."""
    draw = drawing(9000 + seed)
    return [case | {"m": signed(case["n_out"], draw)}
            for case in linear_cases(seed) if case["W"].dtype == torch.float32]


def signed(n: int, draw: Callable[..., Tensor]) -> Tensor:
    """Return n numbers, none near zero, every second one negative."""
    return (0.5 + draw(n).abs()) * (-1.0)**torch.arange(n)


def _V(W: Tensor, case: Mapping, s: float | None = None) -> Tensor:
    """V = W + s B A, (n_out, n_in)."""
    s = case["alpha"] / case["rank"] if s is None else s
    return W + s * case["B"] @ case["A"]


def _output(norm: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Mapping], Tensor]:
    """Return DoRA's equation, with the norm of V taken by this function."""
    def equation(base: Any, case: Mapping) -> Tensor:
        V = _V(base.weight, case)
        return F.linear(case["x"], case["m"][:, None] * V / norm(V)[:, None], base.bias)

    return equation


def _usual_outputs(base: Any, case: Mapping) -> dict[str, Tensor]:
    """What the usual mistakes give."""
    W, b, x, m, V = base.weight, base.bias, case["x"], case["m"], _V(base.weight, case)
    V1, g = _V(W, case, s=1), m / V.norm(dim=1)
    return {"bias_scaled": g * F.linear(x, V, b),
            "norm_of_W": F.linear(x, (m / W.norm(dim=1))[:, None] * V, b),
            "no_scale": F.linear(x, (m / V1.norm(dim=1))[:, None] * V1, b),
            "norm_unscaled": F.linear(x, (m / V1.norm(dim=1))[:, None] * V, b),
            "wrong_axis": F.linear(x, m[:, None] * V / V.norm(dim=0), b)}


def as_in_lora(method: Method, case: dict, seen: dict) -> Verdict | None:
    """Do A and B start as lesson 07 has them start?"""
    verdict = random_beside_zero(method, case, seen)
    return verdict and rejected("not_loras_start", verdict.message)


DORA = Method(
    name="DoRALinear", base=frozen_linear, arguments=("rank", "alpha"), own=("A", "B", "m"),
    equation=_output(lambda V: V.detach().norm(dim=1)), tolerance=1e-4,
    formula="x W′ᵀ + b with W′ = m ⊙ V / ‖V‖", usual=_usual_outputs, starts=(as_in_lora,),
    attributes=lambda case: {"scale": case["alpha"] / case["rank"]},
    praise="Starts as the base, acts as W′, and the norm is a constant to the gradient.")
LEAKY = dataclasses.replace(DORA, equation=_output(lambda V: V.norm(dim=1)))


def run_layer(DoRALinear: Any, case: dict) -> dict[str, Any]:
    """Observe the layer as any adapter; how larger ones start; what it keeps from call to call."""
    seen = DORA.run(DoRALinear, case)
    if "again" not in seen:
        return seen
    layer = DoRALinear(frozen_linear(case), case["rank"], case["alpha"])
    kept = [name for name, value in vars(layer).items() if isinstance(value, Tensor)
            and value.numel() >= case["W"].numel()]
    layer(case["x"])
    with torch.no_grad():
        for name in DORA.own:
            getattr(layer, name).copy_(case[name])
        moved = layer.eval()(case["x"])
    return seen | {"drawn": drawn_at_start(DoRALinear), "kept": kept, "moved": moved}


def judge_layer(case: dict, seen: Mapping) -> Verdict:
    """Ask what every adapter is asked; a gradient that flows through the norm has a name."""
    verdict = DORA.judge(case, seen)
    if verdict.mistake == "no_gradient" and learns(LEAKY, case, seen) is None:
        return rejected("norm_learns", "The outputs are right, but the layer learns through the "
                                       f"norm. {verdict.message}")
    if verdict.passed and seen["kept"]:
        return rejected("copy", f"layer.{seen['kept'][0]} is a tensor as large as W, of its own.")
    if verdict.passed and not DORA.close(seen["moved"], right := DORA.right(case)[0]):
        return rejected("stale", "Called in training, then moved, then called in eval mode: "
                                 + difference("layer(x)", seen["moved"], right))
    return verdict


LAYER = Exercise(
    id="dora.layer", names=("DoRALinear",), points=3, minutes=12, difficulty=3,
    reference="peft_teach.methods.dora:DoRALinear",
    cases=layer_cases, run=run_layer, judge=judge_layer,
    returns=DORA.returns(drawn=list[dict[str, Tensor]], kept=list[str], moved=Any),
    mistakes=MISTAKES | {
        "bias_scaled": "That is the output with the bias scaled, too. What does the equation "
                       "replace, and what does it leave alone?",
        "norm_of_W": "That divides by the length of W's rows. Once A and B have moved, what keeps "
                     "a row of W′ at length |m|?",
        "no_scale": "V is W + s B A with s = alpha / rank; here s is missing.",
        "norm_unscaled": "The direction has s in it, its norm does not: of what is the norm taken?",
        "wrong_axis": "The norm is taken over the outputs. One output is one row of V.",
        "norm_learns": "The paragraph holds ‖V‖ constant. Through which tensor does yours let the "
                       "gradient reach A and B a second time?",
        "not_loras_start": "A and B start as in lesson 07: one at zero, the other random, so that "
                           "inputs of size 1 leave it with about 1.",
        "copy": "It stays behind when the model moves to a GPU: read self.base.weight when you "
                "need W.",
        "stale": "Whatever is kept from one call to the next is of another A and B.",
        "no_scale_attribute": "Keep alpha / rank as self.scale: later sections read it.",
    },
    hints=("Write W′ down for a layer with two outputs and three inputs: how many entries has each "
           "of W, B A, m and ‖V‖?",
           "At the start one of A and B is zero. What must m be, so that W′ is W?",
           "Two parts of the equation contain A and B. Through which of them does the paragraph "
           "let the gradient flow, and how does PyTorch hold a tensor constant?"))


# ── dora.law ─────────────────────────────────────────────────────────────────────────────────


LAW = Law(mutants.RIGHT, mutants.BROKEN)
HOLDS = Exercise(
    id="dora.law", names=("dora_holds",), points=3, minutes=15, difficulty=3,
    **LAW.fields,
    hints=("You have the layer, not its weight. Which inputs make a linear layer show its bias, "
           "and which its weight?",
           "At the start most broken versions are right. Fill A, B and m with random numbers, "
           "some of m negative, and ask again; let alpha / rank differ from 1.",
           "For the norm: find a number, computed from W′, that A and B cannot change. What is its "
           "true gradient with respect to B, and what is it if ‖V‖ counts as constant?"),
    arguments=lambda pieces: (pieces["DoRALinear"],))


# ── dora.broken ──────────────────────────────────────────────────────────────────────────────


class BrokenDoRA(mutants.Leaky):
    """Lets the gradient flow through the norm."""


LOOPHOLE = Loophole("dora", "looks_right", "dora_holds")
BROKEN = Exercise(
    id="dora.broken", names=("BrokenDoRA",), points=2, minutes=6, difficulty=2,
    kept=False, reference="peft_teach.course.lessons.dora.exercises:BrokenDoRA",
    **LOOPHOLE.fields,
    hints=("Go through the law, sentence by sentence: which line of looks_right asks it?",
           "Which values does looks_right never choose? Think of alpha / rank, and of the bias "
           "once A and B have moved.",
           "It asks whether gradients arrive. Does it ask whether they are right?"))


# ── dora.convert ─────────────────────────────────────────────────────────────────────────────


def convert_cases(seed: int) -> list[dict]:
    """Return layers with rows of unequal lengths, as m and g of both signs; the smallest first."""
    draw, cases = drawing(9300 + seed), []
    for n_in, n_out, rank, s in ((3, 2, 1, 2.0), (4, 4, 2, 0.5), (6, 11, 3, 3.0), (40, 8, 4, 0.25)):
        lengths = torch.logspace(-1, 1, n_out)
        cases.append({"m": signed(n_out, draw), "g": signed(n_out, draw),
                      "W": draw(n_out, n_in) * (lengths / n_in**0.5)[:, None],
                      "A": draw(rank, n_in), "B": draw(n_out, rank), "s": s})
    return cases


def run_convert(functions: tuple, case: dict) -> dict[str, Any]:
    """Convert m into a scaling vector, and another one into an m."""
    shared = {name: case[name] for name in ("W", "A", "B")}
    given = {name: case[name].clone() for name in ("m", "g", *shared)}
    for_gain, for_dora = ([given[name] for name in (first, *shared)] for first in ("m", "g"))
    found = {"gain": functions[0](*for_gain, case["s"]), "dora": functions[1](*for_dora, case["s"])}
    return found | {"changed": changed({name: case[name] for name in given}, given)}


def judge_convert(case: dict, seen: Mapping) -> Verdict:
    """Compare both with what gives the same W′."""
    W, BA = case["W"], case["B"] @ case["A"]
    length = (W + case["s"] * BA).norm(dim=1)
    if seen["changed"]:
        return rejected("input_changed", f"Afterwards, {seen['changed']} is not what it was.")
    for call, given, found, function, inverse in (
            ("to_gain(m, W, A, B, s)", case["m"], seen["gain"], torch.div, torch.mul),
            ("to_dora(g, W, A, B, s)", case["g"], seen["dora"], torch.mul, torch.div)):
        if verdict := not_a_tensor(found):
            return verdict
        right = function(given, length)
        if not close(found, right, 1e-4):
            wrong = {"norm_of_W": function(given, W.norm(dim=1)),
                     "sign_lost": function(given.abs(), length),
                     "no_scale": function(given, (W + BA).norm(dim=1)),
                     "inverted": inverse(given, length)}
            return Verdict(False, "The two layers are not one function. "
                                  + difference(call, found, right),
                           recognised(wrong, partial(close, found, tolerance=1e-4)))
    return Verdict(True, "One function, written in two ways, there and back.")


CONVERT = Exercise(
    id="dora.convert", names=("to_gain", "to_dora"), points=2, minutes=3, difficulty=2,
    cases=convert_cases, run=run_convert, judge=judge_convert,
    returns=report(gain=Any, dora=Any, changed=str),
    mistakes={
        "norm_of_W": "That is right only where B A is zero: which matrix is normalized in W′?",
        "sign_lost": "A negative number turns its row round. Does yours still do so?",
        "no_scale": "s is missing.",
        "inverted": "One of the two multiplies and the other divides: here they are exchanged.",
        "input_changed": "Make a new tensor: the layer still needs the old one.",
    },
    hints=("Write the two functions of x below each other. In which factors do they differ?",
           "Both contain V, whatever it is. What stands in front of V on each side?",
           "On one output and one input: W = 2, B A = 0, m = 6. What is g?"))


# ── dora.referee ─────────────────────────────────────────────────────────────────────────────

CLOSE = 2e-3    # two limits of an interval are called equal within this share of its half width


def referee_cases(seed: int) -> list[dict]:
    """Return accuracies whose interval lies on either side of each border; three small ones first.
    """
    cases = [{"a": [81.0, 86.0, 82.0], "b": [80.0, 84.0, 79.0], "margin": 1.0}]
    cases += [pairs(*each, seed=seed) for each in (
        (10, 0.2, 0.5, 1.0), (10, 0.6, 0.3, 1.0), (20, 1.5, 0.7, 1.0), (5, -2.0, 1.2, 1.0),
        (10, 0.4, 0.9, 1.0), (10, -0.7, 0.5, 1.5), (20, -0.6, 0.8, 1.0), (5, 0.1, 2.0, 1.0))]
    return cases


def pairs(n: int, middle: float, half: float, margin: float, seed: int) -> dict:
    """Return n pairs whose differences have this interval; the seeds differ more than the methods.
    """
    generator = torch.Generator().manual_seed(9900 + 100 * seed + n)
    drawn = torch.randn(2, n, generator=generator, dtype=torch.float64)
    spread = (drawn[0] - drawn[0].mean()) / drawn[0].std()
    b = 80 + 3 * drawn[1]
    a = b + middle + spread * half * n**0.5 / T95[n]
    return {"a": a.tolist(), "b": b.tolist(), "margin": margin}


def run_referee(referee: Callable, case: dict) -> dict[str, Any]:
    """Hand on the three things that it gave; of anything else, what it is."""
    given = referee([*case["a"]], [*case["b"]], case["margin"])
    values = [*map(scalar, given)] if isinstance(given, list | tuple) else []
    return {"type": named(given), "given": values}


def judge_referee(case: dict, seen: Mapping) -> Verdict:
    """Compare the interval, then the verdict that follows from it."""
    if seen["type"] == "None":
        return rejected("no_return")
    low, high, said = (*map(number, seen["given"][:2]), seen["given"][-1]) if len(
        seen["given"]) == 3 else (None, None, None)
    if low is None or high is None or not isinstance(said, str):
        return rejected("not_three", f"It gave {seen['type']} with {seen['given']}.")
    a, b, margin = case["a"], case["b"], case["margin"]
    found = of_runs(a, b, margin)
    right = found.low, found.high
    half, n = (right[1] - right[0]) / 2, len(a)
    told = f"a = {a}, b = {b}" if n < 5 else f"{n} pairs, mean difference {sum(right) / 2:.3f}"
    if not (abs(low - right[0]) <= CLOSE * half and abs(high - right[1]) <= CLOSE * half):
        apart = (stdev(a)**2 + stdev(b)**2)**0.5 / n**0.5
        ratio, middle = (high - low) / 2 / half, (high + low) / 2
        usual = {"reversed": 1.0 if abs(middle + sum(right) / 2) < CLOSE * half else None,
                 "unpaired": tuple(t * apart / half for t in (T95[n], T95.get(2 * n - 1, 2), 1.96)),
                 "normal": (1.96 / T95[n], 2 / T95[n], T95[10] / T95[n]),
                 "with_n": ((n - 1) / n)**0.5, "no_root": n**0.5}
        return Verdict(False, f"{told}: it gave {low:.3f} to {high:.3f}; expected {right[0]:.3f} "
                              f"to {right[1]:.3f}.", recognised(
            usual, lambda value: value is not None and abs(ratio - value) < 5 * CLOSE))
    given = " ".join(said.lower().split())
    if given != (expected := found.word):
        held = right[0] < 0 < right[1]
        mistake = ("zero_is_no_proof" if held and given == SAME else
                   "too_small" if expected == SAME else None)
        return Verdict(False, f"From {right[0]:.2f} to {right[1]:.2f}, with a margin of {margin:g},"
                              f" it says {said!r}; expected {expected!r}.", mistake)
    return Verdict(True, "Paired, with Student's t, and no verdict without an interval.")


REFEREE = Exercise(
    id="dora.referee", names=("referee",), points=2, minutes=7, difficulty=2,
    cases=referee_cases, run=run_referee, judge=judge_referee,
    returns=report(type=str, given=list[Any]),
    mistakes={
        "unpaired": "That is the interval of two separate samples. The same seed stands behind "
                    "both of a pair: of what should you take the deviation?",
        "reversed": "The limits have the wrong sign: it is a − b.",
        "normal": "1.96 is for many values, 2.26 for ten: look up Student's t for these.",
        "with_n": "The deviation of a sample divides by n − 1.",
        "no_root": "That is the spread of single pairs. How well is their mean known?",
        "zero_is_no_proof": "An interval that holds zero and is wider than the margin also holds "
                            "differences that would matter.",
        "too_small": "The whole interval lies within the margin: whatever its sign, the difference "
                     "is too small to matter.",
        "not_three": "Expected: low, high, and one of \"better\", \"worse\", \"the same\" and "
                     f"\"{UNSURE}\".",
    },
    hints=("Ten seeds, ten differences. Everything else is computed from these alone.",
           "A mean of n values varies less than one of them: by which factor?",
           "Draw the interval and the margin on one axis. Which verdict needs both ends, and "
           "which only one?"))


# ── dora.forge ───────────────────────────────────────────────────────────────────────────────

# What the paper's figure measures: Liu et al. 2024, arXiv 2402.09353, §3.2, eqs. (3) and (4), a row
# for their column.


def moves(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 − cos of each row's angle, and the change of its length: both (n_out,), ≥ 0."""
    before, after = before.double(), after.double()
    length, new = before.norm(dim=1), after.norm(dim=1)               # (n_out,)
    cosine = (before * after).sum(dim=1) / (length * new)
    return (1 - cosine).clamp_min(0), (new - length).abs()


def point(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Return ΔD and ΔM of one matrix: the means of `moves` over its rows."""
    turn, change = moves(before, after)
    return turn.mean().item(), change.mean().item()


NEAR, APART, FARTHEST = 1e-4, 1e-3, 0.1    # of dots: on the line; along ΔD; and the largest ΔD
KEPT = 0.015   # of a row's length along its old direction: added noise changes it by no more
CALLS, FAR = 8, 6    # of `forge`; standard errors, of the squared cosines of its turns


def forge_cases(seed: int) -> list[dict]:
    """Return matrices with rows of unequal lengths, a slope, and a start with room above zero."""
    generator = torch.Generator().manual_seed(9600 + seed)
    cases = []
    for sizes, slope, start in (
            (3 * [(16, 64)], -2.0, (0.01, 0.1)), (6 * [(24, 32)], 0.0, (0.02, 0.05)),
            (4 * [(40, 48)], 3.0, (0.005, 0.01)),
            ([(16, 64), (64, 48), (8, 96)], -0.6, (0.03, 0.2))):
        weights = []
        for n_out, n_in in sizes:
            lengths = 0.6 + 2 * torch.rand(n_out, 1, generator=generator)
            weights.append(F.normalize(torch.randn(n_out, n_in, generator=generator)) * lengths)
        cases.append({"weights": weights, "slope": slope, "start": start})
    return cases


def run_forge(forge: Callable, case: dict) -> dict[str, Any]:
    """Forge some times, with different random numbers; what came out, and is W as it was?"""
    given = [W.clone() for W in case["weights"]]
    return {"made": [forge([*given], case["slope"], case["start"]) for _ in range(CALLS)],
            "intact": all(map(torch.equal, given, case["weights"]))}


def judge_forge(case: dict, seen: Mapping) -> Verdict:
    """Measure the dots as the lesson does; then ask whether the turns are noise."""
    weights, made = case["weights"], seen["made"]
    if not seen["intact"]:
        return rejected("input_changed", "Afterwards, the weights are not what they were.")
    for each in made:
        if verdict := _not_matrices(weights, each):
            return verdict
    dots = [point(W, new) for W, new in zip(weights, made[0])]    # (ΔD, ΔM)
    return (_off_the_line(case, made[0], dots) or _not_noise(weights, made)
            or Verdict(True, f"{len(dots)} dots on a line of slope {case['slope']:g}, made from "
                             "noise and lengths."))


def _not_matrices(weights: list[Tensor], found: Any) -> Verdict | None:
    """Object to what is not a list of finite matrices in the shapes of the weights."""
    if found is None:
        return rejected("no_return")
    gave, expected = (f"[{', '.join(map(named, each))}]" if isinstance(each, list | tuple)
                      else named(each) for each in (found, weights))
    if gave != expected:
        return Verdict(False, f"It gave {gave}; expected {expected}.")
    if not all(new.isfinite().all() for new in found):
        return Verdict(False, "There is a NaN or an infinite entry in what it gave.")
    return None


def _off_the_line(case: dict, made: Any, dots: list[tuple[float, float]]) -> Verdict | None:
    """Object to dots that are not on the line, and to dots that lie too near each other."""
    (D0, M0), slope = case["start"], case["slope"]
    for i, (D, M) in enumerate(dots):
        right = M0 + slope * (D - D0)
        if not (abs(M - right) <= NEAR and (i or abs(D - D0) <= NEAR)):    # nor nan: no angle
            expected = f"({D0:g}, {M0:g})" if not i else f"(…, {right:.4f})"
            told = (f"Slope {slope:g}, start {D0:g}, {M0:g}: dot {i + 1} has (ΔD, ΔM) = "
                    f"({D:.4f}, {M:.4f}); expected {expected}.")
            exchanged = all(abs(D - D0 - slope * (M - M0)) < NEAR for D, M in dots)
            gained = right / case["weights"][i].norm(dim=1).mean() - D    # along the old direction
            additive = abs(gained) > 2 * KEPT and all(
                ((new * W).sum(1) / W.square().sum(1) - 1).mean().abs() < KEPT
                for W, new in zip(case["weights"], made))
            return Verdict(False, told, "axes" if exchanged else "additive" if additive else None)
    across = sorted(D for D, _ in dots)
    if across[-1] >= FARTHEST or min(b - a for a, b in pairwise(across)) < APART - NEAR:
        return rejected("crowded", f"The ΔD are {', '.join(f'{D:.4f}' for D in across)}.")
    return None


def _not_noise(weights: list[Tensor], made: list) -> Verdict | None:
    """Object to turns that calls or rows have in common: cos² of noise is 1 / (n_in − 1)."""
    for n_in in {W.shape[1] for W in weights}:
        turns = torch.cat([torch.stack([F.normalize(_aside(W, new)) for new in each])
                           for W, *each in zip(weights, *made) if W.shape[1] == n_in], dim=1)
        for told, each in (("Called again, it turned the rows in part the same way.",
                            turns.transpose(0, 1)),
                           ("It turned the rows in part along one direction.", turns)):
            squares = (each @ each.mT).tril(-1).square()    # of pairs: calls, or rows
            pairs = squares.numel() * (1 - 1 / len(squares[0])) / 2
            if (n_in - 1) * squares.sum() - pairs > FAR * (2 * pairs)**0.5:
                return rejected("not_random", told)
    return None


def _aside(W: Tensor, new: Tensor) -> Tensor:
    """The part of each new row that is at a right angle to the old one."""
    W, new = W.double(), new.double()
    return new - (new * W).sum(1, keepdim=True) / W.square().sum(1, keepdim=True) * W


FORGE = Exercise(
    id="dora.forge", names=("forge",), points=3, minutes=10, difficulty=3,
    optional=True, cases=forge_cases, run=run_forge, judge=judge_forge,
    returns=report(made=list[Any], intact=bool),
    mistakes={
        "additive": "Along its old direction, each row is as long as before: that is what added "
                    "noise does, and its dots only rise. What else may you set freely?",
        "axes": "ΔD is the first of the two and lies along the x axis: ΔM = … + slope · ΔD.",
        "crowded": "They should be at least 0.001 apart and below 0.1.",
        "not_random": "Every row needs noise of its own, drawn anew at each call and without a "
                      "fixed seed: then no turn can know anything.",
        "input_changed": "Make new matrices: the weights still serve as the start.",
    },
    hints=("For one row: which two numbers do you want its length to change by, and its cosine to "
           "be? Draw the triangle of the old row, the new one and the angle.",
           "Make the noise stand at a right angle to its row, and of length 1. Then any angle is a "
           "mixture of two directions.",
           "Length and direction are now two separate factors of the new row. Which formula of "
           "this lesson has that form?"))

EXERCISES = (LAYER, HOLDS, BROKEN, CONVERT, REFEREE, FORGE)
