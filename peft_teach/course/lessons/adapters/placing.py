"""Lesson 05: two placements of a bottleneck, one of them around a module with two inputs."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ....core import Adapter
from ...adapter_judge import MISTAKES, Method, gives_the_same_twice, keeps_dtypes
from ...exercise import Exercise, Verdict
from ...judge import rejected, strange
from .start import TENSORS, narrow

OWN = tuple(f"A.{name}" for name in TENSORS)


class Pfeiffer(Adapter):
    """LN(x + A(LN(x))), around the norm that closes a layer: x is the sum r + o."""

    def __init__(self, base: nn.Module, A: nn.Module):
        super().__init__(base)
        self.A = A

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x + self.A(self.base(x)))                      # (…, d_model)


class Parallel(Adapter):
    """base(h, r + s A(r)), around the second half of a feed-forward block."""

    def __init__(self, base: nn.Module, A: nn.Module, scale: float):
        super().__init__(base)
        self.A, self.scale = A, scale

    def forward(self, h: Tensor, r: Tensor) -> Tensor:
        return self.base(h, r + self.scale * self.A(r))                 # (…, d_model)


# ── what they are tried on ───────────────────────────────────────────────────────────────────


class Given(nn.Module):
    """The bottleneck that is handed over, with a start that is near silence."""

    def __init__(self, d_model: int, size: int):
        super().__init__()
        self.W_down = nn.Parameter(0.001 * torch.randn(size, d_model))
        self.b_down = nn.Parameter(torch.zeros(size))
        self.W_up = nn.Parameter(0.001 * torch.randn(d_model, size))
        self.b_up = nn.Parameter(torch.zeros(d_model))

    def forward(self, u: Tensor) -> Tensor:
        return narrow(u, self.W_down, self.b_down, self.W_up, self.b_up)


class Norm(nn.LayerNorm):
    """A norm that counts how often it is called."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class Second(nn.Module):
    """The second half of a feed-forward block: LN(W h + b + r), as BERT has it.

    Its parts do not have BERT's names: an adapter calls its base, and reaches for no part of it.
    It counts how often it is called.
    """

    calls = 0

    def __init__(self, linear: nn.Linear, closing: nn.LayerNorm):
        super().__init__()
        self.linear, self.closing = linear, closing

    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        self.calls += 1
        return self.closing(self.linear(hidden_states) + input_tensor)

    @property
    def dense(self) -> nn.Linear:
        raise LookInside("self.base.dense is inside of the base: call self.base, and none of its "
                         "parts")

    @property
    def LayerNorm(self) -> nn.LayerNorm:
        raise LookInside("self.base.LayerNorm is inside of the base: call self.base, and none of "
                         "its parts")


class LookInside(RuntimeError):
    """An adapter that reaches into its base."""


