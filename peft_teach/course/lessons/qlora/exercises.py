"""The exercises of lesson 08: levels, bytes, suspects, the layer and the law of its bits, dice.

`four_bits` and `rounding` have the reference answers.
"""

import copy
import gc
import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from ....nf4 import LEVELS
from ... import mutants
from ...exercise import VALUE, Exercise, Verdict
from ...judge import (
    changed,
    close,
    difference,
    named,
    number,
    recognised,
    rejected,
    report,
    stages,
)
from ...observe import detached
from . import four_bits, versions

HERE = "peft_teach.course.lessons.qlora"
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
    found, quantile = seen["found"], QUANTILES[case["distribution"]]
    right = four_bits.levels(quantile)
    told = f"For the {case['distribution']} distribution: {difference('levels', found, right)}"
    if not isinstance(found, Tensor) or found.shape != right.shape:
        return Verdict(False, told)
    if not _near(found, right):
        usual = {name: torch.tensor(wrong) for name, wrong in _usual_levels(quantile).items()}
        return Verdict(False, told, recognised(usual, lambda wrong: _near(found, wrong)))
    if found.dtype != torch.float32:
        return rejected("dtype", f"It gave a tensor of {found.dtype}; expected torch.float32.")
    if found[7] != 0:
        return Verdict(False, f"levels[7] is {found[7].item():.2g}; expected 0, exactly.")
    return Verdict(True, "Sixteen levels: −1 and 1 at the ends, 0 among them, equal steps of "
                         "probability on each side.")


def _near(found: Tensor, levels: Tensor) -> bool:
    return torch.allclose(found.double(), levels.double(), rtol=0, atol=1e-5)


def _usual_levels(quantile) -> dict[str, list[float]]:
    """What the usual mistakes give."""
    last, right = quantile(four_bits.TOP), four_bits.levels(quantile).tolist()
    low, step = 1 - four_bits.TOP, (2 * four_bits.TOP - 1) / 15
    return {
        "even": [*(k / 7 for k in range(-7, 0)), *(k / 8 for k in range(9))],
        "whole_line": [quantile(low + step * k) / last for k in range(16)],
        "sides": [-level for level in right[::-1]],
        "not_scaled": [level * last for level in right],
    }


LEVELS_OF = Exercise(
    id="qlora.levels", lesson="08", names=("levels",), points=3, minutes=8, difficulty=2,
    reference=f"{HERE}.four_bits:levels", equivalents=(f"{NF4}:levels",),
    cases=lambda seed: [{"distribution": name} for name in ("uniform", "normal", "Laplace")],
    run=run_levels, judge=judge_levels, returns=report(found=Any),
    mistakes={
        "even": "These are even steps on the line of values, whatever the distribution. Take even "
                "steps of probability.",
        "whole_line": "Equal steps of probability over the whole line pass by 0: go outward from "
                      "0, one side at a time.",
        "sides": "Eight are negative and seven positive: it is the other way round.",
        "not_scaled": "The steps are right. The last level must be 1 and the first −1.",
        "dtype": "The layer computes in float32.",
    },
    hints=("At 0, half of the distribution lies below. At the last level it is TOP. What lies "
           "between these two probabilities, in eight equal steps?",
           "The negative side is the same with seven steps, and symmetry gives its values.",
           "Last comes the unit: which number do you divide all of them by, so that they end at "
           "1?"))

# ── qlora.quantize ───────────────────────────────────────────────────────────────────────────


def quantize_cases(seed: int) -> list[dict]:
    """Return matrices: a small one, one whose blocks cross its rows, one of even levels and zeros.
    """
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
    if not isinstance(given, tuple | list) or len(given) != 2:
        return {"type": named(given)}
    back = dequantize(handed["packed"], handed["top"], case["levels"], case["W"].shape)
    return {"type": named(given), "changed": changed(handed, {name: case[name] for name in handed}),
            "packed": detached(given[0]), "top": detached(given[1]), "W_hat": detached(back)}


