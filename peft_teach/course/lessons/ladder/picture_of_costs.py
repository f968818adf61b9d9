"""R² against what it costs and against what is forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import pandas
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ....plots import COLOURS, entitle, figure, in_percent, logarithmic, ring
from ....widgets import Explorer
from ...verdicts import MARGIN
from .picture_of_places import STYLES
from .recorded import KEPT, costs, curves, forgetting
from .rungs import COSTS

LOWEST = 0.38                    # R² is drawn from here; a lower one is a number
LOUD = ("full fine-tuning", "LoRA everywhere", "BitFit", "IA³")    # the rest is grey
WIDE = 20                        # a cost that varies by this factor gets a logarithmic axis


@dataclass(frozen=True)
class Cost:
    """R² with its interval beside one cost, by method."""

    axis: str
    table: pandas.DataFrame    # cost, R², low, high
    filled: list[str]          # methods, in black: all others are grey
    title: str
    told: str                  # how to read it, and what follows
    pick: str = ""             # gets a ring


def unbeaten(table: pandas.DataFrame) -> list[str]:
    """Return the methods of which none costs as little and is better."""
    return [name for name, row in table.iterrows()
            if row["R²"] >= table["R²"][table.cost <= row.cost].max()]


def explore_costs(record: Mapping) -> Explorer:
    """R² beside one cost; a switch chooses which: does the order stay?"""
    table = costs(record)
    axis = ipw.ToggleButtons(options=[axis for axis in COSTS.values() if axis in table],
                             description="cost", style={"button_width": "200px"})

    def compute(axis: str) -> Cost:
        rows = table[["R²", "low", "high"]].assign(cost=table[axis]).dropna()
        return Cost(axis, rows, unbeaten(rows), "Black: no method as cheap has a higher R²",
                    "Bars are 95 % intervals of each method alone, over seeds and sentences; "
                    "differences are known better. The head is counted.")

    return Explorer({"axis": axis}, compute, draw_cost, lambda found: found.told)


def draw_cost(found: Cost) -> Figure:
    """Draw a row a method, the best on top: R² with its interval, and beside it the cost."""
    made, left, right = figure(9.2, 4.9, columns=2, sharey=True)
    made.suptitle(found.title, fontsize=13)
    if found.pick:    # the band of the title
        best = found.table["R²"][found.filled].max()
        left.axvspan(best - MARGIN, best, color=COLOURS["band"], lw=0)
    for y, (name, row) in enumerate(found.table.iterrows()):
        colour = COLOURS["ink" if name in found.filled else "quiet"]
        left.plot([row.low, row.high], [y, y], color=colour, lw=2)
        for ax, x in ((left, row["R²"]), (right, row.cost)):
            ax.plot(x, y, "o", color=colour, ms=8)
            if name == found.pick:
                ring(ax, x, y)
        if row["R²"] < LOWEST:
            left.text(LOWEST, y, f" ◂ {row['R²']:.2f}", va="center", fontsize=11, color=colour)
    if found.table.cost.max() > WIDE * found.table.cost.min():
        logarithmic(right, "x")
        right.xaxis.set_major_locator(LogLocator(100))
    else:
        right.set_xlim(left=0)
    left.set(xlim=(LOWEST, None), ylim=(len(found.table) - 0.4, -0.6),
             yticks=range(len(found.table)), yticklabels=found.table.index)
    for ax, text in ((left, "R² on test sentences"), (right, found.axis)):
        entitle(ax, "", text)
        ax.grid(axis="y", color=COLOURS["band"])
    made.set_label(f"R² beside {found.axis}. " + "; ".join(
        f"{name}: {row.cost:,.4g}, {row['R²']:.3f} ({row.low:.3f} to {row.high:.3f})"
        for name, row in found.table.iterrows()) + ".")
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
    entitle(ax, f"At the same R², {at.index[-1]} and {at.index[-2]} keep the fewest neighbours",
            "sentences whose nearest neighbour is from the same editorial", "R² on test sentences")
    ax.set(ylim=(-0.03, 0.62), xlim=(0.08, 0.62))
    in_percent(ax.xaxis)
    made.set_label(f"Learned against {kept}. " + "; ".join(told) + ".")
    return made


# ── the chooser ──────────────────────────────────────────────────────────────────────────────────

DISK = 1e6                       # kB, for the files of all tasks
LIMITS = {"any": float("inf")} | {f"at most {share:.0%} of full's": share for share in (0.8, 0.6)}
# What is known of larger models, by method.
LARGER = dict(zip(STYLES, (
    "with Adam in float32, 7 billion parameters take 112 GB before any activation",
    "on code and mathematics, at 7 billion, it learns less and forgets less (Biderman et al. 2024)",
    "65 billion on one GPU of 48 GB, as good as in 16 bits (Dettmers et al. 2023)",
    "BERT-large on GLUE: within 0.4 % of full (Houlsby et al. 2019)",
    "GPT-3: on par with full, or better (Hu et al. 2021)",
    "with tuned rates, variants end within 1 to 2 % of LoRA (Lee et al. 2026)",
    "GPT-3: rank 1 is enough on two tasks (Hu et al. 2021, §7.2)",
    "matches LoRA with fewer parameters (Xu & Zhang 2024)",
    "BERT: as good as full where data are few or medium (Ben Zaken et al. 2021)",
    "T0, few examples: better than full (Liu et al. 2022)",
    "GPT-2, tables to text: as good as full (Li & Liang 2021)",
    "T5: the gap to full closes as models grow to 11 billion (Lester et al. 2021)",
    "it can be better than full on data of another kind (Kumar et al. 2022)")))


def chooser(record: Mapping) -> Explorer:
    """Limits in; out comes the method that trains least among those as good as the best."""
    table = costs(record)
    trained, file, memory_of, step_of = COSTS.values()
    table = table.assign(cost=table[trained], memory=table[memory_of] / table[memory_of].max())

    def compute(memory: str, step: str, tasks: int) -> Cost:
        allowed = table[(table.memory <= LIMITS[memory]) & (table[step_of] <= LIMITS[step])
                        & (table[file] * tasks <= DISK)]
        near = allowed[allowed["R²"] >= allowed["R²"].max() - MARGIN]
        name, title, larger = "", "No method is within these limits", ""
        if len(near):
            row = near.loc[name := near.cost.idxmin()]
            title = f"Take {name}: the fewest parameters within {MARGIN} R² of the best allowed"
            larger = (f" It takes {row.memory:.0%} of full's memory, and {row[step_of]:.0%} of its "
                      f"time. Larger models: {LARGER[name]}.")
        return Cost(trained, table, [*allowed.index], title, "Black: within the limits, which are "
                    f"memory {memory}, a step {step}, files of {tasks:,} tasks in 1 GB.{larger}",
                    name)

    return Explorer({
        "memory": ipw.Dropdown(options=[*LIMITS], description="memory"),
        "step": ipw.Dropdown(options=[*LIMITS], description="a step"),
        "tasks": ipw.Dropdown(options=[1, 100, 1000, 10_000], description="tasks"),
    }, compute, draw_cost, lambda found: found.told)