def placement_cases(seed: int) -> list[dict]:
    """Return a width, the modules' weights, inputs, values for A, and a scale."""
    generator = torch.Generator().manual_seed(400 + seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    cases = []
    for d, m, d_ff, batch in ((4, 2, 6, (1, 2)), (6, 3, 10, (3, 2)), (9, 5, 20, (2, 4))):
        cases.append({
            "d": d, "m": m, "d_ff": d_ff, "scale": float(torch.rand((), generator=generator)) + 2,
            "norm": (1 + draw(d) / 4, draw(d) / 2), "dense": (draw(d, d_ff) / d_ff**0.5, draw(d)),
            "x": draw(*batch, d), "h": draw(*batch, d_ff), "r": draw(*batch, d),
            "A.W_down": draw(m, d) / d**0.5, "A.b_down": draw(m) / 2,
            "A.W_up": draw(d, m), "A.b_up": draw(d)})
    return cases


def norm(case: Mapping) -> nn.LayerNorm:
    """Return the norm that closes a layer, frozen."""
    made = Norm(case["d"])
    with torch.no_grad():
        for parameter, value in zip((made.weight, made.bias), case["norm"]):
            parameter.copy_(value)
    return made.requires_grad_(False)


def second(case: Mapping) -> Second:
    """Return the second half of a feed-forward block, frozen."""
    linear = nn.Linear(case["d_ff"], case["d"])
    with torch.no_grad():
        for parameter, value in zip((linear.weight, linear.bias), case["dense"]):
            parameter.copy_(value)
    return Second(linear, norm(case)).requires_grad_(False)


def _A(case: Mapping) -> Callable[[Tensor], Tensor]:
    tensors = [case[name] for name in OWN]
    return lambda u: narrow(u, *tensors)


def usual_pfeiffer(base: nn.Module, case: Mapping) -> dict[str, Tensor]:
    """Return what the usual mistakes give."""
    x, A = case["x"], _A(case)
    y = base(x)
    return {"not_normed_again": y + A(y), "reads_the_sum": base(x + A(x)),
            "adds_to_the_normed": base(y + A(y)), "branch_missing": y, "sum_lost": base(A(y))}


def usual_parallel(base: nn.Module, case: Mapping) -> dict[str, Tensor]:
    """Return what the usual mistakes give."""
    h, r, s, A = case["h"], case["r"], case["scale"], _A(case)
    y = base(h, r)
    return {"no_scale": base(h, r + A(r)), "scale_inside": base(h, r + A(s * r)),
            "after_the_norm": y + s * A(r), "behind": y + s * A(y), "branch_missing": y,
            "all_scaled": base(h, s * (r + A(r))), "sum_lost": base(h, s * A(r)),
            "behind_inside": base(h, r + s * A(y))}


WITHOUT = (keeps_dtypes, gives_the_same_twice)
NEEDED = {"Pfeiffer": 2, "Parallel": 1}    # calls of the base, in one of the adapter
METHODS = {
    "Pfeiffer": Method(
        name="Pfeiffer", base=norm, own=OWN, inputs=("x",), layer="pfeiffer",
        equation=lambda base, case: base(case["x"] + _A(case)(base(case["x"]))),
        formula="the norm of the sum with A's part in it", usual=usual_pfeiffer, start_bound=0.05,
        without=WITHOUT, praise=""),
    "Parallel": Method(
        name="Parallel", base=second, own=OWN, inputs=("h", "r"), layer="parallel",
        equation=lambda base, case: base(case["h"], case["r"] + case["scale"] * _A(case)(
            case["r"])),
        formula="the base with s·A(r) in its sum", usual=usual_parallel, start_bound=0.05,
        without=WITHOUT, praise=""),
}


def run_placements(placements: tuple[Any, Any], case: dict) -> dict[str, Any]:
    """Observe both classes, each around its own base, with a bottleneck handed over."""
    pfeiffer, parallel = placements
    makers = {"Pfeiffer": pfeiffer,
              "Parallel": lambda base, A: parallel(base, A, case["scale"])}
    seen = {}
    for name, method in METHODS.items():
        seen[name] = method.run(lambda base, make=makers[name]: make(base, _given(case)), case)
        if "eval" in seen[name]:    # all of the rest was tried
            seen[name]["handed"] = _handed(makers[name], method, case)
    return seen


def _given(case: Mapping) -> Given:
    return Given(case["d"], case["m"])


def _handed(make: Callable, method: Method, case: Mapping) -> dict[str, Any]:
    """Is `self.A` what was handed over, and how often is the base called for one output?"""
    base, A = method.base(case), _given(case)
    adapter = make(base, A)
    with torch.no_grad():
        adapter(*(case[name].clone() for name in method.inputs))
    return {"holds_A": adapter.A is A, "calls": base.calls}


def judge_placements(case: dict, seen) -> Verdict:
    if odd := strange(seen, *METHODS, **dict.fromkeys(METHODS, dict)):
        return odd
    for name, method in METHODS.items():
        verdict = method.judge(case, {k: v for k, v in seen[name].items() if k != "handed"})
        if not verdict.passed:
            return verdict
    for name in METHODS:
        if odd := strange(seen[name].get("handed"), "holds_A", "calls", holds_A=bool, calls=int):
            return odd
        handed = seen[name]["handed"]
        if not handed["holds_A"]:
            return rejected("copied_A", f"{name}: self.A is another bottleneck than A.")
        if handed["calls"] < NEEDED[name]:
            return rejected("looks_inside", f"{name} called self.base {handed['calls']} times for "
                                            f"one output; {NEEDED[name]} are needed.")
    return Verdict(True, "One reads the norm's output, the other what the block was given; neither "
                         "touches its base.")


LEFT_OUT = ("dtype", "second_call", "shapes", "misnamed")
PLACEMENT_MISTAKES = {name: text for name, text in MISTAKES.items() if name not in LEFT_OUT} | {
    "layers_inside": "The four parameters are those of A, and A is called self.A here.",
    "more_parameters": "A's parameters are all that trains: nothing is registered besides.",
    "names": "What should train is A, and it is called self.A here: as a module, so that its "
             "parameters are registered.",
    "copied_A": "Whoever handed A over still holds it, to look at it or to save it: keep A itself.",
    "looks_inside": "The rest was computed with the base's parts or parameters. BERT's base also "
                    "drops out and norms with its own constant; another base does yet other "
                    "things: call it.",
    "start_differs": "Where A is silent, the output is the base's.",
    "branch_missing": "The output is the base's alone: A is not heard.",
    "not_normed_again": "Its output leaves the layer without a norm: that is Bapna and Firat's "
                        "place. What A says joins the sum, and the sum is normed with it.",
    "reads_the_sum": "A reads the sum itself. It should read what the norm makes of it.",
    "adds_to_the_normed": "What A says was added to the normed vectors. It joins the sum as it was "
                          "before the norm.",
    "sum_lost": "What the layer had summed up is gone: A's part comes on top of it.",
    "no_scale": "s is missing: what A says is s times as strong.",
    "scale_inside": "s was multiplied to what A reads. It is what A says that is s times as "
                    "strong, and A is not linear.",
    "after_the_norm": "What A says was added after the norm. It joins the sum, before the norm: "
                      "which of the two inputs goes straight into that sum?",
    "behind": "That is an adapter behind the block: it reads what comes out. A parallel one reads "
              "what went in.",
    "behind_inside": "It reads what the block gives. A parallel one reads what went in, r.",
    "all_scaled": "r is scaled, too. Only what A says is s times as strong.",
}

PLACEMENTS = Exercise(
    id="adapters.placements", lesson="05", names=("Pfeiffer", "Parallel"), points=3, minutes=11,
    difficulty=2,
    reference=tuple(f"peft_teach.course.lessons.adapters.placing:{name}" for name in METHODS),
    equivalents=("peft_teach.methods.bottleneck:NormedAdapter",
                 "peft_teach.methods.bottleneck:InputAdapter"),
    cases=placement_cases, run=run_placements, judge=judge_placements,
    mistakes=PLACEMENT_MISTAKES,
    hints=("The base is a black box: it can be called, as often as you like, with what you like.",
           "For the first: the norm is needed twice, once for what A reads, and once for the sum "
           "with A's part in it.",
           "For the second: the sum is made inside of the base, out of reach. Which input is "
           "added to it there as it comes?"))