def judge_quantize(case: dict, seen: Mapping) -> Verdict:
    W, packed = case["W"], case["packed"]
    told = f"W is {tuple(W.shape)}, in blocks of {case['block']}."
    if "packed" not in seen:
        return Verdict(False, f"quantize gave {seen['type']}; expected two tensors, packed and "
                              "top.")
    if seen["changed"]:
        return rejected("changed", f"After the calls, {seen['changed']} is not what it was.")
    if not _alike(seen["top"], case["top"]):
        usual = {"signed": W.reshape(-1, case["block"]).amax(1)}
        return Verdict(False, f"{told} {difference('top', seen['top'], case['top'])}",
                       recognised(usual, lambda wrong: _alike(seen["top"], wrong)))
    if seen["top"].dtype != torch.float32:
        return Verdict(False, f"{told} top is {seen['top'].dtype}; expected torch.float32.")
    found = seen["packed"]
    if isinstance(found, Tensor) and found.shape == (W.numel(),):
        return rejected("one_a_byte", f"{told} packed has {len(found)} entries for {W.numel()} "
                                      f"weights; expected {len(packed)}.")
    if not isinstance(found, Tensor) or found.shape != packed.shape:
        return Verdict(False, f"{told} {difference('packed', found, packed)}")
    if found.dtype != torch.uint8:
        return Verdict(False, f"{told} packed is {found.dtype}; expected torch.uint8.")
    if verdict := _wrong_bytes(case, found, told):
        return verdict
    right = four_bits.dequantize(packed, case["top"], case["levels"], W.shape)
    if not _alike(back := seen["W_hat"], right):
        usual = {"halves": four_bits.dequantize(four_bits.mended(packed), case["top"],
                                                case["levels"], W.shape),
                 "no_top": four_bits.dequantize(packed, torch.ones_like(case["top"]),
                                                case["levels"], W.shape)}
        return Verdict(False, f"{told} From the right bytes dequantize makes something else: "
                              f"{difference('Ŵ', back, right)}",
                       recognised(usual, lambda wrong: _alike(back, wrong)))
    if back.dtype != torch.float32:
        return Verdict(False, f"{told} dequantize gave {back.dtype}; expected torch.float32.")
    return Verdict(True, "Each weight at its nearest level, two to a byte, and back.")


def _alike(found: Any, right: Tensor) -> bool:
    """Whether two tensors are equal but for rounding, beside the largest entry."""
    return isinstance(found, Tensor) and found.shape == right.shape and torch.allclose(
        found.float(), right, rtol=1e-5, atol=1e-6 * float(right.abs().max()))


def _wrong_bytes(case: dict, packed: Tensor, told: str) -> Verdict | None:
    """Reject bytes in which a weight is not at its nearest level; ties may go either way."""
    def unpacked(packed: Tensor) -> Tensor:
        return torch.stack([packed >> 4, packed & 15], dim=1).reshape(-1).long()

    levels, top = case["levels"], case["top"].repeat_interleave(case["block"])
    x = case["W"].reshape(-1) / top.clamp(min=1e-38)
    mine, right = unpacked(packed), unpacked(case["packed"])
    off = ((levels[mine] - x).abs() > (levels[right] - x).abs() + 1e-5) & (top > 0)
    if not off.any():
        return None
    place = int(off.nonzero()[0])
    row, column = divmod(place, case["W"].shape[-1])
    usual = {"halves": unpacked(four_bits.mended(case["packed"])),
             "below": torch.bucketize(x, levels, right=True) - 1,
             "above": torch.bucketize(x, levels)}
    is_it = recognised(usual, lambda wrong: torch.equal(wrong[top > 0], mine[top > 0]))
    return Verdict(False, f"{told} W[{row}, {column}] is {x[place]:.3f} of its block's maximum. "
                          f"Its index is {mine[place]}, of the level {levels[mine[place]]:.3f}; "
                          f"expected {right[place]}, of {levels[right[place]]:.3f}.",
                   {"above": "below"}.get(is_it, is_it))


