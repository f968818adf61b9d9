"""Lesson 02, low rank: three changes of a matrix, to tell parameters, rank and places apart."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, named, rejected, strange

VISIBLE = 5e-7    # of the largest singular value: below it a rank is float32's rounding
FEW = 8    # up to this n every parameter is moved, beyond it three of them


def change_a(p: Tensor, n: int) -> Tensor:
    """Return a change of full rank without a zero, (n, n), from one parameter, (1,)."""
    return p * (torch.ones(n, n) + torch.eye(n))


def change_b(p: Tensor, n: int) -> Tensor:
    """Return a change of rank 1 without a zero, (n, n), from 2 n parameters."""
    return torch.outer(p[:n], p[n:])


def change_c(p: Tensor, n: int) -> Tensor:
    """Return a change of full rank that has n entries other than zero, (n, n), from n parameters.
    """
    return torch.diag(p)


LETTERS = {"a": lambda n: 1, "b": lambda n: 2 * n, "c": lambda n: n}    # how many parameters


def small_cases(seed: int) -> list[dict]:
    """Return parameters without a zero, for matrices of three sizes."""
    generator = torch.Generator().manual_seed(6000 + seed)

    def draw(count: int) -> Tensor:
        sign = 1.0 - 2.0 * torch.randint(2, (count,), generator=generator).float()
        return sign * (0.5 + torch.rand(count, generator=generator))

    return [{"n": n, **{letter: draw(count(n)) for letter, count in LETTERS.items()}}
            for n in (3, 7, 384)]


def run_small(changes: tuple[Callable, ...], case: dict) -> dict[str, Any]:
    """Build each change: as it is, once more, with all parameters zero, and with one of them moved;
    and follow a gradient back to its parameters.
    """
    seen = {}
    generator = torch.Generator().manual_seed(case["n"])
    for letter, change in zip(LETTERS, changes):
        n, p = case["n"], case[letter]
        found = change(p.clone(), n)
        seen[letter] = found.detach().clone() if isinstance(found, Tensor) else named(found)
        if not isinstance(found, Tensor) or found.shape != (n, n):
            return seen
        given = p.clone()
        seen[f"{letter} again"] = all(torch.equal(change(given, n), found) for _ in range(2))
        seen[f"{letter} intact"] = torch.equal(given, p)
        seen[f"{letter} at zero"] = float(change(torch.zeros_like(p), n).abs().max())
        places = range(len(p)) if n <= FEW else (0, len(p) // 2, len(p) - 1)
        seen[f"{letter} unused"] = [i for i in places if torch.equal(
            change(p.index_add(0, torch.tensor([i]), torch.ones(1)), n), found)]
        leaf = p.clone().requires_grad_()
        found = change(leaf.clone(), n)
        if found.requires_grad:
            (found * torch.randn(n, n, generator=generator)).sum().backward()
        seen[f"{letter} reached"] = leaf.grad is not None and bool((leaf.grad != 0).all())
    return seen


def judge_small(case: dict, seen) -> Verdict:
    kinds = {f"{letter}{what}": kind for letter in LETTERS for what, kind in (
        (" again", bool), (" intact", bool), (" at zero", float), (" unused", list),
        (" reached", bool))}
    if odd := strange(seen, "a", **kinds):
        return odd
    for letter, count in LETTERS.items():
        if verdict := _judged(letter, count(case["n"]), case["n"], seen):
            return verdict
    return Verdict(True, "One parameter, full rank and no zero; rank 1 and no zero; n parameters, "
                         "full rank and nearly all zero.")


def _judged(letter: str, count: int, n: int, seen: dict) -> Verdict | None:
    told = f"change_{letter} of {count} parameter{'s' if count > 1 else ''}, n = {n}:"
    found = seen.get(letter)
    if found == "None" and isinstance(found, str):
        return rejected("no_return", f"{told} None.")
    if not isinstance(found, Tensor) or found.shape != (n, n):
        shape = tuple(found.shape) if isinstance(found, Tensor) else found
        return rejected("shape", f"{told} it gave {shape}.")
    parts = ("again", "intact", "at zero", "unused", "reached")
    if not all(f"{letter} {part}" in seen for part in parts):
        return Verdict(False, "The check's report is not whole.")
    if not seen[f"{letter} intact"]:
        return rejected("changed", f"{told} afterwards p is not what it was.")
    if not seen[f"{letter} again"]:
        return rejected("drawn_anew", f"{told} called twice, it gave two different matrices.")
    if seen[f"{letter} at zero"] != 0:
        return rejected("not_zero", f"{told} with every parameter at zero, an entry is "
                                    f"{seen[f'{letter} at zero']:.3g}.")
    if seen[f"{letter} unused"]:
        return rejected("unused", f"{told} moving parameter {seen[f'{letter} unused'][0]} changes "
                                  "nothing.")
    if not seen[f"{letter} reached"]:
        return rejected("no_gradient", f"{told} no gradient finds its way back from the matrix to "
                                       "every parameter.")
    rank = int(torch.linalg.matrix_rank(found.double(), rtol=VISIBLE))
    filled = int((found != 0).sum())
    wanted = 1 if letter == "b" else n
    if rank != wanted:
        return rejected("rank_not_one" if letter == "b" else "not_full",
                        f"{told} its rank is {rank}; expected {wanted}.")
    if letter in "ab" and filled < n * n:
        return rejected("has_zeros" if letter == "b" else "few_places",
                        f"{told} {n * n - filled} of its {n * n} entries are zero.")
    if letter == "c" and filled != n:
        return rejected("not_sparse", f"{told} {filled} of its {n * n} entries are not zero; "
                                      f"expected {n}.")
    return None


SMALL_MISTAKES = {
    "no_return": NO_RETURN,
    "shape": "The change is a matrix of n × n, whatever its parameters are.",
    "changed": "p was written into: methods that end in _ do that. Make a new tensor.",
    "drawn_anew": "A part that is random must be drawn the same way every time: with a generator "
                  "of its own and a fixed seed.",
    "not_zero": "It is a change: with parameters that are all zero, nothing changes.",
    "unused": "A parameter that moves nothing is not one: each of them must count.",
    "no_gradient": "Parameters are trained, so the matrix must be computed from p itself: a number "
                   "that .item() or .tolist() took out of it is a constant.",
    "not_full": "Some rows are sums of multiples of the others. Which fixed matrix has rows of "
                "which none can be made from the rest?",
    "rank_not_one": "In a matrix of rank 1 every row is a multiple of one and the same row.",
    "has_zeros": "Where the multiple is zero, the row is, too. Which factors does an entry have?",
    "few_places": "Full rank is easy with most entries at zero. A matrix can have it with none.",
    "not_sparse": "n parameters, n places: one in each row and one in each column.",
}

SMALL = Exercise(
    id="change.small", lesson="02", names=("change_a", "change_b", "change_c"), points=2,
    minutes=7, difficulty=2,
    reference=tuple(f"peft_teach.course.lessons.change.small:change_{letter}"
                    for letter in LETTERS),
    cases=small_cases, run=run_small, judge=judge_small, mistakes=SMALL_MISTAKES,
    hints=("For the first: which fixed matrix has full rank and no zero? There are very many; the "
           "parameter multiplies it.",
           "For the second: an entry is the product of one number for its row and one for its "
           "column.",
           "For the third: n places are enough for full rank if no row and no column has two."))
