"""The exercises of lesson 06: where a gain folds, the layer, its merge and its law, its reach."""

from collections.abc import Mapping
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ... import mutants, records
from ...adapter_judge import MISTAKES, Method, frozen_linear
from ...exercise import VALUE, Exercise, Verdict
from ...judge import NO_RETURN, close, difference, named, plain, rejected, strange
from . import block, versions, words

HERE = "peft_teach.course.lessons.ia3"

# ── ia3.folds ────────────────────────────────────────────────────────────────────────────────

RIGHT = {"key": {"key rows", "query rows"}, "value": {"value rows", "attention_out columns"},
         "sum": set(), "before": {"ffn_in rows"}, "after": {"ffn_out columns"}}


class Ours(dict):
    """Our own table, so that it is never taken for an answer of the reader's."""


FOLDED = Ours({vector: sorted(places) for vector, places in RIGHT.items()})


def run_folds(folds: Any, case: Any) -> dict[str, Any]:
    """Hand on the table in one form: a sorted list of places for each vector."""
    said = {}
    for vector, places in folds.items() if isinstance(folds, Mapping) else ():
        places = () if places is None or places == {} else (places,) if isinstance(
            places, str) else places
        listed = list(places) if isinstance(places, list | tuple | set | frozenset) else [places]
        said[str(vector)[:40]] = sorted({" ".join(str(place)[:60].lower().split())
                                         for place in listed} - {"none", ""})
    return {"said": said, "type": named(folds)}


def judge_folds(case: Any, seen: Any) -> Verdict:
    """Compare with what holds; show on a block of random weights what a wrong place does."""
    if odd := strange(seen, "said", "type", said=dict, type=str):
        return odd
    said = seen["said"]
    if set(said) != set(RIGHT) or not all(isinstance(each, list) for each in said.values()):
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
                return rejected(_why_not(vector, place), f"{told} The gain {vector!r}, taken away "
                                f"and put into the {place} instead: {shown}.")
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
    id="ia3.folds", lesson="06", names=("folds",), points=2, minutes=9, difficulty=2, answer=VALUE,
    reference=f"{HERE}.exercises:FOLDED",
    cases=lambda seed: [{"block": "post-norm"}], run=run_folds, judge=judge_folds,
    mistakes={
        "not_a_table": "Wanted is a dict with the keys key, value, sum, before and after, and a "
                       "set of places for each.",
        "no_place": "A place is one of the six matrices, a space, and rows or columns: "
                    "\"key rows\".",
        "through_norm": "A LayerNorm stands between that gain and the next matrix, and the sum "
                        "comes from two terms. Is a sum with one term scaled the scaled sum? "
                        "And what does the norm do with the mean and the spread of what it reads?",
        "through_activation": "The activation stands between them: is gelu(l h) equal to "
                              "l gelu(h)?",
        "wrong_side": "A row makes one output feature, a column reads one input feature. Is the "
                      "gain on what that matrix gives, or on what it reads?",
        "elsewhere": "What of that matrix's output, or of its input, does the gain multiply? "
                     "Follow one feature through the drawing.",
        "none_named": "There is one at least: a matrix that makes what the gain multiplies, or one "
                      "that reads it.",
        "half": "Keys meet queries in a product, and values pass through a weighted mean. Who else "
                "could carry the factor?",
    },
    hints=("Write down one entry of what comes out behind the next matrix, with the gain in it, as "
           "a sum. Which factor of each term could take l?",
           "For the key: a score is a sum over features of query times key. For the value: a mean "
           "over tokens keeps each feature by itself.",
           "Try it: pictures.apart(\"key\", \"key columns\") says how far the output is off. "
           "Ask it only after you have an answer to defend."))


# ── ia3.layer ────────────────────────────────────────────────────────────────────────────────