QUANTIZE = Exercise(
    id="qlora.quantize", lesson="08", names=("quantize", "dequantize"), points=3, minutes=9,
    difficulty=2, reference=(f"{HERE}.four_bits:quantize", f"{HERE}.four_bits:dequantize"),
    equivalents=tuple(f"{NF4}:{name}" for name in ("quantize", "dequantize", "pack", "unpack")),
    cases=quantize_cases, run=run_quantize, judge=judge_quantize,
    returns=stages({"type": str},
                   {"changed": str, "packed": Any, "top": Any, "W_hat": Any}),
    mistakes={
        "one_a_byte": "Four bits are half a byte.",
        "halves": "Of two weights the first belongs into the high half of the byte: its index "
                  "times 16.",
        "below": "That is a neighbour on one side, and not always the nearest level.",
        "signed": "The largest magnitude counts, whatever its sign.",
        "no_top": "These are the levels. Each block has its own unit.",
        "changed": "Arguments are still needed: divide or shift a copy.",
        "misfit": "Blocks may cross the rows of W, and their length is not always 64: dequantize "
                  "finds it from len(top).",
    },
    hints=("Cut W into rows of one block each. What is left is to find, for each number between "
           "−1 and 1, the nearest of sixteen levels.",
           "Between two neighbouring levels the nearest one changes in the middle: fifteen middles "
           "and torch.bucketize, or all distances and argmin.",
           "The even places and the odd places of the indices make two tensors. One of them is "
           "shifted by four bits; >> and & undo that. A block of zeros is divided by zero, if "
           "nothing prevents it."))

# ── qlora.suspects ───────────────────────────────────────────────────────────────────────────

ERRORS = {"descending": 2.0, "swapped": math.sqrt(2), "doubled": 1.0, "positive": math.sqrt(2)}
TOLERANCE = 0.02


def run_suspects(errors: Any, case: dict) -> dict[str, Any]:
    """Hand on the four numbers; of anything else, what it is."""
    if not isinstance(errors, Mapping):
        return {"type": named(errors), "errors": {}}
    return {"type": named(errors), "errors": {str(name)[:40]: _number(value)
                                              for name, value in errors.items()}}


def _number(value: Any) -> float:
    """Return a number, a tensor's too, as a float; NaN for what is none."""
    value = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    return math.nan if (found := number(value)) is None else float(found)


def judge_suspects(case: dict, seen: Mapping) -> Verdict:
    errors = seen["errors"]
    if errors.keys() != ERRORS.keys() or not all(map(math.isfinite, errors.values())):
        return rejected("not_errors", f"It is {seen['type']} with {', '.join(errors) or 'none'}.")
    wrong = [name for name in ERRORS if not _is_right(errors[name], ERRORS[name])]
    if not wrong:
        return Verdict(True, "All four follow from ‖a − b‖² alone. Two of them are the same.")
    told = (f"{4 - len(wrong)} of 4 are right. errors[\"{wrong[0]}\"] is {errors[wrong[0]]:.3g}, "
            "and a measurement gives something else.")
    usual = {"percent": {name: 100 * right for name, right in ERRORS.items()},
             "squared": {name: right**2 for name, right in ERRORS.items()}}
    return rejected(recognised(usual, lambda each: all(
        _is_right(errors[name], each[name]) for name in ERRORS)) or wrong[0], told)


def _is_right(found: float, right: float) -> bool:
    return abs(found / right - 1) <= TOLERANCE


SUSPECTS = Exercise(
    id="qlora.suspects", lesson="08", names=("errors",), points=1, minutes=5, difficulty=2,
    answer=VALUE, reference=f"{HERE}.exercises:ERRORS",
    cases=lambda seed: [{"weights": "independent, symmetric"}], run=run_suspects,
    judge=judge_suspects, returns=report(type=str, errors=dict[str, float]),
    mistakes={
        "not_errors": "Wanted is a dict of four numbers, one for each suspect: "
                      f"{', '.join(ERRORS)}.",
        "percent": "Wanted are ratios, not percent: an error as large as W is 1.",
        "squared": "These are the squares, ‖Ŵ − W‖² / ‖W‖².",
        "descending": "Reversed, the levels are nearly the same with the other sign: Ŵ is nearly "
                      "−W.",
        "swapped": "Each weight is compared with another one, which is as large and knows nothing "
                   "of it: what happens to the product of the two in ‖a − b‖²?",
        "doubled": "Ŵ is nearly 2 W. How far is that from W?",
        "positive": "Half of the weights are right, and the others have the wrong sign: each is "
                    "off by twice its size.",
    },
    hints=("Write Ŵ with W for each suspect, as if rounding did nothing: −W, 2 W, and so on.",
           "‖a − b‖² = ‖a‖² + ‖b‖² − 2 a·b. What is a·b where a and b are independent and as "
           "often negative as positive?",
           "Or measure it: draw 10,000 random numbers, and do to them what the suspect does."))

