"""What lesson 08 asks its record: what four bits cost, what merges keep, what repairs bring."""

from collections.abc import Mapping
from statistics import mean

import pandas
from matplotlib.figure import Figure

from ....plots import COLOURS, SERIES, figure, in_percent, logarithmic, plain_ticks, seeds
from ... import records
from ..lora.picture_of_rank import draw_ends

ALL, TWO = "all", "query+value"
WHERE = {ALL: "all matrices", TWO: "query and value"}
BASES = {"lora": ("plain base", COLOURS["lora"], "-o"),
         "qlora": ("base in 4 bits", SERIES[0][0], "--s")}
MERGES = {                       # (update, rounding, maxima) in words
    (False, "none", "none"): "no update",
    (True, "none", "none"): "update added to Ŵ, kept in 32 bits",
    (True, "nearest", "old"): "nearest, old maxima",
    (True, "nearest", "new"): "nearest, new maxima",
    (True, "dice", "old"): "dice, old maxima",
    (True, "dice", "new"): "dice, new maxima",
    (True, "noise", "old"): "nearest, and the noise of dice",
    (False, "noise", "old"): "the noise of dice alone",
    (False, "base in 32 bits", "none"): "the exact W, no update",
    (True, "base in 32 bits", "none"): "update added to the exact W",
}
KINDS = {"attention.self.query": "query", "attention.self.key": "key",
         "attention.self.value": "value", "attention.output.dense": "attention_out",
         "intermediate.dense": "ffn_in", "output.dense": "ffn_out"}
STARTS = {"none": "zero", "loftq": "LoftQ", "weighted": "LoftQ, weighted by the inputs",
          "pissa": "PiSSA", "random": "random, of LoftQ's size"}
FORMATS = {"bits a weight": ".3f", "norm": ".3f", "mean": ".3f", "error / ‖ΔW‖": ".2f", "runs": "d",
           "rate, plain": "g", "rate, 4 bits": "g"}

Frame = pandas.DataFrame


def shown(frame: Frame) -> Frame:
    """Return a table of this lesson as text: shares in percent, an empty place where none is."""
    return Frame({name: [f"{v:{FORMATS.get(name, '.1%')}}" if not isinstance(v, str) and v == v
                         else v if isinstance(v, str) else "–" for v in column]
                  for name, column in frame.items()}, index=frame.index)


# ── four bits ────────────────────────────────────────────────────────────────────────────────


def runs(record: Mapping, group: str) -> Frame:
    """Return the runs on both bases, those on query and value of a plain base from lesson 07."""
    plain = records.load("lora").runs.query(
        "method == 'lora' and targets == @TWO and layers == 'all' and rank == 8 and alpha == 16 "
        "and plus == 1 and group in ['ranks', 'rates'] and lr >= 0.0005")
    if group == "runs":
        plain = plain.query("group == 'ranks'")
    return pandas.concat([record.runs.query("group == @group"), plain])


def costs(record: Mapping) -> Frame:
    """Return mean accuracies over the seeds, by base, and the paired difference: plain less 4 bits.

    Each at the rate that was best on validation sentences; its error is the standard error.
    """
    rows = {}
    for where, part in runs(record, "runs").groupby("targets"):
        by_seed = part.pivot(index="seed", columns="method", values="accuracy")
        gap, rates = by_seed.lora - by_seed.qlora, part.groupby("method").lr.first()
        rows[WHERE[where]] = {"plain": by_seed.lora.mean(), "4 bits": by_seed.qlora.mean(),
                              "plain less 4 bits": gap.mean(), "±": gap.sem(),
                              "rate, plain": rates.lora, "rate, 4 bits": rates.qlora}
    return Frame(rows).T


