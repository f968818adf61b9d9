"""The exercises of lesson NN."""

import torch

from ...checks.exercise import VALUE, Exercise, Verdict
from ...checks.judge import judged_count, rejected, whole

# ── NAME.saved ───────────────────────────────────────────────────────────────────────────────


def saved_cases(seed: int) -> list[dict]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [(6, 10, 2), (384, 1536, 8)]
    sizes += [(*torch.randint(20, 200, (2,), generator=generator).tolist(), 4)]
    return [{"n_in": n_in, "n_out": n_out, "rank": rank} for n_in, n_out, rank in sizes]


def run_saved(saved, case: dict):
    return saved(case["n_in"], case["n_out"], case["rank"])


def judge_saved(case: dict, found) -> Verdict:
    n_in, n_out, rank = case["n_in"], case["n_out"], case["rank"]
    matrix, factors = n_in * n_out, rank * (n_in + n_out)
    wrong = {"turned": factors - matrix, "factors_alone": factors,
             "one_factor": (matrix - rank * n_in, matrix - rank * n_out)}
    return judged_count(found, matrix - factors, f"saved({n_in}, {n_out}, {rank})", wrong,
                        "The matrix, and both factors by their shapes.")


# ── NAME.largest ─────────────────────────────────────────────────────────────────────────────


def judge_largest(case: dict, found) -> Verdict:
    rank, n_in, n_out = whole(found), case["n_in"], case["n_out"]
    if rank is None:
        return rejected("no_number", f"It is {found!r}.")
    told = f"Rank {rank} takes {rank * (n_in + n_out):,} numbers of {n_in * n_out:,}."
    if rank * (n_in + n_out) >= n_in * n_out:
        return rejected("too_large", told)
    if (rank + 1) * (n_in + n_out) < n_in * n_out:
        return rejected("too_small", told)
    return Verdict(True, told)


EXERCISES = (
    Exercise(
        id="NAME.saved", names=("saved",), points=2, minutes=5, difficulty=1,
        cases=saved_cases, run=run_saved, judge=judge_saved,
        mistakes={"not_whole": "Numbers are counted in whole ones: an int.",
                  "turned": "What is saved is positive where the factors are smaller.",
                  "one_factor": "There are two factors.",
                  "factors_alone": "That is what the factors hold. What do they save?"},
        hints=("Three matrices are counted, by their shapes.",
               "A matrix of shape (a, b) holds a · b numbers.",
               "Take what both factors hold from n_out · n_in.")),
    Exercise(
        id="NAME.largest", names=("largest",), points=1, minutes=5, difficulty=1,
        answer=VALUE, cases=lambda seed: [{"n_in": 384, "n_out": 1536}],
        run=lambda largest, case: largest, judge=judge_largest,
        mistakes={"no_number": "A rank is a whole number.", "too_large": "Nothing is saved.",
                  "too_small": "There is room for more."},
        hints=("`saved` of exercise 1 tells of each rank.", "Where does it change its sign?",
               "rank · (n_in + n_out) < n_in · n_out.")),
)
