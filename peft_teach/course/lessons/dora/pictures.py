"""Pictures of lesson 09: a row that turns, ten pairs; clouds from `picture_of_clouds`."""

import math
from dataclasses import dataclass
from statistics import mean

import ipywidgets as ipw
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from ....plots import COLOURS, HALO, claim, entitle, figure
from ....widgets import Explorer
from ... import records
from ...desk.buttons import Guess
from ...records import Record
from ...verdicts import SAME, of_runs
from . import recorded
from .live import converted, gradient_gap
from .picture_of_clouds import HIDDEN, draw_crossing, explore_clouds
from .recorded import correlations, searched, verdicts

__all__ = ["HIDDEN", "converted", "correlations", "draw_crossing", "draw_pairs",
           "explore_clouds", "explore_turn", "gradient_gap", "searched", "verdicts"]

# ── a row that turns, and is set to its length ───────────────────────────────────────────────

ROW, PUSH = torch.tensor([2.0, 0.6]), torch.tensor([-0.5, 1.6])    # a row w; a row of A


@dataclass(frozen=True)
class Turned:
    """One row of W: with LoRA's piece added, and with the length that DoRA then sets."""

    lora: tuple[float, float]
    dora: tuple[float, float]

    def told(self, name: str) -> str:
        """Say how far a row has turned from w, and how long it is."""
        row = torch.tensor(getattr(self, name))
        cosine = (row @ ROW / row.norm() / ROW.norm()).clamp(-1, 1)
        return (f"turned by {torch.rad2deg(cosine.arccos()):.0f}°, {row.norm() / ROW.norm():.2f} "
                "times as long")


def turned(b: float, m: float) -> Turned:
    """Add b times a row of A to w; set the length to m times that of w."""
    added = ROW + b * PUSH
    return Turned(tuple(added.tolist()),
                  tuple((m * ROW.norm() * added / added.norm()).tolist()))


def draw_turned(found: Turned) -> Figure:
    """Draw the row, LoRA's, and DoRA's on the circle of its length."""
    made, ax = figure(5.2, 4.6)
    ax.set(xlim=(-1.2, 4.3), ylim=(-1.5, 4.2), aspect="equal")    # where the rows may lie
    ax.axis("off")
    length = math.hypot(*found.dora)
    ax.add_patch(Circle((0, 0), length, fill=False, lw=1.2, ls=":", ec=COLOURS["trained"]))
    ax.plot(*zip(ROW.tolist(), found.lora), "--", color=COLOURS["lora"], lw=1.5)
    for row, name, colour, width, aside in (
            (ROW.tolist(), "w", "rest", 4, (8, -10)),
            (found.dora, "", "trained", 5, (0, 0)),
            (found.lora, "LoRA", "lora", 2, (8, -2))):
        ax.annotate("", row, (0, 0), arrowprops={
            "arrowstyle": "-|>", "color": COLOURS[colour], "lw": width, "shrinkA": 0, "shrinkB": 0})
        ax.annotate(name, row, xytext=aside, fontsize=13, textcoords="offset points",
                    path_effects=HALO, color=COLOURS[colour])
    up = found.lora[1] >= ROW[1].item()    # its name is on the far side of w
    for name, at, colour, aside, ha, va in (
            ("DoRA", tuple(x / 2 for x in found.dora), "trained", (-8, 2 if up else -2), "right",
             "bottom" if up else "top"),
            ("m", (-0.17 * length, 0.985 * length), "trained", (0, 3), "center", "bottom"),
            ("B A", tuple((x + y) / 2 for x, y in zip(ROW.tolist(), found.lora)), "lora", (7, 0),
             "left", "center")):
        ax.annotate(name, at, xytext=aside, fontsize=13, textcoords="offset points", ha=ha, va=va,
                    path_effects=HALO, color=COLOURS[colour])
    claim(made, "B A turns the row, m alone sets its length",
          f"LoRA's row: {found.told('lora')}. DoRA's: {found.told('dora')}.")
    return made


def explore_turn() -> Explorer:
    """A row of W: how much of a piece is added, and how long DoRA makes what comes out."""
    controls = {
        "b": ipw.SelectionSlider(options=[(f"{n / 4:g}", n / 4) for n in range(-4, 9)], value=1.0,
                                 description="entry of B"),
        "m": ipw.SelectionSlider(options=[(f"{n / 4:g}", n / 4) for n in range(1, 7)], value=1.0,
                                 description="m / ‖w‖")}
    return Explorer(controls, turned, draw_turned, lambda found: (
        f"LoRA adds a piece to the row w: {found.told('lora')}. DoRA then sets the length: "
        f"{found.told('dora')}."))


# ── the verdict ──────────────────────────────────────────────────────────────────────────────

def draw_pairs(record: Record) -> Figure:
    """Draw the differences of the paired runs, seed by seed, their mean, and its 95 % interval."""
    margin, found = recorded.MARGIN, recorded.differences(record)
    made, ax = figure(9.2, 1.6 + 0.75 * len(found))
    ax.axvspan(-margin, margin, color=COLOURS["band"], lw=0)
    ax.axvline(0, color=COLOURS["ink"], lw=1)
    told, inside = [], 0
    for y, ((rank, a, b), (one, other)) in enumerate(found.items()):
        gaps = [x - z for x, z in zip(one, other)]
        verdict = of_runs(one, other, margin)
        low, high = verdict.low, verdict.high
        inside += verdict.word == SAME
        ax.plot(gaps, [y + 0.16] * len(gaps), "o", color=COLOURS["rest"], ms=7, alpha=0.55, mew=0)
        ax.plot([low, high], [y - 0.16] * 2, lw=5, color=COLOURS["ink"],
                solid_capstyle="butt")
        ax.plot(mean(gaps), y - 0.16, "D", color=COLOURS["ink"], ms=9)
        told.append(f"{_strip(rank, a, b)}: {mean(gaps):+.2f}, from {low:+.2f} to {high:+.2f}, "
                    f"{len(gaps)} pairs")
    ax.set(yticks=range(len(found)), ylim=(len(found) - 0.4, -0.6),
           yticklabels=[_strip(*key) for key in found])
    entitle(ax, "points of test accuracy: left of 0 DoRA is worse, right of it better")
    claim(made, f"{inside} of {len(found)} intervals lie inside the margin, ±{margin:g}",
          "Differences in points, mean and 95 % interval: " + "; ".join(told) + ".")
    return made


def _strip(rank: int, a: str, b: str) -> str:
    return f"rank {rank}: {recorded.NAMES[a]} − {recorded.NAMES[b]}"


# ── one of each, for the tests ───────────────────────────────────────────────────────────────


def _guessed() -> Guess:
    guess = Guess("The random one is", tuple(HIDDEN.values()))
    guess.buttons.value = HIDDEN["random"]
    return guess


EXAMPLES = {
    "turn": explore_turn,
    "clouds": lambda: explore_clouds(records.load("dora"), _guessed()),
    "clouds without names": lambda: explore_clouds(records.load("dora"), Guess(
        "The random one is", tuple(HIDDEN.values()))),
    "crossing": lambda: draw_crossing(records.load("dora")),
    "pairs": lambda: draw_pairs(records.load("dora")),
}
