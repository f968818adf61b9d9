"""Pictures of lesson 13: the field's table, two ladders, the family, what two forms cannot do."""

import math

import numpy as np
import pandas
from matplotlib.figure import Figure

from ....ink import narrow
from ....plots import COLOURS, SERIES, entitle, figure, in_percent
from ... import records
from ...protocol import NAMES
from .exercises import FAMILY
from .recorded import MLP, again, compared, field, pairs, two_ladders

__all__ = ["MLP", "again", "compared", "draw_cannot", "draw_family", "draw_monday",
           "draw_two_ladders", "field", "pairs", "two_ladders"]

FIRST = 25    # runs of the field that are drawn

# ── the field's Monday ───────────────────────────────────────────────────────────────────────


def draw_monday(table: pandas.DataFrame) -> Figure:
    """Draw the field's first runs, and behind them what the same runs had in earlier tables."""
    made, ax = figure(8, 3.2)
    before = again().loc[table.index[:FIRST]]
    for place, (run, earlier) in enumerate(before.iterrows(), start=1):
        now, earlier = table.accuracy[run], earlier.dropna().iloc[:-1]
        colours = ("lora", "lora") if run == MLP else ("rest", "ink")
        ax.plot([place] * len(earlier), earlier, "o", color=COLOURS[colours[0]], ms=4)
        ax.plot(place, now, "o", color=COLOURS[colours[1]], ms=6)
    mlp = table.index.get_loc(MLP) + 1
    ax.text(mlp + 0.4, again().loc[MLP].max(), "LoRA on the MLP", color=COLOURS["lora"],
            fontsize=11, va="center")
    ax.text(1.5, table.accuracy.iloc[0], "Lily", fontsize=11, va="center")
    ax.set(xlim=(0, FIRST + 1), ylim=(0.43, 0.56), yticks=(0.44, 0.48, 0.52, 0.56))
    in_percent(ax.yaxis)
    entitle(ax, "place", "problems solved", f"the first {FIRST} of {len(table)} runs")
    scores = ", ".join(f"{score:.1%}" for score in again().loc[MLP].dropna())
    made.set_label(f"{len(table)} runs by place; the first, Lily, solves "
                   f"{table.accuracy.iloc[0]:.1%}. LoRA on the MLP, in three tables: {scores}.")
    return made


# ── two ladders ──────────────────────────────────────────────────────────────────────────────


def draw_two_ladders(rows: pandas.DataFrame) -> Figure:
    """Draw what both ladders have: R² on MiniLM across, problems that Llama solves upwards."""
    made, ax = figure(6.4, 4)
    told = []
    for name, runs in rows.groupby("method", sort=False):
        colour = {NAMES["full"]: COLOURS["full"], NAMES["lora 8"]: COLOURS["lora"],
                  NAMES["mask"]: COLOURS["random"]}.get(name, COLOURS["rest"])
        here, best = round(runs.here.iloc[0], 2), runs.there.max()
        ax.plot([here] * len(runs), runs.there, "o", color=colour, ms=7)
        side = -1 if 0.4 < here < 0.515 else 1
        name = name.removesuffix(" 8")
        ax.text(here + 0.012 * side, best, name, fontsize=11,
                ha="left" if side > 0 else "right", va="center")
        told.append(f"{name} {here:.2f} and {', '.join(f'{each:.1%}' for each in runs.there)}")
    ax.set(xlim=(0, 0.75), ylim=(0, 0.56), yticks=(0, 0.1, 0.2, 0.3, 0.4, 0.5))
    in_percent(ax.yaxis)
    entitle(ax, "here: 23 million, R²", "there: 3 billion, problems solved")
    made.set_label(f"R² here and problems solved there: {'; '.join(told)}.")
    return made


# ── the family ───────────────────────────────────────────────────────────────────────────────

