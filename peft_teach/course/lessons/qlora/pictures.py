"""Pictures of lesson 08: the ruler, marks moved by hand; dice and memory stand beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from torch import Tensor

from ....nf4 import LEVELS
from ....plots import COLOURS, SERIES, figure, in_percent
from ....widgets import Explorer
from .formats import colleague, formats, matrices, sample, tables
from .picture_of_dice import explore_dice
from .picture_of_memory import explore_memory, memory
from .recorded import costs, merges, paired
from .rounding import middles, nearest, relative

__all__ = ["colleague", "costs", "draw_ruler", "explore_dice", "explore_levels", "explore_memory",
           "formats", "matrices", "memory", "merges", "paired", "tables"]

MARK = SERIES[0][0]              # the colour of marks, and of four bits
SHOWN = 0.31                     # the weight that is rounded in `draw_ruler`
SHIFTS = [(f"{step / 100:+.2f}", step / 100) for step in range(-10, 11)]


def histogram(ax, x: Tensor) -> None:
    """Draw how many weights lie where between −1 and 1, the largest of each block left out."""
    counts, edges = torch.histogram(x[x.abs() < 1], 120, range=(-1.0, 1.0))
    ax.stairs(counts.tolist(), edges.tolist(), fill=True, color=COLOURS["quiet"], alpha=0.7)
    ax.set(xlim=(-1.04, 1.04), yticks=[])
    ax.spines["left"].set_visible(False)


def draw_ruler(matrices: Mapping[str, Tensor]) -> Figure:
    """Draw the weights, sixteen marks below, and one weight on its way to the nearest mark."""
    x = sample(matrices)[0].reshape(-1)
    index = int((LEVELS - SHOWN).abs().argmin())
    end, bits, ink = LEVELS[index].item(), f"{index:04b}", COLOURS["ink"]
    made, ax = figure(8.4, 4)
    histogram(ax, x)
    top = ax.get_ylim()[1]
    ax.set(ylim=(-0.42 * top, top), xlabel="weight, divided by the largest of its block")
    ax.axhline(0, color=ink, lw=1)
    for i, level in enumerate(LEVELS.tolist()):
        ax.plot([level] * 2, [0, -0.13 * top], color=MARK, lw=4 if i == index else 2)
        ax.text(level, -0.16 * top, i, ha="center", va="top", fontsize=10, color=MARK)
    ax.text(end, -0.28 * top, bits, ha="center", va="top", fontsize=12, weight="bold", color=MARK)
    ax.plot(SHOWN, 0.42 * top, "o", ms=9, color=ink)
    ax.annotate("", (end, 0.01 * top), (SHOWN, 0.4 * top),
                arrowprops={"arrowstyle": "-|>", "lw": 1.8, "color": ink})
    ax.text(SHOWN + 0.13, 0.72 * top, f"A weight at {SHOWN}\ngoes to mark {index}: {bits}",
            va="center", fontsize=12)
    made.set_label(f"A bell of {len(x):,} weights from −1 to 1; below, 16 marks, closest in the "
                   f"middle. A weight at {SHOWN} goes to mark {index}, {end:.3f}: {bits}.")
    return made


# ── marks moved by hand ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Marks:
    """A table of marks, one of them moved: the share of the weights at each, and the error."""

    table: str
    marks: Sequence[float]
    chosen: int
    shares: Sequence[float]
    error: float


def explore_levels(matrices: Mapping[str, Tensor], tables: Mapping[str, Tensor]) -> Explorer:
    """The marks of a table, one of which is moved: the error follows."""
    x, top = sample(matrices)
    W, seen = x * top, x.reshape(-1)

    def compute(table: str, mark: int, shift: float) -> Marks:
        marks = tables[table].clone()
        chosen = min(mark, len(marks) - 1)    # some tables have fifteen
        marks[chosen] += shift
        marks, order = marks.sort()
        counts = torch.bincount(torch.bucketize(seen, middles(marks)), minlength=len(marks))
        return Marks(table, marks.tolist(), int((order == chosen).nonzero()),
                     (counts / len(seen)).tolist(), relative([(nearest(W, top, marks), W)]))

    def draw(found: Marks) -> Figure:
        made, above, below = figure(8.4, 4.6, rows=2, sharex=True)
        histogram(above, seen)
        above.set_title(f"{found.table}: the rounding error is {found.error:.2%} of the weights",
                        fontsize=12)
        for i, (mark, share) in enumerate(zip(found.marks, found.shares)):
            colour, width = (COLOURS["yours"], 2.5) if i == found.chosen else (MARK, 1.2)
            above.axvline(mark, color=colour, lw=width)
            below.bar(mark, share, 0.03, color=colour)
        below.set(xlabel="mark", ylabel="share of the weights",
                  ylim=(0, max(0.14, *found.shares) * 1.05))
        below.yaxis.set_major_locator(MultipleLocator(0.05))
        in_percent(below.yaxis)
        made.set_label(f"{found.table}: error {found.error:.2%}. Marks and shares: " + ", ".join(
            f"{mark:.2f}: {share:.1%}" for mark, share in zip(found.marks, found.shares)) + ".")
        return made

    controls = {
        "table": ipw.Dropdown(options=list(tables), description="table"),
        "mark": ipw.IntSlider(value=11, min=0, max=15, description="mark"),
        "shift": ipw.SelectionSlider(options=SHIFTS, value=0.0, description="move it by"),
    }
    return Explorer(controls, compute, draw, lambda found: (
        f"Mark {found.chosen} of {len(found.marks)} stands out; the first is 0. Below: the share "
        f"of the weights that goes to each mark. {len(seen):,} weights."))


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

_WEIGHTS = torch.randn(384, 384, generator=torch.Generator().manual_seed(0))
EXAMPLES = {
    "ruler": lambda: draw_ruler({"W": _WEIGHTS}),
    "levels": lambda: explore_levels({"W": _WEIGHTS},
                                     {"NF4": LEVELS, "int4": torch.arange(-7, 8) / 7}),
    "dice": explore_dice,
    "memory": explore_memory,
}
