"""Pictures of lesson 08: the ruler, marks moved by hand, an outlier; dice, rates and memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from torch import Tensor

from ....nf4 import LEVELS
from ....plots import COLOURS, SERIES, figure, in_percent, logarithmic, plain_ticks
from ....widgets import Explorer
from ... import records
from .formats import block_sizes, colleague, formats, matrices, sample, symptoms, tables
from .picture_of_dice import explore_dice
from .picture_of_memory import explore_memory, memory
from .recorded import costs, draw_rates, merges, paired, repairs, starts
from .rounding import BLOCK, maxima, middles, nearest, relative

__all__ = ["block_sizes", "colleague", "costs", "draw_rates", "draw_ruler", "explore_dice",
           "explore_levels", "explore_memory", "explore_outlier", "formats", "matrices", "memory",
           "merges", "paired", "repairs", "starts", "symptoms", "tables"]

MARK = SERIES[0][0]              # the colour of marks, and of four bits
SHOWN = 0.31                     # the weight that is rounded in `draw_ruler`
SHIFTS = [(f"{step / 100:+.2f}", step / 100) for step in range(-10, 11)]
TIMES = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)


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
    """A table of marks, one of them moved: the share of the weights at each, and the errors."""

    table: str
    marks: Sequence[float]
    chosen: int
    shares: Sequence[float]
    error: float
    unmoved: float


def explore_levels(matrices: Mapping[str, Tensor], tables: Mapping[str, Tensor]) -> Explorer:
    """The marks of a table, one of which is moved: the error follows."""
    x, top = sample(matrices)
    W, seen = x * top, x.reshape(-1)

    def error(marks: Tensor) -> float:
        return relative([(nearest(W, top, marks), W)])

    def compute(table: str, mark: int, shift: float) -> Marks:
        marks = tables[table].clone()
        chosen = min(mark, len(marks) - 1)    # some tables have fifteen
        marks[chosen] += shift
        marks, order = marks.sort()
        counts = torch.bincount(torch.bucketize(seen, middles(marks)), minlength=len(marks))
        return Marks(table, marks.tolist(), int((order == chosen).nonzero()),
                     (counts / len(seen)).tolist(), error(marks), error(tables[table]))

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
        f"Mark {found.chosen} of {len(found.marks)} stands out; the first is 0. With no mark "
        f"moved, the error of this table is {found.unmoved:.2%}. Below: the share of the weights "
        f"that goes to each mark. {len(seen):,} weights."))


# ── one block with an outlier ────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Outlier:
    """A block whose largest weight was multiplied: its neighbours, and where they go."""

    times: float
    outlier: float               # 1 or −1: all weights are divided by its magnitude
    before: Tensor               # (63,)
    after: Tensor                # (63,)
    curve: Mapping[float, float]    # the neighbours' relative error, by times

    @property
    def used(self) -> int:
        """On how many marks the neighbours stand."""
        return len(self.after.unique())


def outlier(W: Tensor, times: float) -> Outlier:
    """Multiply the largest weight of the first block, and round all 64."""
    block = W.reshape(-1)[:BLOCK]
    others = torch.arange(BLOCK) != block.abs().argmax()

    def rounded(times: float) -> tuple[Tensor, Tensor]:
        changed = torch.where(others, block, times * block)
        return changed / maxima(changed)[0], nearest(changed, maxima(changed)) / maxima(changed)[0]

    before, after = rounded(times)
    return Outlier(times, before[~others].item(), before[others], after[others], {
        t: relative([(after[others], before[others])])
        for t in TIMES for before, after in [rounded(t)]})


def draw_outlier(found: Outlier) -> Figure:
    """Draw the weights of the block, the marks to which they go, and the error of the 63."""
    made, left, right = figure(8.4, 3.8, columns=2, width_ratios=(2, 1))
    left.plot(found.before, torch.ones(len(found.before)), "o", ms=5, color=COLOURS["ink"],
              alpha=0.5, mew=0)
    left.plot(found.outlier, 1, "o", ms=11, color=COLOURS["lora"])
    left.axhline(0, color=COLOURS["ink"], lw=1)
    for level in LEVELS.tolist():
        count = int((found.after - level).abs().lt(1e-4).sum())
        left.plot([level] * 2, [0, -0.06], color=MARK, lw=2)
        left.bar(level, 0.012 * count, 0.035, color=MARK)
        left.text(level, 0.012 * count + 0.01, count or "", ha="center", fontsize=9)
    left.set(yticks=[0, 1], yticklabels=["on their\nmarks", "weights"], ylim=(-0.1, 1.15),
             xlim=(-1.06, 1.06), xlabel="weight, divided by the largest of its block")
    left.set_title(f"63 neighbours on {found.used} of 16 marks", fontsize=12)
    right.plot(list(found.curve), list(found.curve.values()), color=MARK, lw=2)
    right.plot(found.times, found.curve[found.times], "o", ms=11, color=COLOURS["lora"])
    logarithmic(right, "x")
    plain_ticks(right.xaxis, (1, 2, 4, 8, 16, 32))
    in_percent(right.yaxis)
    right.set(xlabel="outlier, in times its size", ylim=(0, 1.05))
    right.set_title(f"their error: {found.curve[found.times]:.0%}", fontsize=12)
    made.set_label(f"Outlier at {found.times:g} times its size: the other 63 weights stand on "
                   f"{found.used} marks. Their error: " + "; ".join(
                       f"{t:g} times: {error:.1%}" for t, error in found.curve.items()) + ".")
    return made


def explore_outlier(W: Tensor) -> Explorer:
    """One block of W: its largest weight is dragged outward, and 63 neighbours pay."""
    times = ipw.SelectionSlider(options=[(f"{t:g}", t) for t in TIMES], description="times")
    return Explorer({"times": times}, lambda times: outlier(W, times), draw_outlier, lambda found: (
        "The large dot is the block's largest weight. It is kept exactly, for an end mark always "
        "lies on it; so the others, beside it, fall onto fewer and fewer marks."))


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

_WEIGHTS = torch.randn(384, 384, generator=torch.Generator().manual_seed(0))
EXAMPLES = {
    "ruler": lambda: draw_ruler({"W": _WEIGHTS}),
    "levels": lambda: explore_levels({"W": _WEIGHTS},
                                     {"NF4": LEVELS, "int4": torch.arange(-7, 8) / 7}),
    "outlier": lambda: explore_outlier(_WEIGHTS),
    "rates": lambda: draw_rates(records.load("qlora")),
    "dice": explore_dice,
    "memory": explore_memory,
}