def draw_family() -> Figure:
    """Draw what a method changes and in which form, a line each; beside it the names."""
    made, ax = figure(6.7, 5 if narrow() else 3.6)
    below = 0.2 * narrow()
    for row, (what, names) in enumerate(FAMILY.items()):
        ax.text(-0.02, row - below, what, ha="left" if narrow() else "right", va="center",
                fontsize=11.5)
        across = 0.0
        for name in names:
            own = name.endswith("*")
            ax.text(across, row + below, name.removesuffix("*"), va="center", fontsize=11,
                    weight="bold" if own else "normal",
                    color=COLOURS["yours" if own else "ink"])
            across += 0.04 + 0.017 * len(name)
    ax.set(xlim=(-0.03, 0.65) if narrow() else (-0.4, 0.62), ylim=(len(FAMILY) - 0.5, -0.5),
           xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    made.set_label(f"{sum(map(len, FAMILY.values()))} names. " + "; ".join(
        f"{what}: {', '.join(names)}" for what, names in FAMILY.items())
        + ". With a star: built in this course.")
    return made


# ── what a form cannot do ────────────────────────────────────────────────────────────────────

STRETCH = ((1.3, 0.5), (0.2, 0.7))    # a layer of two inputs and two outputs
ANGLE = 0.9                           # by which its inputs are turned
PIECES = ((3, -1, 2), (-3, 1, -2), (1, 2, -2), (-1, -2, 2))    # an input of twelve features


def draw_cannot() -> Figure:
    """Draw the ellipse that no turn of the inputs leaves, and an input that no shard sees."""
    made, left, right = figure(9.2, 3.4, 2)
    W, t = np.array(STRETCH), np.linspace(0, 2 * math.pi, 100)
    circle = np.stack([np.cos(t), np.sin(t)])                         # (2, points)
    R = np.array([[math.cos(ANGLE), -math.sin(ANGLE)], [math.sin(ANGLE), math.cos(ANGLE)]])
    x = np.array([1.0, 0.0])
    left.plot(*(W @ circle), "-", color=COLOURS["frozen"], lw=5)
    left.plot(*(W @ R @ circle), ":", color=SERIES[0][0], lw=2)
    for point, colour, name in ((W @ x, COLOURS["rest"], "W x"),
                                (W @ R @ x, SERIES[0][0], "W R x")):
        left.plot(*point, "o", color=colour, ms=8)
        left.text(point[0] + 0.12, point[1], name, color=colour, fontsize=12, va="center")
    left.plot(*(1.5 * W @ circle), "--", color=SERIES[1][0], lw=1.5)
    left.text(-0.6, 1.05, "OFT never gets here", color=SERIES[1][0], fontsize=11, ha="right")
    left.set(xlim=(-2.4, 2.8), ylim=(-1.8, 1.8), xticks=[], yticks=[])
    left.set_aspect("equal")
    left.spines[:].set_visible(False)
    left.set_title("OFT turns the inputs: the same ellipse", fontsize=12)
    names = [*(f"piece {n}" for n in range(1, 5)), "sum: 0"]
    for at, piece in enumerate((*PIECES, np.sum(PIECES, axis=0))):
        colour = COLOURS["ink"] if at < 4 else SERIES[1][0]
        right.bar(4 * at + np.arange(3), piece, 0.8, color=SERIES[0][0])
        right.plot([4 * at - 0.5, 4 * at + 2.5], [0, 0], color=colour, lw=1 + at // 4)
        right.text(4 * at + 1, 3.6, names[at], ha="center", fontsize=11, color=colour)
    for at, sign in enumerate("+++="):
        right.text(4 * at + 3, 0, sign, ha="center", va="center", fontsize=14)
    right.text(9, -4.6, "M · 0 = 0: the output does not move", ha="center", fontsize=12,
               color=SERIES[1][0])
    right.set(xlim=(-1, 20), ylim=(-5.2, 4.6), xticks=[], yticks=[])
    right.spines[:].set_visible(False)
    right.set_title("MiSS sees the sum of the pieces", fontsize=12)
    made.set_label("Left: the outputs of a layer for all inputs of length one form an ellipse; "
                   f"with the inputs turned by {ANGLE}, the same ellipse. A larger one is "
                   "never reached. Right: an input of four pieces, which add up to 0; a layer of "
                   "shared shards does not change its output.")
    return made


EXAMPLES = {
    "monday": lambda: draw_monday(field()),
    "two_ladders": lambda: draw_two_ladders(two_ladders(records.load("ladder"))),
    "family": draw_family,
    "cannot": draw_cannot,
}
