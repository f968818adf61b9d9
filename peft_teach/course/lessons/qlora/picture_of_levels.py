"""The ruler: sixteen marks under the weights, moved by hand, and one block with an outlier."""

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .... import nf4
from ....plots import COLOURS, SERIES, figure, in_percent, logarithmic, plain_ticks
from ....widgets import Explorer
from .formats import Matrices, relative, sample
from .rounding import BLOCK, maxima, nearest

MARK, MOVED = SERIES[0][0], COLOURS["yours"]
BINS = 120
SHOWN = 0.31                     # the weight that is rounded in `draw_ruler`
SHIFTS = tuple(step / 100 for step in range(-10, 11))
TIMES = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def histogram(ax, x: Tensor) -> None:
    """Draw how many weights lie where, between −1 and 1; the block's maximum itself left out."""
    counts, edges = torch.histogram(x[x.abs() < 1], BINS, range=(-1.0, 1.0), density=True)
    ax.stairs(counts.tolist(), edges.tolist(), fill=True, color=COLOURS["quiet"],
              alpha=0.7)
    ax.set(xlim=(-1.04, 1.04), yticks=[])
    ax.spines["left"].set_visible(False)


def draw_ruler(matrices: Matrices) -> Figure:
    """Draw the weights, sixteen marks below, and one weight on its way to the nearest mark."""
    x, levels = sample(matrices)[0].reshape(-1), nf4.LEVELS
    index = int((levels - SHOWN).abs().argmin())
    made, ax = figure(9.2, 4.2)
    histogram(ax, x)
    height = ax.get_ylim()[1]
    ax.set(ylim=(-0.42 * height, height), xlabel="weight, divided by the largest of its block")
    ax.axhline(0, color=COLOURS["ink"], lw=1)
    for i, level in enumerate(levels.tolist()):
        chosen = i == index
        ax.plot([level] * 2, [0, -0.13 * height], color=MARK, lw=4 if chosen else 2)
        ax.text(level, -0.16 * height, i, ha="center", va="top", fontsize=10, color=MARK,
                weight="bold" if chosen else "normal")
    end = levels[index].item()
    ax.plot([SHOWN] * 2, [0, 0.42 * height], color=COLOURS["ink"], lw=1, ls=":")
    ax.plot(SHOWN, 0.42 * height, "o", ms=9, color=COLOURS["ink"])
    ax.annotate("", (end, 0.01 * height), (SHOWN, 0.4 * height),
                arrowprops={"arrowstyle": "-|>", "lw": 1.8, "color": COLOURS["ink"]})
    ax.text(SHOWN + 0.13, 0.72 * height, f"A weight at {SHOWN}\ngoes to mark {index}: {index:04b}",
            va="center", fontsize=12)
    ax.text(end, -0.28 * height, f"{index:04b}", ha="center", va="top", fontsize=11, weight="bold",
            color=MARK)
    made.set_label(f"A bell of {len(x):,} weights from −1 to 1, with 16 marks below: "
                   + ", ".join(f"{level:.2f}" for level in levels.tolist())
                   + f". A weight at {SHOWN} goes to mark {index}, {end:.3f}: in bits {index:04b}.")
    return made


# ── marks moved by hand ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Marks:
    """A table of marks, one of them moved: shares of the weights at each, and the errors."""

    table: str
    marks: Tensor
    chosen: int
    shift: float
    shares: Tensor
    error: float
    unmoved: float


def explore_levels(matrices: Matrices, tables: Mapping[str, Tensor]) -> Explorer:
    """The marks of a table, one of which is moved: the error follows."""
    x, top = sample(matrices)
    W, seen = x * top, x.reshape(-1)
    unmoved = {name: relative([(nearest(W, top, levels), W)]) for name, levels in tables.items()}

    def compute(table: str, mark: int, shift: float) -> Marks:
        start = tables[table]
        chosen = min(mark, len(start) - 1)
        marks = start.clone()
        marks[chosen] += shift
        marks, order = marks.sort()
        index = torch.bucketize(seen, (marks[1:] + marks[:-1]) / 2)
        shares = torch.bincount(index, minlength=len(marks)) / len(seen)
        return Marks(table, marks, int((order == chosen).nonzero()), shift, shares,
                     relative([(nearest(W, top, marks), W)]), unmoved[table])

    def draw(found: Marks) -> Figure:
        made, above, below = figure(9.2, 4.8, rows=2, sharex=True)
        histogram(above, seen)
        above.set_title(f"{found.table}: the rounding error is {found.error:.2%} of the weights",
                        fontsize=12)
        marks, shares = found.marks.tolist(), found.shares.tolist()
        for i, (mark, share) in enumerate(zip(marks, shares)):
            colour = MOVED if i == found.chosen else MARK
            above.axvline(mark, color=colour, lw=2.5 if i == found.chosen else 1.2)
            below.bar(mark, share, 0.03, color=colour)
        below.set(xlabel="mark", ylabel="share of the weights", ylim=(0, max(0.14, *shares) * 1.05))
        in_percent(below.yaxis)
        made.set_label(f"{found.table}, mark {found.chosen} moved by {found.shift:+.2f}: error "
                       f"{found.error:.2%}, unmoved {found.unmoved:.2%}. Marks and shares: "
                       + ", ".join(f"{m:.2f}: {s:.1%}" for m, s in zip(marks, shares)) + ".")
        return made

    def caption(found: Marks) -> str:
        return (f"Mark {found.chosen} of {len(found.marks)}, counted from 0, stands out. "
                f"Unmoved, this table's error is {found.unmoved:.2%}. Below: which share of the "
                f"weights goes to each mark; the ends hold each block's largest weight. "
                f"{len(seen):,} weights.")

    controls = {
        "table": ipw.Dropdown(options=list(tables), description="table"),
        "mark": ipw.IntSlider(value=11, min=0, max=15, description="mark"),
        "shift": ipw.SelectionSlider(options=[(f"{shift:+.2f}", shift) for shift in SHIFTS],
                                     value=0.0, description="move it by"),
    }
    return Explorer(controls, compute, draw, caption)


