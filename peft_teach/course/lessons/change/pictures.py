"""Pictures of lesson 02: three small changes, an update cut to a part, random subspaces."""

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import numpy as np
import pandas
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from .... import plots, spectra
from ....ink import narrow
from ....plots import COLOURS, SERIES, claim, figure, in_percent, logarithmic, plain_ticks
from ....widgets import Explorer
from ... import records
from ...checks.stand_ins import Tiny as Tiny  # the lesson shows it, and has it from here

SIGNS = colormaps["PiYG"]    # pink below zero, green above
CORNER = 64             # rows and columns of a matrix that are shown


def draw_changes(changes: Mapping[str, Tensor]) -> Figure:
    """Draw changes of a matrix, each (n, n), side by side; an entry that is zero stays white."""
    made, *axes = figure(8.5, 4, columns=len(changes))
    told = [f"{name}:\nrank {torch.linalg.matrix_rank(change)}, {(change != 0).sum()} entries"
            for name, change in changes.items()]
    for ax, change, text in zip(axes, changes.values(), told):
        _matrix(ax, change.detach(), text)
    key = axes[-1 if narrow() else len(axes) // 2].inset_axes((0, -0.12, 1, 0.05))
    key.imshow(np.linspace(-1, 1, 63)[None], cmap=SIGNS, aspect="auto")
    key.set(yticks=[], xticks=(0, 31, 62), xticklabels=("below zero", "zero", "above zero"))
    key.tick_params(labelsize=11, length=0)
    claim(made, "Parameters, rank and entries are three counts", "Not zero: " + "; ".join(
        told).replace("\n", " "))
    return made


def _matrix(ax, matrix: Tensor, title: str) -> None:
    """Draw a matrix: white is zero, pink below it, green above; the colours end at 2 RMS."""
    ax.spines[:].set_visible(True)
    ends = 2 * (matrix.square().sum() / max(1, int((matrix != 0).sum()))).sqrt().item() or 1.0
    ax.imshow(matrix, cmap=SIGNS, vmin=-ends, vmax=ends, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=11)


# ── the update of full fine-tuning, cut to a part ────────────────────────────────────────────

RULES = {"random": ("random entries, rescaled", COLOURS["random"], "-o"),
         "largest": ("largest entries, rescaled", SERIES[2][0], "--s"),
         "strongest": ("strongest directions", SERIES[0][0], "-.^")}
ASIDE = {"random": 0.89, "largest": 1.0, "strongest": 1.12}    # marks, side by side
SHARES = (1 / 1024, 1 / 256, 1 / 64, 1 / 32, 1 / 16)    # of eight directions in a matrix: 1/32


def parts(record: Mapping) -> pandas.DataFrame:
    """Return the recorded accuracies with parts of updates; `record` is `records.load("change")`.
    """
    return pandas.DataFrame(record["parts"])


def kept(delta: Tensor, rule: str, share: float) -> Tensor:
    """Return the part of an update, (n_out, n_in), that a rule keeps."""
    if rule == "strongest":
        return spectra.truncate(delta, int(256 * share))
    chance = torch.rand(delta.shape, generator=torch.Generator().manual_seed(0))
    score = chance if rule == "random" else -delta.abs()
    return delta * (score <= score.flatten().kthvalue(round(share * delta.numel())).values)


@dataclass(frozen=True)
class Cut:
    """What is kept of one matrix, and the accuracies with parts of updates of one size."""

    corner: Tensor
    rule: str
    share: float
    rows: pandas.DataFrame

    def points(self, rule: str) -> dict[float, list[float]]:
        """Return the accuracies by share, one a seed; at 1/1024 no direction is left."""
        scaled = self.rows["scaled"] == (rule != "strongest")
        chosen = self.rows[(self.rows["rule"] == rule) & scaled]
        return {x: list(seeds) for x, seeds in chosen.groupby("share").accuracy}

    def ends(self, rule: str) -> list[float]:
        """Return the accuracies with all of the update, or none."""
        return list(self.rows[self.rows["rule"] == rule].accuracy)


def cut(record: Mapping, delta: Tensor, rule: str, share: float, lr: float) -> Cut:
    """Read the accuracies with parts of the updates that this learning rate made."""
    rows = parts(record).query("lr == @lr and rest == 'trained'")
    return Cut(kept(delta, rule, share)[:CORNER, :CORNER], rule, share, rows)


def draw_cut(found: Cut) -> Figure:
    """Draw what is kept of one matrix, and the accuracy with as much of all of them."""
    made, left, right = figure(9, 4.4, columns=2, width_ratios=(1, 1.9))
    name = f"1/{round(1 / found.share):,}"
    _matrix(left, found.corner, f"{name} of your ΔW (a corner)")
    told = []
    for rule, (label, colour, style) in RULES.items():
        points = found.points(rule)
        plots.seeds(right, points, colour, style, aside=ASIDE[rule],
                    lw=2.5 if rule == found.rule else 1.2, label=label)
        told.append(f"{label}: " + ", ".join(f"1/{1 / x:,.0f} {np.mean(v):.1%}"
                                             for x, v in points.items()))
    here = np.mean(found.points(found.rule).get(found.share, found.ends("none")))
    plots.ring(right, found.share, here)
    for text, rule in (("all of it", "all"), ("nothing", "none")):
        level = np.mean(found.ends(rule))
        told.append(f"{text}: {level:.1%}")
        right.axhline(level, color=COLOURS["quiet"], lw=1, zorder=0)
        right.text(1.02, level, text, transform=right.get_yaxis_transform(), fontsize=10,
                   va="center")
    logarithmic(right, "x")
    right.set(xlabel="share of the numbers that is kept", ylabel="test accuracy",
              ylim=(0.45, 0.85), xticks=SHARES, xticklabels=[f"1/{1 / x:,.0f}" for x in SHARES])
    in_percent(right.yaxis)
    made.legend(handles=[Line2D([], [], color=colour, ls=style[:-1], marker=style[-1], label=label)
                         for label, colour, style in RULES.values()],
                frameon=False, fontsize=10, loc="outside lower center", handlelength=3,
                ncols=plots.abreast(3))
    whole = np.mean(found.ends("all"))
    claim(made, f"{RULES[found.rule][0].capitalize()}: {name} brings {here:.1%}, the whole update "
          f"{whole:.1%}", ". ".join(told) + ".")
    return made


def explore_cut(record: Mapping, delta: Tensor) -> Explorer:
    """What a rule keeps of an update, and the accuracy with it, by the update's size.

    `record` is `records.load("change")`, `delta` the reader's own update of one matrix.
    """
    sizes = parts(record).groupby("lr")["size"].mean()
    controls = {
        "rule": ipw.ToggleButtons(options=[(label, rule) for rule, (label, *_) in RULES.items()],
                                  description="keep", style={"button_width": "200px"}),
        "share": ipw.SelectionSlider(options=[(f"1/{1 / x:,.0f}", x) for x in SHARES],
                                     value=1 / 32, description="share"),
        "lr": ipw.ToggleButtons(options=[(f"{size:.1%} of W", lr) for lr, size in sizes.items()],
                                description="size of ΔW", style={"button_width": "100px"}),
    }
    return Explorer(
        controls, lambda **s: cut(record, delta, **s), draw_cut,
        lambda found: "The matrix is yours. The accuracy is that with all 36 matrices cut like "
                      "this, recorded (2,000 sentences, labels); a mark is a seed, a line joins "
                      "the means, the ring is your choice. A direction has about 1/256 of a "
                      "matrix's numbers: at 1/1,024 there is none.")


# ── accuracy against the dimension of a random subspace ──────────────────────────────────────


def ends(record: records.Record) -> tuple[float, float]:
    """Return the ends of the ruler for runs on 2,000 sentences: the head on the pooler, and full.

    `records.ends` has those of 4,000; `record` is `records.load("change")`.
    """
    full = record.runs.query("group == 'short' and method == 'full'").accuracy
    head, = records.select(record, group="converged", pool="cls", penalty=0.0)
    return head["accuracy"], full.mean()


def half_of_the_gain(record: records.Record) -> tuple[float, int]:
    """Return the accuracy at half of the gain, and the smallest d that reaches it on average."""
    half = sum(ends(record)) / 2
    means = record.runs.query("group == 'subspace'").groupby("d").accuracy.mean()
    return half, int(means[means >= half].index[0])


def draw_subspaces(record: records.Record) -> Figure:
    """Draw recorded accuracy against d, over a band that is what there is to gain."""
    runs = record.runs.query("group == 'subspace'")
    points = {d: list(seeds) for d, seeds in runs.groupby("d").accuracy}
    (head, full), (half, reached) = ends(record), half_of_the_gain(record)
    mean = records.head_on_the_mean(record)
    made, ax = figure(8.5, 3.9)
    ax.axhspan(head, full, color=COLOURS["band"], zorder=0)
    for text, level in (("full\nfine-tuning", full), (f"half\n{half:.1%}", half),
                        ("head on\nthe pooler", head)):
        ax.text(1.01, level, text, transform=ax.get_yaxis_transform(), va="center", fontsize=10)
    ax.text(0.02, full - 0.004, "what there is to gain", va="top", fontsize=10,
            transform=ax.get_yaxis_transform())
    ax.axhline(half, color=COLOURS["ink"], lw=1.2)
    ax.axhline(mean, color=COLOURS["head"], ls=":", lw=1.8)
    ax.text(0.02, mean + 0.004, "head on the mean", fontsize=10,
            transform=ax.get_yaxis_transform())
    plots.seeds(ax, points, COLOURS["subspace"], lw=2)
    plots.ring(ax, reached, np.mean(points[reached]))
    logarithmic(ax, "x")
    ax.set(xlabel="numbers trained outside the head, d", ylabel="test accuracy")
    plain_ticks(ax.xaxis, points)
    in_percent(ax.yaxis)
    claim(made, f"{reached:,} numbers reach half of the gain", ", ".join(
        f"d = {d} {np.mean(v):.1%}" for d, v in points.items())
        + f"; full fine-tuning {full:.1%}, the head on the pooler {head:.1%}, on the mean "
        f"{mean:.1%}.")
    return made


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "changes": lambda: draw_changes({"one": torch.eye(4), "all": torch.ones(4, 4)}),
    "subspaces": lambda: draw_subspaces(records.load("change")),
    "cut": lambda: explore_cut(records.load("change"), torch.randn(384, 384)),
}
