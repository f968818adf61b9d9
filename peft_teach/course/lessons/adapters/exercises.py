"""The exercises of lesson 05: here the size that a budget buys, and the bottleneck.

`start` has the law of the start, `placing` the two placements, `sealed` the sealed blocks.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ....methods import bottleneck
from ...checks.exercise import Exercise, Verdict
from ...checks.judge import (
    close,
    difference,
    drawing,
    named,
    not_whole,
    plain,
    recognised,
    rejected,
    report,
    stages,
    whole,
)
from ...checks.mutants import Law
from ...checks.observe import TRIED, detached, tried
from . import mutants
from .placing import PLACEMENTS
from .sealed import SEALED
from .start import BOUND, TENSORS, furthest, learns, narrow

# ── adapters.size ────────────────────────────────────────────────────────────────────────────


def size_for(budget: int, d_model: int, modules: int) -> int:
    """Return the largest size of which so many bottlenecks fit into the budget; 0 for none."""
    return bisect_right(range(1, budget + 1), budget,
                        key=lambda size: modules * bottleneck.count(d_model, size))


def size_cases(seed: int) -> list[dict]:
    """Return one case of several budgets: some just enough, some one short, one for nothing.

    They are judged together, so that a mistake is named only if it explains every answer.
    """
    generator = torch.Generator().manual_seed(100 + seed)
    inputs = [(300, 4, 2), (320, 4, 2)]
    for d_model, modules in ((5, 3), (384, 12), (768, 24)):
        size = int(torch.randint(3, 90, (1,), generator=generator))
        cost = modules * bottleneck.count(d_model, size)
        inputs += [(cost, d_model, modules), (cost - 1, d_model, modules)]
    return [{"inputs": [*inputs, (5, 6, 2)]}]


def run_size(size_for, case: dict) -> dict[str, Any]:
    return {"found": [size_for(*numbers) for numbers in case["inputs"]]}


def judge_size(case: dict, seen: dict) -> Verdict:
    inputs, found = case["inputs"], seen["found"]
    if any(value is None for value in found):
        return rejected("no_return")
    right, sizes = [size_for(*numbers) for numbers in inputs], [*map(whole, map(plain, found))]
    if sizes == right:
        return Verdict(True)
    (budget, d, modules), value, size, wanted = next(
        each for each in zip(inputs, found, sizes, right) if each[2] != each[3])
    told = f"size_for({budget}, {d}, {modules}) gave {value!r}; expected {wanted}."
    if size is None:
        return rejected("not_whole", f"{told} {not_whole(value)}")
    if size > 0:
        cost = modules * bottleneck.count(d, size)
        told += f" {modules} of size {size} have {cost:,} parameters."
    usual = {name: [slip(*numbers) for numbers in inputs] for name, slip in USUAL_SIZES.items()}
    return Verdict(False, told, recognised(usual, lambda slips: slips == sizes))


USUAL_SIZES = {
    "no_biases": lambda budget, d, modules: budget // modules // (2 * d),
    "no_b_up": lambda budget, d, modules: budget // modules // (2 * d + 1),
    "one_module": lambda budget, d, modules: size_for(budget, d, 1),
    "negative": lambda budget, d, modules: (budget // modules - d) // (2 * d + 1),
}
SIZE_MISTAKES = {
    "not_whole": "The middle has a whole number of entries: an int.",
    "no_biases": "That counts the two matrices alone. There are two biases besides.",
    "no_b_up": "Either the bias at the end is missing, as many parameters as the model is wide; or "
               "it was counted, and the quotient was rounded to the nearest: at most means down.",
    "one_module": "That is what one adapter may cost. All of them share the budget.",
    "negative": "Where the narrowest is too dear, nothing can be bought: 0.",
}

SIZE = Exercise(
    id="adapters.size", names=("size_for",), points=1, minutes=5, difficulty=1,
    cases=size_cases,
    run=run_size, judge=judge_size, returns=report(found=list), mistakes=SIZE_MISTAKES,
    hints=("What does one adapter cost, as a function of its size? Four shapes, four products.",
           "The bias at the end does not depend on the size: it has to be paid first.",
           "What is left, divided by what one more entry of the middle costs, and rounded down. "
           "Can that become less than nothing?"))

# ── adapters.bottleneck ──────────────────────────────────────────────────────────────────────


def bottleneck_cases(seed: int) -> list[dict]:
    """Return sizes, tokens and values for the four tensors; the last is as wide as the model."""
    draw = drawing(200 + seed)
    return [{"d_model": d, "size": m, "u": draw(*batch, d), "W_down": draw(m, d) / d**0.5,
             "b_down": draw(m) / 2, "W_up": draw(d, m) / m**0.5, "b_up": draw(d)}
            for d, m, batch in ((3, 2, (1,)), (6, 4, (2, 3)), (5, 8, (4,)), (384, 64, (2, 5)))]


def run_bottleneck(make, case: dict) -> dict[str, Any]:
    """Make one, call it, look at its start, and fill its tensors in by their shapes."""
    d, m, A, u = case["d_model"], case["size"], make(case["d_model"], case["size"]), case["u"]
    seen = {"made": named(A), "shapes": sorted(tuple(p.shape) for p in A.parameters())
            if isinstance(A, nn.Module) else None}
    if seen["shapes"] != _shapes(case):
        return seen
    first = tried(A, {"u": u})
    seen |= {"first": first}
    if not isinstance(first["found"], Tensor) or first["found"].shape != u.shape or (
            not first["intact"]):
        return seen
    return seen | {
        "at_zero": float(A(torch.zeros(1, d)).detach().abs().max()), "furthest": furthest(A, d),
        "learns": learns(A, d), "alike": _alike([*A.parameters()], m),
        "filled": [_called(A, values, u) for values in _fillings(A, case)]}


REPORT = ({"made": str, "shapes": list[tuple[int, ...]] | None}, {"first": TRIED}, {
    "at_zero": float, "furthest": float, "learns": bool, "alike": bool,
    "filled": list[report(found=Any, eval=Any, reached=bool)]})


def _shapes(case: Mapping) -> list[tuple[int, ...]]:
    return sorted(tuple(case[name].shape) for name in TENSORS)


def _alike(parameters: list[Tensor], m: int) -> bool:
    """Do all slots start the same, in all that is theirs? Then they learn the same for ever."""
    of_slots = [p.detach().movedim(p.shape.index(m), 0).reshape(m, -1) for p in parameters
                if m in p.shape]
    slots = torch.cat(of_slots, dim=1)                                 # (size, whatever is theirs)
    return m > 1 and bool((slots == slots[0]).all())


def _fillings(A: nn.Module, case: dict) -> Iterator[dict[str, Tensor]]:
    """Yield which value each parameter gets: by its shape; and as for x @ W, the other way."""
    by_shape = {tuple(case[name].shape): case[name] for name in TENSORS}
    turned = {tuple(case[name].T.shape): case[name].T for name in ("W_down", "W_up")}
    for values in (by_shape, by_shape | turned):
        yield {name: values[tuple(p.shape)] for name, p in A.named_parameters()}


def _called(A: nn.Module, values: dict[str, Tensor], u: Tensor) -> dict[str, Any]:
    """Call A with these values in its parameters."""
    A.train()
    with torch.no_grad():
        for name, p in A.named_parameters():
            p.copy_(values[name])
    seen = tried(A, {"u": u})
    reached = "u" in seen["slopes"] and all(p.grad is not None for p in A.parameters())
    return {"found": seen["found"], "reached": reached, "eval": detached(A.eval()(u.clone()))}


def judge_bottleneck(case: dict, seen: dict) -> Verdict:
    d, m, shapes = case["d_model"], case["size"], _shapes(case)
    made = f"Bottleneck({d}, {m})"
    if seen["shapes"] is None:
        return Verdict(False, f"{made} made {seen['made']}, which is not an nn.Module.")
    if seen["shapes"] != shapes:
        return Verdict(False, f"{made} has parameters of the shapes "
                              f"{', '.join(map(str, seen['shapes'])) or 'none'}; expected "
                              f"{', '.join(map(str, shapes))}, in any order.")
    first = seen["first"]
    if first["found"] is None:
        return rejected("no_return")
    if not first["intact"]:
        return Verdict(False, "After A(u), u is not what it was before.")
    if "filled" not in seen:
        return Verdict(False, difference("A(u)", first["found"], case["u"]))
    y, filled = narrow(case["u"], *(case[name] for name in TENSORS)), seen["filled"]
    fits = next((each for each in filled if close(each["found"], y)), None)
    if fits is None and (times := next(filter(None, (_times(each["found"], y) for each in filled)),
                                       None)):
        return rejected("scaled", f"With values in its parameters, A(u) is {times:.3g} times "
                                  "W_up relu(W_down u + b_down) + b_up.")
    if fits is None:
        return Verdict(
            False, f"With values in its parameters, {difference('A(u)', filled[0]['found'], y)}",
            recognised(_usual(case), lambda slip: any(close(each["found"], slip)
                                                      for each in filled)))
    if not close(fits["eval"], y):
        return Verdict(False, f"In eval mode, {difference('A(u)', fits['eval'], y)}")
    if not fits["reached"]:
        return Verdict(False, "After a backward pass, a parameter or u has no gradient.")
    if seen["at_zero"] != 0:
        return rejected("not_silent", f"As it is made, A(0) has an entry of {seen['at_zero']:.3g}; "
                                      "expected 0.")
    if not seen["furthest"] <= BOUND:    # nor nan
        return rejected("start_far", f"As {made} is made, ‖A(u)‖ comes to {seen['furthest']:.3g} "
                                     f"times ‖u‖; at most {BOUND} is allowed.")
    if not seen["learns"]:
        return rejected("never_learns", f"As {made} is made, neither matrix gets a gradient.")
    if seen["alike"]:
        return rejected("alike", f"In {made} all {m} numbers of the middle start with the same "
                                 "weights.")
    return Verdict(True)


def _times(found: Any, y: Tensor) -> float | None:
    """By which factor each token's output is too long, that of the first; None if not by one."""
    if not isinstance(found, Tensor) or found.shape != y.shape:
        return None
    factor = (found * y).sum(-1, keepdim=True) / y.square().sum(-1, keepdim=True)
    return float(factor.flatten()[0]) if (factor > 0).all() and close(found, factor * y) else None


