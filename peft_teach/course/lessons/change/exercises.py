"""The exercises of lesson 02: three changes, energy, truncation, random subspace and BitFit.

`injecting` has the injection and its law.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .... import spectra
from ...checks.adapter_judge import MISTAKES, Method
from ...checks.exercise import Exercise, Verdict
from ...checks.judge import (
    HALF,
    close,
    difference,
    factor,
    judged_count,
    named,
    plain,
    recognised,
    rejected,
    report,
    stages,
    whole,
)
from ...checks.observe import Spy
from .injecting import HOLDS, INJECT
from .subspace import hashes

# ── change.small ──────────────────────────────────────────────────────────────────────────────

VISIBLE = 5e-7    # of the largest singular value: below it a rank is float32's rounding


LETTERS = {"a": lambda n: 1, "b": lambda n: 2 * n, "c": lambda n: n}    # how many parameters
CHANGE = stages({"found": Any}, {"again": bool, "at_zero": float, "unreached": list[int]})


def small_cases(seed: int) -> list[dict]:
    """Return parameters without a zero, for matrices of three sizes."""
    generator = torch.Generator().manual_seed(6000 + seed)

    def draw(count: int) -> Tensor:
        sign = 1.0 - 2.0 * torch.randint(2, (count,), generator=generator).float()
        return sign * (0.5 + torch.rand(count, generator=generator))

    return [{"n": n, **{letter: draw(count(n)) for letter, count in LETTERS.items()}}
            for n in (3, 7, 384)]


def run_small(changes: tuple[Callable, ...], case: dict) -> dict[str, dict[str, Any]]:
    """Build each change, up to the first that is not a matrix of this size."""
    seen = {}
    for letter, change in zip(LETTERS, changes):
        seen[letter] = _seen(change, case[letter], case["n"])
        if "again" not in seen[letter]:
            break
    return seen


def _seen(change: Callable, p: Tensor, n: int) -> dict[str, Any]:
    """Build a change: as it is, twice more, of zeros; and follow a gradient back to them."""
    found = change(p.clone(), n)
    if not isinstance(found, Tensor) or found.shape != (n, n):
        return {"found": found}
    given, leaf = p.clone(), p.clone().requires_grad_()
    again = all(torch.equal(change(given, n), found) for _ in range(2))
    once, generator = change(leaf.clone(), n), torch.Generator().manual_seed(n)
    if once.requires_grad:
        (once * torch.randn(n, n, generator=generator)).sum().backward()
    grad = torch.zeros_like(p) if leaf.grad is None else leaf.grad
    return {"found": found, "again": again, "at_zero": float(change(0 * p, n).abs().max()),
            "unreached": (grad == 0).nonzero().flatten().tolist()}


def judge_small(case: dict, seen: dict) -> Verdict:
    for letter, count in LETTERS.items():
        if verdict := _judged(letter, count(case["n"]), case["n"], seen[letter]):
            return verdict
    return Verdict(True, "One parameter, full rank and no zero; rank 1 and no zero; n parameters, "
                         "full rank and nearly all zero.")


def _judged(letter: str, count: int, n: int, seen: dict) -> Verdict | None:
    told = f"change_{letter} of {count} parameter{'s' if count > 1 else ''}, n = {n}:"
    found = seen["found"]
    if found is None:
        return rejected("no_return", f"{told} None.")
    if not isinstance(found, Tensor) or found.shape != (n, n):
        return Verdict(False, f"{told} it gave {named(found)}; expected a matrix of {n} × {n}.")
    if not seen["again"]:
        return rejected("drawn_anew", f"{told} called twice, it gave two different matrices.")
    if seen["at_zero"] != 0:
        return Verdict(False, f"{told} with every parameter at zero, an entry is "
                              f"{seen['at_zero']:.3g}; expected 0.")
    if seen["unreached"]:
        return rejected("no_gradient", f"{told} no gradient comes back from the matrix to "
                                       f"parameter {seen['unreached'][0]}.")
    rank = int(torch.linalg.matrix_rank(found.double(), rtol=VISIBLE))
    filled = int((found != 0).sum())
    wanted = 1 if letter == "b" else n
    if rank != wanted:
        return Verdict(False, f"{told} its rank is {rank}; expected {wanted}.",
                       None if letter == "b" else "not_full")
    wanted = n if letter == "c" else n * n
    if filled != wanted:
        told = f"{told} {filled} of its {n * n} entries are not zero; expected {wanted}."
        return Verdict(False, told, None if letter == "c" else "few_places")
    return None


SMALL_MISTAKES = {
    "drawn_anew": "What is random must be the same every time: a generator with a fixed seed.",
    "no_gradient": "Each parameter must be used itself: what .item() took out of it is a constant.",
    "not_full": "Some rows are made from others. In which fixed matrix can none be?",
    "few_places": "Full rank and rank 1 are possible with no entry at zero.",
}

SMALL = Exercise(
    id="change.small", names=("change_a", "change_b", "change_c"), points=2,
    minutes=7, difficulty=2,
    cases=small_cases, run=run_small, judge=judge_small, mistakes=SMALL_MISTAKES,
    returns=stages({"a": CHANGE}, {"b": CHANGE}, {"c": CHANGE}),
    hints=("The first: the parameter multiplies a fixed matrix of full rank without a zero. Which?",
           "The second: an entry is a number for its row times a number for its column.",
           "The third: n places are enough for full rank if no row and no column has two."))


# ── change.energy ────────────────────────────────────────────────────────────────────────────


def energy_cases(seed: int) -> list[dict]:
    """Return one case of several inputs, so that a mistake is named only if it explains them all.

    The last two meet their share exactly, with sums that floats hold exactly.
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


