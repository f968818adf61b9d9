"""What the record of lesson 09 says: accuracies in pairs, and correlations of its clouds.

`record` is `records.load("dora")` throughout.
"""

from collections.abc import Callable
from statistics import mean
from typing import Any

import pandas

from ...records import Record

MARGIN = 1.0                   # points of accuracy, declared before the first run
PAIRS = (("dora", "lora"), ("dora", "gain"))
NAMES = {"full": "full fine-tuning", "lora": "LoRA", "dora": "DoRA", "random": "random",
         "gain": "scaled LoRA"}
RANKS = (2, 32)
SIZES = {"dots": "as trained", "rescaled": "at the other's norm"}


def differences(record: Record) -> dict[tuple[int, str, str], tuple[list[float], list[float]]]:
    """Return the accuracies of two methods in percent, seed by seed, by (rank, a, b)."""
    runs = record.runs.query("group == 'pairs'")
    points = 100 * runs.pivot(index=["rank", "seed"], columns="method", values="accuracy")
    return {(rank, a, b): (points.loc[rank][a].tolist(), points.loc[rank][b].tolist())
            for a, b in PAIRS for rank in RANKS}


def verdicts(record: Record, referee: Callable[..., tuple[Any, Any, str]]) -> pandas.DataFrame:
    """Return what a referee says of the paired runs, in points of test accuracy.

    `referee(a, b, margin)` returns the interval of a − b and a verdict.
    """
    rows = {}
    for (rank, a, b), (one, other) in differences(record).items():
        low, high, verdict = referee(one, other, MARGIN)
        rows[f"{NAMES[a]} − {NAMES[b]}", rank] = {
            "pairs": len(one), "DoRA, %": mean(one), "the other, %": mean(other),
            "difference": mean(one) - mean(other), "low": float(low), "high": float(high),
            "verdict": verdict}
    index = pandas.MultiIndex.from_tuples(rows, names=["in pairs", "rank"])
    return pandas.DataFrame(list(rows.values()), index).round(2)


def searched(record: Record) -> pandas.DataFrame:
    """Return the accuracy on validation sentences at each rate that was tried, one seed."""
    rates = record.runs.query("group == 'rates'")
    found = rates.pivot(index=["rank", "lr"], columns="method", values="validation")
    return found.rename(columns=NAMES)[[NAMES[name] for name in ("lora", "gain", "dora")]]


# ── clouds ───────────────────────────────────────────────────────────────────────────────────


def clouds_of(record: Record) -> dict[tuple[str, int], dict]:
    """Return the recorded clouds by method and seed."""
    return {(name.split()[0], int(name.split()[1])): cloud
            for name, cloud in record["clouds"].items()}


def by_place(dots: list[dict]) -> dict[str, pandas.DataFrame]:
    """Return the dots of the queries and those of the values, one row a matrix and look."""
    return dict(list(pandas.DataFrame(dots).groupby("place")))


def correlations(record: Record) -> pandas.DataFrame:
    """Return the correlation of ΔD and ΔM over all matrices of a place at all looks.

    By update, norm and seed. Full fine-tuning's "other" is LoRA; that of all others is full
    fine-tuning.
    """
    rows = {}
    for (name, seed), cloud in clouds_of(record).items():
        for key, told in SIZES.items():
            rows[NAMES[name], told, seed] = {
                place: dots.dd.corr(dots.dm) for place, dots in by_place(cloud[key]).items()}
    index = pandas.MultiIndex.from_tuples(rows, names=["update", "size", "seed"])
    frame = pandas.DataFrame(list(rows.values()), index=index)
    order = list(dict.fromkeys(row[:2] for row in rows))    # pandas 2.2 cannot unstack unsorted
    return frame.unstack("seed").loc[order].round(2)