# ── qlora.mended ─────────────────────────────────────────────────────────────────────────────


def mended_cases(seed: int) -> list[dict]:
    """Return two bytes, all bytes, and random ones."""
    generator = torch.Generator().manual_seed(seed)
    return [{"packed": torch.tensor([0x1F, 0x20], dtype=torch.uint8)},
            {"packed": torch.arange(256).to(torch.uint8)},
            {"packed": torch.randint(256, (96,), generator=generator, dtype=torch.uint8)}]


def run_mended(mended, case: dict) -> dict[str, Any]:
    packed = case["packed"].clone()
    found = mended(packed)
    return {"found": detached(found), "intact": torch.equal(packed, case["packed"])}


def judge_mended(case: dict, seen: Mapping) -> Verdict:
    found, packed = seen["found"], case["packed"]
    right = four_bits.mended(packed)
    if not seen["intact"]:
        return rejected("changed", "After mended(packed), packed is not what it was.")
    if not isinstance(found, Tensor) or found.shape != right.shape:
        return Verdict(False, difference("mended(packed)", found, right))
    if found.dtype != torch.uint8:
        return rejected("dtype", f"It gave {found.dtype}; expected torch.uint8.")
    if torch.equal(found, right):
        return Verdict(True, "Each byte has its halves in the order in which your own reads them.")
    place = int((found != right).nonzero()[0])
    bits = torch.stack([packed >> k & 1 for k in range(8)])    # the lowest first
    usual = {"order": packed.flip(0), "complement": 255 - packed,
             "bits": sum(bit << 7 - k for k, bit in enumerate(bits))}
    return Verdict(False, f"From the byte 0x{packed[place]:02X} it made 0x{found[place]:02X}; "
                          f"expected 0x{right[place]:02X}.",
                   recognised(usual, lambda wrong: torch.equal(found, wrong)))


MENDED = Exercise(
    id="qlora.mended", lesson="08", names=("mended",), points=1, minutes=2, difficulty=1,
    reference=f"{HERE}.four_bits:mended", cases=mended_cases, run=run_mended, judge=judge_mended,
    returns=report(found=Any, intact=bool),
    mistakes={
        "order": "The bytes are in another order now, and each is as it was. It is the halves of "
                 "each byte that change places.",
        "bits": "That reverses all eight bits. The four bits of an index stay in their order.",
        "complement": "That makes 15 − i of each index i: the mend for reversed levels.",
        "dtype": "A byte that has become a larger integer is no longer half a byte for each "
                 "weight.",
        "changed": "The argument is the colleague's: make a new tensor.",
    },
    hints=("One of the two halves must move up by four bits, the other one down.",
           "<< and >> move bits, | puts two numbers together.",
           "In uint8, what is moved beyond the eighth bit is lost. Is that good or bad here?"))

# ── qlora.layer ──────────────────────────────────────────────────────────────────────────────


def layer_cases(seed: int) -> list[dict]:
    """Return layers that differ in shape, bias and levels, with inputs and output gradients."""
    return [layer_case(seed, *each) for each in (
        (64, 48, True, None, (1,)), (96, 64, True, None, (2, 3)),
        (128, 48, False, four_bits.levels(QUANTILES["uniform"]), (5,)))]


def layer_case(seed: int, n_in: int, n_out: int, bias: bool, levels: Tensor | None,
               batch: tuple[int, ...]) -> dict:
    """Return a case; without levels, the layer is made with its own default."""
    generator = torch.Generator().manual_seed(1000 * seed + n_in)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {"W": draw(n_out, n_in) / n_in**0.5, "b": draw(n_out) if bias else None,
            "levels": levels, "x": draw(*batch, n_in), "dy": draw(*batch, n_out)}


def _linear(W: Tensor, b: Tensor | None) -> nn.Linear:
    """A layer as it comes: its parameters ask for a gradient."""
    linear = nn.Linear(*W.shape[::-1], bias=b is not None)
    linear.weight = nn.Parameter(W.clone())
    linear.bias = None if b is None else nn.Parameter(b.clone())
    return linear