def linear_cases(seed: int) -> list[dict]:
    """Return layers that differ in side, shape, bias and dtype, with inputs and gains."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def draw(*shape: int, dtype=torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    cases = []
    for side, n_in, n_out, bias, dtype, batch in (
            ("output", 4, 3, True, torch.float32, (2,)), ("input", 4, 3, True, torch.float32, (2,)),
            ("output", 5, 9, False, torch.float32, (3, 2)),
            ("output", 6, 6, True, torch.float32, (3, 2)),
            ("input", 6, 6, True, torch.float32, (3, 2)),
            ("input", 1536, 384, True, torch.float32, (2, 3)),
            ("output", 8, 8, True, torch.bfloat16, (3, 2))):
        cases.append({"n_in": n_in, "n_out": n_out, "side": side,
                      "W": draw(n_out, n_in, dtype=dtype) / n_in**0.5,
                      "b": draw(n_out, dtype=dtype) if bias else None,
                      "x": draw(*batch, n_in, dtype=dtype),
                      "l": 1 + 0.7 * draw(n_out if side == "output" else n_in)})
    return cases


def scaled(base: nn.Linear, case: Mapping) -> Tensor:
    """Return what the layer gives."""
    x, l = case["x"], case["l"]
    if case["side"] == "input":
        return base((l * x).to(x.dtype))
    y = base(x)
    return (l * y).to(y.dtype)


def usual_scales(base: nn.Linear, case: Mapping) -> dict[str, Tensor]:
    """Return what the usual mistakes give."""
    x, l, y = case["x"], case["l"], base(case["x"])
    output = case["side"] == "output"
    found = {"l_unused": y, "plus_one": base((x * (1 + l)).to(x.dtype)) if not output
             else y * (1 + l), "added": y + l if output else base((x + l).to(x.dtype))}
    if case["n_in"] == case["n_out"]:
        found["other_side"] = base((l * x).to(x.dtype)) if output else l * y
    if case["b"] is not None:
        found["bias_spared"] = l * (y - case["b"]) + case["b"] if output else (
            F.linear((l * x).to(x.dtype), base.weight))
    return found


def at_one(method: Method, case: Mapping, seen: Mapping) -> Verdict | None:
    """Does l start at one?"""
    l = seen["start_own"]["l"]
    if (l == 1).all():
        return None
    return rejected("not_one", f"The entries of l start between {l.min():.3g} and {l.max():.3g}; "
                               "expected 1.")


LAYER_METHOD = Method(
    name="Gains", base=frozen_linear, own=("l",), arguments=("side",), equation=scaled,
    formula="l ⊙ base(x), or base(l ⊙ x)", usual=usual_scales, usual_shapes=lambda shapes: {
        "one_number": {"l": (1,)}}, starts=(at_one,),
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
    verdict = LAYER_METHOD.judge(case, seen)
    if verdict.passed and seen.get("side") != case["side"]:
        return rejected("side_lost", f"layer.side is {seen.get('side')}; expected "
                                     f"{case['side']!r}.")
    return verdict


LAYER = Exercise(
    id="ia3.layer", lesson="06", names=("Gains",), points=2, minutes=6, difficulty=1,
    reference=f"{HERE}.gains:Gains",
    equivalents=("peft_teach.methods.ia3:IA3Linear",),
    cases=linear_cases, run=run_layer, judge=judge_layer,
    returns=LAYER_METHOD.returns(side=str), mistakes=MISTAKES | {
        "side_lost": "Who folds the layer later must know which side l is on: keep it as "
                     "self.side.",
        "shapes": "l has one entry a feature: of the output where side is \"output\", of the input "
                  "where it is \"input\".",
        "one_number": "One number scales everything alike. Each feature has a gain of its own.",
        "not_one": "A gain that changes nothing is 1.",
        "l_unused": "The output is the base's alone: does forward use l?",
        "plus_one": "The factor is 1 + l. Here l itself is the factor, and starts at one.",
        "added": "l is added. It multiplies.",
        "other_side": "The gain stands on the other side: \"output\" scales what the base gives, "
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
    """Return those of the layer; and layers of gains around such layers, "inner" (side, l)."""
    generator = torch.Generator().manual_seed(3000 + seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

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
    """Return weight and bias of what the outermost gains stand on, with the inner gains folded."""
    W, b = case["W"], case["b"]
    for side, l in case["inner"]:
        W = l[:, None] * W if side == "output" else l * W
        b = l * b if b is not None and side == "output" else b
    return W, b


def _state(layer: nn.Module) -> dict[str, Any]:
    """What a finished layer is: its tensors, what of them trains, and its side."""
    state = {f"layer.{name}": p.detach().clone() for name, p in layer.named_parameters()}
    state |= {f"layer.{name}.requires_grad": p.requires_grad
              for name, p in layer.named_parameters()}
    return state | {"layer.side": layer.side, "layer.training": layer.training}


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Name the first thing that is not what it was, or nothing."""
    return next((name for name in (*before, *after) if name not in before or name not in after
                 or not _same(before[name], after[name])), "")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


