"""What every adapter is asked, whatever its method.

A method supplies what is its own: the base, the equation, what the usual mistakes would give. The
questions are the same for all, each a function that returns a Verdict, or None where there is
nothing to object to; the first Verdict decides.

    LORA = Method(name="LoRALinear", base=linear, arguments=("rank", "alpha"), own=("A", "B"), …)
    Exercise(…, run=LORA.run, judge=LORA.judge, returns=LORA.returns(), mistakes=MISTAKES | {…})

A case holds the arguments, the inputs and values for the parameters, each under its name.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .exercise import Verdict
from .judge import (
    changed,
    close,
    difference,
    drawing,
    factor,
    named,
    recognised,
    rejected,
    report,
    stages,
)
from .observe import FORWARD_LEFT, REPORT, as_leaves, loss, observe

Case = Mapping[str, Any]
Question = Callable[["Method", Case, Mapping[str, Any]], Verdict | None]


@dataclass(frozen=True)
class Method:
    """What one method says of its adapters."""

    name: str                                         # of the class that the learner writes
    base: Callable[[Case], nn.Module]                 # base(case), frozen
    own: tuple[str, ...]                              # its parameters
    equation: Callable[[nn.Module, Case], Tensor]     # the output: equation(base, case)
    formula: str                                      # the same, for the learner
    praise: str
    arguments: tuple[str, ...] = ()                   # with which it is made, after the base
    inputs: tuple[str, ...] = ("x",)
    layer: str = "layer"                              # what messages call one that was made
    usual: Callable[[nn.Module, Case], Mapping[str, Any]] = lambda base, case: {}
    starts: tuple[Question, ...] = ()                 # asked of how its parameters start
    attributes: Callable[[Case], Mapping[str, float]] = lambda case: {}
    tolerance: float = 1e-5                           # of float32, relative and absolute
    start_bound: float = 0.0                          # for a start that is only near the base

    def run(self, adapter: Any, case: Case) -> dict[str, Any]:
        """Try the learner's class on a case."""
        return observe(adapter, self.base(case), {name: case[name] for name in self.inputs},
                       {name: case[name] for name in self.own}, self.attributes(case),
                       [case[name] for name in self.arguments])

    def returns(self, **more: Any) -> Any:
        """What `run` gives; `more` is what a run of the lesson's own adds to a whole report."""
        *before, last = REPORT
        return stages(*before, last | more) | report(**FORWARD_LEFT)

    def judge(self, case: Case, seen: Mapping) -> Verdict:
        """Ask one question after the other."""
        for question in QUESTIONS:
            if verdict := question(self, case, seen):
                return verdict
        return Verdict(True, self.praise)

    def call(self) -> str:
        """How the adapter is called, for messages: layer(x)."""
        return f"{self.layer}({', '.join(self.inputs)})"

    def shapes(self, case: Case) -> dict[str, tuple[int, ...]]:
        """The shapes of its parameters."""
        return {name: tuple(case[name].shape) for name in self.own}

    def base_output(self, case: Case) -> Tensor:
        """What the base gives alone."""
        return self.base(case)(*(case[name] for name in self.inputs))

    def right(self, case: Case) -> tuple[Tensor, dict[str, Tensor | None]]:
        """The output with the parameters filled in, and the gradients of `loss` by name."""
        leaves = as_leaves({name: case[name] for name in (*self.own, *self.inputs)})
        with torch.enable_grad():
            y = self.equation(self.base(case), {**case, **leaves})
            loss(y).backward()
        return y.detach(), {name: leaf.grad for name, leaf in leaves.items()}

    def close(self, a: Any, b: Tensor, beyond: float = 0.0) -> bool:
        """Whether two outputs are equal within the method's tolerance, and `beyond` it."""
        return close(a, b, self.tolerance, beyond)


def linear_case(draw: Callable[..., Tensor], n_in: int, n_out: int, bias: bool,
                dtype: torch.dtype, batch: tuple[int, ...]) -> dict[str, Any]:
    """Return the numbers of a frozen layer, drawn, and an x (*batch, n_in)."""
    return {"n_in": n_in, "n_out": n_out, "W": draw(n_out, n_in, dtype=dtype) / n_in**0.5,
            "b": draw(n_out, dtype=dtype) if bias else None, "x": draw(*batch, n_in, dtype=dtype)}


def frozen_linear(case: Case) -> nn.Linear:
    """Return the frozen layer of a case: n_out features of n_in, its W, and its b or None."""
    layer = nn.Linear(case["n_in"], case["n_out"], bias=case["b"] is not None,
                      dtype=case["W"].dtype)
    with torch.no_grad():
        layer.weight.copy_(case["W"])
        if case["b"] is not None:
            layer.bias.copy_(case["b"])
    return layer.requires_grad_(False)