class _Storages(TorchDispatchMode):
    """Knows the memory that operations make, and what of it is still held, by whomever."""

    def __init__(self):
        super().__init__()
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            if isinstance(each, Tensor):
                storage = each.untyped_storage()
                self.made[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        return out

    def held(self, *known: Tensor | None) -> int:
        """The bytes that are held, without those of tensors that may be."""
        out = {each.untyped_storage()._cdata for each in known if each is not None}
        return sum(size for key, (made, size) in self.made.items()
                   if key not in out and not made.expired())


def run_layer(Linear4bit: Any, case: dict) -> dict[str, Any]:
    """Make it and use it once as training does; ask what it holds then; copy it and load it."""
    given = () if case["levels"] is None else (case["levels"],)
    linear, x = _linear(case["W"], case["b"]), case["x"].clone().requires_grad_()
    exact = StorageWeakRef(linear.weight.untyped_storage())
    storages, shape = _Storages(), case["dy"].shape
    with storages:
        layer = Linear4bit(linear, *given)
        y = layer(x) if isinstance(layer, nn.Module) else None
        if isinstance(y, Tensor):
            layer.eval()(case["x"])
    seen = {"type": named(layer), "is_module": isinstance(layer, nn.Module), "y": detached(y)}
    if not isinstance(y, Tensor) or y.shape != shape:
        return seen
    own = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    known = (x, y, *linear.parameters(), *own.values())
    held = storages.held(*known)
    if y.requires_grad:
        with storages:
            (y * case["dy"]).sum().backward()
    seen |= {"dx": detached(x.grad), "trains": [n for n, t in own.items() if t.requires_grad]}
    if x.grad is None or seen["trains"]:
        return seen
    held = max(held, storages.held(*known, x.grad))
    del linear, y, known
    if not exact.expired():
        gc.collect()
    seen |= {"own": sum(t.numel() * t.element_size() for name, t in own.items()
                        if name.rpartition(".")[2] != "bias"),
             "held": held, "exact_held": not exact.expired()}
    other = Linear4bit(_linear(-case["W"], None if case["b"] is None else -case["b"]), *given)
    with torch.no_grad():
        copied = copy.deepcopy(layer)(case["x"])
        other.load_state_dict(layer.state_dict())
        return seen | {"copied": detached(copied), "loaded": detached(other(case["x"])),
                       "features": [getattr(layer, name, None)
                                    for name in ("in_features", "out_features")],
                       "bias": detached(getattr(layer, "bias", None)),
                       "weight": detached(getattr(layer, "weight", None))}


def judge_layer(case: dict, seen: Mapping) -> Verdict:
    """Ask for the output, the gradient, what trains, the bits, what is held, and the rest."""
    W, b, x, n = case["W"], case["b"], case["x"], case["W"].numel()
    levels = LEVELS if case["levels"] is None else case["levels"]
    W_hat = four_bits.dequantize(*four_bits.quantize(W, levels), levels, W.shape)
    added = 0 if b is None else b
    y, told = x @ W_hat.T + added, f"W is {tuple(W.shape)}."
    if not seen["is_module"]:
        return Verdict(False, f"Linear4bit(linear) gave {seen['type']}; expected a "
                              "torch.nn.Module.")
    if not close(seen["y"], y):
        usual = {"no_bias": x @ W_hat.T, "exact": x @ W.T + added}
        return Verdict(False, f"{told} {difference('layer(x)', seen['y'], y)}",
                       recognised(usual, lambda wrong: close(seen["y"], wrong)))
    if seen["dx"] is None:
        return rejected("no_gradient", f"{told} The output is right, and x gets no gradient from "
                                       "it.")
    if not close(seen["dx"], dx := case["dy"] @ W_hat):
        return Verdict(False, f"{told} The output is right. "
                              f"{difference('The gradient of x', seen['dx'], dx)}")
    if seen["trains"]:
        return rejected("trains", f"{', '.join(seen['trains'])} asks for a gradient.")
    if seen["own"] != n // 2 + 4 * n // 64:
        return rejected("bits", f"{told} Its parameters and buffers, bias aside, take "
                                f"{8 * seen['own'] / n:.3g} bits a weight; expected 4.5.")
    if seen["held"] >= n or seen["exact_held"]:
        what = (f"{seen['held']:,} bytes that it made besides its own tensors are"
                if seen["held"] >= n else "the weight of the linear layer that it was made from is")
        return rejected("keeps", f"{told} After a forward or a backward pass, {what} still in "
                                 f"memory. The whole W takes {4 * n:,}.")
    for name in ("copied", "loaded"):
        if not close(seen[name], y):
            return rejected("state", f"{told} A {name} layer computes something else.")
    if seen["features"] != [*W.shape[::-1]]:
        return Verdict(False, f"in_features and out_features are {seen['features']}; expected "
                              f"{[*W.shape[::-1]]}.")
    if seen["bias"] is not None if b is None else not close(seen["bias"], b):
        return Verdict(False, f"bias is {named(seen['bias'])}; expected {named(b)}, as the linear "
                              "layer had.")
    if not close(seen["weight"], W_hat):
        return Verdict(False, difference("weight", seen["weight"], W_hat))
    return Verdict(True, "4.5 bits a weight, gradients pass through, and Ŵ is gone after each use.")


LAYER = Exercise(
    id="qlora.layer", lesson="08", names=("Linear4bit",), points=3, minutes=12, difficulty=3,
    reference=f"{HERE}.four_bits:Linear4bit", equivalents=(f"{NF4}:Linear4bit",),
    cases=layer_cases, run=run_layer, judge=judge_layer,
    returns=stages({"type": str, "is_module": bool, "y": Any},
                   {"dx": Tensor | None, "trains": list[str]},
                   {"own": int, "held": int, "exact_held": bool},
                   {"copied": Any, "loaded": Any, "features": list, "bias": Any, "weight": Any}),
    mistakes={
        "keeps": "An operation on x keeps what its gradient needs, here Ŵ. Keep its bytes instead, "
                 "and make Ŵ again in the backward pass.",
        "no_gradient": "Nothing in the layer trains, but what lies below it does: the gradient "
                       "must pass through.",
        "trains": "Whatever it holds of the linear layer's parameters must be detached and "
                  "frozen.",
        "bits": "Buffers, or parameters that do not train, are for packed indices, a float32 "
                "maximum for 64 of them, and the bias. All layers share the levels: a plain "
                "attribute is enough.",
        "state": "All that the output depends on must be in its state_dict, except for the levels.",
        "no_bias": "The bias is missing.",
        "exact": "That is the exact weight's output.",
    },
    hints=("Two things are to be kept: what quantize gave. register_buffer keeps them without "
           "training them; weight is a @property.",
           "F.linear(x, self.weight, self.bias) gives the right numbers, and keeps Ŵ from the "
           "forward pass to the backward pass. Two tools do without: torch.autograd.Function and "
           "torch.utils.checkpoint.",
           "In a Function, put the layer itself into ctx. Which product gives the gradient of x "
           "from that of y = x Ŵᵀ + b?"))

# ── qlora.bits ───────────────────────────────────────────────────────────────────────────────


def four_bits_hold(make) -> None:
    """Packed indices and maxima, no more, before and after use; none trains; x gets a gradient."""
    linear = nn.Linear(64, 4)
    layer, n = make(linear), linear.weight.numel()
    x = torch.randn(3, 64, requires_grad=True)
    for _ in range(2):
        held = [t for name, t in (*layer.named_parameters(), *layer.named_buffers())
                if name.rpartition(".")[2] != "bias"]
        size = sum(t.numel() * t.element_size() for t in held)
        assert size == n // 2 + 4 * n // 64, f"it holds {size} bytes for {n} weights"
        assert not any(t.requires_grad for t in held), "something trains"
        layer(x).sum().backward()
    assert x.grad is not None, "x gets no gradient"
    assert x.grad.any(), "the gradient of x is zero"


LAW = mutants.Law(versions.RIGHT, versions.BROKEN)
BITS = Exercise(
    id="qlora.bits", lesson="08", names=("four_bits_hold",), points=2, minutes=7, difficulty=2,
    reference=f"{HERE}.exercises:four_bits_hold", cases=lambda seed: [{"seed": seed}],
    run=LAW.run, judge=LAW.judge, returns=LAW.returns, mistakes=mutants.MISTAKES,
    hints=("Three properties: count bytes, ask what trains, look for a gradient at x. Choose a "
           "linear layer whose number of weights is a multiple of 64.",
           "named_parameters() and named_buffers() list what is held, in modules inside it, too. "
           "A tensor knows its numel() and its element_size().",
           "Exactly means: neither more bytes nor fewer. And when do you count? A layer may hold "
           "more after it was used."),
    arguments=lambda pieces: (pieces["Linear4bit"],))

# ── qlora.dice ───────────────────────────────────────────────────────────────────────────────

COPIES = 4          # of each of sixteen weights in a block, so that they can be compared
FAR = 5             # standard errors


def dice_cases(seed: int) -> list[dict]:
    """Return a block of chosen weights many times, and blocks of different sizes and levels."""
    levels = LEVELS.tolist()
    inside = [low + share * (high - low) for low, high, share in zip(
        levels[2::2], levels[3::2], (0.1, 0.6, 0.25, 0.9, 0.4, 0.75))]
    chosen = torch.tensor([0.3, -0.8, 0.95, *inside, levels[5], 0.0, levels[10], 1.0, -1.0, 1.3,
                           -1.2])    # between two levels, on one, and beyond the last
    W = chosen.repeat(COPIES).expand(1000, 64).clone()
    generator = torch.Generator().manual_seed(seed)
    other = torch.randn(80, 96, generator=generator) * torch.rand(80, 1, generator=generator)
    return [{"W": W, "top": torch.ones(1000), "levels": LEVELS, "seed": seed},
            dice_case(other, four_bits.levels(QUANTILES["uniform"]), 1000 + seed)]


def dice_case(W: Tensor, levels: Tensor, seed: int) -> dict:
    """Return a case with the blocks' own maxima, a tenth smaller: some weights lie beyond.

    Weights that were drawn from the same seed would depend on what is drawn then.
    """
    return {"W": W, "top": 0.9 * W.reshape(-1, 64).abs().amax(1), "levels": levels, "seed": seed}


def run_dice(dice, case: dict) -> dict[str, Any]:
    """Draw twice from one generator, and once more from its beginning."""
    def draw(generator: torch.Generator) -> Any:
        return detached(dice(*handed.values(), case["levels"], generator))

    handed = {name: case[name].clone() for name in ("W", "top")}
    generator = torch.Generator().manual_seed(case["seed"])
    before = torch.get_rng_state()
    first, second = draw(generator), draw(generator)
    again = draw(torch.Generator().manual_seed(case["seed"]))
    return {"first": first, "differs": not _equal(first, second), "repeats": _equal(first, again),
            "global_intact": torch.equal(before, torch.get_rng_state()),
            "changed": changed(handed, {name: case[name] for name in handed})}


def _equal(a: Any, b: Any) -> bool:
    return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)


