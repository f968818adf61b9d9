"""The exercises of lesson 05: here the size that a budget buys, and the bottleneck.

`start` has the law of the start, `placing` the two placements, `sealed` the sealed layers.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ....methods import bottleneck
from ...exercise import Exercise, Verdict
from ...judge import (
    NO_RETURN,
    close,
    difference,
    named,
    not_whole,
    plain,
    rejected,
    strange,
    whole,
)
from ...observe import loss
from .placing import PLACEMENTS
from .sealed import SEALED
from .start import NEAR, TENSORS, narrow

HERE = "peft_teach.course.lessons.adapters.exercises"

# ── adapters.size ────────────────────────────────────────────────────────────────────────────


def size_for(budget: int, d_model: int, modules: int) -> int:
    """Return the largest size at which so many bottlenecks have at most `budget` parameters.

    0 where not even the narrowest fits.
    """
    return max(0, (budget // modules - d_model) // (2 * d_model + 1))


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
    return {"found": [plain(size_for(*numbers)) for numbers in case["inputs"]]}


def judge_size(case: dict, seen) -> Verdict:
    if odd := strange(seen, "found", found=list):
        return odd
    inputs, found = case["inputs"], seen["found"]
    if len(found) != len(inputs):
        return Verdict(False, f"What came back are not {len(inputs)} answers.")
    right = [size_for(*numbers) for numbers in inputs]
    if any(value is None for value in found):
        return rejected("no_return")
    for numbers, value in zip(inputs, found):
        if whole(value) is None:
            return rejected("not_whole", f"size_for{numbers} gave {value!r}. {not_whole(value)}")
    if found == right:
        return Verdict(True, "Four tensors a bottleneck, and not one parameter over the budget.")
    i = next(i for i, value in enumerate(found) if value != right[i])
    budget, d, modules = inputs[i]
    told = f"size_for({budget}, {d}, {modules}) gave {found[i]}; expected {right[i]}."
    if found[i] > 0:
        cost = modules * bottleneck.count(d, found[i])
        told += f" {modules} of size {found[i]} have {cost:,} parameters."
    usual = list(zip(*(wrong_sizes(*numbers) for numbers in inputs)))
    mistake = next((answers[0][0] for answers in usual
                    if found == [value for _, value in answers]), None)
    return Verdict(False, told, mistake)


def wrong_sizes(budget: int, d: int, modules: int) -> list[tuple[str, int]]:
    """Return what the usual mistakes give, by name."""
    share, right = budget // modules, size_for(budget, d, modules)
    exact = (budget / modules - d) / (2 * d + 1)
    return [("no_biases", share // (2 * d)), ("no_b_down", max(0, (share - d) // (2 * d))),
            ("no_b_up", share // (2 * d + 1)),
            ("one_matrix", max(0, (share - d) // (d + 1))),
            ("one_matrix", share // d),
            ("one_module", max(0, (budget - d) // (2 * d + 1))),
            ("negative", (share - d) // (2 * d + 1)), ("rounded", max(0, math.ceil(exact))),
            ("one_less", right - (modules * bottleneck.count(d, right) == budget))]


SIZE_MISTAKES = {
    "no_return": NO_RETURN,
    "not_whole": "The middle has a whole number of entries: an int.",
    "no_biases": "That counts the two matrices alone. There are two biases besides.",
    "no_b_down": "The bias of the middle is missing: one parameter for each of its entries.",
    "no_b_up": "Either the bias at the end is missing, as many parameters as the model is wide; or "
               "it was counted, and the quotient was rounded to the nearest: at most means down.",
    "one_matrix": "There are two matrices: one down, one up.",
    "one_module": "That is what one adapter may cost. All of them share the budget.",
    "negative": "Where the narrowest is too dear, nothing can be bought: 0.",
    "rounded": "That is over the budget. At most means: round down.",
    "one_less": "One more would fit: a budget that is met exactly is kept.",
}

SIZE = Exercise(
    id="adapters.size", lesson="05", names=("size_for",), points=1, minutes=5, difficulty=1,
    reference=f"{HERE}:size_for", cases=size_cases, run=run_size, judge=judge_size,
    mistakes=SIZE_MISTAKES,
    hints=("What does one adapter cost, as a function of its size? Four shapes, four products.",
           "The bias at the end does not depend on the size: it has to be paid first.",
           "What is left, divided by what one more entry of the middle costs, and rounded down. "
           "Can that become less than nothing?"))

# ── adapters.bottleneck ──────────────────────────────────────────────────────────────────────

NEAREST = 0.1      # the bound of the start: ‖A(u)‖ ≤ 0.1 ‖u‖
LEAST = 1e-6       # of the largest entry of a gradient: with less, Adam does not move


def bottleneck_cases(seed: int) -> list[dict]:
    """Return sizes, tokens and values for the four tensors; the last is as wide as the model."""
    generator = torch.Generator().manual_seed(200 + seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return [{"d_model": d, "size": m, "u": draw(*batch, d), "W_down": draw(m, d) / d**0.5,
             "b_down": draw(m) / 2, "W_up": draw(d, m) / m**0.5, "b_up": draw(d)}
            for d, m, batch in ((3, 2, (1,)), (6, 4, (2, 3)), (5, 8, (4,)), (384, 64, (2, 5)))]


def equation(case: dict) -> Tensor:
    """Return A(u) with the case's values."""
    return narrow(case["u"], *(case[name] for name in TENSORS))


