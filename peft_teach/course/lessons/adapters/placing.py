"""Lesson 05: two placements of a bottleneck, one of them around a module with two inputs."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...checks.adapter_judge import MISTAKES, Method
from ...checks.exercise import Exercise, Verdict
from ...checks.judge import rejected, report
from .start import TENSORS, Bottleneck, narrow

OWN = tuple(f"A.{name}" for name in TENSORS)

# ── what they are tried on ───────────────────────────────────────────────────────────────────


class Second(nn.Module):
    """The second half of a feed-forward block: LN(W h + b + r), as BERT has it.

    Its parts do not have BERT's names: an adapter calls its base, and reaches for no part of it.
    """

    def __init__(self, linear: nn.Linear, closing: nn.LayerNorm):
        super().__init__()
        self.linear, self.closing = linear, closing

    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        return self.closing(self.linear(hidden_states) + input_tensor)

    def __getattr__(self, name: str) -> Any:
        if name in ("dense", "LayerNorm"):
            raise RuntimeError(f"self.base.{name} is inside of the base: call self.base, and none "
                               "of its parts")
        return super().__getattr__(name)


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
    """Return the norm that closes a block, frozen."""
    return _frozen(nn.LayerNorm(case["d"]), case["norm"])


def second(case: Mapping) -> Second:
    """Return the second half of a feed-forward block, frozen."""
    return Second(_frozen(nn.Linear(case["d_ff"], case["d"]), case["dense"]), norm(case))


def _frozen(module: nn.Module, values: tuple[Tensor, Tensor]) -> nn.Module:
    with torch.no_grad():
        for parameter, value in zip((module.weight, module.bias), values):
            parameter.copy_(value)
    return module.requires_grad_(False)


def _A(case: Mapping) -> Callable[[Tensor], Tensor]:
    tensors = [case[name] for name in OWN]
    return lambda u: narrow(u, *tensors)


def usual_pfeiffer(base: nn.Module, case: Mapping) -> dict[str, Tensor]:
    """Return what the usual slips beside a norm give."""
    x, A = case["x"], _A(case)
    y = base(x)
    return {"not_normed_again": y + A(y), "reads_the_sum": base(x + A(x)),
            "adds_to_the_normed": base(y + A(y))}


def usual_parallel(base: nn.Module, case: Mapping) -> dict[str, Tensor]:
    """Return what the usual slips beside the feed-forward part give."""
    h, r, s, A = case["h"], case["r"], case["scale"], _A(case)
    y = base(h, r)
    return {"no_scale": base(h, r + A(r)), "after_the_norm": y + s * A(r), "behind": y + s * A(y)}


METHODS = {
    "Pfeiffer": Method(
        name="Pfeiffer", base=norm, own=OWN, inputs=("x",), layer="pfeiffer",
        equation=lambda base, case: base(case["x"] + _A(case)(base(case["x"]))),
        formula="the norm of the sum with A's part in it", usual=usual_pfeiffer, start_bound=0.05,
        praise=""),
    "Parallel": Method(
        name="Parallel", base=second, own=OWN, inputs=("h", "r"), layer="parallel",
        equation=lambda base, case: base(case["h"], case["r"] + case["scale"] * _A(case)(
            case["r"])),
        formula="the base with s·A(r) in its sum", usual=usual_parallel, start_bound=0.05,
        praise=""),
}
NEEDED = {"Pfeiffer": 2, "Parallel": 1}    # calls of the base, in one of the adapter
RETURNS = report(**{name: method.returns(handed=report(holds_A=bool, calls=int))
                    for name, method in METHODS.items()})


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


def _handed(make: Callable, method: Method, case: Mapping) -> dict[str, Any]:
    """Is `self.A` what was handed over, and how often is the base called for one output?"""
    base, A, calls = method.base(case), _given(case), []
    forward = base.forward

    def counted(*inputs: Tensor, **named: Tensor) -> Tensor:
        calls.append(1)
        return forward(*inputs, **named)

    base.forward = counted
    adapter = make(base, A)
    with torch.no_grad():
        adapter(*(case[name].clone() for name in method.inputs))
    return {"holds_A": adapter.A is A, "calls": len(calls)}


def _given(case: Mapping) -> Bottleneck:
    """Return the bottleneck that is handed over, with a start that is near silence."""
    return Bottleneck(case["d"], case["m"], 0.001, 0.001)


def judge_placements(case: dict, seen: dict) -> Verdict:
    for name, method in METHODS.items():
        if not (verdict := method.judge(case, seen[name])).passed:
            return verdict
    for name, needed in NEEDED.items():
        handed = seen[name]["handed"]
        if not handed["holds_A"]:
            return rejected("copied_A", f"{name}: self.A is another bottleneck than A.")
        if handed["calls"] < needed:
            return rejected("looks_inside", f"{name} called self.base {handed['calls']} times for "
                                            f"one output; {needed} are needed.")
    return Verdict(True)


PLACEMENT_MISTAKES = MISTAKES | {
    "layers_inside": "The four parameters are those of A, and A is called self.A here.",
    "names": "What should train is A, and it is called self.A here: as a module, so that its "
             "parameters are registered.",
    "copied_A": "Whoever handed A over still holds it, to look at it or to save it: keep A itself.",
    "looks_inside": "The rest was computed with the base's parts or parameters. BERT's base also "
                    "drops out and norms with its own constant; another base does yet other "
                    "things: call it.",
    "not_normed_again": "Its output leaves the block without a norm: that is Bapna and Firat's "
                        "place. What A says joins the sum, and the sum is normed with it.",
    "reads_the_sum": "A reads the sum itself. It should read what the norm makes of it.",
    "adds_to_the_normed": "What A says was added to the normed vectors. It joins the sum as it was "
                          "before the norm.",
    "no_scale": "s is missing: what A says is s times as strong.",
    "after_the_norm": "What A says was added after the norm. It joins the sum, before the norm: "
                      "which of the two inputs goes straight into that sum?",
    "behind": "That is an adapter behind the block: it reads what comes out. A parallel one reads "
              "what went in.",
}

PLACEMENTS = Exercise(
    id="adapters.placements", names=("Pfeiffer", "Parallel"), points=3, minutes=11,
    difficulty=2,
    equivalents=("peft_teach.methods.bottleneck:NormedAdapter",
                 "peft_teach.methods.bottleneck:InputAdapter"),
    cases=placement_cases, run=run_placements, judge=judge_placements,
    returns=RETURNS, mistakes=PLACEMENT_MISTAKES,
    hints=("The base is a black box: it can be called, as often as you like, with what you like.",
           "For the first: the norm is needed twice, once for what A reads, and once for the sum "
           "with A's part in it.",
           "For the second: the sum is made inside of the base, out of reach. Which input is "
           "added to it there as it comes?"))