def judge_dice(case: dict, seen: Mapping) -> Verdict:
    found, W, top, levels = seen["first"], case["W"], case["top"][:, None], case["levels"]
    if not isinstance(found, Tensor) or found.shape != W.shape:
        return Verdict(False, difference("dice(W, …)", found, W))
    if seen["changed"]:
        return rejected("changed", f"After the call, {seen['changed']} is not what it was.")
    x = (W.reshape(len(top), -1) / top).clamp(levels[0], levels[-1])    # (blocks, 64)
    low = (torch.bucketize(x, levels, right=True) - 1).clamp(0, len(levels) - 2)
    below, above = levels[low], levels[low + 1]
    share = (x - below) / (above - below)
    y = found.float().reshape(x.shape) / top
    up, down = ((y - mark).abs() < 1e-4 for mark in (above, below))
    place = int((~up & ~down).reshape(-1).int().argmax())

    def at(t: Tensor) -> float:
        return t.reshape(-1)[place].item()

    told = f"A weight at {at(x):.2f}, between the levels {at(below):.3f} and {at(above):.3f},"
    if not (up | down).all():
        return rejected("elsewhere", f"{told} went to {at(y):.3f}.")
    if not seen["differs"] and torch.equal(up, share > 0.5):
        return rejected("nearest", "Two draws, one after the other from one generator, are equal: "
                                   "each weight is at its nearest level.")
    up = up.double()
    if verdict := (_unfair(x, up, share, below, above) if len(x) >= 1000 else _biased(up, share)):
        return verdict
    if not seen["repeats"] or not seen["global_intact"]:
        return rejected("generator", "Two generators with one seed give two results."
                        if not seen["repeats"] else "It took torch's global random numbers.")
    if not seen["differs"]:
        return rejected("generator", "Two draws, one after the other from one generator, are "
                                     "equal.")
    return Verdict(True, "On average each weight is where it was, and every draw is on the levels.")