def judge_energy(case: dict, seen: dict) -> Verdict:
    inputs, found = list(zip(case["sigmas"], case["shares"])), seen["found"]
    if not seen["intact"]:
        return Verdict(False, "Afterwards σ is not what it was before.")
    right = [spectra.energy_rank(sigma, share) for sigma, share in inputs]
    usual = [usual_energies(sigma, share) for sigma, share in inputs]
    counts = list(map(whole, found))
    i = next((i for i, count in enumerate(counts) if count != right[i]), 0)
    sigma, share = inputs[i]
    values = f"σ = {tuple(sigma.tolist())}" if len(sigma) < 5 else f"{len(sigma)} values"
    explains = {name: k for name, k in usual[i].items() if counts == [each[name] for each in usual]}
    return judged_count(found[i], right[i], f"For {values} and share {share} it", explains,
                        "The smallest k whose first k squares reach the share.")


def usual_energies(sigma: Tensor, share: float) -> dict[str, int]:
    """Return what the usual mistakes give."""
    sums, energy = sigma.cumsum(0), sigma.square().cumsum(0)
    return {"not_squared": int((sums < share * sums[-1]).sum()) + 1,
            "one_less": spectra.energy_rank(sigma, share) - 1,
            "past_share": int((energy <= share * energy[-1]).sum()) + 1}


ENERGY_MISTAKES = {
    "not_whole": "A number of directions is a whole number: an int.",
    "not_squared": "That is the share of Σσ. Energy is the sum of the squares, σ².",
    "one_less": "One too few: the direction that reaches the share counts, too.",
    "past_share": "The first k squares hold exactly this share, and that is enough: ≥, not >.",
}

ENERGY = Exercise(
    id="change.energy", names=("directions",), points=1, minutes=4, difficulty=1,
    reference="peft_teach.spectra:energy_rank", cases=energy_cases, run=run_energy,
    judge=judge_energy, returns=report(found=list, intact=bool), mistakes=ENERGY_MISTAKES,
    hints=("What the k strongest hold is a sum of squares. What gives all partial sums at once?",
           "The last partial sum is the whole energy. How many of them are still too small?",
           "If m of them are too small, the next one is the first that is not: which k is that?"))


# ── change.truncate ──────────────────────────────────────────────────────────────────────────


def truncate_cases(seed: int) -> list[dict]:
    generator = torch.Generator().manual_seed(3000 + seed)
    sizes = [(7, 5, 3), (4, 7, 3), (5, 5, 2), (48, 64, 8), (5, 5, 0), (4, 6, 4)]
    cases = [{"delta": torch.randn(n_out, n_in, generator=generator), "k": k}
             for n_out, n_in, k in sizes]
    return [*cases, {"delta": 0.01 * torch.randn(6, 8, generator=generator), "k": 4}]    # as real


def run_truncate(truncate, case: dict) -> dict[str, Any]:
    found = truncate(case["delta"], case["k"])
    return {"found": found, "delta_after": case["delta"]}