def run_merge(fold, case: Mapping) -> dict[str, Any]:
    """Fold a finished layer; report what came out, and whether the layer changed."""
    layer = _layer(case)
    before = _state(layer)
    linear = fold(layer)
    seen = {"type": named(linear), "is_linear": type(linear) is nn.Linear,
            "changed": _changed(before, _state(layer))}
    if not seen["is_linear"]:
        return seen
    own = {p.data_ptr() for p in linear.parameters()}
    return seen | {"shared": not own.isdisjoint(p.data_ptr() for p in layer.parameters()),
                   "features": [linear.in_features, linear.out_features],
                   "weight": linear.weight.detach().clone(),
                   "bias": None if linear.bias is None else linear.bias.detach().clone()}


def judge_merge(case: Mapping, seen: Any) -> Verdict:
    """Ask for the layer that was left alone, the weight, and then the bias."""
    if odd := strange(seen, "type", "is_linear", "changed", type=str, is_linear=bool, changed=str,
                      shared=bool, features=list, weight=Tensor, bias=(Tensor, NoneType)):
        return odd
    (W, b), l, output = _inside(case), case["l"], case["side"] == "output"
    if seen["type"] == "None":
        return rejected("no_return")
    if seen["changed"]:
        return rejected("layer_changed", f"After fold(layer), {seen['changed']} is not what it "
                                         "was.")
    if not seen["is_linear"]:
        return rejected("not_linear", f"fold(layer) returned {seen['type']}.")
    if not all(name in seen for name in ("shared", "features", "weight", "bias")):
        return Verdict(False, "The check's report is not whole.")
    if seen["shared"]:
        return rejected("shared", "A parameter of the new layer is one of the old layer's own.")
    if seen["weight"].shape != W.shape or seen["features"] != [W.shape[1], W.shape[0]]:
        return rejected("sizes", f"Of a weight {tuple(W.shape)} it made "
                                 f"{tuple(seen['weight'].shape)}, with in and out features "
                                 f"{seen['features']}.")
    if seen["weight"].dtype != W.dtype:
        return rejected("dtype", f"The base is {W.dtype}, the new weight {seen['weight'].dtype}.")
    by = l[:, None] if output else l
    right = (by * W.float()).to(W.dtype)
    told = f"side = {case['side']!r}, {W.shape[1]} features in and {W.shape[0]} out."
    if case["inner"]:
        told = f"{told} Its base is a layer of gains, with side = {case['inner'][-1][0]!r}."
    if not close(seen["weight"], right):
        told = f"{told} {difference('The weight', seen['weight'], right)}"
        usual = {"inner_lost": by * case["W"].float()} if case["inner"] else {}
        usual |= {"l_unused": W, "plus_l": W.float() + by, "twice": by * by * W.float()}
        if W.shape[0] == W.shape[1]:
            usual["other_axis"] = (l if output else l[:, None]) * W.float()
        return Verdict(False, told, next((name for name, weight in usual.items()
                                          if close(seen["weight"], weight.to(W.dtype))), None))
    if (seen["bias"] is None) != (b is None):
        return (rejected("bias_lost", f"{told} The base has a bias, the new layer none.")
                if b is not None else
                rejected("bias_invented", f"{told} The base has no bias, the new layer has one."))
    right = b if b is None or not output else (l * b.float()).to(b.dtype)
    if b is not None and not close(seen["bias"], right):
        told = f"{told} {difference('The bias', seen['bias'], right)}"
        if output and close(seen["bias"], b):
            return rejected("bias_as_it_was", told)
        return rejected("bias_changed", told)
    return Verdict(True, "One plain layer with the same outputs, and nothing else has changed.")