def _unfair(x: Tensor, up: Tensor, share: Tensor, below: Tensor, above: Tensor) -> Verdict | None:
    """Of the same block many times: count how often each weight goes up, and with which others."""
    up, p = up.view(len(x), COPIES, -1), share.view(len(x), COPIES, -1)[0, 0].double()
    found, draws, mixed = up.mean((0, 1)), up[:, :, 0].numel(), (p > 0.2) & (p < 0.8)
    if (up == up[:1])[:, :, mixed].double().mean() > 0.99:
        return rejected("together", "In all blocks the same weights went up.")
    z = ((up - found) / (found * (1 - found)).sqrt())[:, :, mixed]    # (blocks, copies, mixed)
    ratio = z.sum((1, 2)).var() / z[0].numel()    # of independent weights: 1, within 0.05
    if ratio > 1.3:
        return rejected("together", "How many weights of a block go up varies "
                                    f"{ratio:.1f} times as much as it would if they were drawn "
                                    "independently.")
    off = (found - p).abs() - FAR * (p * (1 - p) / draws).sqrt() - 1e-3
    if off.max() <= 0:
        return None
    place = int((off > 0).int().argmax())    # the first
    told = (f"A weight at {x[0, place]:.2f}, between the levels {below[0, place]:.3f} and "
            f"{above[0, place]:.3f}, went up in {found[place]:.0%} of {draws:,} draws; expected "
            f"{p[place]:.0%}.")
    inside = (p > 0.01) & (p < 0.99)
    usual = {"coin": torch.full_like(p, 0.5), "turned": 1 - p}
    return Verdict(False, told, recognised(usual, lambda wrong: (
        (found - wrong).abs()[inside] < 0.05).all()))


