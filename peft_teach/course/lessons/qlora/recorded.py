"""What lesson 08 asks its record: what merges keep."""

from collections.abc import Mapping

import pandas

MERGES = {                       # (update, rounding, maxima) in words
    (True, "none", "none"): "Ŵ + ΔW, in 32 bits",
    (True, "base in 32 bits", "none"): "W + ΔW, in 32 bits",
    (True, "nearest", "new"): "Ŵ + ΔW, nearest level",
    (True, "dice", "new"): "Ŵ + ΔW, stochastic",
    (True, "exact base, nearest", "new"): "W + ΔW, nearest level",
}


def merges(record: Mapping) -> pandas.DataFrame:
    """Return what each way to merge leaves, means over seeds and draws; levels end at new maxima.

    Accuracy and its standard deviation; the share of ΔW that is kept, by projection; the error of
    the weights in units of ‖ΔW‖.
    """
    rows = pandas.DataFrame(record["merged"])
    ways = map(MERGES.get, zip(rows["update"], rows.rounding, rows.maxima))
    groups = rows.groupby([*ways])
    return pandas.DataFrame({
        "accuracy": groups.accuracy.mean(), "sd": groups.accuracy.std(),
        "ΔW kept": groups.kept.mean(), "error / ‖ΔW‖": groups.error.mean(),
    }).loc[[*MERGES.values()]]
