"""R² against what it costs and against what is forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import numpy
import pandas
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ....plots import COLOURS, figure, in_percent, logarithmic
from ....widgets import Explorer
from .picture_of_places import STYLES
from .recorded import KEPT, costs, curves
from .rungs import COSTS

LOWEST = -0.1                    # below it, R² is not drawn
WIDE = 20                        # a cost that varies by this factor gets a logarithmic axis
# Where a name may stand beside its point, in points: the first free place is taken.
PLACES = [(far * x, far * y) for far in (1, 2.2, 3.5) for x, y in (
    (10, 0), (0, 14), (0, -14), (-10, 0), (10, 13), (10, -13), (-10, 13), (-10, -13))]


@dataclass(frozen=True)
class Cost:
    """R² with its interval against one cost, by method."""

    axis: str
    table: pandas.DataFrame    # cost, R², low, high
    filled: list[str]          # methods
    told: str                  # which, and what follows


def unbeaten(table: pandas.DataFrame) -> list[str]:
    """Return the methods of which none costs as little and is better."""
    return [name for name, row in table.iterrows()
            if row["R²"] >= table["R²"][table.cost <= row.cost].max()]


def explore_costs(record: Mapping) -> Explorer:
    """R² against one cost; a switch chooses which: does the order change?"""
    table = costs(record)
    axis = ipw.ToggleButtons(options=[axis for axis in COSTS.values() if axis in table],
                             description="cost", style={"button_width": "200px"})

    def compute(axis: str) -> Cost:
        rows = table[["R²", "low", "high"]].assign(cost=table[axis]).dropna()
        return Cost(axis, rows, unbeaten(rows), "Filled: none as cheap has a higher mean. "
                    "Bars are 95 % intervals of each method alone, over seeds and sentences; "
                    "differences are known better. The head is counted.")

    return Explorer({"axis": axis}, compute, draw_cost, lambda found: found.told)


def draw_cost(found: Cost) -> Figure:
    """Draw R² against a cost, each point with its name beside it."""
    made, ax = figure(9.2, 4.9)
    for name, row in found.table.iterrows():
        colour, _, marker = STYLES[name]
        ax.plot([row.cost] * 2, [row.low, row.high], color=colour, lw=2)
        ax.plot(row.cost, row["R²"], marker, color=colour, ms=9, mew=1.8,
                mfc=colour if name in found.filled else COLOURS["paper"])
    if found.table.cost.max() > WIDE * found.table.cost.min():
        logarithmic(ax, "x")
    ax.margins(x=0.12)
    ax.set(xlabel=found.axis, ylabel="R² on test sentences")
    _write_names(ax, found.table)
    made.set_label(f"R² against {found.axis}. " + "; ".join(
        f"{name}: {row.cost:,.4g}, {row['R²']:.3f} ({row.low:.3f} to {row.high:.3f})"
        for name, row in found.table.iterrows()) + ".")
    return made


def _write_names(ax, table: pandas.DataFrame) -> None:
    """Write each name where it touches no mark and no other name; a line leads to a far one."""
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())
    ax.figure.set_layout_engine("none")    # so that places in pixels are known, and stay
    ax.set_position((0.08, 0.13, 0.91, 0.85))
    pixels, page = ax.figure.dpi / 72, ax.bbox.frozen()
    taken = [Bbox(ax.transData.transform([(row.cost, row.low), (row.cost, row.high)])).padded(8, 0)
             for _, row in table.iterrows()]
    for name, row in table.iterrows():
        point = ax.transData.transform((row.cost, row["R²"]))
        text = ax.annotate(name, (row.cost, row["R²"]), xytext=(0, 0), fontsize=11, va="center",
                           textcoords="offset points")
        size = text.get_window_extent()
        for offset in PLACES:
            x, y = point + numpy.multiply(offset, pixels)
            side = 0.5 if offset[0] == 0 else offset[0] < 0    # of the text, left of x
            box = Bbox.from_bounds(x - side * size.width, y - size.height / 2, size.width,
                                   size.height).padded(3)
            if not box.count_overlaps(taken) and page.union([page, box]).bounds == page.bounds:
                break
        taken.append(box)
        text.set(position=offset, ha={0: "left", 0.5: "center", 1: "right"}[side])
        ax.plot(*zip((row.cost, row["R²"]), ax.transData.inverted().transform((x, y))), lw=0.8,
                color=COLOURS["quiet"], zorder=0)


# ── learned against kept ─────────────────────────────────────────────────────────────────────


def draw_forgetting(record: Mapping) -> Figure:
    """Draw R² against the base's neighbours that are left, a curve a method, traced by f."""
    found = curves(record).groupby(["method", "f"], sort=False).mean(numeric_only=True)
    made, *axes = figure(9.2, 5, columns=2, sharey=True)
    told = []
    for ax, kept in zip(axes, KEPT):
        for method, curve in found.groupby(level="method", sort=False):
            curve, (colour, dash, marker) = curve.droplevel("method").sort_index(), STYLES[method]
            ax.plot(curve[kept], curve["R²"], dash, color=colour, lw=2)
            ax.plot(curve[kept], curve["R²"], marker, color=colour, ms=4)
            ax.plot(curve[kept][1], curve["R²"][1], marker, color=colour, ms=11, label=method)
            told.append(f"{method}, {kept}: " + ", ".join(
                f"f = {f:g} R² {row['R²']:.2f} {row[kept]:.0%}" for f, row in curve.iterrows()))
        ax.axvline(found[kept].xs(0, level="f").mean(), color=COLOURS["ink"], lw=1, ls=":",
                   label="the base")
        ax.set_title(kept, fontsize=12)
        ax.set_xlabel("nearest neighbour from the same text", fontsize=11)
        in_percent(ax.xaxis)
    axes[0].set_ylabel("R² on test sentences", fontsize=11)
    axes[0].set_ylim(bottom=max(LOWEST, axes[0].get_ylim()[0]))
    made.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside upper center",
                ncols=5, fontsize=10, markerscale=0.7, title="large: as trained, f = 1")
    made.set_label("Learned against kept. " + "; ".join(told) + ".")
    return made