# ── one block with an outlier ────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Outlier:
    """A block whose largest weight was multiplied: where its neighbours go, and their error."""

    times: float
    before: Tensor               # (64,), divided by the maximum
    after: Tensor
    largest: int                 # place of the outlier
    curve: Mapping[float, float]

    @property
    def used(self) -> int:
        """On how many marks the other 63 stand."""
        return len(self.others.unique())

    @property
    def others(self) -> Tensor:
        """The other 63 on their marks."""
        return torch.cat([self.after[:self.largest], self.after[self.largest + 1:]])


def outlier(W: Tensor, times: float) -> Outlier:
    """Multiply the largest weight of the first block, and round all 64."""
    block = W.reshape(-1)[:BLOCK].float()
    largest = int(block.abs().argmax())

    def rounded(factor: float) -> tuple[Tensor, Tensor, float]:
        changed = block.clone()
        changed[largest] *= factor
        top = maxima(changed)
        found = nearest(changed, top)
        error = (found - changed).norm() / _without(block, largest).norm()    # its own is 0
        return changed / top[0], found / top[0], error.item()

    before, after, _ = rounded(times)
    return Outlier(times, before, after, largest, {t: rounded(t)[2] for t in TIMES})


def _without(block: Tensor, place: int) -> Tensor:
    return torch.cat([block[:place], block[place + 1:]])


def draw_outlier(found: Outlier) -> Figure:
    """Draw the weights of the block, the marks to which they go, and the error of the 63."""
    made, left, right = figure(9.2, 3.8, columns=2, width_ratios=(2, 1))
    left.axhline(1, color=COLOURS["quiet"], lw=1)
    left.plot(found.before, torch.ones(BLOCK), "o", ms=5, color=COLOURS["ink"], alpha=0.5, mew=0)
    left.plot(found.before[found.largest], 1, "o", ms=10, color=COLOURS["lora"])
    left.axhline(0, color=COLOURS["ink"], lw=1)
    for level in nf4.LEVELS.tolist():
        count = int((found.others - level).abs().lt(1e-4).sum())
        left.plot([level] * 2, [0, -0.06], color=MARK, lw=2)
        left.bar(level, count * 0.012, 0.035, color=MARK)
        if count:
            left.text(level, count * 0.012 + 0.01, count, ha="center", va="bottom", fontsize=9)
    left.set(yticks=[0, 1], yticklabels=["on their\nmarks", "weights"], ylim=(-0.1, 1.15),
             xlim=(-1.06, 1.06), xlabel="weight, divided by the largest of its block")
    left.set_title(f"63 neighbours on {found.used} of 16 marks", fontsize=12)
    right.plot(list(found.curve), list(found.curve.values()), color=MARK, lw=2)
    right.plot(found.times, found.curve[found.times], "o", ms=11, color=COLOURS["lora"])
    logarithmic(right, "x")
    plain_ticks(right.xaxis, (1, 2, 4, 8, 16, 32))
    in_percent(right.yaxis)
    right.set(xlabel="outlier, in times its size", ylim=(0, 1.02 * max(found.curve.values())))
    right.set_title(f"their error: {found.curve[found.times]:.0%}", fontsize=12)
    made.set_label(f"Outlier at {found.times:g} times its size: the other 63 weights stand on "
                   f"{found.used} marks, with an error of {found.curve[found.times]:.1%}. "
                   + "; ".join(f"{t:g} times: {e:.1%}" for t, e in found.curve.items()) + ".")
    return made


def explore_outlier(W: Tensor) -> Explorer:
    """One block of W: its largest weight is dragged outward, and 63 neighbours pay."""
    times = ipw.SelectionSlider(options=[(f"{t:g}", t) for t in TIMES], description="times")
    return Explorer({"times": times}, lambda times: outlier(W, times), draw_outlier, lambda found: (
        "The large dot is the block's largest weight, and it is kept exactly: the whole ruler "
        "is stretched until its last mark reaches it. The others fall onto fewer and fewer marks."))