def run_bottleneck(make, case: dict) -> dict[str, Any]:
    """Make one, look at its start, fill its tensors in by their shapes, call it, and go back."""
    d, m, A = case["d_model"], case["size"], make(case["d_model"], case["size"])
    seen: dict[str, Any] = {"type": named(A), "is_module": isinstance(A, nn.Module)}
    if not seen["is_module"]:
        return seen
    parameters = dict(A.named_parameters())
    seen["shapes"] = {name: tuple(p.shape) for name, p in parameters.items()}
    if sorted(seen["shapes"].values()) != sorted([(m, d), (m,), (d, m), (d,)]):
        return seen
    seen["alike"] = _alike([p for _, p in A.named_parameters()], m)
    A.train()
    generator = torch.Generator().manual_seed(m)
    given = torch.cat([torch.eye(d), -torch.eye(d), torch.randn(16, d, generator=generator)])
    handed = given.clone()
    first = A(handed)
    seen |= {"gave": named(first), "intact": torch.equal(handed, given)}
    if not isinstance(first, Tensor) or first.shape != given.shape or not seen["intact"]:
        return seen
    seen["furthest"] = _furthest(A, given)
    seen["at_zero"] = float(A(torch.zeros(1, d)).detach().abs().max())
    seen["learns"] = False
    if first.requires_grad:
        loss(first).backward()
        seen["learns"] = any(p.dim() == 2 and p.grad is not None
                             and float(p.grad.abs().max()) > LEAST for p in parameters.values())
    seen["filled"] = [_called(A, values, case) for values in _fillings(parameters, case)]
    return seen


def _alike(parameters: list[Tensor], m: int) -> bool:
    """Do all slots start the same, in all that is theirs? Then they learn the same for ever."""
    of_slots = [p.detach().movedim(p.shape.index(m), 0).reshape(m, -1) for p in parameters
                if m in p.shape]
    slots = torch.cat(of_slots, dim=1)                                 # (size, whatever is theirs)
    return m > 1 and bool((slots == slots[0]).all())


def _furthest(A: nn.Module, u: Tensor, steps: int = 12) -> float:
    """Return the largest ‖A(u)‖ / ‖u‖ that is found by going uphill from these u.

    A is linear in pieces, and a step along the gradient is one of the power method.
    """
    found = 0.0
    for _ in range(steps):
        u = (u / u.norm(dim=-1, keepdim=True).clamp(min=1e-12)).detach().requires_grad_()
        lengths = A(u).norm(dim=-1)
        found = max(found, float(lengths.detach().max().nan_to_num(math.inf)))
        if not lengths.requires_grad or not found:
            break
        uphill, = torch.autograd.grad(lengths.sum(), u, allow_unused=True)
        if uphill is None:
            break
        u = uphill.nan_to_num()
    return found


