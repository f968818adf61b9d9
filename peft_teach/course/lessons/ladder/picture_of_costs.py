"""R² against what it costs and against what is forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import pandas
from matplotlib.figure import Figure

from ....plots import COLOURS, figure, in_percent, logarithmic
from ....widgets import Explorer
from .picture_of_places import STYLES
from .recorded import KEPT, costs, curves
from .rungs import COSTS

LOWEST = -0.1                    # below it, R² is not drawn
LOUD = ("full fine-tuning", "LoRA everywhere", "BitFit", "IA³")    # the rest is grey
WIDE = 20                        # a cost that varies by this factor gets a logarithmic axis


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
    """Draw R² against a cost; the names stand at the right, the best on top."""
    made, ax = figure(9.2, 4.9)
    for name, row in found.table.iterrows():
        colour, _, marker = STYLES[name]
        ax.plot([row.cost] * 2, [row.low, row.high], color=colour, lw=2)
        ax.plot(row.cost, row["R²"], marker, color=colour, ms=9, mew=1.8, label=name,
                mfc=colour if name in found.filled else COLOURS["paper"])
    if found.table.cost.max() > WIDE * found.table.cost.min():
        logarithmic(ax, "x")
    ax.legend(frameon=False, fontsize=11, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.set(xlabel=found.axis, ylabel="R² on test sentences")
    made.set_label(f"R² against {found.axis}. " + "; ".join(
        f"{name}: {row.cost:,.4g}, {row['R²']:.3f} ({row.low:.3f} to {row.high:.3f})"
        for name, row in found.table.iterrows()) + ".")
    return made


# ── learned against kept ─────────────────────────────────────────────────────────────────────


def draw_forgetting(record: Mapping) -> Figure:
    """Draw R² against the base's neighbours that are left, a curve a method, traced by f."""
    found = curves(record).groupby(["method", "f"], sort=False).mean(numeric_only=True)
    made, *axes = figure(9.2, 5, columns=2, sharey=True)
    told = []
    for ax, kept in zip(axes, KEPT):
        for method, curve in found.groupby(level="method", sort=False):
            curve, (colour, dash, marker) = curve.droplevel("method").sort_index(), STYLES[method]
            if method in LOUD:
                ax.plot(curve[kept], curve["R²"], dash, color=colour, lw=2)
                ax.plot(curve[kept][1], curve["R²"][1], marker, color=colour, ms=9, label=method)
            else:
                ax.plot(curve[kept], curve["R²"], color=COLOURS["quiet"], lw=1)
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
                ncols=5, fontsize=10, title="a mark: as trained, f = 1; grey: the other methods")
    made.set_label("Learned against kept. " + "; ".join(told) + ".")
    return made
