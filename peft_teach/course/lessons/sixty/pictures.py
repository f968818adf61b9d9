"""Pictures of lesson 13: the field's table, two ladders, the family, what two forms cannot do."""

import math

import numpy as np
import pandas
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.figure import Figure

from ....ink import narrow
from ....plots import COLOURS, SERIES, entitle, figure, in_percent
from ... import records
from .recorded import (
    JANUARY,
    JULY,
    LORA,
    changes,
    compared,
    field,
    moved,
    pairs,
    repeated,
    two_ladders,
)

__all__ = ["compared", "draw_cannot", "draw_family", "draw_monday", "draw_two_ladders", "field",
           "moved", "pairs", "two_ladders"]

# ── the field's table ──────────────────────────────────────────────────────────────────────────


def draw_monday() -> Figure:
    """Draw the runs that peft repeated: January across, July upwards."""
    made, ax = figure(6.4, 4.2)
    runs = repeated()
    fall = changes().mean()
    ends = np.array([0.3, 0.56])
    ax.plot(ends, ends, "-", color=COLOURS["quiet"], lw=1)
    ax.plot(ends, ends + fall, "--", color=COLOURS["rest"], lw=1)
    ax.plot(runs[JANUARY], runs[JULY], "o", color=COLOURS["ink"], ms=6)
    ax.plot(*runs.loc[LORA], "o", color=COLOURS["lora"], ms=8)
    ax.text(0.503, 0.438, "LoRA of rank 32", color=COLOURS["lora"], fontsize=11)
    ax.text(0.553, 0.556, "as in January", fontsize=11, color=COLOURS["rest"], ha="right")
    ax.text(0.318, 0.318 + fall - 0.004, f"{-100 * fall:.1f} points lower", fontsize=11,
            color=COLOURS["rest"], va="top")
    ax.set(xlim=(0.3, 0.56), ylim=(0.28, 0.57), aspect="equal")
    in_percent(ax.xaxis)
    in_percent(ax.yaxis)
    entitle(ax, "problems solved, January", "problems solved, July")
    made.set_label(f"{len(runs)} runs, January's accuracy across and July's upwards, from 30 % on. "
                   f"They lie around a line {-100 * fall:.1f} points below the diagonal.")
    return made


# ── two ladders ──────────────────────────────────────────────────────────────────────────────


