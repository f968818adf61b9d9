"""Pictures of lesson 07: the bet, pushes, the case of rank 64, rank and parameters, σ of ΔW."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import ipywidgets as ipw
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ....plots import COLOURS, figure
from ....widgets import Explorer
from ... import records
from ...guess import Guess
from .live import bill, first_gradients, moving
from .picture_of_rank import explore_rank
from .picture_of_scale import (
    ask,
    culprit,
    draw_explanations,
    draw_first_step,
    ends,
    pairs,
    settings,
)
from .picture_of_updates import cuts, draw_cuts, explore_updates, own_updates

__all__ = ["ask", "bill", "culprit", "cuts", "draw_bet", "draw_cuts", "draw_explanations",
           "draw_first_step", "draw_pushes", "ends", "explore_pushes", "explore_rank",
           "explore_updates", "first_gradients", "moving", "own_updates", "pairs", "settings"]


def draw_bet(n_out: int, n_in: int, rank: int) -> Figure:
    """Draw W beside ΔW, and W beside A and B, all areas to one scale; x enters from the left."""
    made, left, right = figure(9.2, 3.6, columns=2)
    lora, gap = COLOURS["lora"], 0.25 * n_in
    for ax, title, frozen in ((left, "fine-tuning", ""),
                              (right, f"LoRA of rank {rank}", "\nfrozen")):
        _box(ax, 0, 0, n_in, n_out, COLOURS["quiet"], f"W, {n_out} × {n_in}{frozen}")
        ax.set_title(title, fontsize=11)
        ax.set(xlim=(-1.05 * gap, 2.75 * n_in), ylim=(1.7 * n_out, -0.1 * n_out), aspect="equal")
        ax.axis("off")
        _arrow(ax, (-gap, n_out / 2), (0, n_out / 2), "x")
        _arrow(ax, (n_in, n_out / 2), (2.7 * n_in, n_out / 2), "")
        ax.text(2.35 * n_in, n_out / 2, "+", ha="center", va="center", fontsize=18,
                bbox={"facecolor": COLOURS["paper"], "edgecolor": COLOURS["ink"],
                      "boxstyle": "circle", "pad": 0.15})
    start = n_in + 0.1 * gap
    _box(left, start, 0.62 * n_out, n_in, n_out, lora, f"ΔW, {n_out} × {n_in}\ntrained")
    low = 1.15 * n_out
    _box(right, 0, low, n_in, rank, lora, "")
    right.text(n_in / 2, low + 0.06 * n_out, "A, trained", ha="center", va="top",
               fontsize=9)
    _arrow(right, (-gap, low), (0, low), "")
    _arrow(right, (n_in, low), (1.55 * n_in, low), f"{rank} numbers")
    _box(right, 1.6 * n_in, 0.66 * n_out, rank, n_out, lora, "")
    right.text(1.66 * n_in, 1.5 * n_out, "B, trained", va="center", fontsize=9)
    _arrow(left, (-gap, low), (start, low), "")
    for ax, x in ((left, start + n_in), (right, 1.6 * n_in + rank)):
        _arrow(ax, (x, low), (2.35 * n_in, 0.62 * n_out), "· s" if ax is right else "")
    made.set_label(f"Left, fine-tuning: W, {n_out} × {n_in}, and a change ΔW as large. Right, "
                   f"LoRA: W, frozen, and beside it two thin strips, A and B, in which x becomes "
                   f"{rank} numbers and then an output that is added.")
    return made


def _box(ax, x: float, y: float, width: float, height: float, colour: str, text: str) -> None:
    ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="none"))
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=10)


def _arrow(ax, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "lw": 1.5})
    ax.text(*((a + b) / 2 for a, b in zip(start, end)), text, va="bottom", fontsize=9,
            ha="center" if start[1] == end[1] else "right")


# ── pushes ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Pushes:
    """Where r steps of length 1 lead, step by step, and how far."""

    r: int
    chains: Mapping[str, Sequence[tuple[float, float]]]

    @property
    def lengths(self) -> dict[str, float]:
        """How long each sum is."""
        return {name: math.hypot(*points[-1]) for name, points in self.chains.items()}


def pushes(r: int) -> Pushes:
    """Let r steps of length 1 go all one way; and each at a right angle to the sum before it.

    The first sum is r long, the second √r.
    """
    x, y, spiral = 0.0, 0.0, [(0.0, 0.0)]
    for k in range(r):
        length = math.sqrt(k) or 1.0
        step = (-y / length, x / length) if k else (1.0, 0.0)
        x, y = x + step[0], y + step[1]
        spiral.append((x, y))
    return Pushes(r, {"line up": [(float(k), 0.0) for k in range(r + 1)], "scatter": spiral})


def draw_pushes(found: Pushes) -> Figure:
    """Draw r pushes that line up and r that scatter, and what is left of each sum after 1 / r."""
    made, *axes = figure(9.2, 2.9, columns=2)
    r, lengths = found.r, found.lengths
    titles = f"Outputs: {r} pushes that line up", f"Size of ΔW: {r} rows of A at right angles"
    for (name, points), ax, title in zip(found.chains.items(), axes, titles):
        ax.plot(*zip(*points), "-" if r > 16 else "-o", ms=4, color=COLOURS["quiet"], lw=2)
        ax.annotate("", points[-1], points[0],
                    arrowprops={"arrowstyle": "-|>", "color": COLOURS["lora"], "lw": 2.5})
        ax.set_title(f"{title}, {lengths[name]:.3g} long,\n"
                     f"times α / r: {lengths[name] / r:.3g} · α", fontsize=11)
        middle = [(max(each) + min(each)) / 2 for each in zip(*points)]
        (x0, x1), (y0, y1) = ((m - half * r, m + half * r) for m, half in zip(middle, (0.6, 0.3)))
        ax.set(aspect="equal", xticks=[], yticks=[], xlim=(x0, x1), ylim=(y0, y1))
        ax.spines[:].set_visible(False)
    made.set_label("; ".join(f"{r} pushes that {name}: {length:.3g} long together, "
                             f"{length / r:.3g} after division by {r}"
                             for name, length in lengths.items()) + ".")
    return made


def explore_pushes() -> Explorer:
    """The rank against what r pushes come to, where they line up and where they scatter."""
    rank = ipw.SelectionSlider(options=(1, 2, 4, 8, 16, 32, 64), value=8, description="rank")
    return Explorer({"r": rank}, pushes, draw_pushes, lambda found: (
        "Both frames are as wide as the rank, so an arrow shows what is left after the division "
        "by r."
    ))


# ── one of each, for the tests ───────────────────────────────────────────────────────────────


EXAMPLES = {
    "bet": lambda: draw_bet(384, 384, 8),
    "pushes": explore_pushes,
    "first_step": lambda: draw_first_step({
        "alpha 16": {8: SimpleNamespace(size=0.07, moved=0.05)},
        "alpha 128": {8: SimpleNamespace(size=0.5, moved=0.4)}}),
    "explanations": draw_explanations,
    "cuts": lambda: draw_cuts(cuts(records.load("lora"), records.load("change"))),
    "rank": lambda: explore_rank(records.load("lora"), Guess("Which rank?", (1, 8, 64))),
    "updates": lambda: explore_updates(records.load("lora")),
}