def draw_rates(record: Mapping) -> Figure:
    """Draw accuracy against the learning rate, on a plain base and on 4 bits."""
    made, *axes = figure(9.2, 4, columns=2, sharey=True)
    found, told = runs(record, "rates"), []
    for ax, (where, title) in zip(axes, WHERE.items()):
        draw_ends(ax)
        for method, (name, colour, style) in BASES.items():
            part = found[(found.targets == where) & (found.method == method)]
            points = {rate: list(values) for rate, values in part.groupby("lr").accuracy}
            seeds(ax, points, colour, style, lw=2, label=name)
            told.append(f"{title}, {name}: " + ", ".join(
                f"{rate:g}: {mean(values):.1%}" for rate, values in points.items()))
        logarithmic(ax, "x")
        plain_ticks(ax.xaxis, sorted(set(found[found.targets == where].lr)))
        ax.set(xlabel="learning rate")
        ax.set_title(f"LoRA on {title}", fontsize=12)
    axes[0].set(ylabel="test accuracy")
    axes[0].legend(frameon=False, loc="lower left")
    in_percent(axes[0].yaxis)
    made.set_label("Accuracy by learning rate. " + "; ".join(told) + ".")
    return made


# ── merges ───────────────────────────────────────────────────────────────────────────────────


def _merged(record: Mapping) -> Frame:
    frame = Frame(record["merged"])
    way = [MERGES[row] for row in zip(frame["update"], frame.rounding, frame.maxima)]
    return frame.assign(way=way)


def merges(record: Mapping) -> Frame:
    """Return what each way to merge leaves, means over seeds and draws.

    Accuracy and its standard deviation; the share of ΔW that is kept, by projection; the error of
    the weights in units of ‖ΔW‖; how many answers differ from those of the unmerged model.
    """
    groups = _merged(record).groupby("way")
    return Frame({"accuracy": groups.accuracy.mean(), "sd": groups.accuracy.std(),
                  "kept of ΔW": groups.kept.mean(), "error / ‖ΔW‖": groups.error.mean(),
                  "answers changed": groups.differs.mean(), "runs": groups.size()}
                 ).loc[list(MERGES.values())].rename_axis(None)


def paired(record: Mapping, one: str, other: str) -> tuple[float, float]:
    """Return by how much one way to merge is more accurate than another, and its standard error.

    Over the seeds; the draws of a seed count as their mean.
    """
    by_seed = _merged(record).pivot_table("accuracy", "seed", "way")
    gap = by_seed[one] - by_seed[other]
    return gap.mean(), gap.sem()


# ── repairs ──────────────────────────────────────────────────────────────────────────────────


def repairs(record: Mapping) -> Frame:
    """Return the share of the squared error that rank 8 repairs, by kind of matrix: means of six.

    Found; with the signs of the error scrambled; of white noise of this shape.
    """
    frame = Frame(record["repair"]).T.rename(lambda name: KINDS[name.split(".", 4)[4]])
    shapes = frame["shape"].map(lambda shape: "{} × {}".format(*shape)).groupby(level=0).first()
    means = frame[["share", "scrambled", "noise"]].astype(float).groupby(level=0).mean()
    means.columns = ["found", "signs scrambled", "noise of this shape"]
    return means.assign(shape=shapes).loc[list(KINDS.values())]


def starts(record: Mapping, zero: float = float("nan")) -> Frame:
    """Return by the adapter's start: the hidden states' error before training, and the accuracy.

    The difference from a start at zero is paired by seed; ± is its standard error. `zero` is the
    hidden states' error of the 4-bit base itself, which no run records.
    """
    found = record.runs.query("method == 'qlora' and targets == 'all' "
                              "and group in ['runs', 'starts']")
    by_seed = found.pivot(index="seed", columns="start", values="accuracy")
    gap = by_seed.sub(by_seed["none"], axis=0)
    hidden = found.groupby("start").hidden_error.mean().astype(float).fillna(zero)
    return Frame({"hidden error": hidden, "accuracy": by_seed.mean(), "more than zero": gap.mean(),
                  "±": gap.sem()}).loc[list(STARTS)].rename(STARTS)
