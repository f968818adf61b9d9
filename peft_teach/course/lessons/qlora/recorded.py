"""What lesson 08 asks its record: what four bits cost, and what merges keep."""

from collections.abc import Mapping

import pandas

from ... import records
from ...verdicts import Comparison, of_runs

WHERE = {"all": "all matrices", "query+value": "query and value"}
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


def costs(record: Mapping) -> pandas.DataFrame:
    """Return mean accuracies over the seeds, by base, and what four bits cost.

    Each at the rate that was best on validation sentences; low and high are the 95 % interval of
    the cost, for new seeds.
    On query and value of a plain base, the runs are those of lesson 07.
    """
    runs = pandas.concat([record.runs.query("group == 'runs'"),
                          records.load("lora").runs.query("group == 'ranks' and rank == 8")])
    rows = {}
    for where, part in runs.groupby("targets"):
        by_seed = part.pivot(index="seed", columns="method", values="accuracy")
        cost, rates = of_runs(by_seed.lora, by_seed.qlora), part.groupby("method").lr.first()
        rows[WHERE[where]] = {"plain": by_seed.lora.mean(), "4 bits": by_seed.qlora.mean(),
                              "cost": cost.difference, "low": cost.low, "high": cost.high,
                              "rate, plain": rates.lora, "rate, 4 bits": rates.qlora}
    return pandas.DataFrame(rows).T.astype(float)


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