def judge_truncate(case: dict, seen: dict) -> Verdict:
    delta, k, found = case["delta"], case["k"], seen["found"]
    n_out, n_in = delta.shape
    if found is None:
        return rejected("no_return")
    if not torch.equal(seen["delta_after"], delta):
        return Verdict(False, "Afterwards ΔW is not what it was before.")
    told = f"For a matrix {n_out} × {n_in} and k = {k} it gave"
    if not isinstance(found, Tensor) or found.shape != delta.shape:
        return Verdict(False, f"{told} {named(found)}; expected a matrix of that shape.")
    nearest = spectra.truncate(delta, k)
    size = delta.abs().max().clamp(1e-6, 1)    # rounding is small beside the entries
    if close(found / size, nearest / size, 1e-4):
        return Verdict(True, "No matrix of rank k is nearer to ΔW.")
    rank = torch.linalg.matrix_rank(found.float().nan_to_num())
    told = (f"{told} one of rank {rank} that is {(found - delta).norm():.3g} from ΔW. Wanted is "
            f"rank {k}, and as near as can be: {(nearest - delta).norm():.3g}.")
    return Verdict(False, told, recognised(usual_truncations(delta, k),
                                           lambda value: close(found, value, 1e-4)))


def usual_truncations(delta: Tensor, k: int) -> dict[str, Tensor]:
    """Return what the usual mistakes give, as far as their shapes fit."""
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    found = {"no_sigma": U[:, :k] @ Vt[:k],
             "sigma_squared": U[:, :k] * sigma[:k].square() @ Vt[:k]}
    if Vt.shape[0] == Vt.shape[1]:
        found["columns_of_Vt"] = U[:, :k] * sigma[:k] @ Vt[:, :k].T
    return found


TRUNCATE_MISTAKES = {
    "misfit": "Which axis counts the directions? In U the second, in Vᵀ the first; σ has only one.",
    "no_sigma": "The σ are missing: each direction counts as much as its singular value.",
    "sigma_squared": "σ was multiplied in twice: give it to U or to Vᵀ, not to both.",
    "columns_of_Vt": "Columns of Vᵀ were taken. It is transposed already: directions are its rows.",
}

TRUNCATE = Exercise(
    id="change.truncate", names=("truncate",), points=2, minutes=8, difficulty=2,
    reference="peft_teach.spectra:truncate", cases=truncate_cases, run=run_truncate,
    judge=judge_truncate, returns=report(found=Any, delta_after=Tensor),
    mistakes=TRUNCATE_MISTAKES,
    hints=("Print the shapes of the three parts of a matrix that is not square: one axis of each "
           "counts directions.",
           "Multiply the three together until delta comes back; only then begin to cut.",
           "The strongest come first: in each part, keep k along the axis that counts them."))


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
    z, given = case["z"].clone().requires_grad_(), ("theta0", "h", "sign")
    before = [case[name].clone() for name in given]
    with Spy() as spy:
        theta = project(case["theta0"], z, case["h"], case["sign"])
    changed = [name for name, value in zip(given, before) if not torch.equal(case[name], value)]
    if isinstance(theta, Tensor) and theta.requires_grad and theta.shape == case["g"].shape:
        (theta * case["g"]).sum().backward()
    return {"theta": theta, "grad": z.grad, "changed": changed, "largest": spy.largest,
            "operations": spy.count}


def judge_project(case: dict, seen: dict) -> Verdict:
    theta, theta0, d = seen["theta"], case["theta0"], len(case["z"])
    if theta is None:
        return rejected("no_return")
    if seen["changed"]:
        return Verdict(False, f"Afterwards {seen['changed'][0]} is not what it was before.")
    told = f"For D = {len(theta0)} and d = {d}:"
    scale, z, h, sign = math.sqrt(d / len(theta0)), case["z"], case["h"], case["sign"]
    P = scale * sign[:, None] * nn.functional.one_hot(h, d)              # (D, d), as in the paper
    right = theta0 + P @ z
    if not close(theta, right, 1e-4):
        told = f"{told} {difference('θ', theta, right)} {factor(theta, theta0, right)}".strip()
        usual = {"no_scale": theta0 + P @ z / scale,
                 "sign_by_column": theta0 + scale * sign[h] * z[h]}
        return Verdict(False, told, recognised(usual, lambda value: close(theta, value, 1e-4)))
    if not close(seen["grad"], P.T @ case["g"], 1e-4):
        return rejected("no_gradient", "After a backward pass, "
                        + difference("z.grad", seen["grad"], P.T @ case["g"]))
    if d > 1 and seen["largest"] >= len(theta0) * d:
        return rejected("dense", f"{told} a tensor of {seen['largest']} entries was made.")
    if seen["operations"] >= len(theta0) >= LONG:
        return rejected("loop", f"{told} it took {seen['operations']:,} operations.")
    return Verdict(True, "Every weight moves, and only z is learned.")


