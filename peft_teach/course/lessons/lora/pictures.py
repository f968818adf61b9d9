"""Pictures of lesson 07: pushes, the case of rank 64, rank and parameters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace

import ipywidgets as ipw
from matplotlib.figure import Figure

from ....plots import COLOURS, claim, figure
from ....widgets import Explorer
from ... import records
from ...desk.buttons import Guess
from .live import bill, directions, first_gradients, moving, share
from .picture_of_rank import explore_rank
from .picture_of_scale import (
    ask,
    culprit,
    draw_explanations,
    draw_first_step,
    draw_losses,
    ends,
    settings,
)

__all__ = ["ask", "bill", "culprit", "directions", "draw_explanations", "draw_first_step",
           "draw_losses", "ends", "explore_pushes", "explore_rank", "first_gradients", "moving",
           "settings", "share"]


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
    made, *axes = figure(9.2, 3.4, columns=2)
    r, lengths, ends = found.r, found.lengths, {"shrinkA": 0, "shrinkB": 0}
    titles = (f"outputs, r = {r}: the pushes line up",
              f"ΔW, r = {r}: each at a right angle\nto the sum before it")
    for (name, points), ax, title in zip(found.chains.items(), axes, titles):
        beside = 0.05 * r * (name == "line up")    # the pushes above their sum
        for (x, y), (to_x, to_y) in pairwise(points):
            ax.annotate("", (to_x, to_y + beside), (x, y + beside), arrowprops={
                **ends, "arrowstyle": "->" if r < 32 else "-", "color": COLOURS["rest"]})
        ax.annotate("", points[-1], points[0], arrowprops={
            **ends, "arrowstyle": "-|>", "color": COLOURS["ink"], "lw": 3})
        ax.set_title(title, fontsize=12)
        ax.set_xlabel(f"sum {lengths[name]:.3g}, divided by {r}: {lengths[name] / r:.3g}",
                      fontsize=12)
        middle = [(max(each) + min(each)) / 2 for each in zip(*points)]
        (x0, x1), (y0, y1) = ((m - half * r, m + half * r) for m, half in zip(middle, (0.6, 0.3)))
        ax.set(aspect="equal", xticks=[], yticks=[], xlim=(x0, x1), ylim=(y0, y1))
        ax.spines[:].set_visible(False)
    claim(made, "Divided by r, pushes that line up keep their length; at right angles they shrink",
          "; ".join(f"{r} pushes that {name}: {length:.3g} long together, {length / r:.3g} after "
                    f"division by {r}" for name, length in lengths.items()) + ".")
    return made


def explore_pushes() -> Explorer:
    """The rank against what r pushes come to, where they line up and where they scatter."""
    rank = ipw.SelectionSlider(options=(1, 2, 4, 8, 16, 32, 64), value=8, description="rank")
    return Explorer({"r": rank}, pushes, draw_pushes, lambda found: (
        "Thin: the pushes; thick: their sum. Both are drawn at a scale of 1 / rank."))


# ── one of each, for the tests ───────────────────────────────────────────────────────────────


EXAMPLES = {
    "pushes": explore_pushes,
    "first_step": lambda: draw_first_step({
        "alpha 16": {8: SimpleNamespace(size=0.07, moved=0.05)},
        "alpha 128": {8: SimpleNamespace(size=0.5, moved=0.4)}}),
    "losses": draw_losses,
    "explanations": draw_explanations,
    "rank": lambda: explore_rank(records.load("lora"), Guess("Which rank?", (1, 8, 64))),
}
