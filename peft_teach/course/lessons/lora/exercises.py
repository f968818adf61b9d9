"""The exercises of lesson 07: the count, the layer, the merge, and a puzzle."""

import math
from difflib import get_close_matches
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn

from .... import methods
from ... import records
from ...adapter_judge import MISTAKES, Method
from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, close, difference, judged_count, rejected, strange

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
    wrong = {"whole_matrix": n_in * n_out, "only_A": rank * n_in, "only_B": rank * n_out,
             "square_only": 2 * rank * n_in, "multiplied": rank * n_in * n_out,
             "with_base": n_in * n_out + right, "product": rank * n_in * n_out * rank,
             "no_brackets": (rank * n_in + n_out, n_in + rank * n_out)}
    return judged_count(found, right, f"lora_count({n_in}, {n_out}, {rank})", wrong,
                        "A has rank · n_in numbers, B has n_out · rank.")


COUNT_MISTAKES = {
    "no_return": NO_RETURN,
    "not_whole": "A number of parameters is a whole number: an int.",
    "whole_matrix": "That is all of W. LoRA trains A and B instead of it.",
    "only_A": "That is A alone. B, of shape (n_out, rank), is trained too.",
    "only_B": "That is B alone. A, of shape (rank, n_in), is trained too.",
    "square_only": "That is right only where n_in = n_out. B has n_out rows.",
    "multiplied": "That is rank · n_in · n_out. A has rank · n_in numbers, B has n_out · rank: add "
                  "the two.",
    "product": "The two matrices stand beside each other: add their sizes, in place of multiplying "
               "them.",
    "no_brackets": "The rank counts for both sides: rank · n_in + rank · n_out, or the sum in "
                   "brackets.",
    "with_base": "W is frozen, so it does not count as trained.",
}

COUNT = Exercise(
    id="lora.count", lesson="07", names=("lora_count",), points=1, minutes=5, difficulty=1,
    reference="peft_teach.methods.lora:count",
    cases=count_cases, run=run_count, judge=judge_count, mistakes=COUNT_MISTAKES,
    hints=("Write the shapes of A and B on paper. How many numbers has each?",
           "A has rank rows of n_in numbers. B has n_out rows of rank numbers.",
           "Add the two; rank can be taken out of the sum."))


# ── lora.layer ───────────────────────────────────────────────────────────────────────────────


