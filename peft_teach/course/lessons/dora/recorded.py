"""What the record of lesson 09 says: accuracies in pairs, and correlations of its clouds.

`record` is `records.load("dora")` throughout. Half a record does, too: what does not stand yet is
in no row.
"""

from collections.abc import Callable, Mapping
from statistics import mean
from typing import Any

import pandas
import torch

from .clouds import correlation

MARGIN = 1.0                   # points of accuracy, declared before the first run
PAIRS = (("dora", "lora"), ("dora", "gain"))
NAMES = {"full": "full fine-tuning", "lora": "LoRA", "dora": "DoRA", "random": "random",
         "gain": "LoRA with a gain"}
RANKS = (2, 32)
COLUMNS = ("rates", "pairs", "DoRA, %", "the other, %", "difference", "low", "high", "verdict")
SIZES = {"dots": "as trained", "rescaled": "at the other's norm"}


def pairs(record: Mapping) -> pandas.DataFrame:
    """Return the accuracies in percent by rank and seed, a column a method; whole rows only."""
    rows = [row for row in record["runs"] if row["group"] == "pairs"]
    frame = pandas.DataFrame(rows, columns=["rank", "seed", "method", "accuracy"])
    frame["accuracy"] *= 100
    return frame.pivot(index=["rank", "seed"], columns="method", values="accuracy").dropna()


def differences(record: Mapping) -> dict[tuple[int, str, str], tuple[list[float], list[float]]]:
    """Return the two lists of accuracies by (rank, a, b), where two pairs stand or more."""
    found, frame = {}, pairs(record)
    for a, b in PAIRS:
        for rank in RANKS:
            these = frame[frame.index.get_level_values("rank") == rank]
            if len(these) > 1:
                found[rank, a, b] = these[a].tolist(), these[b].tolist()
    return found


def verdicts(record: Mapping, referee: Callable[..., tuple[Any, Any, str]],
             margin: float | None = None) -> pandas.DataFrame:
    """Return what a referee says of the paired runs, in points of test accuracy.

    `referee(a, b, margin)` returns the interval of a − b and a verdict. Without a margin of the
    reader's own it is `MARGIN`. The rates are those of DoRA and of the method beside it.
    """
    margin, rows = MARGIN if margin is None else margin, {}
    rates = {(row["rank"], row["method"]): row["lr"] for row in record["runs"]
             if row["group"] == "pairs"}
    for (rank, a, b), (one, other) in differences(record).items():
        low, high, verdict = referee(one, other, margin)
        rows[f"{NAMES[a]} − {NAMES[b]}", rank] = (
            f"{rates[rank, a]:g}, {rates[rank, b]:g}", len(one), mean(one), mean(other),
            mean(one) - mean(other), float(low), float(high), verdict)
    index = pandas.MultiIndex.from_tuples(rows, names=["in pairs", "rank"])
    return pandas.DataFrame(list(rows.values()), index, COLUMNS).round(2)


# ── clouds ───────────────────────────────────────────────────────────────────────────────────


def clouds_of(record: Mapping) -> dict[tuple[str, int], dict]:
    """Return the recorded clouds by method and seed."""
    return {(name.split()[0], int(name.split()[1])): cloud
            for name, cloud in record.get("clouds", {}).items()}


def pooled(dots: list[dict], place: str) -> float:
    """Return the correlation of ΔM and ΔD over the matrices of a place, at all looks."""
    these = [dot for dot in dots if dot["place"] == place]
    return correlation(torch.tensor([dot["dm"] for dot in these]),
                       torch.tensor([dot["dd"] for dot in these]))


def over_rows(dots: list[dict], place: str) -> float:
    """Return the correlation over the rows of a matrix: mean over the blocks, at the last look."""
    last = max(dot["step"] for dot in dots)
    return mean(dot["over_rows"] for dot in dots
                if dot["place"] == place and dot["step"] == last)


def correlations(record: Mapping) -> pandas.DataFrame:
    """Return the correlation of ΔM and ΔD: pooled and over rows, by update, norm and seed.

    Full fine-tuning's "other" is LoRA; that of all others is full fine-tuning.
    """
    rows = {}
    for (name, seed), cloud in clouds_of(record).items():
        for key, told in SIZES.items():
            dots = cloud[key]
            rows[NAMES[name], told, seed] = {
                f"{how}, {place}": found(dots, place)
                for how, found in (("pooled", pooled), ("over rows", over_rows))
                for place in ("query", "value")}
    index = pandas.MultiIndex.from_tuples(rows, names=["update", "size", "seed"])
    frame = pandas.DataFrame(list(rows.values()), index=index)
    order = list(dict.fromkeys(row[:2] for row in rows))    # pandas 2.2 cannot unstack unsorted
    return frame.unstack("seed").loc[order].round(2)
