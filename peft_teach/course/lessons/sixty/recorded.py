"""What lesson 13 reads: the field's own table, and the record of five methods under one rule.

    field()                     peft's comparison, 63 runs; the source stands in the file's head
    again()                     the same runs, in each of its tables
    pairs()                     two runs of one method, in each table
    two_ladders(ladder)         R² here and accuracy there, of the methods that both have
    compared(sixty, ladder)     each method of the record beside LoRA 8 at two rates, in pairs
"""

from collections.abc import Mapping
from statistics import mean

import pandas

from ... import protocol, records
from ...verdicts import MARGIN, of_runs

LORA = "lora-rank32"               # the run to which the field's others are compared
LILY, MLP = "lily-rank140-mlp-a2-b2-s8.0", "lora-rank10-target-mlp"    # alike in place and size
# Two runs of one method, which differ in rate and weight decay.
PAIRS = {"IA³": ("ia3-default", "ia3-lr_0.001"),
         "prompt": ("prompt_tuning-default", "prompt_tuning-lr_0.001")}
# What both ladders have: the rung's key here, and the method there.
BOTH = {"full": "full-finetuning", "mask": "shira", "ia3": "ia3", "lora 8": "lora",
        "prefix": "prefixtuning", "prompt": "prompt_tuning"}
VARIANTS = "dora|bdlora|mica|lorafa"    # runs there that are called LoRA and compute something else


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


def gaps(name: str) -> pandas.Series:
    """Return how far the runs of a pair are apart, in each table that has both."""
    (one, other), runs = PAIRS[name], again()
    return (runs.loc[other] - runs.loc[one]).dropna()


def pairs() -> pandas.DataFrame:
    """Return by how many points two runs of one method differ, in each table that has both."""
    return pandas.DataFrame({name: 100 * gaps(name) for name in PAIRS}).T.round(1)


def two_ladders(ladder: Mapping) -> pandas.DataFrame:
    """Return the runs there of the methods that both have, with the R² here of each method."""
    table, means = field(), protocol.means(ladder)
    there = table[~table.index.str.contains(VARIANTS)]
    return pandas.concat([
        pandas.DataFrame({"method": protocol.NAMES[key], "here": means[protocol.NAMES[key]],
                          "there": there.accuracy[there.method == method]})
        for key, method in BOTH.items()]).sort_values("here", ascending=False, kind="stable")


def compared(sixty: Mapping, ladder: Mapping) -> pandas.DataFrame:
    """Return size, rate, mean R² and two verdicts in words of each method, the best first.

    Beside LoRA 8 at its searched rate and at half of it, at the seeds that all three have.
    """
    ours: dict[str, dict[int, Mapping]] = {}
    for row in records.select(sixty, group="final"):
        ours.setdefault(row["method"], {})[row["seed"]] = row
    loras = [{row["seed"]: row["r2"] for row in records.select(
        ladder, group=group, method="lora 8")} for group in ("final", "half")]
    seeds, rows = sorted(set.intersection(*map(set, loras), *map(set, ours.values()))), {}
    for method, runs in ours.items():
        reached = [runs[seed]["r2"] for seed in seeds]
        told = [of_runs(reached, [lora[seed] for seed in seeds], MARGIN) for lora in loras]
        rows[method] = [
            runs[seeds[0]]["parameters"], runs[seeds[0]]["lr"], round(mean(reached), 3),
            *(f"{each.word}: {each.difference:+.3f} ({each.low:+.3f} to {each.high:+.3f})"
              for each in told)]
    return pandas.DataFrame.from_dict(rows, orient="index", columns=[
        "parameters", "rate", "R²", "minus LoRA 8", "minus LoRA 8 at half its rate"
    ]).sort_values("R²", ascending=False)