def _biased(up: Tensor, share: Tensor) -> Verdict | None:
    """Of weights that all differ: are they up as often as they should, for small and large shares?
    """
    gap, spread = up - share, (share * (1 - share)).double()
    for weight in (torch.ones_like(gap), share.double() - 0.5):
        found, error = (gap * weight).sum(), (spread * weight**2).sum().sqrt()
        if found.abs() > FAR * error:
            return Verdict(False, f"Of {gap.numel():,} different weights, in blocks with different "
                                  "maxima, the average is not what it was: it is off by "
                                  f"{found.abs() / error:.0f} standard errors.")
    return None


DICE = Exercise(
    id="qlora.dice", lesson="08", names=("dice",), points=3, minutes=9, difficulty=2,
    reference=f"{HERE}.rounding:dice", cases=dice_cases, run=run_dice, judge=judge_dice,
    returns=report(first=Any, differs=bool, repeats=bool, global_intact=bool, changed=str),
    mistakes={
        "coin": "That is a fair coin. The nearer level must be drawn more often.",
        "turned": "The farther level is drawn more often: the probability is turned round.",
        "nearest": "That is the nearest level. Where is chance?",
        "elsewhere": "Only the two levels around a weight may be drawn, and beyond the last one "
                     "only that.",
        "together": "One random number decided for several weights. Each needs its own.",
        "generator": "Draw all random numbers from the generator that is given, and do not seed "
                     "it.",
        "changed": "Both are still needed: work on a copy.",
    },
    hints=("Let a weight w lie between the levels l and h. With probability p it goes to h. What "
           "is its expectation, and which p makes that w?",
           "torch.bucketize or torch.searchsorted says which level lies below. At the last level "
           "there is none above: clamp the index.",
           "torch.rand(shape, generator=generator) < p is true with probability p, for each weight "
           "by itself. Everything is in units of the block's top."))

EXERCISES = (LEVELS_OF, QUANTIZE, SUSPECTS, MENDED, LAYER, BITS, DICE)