def _fillings(parameters: dict, case: dict) -> Iterator[dict[str, Tensor]]:
    """Yield which value each parameter gets: by its shape; and as for x @ W, the other way."""
    by_shape = {tuple(case[name].shape): case[name] for name in TENSORS}
    yield {name: by_shape[tuple(p.shape)] for name, p in parameters.items()}
    turned = by_shape | {tuple(case[name].T.shape): case[name].T for name in ("W_down", "W_up")}
    yield {name: turned[tuple(p.shape)] for name, p in parameters.items()}


def _called(A: nn.Module, values: dict[str, Tensor], case: dict) -> dict[str, Any]:
    """Call A with these values in its parameters; what came out, and the gradients by name."""
    A.zero_grad()
    with torch.no_grad():
        for name, p in A.named_parameters():
            p.copy_(values[name])
    leaf = case["u"].clone().requires_grad_()
    y = A(leaf.clone())
    if not isinstance(y, Tensor):
        return {"gave": named(y)}
    found = {"y": y.detach().clone(), "reached": False}
    if y.requires_grad:
        loss(y).backward()
        found["reached"] = leaf.grad is not None and all(
            p.grad is not None for p in A.parameters())
    with torch.no_grad():
        again = A.eval()(case["u"].clone())
    A.train()
    return found | {"again": again if isinstance(again, Tensor) else None}


def judge_bottleneck(case: dict, seen) -> Verdict:
    if odd := strange(seen, "type", "is_module", type=str, is_module=bool, shapes=dict, gave=str,
                      intact=bool, furthest=float, at_zero=float, learns=bool, alike=bool,
                      filled=list):
        return odd
    d, m = case["d_model"], case["size"]
    made = f"Bottleneck({d}, {m})"
    if not seen["is_module"]:
        return rejected("not_module", f"{made} made {seen['type']}.")
    right, found = [(m, d), (m,), (d, m), (d,)], [*seen.get("shapes", {}).values()]
    if sorted(found) != sorted(right):
        mistake = "one_bias" if len(found) == 3 else "not_registered" if not found else "shapes"
        return rejected(mistake, f"{made} has parameters of the shapes {_list(found)}; expected "
                                 f"{_list(right)}, in any order.")
    if seen.get("gave") == "None":
        return rejected("no_return")
    if seen.get("intact") is False:
        return rejected("input_changed", "After A(u), u is not what it was before.")
    if "filled" not in seen:
        return rejected("shape_out", f"For tokens of width {d}, A(u) is {seen.get('gave')}.")
    filled = [each for each in seen["filled"] if isinstance(each, dict)
              and isinstance(each.get("y"), Tensor)]
    if len(filled) != 2 or not seen.keys() >= {"gave", "intact", "alike", "furthest", "at_zero",
                                               "learns"}:
        return Verdict(False, "The check's report is not whole.")
    y = equation(case)
    fits = next((each for each in filled if close(each["y"], y)), None)
    if fits is None:
        told = f"With values in its parameters, {difference('A(u)', filled[0]['y'], y)}"
        for mistake, output in usual_bottlenecks(case).items():
            if any(close(each["y"], output) for each in filled):
                return rejected(mistake, told)
        return Verdict(False, told)
    if not close(fits.get("again"), y):
        return rejected("training_only", "In eval mode it gives something else.")
    if not fits.get("reached"):
        return rejected("no_gradient", "After a backward pass, a parameter or u has no gradient.")
    if seen["at_zero"] != 0:
        return rejected("not_silent", f"As it is made, A(0) has an entry of {seen['at_zero']:.3g}; "
                                      "expected 0.")
    if seen["furthest"] > NEAREST:
        return rejected("start_far", f"As {made} is made, ‖A(u)‖ comes to {seen['furthest']:.3g} "
                                     f"times ‖u‖; at most {NEAREST} is allowed.")
    if not seen["learns"]:
        return rejected("never_learns", f"As {made} is made, neither matrix gets a gradient.")
    if seen["alike"]:
        return rejected("alike", f"In {made} all {m} slots start with the same weights.")
    return Verdict(True, "Two matrices, two biases, no competition; near silent, able to learn.")


def _list(shapes: list) -> str:
    return ", ".join(map(str, shapes)) or "none"