PROJECT_MISTAKES = {
    "no_scale": "The scale √(d/D) is missing.",
    "sign_by_column": "sign[h] is the sign of another weight: that of weight i is sign[i].",
    "dense": "The result is right, but for the whole model D × d entries do not fit into memory.",
    "loop": "The result is right, but weight by weight it takes minutes for the whole model.",
    "no_gradient": "The weights are right, but no right gradient comes back to z. Is it detached?",
}

PROJECT = Exercise(
    id="change.project", names=("project",), points=1, minutes=8, difficulty=2,
    optional=True, reference="peft_teach.course.lessons.change.subspace:project",
    cases=project_cases, run=run_project, judge=judge_project, mistakes=PROJECT_MISTAKES,
    returns=report(
        theta=Any, grad=Tensor | None, changed=list[str], largest=int, operations=int),
    hints=("h[i] says which entry of z weight i takes. A tensor can be indexed by a tensor.",
           "A column has about D/d entries, each c or −c. What is the sum of their squares?",
           "All is done entry by entry, in tensors of D entries, without P and without a loop."))


# ── change.bitfit ────────────────────────────────────────────────────────────────────────────


def bitfit_cases(seed: int) -> list[dict]:
    """Return linear layers and a LayerNorm, all with a bias; the first is small, and square."""
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


def b_at_zero(method: Method, case: dict, seen: dict) -> Verdict | None:
    """Does b start at zero?"""
    b = seen["start_own"]["b"]
    copied = close(b.float(), case["bias"].float(), HALF)
    return Verdict(False, f"The largest entry of b starts as {b.abs().max():.3g}; expected 0.",
                   "copied" if copied else None) if b.any() else None


def to_the_bit(method: Method, case: dict, seen: dict) -> Verdict | None:
    """Is the first output the base's own?"""
    if seen["to_the_bit"] or not method.close(seen["start"], method.base_output(case)):
        return None
    return rejected("start_near", "Before any training the output is near the base's, but not the "
                                  "same bit for bit.")


BITFIT_METHOD = Method(
    name="BiasAdapter", base=biased_module, own=("b",), equation=shifted, formula="base(x) + b",
    usual=lambda base, case: {"replaced": shifted(base, case) - case["bias"]},
    starts=(b_at_zero, to_the_bit), praise="Starts as the base, and learns one number a feature.")


def run_bitfit(BiasAdapter: Any, case: dict) -> dict[str, Any]:
    """Observe it as any adapter; then compare its first output with the base's, here."""
    seen = BITFIT_METHOD.run(BiasAdapter, case)
    if "again" in seen:
        base = biased_module(case)
        seen["to_the_bit"] = torch.equal(BiasAdapter(base)(case["x"]), base(case["x"]))
    return seen


BITFIT_MISTAKES = MISTAKES | {
    "copied": "That is the base's bias, which is in base(x) already: b starts at zero.",
    "start_near": "Another order of sums rounds elsewhere: let the base compute its own output.",
    "replaced": "b replaces the base's bias. It is added to it: base(x) + b.",
}

BITFIT = Exercise(
    id="change.bitfit", names=("BiasAdapter",), points=1, minutes=5, difficulty=1,
    reference="peft_teach.methods.bitfit:BiasAdapter", cases=bitfit_cases, run=run_bitfit,
    judge=BITFIT_METHOD.judge, returns=BITFIT_METHOD.returns(to_the_bit=bool),
    mistakes=BITFIT_MISTAKES,
    hints=("What is registered with nn.Parameter, outside of the base, is trained: one vector.",
           "It has an entry for each output, as the base's bias, and starts so that nothing moves.",
           "forward asks the base first. What it gives has a dtype; the sum must have the same."))

EXERCISES = (SMALL, ENERGY, TRUNCATE, INJECT, HOLDS, BITFIT, PROJECT)
