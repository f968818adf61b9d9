"""Rounding by dice: thirty small updates, none of which reaches the next mark, and their sum."""

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

COUNT, LOWER = 30, 8             # weights that are drawn, and the mark on which they stand
ROWS = {"the update": COLOURS["lora"], "nearest": COLOURS["ink"], "dice": COLOURS["yours"]}


@dataclass(frozen=True)
class Rolled:
    """Where thirty weights end that stood on a mark, in gaps to the next: by way of rounding."""

    update: float                # of each weight, in gaps
    nearest: Sequence[float]     # of each weight
    dice: Sequence[float]        # of each weight, in the last draw
    means: Sequence[float]       # of the sums of all draws so far, by draw


def rolled(update: float, draws: int, dice: Callable = rounding.dice) -> Rolled:
    """Add an update to thirty weights on one mark, and round: to the nearest mark, and by dice."""
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
    """Draw thirty weights between two marks, three times; and the running mean of the sums."""
    made, left, right = figure(8.4, 4.6, columns=2, width_ratios=(2.6, 1))
    floors, heights = (3.2, 1.6, 0), ([found.update] * COUNT, found.nearest, found.dice)
    for (name, colour), floor, height in zip(ROWS.items(), floors, heights):
        for mark in (floor, floor + 1):
            left.axhline(mark, color=SERIES[0][0], lw=1.2)
        ends = [floor + y for y in height]
        left.vlines(range(COUNT), floor, ends, color=colour, lw=2.5)
        left.plot(range(COUNT), ends, "o", color=colour, ms=6)
        left.text(COUNT + 0.3, floor + 0.5, f"{name}\nsum {sum(height):.3g}", va="center",
                  fontsize=11, color=colour)
    left.set(xlim=(-1, COUNT + 9), ylim=(-0.15, 4.35), xticks=[],
             yticks=[floor + y for floor in floors for y in (0, 1)],
             yticklabels=["mark", "next mark"] * 3)
    left.spines[["left", "bottom"]].set_visible(False)
    draws = range(1, len(found.means) + 1)
    right.axhline(COUNT * found.update, color=COLOURS["lora"], lw=2.5)
    right.plot(draws, found.means, color=COLOURS["yours"], lw=2)
    right.plot(draws[-1], found.means[-1], "o", color=COLOURS["yours"], ms=9)
    right.set(xlabel="draw", xlim=(0, 1.05 * max(10, draws[-1])),
              ylim=(-0.5, max(2 * COUNT * found.update, *found.means) + 1))
    right.set_title(f"dice, mean of {len(draws)}: {found.means[-1]:.3g}", fontsize=11)
    made.set_label(f"Sums of {COUNT} updates of {found.update:g} of a gap, in gaps: "
                   f"{COUNT * found.update:.3g}; to the nearest mark {sum(found.nearest):.3g}; by "
                   f"dice {sum(found.dice):.3g} in draw {len(draws)}, {found.means[-1]:.3g} in the "
                   "mean of all draws.")
    return made


def explore_dice(dice: Callable = rounding.dice) -> Explorer:
    """Thirty updates on one mark, rounded to the nearest and by dice, as often as is said."""
    draws = ipw.IntSlider(value=1, min=1, max=100, description="draws")
    update = ipw.SelectionSlider(options=(0.02, 0.05, 0.1, 0.2, 0.4, 0.6), value=0.1,
                                 description="update")
    return Explorer(
        {"update": update, "draws": draws}, lambda update, draws: rolled(update, draws, dice),
        draw_rolled, lambda found: (
            f"Each of {COUNT} weights stands on a mark, and its update is {found.update:g} of the "
            "gap to the next. Dice send it on with just this probability, and back otherwise. "
            "Sums are in gaps. Right: the mean of all draws so far, and, level, the updates' sum."))