def _usual(case: Mapping) -> dict[str, Tensor]:
    u, W_down, b_down, W_up, b_up = (case[name] for name in ("u", *TENSORS))
    scores = u @ W_down.T + b_down
    return {"competes": scores.softmax(-1) @ W_up.T + b_up, "linear": scores @ W_up.T + b_up,
            "residual": u + narrow(u, W_down, b_down, W_up, b_up)}


BOTTLENECK_MISTAKES = {
    "competes": "The m numbers still compete. Without softmax, each is its own score, where that "
                "is positive.",
    "linear": "Without anything between them, the two matrices are one of low rank. What becomes "
              "of a negative score?",
    "residual": "u itself comes out as well. Whoever uses A adds what it gives to something: that "
                "is the placement's affair.",
    "scaled": "Every output is multiplied by a factor, and stays so while A trains. Only the start "
              "should be small: which entries decide that?",
    "not_silent": "With u = 0 a start within the bound gives 0: how do the biases begin?",
    "start_far": "The model would begin as another one. How large are the entries of the two "
                 "matrices?",
    "alike": "Numbers of the middle that start alike get the same gradients, and stay alike: "
             "all do what one could. What does a random draw give that a constant does not?",
    "never_learns": "It is near, and stays there. What must not be zero, so that a gradient "
                    "arrives at one matrix at least?",
}

