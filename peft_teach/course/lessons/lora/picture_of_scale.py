"""The case of rank 64: questions to the record, one step of Adam, two explanations."""

import math
from collections.abc import Mapping
from statistics import mean
from typing import Any

import pandas
from matplotlib.figure import Figure

from ....ink import both
from ....plots import (
    COLOURS,
    HALO,
    SERIES,
    claim,
    curves,
    figure,
    in_percent,
    logarithmic,
    name_ends,
    plain_ticks,
)
from ... import records
from ...desk.card import Card, show
from . import recorded

CASE = (64, 128), (8, 16)    # rank and alpha: fails, learns
ENDS = {"learns": ("it learns", COLOURS["lora"], "o"),
        "fails": ("it fails", COLOURS["ink"], "X")}    # in words, colour, marker


def settings() -> pandas.DataFrame:
    """Return which settings may be asked for, but not how they ended."""
    return pandas.DataFrame([(rank, f"{alpha:.4g}") for rank, alpha in recorded.settings()],
                            columns=["rank", "alpha"]).set_index("rank")


def ends(runs: pandas.DataFrame) -> str:
    """Return whether runs learn or fail, in words."""
    return ENDS[recorded.ends([{"accuracy": each} for each in runs.accuracy])][0]


def culprit() -> str:
    """Return why rank 64 failed: whatever was as large in a run that learns is innocent."""
    alike = {"the rank": (64, 16), "the size of ΔW": (1, 16)}
    return next((suspect for suspect, setting in alike.items()
                 if recorded.ends(recorded.runs(*setting)) == "fails"), "alpha")


def ask(rank: int, alpha: float) -> None:
    """Show how the runs of a setting ended, on the test sentences; `...` asks nothing yet."""
    if not (rows := recorded.runs(rank, alpha)):
        show(Card("A question to the record", note="not asked yet" if rank is ... else
                  "not recorded", paragraphs=("Put a rank and an alpha of the list above.",)))
        return
    each = ", ".join(f"{row['accuracy']:.1%}" for row in rows)
    show(Card(f"rank {rank}, alpha {alpha:.4g}", note=ENDS[recorded.ends(rows)][0],
              paragraphs=(f"mean {records.accuracy(rows)[0]:.1%}; by seed {each}",)))


def draw_losses() -> Figure:
    """Draw the loss of the run that fails beside that of one that learns: means of three seeds."""
    means = {f"rank {rank}, α = {alpha}": [mean(step) for step in zip(*(
        row["losses"] for row in recorded.runs(rank, alpha)))] for rank, alpha in CASE}
    return curves(means, dict(zip(means, (COLOURS["ink"], COLOURS["lora"]))),
                  told="Rank 64 falls first, then climbs back; rank 8 stays down")


@both
def draw_first_step(found: Mapping[str, Mapping[int, Any]]) -> Figure:
    """Draw the size of ΔW and the movement of the hidden states against the rank.

    `found` maps what a line stands for to {rank: what `moving` found}. Equal factors are equally
    long in both panels.
    """
    made, *axes = figure(9, 3.6, columns=2)
    for ax, name, title, label in zip(
            axes, ("size", "moved"), ("how large is ΔW?", "how far do the hidden states move?"),
            ("‖ΔW‖ after one step", "share of their length")):
        for points, (colour, dash, marker) in zip(found.values(), SERIES):
            ax.plot(list(points), [getattr(p, name) for p in points.values()], dash + marker,
                    color=colour)
        logarithmic(ax)
        plain_ticks(ax.xaxis, sorted({rank for points in found.values() for rank in points}))
        ax.set(xlabel="rank", ylabel=label)
        ax.set_title(title, fontsize=12)
    ends = [(ax.dataLim.minposy, ax.dataLim.y1) for ax in axes]
    room = 1.6 * math.sqrt(max(high / low for low, high in ends))
    for ax, name, (low, high) in zip(axes, ("size", "moved"), ends):
        middle = math.sqrt(low * high)
        ax.set_ylim(middle / room, middle * room)
        lines = {line.replace("alpha ", "α = "): [getattr(p, name) for p in points.values()]
                 for line, points in found.items()}
        name_ends(ax, {f"{line}: × {values[-1] / values[0]:.2f}": (values[-1], colour)
                       for (line, values), (colour, *_) in zip(lines.items(), SERIES)})
    claim(made, "As the rank grows, ΔW shrinks far more than the hidden states' movement",
          "; ".join(f"{name}: " + ", ".join(f"rank {r}: {p.size:.2g} and {p.moved:.2g}"
                                            for r, p in points.items())
                    for name, points in found.items()) + ".")
    return made


def draw_explanations() -> Figure:
    """Draw every setting of the case by what each explanation goes by: what learned, what failed.

    The ranks of those that share a place and an end stand below them.
    """
    made, left, right = figure(9.2, 4.6, columns=2, sharey=True)
    points = [(rank, {"‖ΔW‖": recorded.first_size(rank, alpha), "α": alpha},
               recorded.runs(rank, alpha)) for rank, alpha in recorded.settings()]
    for ax, name, title in ((left, "‖ΔW‖", "by the size of the first ΔW"),
                            (right, "α", "by α")):
        found: dict[tuple[float, str], dict[int, list[float]]] = {}
        for rank, by, rows in points:
            at = float(f"{by[name]:.3g}"), recorded.ends(rows)
            found.setdefault(at, {})[rank] = [row["accuracy"] for row in rows]
        for (x, end), runs in found.items():
            _, colour, mark = ENDS[end]
            low, high = min(map(min, runs.values())), max(map(max, runs.values()))
            ax.plot([x] * 2, [low, high], color=colour, lw=1.5)
            ax.plot([x] * len(runs), [*map(mean, runs.values())], mark, color=colour, ms=8)
            ax.annotate(", ".join(map(str, runs)), (x, low), (0, -4), ha="center", va="top",
                        fontsize=11, path_effects=HALO, textcoords="offset points")
        logarithmic(ax, "x")
        plain_ticks(ax.xaxis, (2, 4, 8, 16, 45, 128))
        ax.set_xlim(1.5, 220)
        ax.set_title(title, fontsize=12)
        in_percent(ax.yaxis)
    left.set(xlabel="α / √rank, the size of the first ΔW", ylabel="test accuracy")
    for ax, x, told in ((left, 16, "at this size\nboth happen"),
                        (right, 76, "all to the left\nof this line learn")):
        ax.axvline(x, color=COLOURS["quiet"], lw=1.5, zorder=0)
        ax.text(x / 1.2, 0.52, told, color=COLOURS["rest"], fontsize=11, ha="right", va="center")
    left.set_ylim(bottom=0.465)    # room for the ranks
    right.set_xlabel("α")
    for (told, colour, _), y in zip(ENDS.values(), (0.745, 0.62)):
        left.text(6, y, told, color=colour, fontsize=12, ha="center")
    claim(made, "α tells the runs that learn from those that fail; the size of the first ΔW does "
          "not", "; ".join(f"rank {rank}: size {by['‖ΔW‖']:.3g}, α {by['α']:.3g}, "
                           f"{records.accuracy(rows)[0]:.1%}" for rank, by, rows in points) + ".")
    return made
