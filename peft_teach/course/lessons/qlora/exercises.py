"""The exercises of lesson 08: levels, bytes, layer, the law of its bits, a broken one, `dice`.

`four_bits` says what is right.
"""

import copy
import gc
import math
import sys
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from ....nf4 import LEVELS
from ...checks.exercise import Exercise, Verdict
from ...checks.judge import (
    changed,
    close,
    difference,
    drawing,
    named,
    recognised,
    rejected,
    report,
    stages,
)
from ...checks.mutants import Law, Loophole
from ...checks.observe import Spy, detached
from . import four_bits, mutants
from .dice import DICE

NF4 = "peft_teach.nf4"

# ── qlora.levels ─────────────────────────────────────────────────────────────────────────────

# The value below which a share p of a distribution lies, in units in which that is simple.
QUANTILES = {
    "uniform": lambda p: 2 * p - 1,
    "normal": NormalDist().inv_cdf,
    "Laplace": lambda p: math.copysign(math.log(1 - abs(2 * p - 1)), p - 0.5),
    "logistic": lambda p: math.log(p / (1 - p)),
    "Cauchy": lambda p: math.tan(math.pi * (p - 0.5)),
    "tiny normal": NormalDist(0, 1e-9).inv_cdf,
}


def run_levels(levels, case: dict) -> dict[str, Any]:
    return {"found": detached(levels(QUANTILES[case["distribution"]]))}


def judge_levels(case: dict, seen: Mapping) -> Verdict:
    found, quantile, top = seen["found"], QUANTILES[case["distribution"]], four_bits.TOP
    p, last = np.interp(range(16), (0, 7, 15), (1 - top, 0.5, top)).tolist(), quantile(top)
    right = torch.tensor([quantile(each) / last for each in p])
    what = f"For the {case['distribution']} distribution, levels"
    if not close(found, right):
        line = np.linspace(1 - top, top, 16).tolist()
        usual = {"even": torch.cat([torch.arange(-7, 0) / 7, torch.arange(9) / 8]),
                 "whole_line": torch.tensor([quantile(p) / last for p in line]),
                 "sides": -right.flip(0), "not_scaled": right * last}
        return Verdict(False, difference(what, found, right),
                       recognised(usual, lambda wrong: close(found, wrong)))
    if found[7] != 0:
        return Verdict(False, f"levels[7] is {found[7].item():.2g}; expected 0, exactly.")
    return _unlike(what, found, right) or Verdict(
        True, "Sixteen levels: −1 and 1 at the ends, 0 among them, equal steps of probability on "
              "each side.")


def _unlike(what: str, found: Any, right: Tensor) -> Verdict | None:
    """Reject what has not the shape and dtype of the right tensor."""
    if not isinstance(found, Tensor) or found.shape != right.shape:
        return Verdict(False, difference(what, found, right))
    if found.dtype != right.dtype:
        return Verdict(False, f"{what} is {found.dtype}; expected {right.dtype}.")
    return None


LEVELS_OF = Exercise(
    id="qlora.levels", names=("levels",), points=3, minutes=8, difficulty=2,
    equivalents=(f"{NF4}:levels",),
    cases=lambda seed: [{"distribution": name} for name in ("uniform", "normal", "Laplace")],
    run=run_levels, judge=judge_levels, returns=report(found=Any),
    mistakes={
        "even": "These are even steps on the line of values, whatever the distribution. Take even "
                "steps of probability.",
        "whole_line": "Equal steps of probability over the whole line pass by 0: go outward from "
                      "0, one side at a time.",
        "sides": "Eight are negative and seven positive: it is the other way round.",
        "not_scaled": "The steps are right. The last level must be 1 and the first −1.",
    },
    hints=("At 0, half of the distribution lies below. At the last level it is TOP. What lies "
           "between these two probabilities, in eight equal steps?",
           "The negative side is the same with seven steps, and symmetry gives its values.",
           "Last comes the unit: by which number do you divide all of them, to end at 1?"))

# ── qlora.quantize ───────────────────────────────────────────────────────────────────────────


