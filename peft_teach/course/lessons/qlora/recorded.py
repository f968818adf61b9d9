"""What lesson 08 asks its record: what four bits cost, what merges keep, what repairs bring."""

from collections.abc import Mapping
from statistics import mean

import pandas
from matplotlib.figure import Figure

from ....plots import COLOURS, SERIES, figure, in_percent, logarithmic, plain_ticks, seeds
from ... import records
from ..lora.picture_of_rank import draw_ends

WHERE = {"all": "all matrices", "query+value": "query and value"}
BASES = {"lora": ("plain base", COLOURS["lora"], "-o"),
         "qlora": ("base in 4 bits", SERIES[0][0], "--s")}
MERGES = {                       # (update, rounding, maxima) in words
    (False, "none", "none"): "no update",
    (True, "none", "none"): "update added to Ŵ, in 32 bits",
    (True, "nearest", "old"): "nearest, old maxima",
    (True, "nearest", "new"): "nearest, new maxima",
    (True, "dice", "old"): "dice, old maxima",
    (True, "dice", "new"): "dice, new maxima",
    (True, "noise", "old"): "nearest, and the noise of dice",
    (False, "noise", "old"): "the noise of dice alone",
    (True, "shrunk", "none"): "update shrunk to what nearest keeps",
    (False, "base in 32 bits", "none"): "the exact W, no update",
    (True, "base in 32 bits", "none"): "update added to the exact W",
    (True, "exact base, nearest", "new"): "the same, to the nearest marks",
}
KINDS = {"attention.self.query": "query", "attention.self.key": "key",
         "attention.self.value": "value", "attention.output.dense": "attention_out",
         "intermediate.dense": "ffn_in", "output.dense": "ffn_out"}
STARTS = {"none": "zero", "loftq": "LoftQ", "weighted": "LoftQ, weighted by the inputs",
          "pissa": "PiSSA", "random": "random, of LoftQ's size"}


# ── four bits ────────────────────────────────────────────────────────────────────────────────


def runs(record: Mapping, group: str) -> pandas.DataFrame:
    """Return the runs of a group; on query and value of a plain base, those of lesson 07."""
    plain = records.load("lora").runs.query(
        "method == 'lora' and targets == 'query+value' and layers == 'all' and rank == 8 "
        "and alpha == 16 and plus == 1 and lr >= 0.0005")
    groups = ["ranks"] if group == "runs" else ["ranks", "rates"]
    return pandas.concat([record.runs[record.runs.group == group],
                          plain[plain.group.isin(groups)]])


def costs(record: Mapping) -> pandas.DataFrame:
    """Return mean accuracies over the seeds, by base, and what four bits cost: paired by seed.

    Each at the rate that was best on validation sentences; ± is the standard error of the cost.
    """
    rows = {}
    for where, part in runs(record, "runs").groupby("targets"):
        by_seed = part.pivot(index="seed", columns="method", values="accuracy")
        cost, rates = by_seed.lora - by_seed.qlora, part.groupby("method").lr.first()
        rows[WHERE[where]] = {"plain": by_seed.lora.mean(), "4 bits": by_seed.qlora.mean(),
                              "cost": cost.mean(), "±": cost.sem(),
                              "rate, plain": rates.lora, "rate, 4 bits": rates.qlora}
    return pandas.DataFrame(rows).T.astype(float)


def draw_rates(record: Mapping) -> Figure:
    """Draw accuracy against the learning rate, on a plain base and on 4 bits."""
    made, *axes = figure(8.4, 3.8, columns=2, sharey=True)
    found, told = runs(record, "rates"), []
    for ax, (where, title) in zip(axes, WHERE.items()):
        draw_ends(ax)
        part = found[found.targets == where]
        for method, (name, colour, style) in BASES.items():
            rates = part[part.method == method].groupby("lr").accuracy
            points = {rate: list(values) for rate, values in rates}
            seeds(ax, points, colour, style, lw=2, label=name)
            told.append(f"{title}, {name}: " + ", ".join(
                f"{rate:g}: {mean(values):.1%}" for rate, values in points.items()))
        logarithmic(ax, "x")
        plain_ticks(ax.xaxis, sorted(set(part.lr)))
        ax.set(xlabel="learning rate")
        ax.set_title(f"LoRA on {title}", fontsize=12)
    axes[0].set(ylabel="test accuracy")
    axes[0].legend(frameon=False, loc="lower left")
    in_percent(axes[0].yaxis)
    made.set_label("Accuracy by learning rate. " + "; ".join(told) + ".")
    return made


# ── merges ───────────────────────────────────────────────────────────────────────────────────


def _merged(record: Mapping) -> pandas.DataFrame:
    rows = pandas.DataFrame(record["merged"])
    return rows.assign(way=[*map(MERGES.get, zip(rows["update"], rows.rounding, rows.maxima))])


def merges(record: Mapping) -> pandas.DataFrame:
    """Return what each way to merge leaves, means over seeds and draws.

    Accuracy and its standard deviation; the share of ΔW that is kept, by projection; the error of
    the weights in units of ‖ΔW‖; the share of answers that differ from the unmerged model's.
    """
    groups = _merged(record).groupby("way")
    return pandas.DataFrame({
        "accuracy": groups.accuracy.mean(), "sd": groups.accuracy.std(),
        "ΔW kept": groups.kept.mean(), "error / ‖ΔW‖": groups.error.mean(),
        "answers changed": groups.differs.mean(), "runs": groups.size(),
    }).loc[list(MERGES.values())].rename_axis(None)


def paired(record: Mapping, one: str, other: str) -> tuple[float, float]:
    """Return by how much one way to merge is more accurate than another, and its standard error.

    Over the seeds; the draws of a seed count as their mean.
    """
    by_seed = _merged(record).pivot_table("accuracy", "seed", "way")
    gap = by_seed[one] - by_seed[other]
    return float(gap.mean()), float(gap.sem())


# ── repairs ──────────────────────────────────────────────────────────────────────────────────


def repairs(record: Mapping) -> pandas.DataFrame:
    """Return the share of the squared error that rank 8 repairs, by kind of matrix: means of six.

    Found; with the signs of the error scrambled; of white noise of this shape.
    """
    rows = {name: {"kind": KINDS[name.split(".", 4)[4]], "shape": " × ".join(map(str, of["shape"])),
                   "found": of["share"], "signs scrambled": of["scrambled"],
                   "noise of this shape": of["noise"]} for name, of in record["repair"].items()}
    return pandas.DataFrame(rows.values()).groupby(["kind", "shape"], sort=False).mean()


def starts(record: Mapping, zero: float = float("nan")) -> pandas.DataFrame:
    """Return by the adapter's start: the hidden states' error before training, and accuracies.

    Of each rate and seed that all starts had. `zero` is the hidden error of the 4-bit base itself,
    which no run records.
    """
    found = record.runs.query("method == 'qlora' and targets == 'all'")
    reached = found.pivot_table("accuracy", "start", ["lr", "seed"]).dropna(axis=1)
    reached.columns = [f"rate {lr:g}, seed {seed}" for lr, seed in reached.columns]
    hidden = found.groupby("start").hidden_error.mean().astype(float).fillna(zero)
    return pandas.concat([hidden.rename("hidden error"), reached], axis=1).loc[
        list(STARTS)].rename(STARTS).rename_axis(None)
