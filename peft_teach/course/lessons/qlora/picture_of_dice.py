"""Stochastic rounding: thirty small updates, none of which reaches the next level; their sum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ....nf4 import LEVELS
from ....plots import COLOURS, SERIES, figure
from ....widgets import Explorer
from . import rounding

COUNT, LOWER = 30, 8             # weights that are drawn, and the level on which they stand
ROWS = {"updates": COLOURS["lora"], "nearest level": COLOURS["ink"], "stochastic": COLOURS["yours"]}


@dataclass(frozen=True)
class Rolled:
    """Where thirty weights end that stood on a level, in gaps to the next: by way of rounding."""

    update: float                # of each weight, in gaps
    nearest: Sequence[float]     # of each weight
    dice: Sequence[float]        # of each weight, in the last draw
    means: Sequence[float]       # of the sums of all draws so far, by draw


def rolled(update: float, draws: int, dice: Callable = rounding.dice) -> Rolled:
    """Add an update to thirty weights on one level, and round: to the nearest, and by chance."""
    low, gap = LEVELS[LOWER], LEVELS[LOWER + 1] - LEVELS[LOWER]
    W, top = torch.zeros(rounding.BLOCK), torch.ones(1)
    W[0], W[1:COUNT + 1] = 1, low + update * gap                # the first one is the maximum

    def moved(found: Tensor) -> list[float]:
        return ((found[1:COUNT + 1] - low) / gap).round(decimals=3).tolist()

    throws = [moved(dice(W, top, LEVELS, torch.Generator().manual_seed(seed)))
              for seed in range(draws)]
    sums = torch.tensor(throws).sum(1)
    return Rolled(update, moved(rounding.nearest(W, top[:, None])), throws[-1],
                  (sums.cumsum(0) / torch.arange(1, draws + 1)).tolist())


def draw_rolled(found: Rolled) -> Figure:
    """Draw thirty weights between two levels: their updates, and both ways of rounding them."""
    made, ax = figure(8.4, 4.6)
    floors, heights = (3.2, 1.6, 0), ([found.update] * COUNT, found.nearest, found.dice)
    for (name, colour), floor, height in zip(ROWS.items(), floors, heights):
        for level, text in (floor, "level"), (floor + 1, "next level"):
            ax.plot([-1, COUNT], [level] * 2, color=SERIES[0][0], lw=1.2)
            ax.text(-1.5, level, text, ha="right", va="center", fontsize=11)
        ends = [floor + y for y in height]
        ax.vlines(range(COUNT), floor, ends, color=colour, lw=2.5)
        ax.plot(range(COUNT), ends, "o", color=colour, ms=6)
        mean = f"\nmean of {len(found.means)}: {found.means[-1]:.3g}" * (name == "stochastic")
        ax.text(COUNT + 1, floor + 0.5, f"{name}:\nsum {sum(height):.3g}{mean}", va="center",
                fontsize=12, color=colour)
    ax.set(xlim=(-7, COUNT + 8), ylim=(-0.15, 4.35))
    ax.axis("off")
    ax.set_title("On average, stochastic rounding keeps the sum of the updates", fontsize=12)
    made.set_label(f"Sums of {COUNT} updates of {found.update:g} of a gap, in gaps: "
                   f"{COUNT * found.update:.3g}; to the nearest level {sum(found.nearest):.3g}; by "
                   f"chance {sum(found.dice):.3g} in draw {len(found.means)}, "
                   f"{found.means[-1]:.3g} in the mean of all draws.")
    return made


def explore_dice(dice: Callable = rounding.dice) -> Explorer:
    """Thirty updates on one level, rounded to the nearest and at random, as often as is said."""
    draws = ipw.IntSlider(value=35, min=1, max=100, description="draws")
    update = ipw.SelectionSlider(options=(0.02, 0.05, 0.1, 0.2, 0.4, 0.6), value=0.1,
                                 description="update")
    return Explorer(
        {"update": update, "draws": draws}, lambda update, draws: rolled(update, draws, dice),
        draw_rolled, lambda found: (
            f"Each of {COUNT} weights stands on a level, and its update is {found.update:g} of the "
            "gap to the next. Stochastic rounding sends it on with just this probability, and back "
            "otherwise. Sums are in gaps; the last draw is shown."))