def usual_bottlenecks(case: dict) -> dict[str, Tensor]:
    """Return what the usual mistakes give."""
    u, W_down, b_down, W_up, b_up = (case[name] for name in ("u", *TENSORS))
    scores, y = u @ W_down.T + b_down, equation(case)
    return {"competes": scores.softmax(-1) @ W_up.T + b_up, "linear": scores @ W_up.T + b_up,
            "residual": u + y, "act_last": torch.relu(y), "bias_after": (
                torch.relu(u @ W_down.T) + b_down) @ W_up.T + b_up,
            "smooth": nn.functional.gelu(scores) @ W_up.T + b_up}


BOTTLENECK_MISTAKES = {
    "no_return": NO_RETURN,
    "not_module": "Let the class inherit from torch.nn.Module, and begin __init__ with "
                  "super().__init__().",
    "not_registered": "A plain tensor is not registered: nn.Parameter or nn.Linear is.",
    "one_bias": "One of the four is missing: each matrix has a bias behind it.",
    "shapes": "Four tensors: the two matrices of the prefix, as torch keeps them, and a bias for "
              "each.",
    "input_changed": "The model still needs u: make a new tensor.",
    "shape_out": "What comes out is to be added to the model's vectors: it has the shape of u.",
    "competes": "The slots still compete. Without softmax, a slot's strength is its own score, "
                "where that is positive.",
    "linear": "Without anything between them, the two matrices are one of low rank. What becomes "
              "of a negative score?",
    "residual": "u itself comes out as well. Whoever uses A adds what it gives to something: that "
                "is the placement's affair.",
    "act_last": "At the end, too, negative values were cut off: an adapter could then only add.",
    "bias_after": "The bias of the middle came after the cut. It moves the threshold: add it to "
                  "the score.",
    "smooth": "That is a smooth activation. The property says: a slot with a negative score says "
              "nothing at all.",
    "training_only": "The adapter is there in eval mode, too.",
    "no_gradient": "Is something detached, read by .data or .item(), or used under "
                   "torch.no_grad()?",
    "not_silent": "With u = 0 a start within the bound gives 0: how do the biases begin?",
    "start_far": "The model would begin as another one. How large are the entries of the two "
                 "matrices?",
    "alike": "Slots that start alike get the same gradients, and stay alike: so many slots do what "
             "one could. What does a random draw give that a constant does not?",
    "never_learns": "It is near, and stays there. What must not be zero, so that a gradient "
                    "arrives at one matrix at least?",
}

BOTTLENECK = Exercise(
    id="adapters.bottleneck", lesson="05", names=("Bottleneck",), points=2, minutes=9,
    difficulty=2, reference=f"{HERE}:Bottleneck",
    equivalents=("peft_teach.methods.bottleneck:Bottleneck",),
    cases=bottleneck_cases, run=run_bottleneck, judge=judge_bottleneck,
    mistakes=BOTTLENECK_MISTAKES,
    hints=("Go through the three changes one by one, and ask of each: which line of the prefix's "
           "code does it replace?",
           "torch keeps a matrix as (n_out, n_in): which of the four shapes is which of W₁ and W₂?",
           "For the start: what would A(u) be if every entry were a hundred times smaller? And if "
           "all were zero, what would reach either matrix in a backward pass?"))


class Bottleneck(nn.Module):
    """A(u) = W_up relu(W_down u + b_down) + b_up, the matrices drawn from N(0, 0.01²)."""

    def __init__(self, d_model: int, size: int):
        super().__init__()
        self.W_down = nn.Parameter(0.01 * torch.randn(size, d_model))
        self.b_down = nn.Parameter(torch.zeros(size))
        self.W_up = nn.Parameter(0.01 * torch.randn(d_model, size))
        self.b_up = nn.Parameter(torch.zeros(d_model))

    def forward(self, u: Tensor) -> Tensor:
        h = torch.relu(u @ self.W_down.T + self.b_down)                 # (…, size)
        return h @ self.W_up.T + self.b_up                              # (…, d_model)


EXERCISES = (SIZE, BOTTLENECK, NEAR, PLACEMENTS, SEALED)