MERGE = Exercise(
    id="ia3.merge", lesson="06", names=("fold",), points=2, minutes=10, difficulty=2,
    reference=f"{HERE}.gains:fold",
    equivalents=("peft_teach.methods.ia3:IA3Linear.merged",),
    cases=merge_cases, run=run_merge, judge=judge_merge, mistakes={
        "no_return": NO_RETURN,
        "not_linear": "A new, plain nn.Linear is wanted: nothing of the adapter should remain.",
        "layer_changed": "The layer that is folded stays as it is: whoever goes on training it "
                         "would scale a second time.",
        "shared": "Training one would move the other: the new layer needs tensors of its own.",
        "sizes": "nn.Linear(n_in, n_out) takes the inputs first, though its weight is "
                 "(n_out, n_in).",
        "dtype": "The new layer has the dtype of the base.",
        "inner_lost": "The gains of the layer inside are lost: they stand between the plain layer "
                      "and these.",
        "l_unused": "That is W as it was.",
        "plus_l": "l is added to the weight. It multiplies.",
        "twice": "l is in it twice.",
        "other_axis": "The gains went along the other axis: W is (n_out, n_in). Which axis counts "
                      "what the layer gives, which what it reads?",
        "misfit": "Which axis of the weight is as long as l? Rows count outputs, columns inputs.",
        "bias_lost": "The outputs need a bias as before.",
        "bias_invented": "nn.Linear makes a bias unless it is told not to.",
        "bias_as_it_was": "Here the whole output is scaled, and the bias is a part of it.",
        "bias_changed": "Which of the gains stand before the bias is added, which behind? Only "
                        "what stands behind it multiplies it.",
    },
    hints=("Write the output of each side as a sum: weight times input, plus bias. Where does l "
           "stand in each of the two terms?",
           "A weight is (n_out, n_in). For one side l must run down the rows, for the other along "
           "them: which needs a new axis?",
           "Where the base is itself a layer of gains: what would make a plain layer of that one?"))


# ── ia3.holds ────────────────────────────────────────────────────────────────────────────────


LAW = mutants.Law(versions.RIGHT, versions.BROKEN,
                  call=lambda fold_holds, fold: fold_holds(fold, versions.Gains))
LOSES = "loses the bias"    # the one that a test finds that compares, and leaves l at one


def judge_holds(case: Mapping, answers: Any) -> Verdict:
    """Judge a test by its outcomes, and name what learners slip on."""
    verdict = LAW.judge(case, answers)
    if verdict.mistake == "let_through":
        missed = set(mutants.survivors(answers, versions.BROKEN))
        if missed >= versions.AT_ONES and LOSES not in missed:
            return rejected("at_ones", verdict.message)
        special = next((mistake for mistake, names in versions.SLIPS.items() if missed <= names),
                       "let_through")
        return rejected(special, verdict.message)
    return verdict


HOLDS = Exercise(
    id="ia3.holds", lesson="06", names=("fold_holds",), points=3, minutes=11, difficulty=3,
    reference=f"{HERE}.gains:fold_holds", cases=lambda seed: [{"seed": seed}],
    run=LAW.run, judge=judge_holds, returns=LAW.returns, mistakes=mutants.MISTAKES | {
        "at_ones": "A new layer's gains are all 1, and there every fold is right. What must you do "
                   "to l before you compare?",
        "no_bias": "Each of these treats the weight well. What else does a linear layer have?",
        "one_side": "One of the two sides was never tried, or only where it cannot show.",
        "not_plain": "Its outputs are the same, and something of the adapter remains.",
        "afterwards": "Its outputs are right. And the layer that was folded, what does it give "
                      "afterwards?",
        "no_bare_base": "Some linear layers have no bias, those of SmolLM2 for instance. Was one "
                        "of them among your bases?",
        "one_base": "Your bases were all alike: square, and with a bias. The law speaks of any.",
        "square_only": "It never met a base with more outputs than inputs, or fewer.",
        "too_loose": "Rounding in float32 is some millionths of what is rounded. How far apart may "
                     "two outputs be for your test?",
        "zero": "It was never asked to mute a feature.",
        "in_the_weight": "Called, it gives the right output. But a file keeps a weight and a bias: "
                         "what do these two give alone?",
        "shared": "Its outputs are right, and the layer still gives what it gave. What would it "
                  "give if somebody trained the plain one?",
        "near_one": "That one is right for gains above zero. Nothing keeps a gain there.",
    },
    hints=("Make a layer, give l random entries, and compare what it gives with what the fold "
           "gives, on a random input. Which sides, and which bases?",
           "Several broken ones have the right outputs: they write into the layer, or are tied to "
           "it, or hold their gains elsewhere than in the weight. What do you look at, and when? "
           "What happens to the layer if you fill the new one's parameters with something else?",
           "Right ones round differently, and one works in float64: compare by torch.allclose, "
           "not to the bit; and ask for an nn.Linear, not for how it was made."),
    arguments=lambda pieces: (pieces["fold"], pieces["Gains"]))