def quantize_cases(seed: int) -> list[dict]:
    """Return a small matrix, one whose groups cross its rows, one of even levels and zeros."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.tensor([[0.2, -0.9, 0.4, 0.1], [0.03, 0.01, -0.02, 0.0]])
    zeros = torch.randn(4, 48, generator=generator) * 3
    zeros.view(-1, 32)[1] = 0
    even = four_bits.levels(QUANTILES["uniform"])
    return [quantize_case(small, LEVELS, 4),
            quantize_case(torch.randn(4, 96, generator=generator) / 50, LEVELS, 64),
            quantize_case(zeros, even, 32)]


def quantize_case(W: Tensor, levels: Tensor, block: int) -> dict:
    """Return a case, with the right bytes and maxima: those that `dequantize` is tried on."""
    packed, top = four_bits.quantize(W, levels, block)
    return {"W": W, "levels": levels, "block": block, "packed": packed, "top": top}


def run_quantize(pair: Any, case: dict) -> dict[str, Any]:
    quantize, dequantize = pair
    handed = {name: case[name].clone() for name in ("W", "packed", "top")}
    given = quantize(handed["W"], case["levels"], *([] if case["block"] == 64 else [case["block"]]))
    back = dequantize(handed["packed"], handed["top"], case["levels"], case["W"].shape)
    return {"given": given, "W_hat": detached(back),
            "changed": changed({name: case[name] for name in handed}, handed)}


def judge_quantize(case: dict, seen: Mapping) -> Verdict:
    W, packed, top, levels = (case[name] for name in ("W", "packed", "top", "levels"))
    told, given = f"W is {tuple(W.shape)}, in groups of {case['block']}. ", seen["given"]
    if not isinstance(given, tuple | list) or len(given) != 2:
        return Verdict(False, f"quantize gave {named(given)}; expected packed and top.")
    if seen["changed"]:
        return rejected("changed", f"After the calls, {seen['changed']} is not what it was.")
    found, maxima = given
    if not _alike(maxima, top):
        signed = _alike(maxima, W.reshape(-1, case["block"]).amax(1))
        return Verdict(False, difference(f"{told}top", maxima, top), "signed" if signed else None)
    if isinstance(found, Tensor) and found.shape == (W.numel(),):
        return rejected("one_a_byte", f"{told}packed has {len(found)} entries for {W.numel()} "
                                      f"weights; expected {len(packed)}.")
    if verdict := _unlike(f"{told}top", maxima, top) or _unlike(f"{told}packed", found, packed):
        return verdict
    mine, right, swapped = (four_bits.dequantize(each, top, levels, W.shape)
                            for each in (found, packed, packed << 4 | packed >> 4))
    off = (mine - W).abs() > (right - W).abs() + 1e-5 * W.abs().max()    # ties may go either way
    if off.any():
        at = tuple(off.nonzero()[0].tolist())
        return Verdict(False, f"{told}By its four bits, the entry {at} is at {mine[at]:.3g}; "
                              f"expected {right[at]:.3g}, the nearest to {W[at]:.3g}.",
                       "halves" if _alike(mine, swapped) else None)
    told = f"{told}From the right bytes dequantize makes something else: Ŵ"
    if not _alike(back := seen["W_hat"], right):
        return Verdict(False, difference(told, back, right),
                       "halves" if _alike(back, swapped) else None)
    return _unlike(told, back, right) or Verdict(
        True, "Each weight at its nearest level, two to a byte, and back.")


def _alike(found: Any, right: Tensor) -> bool:
    """Whether two tensors are equal but for rounding, beside the largest entry."""
    return isinstance(found, Tensor) and found.shape == right.shape and torch.allclose(
        found.float(), right, rtol=1e-5, atol=1e-6 * float(right.abs().max()))


QUANTIZE = Exercise(
    id="qlora.quantize", names=("quantize", "dequantize"), points=3, minutes=9,
    difficulty=2, equivalents=tuple(
        f"{NF4}:{name}" for name in ("quantize", "dequantize", "pack", "unpack")),
    cases=quantize_cases, run=run_quantize, judge=judge_quantize,
    returns=report(given=Any, W_hat=Any, changed=str),
    mistakes={
        "one_a_byte": "Four bits are half a byte.",
        "halves": "The first of two weights belongs into the high half: its index times 16.",
        "signed": "The largest magnitude counts, whatever its sign.",
        "changed": "Arguments are still needed: divide or shift a copy.",
        "misfit": "Blocks may cross the rows of W, and their length is not always 64: dequantize "
                  "finds it from len(top).",
    },
    hints=("Cut W into rows of one group each. What is left is to find, for each number between "
           "−1 and 1, the nearest of sixteen levels.",
           "Between two neighbouring levels the nearest one changes in the middle: fifteen middles "
           "and torch.bucketize, or all distances and argmin.",
           "The even places and the odd places of the indices make two tensors. One of them is "
           "shifted by four bits; >> and & undo that. A group of zeros is divided by zero, if "
           "nothing prevents it."))

# ── qlora.layer ──────────────────────────────────────────────────────────────────────────────


def layer_cases(seed: int) -> list[dict]:
    """Return layers that differ in shape, bias and levels, with inputs and output gradients."""
    return [layer_case(seed, *each) for each in (
        (64, 48, True, None, (1,)), (96, 64, True, None, (2, 3)),
        (128, 48, False, four_bits.levels(QUANTILES["uniform"]), (5,)))]


def layer_case(seed: int, n_in: int, n_out: int, bias: bool, levels: Tensor | None,
               batch: tuple[int, ...]) -> dict:
    """Return a case; without levels, the layer is made with its own default."""
    draw = drawing(1000 * seed + n_in)
    return {"W": draw(n_out, n_in) / n_in**0.5, "b": draw(n_out) if bias else None,
            "levels": levels, "x": draw(*batch, n_in), "dy": draw(*batch, n_out)}


NAMED = ("in_features", "out_features", "bias", "weight")


def _linear(W: Tensor, b: Tensor | None) -> nn.Linear:
    """A layer as it comes: its parameters ask for a gradient."""
    linear = nn.Linear(*W.shape[::-1], bias=b is not None)
    linear.load_state_dict({"weight": W} if b is None else {"weight": W, "bias": b})
    return linear


def _outside(held: Any) -> int:
    """Count the bytes of arrays, numbers and the like in it; tensors are counted elsewhere."""
    if isinstance(held, Mapping):
        held = [*held.values()]
    if isinstance(held, list | tuple):
        return sum(map(_outside, held))
    return 0 if isinstance(held, Tensor) else getattr(held, "nbytes", sys.getsizeof(held))


def run_layer(Linear4bit: Any, case: dict) -> dict[str, Any]:
    """Make it and use it once as training does; ask what it holds then; copy it and load it."""
    given = () if case["levels"] is None else (case["levels"],)
    linear, x = _linear(case["W"], case["b"]), case["x"].clone().requires_grad_()
    exact = StorageWeakRef(linear.weight.untyped_storage())
    spy, shape = Spy(), case["dy"].shape
    with spy:
        layer = Linear4bit(linear, *given)
        y = layer(x) if isinstance(layer, nn.Module) else None
        if isinstance(y, Tensor):
            layer.eval()(case["x"])
    seen = {"type": named(layer), "is_module": isinstance(layer, nn.Module), "y": detached(y)}
    if not isinstance(y, Tensor) or y.shape != shape:
        return seen
    own = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    known = (x, y, *linear.parameters(), *own.values())
    held = spy.held(*known)
    if y.requires_grad:
        with spy:
            (y * case["dy"]).sum().backward()
    seen |= {"dx": detached(x.grad), "trains": [n for n, t in own.items() if t.requires_grad]}
    if x.grad is None or seen["trains"]:
        return seen
    held = max(held, spy.held(*known, x.grad))
    held += sum(_outside(vars(module)) for module in layer.modules())
    del linear, y, known
    if not exact.expired():
        gc.collect()
    seen |= {"own": sum(t.numel() * t.element_size() for name, t in own.items()
                        if name.rpartition(".")[2] != "bias"),
             "held": held if exact.expired() else held + 4 * case["W"].numel()}
    other = Linear4bit(_linear(-case["W"], None if case["b"] is None else -case["b"]), *given)
    with torch.no_grad():
        copied = copy.deepcopy(layer)(case["x"])
        other.load_state_dict(layer.state_dict())
        return seen | {"copied": detached(copied), "loaded": detached(other(case["x"])),
                       "named": {name: detached(getattr(layer, name, None)) for name in NAMED}}


def judge_layer(case: dict, seen: Mapping) -> Verdict:
    """Ask for the output, the gradient, what trains, the bits, what is held, and the rest."""
    W, b, x, n = case["W"], case["b"], case["x"], case["W"].numel()
    levels = LEVELS if case["levels"] is None else case["levels"]
    W_hat = four_bits.nearest(W, four_bits.maxima(W), levels)
    y, told = nn.functional.linear(x, W_hat, b), f"W is {tuple(W.shape)}."
    if not seen["is_module"]:
        return Verdict(False, f"Linear4bit(linear) gave {seen['type']}; expected an nn.Module.")
    if not close(seen["y"], y):
        return Verdict(False, f"{told} {difference('layer(x)', seen['y'], y)}",
                       "no_bias" if close(seen["y"], x @ W_hat.T) else None)
    if seen["dx"] is None:
        return rejected("no_gradient", f"{told} The output is right, but x gets no gradient.")
    if not close(seen["dx"], dx := case["dy"] @ W_hat):
        return Verdict(False, f"{told} The output is right. "
                              f"{difference('The gradient of x', seen['dx'], dx)}")
    if seen["trains"]:
        return rejected("trains", f"{', '.join(seen['trains'])} asks for a gradient.")
    if seen["own"] != n // 2 + 4 * n // 64:
        return rejected("bits", f"{told} Its parameters and buffers, bias aside, take "
                                f"{8 * seen['own'] / n:.3g} bits a weight; expected 4.5.")
    if seen["held"] >= n:
        return rejected("keeps", f"{told} After a forward or a backward pass, {seen['held']:,} "
                                 "bytes besides its own tensors are still in memory. The whole W "
                                 f"takes {4 * n:,}.")
    for name in ("copied", "loaded"):
        if not close(seen[name], y):
            return rejected("state", f"{told} A {name} layer computes something else.")
    for name, right in zip(NAMED, (*W.shape[::-1], b, W_hat)):
        found, is_tensor = seen["named"].get(name), isinstance(right, Tensor)
        if is_tensor and not close(found, right):
            return Verdict(False, difference(name, found, right))
        if not is_tensor and (isinstance(found, Tensor) or found != right):
            return Verdict(False, f"{name} is {found!r}; expected {right}.")
    return Verdict(True, "4.5 bits a weight, gradients pass through, and Ŵ is gone after each use.")


LAYER = Exercise(
    id="qlora.layer", names=("Linear4bit",), points=3, minutes=18, difficulty=3,
    equivalents=(f"{NF4}:Linear4bit",),
    cases=layer_cases, run=run_layer, judge=judge_layer,
    returns=stages({"type": str, "is_module": bool, "y": Any},
                   {"dx": Tensor | None, "trains": list[str]},
                   {"own": int, "held": int},
                   {"copied": Any, "loaded": Any, "named": dict[str, Any]}),
    mistakes={
        "keeps": "An operation on x keeps what its gradient needs, here Ŵ. Keep its bytes instead, "
                 "make Ŵ again in the backward pass, and do not keep the linear layer.",
        "no_gradient": "Nothing in the layer trains, but what lies below it does: the gradient "
                       "must pass through.",
        "trains": "What it holds of the linear layer's parameters must be detached and frozen.",
        "bits": "Buffers, or parameters that do not train, are for packed indices, a float32 "
                "maximum for 64 of them, and the bias. All layers share the levels: a plain "
                "attribute is enough.",
        "state": "All that the output depends on must be in its state_dict, except for the levels.",
    },
    hints=("Two things are to be kept: what quantize gave. register_buffer keeps them without "
           "training them; weight is a @property.",
           "F.linear(x, self.weight, self.bias) gives the right numbers, and keeps Ŵ from the "
           "forward pass to the backward pass. Two tools do without: torch.autograd.Function and "
           "torch.utils.checkpoint.",
           "In a Function, put the layer itself into ctx. Which product gives the gradient of x "
           "from that of y = x Ŵᵀ + b?"))

# ── qlora.bits ───────────────────────────────────────────────────────────────────────────────


LAW = Law(mutants.RIGHT, mutants.BROKEN)
BITS = Exercise(
    id="qlora.bits", names=("four_bits_hold",), points=2, minutes=7, difficulty=2,
    **LAW.fields,
    hints=("Three properties: count bytes, ask what trains, look for a gradient at x. Choose a "
           "linear layer whose number of weights is a multiple of 64.",
           "named_parameters() and named_buffers() list what is held, in modules inside it, too. "
           "A tensor knows its numel() and its element_size().",
           "Exactly means: neither more bytes nor fewer. And when do you count? A layer may hold "
           "more after it was used."),
    arguments=lambda pieces: (pieces["Linear4bit"],))


# ── qlora.broken ─────────────────────────────────────────────────────────────────────────────


class Broken4bit(mutants.Detached):
    """Passes no gradient to its input."""


LOOPHOLE = Loophole("qlora", "looks_small", "four_bits_hold")
BROKEN = Exercise(
    id="qlora.broken", names=("Broken4bit",), points=2, minutes=5, difficulty=2,
    optional=True, kept=False, reference="peft_teach.course.lessons.qlora.exercises:Broken4bit",
    **LOOPHOLE.fields,
    hints=("Go through the law, sentence by sentence: which line of looks_small asks it?",
           "When does looks_small count, and what? A layer may hold more once it was used, and "
           "more than is saved.",
           "Does it ask for a gradient?"))

EXERCISES = (LEVELS_OF, QUANTIZE, LAYER, BITS, BROKEN, DICE)