def linear_cases(seed: int) -> list[dict]:
    """Return layers that differ in shape, bias and dtype, with inputs, A and B.

    The smallest comes first. One is as wide as the lesson's model, so that the size of A shows.
    """
    generator = torch.Generator().manual_seed(1000 + seed)

    def draw(*shape: int, dtype=torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    cases = []
    for n_in, n_out, rank, alpha, bias, dtype, batch in (
            (4, 3, 2, 6.0, True, torch.float32, (2,)),
            (5, 9, 4, 10.0, False, torch.float32, (3, 2)),
            (384, 96, 8, 16.0, True, torch.float32, (2, 3)),
            (8, 8, 4, 8.0, True, torch.bfloat16, (3, 2))):
        cases.append({"n_in": n_in, "n_out": n_out, "rank": rank, "alpha": alpha,
                      "W": draw(n_out, n_in, dtype=dtype) / n_in**0.5,
                      "b": draw(n_out, dtype=dtype) if bias else None,
                      "x": draw(*batch, n_in, dtype=dtype),
                      "A": draw(rank, n_in) / n_in**0.5, "B": draw(n_out, rank)})
    return cases


def frozen_linear(case: dict) -> nn.Linear:
    """Return the case's frozen layer."""
    layer = nn.Linear(case["n_in"], case["n_out"], bias=case["b"] is not None,
                      dtype=case["W"].dtype)
    with torch.no_grad():
        layer.weight.copy_(case["W"])
        if case["b"] is not None:
            layer.bias.copy_(case["b"])
    return layer.requires_grad_(False)


def _scale(case: dict) -> float:
    return case["alpha"] / case["rank"]


def _correction(case: dict) -> Tensor:
    """The correction without its scale: (…, n_out), float32."""
    return case["x"].float() @ case["A"].T @ case["B"].T


def corrected(base: nn.Linear, case: dict) -> Tensor:
    """Return LoRA's output."""
    y = base(case["x"])
    return (y + _scale(case) * _correction(case)).to(y.dtype)


def usual_outputs(base: nn.Linear, case: dict) -> dict[str, Tensor]:
    """Return what the usual mistakes give."""
    rank, alpha, s, u = case["rank"], case["alpha"], _scale(case), _correction(case)
    y, bias = base(case["x"]), 0 if base.bias is None else base.bias
    return {"branch_missing": y, "no_scale": y + u, "alpha_only": y + alpha * u,
            "whole_division": y + alpha // rank * u,
            "scaled_twice": y + s * s * u, "scale_upside_down": y + rank / alpha * u,
            "root_of_rank": y + alpha / math.sqrt(rank) * u, "base_missing": s * u,
            "bias_missing": y - bias + s * u, "bias_twice": y + bias + s * u,
            "all_scaled": s * (y + u), "subtracted": y - s * u}


def usual_shapes(right: dict) -> dict[str, dict]:
    """Return the shapes of the usual mistakes."""
    return {"swapped": {"A": right["B"], "B": right["A"]},
            "transposed": {name: shape[::-1] for name, shape in right.items()}}


def random_beside_zero(method: Method, case: dict, seen: dict) -> Verdict | None:
    """Is B zero, and A random and of a size that keeps x Aᵀ as large as x?"""
    A, B = seen["start_own"]["A"], seen["start_own"]["B"]
    if not A.any():
        return (rejected("A_zero", "A starts at zero, and B does not.") if B.any()
                else rejected("both_zero", "A and B both start at zero."))
    if B.any():
        return rejected("B_not_zero", f"The largest entry of B starts as {B.abs().max():.3g}.")
    if len(A) > 1 and torch.equal(A, A[:1].expand_as(A)):
        return rejected("A_alike", "All rows of A start with the same numbers.")
    size = A.square().mean().sqrt().item() * math.sqrt(case["n_in"])    # 1 for N(0, 1/n_in)
    if A.numel() > 100 and not 0.1 < size < 1.8:
        return rejected("A_size", f"With n_in = {case['n_in']}, n_out = {case['n_out']} and rank "
                                  f"{case['rank']}, the entries of A start at about "
                                  f"{size:.2g}/√n_in.")
    return None


LORA = Method(
    name="LoRALinear", base=frozen_linear, arguments=("rank", "alpha"), own=("A", "B"),
    equation=corrected, formula="base(x) + s (x Aᵀ) Bᵀ", usual=usual_outputs,
    usual_shapes=usual_shapes, starts=(random_beside_zero,),
    attributes=lambda case: {"scale": _scale(case)},
    praise="Starts as the base, the right correction, and both matrices learn.")

LAYER_MISTAKES = MISTAKES | {
    "swapped": "A and B are swapped: A reads the input and is (rank, n_in); B writes the output.",
    "transposed": "Both are transposed. Shapes are (n_out, n_in) throughout, as in nn.Linear.",
    "misfit": "x is (…, n_in), A is (rank, n_in), B is (n_out, rank): x Aᵀ is x @ self.A.T, and "
              "its result meets Bᵀ in the same way.",
    "A_size": "Entries of A of about 1/√n_in keep x Aᵀ as large as x; divide by n_in ** 0.5.",
    "both_zero": "Then neither ever gets a gradient: nothing can learn.",
    "A_zero": "With B random it works, but here it is the other way round: A random, B zero.",
    "B_not_zero": "B must start at zero, so that the first output is exactly the base's.",
    "A_alike": "They would stay so: draw each entry at random.",
    "branch_missing": "The output is the base's alone: does forward use A and B?",
    "no_scale": "The correction is not scaled: multiply it by alpha / rank.",
    "alpha_only": "It is multiplied by alpha, not by alpha / rank.",
    "whole_division": "alpha // rank leaves out what is behind the point: divide with /.",
    "scaled_twice": "alpha / rank is applied twice.",
    "scale_upside_down": "The scale is upside down: it is alpha / rank.",
    "root_of_rank": "That is alpha / √rank, the rank-stabilised variant. Here it is alpha / rank.",
    "base_missing": "Only the correction comes out: add it to self.base(x).",
    "bias_missing": "The bias of the base is lost: call self.base(x), it has everything.",
    "bias_twice": "The bias is added twice: self.base(x) has it already.",
    "all_scaled": "The base's output is scaled as well: only the correction is.",
    "subtracted": "The correction is subtracted.",
    "no_scale_attribute": "Keep alpha / rank as self.scale: merging needs it later.",
}

LAYER = Exercise(
    id="lora.layer", lesson="07", names=("LoRALinear",), points=3, minutes=15, difficulty=2,
    reference="peft_teach.methods.lora:LoRALinear",
    cases=linear_cases, run=LORA.run, judge=LORA.judge, mistakes=LAYER_MISTAKES,
    hints=("In __init__: super().__init__(base), the number self.scale, and two nn.Parameter, A "
           "and B. base.in_features and base.out_features tell the sizes.",
           "A: torch.randn(rank, n_in) / n_in ** 0.5 is a good random start. "
           "B: torch.zeros(n_out, rank).",
           "forward: y = self.base(x); then (x.float() @ self.A.T) @ self.B.T, times self.scale, "
           "added to y; the sum is rounded, .to(y.dtype)."))


# ── lora.merge ───────────────────────────────────────────────────────────────────────────────


def run_merge(merged, case: dict) -> dict[str, Any]:
    """Merge a finished layer twice; report what came out, and whether the layer changed."""
    layer = methods.lora.LoRALinear(frozen_linear(case), case["rank"], case["alpha"])
    with torch.no_grad():
        layer.A.copy_(case["A"])
        layer.B.copy_(case["B"])
    linear = merged(layer)
    seen = {"type": type(linear).__name__, "is_linear": type(linear) is nn.Linear,
            "is_base": linear is layer.base}
    if not seen["is_linear"]:
        return seen
    again = merged(layer)
    own = {p.data_ptr() for p in linear.parameters()}
    return seen | {"shared": not own.isdisjoint(p.data_ptr() for p in layer.parameters()),
                   "weight": linear.weight.detach().clone(), "again": again.weight.detach().clone(),
                   "bias": None if linear.bias is None else linear.bias.detach().clone(),
                   "W_after": layer.base.weight.detach().clone()}


def judge_merge(case: dict, seen) -> Verdict:
    if odd := strange(seen, "type", "is_linear", type=str, is_linear=bool, is_base=bool,
                      shared=bool, weight=Tensor, again=Tensor, bias=(Tensor, NoneType),
                      W_after=Tensor):
        return odd
    W, b = case["W"], case["b"]
    if seen["type"] == "NoneType":
        return rejected("no_return")
    if not seen["is_linear"]:
        return rejected("not_linear", f"merged(layer) returned a {seen['type']}.")
    if seen["is_base"] or not torch.equal(seen["W_after"], W):
        return rejected("base_changed", "After merged(layer), layer.base.weight is not what it was."
                        if not seen["is_base"] else "merged(layer) returned layer.base.")
    if tuple(seen["weight"].shape) != tuple(W.shape):
        return rejected("transposed", f"The weight is {tuple(seen['weight'].shape)}; expected "
                                      f"{tuple(W.shape)}.")
    if seen["weight"].dtype != W.dtype:
        return rejected("dtype", f"The base is {W.dtype}, the merged weight "
                                 f"{seen['weight'].dtype}.")
    s, delta = _scale(case), case["B"] @ case["A"]    # (n_out, n_in)
    right = (W.double() + s * case["B"].double() @ case["A"].double()).to(W.dtype)
    if not close(seen["weight"], right):
        told = f"It is not W + s B A. {difference('The weight', seen['weight'], right)}"
        for mistake, weight in {"nothing_added": W, "no_scale": W + delta,
                                "scaled_twice": W + s * s * delta, "delta_only": s * delta,
                                "subtracted": W - s * delta,
                                "twice": W + 2 * s * delta}.items():
            if close(seen["weight"], weight.to(W.dtype)):
                return rejected(mistake, told)
        return Verdict(False, told)
    if W.dtype != torch.float32 and (off := (seen["weight"] != right).float().mean()) > 0.05:
        return rejected("summed_in_half", f"In {W.dtype}, {off:.0%} of the numbers are not those "
                                          "next to W + s B A.")
    if (seen["bias"] is None) != (b is None):
        return (rejected("bias_lost", "The base has a bias, the merged layer has none.")
                if b is not None else
                rejected("bias_invented", "The base has no bias, the merged layer has one."))
    if b is not None and not torch.equal(seen["bias"], b):
        return rejected("bias_changed", difference("The bias", seen["bias"], b))
    if not torch.equal(seen["weight"], seen["again"]):
        return rejected("base_changed", "Merged a second time, the weight is another.")
    if seen["shared"]:
        return rejected("shared", "A parameter of the merged layer is the base's own.")
    return Verdict(True, "One plain layer, the same outputs, and the adapter is untouched.")


MERGE_MISTAKES = {
    "not_linear": "A new, plain nn.Linear is wanted: nothing of the adapter should remain.",
    "base_changed": "The layer's own base was changed. Make a new nn.Linear: merging twice, or "
                    "going on training after it, must not add the correction again.",
    "transposed": "B A has the shape of W, (n_out, n_in), as it is: no transpose is needed.",
    "dtype": "Sum in float32, then round once, to the dtype of the base.",
    "misfit": "B is (n_out, rank) and A is (rank, n_in): B @ A has the shape of W.",
    "no_return": NO_RETURN,
    "summed_in_half": "Near, but rounded twice: make W and s B A float32 before they are added.",
    "shared": "The new layer holds a parameter of the old one, so training one would change the "
              "other: copy the values.",
    "nothing_added": "That is W alone: add s B A.",
    "no_scale": "The scale is missing: W + s B A, with s = layer.scale.",
    "scaled_twice": "The scale is applied twice.",
    "delta_only": "That is the correction alone: W + s B A.",
    "subtracted": "The correction is subtracted.",
    "twice": "The correction is added twice.",
    "bias_lost": "The outputs need the same bias as before: copy it.",
    "bias_invented": "nn.Linear makes a bias unless it is told bias=False.",
    "bias_changed": "The bias does not change: LoRA corrects the weight only.",
}

MERGE = Exercise(
    id="lora.merge", lesson="07", names=("merged",), points=2, minutes=10, difficulty=2,
    reference="peft_teach.methods.lora:LoRALinear.merged",
    cases=linear_cases, run=run_merge, judge=judge_merge, mistakes=MERGE_MISTAKES,
    hints=("x Wᵀ + s (x Aᵀ) Bᵀ = x (W + s B A)ᵀ. The bracket is the new weight.",
           "Make nn.Linear(base.in_features, base.out_features, bias=base.bias is not None, "
           "dtype=base.weight.dtype), and copy into it under torch.no_grad().",
           "weight = layer.base.weight.float() + layer.scale * layer.B @ layer.A, then copy_ it "
           "into linear.weight, which rounds; copy the bias if there is one."))


# ── lora.forty_kb ────────────────────────────────────────────────────────────────────────────

WIDTHS = dict.fromkeys(("query", "key", "value", "attention_out"), 384 + 384)    # n_in + n_out
WIDTHS |= {"ffn_in": 384 + 1536, "ffn_out": 1536 + 384}
LIMIT = 10_000      # numbers of 4 bytes: 40 kB
CLOSE = 0.01        # a point: about one standard error of one test


def forty_kb() -> "methods.lora.Config":
    """Return the recorded LoRA of at most 10,000 numbers that is best on average."""
    best = max(_that_fit(), key=records.accuracy)[0]
    return methods.lora.Config(rank=best["rank"], alpha=best["alpha"],
                               targets=tuple(best["targets"]),
                               layers=best["layers"] and tuple(best["layers"]))


def _that_fit() -> list[list[dict]]:
    """Return the recorded LoRA runs of at most `LIMIT` numbers, by setting."""
    return records.by_setting([row for row in records.load("lora")["runs"]
                               if row["method"] == "lora" and row["parameters"] <= LIMIT])


def run_forty_kb(forty_kb, case: dict) -> dict[str, Any]:
    config = forty_kb()
    if not isinstance(config, methods.lora.Config):
        return {"type": type(config).__name__}
    layers = config.layers and sorted(set(config.layers), key=str)
    targets = ("query", "value") if config.targets is None else config.targets    # the default
    return {"type": "Config", "rank": config.rank, "targets": list(targets),
            "layers": None if layers == list(range(6)) else layers, "dropout": config.dropout,
            "scale": methods.lora.scale(config.rank, config.alpha, config.rank_stabilized)}


def judge_forty_kb(case: dict, seen) -> Verdict:
    """Look the choice up in the record: small enough, measured, and near the best of its size."""
    if odd := strange(seen, "type", type=str, rank=int, targets=list, layers=(list, NoneType),
                      dropout=(int, float), scale=(int, float)):
        return odd
    if seen["type"] == "NoneType":
        return rejected("no_return")
    if seen["type"] != "Config":
        return rejected("not_a_config", f"It returned a {seen['type']}.")
    elsewhere = [t for t in seen["targets"] if not isinstance(t, str) or t not in WIDTHS]
    if elsewhere:
        near = get_close_matches(str(elsewhere[0])[:50], WIDTHS, n=1)
        return rejected("unknown_place", f"{elsewhere[0]!r} is no place."
                                      + (f" Did you mean {near[0]!r}?" if near else ""))
    if not all(type(layer) is int and 0 <= layer < 6 for layer in seen["layers"] or ()):
        return rejected("unknown_block", f"layers is {seen['layers']}.")
    blocks = 6 if seen["layers"] is None else len(seen["layers"])
    size = sum(seen["rank"] * WIDTHS[t] * blocks for t in seen["targets"])
    if size > LIMIT:
        return rejected("too_large", f"That is {size:,} numbers, {size * 4 / 1000:.0f} kB.")
    chosen = [runs for runs in _that_fit() if runs[0]["rank"] == seen["rank"]
              and runs[0]["layers"] == seen["layers"]
              and sorted(runs[0]["targets"]) == sorted(seen["targets"])]
    if not chosen:
        return rejected("not_recorded", f"Rank {seen['rank']} on {', '.join(seen['targets'])} "
                                     f"({size:,} numbers) is not in the record.")
    s = chosen[0][0]["alpha"] / chosen[0][0]["rank"]
    if not math.isclose(seen["scale"], s) or seen["dropout"]:
        return rejected("other_scale", f"Its scale is {seen['scale']:g}, its dropout "
                                    f"{seen['dropout']:g}; measured were {s:g} and 0.")
    best = max(map(records.accuracy, _that_fit()))[0]
    mine = records.accuracy(chosen[0])[0]
    told = f"Yours has {mine:.1%} on average over its seeds, the best has {best:.1%}."
    if mine < best - CLOSE:
        return rejected("too_few_blocks" if blocks < 3 else "weaker", told)
    return Verdict(True, f"{told} With {size:,} numbers, {size * 4 / 1000:.0f} kB.")


FORTY_MISTAKES = {
    "no_return": NO_RETURN,
    "unknown_place": "The places are " + ", ".join(WIDTHS) + ".",
    "unknown_block": "Blocks are numbered 0 to 5; layers=None means all of them.",
    "not_a_config": "Return pt.lora.Config(rank=…, targets=…, layers=…).",
    "too_large": "40 kB hold 10,000 numbers of four bytes. Lower the rank, or use fewer places "
                 "or blocks.",
    "not_recorded": "Choose one that was measured: the table above lists them.",
    "other_scale": "Another alpha is another run: give alpha as in the table, twice the rank.",
    "weaker": "Another way to spend the same numbers was measured to do better.",
    "too_few_blocks": "One or two blocks with a higher rank were measured to do worse than many "
                      "blocks with a low one.",
}

FORTY_KB = Exercise(
    id="lora.forty_kb", lesson="07", names=("forty_kb",), points=2, minutes=10, difficulty=2,
    reference="peft_teach.course.lessons.lora.exercises:forty_kb",
    cases=lambda seed: [{"limit": LIMIT}], run=run_forty_kb, judge=judge_forty_kb,
    mistakes=FORTY_MISTAKES,
    hints=("How many numbers are 40 kB? How many does rank 1 on one 384 × 384 matrix take?",
           "10,000 numbers, and 768 a matrix and rank. Twelve matrices at rank 1, or six at "
           "rank 2, or fewer at more.",
           "The figures above: is it better to be thick in one place, or thin in many? In the last "
           "block, or in all of them?"))

EXERCISES = (COUNT, LAYER, MERGE, FORTY_KB)