# ── how it is made ───────────────────────────────────────────────────────────────────────────


def is_adapter(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Does the class inherit from `pt.Adapter`?"""
    if not seen["is_adapter"]:
        made = ", ".join(["base", *(f"{name}={case[name]}" for name in method.arguments)])
        return rejected("not_adapter", f"{method.name}({made}) made {seen['type']}, which is no "
                                       "pt.Adapter.")
    return None


def holds_base(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Is its base the module that it was given?"""
    if not seen["holds_base"]:
        return rejected("base_lost", "Its base is not the module that it was given.")
    return None


def leaves_base_frozen(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Is every parameter of the base still frozen?"""
    names = [name for name, _ in method.base(case).named_parameters()]
    thawed = [name for name in names if seen["trains"].get(name) is not False]
    if thawed:
        return rejected("base_trained", f"The base was frozen; now base.{thawed[0]} has "
                                        "requires_grad = True.")
    return None


def has_its_parameters(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Does it register the parameters of the method, in their shapes, and no others?"""
    found, right = seen["shapes"], method.shapes(case)
    if found == right:
        return None
    told = f"Its own parameters are {_listed(found)}; expected {_listed(right)}."
    if found.keys() == right.keys():
        return rejected("shapes", told)
    if found.keys() > right.keys():
        return rejected("more_parameters", told)
    if any("." in str(name) for name in found):
        return rejected("layers_inside", told)
    if [*found.values()] == [*right.values()]:
        return rejected("misnamed", told)
    return rejected("names", told)


def registers_no_buffer(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Is everything that a file must keep a parameter?"""
    if seen["buffers"]:
        return rejected("buffer", f"It registers the buffer {seen['buffers'][0]}.")
    return None


# ── the first call ───────────────────────────────────────────────────────────────────────────


def has_a_forward(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Is forward written, as the rest of the class is?"""
    if "forward_left" in seen:
        return rejected("forward_left", f"{method.name} is made, but {method.call()} raises "
                                        "NotAttempted.")
    return None


def leaves_its_inputs(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Are the inputs unchanged afterwards?"""
    if altered := changed({name: case[name] for name in method.inputs}, seen["inputs_after"]):
        return rejected("input_changed", f"After {method.call()}, {altered} is not what it was "
                                         "before.")
    return None


def gives_a_tensor(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Does forward give a tensor?"""
    gave = seen.get("y", seen["start"])
    if gave is None:
        return rejected("no_return")
    if not isinstance(gave, Tensor):
        return Verdict(False, f"{method.call()} gave {named(gave)}, not a tensor.")
    return None


def leaves_its_base(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Is the base unchanged afterwards?"""
    if altered := changed(method.base(case).state_dict(), seen["base_after"]):
        return rejected("base_changed", f"After {method.call()}, base.{altered} is not what it was "
                                        "before.")
    return None


def starts_as_its_method(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Do its parameters start as the method says?"""
    return next((verdict for question in method.starts
                 if (verdict := question(method, case, seen))), None)


# ── with its parameters filled in ────────────────────────────────────────────────────────────


def keeps_dtypes(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Are its parameters float32, and is its output of the base's dtype?"""
    dtype = method.right(case)[0].dtype
    own = {str(each) for each in seen["dtypes"].values()}
    if seen["y"].dtype != dtype or own != {"torch.float32"}:
        names = _and(method.own)
        return rejected("dtype", f"The base gives {dtype}, {method.call()} {seen['y'].dtype}; "
                                 f"{names}: {', '.join(sorted(own))}.")
    return None


def follows_the_equation(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Is the output the equation's?"""
    y, right = seen["y"], method.right(case)[0]
    if method.close(y, right):
        return None
    told = f"With numbers in {_and(method.own)}, {method.call()} is not {method.formula}."
    if y.shape != right.shape:
        return Verdict(False, f"{told} Its shape is {tuple(y.shape)}; expected "
                              f"{tuple(right.shape)}.")
    told = f"{told} {difference(method.call(), y, right)}"
    usual = {**method.usual(method.base(case), case), **_forgotten(method, case, right)}
    mistake = recognised(usual, lambda output: method.close(y, output.to(right.dtype)))
    if mistake:
        return rejected(mistake, told)
    return Verdict(False, f"{told} {factor(y, method.base_output(case), right)}".strip())


def _forgotten(method: Method, case: Case, right: Tensor) -> dict[str, Tensor]:
    """What is left of the output without the base's, and without the base's bias."""
    found, base = {"no_base": right - method.base_output(case)}, method.base(case)
    if getattr(base, "bias", None) is not None:
        base.register_parameter("bias", None)
        found["no_bias"] = method.equation(base, case)
    return found


def starts_as_its_base(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Before any training, is the output the base's?"""
    base = method.base_output(case)
    if not method.close(seen["start"], base, beyond=method.start_bound):
        return rejected("start_differs", "As it is made, before any training: "
                                         + difference(method.call(), seen["start"], base))
    return None


def gives_the_same_twice(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Does the second call give what the first one gave?"""
    if not method.close(seen["again"], seen["y"]):
        return rejected("second_call", "Called a second time with the same numbers: "
                                       + difference(method.call(), seen["again"], seen["y"]))
    return None


def evaluates_as_it_trains(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Is the output in eval mode the same as in training?"""
    if not method.close(seen["eval"], seen["y"]):
        return rejected("training_only", "In eval mode: "
                                         + difference(method.call(), seen["eval"], seen["y"]))
    return None


def learns(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Do its own parameters get their gradients?"""
    y, grads = method.right(case)
    for name in method.own:
        if told := _gradient(name, seen["grads"].get(name), grads[name], y.dtype):
            return rejected("no_gradient", told)
    return None


def lets_gradients_through(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Do the layers below get theirs?"""
    y, grads = method.right(case)
    for name in method.inputs:
        if told := _gradient(name, seen["input_grads"].get(name), grads[name], y.dtype):
            return rejected("input_cut", told)
    return None


def keeps_its_numbers(method: Method, case: Case, seen: Mapping) -> Verdict | None:
    """Does it have the attributes that later exercises ask for?"""
    seen_attributes = seen["attributes"]
    for name, right in method.attributes(case).items():
        found = seen_attributes.get(name)
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isclose(
                found, right, rel_tol=1e-6):
            return rejected(f"no_{name}_attribute", f"layer.{name} is {found!r}; expected {right}.")
    return None


QUESTIONS: tuple[Question, ...] = (
    is_adapter, holds_base, leaves_base_frozen, has_its_parameters, registers_no_buffer,
    has_a_forward, leaves_its_inputs, gives_a_tensor, leaves_its_base, starts_as_its_method,
    keeps_dtypes, follows_the_equation, starts_as_its_base, gives_the_same_twice,
    evaluates_as_it_trains, learns, lets_gradients_through, keeps_its_numbers)

MISTAKES = {
    "not_adapter": "Let the class inherit from pt.Adapter.",
    "base_lost": "Hand the frozen module to super().__init__(base), and leave self.base as it is.",
    "base_trained": "The base stays frozen: what you train are parameters of your own, beside it.",
    "shapes": "The names are right. Which shape has each of them?",
    "more_parameters": "Everything else that you register with nn.Parameter would be trained as "
                       "well.",
    "layers_inside": "A layer inside the adapter puts a dot into the name, and may bring a bias. "
                     "Register the matrix or vector itself, as an nn.Parameter.",
    "misnamed": "The sizes are right, the names are not: they are the attributes of self.",
    "names": "A plain tensor is not registered: wrap it in nn.Parameter.",
    "buffer": "A saved adapter keeps parameters only, and pt.attach refuses a buffer. A number can "
              "be a plain attribute.",
    "forward_left": "__init__ is written; replace the line in forward, too.",
    "input_changed": "Somebody else still needs that tensor: make a new one instead of changing it "
                     "in place (+=, add_).",
    "base_changed": "The base is frozen: add to its output instead of changing it.",
    "dtype": "The adapter's own parameters stay float32 whatever the base: take x.float() where "
             "they meet x, and cast what you add to the dtype of the base's output.",
    "no_base": "What the base gives is missing.",
    "start_differs": "Before any training the output must be the base's.",
    "second_call": "Something is changed by a call: does forward write into a parameter or an "
                   "attribute?",
    "training_only": "In eval mode the output is another one: the method belongs there, too.",
    "no_gradient": "Is a parameter detached, read by .data or .item(), or used under "
                   "torch.no_grad()?",
    "input_cut": "The layers below would not learn: call self.base without torch.no_grad(), and do "
                 "not detach the input.",
}


# ── layers with two narrow matrices, A (rank, n_in) and B (n_out, rank) ──────────────────────

# One of the two matrices starts at zero, and what passes through the other stays as large as it
# was. The root mean square of what comes out, for random inputs of size 1, may lie between these:
# PyTorch's usual uniform start of a layer gives 0.58.
SIZE = (0.45, 1.8)
# Layers made to see how the random matrix is drawn: a deviation that depends on no width or rank
# is too small in one of them or too large in the other, and 1/√n_out is not 1/√n_in.
DRAWN = ((1024, 256, 3), (64, 64, 64))    # n_in, n_out, rank
LAYERS = (    # n_in, n_out, rank, alpha, bias, dtype, and the axes of x before the last
    (4, 3, 2, 6.0, True, torch.float32, (2,)),
    (5, 9, 4, 10.0, False, torch.float32, (3, 2)),
    (384, 96, 8, 16.0, True, torch.float32, (2, 3)),
    (8, 8, 4, 8.0, True, torch.bfloat16, (3, 2)))


def linear_cases(seed: int, layers: Iterable[tuple] = LAYERS) -> list[dict]:
    """Return layers with inputs, A and B, in the order given: the first that fails is shown."""
    draw = drawing(1000 + seed)
    return [linear_case(draw, n_in, n_out, bias, dtype, batch)
            | {"rank": rank, "alpha": alpha, "A": draw(rank, n_in) / n_in**0.5,
               "B": draw(n_out, rank)}
            for n_in, n_out, rank, alpha, bias, dtype, batch in layers]


def drawn_at_start(kind: Any) -> list[dict[str, Tensor]]:
    """Return what the parameters of the layers of `DRAWN` start as."""
    layers = [kind(nn.Linear(n_in, n_out).requires_grad_(False), rank, 2.0 * rank)
              for n_in, n_out, rank in DRAWN]
    return [{name: p.detach().float() for name, p in layer.own_parameters().items()}
            for layer in layers]


def random_beside_zero(method: Method, case: dict, seen: dict) -> Verdict | None:
    """Is one of A and B zero, and the other random and sized to keep its inputs' size?"""
    A, B = seen["start_own"]["A"], seen["start_own"]["B"]
    if not A.any() and not B.any():
        return rejected("both_zero", "A and B both start at zero.")
    if A.any() and B.any():
        return rejected("both_random", f"A starts with entries of up to {A.abs().max():.2g}, and B "
                                       f"of up to {B.abs().max():.2g}; expected zero in one.")
    name, side = ("A", "x Aᵀ") if A.any() else ("B", "what B makes of it")
    for sizes, drawn in zip(DRAWN, seen["drawn"]):
        told = "n_in = {}, n_out = {}, rank {}".format(*sizes)
        rows = drawn[name] if name == "A" else drawn[name].T    # (rank, features)
        sigma = torch.linalg.svdvals(rows)
        if 8 * len(rows) <= rows.shape[1] and sigma[-1] < 0.1 * sigma[0]:
            return rejected("alike", f"The {'rows' if name == 'A' else 'columns'} of {name} start "
                                     "along fewer directions than there are: their singular values "
                                     f"go from {sigma[0]:.2g} down to {sigma[-1]:.2g} ({told}).")
        passed = drawn[name].square().sum(1).mean().sqrt()    # what inputs of size 1 become
        if not SIZE[0] < passed < SIZE[1]:
            told = (f"What goes in has entries of about 1; {side} starts with entries of about "
                    f"{passed:.2g}, expected about 1 ({told}).")
            return rejected("A_size", told) if name == "A" else Verdict(False, told)
        if abs(rows.mean()) > rows.std() / 2:
            return Verdict(False, f"The entries of {name} start with a mean of {rows.mean():.2g} "
                                  f"and a deviation of {rows.std():.2g}; expected a mean of about "
                                  "0, since entries of one sign make directions that are nearly "
                                  "one.")
    return None


# ── words ────────────────────────────────────────────────────────────────────────────────────



def _and(names: tuple[str, ...]) -> str:
    """Return "A and B", or "A, B and C"."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _listed(shapes: Mapping) -> str:
    """Name parameters with their shapes."""
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "none"


def _gradient(name: str, found: Any, right: Tensor | None, dtype: torch.dtype) -> str | None:
    """Say how a gradient differs from the right one, beyond the rounding on its way."""
    if right is None:
        return None
    if found is None:
        return f"After a backward pass, {name}.grad is None."
    bound = 1e-3 if dtype == torch.float32 else 0.05
    if isinstance(found, Tensor) and found.shape == right.shape and torch.allclose(
            found.float(), right.float(), rtol=bound, atol=bound * right.abs().max().item()):
        return None
    return f"After a backward pass: {difference(f'{name}.grad', found, right)}"
