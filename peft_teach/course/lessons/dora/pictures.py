"""Pictures of lesson 09: the idea, clouds, forgery and noise, ten pairs, the ladder so far."""

from statistics import mean

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Arc

from ....plots import COLOURS, entitle, figure
from ... import records
from ...desk.guess import Guess
from ...records import Record
from . import answers, exercises, recorded
from .exercises import point
from .live import converted, gradient_gap
from .picture_of_clouds import (
    HIDDEN,
    draw_crossing,
    draw_forged,
    draw_rays,
    explore_clouds,
)
from .picture_of_ladder import draw_ladder
from .recorded import correlations, verdicts

__all__ = ["HIDDEN", "converted", "correlations", "draw_crossing", "draw_forged", "draw_idea",
           "draw_ladder", "draw_pairs", "draw_rays", "explore_clouds", "gradient_gap", "point",
           "verdicts"]

W, DELTA, M, GAIN = (2.4, 1.0), (-0.7, 1.68), 2.75, 1.4    # of the idea's one row of weights


def draw_idea() -> Figure:
    """Draw one row of W as an arrow, and what IA³, LoRA and DoRA make of it."""
    made, *axes = figure(9.2, 3.0, columns=3)
    w, delta = torch.tensor(W), torch.tensor(DELTA)
    V, length = w + delta, w.norm().item()
    ends = GAIN * w, V, M * V / V.norm()
    for ax, end, title, text in zip(axes, ends, (
            "IA³ stretches", "LoRA adds", "DoRA turns, then sets length"),
            ("l · w", "w + δ", "length m")):
        ax.set_title(title, fontsize=13)
        ax.set(xlim=(-0.2, 3.9), ylim=(-0.2, 3.1), aspect="equal")
        ax.axis("off")
        ax.add_patch(Arc((0, 0), 2 * length, 2 * length, theta1=5, theta2=85, lw=1.2,
                         color=COLOURS["quiet"], ls=":"))
        if ax is not axes[0]:
            _arrow(ax, w, V, COLOURS["rest"], ls="--", lw=1.5)
            _label(ax, w + 0.45 * delta, "δ", COLOURS["rest"])
        if ax is axes[2]:
            ax.plot(*zip((0, 0), V.tolist()), ls="--", color=COLOURS["rest"], lw=1.5)
            _label(ax, V, "V = w + δ", COLOURS["rest"])
        _arrow(ax, (0, 0), end, COLOURS["lora"])
        _arrow(ax, (0, 0), w, COLOURS["rest"])
        _label(ax, 0.55 * w, "w", COLOURS["rest"], below=True)
        if ax is axes[2]:
            ax.text(*(0.5 * end + torch.tensor([-0.12, 0.0])), text, fontsize=13, ha="right",
                    color=COLOURS["lora"])
        else:
            _label(ax, end, text, COLOURS["lora"])
    made.set_label(f"One row w of a weight, {length:.1f} long, as an arrow. IA³ makes it "
                   f"{GAIN} times as long. LoRA adds δ, and it is {V.norm():.1f} long. DoRA turns "
                   f"it towards V = w + δ and gives it a trained length m, {M} here.")
    return made


def _arrow(ax, start, end, colour: str, ls: str = "-", lw: float = 3) -> None:
    start, end = (tuple(float(v) for v in point) for point in (start, end))
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": lw,
                                            "ls": ls, "shrinkA": 0, "shrinkB": 0})


def _label(ax, place, text: str, colour: str, below: bool = False) -> None:
    ax.annotate(text, tuple(place.tolist()), xytext=(5, -18 if below else 4), fontsize=13,
                textcoords="offset points", color=colour)


def draw_pairs(record: Record, margin: float | None = None) -> Figure:
    """Draw the differences of the paired runs, seed by seed, their mean, and its 95 % interval.

    `margin` is the reader's, in points; without one, `recorded.MARGIN`.
    """
    margin = recorded.MARGIN if margin is None else margin
    found = recorded.differences(record)
    made, ax = figure(9.2, 1.6 + 0.75 * len(found))
    ax.axvspan(-margin, margin, color=COLOURS["band"], lw=0)
    ax.axvline(0, color=COLOURS["ink"], lw=1)
    told, inside = [], 0
    for y, ((rank, a, b), (one, other)) in enumerate(found.items()):
        gaps = [x - z for x, z in zip(one, other)]
        low, high = exercises.referee_interval(one, other)
        inside += -margin < low and high < margin
        ax.plot(gaps, [y + 0.16] * len(gaps), "o", color=COLOURS["yours"], ms=7, alpha=0.55, mew=0)
        ax.plot([low, high], [y - 0.16] * 2, lw=5, color=COLOURS["ink"],
                solid_capstyle="butt")
        ax.plot(mean(gaps), y - 0.16, "D", color=COLOURS["ink"], ms=9)
        told.append(f"{_strip(rank, a, b)}: {mean(gaps):+.2f}, from {low:+.2f} to {high:+.2f}, "
                    f"{len(gaps)} pairs")
    ax.set(yticks=range(len(found)), ylim=(len(found) - 0.4, -0.6),
           yticklabels=[_strip(*key) for key in found])
    entitle(ax, f"{inside} of {len(found)} intervals lie inside the margin, ±{margin:g}",
            "points of test accuracy: left of 0 DoRA is worse, right of it better")
    made.set_label(f"Differences in points, mean and 95 % interval, margin {margin:g}. "
                   + "; ".join(told) + ".")
    return made


def _strip(rank: int, a: str, b: str) -> str:
    return f"rank {rank}: {recorded.NAMES[a]} − {recorded.NAMES[b]}"


# ── one of each, for the tests ───────────────────────────────────────────────────────────────


def _guessed() -> Guess:
    guess = Guess("The random one is", tuple(HIDDEN.values()))
    guess.buttons.value = HIDDEN["random"]
    return guess


EXAMPLES = {
    "idea": draw_idea,
    "clouds": lambda: explore_clouds(records.load("dora"), _guessed()),
    "clouds without names": lambda: explore_clouds(records.load("dora"), Guess(
        "The random one is", tuple(HIDDEN.values()))),
    "crossing": lambda: draw_crossing(records.load("dora")),
    "forged": lambda: draw_forged(answers.forge),
    "rays": lambda: draw_rays([(0.0266, 0.0229), (0.0232, 0.0266), (0.0208, 0.0285)],
                              (0.85, 1.12, 1.38), (0.05, -1.0)),
    "pairs": lambda: draw_pairs(records.load("dora")),
    "ladder": draw_ladder,
}
