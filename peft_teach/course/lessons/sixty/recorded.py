"""What lesson 13 reads: the field's own table, and the record of five methods under one rule.

    field()                     peft's comparison, 63 runs; the source stands in the file's head
    again()                     the same runs, in each of its tables
    repeated()                  the runs from 30 % on that two tables have, half a year apart
    changes()                   by how much each of those changed
    moved()                     how far the difference between two of those has moved
    pairs()                     two runs of one method, in each table
    two_ladders(ladder, sixty)  R² here and the best accuracy there, of the methods that both have
    compared(sixty, ladder)     each method of the record beside LoRA 8, in pairs
"""

from collections.abc import Mapping
from itertools import combinations
from statistics import mean

import pandas

from ... import protocol, records
from ...protocol import NAMES
from ...verdicts import MARGIN, of_runs

LORA = "lora-rank32"               # the run to which the field's others are compared
# Two runs of one method: they differ in rate and weight decay, and in the scale s.
PAIRS = {"IA³: rate, decay": ("ia3-default", "ia3-lr_0.001"),
         "LoRA 64: s, 8 and 2": ("lora-rank64", "lora-rank64-rslora")}
JANUARY, JULY = "2026-01-13", "2026-07-20"    # the two tables with the most runs
# What both ladders have: the name here, and the method there.
BOTH = {"full": "full-finetuning", "mask": "shira", "ia3": "ia3", "lora 8": "lora",
        "dora 8": "dora", "prefix": "prefixtuning", "prompt": "prompt_tuning"}
# RoAd is not among them: peft ran road_2, which has twice the parameters of ours.
RECORDED = {"OFT 32": "oft", "MiSS 16": "miss", "VeRA 256": "vera"}
VARIANTS = "bdlora|mica|lorafa|bat"    # runs there that compute something else than their method


def field() -> pandas.DataFrame:
    """Return peft's comparison, a row a run, the best first."""
    table = runs().drop_duplicates("run", keep="last").set_index("run")
    return table.sort_values("accuracy", ascending=False, kind="stable")


def again() -> pandas.DataFrame:
    """Return the accuracy of each run, in each table that has it with the same settings."""
    return runs().pivot(index="run", columns="table", values="accuracy")


def runs() -> pandas.DataFrame:
    """Return every run of every table, as they stand in the file."""
    return pandas.read_csv(records.FOLDER / "field.csv", comment="#", dtype={"trained": "Int64"})


def repeated() -> pandas.DataFrame:
    """Return the accuracy of the runs from 30 % on that both tables have, January's and July's."""
    both = again()[[JANUARY, JULY]].dropna()
    return both[both[JULY] >= 0.3]


def changes() -> pandas.Series:
    """Return by how much the accuracy of each of those changed, from January to July."""
    return repeated().diff(axis=1)[JULY]


def moved() -> float:
    """Return how far the difference between two repeated runs has moved, 19 times of 20 at most."""
    return pandas.Series([abs(a - b) for a, b in combinations(changes(), 2)]).quantile(0.95)


def gaps(name: str) -> pandas.Series:
    """Return how far the runs of a pair are apart, in each table that has both."""
    (one, other), runs = PAIRS[name], again()
    return (runs.loc[other] - runs.loc[one]).dropna()


def pairs() -> pandas.DataFrame:
    """Return by how many points two runs of one method differ, in each table that has both."""
    return pandas.DataFrame({name: 100 * gaps(name) for name in PAIRS}).T.round(1)


def two_ladders(ladder: Mapping, sixty: Mapping) -> pandas.DataFrame:
    """Return the mean R² here and the best accuracy there of each method that both have."""
    table, means = field(), protocol.means(ladder)
    table = table[~table.index.str.contains(VARIANTS)]
    table = table.assign(method=table.method.mask(table.index.str.contains("dora"), "dora"))
    here = {NAMES[key]: (means[NAMES[key]], there) for key, there in BOTH.items()} | {
        name: (mean(by_seed(sixty, name)[seed]["r2"] for seed in range(2, 7)), there)
        for name, there in RECORDED.items()}
    best = table.groupby("method").accuracy.max()
    return pandas.DataFrame.from_dict(
        {name: (reached, best[there]) for name, (reached, there) in here.items()},
        orient="index", columns=["here", "there"]).sort_values("here", ascending=False)


def compared(sixty: Mapping, ladder: Mapping) -> pandas.DataFrame:
    """Return size, rate and mean R² (five seeds) of each method, the best first, and two verdicts.

    Beside LoRA 8, in pairs: with the first five of the seeds that both have, and with all.
    """
    lora = by_seed(ladder, "lora 8")
    rows = {}
    for method in dict.fromkeys(row["method"] for row in records.select(sixty, group="final")):
        runs = by_seed(sixty, method)
        seeds = sorted(lora.keys() & runs.keys())
        told = [of_runs([runs[seed]["r2"] for seed in some], [lora[seed]["r2"] for seed in some],
                        MARGIN) for some in (seeds[:5], seeds)]
        rows[method] = [
            runs[seeds[0]]["parameters"], runs[seeds[0]]["lr"],
            round(mean(runs[seed]["r2"] for seed in seeds[:5]), 3),
            *(f"{each.word}: {each.difference:+.3f} ({each.low:+.3f} to {each.high:+.3f})"
              for each in told)]
    return pandas.DataFrame.from_dict(rows, orient="index", columns=[
        "parameters", "rate", "R²", "minus LoRA 8, five seeds", f"{len(seeds)} seeds"
    ]).sort_values("R²", ascending=False)


def by_seed(record: Mapping, method: str, group: str = "final") -> dict[int, Mapping]:
    """Return the runs of a method."""
    return {row["seed"]: row for row in records.select(record, group=group, method=method)}