BOTTLENECK = Exercise(
    id="adapters.bottleneck", names=("Bottleneck",), points=2, minutes=9,
    difficulty=2, equivalents=("peft_teach.methods.bottleneck:Bottleneck",),
    cases=bottleneck_cases, run=run_bottleneck, judge=judge_bottleneck,
    returns=stages(*REPORT), mistakes=BOTTLENECK_MISTAKES,
    hints=("Follow one token through the equation: how many numbers are there after each step?",
           "W_down is (m, d), so u @ W_down.T has m numbers. What is W_up?",
           "For the start: what would A(u) be if every entry were a hundred times smaller? And if "
           "all were zero, what would reach either matrix in a backward pass?"))


# ── adapters.near ────────────────────────────────────────────────────────────────────────────

LAW = Law(mutants.RIGHT, mutants.BROKEN,
          call=lambda test, make: test(make, mutants.WIDTH, BOUND))
NEAR = Exercise(
    id="adapters.near", names=("starts_near",), points=2, minutes=15, difficulty=2,
    optional=True,
    **LAW.fields,
    hints=("'Every u' cannot be tried. Which few are the hardest: in length, in direction, in "
           "sign?",
           "Scale u to length 1, and replace it by the gradient of the length of A(u), ten "
           "times: it turns towards the direction in which A(u) is longest. Try several lengths "
           "there. Where A(u) is zero, a ratio is 0 / 0: compare two lengths instead.",
           "For the second half: p.dim() == 2 tells a matrix from a bias, and one of the two "
           "needs a gradient other than zero."),
    arguments=lambda pieces: (lambda: pieces["Bottleneck"](384, 64), 384, BOUND))

EXERCISES = (SIZE, BOTTLENECK, PLACEMENTS, SEALED, NEAR)
