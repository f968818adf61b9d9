"""The case of rank 64: questions to the record, one step of Adam, two explanations, three pairs."""

import math
from collections.abc import Mapping
from statistics import mean
from typing import Any

import pandas
from matplotlib.figure import Figure

from ....plots import COLOURS, SERIES, figure, in_percent, logarithmic, plain_ticks
from ... import records, work
from ...card import Card, show
from . import exercises, recorded

USUAL = 3e-3                                  # the learning rate of most runs
MARKERS = dict(zip((1, 2, 4, 8, 16, 64), "os^DvP"))
ENDS = {"learns": ("it learns", COLOURS["full"]), "fails": ("it fails", COLOURS["lora"]),
        "between": ("in between", COLOURS["quiet"])}


def settings() -> pandas.DataFrame:
    """Return which settings were trained, and with how many seeds, but not how they ended."""
    return pandas.DataFrame(
        [(rank, f"{alpha:.4g}", f"{lr:g}", len(recorded.runs(rank, alpha, lr)))
         for rank, alpha, lr in recorded.settings()], columns=["rank", "alpha", "lr", "seeds"])


def ends(runs: pandas.DataFrame) -> str:
    """Return whether runs learn or fail, in words."""
    return ENDS[recorded.ends([{"accuracy": each} for each in runs.accuracy])][0]


def culprit() -> str:
    """Return why rank 64 failed: the one suspect that no recorded run clears."""
    def learns(*setting: float) -> bool:
        return recorded.ends(recorded.runs(*setting)) == "learns"

    if not learns(64, 16, USUAL):
        return "the rank"
    return "alpha" if learns(1, 16, USUAL) else "the size of ΔW"    # a first ΔW of the same size


def verdict(one: pandas.Series, other: pandas.Series) -> str:
    """Return "better", "worse" or "no difference seen", as in exercise 6."""
    error = math.sqrt(one.std()**2 / len(one) + other.std()**2 / len(other))
    return exercises.verdict(one.mean() - other.mean(), error)


def ask(rank: int, alpha: float, lr: float = USUAL) -> None:
    """Show how the runs of a setting ended, on the test sentences; `...` asks nothing yet."""
    if rank is ... or alpha is ...:
        show(Card("A question to the record", note="not asked yet", paragraphs=(
            "Put a rank and an alpha of the list in place of the dots.",)))
        return
    rows = recorded.runs(rank, alpha, lr)
    name = recorded.words(rank, alpha, lr)
    if not rows:
        kept = any(rank == r and math.isclose(alpha, a, rel_tol=0.01)
                   and math.isclose(lr, rate, rel_tol=0.01) for r, a, rate in recorded.HELD_BACK)
        show(Card(name, note="kept for exercise 6" if kept else
                  "not recorded; the list above has what was"))
        return
    each = ", ".join(f"{row['accuracy']:.1%}" for row in rows)
    average = f"mean {records.accuracy(rows)[0]:.1%}; " if len(rows) > 1 else ""
    show(Card(name, note=ENDS[recorded.ends(rows)][0], paragraphs=(f"{average}by seed {each}",)))


def draw_first_step(found: Mapping[str, Mapping[int, Any]]) -> Figure:
    """Draw the size of ΔW and the movement of the hidden states against the rank.

    `found` maps what a line stands for to {rank: what `moving` found}.
    """
    made, *axes = figure(9, 3.4, columns=2)
    for ax, name, title, label in zip(
            axes, ("size", "moved"), ("How large is ΔW?", "How far do the hidden states move?"),
            ("‖ΔW‖ after one step, mean over matrices", "movement, as a share of their length")):
        for (line, points), (colour, dash, marker) in zip(found.items(), SERIES):
            ax.plot(list(points), [getattr(p, name) for p in points.values()], dash + marker,
                    color=colour, label=line)
        logarithmic(ax)
        plain_ticks(ax.xaxis, sorted({rank for points in found.values() for rank in points}))
        ax.set(xlabel="rank", ylabel=label)
        ax.set_title(title, fontsize=11)
    axes[1].legend(frameon=False, fontsize=9)
    made.set_label("‖ΔW‖ and the movement of the hidden states after one step. " + "; ".join(
        f"{name}: " + ", ".join(f"rank {r}: {p.size:.2g} and {p.moved:.2g}"
                                for r, p in points.items())
        for name, points in found.items()) + ".")
    return made


def draw_explanations() -> Figure:
    """Draw every recorded setting by what each explanation goes by: what learned, what failed."""
    made, left, right = figure(9.2, 4.1, columns=2)
    points = [(recorded.words(*setting), MARKERS[setting[0]], recorded.first_size(*setting),
               recorded.felt(*setting), recorded.runs(*setting))
              for setting in recorded.settings()]
    for ax, i, label in ((left, 2, "alpha · lr / √rank: the size of ΔW"),
                         (right, 3, "alpha · lr: what the outputs feel")):
        for point in points:
            _, marker, x, values = *point[:2], point[i], [row["accuracy"] for row in point[-1]]
            colour = ENDS[recorded.ends(point[-1])][1]
            ax.plot([x, x], [min(values), max(values)], color=colour, lw=1.2, alpha=0.6)
            ax.plot(x, mean(values), marker, color=colour, ms=8,
                    mfc=colour if len(values) > 1 else "none", alpha=0.85)
        for name, level in zip(("head alone", "full fine-tuning"), records.ends()):
            ax.axhline(level, color=COLOURS[name.split()[0]], ls="--", lw=1.5)
            ax.text(0.01, level, name, va="bottom", fontsize=9,
                    transform=ax.get_yaxis_transform())
        logarithmic(ax, "x")
        ax.set(xlabel=label, ylabel="test accuracy")
        in_percent(ax.yaxis)
    for rank, marker in MARKERS.items():
        right.plot([], [], marker, color=COLOURS["ink"], mfc="none", label=f"rank {rank}")
    for told, colour in ENDS.values():
        right.plot([], [], "s", color=colour, label=told)
    right.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    made.set_label("Accuracy by setting, against the size of the first update and against alpha "
                   "times the rate. " + "; ".join(
                       f"{name}: {size:.2g} and {felt:.2g}, {records.accuracy(rows)[0]:.1%}"
                       for name, _, size, felt, rows in points) + ".")
    return made


def yours(verdicts: Any) -> Any:
    """Return the reader's own list to commit; `...`, which commits nothing, for any other thing."""
    if verdicts is None or isinstance(verdicts, exercises.Ours):
        return ...
    said = exercises.said(verdicts)["said"]
    if len(said) == len(exercises.VERDICTS) and all(word in exercises.WORDS for word in said):
        return said
    show(Card("Three pairs", note="not committed", paragraphs=(
        exercises.PAIRS.mistakes["not_verdicts"],)))
    return ...


def show_pairs() -> None:
    """Show what the reader said of the three pairs beside the record, once something was said.

    Where the seeds leave it open, the record's word is followed by what may be said as well.
    """
    said = work.committed(exercises.COMMITTED)
    if not said:
        show(Card("Three pairs", note="the record's answers come when yours are committed"))
        return
    rows = []
    for i, (pair, word) in enumerate(zip(recorded.pairs(), said), 1):
        means = [f"{mean:.1%} ± {spread:.1%}" for mean, spread in map(records.accuracy, pair)]
        gap = exercises.difference_of(pair)
        found = exercises.verdict(*gap)
        also = sorted(exercises.accepted(*gap) - {found})
        rows.append((i, word, ", or just ".join((found, *also)), *means))
    show(Card("Three pairs", table=(("pair", "you said", "the record", "left", "right"), *rows)))