# ── ia3.nearest ──────────────────────────────────────────────────────────────────────────────


def nearest_cases(seed: int) -> list[dict]:
    """Return weights and changes of them: random, reachable, unreachable, with a row of zeros."""
    generator = torch.Generator().manual_seed(5000 + seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

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
    """Ask for the gains, and whether the inputs are what they were."""
    W, delta = case["W"].clone(), case["delta"].clone()
    found = nearest_gains(W, delta)
    return {"found": found.detach().clone() if isinstance(found, Tensor) else named(found),
            "intact": torch.equal(W, case["W"]) and torch.equal(delta, case["delta"])}


def judge_nearest(case: Mapping, seen: Any) -> Verdict:
    """Compare with the closed form; say how far from ΔW the change is, and how near it can be."""
    if odd := strange(seen, "found", "intact", found=(Tensor, str), intact=bool):
        return odd
    W, delta, found = case["W"], case["delta"], seen["found"]
    if found == "None" and isinstance(found, str):
        return rejected("no_return")
    if not seen["intact"]:
        return rejected("input_changed", "Afterwards W or ΔW is not what it was before.")
    n = len(W)
    if not isinstance(found, Tensor) or found.shape != (n,):
        shape = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else found
        return rejected("shape", f"For a weight {tuple(W.shape)} it gave {shape}.")
    found = found.float()
    empty = ~W.any(1)
    if empty.any() and not found.isfinite().all():
        return rejected("zero_row", "Row 2 of W is zero, and its gain came out as "
                                    f"{found[empty][0].item()}.")
    right = nearest(W, delta)
    if close(found[~empty], right[~empty], 1e-3):
        return Verdict(True, "No other gains come nearer to ΔW.")
    told = (f"For a weight {tuple(W.shape)} the change that these gains make is "
            f"{((found - 1)[:, None] * W - delta).norm():.4g} from ΔW; "
            f"{((right - 1)[:, None] * W - delta).norm():.4g} can be reached.")
    square, cross = W.square().sum(1), (W * delta).sum(1)
    usual = {"minus_one": right - 1, "ratio_of_norms": (W + delta).norm(dim=1) / W.norm(dim=1),
             "mean_of_ratios": ((W + delta) / W).mean(1), "not_squared": 1 + cross / W.norm(dim=1),
             "ratio_of_sums": (W + delta).sum(1) / W.sum(1), "by_delta": 1 + cross / delta.square(
             ).sum(1), "one_gain": (1 + cross.sum() / square.sum()).expand(n)}
    if W.shape[0] == W.shape[1]:
        usual["columns"] = 1 + (W * delta).sum(0) / W.square().sum(0)
    return Verdict(False, told, next((name for name, l in usual.items()
                                      if close(found[~empty], l[~empty], 1e-3)), None))


def nearest(W: Tensor, delta: Tensor) -> Tensor:
    """Return the gains (n_out,) whose change of W is nearest to ΔW."""
    from .gains import nearest_gains
    return nearest_gains(W, delta)


NEAREST = Exercise(
    id="ia3.nearest", lesson="06", names=("nearest_gains",), points=2, minutes=9, difficulty=2,
    reference=f"{HERE}.gains:nearest_gains", cases=nearest_cases, run=run_nearest,
    judge=judge_nearest, mistakes={
        "no_return": NO_RETURN,
        "input_changed": "W and ΔW stay as they are: make new tensors.",
        "shape": "One gain for each row of W, in a vector: (n_out,), not (n_out, 1).",
        "misfit": "One gain for each row: sum over the other axis.",
        "zero_row": "A row of zeros stays zero whatever its gain is, so any finite one will do. "
                    "Keep the division from 0 / 0.",
        "minus_one": "That is the gain minus 1. A gain that changes nothing is 1.",
        "ratio_of_norms": "That makes each row as long as it is after the change. Wanted is the "
                          "multiple of the row that comes nearest to it, which may be another.",
        "mean_of_ratios": "A mean of the ratios, entry by entry, lets the smallest entries of W "
                          "speak loudest.",
        "ratio_of_sums": "Entries of both signs cancel in a sum. Which sum is smallest here?",
        "not_squared": "Divided once by the row's length. Check it on a row that is to double.",
        "by_delta": "Which of the two is fixed, and which is to be met? The projection onto a row "
                    "of W divides by that row's own squares.",
        "one_gain": "One gain for the whole matrix. Rows are free of each other.",
        "columns": "One gain for each column. Here the gains stand on the output: on the rows.",
    },
    hints=("Rows do not mix: for one row w and its change d, which number a makes a · w nearest "
           "to d?",
           "|a w − d|² is a parabola in a. Where is its lowest point?",
           "The gain is 1 + a: the row itself is there before anything changes. And a row that is "
           "zero?"))

# ── ia3.by_hand ──────────────────────────────────────────────────────────────────────────────

LOWER = 0.02    # by so much the loss on the sixteen sentences is to fall
FOUND = Ours({"key": 1.0, "value": 0.8, "ffn_out": 1.0, "blocks": "all"})


def run_by_hand(by_hand: Any, case: Any) -> dict[str, Any]:
    """Hand on the setting in one form."""
    if not isinstance(by_hand, Mapping):
        return {"type": named(by_hand), "said": {}}
    values = {name: plain(value) for name, value in by_hand.items()}
    return {"type": "a dict", "said": {str(name)[:40]: round(float(value), 6) if isinstance(
        value, int | float) else str(value)[:40] for name, value in values.items()}}


def judge_by_hand(case: Any, seen: Any) -> Verdict:
    """Look the loss up that was recorded for this setting, on the same sentences."""
    if odd := strange(seen, "said", "type", said=dict, type=str):
        return odd
    said = seen["said"]
    if (set(said) != {*words.PLACES, "blocks"} or str(said["blocks"]) not in words.BLOCKS
            or any(said[place] not in words.BY_HAND for place in words.PLACES)):
        return rejected("no_setting", f"It is {seen['type']}: {said}.")
    row, = records.select(records.load("ia3"), group="by_hand")
    name, untouched = words.setting_of(said), row["heard"]["as it comes"][0]
    loss, right = row["heard"][name]
    told = (f"{name}: on the sixteen the loss is {loss:.3f}, with {right} right; with all gains at "
            f"one it is {untouched:.3f}.")
    if name == "as it comes":
        return rejected("untouched", told)
    if loss > untouched:
        return rejected("worse", told)
    if loss > untouched - LOWER:
        return rejected("hardly", told)
    return Verdict(True, f"{told} By hand, and without a single gradient.")


BY_HAND = Exercise(
    id="ia3.by_hand", lesson="06", names=("by_hand",), points=1, minutes=5, difficulty=1,
    answer=VALUE, reference=f"{HERE}.exercises:FOUND",
    cases=lambda seed: [{"shots": 16}], run=run_by_hand, judge=judge_by_hand,
    mistakes={
        "no_setting": "Wanted is a dict: for key, value and ffn_out one of 0.8, 1.0 and 1.25, and "
                      "for blocks \"all\", \"lower\" or \"upper\".",
        "untouched": "That is the model as it comes. Turn at least one gain.",
        "worse": "That is worse than not to touch it. Which of the gains did it, and what does it "
                 "do the other way?",
        "hardly": f"That is better, by less than {LOWER}. Would it do more in other blocks, or "
                  "with a second gain?",
    },
    hints=("One gain at a time, in all blocks: six settings say which way each place wants to be "
           "turned.",
           "What two gains do together need not be the sum of what each does: listen again.",
           "Softer is as much a setting as louder. Two of the three places are best left alone."))

EXERCISES = (FOLDS, LAYER, MERGE, HOLDS, NEAREST, BY_HAND)
