"""What lesson 08 asks its record: what merges keep."""

from collections.abc import Mapping

import pandas

from ...verdicts import Comparison, of_runs

MERGES = {                       # (update, rounding, maxima) in words
    (False, "none", "none"): "no update",
    (True, "none", "none"): "update added to Ŵ, in 32 bits",
    (True, "nearest", "old"): "nearest, old maxima",
    (True, "nearest", "new"): "nearest, new maxima",
    (True, "dice", "old"): "stochastic, old maxima",
    (True, "dice", "new"): "stochastic, new maxima",
    (True, "noise", "old"): "nearest, and shuffled noise",
    (False, "noise", "old"): "shuffled noise alone",
    (True, "shrunk", "none"): "update shrunk to what nearest keeps",
    (False, "base in 32 bits", "none"): "the exact W, no update",
    (True, "base in 32 bits", "none"): "update added to the exact W",
    (True, "exact base, nearest", "new"): "the same, to the nearest levels",
}


def _merged(record: Mapping) -> pandas.DataFrame:
    rows = pandas.DataFrame(record["merged"])
    return rows.assign(way=[*map(MERGES.get, zip(rows["update"], rows.rounding, rows.maxima))])


def merges(record: Mapping) -> pandas.DataFrame:
    """Return what each way to merge leaves, means over seeds and draws.

    Accuracy and its standard deviation; the share of ΔW that is kept, by projection; the error of
    the weights in units of ‖ΔW‖.
    """
    groups = _merged(record).groupby("way")
    return pandas.DataFrame({
        "accuracy": groups.accuracy.mean(), "sd": groups.accuracy.std(),
        "ΔW kept": groups.kept.mean(), "error / ‖ΔW‖": groups.error.mean(),
        "runs": groups.size()}).loc[list(MERGES.values())].rename_axis(None)


def compared(record: Mapping, one: str, other: str) -> Comparison:
    """Return the verdict on two ways to merge, from their accuracies by seed."""
    by_seed = _merged(record).pivot_table("accuracy", "seed", "way")
    return of_runs(by_seed[one], by_seed[other])
