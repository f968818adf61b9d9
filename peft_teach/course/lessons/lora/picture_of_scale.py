"""The case of rank 64: questions to the record, one step of Adam, two explanations, three pairs."""

import math
from collections.abc import Mapping
from statistics import mean
from typing import Any

from matplotlib.figure import Figure

from ....plots import COLOURS, SERIES, figure, in_percent, logarithmic, plain_ticks
from ... import records, work
from ...card import Card, show
from . import exercises, recorded

USUAL = 3e-3                                  # the learning rate of most runs
MARKERS = dict(zip((1, 2, 4, 8, 16, 64), "os^DvP"))


def list_settings() -> None:
    """Show which settings were trained, and with how many seeds, but not how they ended."""
    rows = [(rank, f"{alpha:.4g}", f"{lr:g}", len(recorded.runs(rank, alpha, lr)))
            for rank, alpha, lr in recorded.settings()]
    show(Card("These settings may be asked for, on query and value of all six blocks",
              table=(("rank", "alpha", "learning rate", "seeds"), *rows)))


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
    show(Card(name, note={"learns": "it learns", "fails": "it fails", "between": "in between"}[
        recorded.ends(rows)], paragraphs=(f"{average}by seed {each}",)))


def draw_first_step(found: Mapping[str, Mapping[int, tuple[float, float]]]) -> Figure:
    """Draw the size of ΔW and the movement of the hidden states against the rank.

    `found` maps what a line stands for to {rank: (size, movement)}.
    """
    made, *axes = figure(9, 3.4, columns=2)
    titles = ("How large is ΔW?", "How far do the hidden states move?")
    labels = ("‖ΔW‖ after one step, mean over matrices", "movement, as a share of their length")
    for i, (ax, title, label) in enumerate(zip(axes, titles, labels)):
        for (name, points), (colour, dash, marker) in zip(found.items(), SERIES):
            ax.plot(list(points), [p[i] for p in points.values()], dash + marker, color=colour,
                    label=name)
        logarithmic(ax)
        plain_ticks(ax.xaxis, sorted({rank for points in found.values() for rank in points}))
        ax.set(xlabel="rank", ylabel=label)
        ax.set_title(title, fontsize=11)
    axes[1].legend(frameon=False, fontsize=9)
    made.set_label("‖ΔW‖ and the movement of the hidden states after one step. " + "; ".join(
        f"{name}: " + ", ".join(f"rank {r}: {size:.2g} and {moved:.2g}"
                                for r, (size, moved) in points.items())
        for name, points in found.items()) + ".")
    return made


def draw_explanations() -> Figure:
    """Draw the accuracy of every recorded setting against what each explanation goes by."""
    made, left, right = figure(9.2, 3.9, columns=2)
    points = [(recorded.words(*setting), MARKERS.get(setting[0], "o"), f"rank {setting[0]}",
               recorded.first_size(*setting), recorded.felt(*setting), recorded.runs(*setting))
              for setting in recorded.settings()]
    points += [(name, marker, name, size, felt, rows) for (name, (size, felt, rows)), marker in zip(
        recorded.variants().items(), "X*")]
    head, full = records.ends()
    for ax, i, label in ((left, 3, "alpha · lr / √rank: the size of ΔW"),
                         (right, 4, "alpha · lr: what the output feels")):
        for point in points:
            _, marker, legend, x, values = *point[:3], point[i], _accuracies(point[-1])
            ax.plot([x, x], [min(values), max(values)], color=COLOURS["lora"], lw=1.2, alpha=0.6)
            ax.plot(x, mean(values), marker, color=COLOURS["lora"], ms=7,
                    mfc=COLOURS["lora"] if len(values) > 1 else "none", alpha=0.85, ls="none",
                    label=legend if len(values) > 1 else None)
        for name, level in (("full fine-tuning", full), ("head only", head)):
            ax.axhline(level, color=COLOURS[name.split()[0]], ls="--", lw=1.5)
            ax.text(0.01, level, name, ha="left", va="bottom", fontsize=9,
                    transform=ax.get_yaxis_transform())
        logarithmic(ax, "x")
        ax.set(xlabel=label, ylabel="test accuracy")
        in_percent(ax.yaxis)
    handles = dict(zip(*reversed(left.get_legend_handles_labels())))    # one of each rank
    right.legend(handles.values(), handles.keys(), frameon=False, fontsize=9, loc=(0.02, 0.36),
                 ncols=2)
    made.set_label("Accuracy by setting, against the size of the first update and against alpha "
                   "times the rate. " + "; ".join(
                       f"{name}: {size:.2g} and {felt:.2g}, {mean(_accuracies(rows)):.1%}"
                       for name, _, _, size, felt, rows in points) + ".")
    return made


def _accuracies(rows: list[dict]) -> list[float]:
    return [row["accuracy"] for row in rows]


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
