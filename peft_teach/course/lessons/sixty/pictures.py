"""Pictures of lesson 13: the field's table, two ladders, the family, what two forms cannot do."""

import math
from collections.abc import Mapping

import numpy as np
import pandas
import torch
from matplotlib.figure import Figure

from ....adapter import Adapter
from ....plots import COLOURS, SERIES, entitle, figure, in_percent
from ... import records
from ...protocol import NAMES
from .recorded import LORA, PAIRS, field, half, pairs, scores, two_ladders, verdicts

__all__ = ["LORA", "NAMES", "PAIRS", "draw_cannot", "draw_family", "draw_monday",
           "draw_two_ladders", "field", "half", "pairs", "scores", "spare", "two_ladders",
           "verdicts"]

# ── the field's Monday ───────────────────────────────────────────────────────────────────────


def draw_monday(table: pandas.DataFrame) -> Figure:
    """Draw each run of the field, the best first, and how far from LoRA luck alone reaches."""
    made, ax = figure(8, 3.2)
    lora, gap = table.accuracy[LORA], half(table.accuracy[LORA], of=2)
    above = table.accuracy > lora
    ax.axhspan(lora - gap, lora + gap, color=COLOURS["band"], zorder=0)
    ax.axhline(lora, color=COLOURS["lora"], lw=1)
    places = np.arange(1, len(table) + 1)
    for mask, colour in ((above, COLOURS["ink"]), (~above, COLOURS["rest"])):
        ax.plot(places[mask], table.accuracy[mask], "o", color=colour, ms=5)
    ax.text(40, lora + 0.01, "LoRA of rank 32", color=COLOURS["lora"], fontsize=11)
    ax.text(2, table.accuracy.iloc[0] + 0.012, "Lily", fontsize=11)
    ax.set(xlim=(0, 64), ylim=(0, 0.6))
    in_percent(ax.yaxis)
    entitle(ax, "place", "problems solved", "63 runs of peft's comparison")
    made.set_label(
        f"{len(table)} runs by place. LoRA of rank 32 solves {lora:.1%}; {above.sum()} runs are "
        f"above it, {(table.accuracy > lora + gap).sum()} by more than {gap:.1%}, which the choice "
        f"of problems alone could bring. The first solves {table.accuracy.iloc[0]:.1%}.")
    return made


# ── two ladders ──────────────────────────────────────────────────────────────────────────────


def draw_two_ladders(rows: pandas.DataFrame) -> Figure:
    """Draw the places of what both ladders have: MiniLM on the left, Llama on the right."""
    made, ax = figure(6.4, 3.4)
    for name, row in rows.iterrows():
        here, there = int(row["place here"]), int(row["place there"])
        colour = {NAMES["full"]: COLOURS["full"], NAMES["lora 8"]: COLOURS["lora"],
                  NAMES["mask"]: COLOURS["random"]}.get(name, COLOURS["rest"])
        ax.plot([0, 1], [here, there], "-o", color=colour, lw=2)
        ax.text(-0.04, here, f"{name}  {row['here']:.2f}", ha="right", va="center", fontsize=11)
        ax.text(1.04, there, f"{row['there']:.1%}  {name}", va="center", fontsize=11)
    ax.set(xlim=(-0.75, 1.8), ylim=(len(rows) + 0.5, 0.4), xticks=[0, 1],
           xticklabels=["here: 23 million, R²", "there: 3 billion, solved"], yticks=[])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", length=0, labelsize=11)
    made.set_label("Places here and there: " + "; ".join(
        f"{name} {int(row['place here'])} and {int(row['place there'])}"
        for name, row in rows.iterrows()) + ".")
    return made


# ── the family ───────────────────────────────────────────────────────────────────────────────

FORMS = ("low rank", "a vector", "turning", "scattered", "shared or random")
WHERE = ("in front of words,\nin keys and values", "on what a layer\nreads or gives",
         "in the weights")
# By where and form: names. A reader of this course has built those with a star.
FAMILY = {
    (0, 0): ("prompt*", "prefix*", "P-tuning", "LLaMA-Adapter"), (1, 0): ("bottleneck*",),
    (1, 1): ("IA³*",), (1, 2): ("RoAd*", "OFT", "BOFT", "HRA"),
    (2, 0): ("LoRA*", "DoRA*", "PiSSA", "AdaLoRA", "HiRA", "LoHa", "LoKr"), (2, 1): ("BitFit*",),
    (2, 3): ("SHiRA*", "FourierFT", "WaveFT"),
    (2, 4): ("VeRA", "RandLoRA", "MiSS", "Lily", "VB-LoRA", "TinyLoRA"),
}


