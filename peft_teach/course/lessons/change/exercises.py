"""The exercises of lesson 02; here energy, truncation, random subspace and BitFit.

`small` has the three changes, `injecting` the injection and its law.
"""

import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .... import spectra
from ....subspace import hashes
from ...adapter_judge import MISTAKES, Method
from ...exercise import Exercise, Verdict
from ...judge import (
    HALF,
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
from .injecting import HOLDS, INJECT
from .small import SMALL

_close = partial(close, tolerance=1e-4)


def _first(found, candidates: Iterable[tuple[str, Tensor]]) -> str | None:
    """Return the name of the first candidate that was found; several may have one name."""
    return next((name for name, value in candidates if _close(found, value)), None)


# ── change.energy ────────────────────────────────────────────────────────────────────────────


def energy_cases(seed: int) -> list[dict]:
    """Return one case of several inputs: singular values, largest first, and a share for each.

    They are judged together, so that a mistake is named only if it explains every answer. The last
    two meet their share exactly, with sums that floats hold exactly.
    """
    generator = torch.Generator().manual_seed(2000 + seed)
    drawn = [(width * torch.rand(n, generator=generator)).exp().sort(descending=True).values
             for n, width in ((12, 1.5), (40, 5), (384, 6))]
    fixed = [0.85 ** torch.arange(30.0), torch.tensor([5.0, 0, 0, 0])]    # the first: all differ
    small = 0.02 * 0.85 ** torch.arange(30.0)                             # as in a real ΔW
    equal = torch.full((4,), 2.0)
    return [{"sigmas": [*fixed, *drawn, small, equal, equal],
             "shares": [0.9, 0.9, 0.5, 0.85, 0.99, 0.9, 0.25, 1.0]}]


def run_energy(directions, case: dict) -> dict[str, Any]:
    given = [sigma.clone() for sigma in case["sigmas"]]
    found = [directions(sigma, share) for sigma, share in zip(case["sigmas"], case["shares"])]
    intact = all(map(torch.equal, given, case["sigmas"]))
    return {"found": list(map(plain, found)), "intact": intact}


def judge_energy(case: dict, seen) -> Verdict:
    if odd := strange(seen, found=list, intact=bool):
        return odd
    inputs, found = list(zip(case["sigmas"], case["shares"])), seen["found"]
    if len(found) != len(inputs):
        return Verdict(False, f"What came back are not {len(inputs)} answers.")
    right = [spectra.energy_rank(sigma, share) for sigma, share in inputs]
    if any(value is None for value in found):
        return rejected("no_return")
    for value in found:
        if isinstance(value, Tensor):
            return rejected("tensor", f"It gave {value!r}.")
        if whole(value) is None:
            return rejected("not_whole", f"It gave {value!r}. {not_whole(value)}")
    if not seen["intact"]:
        return rejected("input_changed", "Afterwards σ is not what it was before.")
    if found == right:
        return Verdict(True, "The smallest k whose first k squares reach the share.")
    i = next(i for i, value in enumerate(found) if value != right[i])
    sigma, share = inputs[i]
    values = f"σ = {tuple(sigma.tolist())}" if len(sigma) < 5 else f"{len(sigma)} values"
    told = f"For {values} and share {share} it gave {found[i]}; expected {right[i]}."
    usual = zip(*(wrong_energies(sigma, share) for sigma, share in inputs))
    mistake = next((answers[0][0] for answers in usual
                    if found == [value for _, value in answers]), None)
    return rejected(mistake, told) if mistake else Verdict(False, told)


def wrong_energies(sigma: Tensor, share: float) -> list[tuple[str, int]]:
    """Return what the usual mistakes give, by name; some can be made in several ways."""
    def reach(sums: Tensor, share: float) -> int:
        return int((sums < share * sums[-1]).sum()) + 1

    square = sigma.square()
    energy, n = square.cumsum(0), len(sigma)
    right, ratios = reach(energy, share), sigma / sigma[0]
    return [("not_squared", reach(sigma.cumsum(0), share)), ("one_less", right - 1),
            ("one_more", right + 1), ("past_share", int((energy <= share * energy[-1]).sum()) + 1),
            ("norm", reach(energy, share**2)),
            ("smallest_first", reach(square.flip(0).cumsum(0), share)),
            ("the_rest", reach(energy, 1 - share)), ("share_of_count", math.ceil(share * n)),
            ("sum_squared", reach(sigma.cumsum(0).square(), share)),
            ("counted_above", n - right + 1),
            ("each_alone", int((square >= share * energy[-1]).sum())),
            ("each_alone", int((square < share * energy[-1]).sum()) + 1),
            *(("no_total", int((sums < share).sum()) + 1)
              for sums in (energy, sigma.cumsum(0), ratios.cumsum(0), ratios.square().cumsum(0)))]


ENERGY_MISTAKES = {
    "no_return": NO_RETURN,
    "not_whole": "A number of directions is a whole number: an int.",
    "tensor": "The answer is an int, not a tensor: take the number of directions, and int() of it.",
    "input_changed": "The singular values that were given are different afterwards: make new ones. "
                     "Names that end in _ and signs such as **= write into the tensor itself.",
    "not_squared": "That is the share of Σσ. Energy is the sum of the squares, σ².",
    "one_less": "One too few. An index counts from 0, so add 1: the direction that reaches the "
                "share counts too.",
    "one_more": "One too many: stop at the first k that reaches the share.",
    "past_share": "The first k squares hold exactly this share, and that is enough: wanted is ≥, "
                  "so count the partial sums that are < the share, not ≤.",
    "norm": "That is the share of √Σσ², the length. Energy is Σσ², without the root.",
    "smallest_first": "That counts from the weakest direction. The strongest come first.",
    "the_rest": "That is where 1 − share is reached.",
    "share_of_count": "That is a share of how many values there are, not of their energy.",
    "sum_squared": "The sums were squared, (σ₁ + … + σₖ)². Square each σ, then add.",
    "counted_above": "That is how many partial sums reach the share. Which is the first of them?",
    "each_alone": "Each direction was asked for the share by itself. Add their energies up, the "
                  "strongest first, until the sum reaches it.",
    "no_total": "Partial sums were compared with the share alone, or with a share of the first. "
                "Wanted is a share of the whole energy, share · Σσ².",
}

ENERGY = Exercise(
    id="change.energy", lesson="02", names=("directions",), points=1, minutes=4, difficulty=1,
    reference="peft_teach.spectra:energy_rank",
    cases=energy_cases, run=run_energy, judge=judge_energy, mistakes=ENERGY_MISTAKES,
    hints=("What the k strongest hold is a partial sum of squares. Which method of a tensor gives "
           "all partial sums at once?",
           "The last partial sum is the whole energy. How many of them are still too small?",
           "If m partial sums are too small, the next one is the first that is not: which k is "
           "that?"))


# ── change.truncate ──────────────────────────────────────────────────────────────────────────


def truncate_cases(seed: int) -> list[dict]:
    generator = torch.Generator().manual_seed(3000 + seed)
    sizes = [(7, 5, 3), (4, 7, 3), (5, 5, 2), (48, 64, 8), (5, 5, 0), (4, 6, 4)]
    cases = [{"delta": torch.randn(n_out, n_in, generator=generator), "k": k}
             for n_out, n_in, k in sizes]
    return [*cases, {"delta": 0.01 * torch.randn(6, 8, generator=generator), "k": 4}]    # as real


def run_truncate(truncate, case: dict) -> dict[str, Any]:
    found = truncate(case["delta"], case["k"])
    return {"found": found.detach().clone() if isinstance(found, Tensor) else found,
            "delta_after": case["delta"]}


def judge_truncate(case: dict, seen) -> Verdict:
    if odd := strange(seen, delta_after=Tensor):
        return odd
    delta, k = case["delta"], case["k"]
    n_out, n_in = delta.shape
    found = seen["found"]
    if found is None:
        return rejected("no_return")
    if not torch.equal(seen["delta_after"], delta):
        return rejected("input_changed", "Afterwards ΔW is not what it was before.")
    if not isinstance(found, Tensor) or found.shape != delta.shape:
        told = f"For a matrix {n_out} × {n_in} and k = {k} it gave {named(found)}."
        if k == 0 and isinstance(found, int | float):
            return rejected("number_at_zero", told)
        if isinstance(found, Tensor) and found.shape == delta.T.shape:
            return rejected("transposed", told)
        if isinstance(found, Tensor) and tuple(found.shape) in ((k, n_in), (n_out, k), (k, k)):
            return rejected("wrong_axis", told)
        return rejected("shape", told)
    nearest = spectra.truncate(delta, k)
    size = delta.abs().max().clamp(1e-6, 1)    # rounding is small beside the entries
    if _close(found / size, nearest / size):
        return Verdict(True, "No matrix of rank k is nearer to ΔW.")
    rank = torch.linalg.matrix_rank(found.float().nan_to_num())
    told = (f"For a matrix {n_out} × {n_in} and k = {k} it gave one of rank {rank} that is "
            f"{(found - delta).norm():.3g} from ΔW. Wanted is rank {k}, and as near as can be: "
            f"{(nearest - delta).norm():.3g}.")
    mistake = _first(found, wrong_truncations(delta, k).items())
    if not mistake and ((found == 0) | (found == delta)).all():
        mistake = "entries"
    return Verdict(False, told, mistake)


def wrong_truncations(delta: Tensor, k: int) -> dict[str, Tensor]:
    """Return what the usual mistakes give, as far as their shapes fit."""
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    most = len(sigma)

    def rebuilt(chosen: slice, sigma: Tensor = sigma) -> Tensor:
        return U[:, chosen] * sigma[chosen] @ Vt[chosen]

    right = rebuilt(slice(0, k))
    found = {"unchanged": delta, "the_rest": delta - right,
             "smallest_kept": rebuilt(slice(most - k, most)),
             "one_more": rebuilt(slice(0, min(k + 1, most))),
             "one_less": rebuilt(slice(0, max(k - 1, 0))),
             "only_the_last": rebuilt(slice(max(k - 1, 0), k)),
             "first_missing": rebuilt(slice(1, k)),
             "no_sigma": rebuilt(slice(0, k), torch.ones_like(sigma)),
             "sigma_squared": rebuilt(slice(0, k), sigma.square()),
             "sigma_rooted": rebuilt(slice(0, k), sigma.sqrt()),
             "transposed": right.T}
    if Vt.shape[0] == Vt.shape[1]:
        found["columns_of_Vt"] = U[:, :k] * sigma[:k] @ Vt[:, :k].T
    if U.shape[0] == U.shape[1]:
        found["rows_of_U"] = U[:k].T * sigma[:k] @ Vt[:k]
    return found


TRUNCATE_MISTAKES = {
    "no_return": NO_RETURN,
    "input_changed": "The matrix that was given was changed: make a new one.",
    "transposed": "It came out transposed: U has n_out rows, and V transposed has n_in columns.",
    "wrong_axis": "k must be cut from the inner axes: k columns of U, k values of σ, k rows of Vᵀ. "
                  "The result has the shape of ΔW.",
    "misfit": "Which axis counts the directions? In U the second, in Vᵀ the first; σ has only one.",
    "shape": "The result is a matrix of the shape of ΔW, (n_out, n_in).",
    "number_at_zero": "With k = 0 nothing is left, and a matrix of zeros is needed: start the sum "
                      "from torch.zeros_like(delta).",
    "unchanged": "That is ΔW itself: nothing was cut.",
    "the_rest": "That is what is cut off, not what is kept.",
    "smallest_kept": "The weakest directions were kept. torch.linalg.svd gives the strongest "
                     "first.",
    "entries": "Entries of ΔW were kept, and others set to zero. A direction is no entry: it is a "
               "whole matrix, the column uᵢ times the row vᵢᵀ, and touches every entry.",
    "one_more": "k + 1 directions were kept.",
    "one_less": "k − 1 directions were kept: a slice [:k] already stops before index k.",
    "only_the_last": "Only the direction number k is left. Keep the first k, and add them up.",
    "first_missing": "The strongest direction is missing: it has the index 0.",
    "no_sigma": "The σ are missing: each direction counts as much as its singular value.",
    "sigma_squared": "σ was multiplied in twice: give it to U or to Vᵀ, not to both.",
    "sigma_rooted": "The root of σ was used once; it would be needed on both sides.",
    "columns_of_Vt": "Columns of Vᵀ were taken. torch.linalg.svd gives V already transposed: the "
                     "input directions are its rows, Vt[:k].",
    "rows_of_U": "Rows of U were taken: the output directions are its columns, U[:, :k].",
}

TRUNCATE = Exercise(
    id="change.truncate", lesson="02", names=("truncate",), points=2, minutes=8, difficulty=2,
    reference="peft_teach.spectra:truncate",
    cases=truncate_cases, run=run_truncate, judge=judge_truncate, mistakes=TRUNCATE_MISTAKES,
    hints=("Take a matrix that is not square, and print the shapes of the three that "
           "torch.linalg.svd gives with full_matrices=False: one axis of each counts directions.",
           "Multiply the three together until delta comes back; only then begin to cut.",
           "The strongest stand first. In each of the three, keep k along the axis that counts "
           "directions."))


# ── change.project ───────────────────────────────────────────────────────────────────────────


LONG = 1000    # weights from which on a loop over them is told from one over z


def project_cases(seed: int) -> list[dict]:
    """Return θ₀, z, the columns h and the signs; and a gradient of the loss by θ."""
    generator = torch.Generator().manual_seed(4000 + seed)
    cases = []
    for D, d in ((8, 8), (40, 4), (60, 7), (5000, 16)):    # D = d: there z without h fits, too
        h, sign = hashes(D, d, seed)
        h[h == d - 1] = 0                       # the last number may have no weight
        sign[:2] = torch.tensor([1.0, -1.0])    # so that sign[h] is not the same everywhere
        cases.append({"theta0": torch.randn(D, generator=generator),
                      "z": torch.randn(d, generator=generator), "h": h, "sign": sign,
                      "g": torch.randn(D, generator=generator)})
    return cases


def run_project(project, case: dict) -> dict[str, Any]:
    """Project, and go back to z as training does."""
    z, kept = case["z"].clone().requires_grad_(), [0]

    def keep(tensor: Tensor) -> Tensor:    # of what the backward pass keeps, only the sizes
        kept.append(_held(tensor))
        return tensor

    given = {name: case[name].clone() for name in ("h", "sign")}

    with (torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
          _Operations() as operations):
        theta = project(case["theta0"], z, case["h"], case["sign"])
    seen = {"theta": theta.detach().clone() if isinstance(theta, Tensor) else theta,
            "largest": max(kept), "operations": operations.count,
            "theta0_after": case["theta0"].detach().clone(), "grad": None,
            "intact": all(torch.equal(case[name], value) for name, value in given.items())}
    if isinstance(theta, Tensor) and theta.requires_grad and theta.shape == case["g"].shape:
        (theta * case["g"]).sum().backward()
        seen["grad"] = z.grad
    return seen


class _Operations(TorchDispatchMode):
    """Counts the operations of torch; one on a list of tensors counts each of them."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += sum(len(each) for each in args if isinstance(each, list | tuple)) or 1
        return function(*args, **(kwargs or {}))


def _held(tensor: Tensor) -> int:
    """Return how many numbers a tensor holds in memory: a sparse one or a view has fewer."""
    if tensor.layout != torch.strided:
        return tensor._nnz()
    return min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())


def judge_project(case: dict, seen) -> Verdict:
    if odd := strange(seen, theta0_after=Tensor, largest=int, operations=int, intact=bool):
        return odd
    theta, theta0, d = seen["theta"], case["theta0"], len(case["z"])
    if theta is None:
        return rejected("no_return")
    if not torch.equal(seen["theta0_after"], theta0):
        return rejected("theta0_changed", "Afterwards θ₀ is not what it was before.")
    if not seen["intact"]:
        return rejected("inputs_changed", "Afterwards an input is not what it was before.")
    told = f"For D = {len(theta0)} and d = {d}:"
    if not isinstance(theta, Tensor) or theta.shape != theta0.shape:
        return rejected("shape", f"{told} it gave {named(theta)}.")
    move = case["sign"] * case["z"][case["h"]]                                   # (D,), unscaled
    scale = math.sqrt(d / len(theta0))
    if not _close(theta, theta0 + scale * move):
        told = f"{told} {difference('θ', theta, theta0 + scale * move)}"
        mistake = _first(theta, wrong_projections(case)) or _first(theta, scattered(case))
        return Verdict(False, told, mistake)
    expected = torch.zeros(d).index_add(0, case["h"], scale * case["sign"] * case["g"])
    if not _close(seen["grad"], expected):
        return rejected("no_gradient", "After a backward pass, " + (
            difference("z.grad", seen["grad"], expected) if seen["grad"] is not None
            else "z.grad is None."))
    if d > 1 and seen["largest"] >= len(theta0) * d:
        return rejected("dense", f"{told} one tensor of {seen['largest']} entries was kept.")
    if seen["operations"] >= len(theta0) >= LONG:
        return rejected("loop", f"{told} it took {seen['operations']:,} operations.")
    return Verdict(True, "Every weight moves, and only z is learned.")


def wrong_projections(case: dict) -> list[tuple[str, Tensor]]:
    """Return what the usual mistakes give; some can be made in several ways."""
    theta0, z, h, sign = (case[name] for name in ("theta0", "z", "h", "sign"))
    D, d = len(theta0), len(z)
    scale, move = math.sqrt(d / D), sign * z[h]
    turn = torch.arange(D) % d
    found = {"z_ignored": theta0, "theta0_missing": scale * move, "no_scale": theta0 + move,
             "no_sign": theta0 + scale * z[h], "subtracted": theta0 - scale * move,
             "upside_down": theta0 + move / scale, "no_root": theta0 + d / D * move,
             "columns_used": theta0 + math.sqrt((int(h.max()) + 1) / D) * move,
             "h_ignored": theta0 + scale * sign * z[turn],
             "sign_by_column": theta0 + scale * sign[h] * z[h],
             "theta0_by_h": theta0[h] + scale * move,
             "exact_length": theta0 + move / torch.bincount(h)[h].sqrt(),
             "all_scaled": scale * (theta0 + move),
             "multiplied": theta0 * (1 + scale * move)}
    return [*found.items(), *(("one_size", theta0 + move / math.sqrt(n)) for n in (d, D))]


def scattered(case: dict) -> Iterator[tuple[str, Tensor]]:
    """Yield what comes out if h tells where a move goes, in place of which number it is."""
    theta0, z, h, sign = (case[name] for name in ("theta0", "z", "h", "sign"))
    scale = math.sqrt(len(z) / len(theta0))
    for numbers in (z, z[h]) if len(z) == len(theta0) else (z[h],):
        moves = scale * sign * numbers
        yield "scattered", theta0.index_add(0, h, moves)
        yield "scattered", theta0.clone().index_put((h,), theta0[h] + moves)


PROJECT_MISTAKES = {
    "no_return": NO_RETURN,
    "shape": "The result is one weight for each of θ₀'s, of shape (D,).",
    "inputs_changed": "h or sign is different afterwards. They are drawn once, and serve every "
                      "step: make new tensors.",
    "theta0_changed": "θ₀ was changed. It is where we start from, every time: make a new tensor.",
    "z_ignored": "That is θ₀ alone: z does not move it.",
    "theta0_missing": "That is P z alone: the pretrained weights θ₀ are missing.",
    "no_scale": "The scale √(d/D) is missing.",
    "no_sign": "The signs are missing: without them all weights that share an entry of z move the "
               "same way.",
    "subtracted": "P z is subtracted.",
    "upside_down": "The scale is upside down: it is √(d/D), below one.",
    "no_root": "The scale is d/D, or √(d/D) applied twice: it is √(d/D), once.",
    "one_size": "The scale has one of the two sizes only, as 1/√d or 1/√D; wanted is √(d/D), "
                "d = len(z) and D = len(theta0).",
    "columns_used": "The largest entry of h need not be the last column: an entry of z may have no "
                    "weight. d is len(z).",
    "h_ignored": "z is used without h. It has d entries, and there are D weights: h says which "
                 "entry of z each weight takes.",
    "scattered": "h was used as a place in θ. It is a place in z: h[i] says which entry of z "
                 "weight i takes.",
    "theta0_by_h": "theta0[h] takes another weight: weight i starts from theta0[i].",
    "exact_length": "Each column was given its own factor, so that its length is exactly 1. Wanted "
                    "is one factor for all, √(d/D): the lengths are then close to 1.",
    "dense": "The result is right, but a dense tensor of D × d entries was built on the way. For "
             "the whole model it would not fit into memory: D entries are enough.",
    "loop": "The result is right, but weight by weight it would take minutes for the whole model: "
            "one operation can take all of them at once.",
    "sign_by_column": "sign[h] takes the sign of another weight: the sign of weight i is sign[i].",
    "all_scaled": "θ₀ is scaled as well: only P z is.",
    "multiplied": "θ₀ is multiplied: P z is added to it.",
    "no_gradient": "The weights are right, but no right gradient comes back to z: is it detached, "
                   "or used under torch.no_grad()?",
}

PROJECT = Exercise(
    id="change.project", lesson="02", names=("project",), points=1, minutes=8, difficulty=2,
    optional=True, reference="peft_teach.subspace:project",
    cases=project_cases, run=run_project, judge=judge_project, mistakes=PROJECT_MISTAKES,
    hints=("h[i] says which entry of z weight i takes: indexing a tensor by a tensor takes them "
           "for all weights at once.",
           "For the factor c: a column has about D/d entries, each of them c or −c. What is the "
           "sum of their squares?",
           "Everything is done entry by entry, in tensors of D entries: no P is needed, and no "
           "loop."))


# ── change.bitfit ────────────────────────────────────────────────────────────────────────────


def bitfit_cases(seed: int) -> list[dict]:
    """Return linear layers and a LayerNorm, all with a bias, and an input and a b for each.

    The smallest comes first; it is square, so that a b on the input is another output, no error.
    """
    generator = torch.Generator().manual_seed(5000 + seed)
    cases = []
    for kind, n_in, n_out, dtype, batch in (
            ("Linear", 3, 3, torch.float32, (1, 2)), ("Linear", 5, 9, torch.float32, (3, 2)),
            ("LayerNorm", 8, 8, torch.float32, (3, 2)), ("Linear", 8, 6, torch.bfloat16, (3, 2)),
            ("Linear", 384, 384, torch.float32, (2, 8))):    # wide: other sums, other last bits
        def draw(*shape, dtype=dtype):
            return torch.randn(shape, generator=generator).to(dtype)

        cases.append({"kind": kind, "n_in": n_in, "n_out": n_out, "dtype": dtype,
                      "W": draw(n_out, n_in) / n_in**0.5 if kind == "Linear" else draw(n_in),
                      "bias": draw(n_out), "x": draw(*batch, n_in),
                      "b": draw(n_out, dtype=torch.float32)})
    return cases


def biased_module(case: dict) -> nn.Module:
    """Return the case's frozen module."""
    module = (nn.Linear(case["n_in"], case["n_out"], dtype=case["dtype"])
              if case["kind"] == "Linear" else nn.LayerNorm(case["n_in"], dtype=case["dtype"]))
    with torch.no_grad():
        module.weight.copy_(case["W"])
        module.bias.copy_(case["bias"])
    return module.requires_grad_(False)


def shifted(base: nn.Module, case: dict) -> Tensor:
    """Return BitFit's output."""
    y = base(case["x"])
    return (y + case["b"]).to(y.dtype)


def usual_shifts(base: nn.Module, case: dict) -> dict[str, Tensor]:
    """Return what the usual mistakes give."""
    y, b, bias = base(case["x"]), case["b"], case["bias"]
    found = {"b_unused": y, "replaced": y - bias + b, "bias_twice": y + bias + b,
             "subtracted": y - b, "multiplied": y * (1 + b), "only_times": y * b,
             "added_twice": y + 2 * b, "only_b": b.expand_as(y)}
    if case["n_in"] == case["n_out"]:
        found["before_base"] = base((case["x"] + b).to(y.dtype))
    return found


def b_at_zero(method: Method, case: dict, seen: dict) -> Verdict | None:
    """Does b start at zero?"""
    b = seen["start_own"]["b"]
    if not b.any():
        return None
    return rejected("copied" if close(b.float(), case["bias"].float(), HALF) else "b_not_zero",
                    f"The largest entry of b starts as {b.abs().max():.3g}; expected 0.")


def to_the_bit(method: Method, case: dict, seen: dict) -> Verdict | None:
    """Is the first output the base's own?"""
    if seen["to_the_bit"] or not method.close(seen["start"], method.base_output(case)):
        return None
    return rejected("start_near", "Before any training the output is near the base's, but not the "
                                  "same to the bit.")


BITFIT_METHOD = Method(
    name="BiasAdapter", base=biased_module, own=("b",), equation=shifted, formula="base(x) + b",
    usual=usual_shifts, starts=(b_at_zero, to_the_bit),
    praise="Starts as the base, and learns one number a feature.")


def run_bitfit(BiasAdapter: Any, case: dict) -> dict[str, Any]:
    """Observe it as any adapter; then compare its first output with the base's, here."""
    seen = BITFIT_METHOD.run(BiasAdapter, case)
    if "again" in seen:
        base = biased_module(case)
        seen["to_the_bit"] = torch.equal(BiasAdapter(base)(case["x"]), base(case["x"]))
    return seen


BITFIT_MISTAKES = MISTAKES | {
    "shapes": "b has one number for each output feature: as many as base.bias.",
    "copied": "That is the base's bias, which is in base(x) already: b starts at zero.",
    "b_not_zero": "b must start at zero, so that the first output is exactly the base's.",
    "start_near": "The same sum in another order is rounded elsewhere: let the base compute its "
                  "own output.",
    "b_unused": "The output is the base's alone: does forward add b?",
    "replaced": "b replaces the base's bias. It is added to it: base(x) + b.",
    "bias_twice": "The base's bias is added twice: self.base(x) has it already.",
    "subtracted": "b is subtracted.",
    "multiplied": "b scales the output. It is added to it.",
    "only_times": "The output is base(x) times b. It is base(x) plus b.",
    "added_twice": "b is added twice.",
    "before_base": "b is added to the input. It is added to the output: base(x) + b.",
    "only_b": "Only b comes out: add it to self.base(x).",
}

BITFIT = Exercise(
    id="change.bitfit", lesson="02", names=("BiasAdapter",), points=1, minutes=5, difficulty=1,
    reference="peft_teach.methods.bitfit:BiasAdapter",
    cases=bitfit_cases, run=run_bitfit, judge=BITFIT_METHOD.judge,
    returns=BITFIT_METHOD.returns(to_the_bit=bool), mistakes=BITFIT_MISTAKES,
    hints=("What is registered with nn.Parameter, outside of the base, is trained: one vector.",
           "It has an entry for each output, as the base's own bias has, and starts so that "
           "nothing is changed.",
           "forward asks the base first. What it gives has a dtype, and the sum is to have the "
           "same."))

EXERCISES = (SMALL, ENERGY, TRUNCATE, INJECT, HOLDS, BITFIT, PROJECT)