def draw_two_ladders(rows: pandas.DataFrame) -> Figure:
    """Draw each method's place here, at the left, and there: lines that cross disagree."""
    made, ax = figure(6.4, 4)
    places = rows.rank(ascending=False)
    for name, (here, there) in rows.iterrows():
        left, right = places.loc[name]
        moves = abs(left - right) > 3
        line, ink = (SERIES[0][0],) * 2 if moves else (COLOURS["quiet"], COLOURS["ink"])
        ax.plot([0, 1], [left, right], "-o", color=line, lw=2 if moves else 1.2, ms=5)
        ax.text(-0.04, left, f"{name}  {here:.2f}", ha="right", va="center", fontsize=11, color=ink)
        name = name.rstrip(" 0123456789")
        ax.text(1.04, right, f"{there:.1%}  {name}", va="center", fontsize=11, color=ink)
    ax.set(xlim=(-1.25, 2.45) if narrow() else (-0.75, 1.75), ylim=(len(rows) + 0.5, 0.2),
           xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.text(-0.04, 0.2, "here, R²", ha="right", fontsize=11, weight="bold")
    ax.text(1.04, 0.2, "there, solved", fontsize=11, weight="bold")
    made.set_label("; ".join(f"{name}: {here:.2f} here, {there:.1%} there"
                             for name, (here, there) in rows.iterrows()) + ".")
    return made


# ── the family ───────────────────────────────────────────────────────────────────────────────

CELLS = 12                                      # rows and columns of a small picture
FROZEN, RANDOM, COPIED, TRAINED = 1, 2, 3, 4    # what a cell holds; 0 is nothing
INKS = ListedColormap([*(COLOURS[name] for name in ("paper", "frozen", "rest")),
                       to_rgba(COLOURS["trained"], 0.4), COLOURS["trained"]])
ROW, COLUMN = np.indices((CELLS, CELLS))
SCATTERED = np.random.default_rng(0).random((CELLS, CELLS)) < 0.14
PAIRED = ROW // 2 == COLUMN // 2
ABOVE, BESIDE, W = np.s_[:2, 3:], np.s_[3:, :2], np.s_[3:, 3:]    # places of A, B and W


def picture(*parts: tuple) -> np.ndarray:
    """Return a small picture: each part is a place of it, and what it holds there."""
    made = np.zeros((CELLS, CELLS), int)
    for place, held in parts:
        made[place] = held
    return made


# A form, its names that this course builds, others, and a small picture of what is trained.
FAMILY = (
    ("vectors in front", "prompt, prefix", "",
     picture((COLUMN % 2 == 0, FROZEN), (np.s_[:, :4:2], TRAINED))),
    ("a small network", "bottleneck", "",
     picture((abs(COLUMN - 5.5) <= abs(ROW - 5.5) + 0.5, TRAINED))),
    ("a bias", "BitFit", "", picture((np.s_[:, :9], FROZEN), (np.s_[:, 10], TRAINED))),
    ("one factor per feature", "IA³", "", picture((ROW == COLUMN, TRAINED))),
    ("features turned", "RoAd", "OFT", picture(
        (PAIRED, TRAINED), (PAIRED & (ROW % 2 == 1), COPIED))),
    ("a product BA", "LoRA, DoRA", "PiSSA, HiRA",
     picture((W, FROZEN), (ABOVE, TRAINED), (BESIDE, TRAINED))),
    ("scattered entries", "", "SHiRA (the mask)",
     picture((np.s_[:], FROZEN), (SCATTERED, TRAINED))),
    ("one shard, repeated", "", "MiSS", picture((np.s_[:], COPIED), (np.s_[:, :3], TRAINED))),
    ("random matrices", "", "VeRA",
     picture((W, FROZEN), (ABOVE, RANDOM), (BESIDE, RANDOM), (np.s_[3:, 2], TRAINED),
             (np.s_[:2, 2], TRAINED))),
)


def draw_family() -> Figure:
    """Draw each form as a small picture, and beside it the names."""
    made, *panels = figure(8, 3.3, 3, 3)
    for ax, (form, ours, others, cells) in zip(panels, FAMILY, strict=True):
        ax.imshow(cells, cmap=INKS, vmin=0, vmax=TRAINED, extent=(0, CELLS, 0, CELLS))
        ax.set(xlim=(0, 32), ylim=(0, CELLS), xticks=[], yticks=[], aspect="equal")
        ax.spines[:].set_visible(False)
        ax.text(14, 10, form, va="center", fontsize=11)
        ax.text(14, 6, ours or others, va="center", fontsize=11,
                weight="bold" if ours else "normal", color=COLOURS["yours" if ours else "ink"])
        if ours:
            ax.text(14, 2, others, va="center", fontsize=11)
    told = (f"{form}: {', '.join(filter(None, names))}" for form, *names, _ in FAMILY)
    made.set_label(f"{len(FAMILY)} forms. {'; '.join(told)}.")
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
    made.set_label("OFT: the outputs of a layer for all inputs of length one form an ellipse; "
                   f"with the inputs turned by {ANGLE}, the same ellipse. A larger one is "
                   "never reached. MiSS: an input of four pieces, which add up to 0; a layer of "
                   "shared shards does not change its output.")
    return made


EXAMPLES = {
    "monday": draw_monday,
    "two_ladders": lambda: draw_two_ladders(two_ladders(
        records.load("ladder"), records.load("sixty"))),
    "family": draw_family,
    "cannot": draw_cannot,
}