def draw_family() -> Figure:
    """Draw where a method changes a model against the form of its change, names at their places."""
    made, ax = figure(9.2, 4.2)
    for (row, column), names in FAMILY.items():
        for line, name in enumerate(names):
            own = name.endswith("*")
            ax.text(column + 0.5, row + 0.12 + 0.125 * line, name.removesuffix("*"), ha="center",
                    va="center", fontsize=11, weight="bold" if own else "normal",
                    color=COLOURS["yours" if own else "ink"])
    for edge in range(len(WHERE) + 1):
        ax.plot([0, len(FORMS)], [edge, edge], "-", color=COLOURS["frozen"], lw=1)
    ax.set(xlim=(0, len(FORMS)), ylim=(len(WHERE), 0), yticks=[0.5, 1.5, 2.5], yticklabels=WHERE,
           xticks=[0.5 + k for k in range(len(FORMS))], xticklabels=FORMS)
    ax.xaxis.tick_top()
    ax.tick_params(length=0, labelsize=12)
    ax.spines[:].set_visible(False)
    made.set_label(f"{sum(map(len, FAMILY.values()))} names. " + "; ".join(
        f"{WHERE[row]}, {FORMS[column]}: {', '.join(names)}".replace("\n", " ")
        for (row, column), names in FAMILY.items()) + ". With a star: built in this course.")
    return made


# ── what a form cannot do ────────────────────────────────────────────────────────────────────

STRETCH = ((1.3, 0.5), (0.2, 0.7))    # a layer of two inputs and two outputs
ANGLE = 0.9                           # by which its inputs are turned
SHARDS, WIDTH = 4, 6                  # of an input of 24 features


def draw_cannot() -> Figure:
    """Draw the ellipse that no turn of the inputs leaves, and two inputs that shards confuse."""
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
        left.text(point[0] + 0.08, point[1], name, color=colour, fontsize=12, va="center")
    left.plot(*(1.5 * W @ circle), "--", color=SERIES[1][0], lw=1.5)
    left.text(0, 1.4, "never reached", color=SERIES[1][0], fontsize=11, ha="center")
    left.set(xlim=(-2.4, 2.8), ylim=(-1.8, 1.8), xticks=[], yticks=[])
    left.set_aspect("equal")
    left.set_title("Turn the inputs: outputs move along one ellipse", fontsize=12)
    one, other = _confused()
    for row, (values, name) in enumerate(((one, "x"), (other, "another x"))):
        right.bar(np.arange(len(values)), values, 0.8, bottom=3 * (1 - row),
                  color=SERIES[row][0])
        right.text(-0.8, 3 * (1 - row), name, ha="right", va="center", fontsize=11,
                   color=SERIES[row][0])
    for edge in range(1, SHARDS):
        right.axvline(edge * WIDTH - 0.5, color=COLOURS["frozen"], lw=1)
    right.set(xlim=(-6, SHARDS * WIDTH), ylim=(-1.8, 5), xticks=[], yticks=[])
    right.spines[:].set_visible(False)
    right.set_title("Shared shards see the sum of the four pieces: 0, twice", fontsize=12)
    made.set_label("Left: the outputs of a layer for all inputs of length one form an ellipse; "
                   f"with the inputs turned by {ANGLE}, the same ellipse. A larger one is "
                   "never reached. Right: two inputs of four pieces each, that add up to 0; a "
                   "layer of shared shards changes the output of neither.")
    return made


def _confused() -> tuple[np.ndarray, np.ndarray]:
    """Return two inputs whose pieces add up to zero."""
    piece = np.sin(np.arange(WIDTH) * 1.3 + 0.4)
    return (np.concatenate([piece, -piece, 0 * piece, 0 * piece]),
            np.concatenate([0.6 * piece, 0.6 * piece, -1.2 * piece, 0 * piece]))


# ── numbers that say nothing new ─────────────────────────────────────────────────────────────


def spare(mine: type[Adapter], size: int = 48) -> dict[str, int]:
    """Return how many numbers a layer trains, and how many of them say nothing new.

    On one plain layer of this size: by the rank of the outputs' derivative with respect to all of
    them, at a random point near the start. LoRA of rank r has r² to spare.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = mine(torch.nn.Linear(size, size).requires_grad_(False)).double()
        own = {name: p.detach() for name, p in layer.named_parameters() if p.requires_grad}
        own = {name: p + 0.3 * torch.randn_like(p) for name, p in own.items()}
        x = torch.randn(2 * size, size, dtype=torch.double)
        slopes = torch.func.jacrev(lambda own: torch.func.functional_call(layer, own, (x,)))(own)
        J = torch.cat([slope.flatten(2).flatten(0, 1) for slope in (
            each.reshape(*x.shape[:1], size, -1) for each in slopes.values())], 1)
    numbers = J.shape[1]
    return {"numbers": numbers, "to spare": numbers - int(torch.linalg.matrix_rank(J))}


def _ladder() -> Mapping:
    return records.load("ladder")


EXAMPLES = {
    "monday": lambda: draw_monday(field()),
    "two_ladders": lambda: draw_two_ladders(two_ladders(_ladder())),
    "family": draw_family,
    "cannot": draw_cannot,
}
