"""R² against what it costs and against what is forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import pandas
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MultipleLocator

from ....plots import COLOURS, claim, entitle, figure, in_percent, logarithmic
from ....widgets import Explorer
from ...verdicts import BETTER, interval
from .picture_of_places import STYLES
from .recorded import BUDGETS, KEPT, curves, forgetting, gaps, prices, verdicts
from .rungs import COSTS

LOWEST = -0.16                   # a difference is drawn from here; a lower one is a number
LOUD = ("full fine-tuning", "LoRA everywhere", "BitFit", "IA³")    # the rest is grey
WIDE = 20                        # a cost that varies by this factor gets a logarithmic axis


@dataclass(frozen=True)
class Cost:
    """R² beside full fine-tuning's, in pairs, and one cost, by method."""

    axis: str
    table: pandas.DataFrame    # cost, difference, low, high
    filled: list[str]          # methods, in black: all others are grey
    limit: float | None        # of exercise 5, on this cost


def unbeaten(cost: pandas.Series, verdict: pandas.Series) -> list[str]:
    """Return the methods of which none costs as little and is judged better, of all pairs."""
    return [name for name in cost.index if BETTER not in {
        verdict[other, name] for other in cost.index[cost <= cost[name]] if other != name}]


def explore_costs(record: Mapping) -> Explorer:
    """R² beside one cost; a switch chooses which: does the order stay?"""
    table, beside, limits = gaps(record), prices(record), dict(BUDGETS.values())
    verdict = verdicts(record, interval).verdict
    axis = ipw.ToggleButtons(options=[axis for axis in COSTS.values() if axis in beside],
                             description="cost", style={"button_width": "200px"})

    def compute(axis: str) -> Cost:
        rows = table.assign(cost=beside[axis]).dropna()
        return Cost(axis, rows, unbeaten(rows.cost, verdict), limits.get(axis))

    return Explorer(
        {"axis": axis}, compute, draw_cost, lambda found:
        "Bars are 95 % intervals of the difference from full fine-tuning, in pairs, over five "
        "seeds and all sentences. The head is counted."
        + " Dotted: a limit of exercise 5." * bool(found.limit))


def draw_cost(found: Cost) -> Figure:
    """Draw a row a method, the best on top: its R² less full's, and beside it the cost."""
    made, left, right = figure(9.2, 4.9, columns=2, sharey=True)
    left.axvline(0, color=COLOURS["rest"], lw=1, ls=":")
    for y, (name, row) in enumerate(found.table.iterrows()):
        colour = COLOURS["ink" if name in found.filled else "quiet"]
        right.plot(row.cost, y, "o", color=colour, ms=8)
        if row.difference < LOWEST:
            left.text(LOWEST, y, f" ◂ {row.difference:.2f}".replace("-", "−"), va="center",
                      fontsize=11, color=colour)
            continue
        left.plot([row.low, row.high], [y, y], color=colour, lw=2)
        left.plot(row.difference, y, "o", color=colour, ms=8)
    if found.table.cost.max() > WIDE * found.table.cost.min():
        logarithmic(right, "x")
        right.xaxis.set_major_locator(LogLocator(100))
    else:
        right.set_xlim(left=0)
    if found.limit:
        right.axvline(found.limit, color=COLOURS["ink"], lw=1, ls=":")
    left.xaxis.set_major_locator(MultipleLocator(0.05))
    left.set(xlim=(LOWEST, None), ylim=(len(found.table) - 0.4, -0.6),
             yticks=range(len(found.table)), yticklabels=found.table.index)
    for ax, text in ((left, "R² less that of full fine-tuning"), (right, found.axis)):
        entitle(ax, text)
        ax.grid(axis="y", color=COLOURS["band"])
        for name, label in zip(found.table.index, ax.get_yticklabels()):
            if name in found.filled:
                label.set_weight("bold")
            else:
                label.set_color(COLOURS["rest"])
    claim(made, f"Bold: {len(found.filled)} of {len(found.table)} that nothing as cheap beats",
          f"{found.axis}, and R² less that of full fine-tuning. "
          + "; ".join(f"{name}: {row.cost:,.4g}, {row.difference:.3f} ({row.low:.3f} to "
                      f"{row.high:.3f})" for name, row in found.table.iterrows()) + ".")
    return made


# ── learned against kept ─────────────────────────────────────────────────────────────────────


def draw_forgetting(record: Mapping) -> Figure:
    """Draw R² against the base's neighbours that are left, a curve a method, traced by f to 1."""
    found = curves(record).query("f <= 1").groupby(["method", "f"]).mean(numeric_only=True)
    at, kept, told = forgetting(record), KEPT[0], []
    made, ax = figure(9.2, 4.6)
    ax.axhline(at["R²"].iloc[-1], color=COLOURS["ink"], lw=1, ls=":")
    for method, curve in found.groupby(level="method"):
        curve, (colour, dash, marker) = curve.droplevel("method"), STYLES[method]
        end = curve[kept][1], curve["R²"][1]
        if method in LOUD:
            ax.plot(curve[kept], curve["R²"], dash, color=colour, lw=2.5)
            ax.plot(*end, marker, color=colour, ms=10)
            ax.text(end[0], end[1] + 0.02, method, fontsize=12)
        else:
            ax.plot(curve[kept], curve["R²"], color=COLOURS["quiet"], lw=1)
        told.append(f"{method}: " + ", ".join(
            f"f = {f:g} R² {row['R²']:.2f} {row[kept]:.0%}" for f, row in curve.iterrows()))
    ax.text(0.57, 0.01, "the base", ha="right", fontsize=12)
    ax.text(0.62, at["R²"].iloc[-1] + 0.01, "the same R²", ha="right", fontsize=12)
    entitle(ax, "sentences whose nearest neighbour is from the same editorial",
            "R² on test sentences")
    ax.set(ylim=(-0.03, 0.62), xlim=(0.08, 0.62))
    in_percent(ax.xaxis)
    claim(made, f"At the same R², {at.index[-1]} and {at.index[-2]} keep the fewest neighbours",
          f"Learned against {kept}. " + "; ".join(told) + ".")
    return made
