"""Pictures of lesson 08: levels, moved by hand, an outlier; blocks and memory stand beside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import pandas
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from torch import Tensor

from ....ink import both, narrow
from ....nf4 import LEVELS
from ....plots import COLOURS, SERIES, claim, entitle, figure, in_percent, name_ends
from ....widgets import Explorer
from .formats import formats, matrices, sample, tables
from .four_bits import maxima, nearest, relative
from .live import errors_by_block, kept, scores
from .picture_of_memory import explore_memory, memory

__all__ = ["draw_errors", "draw_ruler", "errors_by_block",
           "explore_levels", "explore_memory", "explore_outlier", "formats", "kept",
           "matrices", "memory", "scores", "tables"]

MARK = SERIES[0][0]              # the colour of levels, and of four bits
SHOWN = 0.31                     # the weight that is rounded in `draw_ruler`
EVEN = "even, 16"                # the table that others are compared with
WAYS = {"nearest level": (COLOURS["ink"], "-", "o"), "stochastic": (COLOURS["yours"], "-", "s"),
        "shrunk, not rounded": (COLOURS["rest"], "--", "^")}
SHIFTS = [(f"{step / 100:+.2f}", step / 100) for step in range(-10, 11)]


def histogram(ax, x: Tensor) -> None:
    """Draw how many weights lie where between −1 and 1, the largest of each group left out."""
    counts, edges = torch.histogram(x[x.abs() < 1], 120, range=(-1.0, 1.0))
    ax.stairs(counts.tolist(), edges.tolist(), fill=True, color=COLOURS["quiet"], alpha=0.7)
    ax.set(xlim=(-1.04, 1.04), yticks=[])
    ax.spines["left"].set_visible(False)


def draw_ruler(matrices: Mapping[str, Tensor]) -> Figure:
    """Draw the weights, sixteen levels below, and one weight on its way to the nearest level."""
    x = sample(matrices)[0].reshape(-1)
    index = int((LEVELS - SHOWN).abs().argmin())
    end, bits, ink = LEVELS[index].item(), f"{index:04b}", COLOURS["ink"]
    made, ax = figure(8.4, 4)
    histogram(ax, x)
    top = ax.get_ylim()[1]
    ax.set(ylim=(-0.42 * top, top))
    entitle(ax, "weight, divided by the largest of its group")
    ax.axhline(0, color=ink, lw=1)
    for i, level in enumerate(LEVELS.tolist()):
        ax.plot([level] * 2, [0, -0.13 * top], color=MARK, lw=4 if i == index else 2)
        if not narrow() or (i - index) % 2 == 0:
            ax.text(level, -0.16 * top, i, ha="center", va="top", fontsize=10, color=MARK)
    ax.text(end, -0.28 * top, bits, ha="center", va="top", fontsize=12, weight="bold", color=MARK)
    ax.plot(SHOWN, 0.42 * top, "o", ms=9, color=ink)
    ax.annotate("", (end, 0.01 * top), (SHOWN, 0.4 * top),
                arrowprops={"arrowstyle": "-|>", "lw": 1.8, "color": ink})
    ax.text(SHOWN + 0.13, 0.72 * top, f"A weight at {SHOWN}\ngoes to level {index}: {bits}",
            va="center", fontsize=12)
    claim(made, "Sixteen levels, close together where most weights are", f"A bell of {len(x):,} "
          f"weights from −1 to 1. A weight at {SHOWN} goes to level {index}, {end:.3f}: {bits}.")
    return made


# ── levels moved by hand ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Marks:
    """A table of levels, with the chosen one moved."""

    table: str
    marks: Tensor
    chosen: int


def explore_levels(matrices: Mapping[str, Tensor], tables: Mapping[str, Tensor]) -> Explorer:
    """The levels of a table, one of which is moved: the error follows."""
    x, top = sample(matrices)

    def error(marks: Tensor) -> float:
        return relative([(nearest(x * top, top, marks.sort().values), x * top)])

    def compute(table: str, mark: int, shift: float) -> Marks:
        marks = tables[table].clone()
        chosen = min(mark, len(marks) - 1)    # some tables have fifteen
        marks[chosen] += shift
        return Marks(table, marks, chosen)

    def draw(found: Marks) -> Figure:
        made, ax = figure(8.4, 3.2)
        histogram(ax, x.reshape(-1))
        for i, mark in enumerate(found.marks):
            colour, width = (COLOURS["yours"], 2.5) if i == found.chosen else (MARK, 1.2)
            ax.axvline(mark, color=colour, lw=width)
        ax.text(found.marks[found.chosen], 1, f" {found.chosen}", va="top", fontsize=12,
                weight="bold", color=COLOURS["yours"], transform=ax.get_xaxis_transform())
        here, before = error(found.marks), error(tables[found.table])
        told = f"{found.table}: the error is {here:.2%} of ‖W‖"
        if here != before:
            told += f", and {before:.2%} with level {found.chosen} in its place"
        elif found.table != EVEN:
            told += f", with even levels {error(tables[EVEN]):.2%}"
        entitle(ax, "weight, divided by the largest of its group")
        claim(made, told, "Levels: " + ", ".join(f"{mark:.2f}" for mark in found.marks) + ".")
        return made

    controls = {
        "table": ipw.Dropdown(options=list(tables), description="table"),
        "mark": ipw.IntSlider(value=11, min=0, max=15, description="level"),
        "shift": ipw.SelectionSlider(options=SHIFTS, value=0.0, description="move it by"),
    }
    return Explorer(controls, compute, draw, lambda found: (
        f"Level {found.chosen} of {len(found.marks)} is green; the first is 0. {x.numel():,} "
        "weights."))


# ── one large neighbour ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Outlier:
    """A group whose largest weight is `times` as large: its other weights, rounded."""

    times: int
    others: Tensor


def explore_outlier(block: Tensor, nearest: Callable[[Tensor], Tensor]) -> Explorer:
    """The largest weight of a group grows: its neighbours, rounded by `nearest`, collapse."""
    unit = block.abs().max()
    others = block.abs() < unit
    exact = block[others]

    def compute(times: int) -> Outlier:
        return Outlier(times, nearest(torch.where(others, block, times * block))[others])

    def draw(found: Outlier) -> Figure:
        made, ax = figure(8.4, 3.8)
        for mark in LEVELS * found.times:
            ax.axhline(mark, color=MARK, lw=0.8)
        ax.vlines(range(len(exact)), exact / unit, found.others / unit, color=COLOURS["quiet"])
        ax.plot(exact / unit, "o", color=COLOURS["ink"], ms=4)
        ax.plot(found.others / unit, "o", color=COLOURS["yours"], ms=5)
        ax.set(ylim=(-1.05, 1.05), xticks=[])
        entitle(ax, "the others: rounded in green, exact behind", "share of the largest")
        levels = len(found.others.unique())
        claim(made, f"One weight {found.times} times as large: the {len(exact)} others share "
              f"{levels} level{'s' * (levels > 1)}, {relative([(found.others, exact)]):.0%} off",
              f"Rounded: from {found.others.min() / unit:.2f} to {found.others.max() / unit:.2f}.")
        return made

    control = ipw.SelectionSlider(options=(1, 2, 4, 8, 16, 32), value=8, description="times")
    return Explorer({"times": control}, compute, draw, lambda found: (
        "Lines: the levels. The largest weight itself is not drawn."))


# ── rounding errors on their way through the blocks ──────────────────────────────────────────


@both
def draw_errors(errors: pandas.DataFrame) -> Figure:
    """Draw how the error of the hidden states goes on from block to block, a line a way."""
    made, ax = figure(8.4, 3.8)
    for way, row in errors.iterrows():
        colour, dash, marker = WAYS[way]
        ax.plot(row.index, row, dash, marker=marker, color=colour, lw=2.5, ms=7)
    ax.set_ylim(bottom=0)
    nearest, stochastic, shrunk = (f"{errors.iloc[:, -1][way]:.0%}" for way in WAYS)
    entitle(ax, "after block", "error of the hidden states")
    name_ends(ax, {way: (row.iloc[-1], WAYS[way][0]) for way, row in errors.iterrows()})
    ax.xaxis.set_major_locator(MultipleLocator(1))
    in_percent(ax.yaxis)
    claim(made, f"Nearest levels end {nearest} off, a shrunk update {shrunk}, stochastic rounding "
          f"{stochastic}", "After each block: " + "; ".join(
              f"{way}, " + ", ".join(f"{error:.0%}" for error in row)
              for way, row in errors.iterrows()) + ".")
    return made


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

_WEIGHTS = torch.randn(384, 384, generator=torch.Generator().manual_seed(0))
EXAMPLES = {
    "ruler": lambda: draw_ruler({"W": _WEIGHTS}),
    "levels": lambda: explore_levels({"W": _WEIGHTS},
                                     {"NF4": LEVELS, EVEN: torch.linspace(-1, 1, 16)}),
    "outlier": lambda: explore_outlier(_WEIGHTS[0, :64], lambda W: nearest(W, maxima(W))),
    "blocks": lambda: draw_errors(pandas.DataFrame(
        [[0.06, 0.11, 0.18, 0.3, 0.39, 0.65], [0.08, 0.12, 0.15, 0.17, 0.19, 0.22],
         [0.05, 0.1, 0.16, 0.29, 0.4, 0.68]], [*WAYS], range(1, 7))),
    "memory": explore_memory,
}
