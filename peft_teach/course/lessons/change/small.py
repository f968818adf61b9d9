"""Lesson 02, low rank: three changes of a matrix, to tell parameters, rank and places apart."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...check.exercise import Exercise, Verdict
from ...check.judge import NO_RETURN, named, rejected, stages

VISIBLE = 5e-7    # of the largest singular value: below it a rank is float32's rounding


def change_a(p: Tensor, n: int) -> Tensor:
    """Return a change of full rank without a zero, (n, n), from one parameter, (1,)."""
    return p * (torch.ones(n, n) + torch.eye(n))


def change_b(p: Tensor, n: int) -> Tensor:
    """Return a change of rank 1 without a zero, (n, n), from 2 n parameters."""
    return torch.outer(p[:n], p[n:])


def change_c(p: Tensor, n: int) -> Tensor:
    """Return a change of full rank with n entries other than zero, (n, n), from n parameters."""
    return torch.diag(p)


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
    """Build each change, up to the first that is no matrix of this size."""
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
    "no_return": NO_RETURN,
    "drawn_anew": "What is random must be the same every time: a generator with a fixed seed.",
    "no_gradient": "Each parameter must be used itself: what .item() took out of it is a constant.",
    "not_full": "Some rows are made from others. In which fixed matrix can none be?",
    "few_places": "Full rank and rank 1 are possible with no entry at zero.",
}

SMALL = Exercise(
    id="change.small", lesson="02", names=("change_a", "change_b", "change_c"), points=2,
    minutes=7, difficulty=2,
    cases=small_cases, run=run_small, judge=judge_small, mistakes=SMALL_MISTAKES,
    returns=stages({"a": CHANGE}, {"b": CHANGE}, {"c": CHANGE}),
    hints=("The first: the parameter multiplies a fixed matrix of full rank without a zero. Which?",
           "The second: an entry is a number for its row times a number for its column.",
           "The third: n places are enough for full rank if no row and no column has two."))
