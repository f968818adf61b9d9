"""The exercises of lesson 07: the count, the layer, the merge, and a puzzle."""

import math
from difflib import get_close_matches
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn

from .... import methods
from ....core import Adapter
from ... import records
from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, judged_count, rejected, strange

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
             "with_base": n_in * n_out + right}
    return judged_count(found, right, f"lora_count({n_in}, {n_out}, {rank})", wrong,
                        "A has rank · n_in numbers, B has n_out · rank.")


COUNT_MISTAKES = {
    "no_return": NO_RETURN,
    "not_whole": "A number of parameters is a whole number: an int.",
    "whole_matrix": "That is all of W. LoRA trains A and B instead of it.",
    "only_A": "That is A alone. B, of shape (n_out, rank), is trained too.",
    "only_B": "That is B alone. A, of shape (rank, n_in), is trained too.",
    "square_only": "That is right only where n_in = n_out. B has n_out rows.",
    "multiplied": "The two matrices stand beside each other: add their sizes, don't multiply them.",
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
    """Return layers that differ in shape, bias and dtype, with inputs, A and B."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def draw(*shape: int, dtype=torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    cases = []
    for n_in, n_out, rank, alpha, bias, dtype, batch in (
            (6, 4, 2, 6.0, True, torch.float32, (3, 2)), (5, 9, 4, 2.0, False, torch.float32, (4,)),
            (64, 48, 8, 16.0, True, torch.float32, (2, 3)),
            (8, 8, 4, 8.0, True, torch.bfloat16, (3, 2))):
        cases.append({"n_in": n_in, "n_out": n_out, "rank": rank, "alpha": alpha,
                      "W": draw(n_out, n_in, dtype=dtype),
                      "b": draw(n_out, dtype=dtype) if bias else None,
                      "x": draw(*batch, n_in, dtype=dtype),
                      "A": draw(rank, n_in), "B": draw(n_out, rank)})
    return cases


def _linear(case: dict) -> nn.Linear:
    linear = nn.Linear(case["n_in"], case["n_out"], bias=case["b"] is not None,
                       dtype=case["W"].dtype)
    with torch.no_grad():
        linear.weight.copy_(case["W"])
        if case["b"] is not None:
            linear.bias.copy_(case["b"])
    return linear.requires_grad_(False)


def run_layer(LoRALinear, case: dict) -> dict[str, Any]:
    """Start the layer, give it A and B, go forward and backward; report plain numbers."""
    base = _linear(case)
    layer = LoRALinear(base, case["rank"], case["alpha"])
    seen = {"is_adapter": isinstance(layer, Adapter), "type": type(layer).__name__}
    if not seen["is_adapter"]:
        return seen
    own = layer.own_parameters()
    seen |= {"holds_base": layer.base is base,
             "shapes": {name: tuple(p.shape) for name, p in own.items()},
             "dtypes": {name: str(p.dtype) for name, p in own.items()}}
    if seen["shapes"] != _shapes(case):
        return seen
    layer.train()
    A, B = layer.A, layer.B
    start = layer(case["x"])
    seen |= {"y_type": type(start).__name__}
    if not isinstance(start, Tensor):
        return seen
    seen |= {"A_start": A.detach().clone(), "B_start": B.detach().clone(),
             "scale": _number(getattr(layer, "scale", None)), "y_start": start.detach()}
    with torch.no_grad():
        A.copy_(case["A"])
        B.copy_(case["B"])
    x = case["x"].clone().requires_grad_()
    y = layer(x)
    seen |= {"y": y.detach().clone(), "y_dtype": str(y.dtype),
             "y_eval": layer.eval()(case["x"]).detach(), "W_after": base.weight.detach().clone()}
    if y.requires_grad and torch.equal(base.weight, case["W"]):    # else backward would raise
        y.float().sum().backward()
    return seen | {"grad_A": A.grad, "grad_B": B.grad, "grad_x": x.grad}


def judge_layer(case: dict, seen) -> Verdict:
    """Compare with the equation, and where it differs, with the usual ways to get it wrong."""
    if odd := strange(seen, is_adapter=bool, type=str, holds_base=bool, shapes=dict, dtypes=dict,
                      y_type=str, A_start=Tensor, B_start=Tensor, y_dtype=str, W_after=Tensor):
        return odd
    if not seen["is_adapter"]:
        return rejected("not_adapter", f"LoRALinear(base, rank, alpha) made a {seen['type']}.")
    if not seen["holds_base"]:
        return rejected("base_lost")
    shapes = _shapes(case)
    if not all(isinstance(dtype, str) for dtype in seen["dtypes"].values()):
        return Verdict(False, "Its parameters' dtypes are not named.")
    if seen["shapes"] != shapes:
        told = f"Its own parameters are {seen['shapes']}; expected {shapes}."
        if seen["shapes"] == {"A": shapes["B"], "B": shapes["A"]}:
            return rejected("swapped", told)
        if seen["shapes"] == {k: v[::-1] for k, v in shapes.items()}:
            return rejected("transposed", told)
        if set(shapes) < set(seen["shapes"]):
            return rejected("more_parameters", told)
        return rejected("shapes" if set(shapes) == set(seen["shapes"]) else "names", told)
    if seen["y_type"] == "NoneType":
        return rejected("no_return")
    if "y" not in seen:
        return Verdict(False, f"forward gave a {seen['y_type']}, not a tensor.")
    if not torch.equal(seen["W_after"], case["W"]):
        return rejected("base_changed")
    A, B = seen["A_start"], seen["B_start"]
    if {"A": tuple(A.shape), "B": tuple(B.shape)} != shapes:
        return Verdict(False, "A and B are not of the shapes that the layer says they have.")
    base = nn.functional.linear(case["x"], case["W"], case["b"])
    if not A.any() and not B.any():
        return rejected("both_zero")
    if not A.any():
        return rejected("A_zero")
    if B.any():
        return rejected("B_not_zero", f"The largest entry of B starts as {B.abs().max():.3g}.")
    size = A.square().mean().sqrt().item() * math.sqrt(case["n_in"])    # 1 for N(0, 1/n_in)
    if torch.equal(A, A[:1].expand_as(A)) and case["rank"] > 1:
        return rejected("A_alike")
    if A.numel() > 100 and not 0.1 < size < 3:
        return rejected("A_size", f"Its entries are about {size:.3g}/√n_in, n_in = {case['n_in']}.")
    if seen["y_dtype"] != str(base.dtype) or set(seen["dtypes"].values()) != {"torch.float32"}:
        return rejected("dtype", f"base: {base.dtype}; output: {seen['y_dtype']}; A and B: "
                              f"{', '.join(sorted(set(seen['dtypes'].values())))}.")
    expected, candidates = _outputs(case, base)
    s = case["alpha"] / case["rank"]
    if not _close(seen["y"], expected):
        for mistake, candidate in candidates.items():
            if _close(seen["y"], candidate):
                return rejected(mistake, _factor(seen["y"], base, expected))
        return Verdict(False, "With A and B filled in, the output is not "
                              f"x Wᵀ + b + s (x Aᵀ) Bᵀ. {_factor(seen['y'], base, expected)}")
    if not _close(seen["y_start"], base):
        return rejected("start_differs")
    if not _close(seen["y_eval"], expected):
        return rejected("training_only")
    x = case["x"].float().reshape(-1, case["n_in"]).sum(0)    # gradients of the sum of all outputs:
    grad_A, grad_B = s * torch.outer(case["B"].sum(0), x), (s * case["A"] @ x).expand_as(B)
    grad_x = (case["W"].float() + s * case["B"] @ case["A"]).sum(0).expand_as(case["x"])
    if not _near(seen["grad_A"], grad_A) or not _near(seen["grad_B"], grad_B):
        return rejected("no_gradient")
    if not _near(seen["grad_x"], grad_x):
        return rejected("input_cut")
    if not isinstance(seen["scale"], int | float) or not math.isclose(seen["scale"], s):
        return rejected("no_scale_attribute", f"layer.scale is {seen['scale']!r}; expected {s}.")
    return Verdict(True, "Starts as the base, the right correction, and both matrices learn.")


def _number(value):
    """Return a tensor of one number as that number."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def _shapes(case: dict) -> dict[str, tuple[int, int]]:
    return {"A": (case["rank"], case["n_in"]), "B": (case["n_out"], case["rank"])}


def _outputs(case: dict, base: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the right output, and the outputs of the known mistakes."""
    rank, alpha, s = case["rank"], case["alpha"], case["alpha"] / case["rank"]
    correction = case["x"].float() @ case["A"].T @ case["B"].T        # (…, n_out), without s
    unbiased = nn.functional.linear(case["x"], case["W"])
    return (base.float() + s * correction).to(base.dtype), {
        "branch_missing": base,
        "no_scale": base + correction,
        "alpha_only": base + alpha * correction,
        "scaled_twice": base + s * s * correction,
        "scale_upside_down": base + rank / alpha * correction,
        "root_of_rank": base + alpha / math.sqrt(rank) * correction,
        "base_missing": s * correction,
        "bias_missing": unbiased + s * correction,
        "bias_twice": 2 * base - unbiased + s * correction,
        "all_scaled": s * (base + correction),
        "subtracted": base - s * correction,
    }


def _close(a, b: Tensor) -> bool:
    if not isinstance(a, Tensor) or a.shape != b.shape:
        return False
    tolerance = 1e-5 if a.dtype == torch.float32 else 3e-2
    return torch.allclose(a.float(), b.float(), rtol=tolerance, atol=tolerance)


def _near(a, b: Tensor) -> bool:
    """Whether a gradient is about the expected one: it may have been rounded on its way."""
    return isinstance(a, Tensor) and a.shape == b.shape and torch.allclose(
        a.float(), b, rtol=0.05, atol=max(0.05, 0.02 * b.abs().max().item()))


def _factor(y, base: Tensor, expected: Tensor) -> str:
    """Say by which factor the correction is off, if it is one factor everywhere."""
    if not isinstance(y, Tensor) or y.shape != expected.shape:
        shape = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        return f"The output is {shape}; expected {tuple(expected.shape)}."
    ratio = ((y.float() - base.float()) / (expected.float() - base.float())).flatten()
    if ratio.isfinite().all() and ratio.std() < 0.02 * ratio.abs().mean() + 1e-6:
        return f"The correction is {ratio.mean():.3g} times the expected one, everywhere."
    return f"The largest difference is {(y.float() - expected.float()).abs().max():.3g}."


LAYER_MISTAKES = {
    "not_adapter": "Let the class inherit from pt.Adapter.",
    "base_lost": "Hand the frozen layer to super().__init__(base), and leave self.base as it is.",
    "swapped": "A and B are swapped: A reads the input and is (rank, n_in); B writes the output.",
    "transposed": "Both are transposed. Shapes are (n_out, n_in) throughout, as in nn.Linear.",
    "names": "The layer registers two parameters, named A and B. A plain tensor is not one: wrap "
             "it in nn.Parameter.",
    "no_return": NO_RETURN,
    "A_size": "Entries of A of about 1/√n_in keep x Aᵀ as large as x; divide by n_in ** 0.5.",
    "more_parameters": "Only A and B are trained: everything else that you register with "
                       "nn.Parameter would be trained as well.",
    "shapes": "A is (rank, n_in), B is (n_out, rank), both nn.Parameter.",
    "base_changed": "The base's weight was changed. It is frozen: add to the output instead.",
    "both_zero": "A and B both start at zero, so neither ever gets a gradient: nothing can learn.",
    "A_zero": "A starts at zero and B does not. It works, but here it is the other way round: "
              "A random, B zero.",
    "B_not_zero": "B must start at zero, so that the first output is exactly the base's.",
    "dtype": "A and B stay float32 whatever the base; the correction is cast to the dtype of the "
             "base's output before it is added.",
    "branch_missing": "The output is the base's alone: does forward use A and B?",
    "no_scale": "The correction is not scaled: multiply it by alpha / rank.",
    "alpha_only": "It is multiplied by alpha, not by alpha / rank.",
    "scaled_twice": "alpha / rank is applied twice.",
    "scale_upside_down": "The scale is upside down: it is alpha / rank.",
    "root_of_rank": "That is alpha / √rank, the rank-stabilised variant. Here it is alpha / rank.",
    "base_missing": "Only the correction comes out: add it to self.base(x).",
    "bias_missing": "The bias of the base is lost: call self.base(x), it has everything.",
    "bias_twice": "The bias is added twice: self.base(x) has it already.",
    "all_scaled": "The base's output is scaled as well: only the correction is.",
    "subtracted": "The correction is subtracted.",
    "start_differs": "Before any training the output must be the base's.",
    "A_alike": "All rows of A are the same, so they would stay so: draw each entry at random.",
    "training_only": "In eval mode the output is another one: the correction belongs there, too.",
    "input_cut": "The gradient does not come through to x, so the layers below would not learn: "
                 "call self.base(x) without torch.no_grad(), and do not detach x.",
    "no_gradient": "A or B gets no gradient: is one of them detached, or used under no_grad?",
    "no_scale_attribute": "Keep alpha / rank as self.scale: merging needs it later.",
}

LAYER = Exercise(
    id="lora.layer", lesson="07", names=("LoRALinear",), points=3, minutes=15, difficulty=2,
    reference="peft_teach.methods.lora:LoRALinear",
    cases=linear_cases, run=run_layer, judge=judge_layer, mistakes=LAYER_MISTAKES,
    hints=("In __init__: super().__init__(base), the number self.scale, and two nn.Parameter, A "
           "and B. base.in_features and base.out_features tell the sizes.",
           "A: torch.randn(rank, n_in) / n_in ** 0.5 is a good random start. "
           "B: torch.zeros(n_out, rank).",
           "forward: y = self.base(x); then (x.float() @ self.A.T) @ self.B.T, times self.scale, "
           "cast with .to(y.dtype), added to y."))


# ── lora.merge ───────────────────────────────────────────────────────────────────────────────


def run_merge(merged, case: dict) -> dict[str, Any]:
    """Merge a finished layer twice; report what came out, and whether the layer changed."""
    layer = methods.lora.LoRALinear(_linear(case), case["rank"], case["alpha"])
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
    if odd := strange(seen, type=str, is_linear=bool, is_base=bool, shared=bool, weight=Tensor,
                      again=Tensor, bias=(Tensor, NoneType), W_after=Tensor):
        return odd
    W, b = case["W"], case["b"]
    if seen["type"] == "NoneType":
        return rejected("no_return")
    if not seen["is_linear"]:
        return rejected("not_linear", f"merged(layer) returned a {seen['type']}.")
    if seen["is_base"] or not torch.equal(seen["W_after"], W):
        return rejected("base_changed")
    if tuple(seen["weight"].shape) != tuple(W.shape):
        return rejected("transposed", f"The weight is {tuple(seen['weight'].shape)}; expected "
                                   f"{tuple(W.shape)}.")
    if seen["weight"].dtype != W.dtype:
        return rejected("dtype", f"The base is {W.dtype}, the merged weight "
                                 f"{seen['weight'].dtype}.")
    s, delta = case["alpha"] / case["rank"], case["B"] @ case["A"]    # (n_out, n_in)
    if not _close(seen["weight"], (W.float() + s * delta).to(W.dtype)):
        for mistake, weight in {"nothing_added": W.float(), "no_scale": W + delta,
                                "scaled_twice": W + s * s * delta, "delta_only": s * delta,
                                "subtracted": W - s * delta,
                                "twice": W + 2 * s * delta}.items():
            if _close(seen["weight"].float(), weight.float()) or _close(
                    seen["weight"], weight.to(W.dtype)):
                return rejected(mistake)
        return Verdict(False, "The merged weight is not W + s B A: the largest difference is "
                              f"{(seen['weight'] - W - s * delta).abs().max():.3g}.")
    exact = (W.double() + s * case["B"].double() @ case["A"].double()).to(W.dtype)
    if W.dtype != torch.float32 and (seen["weight"] != exact).float().mean() > 0.05:
        return rejected("summed_in_half")
    if (seen["bias"] is None) != (b is None):
        return rejected("bias_lost" if b is not None else "bias_invented")
    if b is not None and not torch.equal(seen["bias"], b):
        return rejected("bias_changed")
    if not torch.equal(seen["weight"], seen["again"]):
        return rejected("base_changed")
    if seen["shared"]:
        return rejected("shared")
    return Verdict(True, "One plain layer, the same outputs, and the adapter is untouched.")


MERGE_MISTAKES = {
    "not_linear": "A new, plain nn.Linear is wanted: nothing of the adapter should remain.",
    "base_changed": "The layer's own base was changed. Make a new nn.Linear: merging twice, or "
                    "going on training after it, must not add the correction again.",
    "transposed": "B A has the shape of W, (n_out, n_in), as it is: no transpose is needed.",
    "dtype": "Sum in float32, then round once, to the dtype of the base.",
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
    "bias_lost": "The base has a bias, and the merged layer needs the same one.",
    "bias_invented": "The base has no bias, so the merged layer must have none: bias=False.",
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
    return {"type": "Config", "rank": config.rank, "targets": list(config.targets),
            "layers": None if layers == list(range(6)) else layers, "dropout": config.dropout,
            "scale": methods.lora.scale(config.rank, config.alpha, config.rank_stabilized)}


def judge_forty_kb(case: dict, seen) -> Verdict:
    """Look the choice up in the record: small enough, measured, and near the best of its size."""
    if odd := strange(seen, type=str, rank=int, targets=list, layers=(list, NoneType),
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
