"""How far rows turn and stretch: four recorded clouds, and Pythagoras."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import pandas
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ....plots import COLOURS, claim, entitle, figure, logarithmic
from ....widgets import Explorer
from ...desk.buttons import Guess
from ...records import Record
from .exercises import moves
from .recorded import NAMES, SIZES, by_place, clouds_of

WIDTH = 384                                        # inputs of a row in MiniLM
HIDDEN = {"dora": "one", "full": "two", "random": "three", "lora": "four"}    # until it is guessed
METHOD_COLOURS = {"full": "full", "lora": "lora", "dora": "ink", "random": "random"}
TITLES = {SIZES["dots"]: "Random numbers draw LoRA's line",
          SIZES["rescaled"]: "Full fine-tuning at LoRA's size, the others at its own"}


# ── four clouds ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Clouds:
    """Four updates, by number until their names may be seen: the dots of each, by place."""

    shown: str
    named: bool
    clouds: Mapping[str, Mapping[str, pandas.DataFrame]]

    def correlations(self, name: str) -> list[str]:
        """Say the correlation of ΔD and ΔM, place by place."""
        return [f"{place}: {dots.dd.corr(dots.dm):+.2f}".replace("-", "−")
                for place, dots in self.clouds[name].items()]


def clouds(record: Record, shown: str, named: bool) -> Clouds:
    """Return four clouds of seed 0, as trained or at the norm of another."""
    key = next(key for key, told in SIZES.items() if told == shown)
    return Clouds(shown, named, {
        NAMES[method] if named else number: by_place(clouds_of(record)[method, 0][key])
        for method, number in HIDDEN.items()})


def draw_clouds(found: Clouds) -> Figure:
    """Draw the four clouds, ΔM against ΔD, each in a frame of its own size."""
    made, *axes = figure(9.2, 4 if found.named else 3.5, columns=4)
    for ax, (name, places), method in zip(axes, found.clouds.items(), HIDDEN):
        colour = COLOURS[METHOD_COLOURS[method] if found.named else "ink"]
        for place, dots in places.items():
            ax.plot(dots.dd, dots.dm, "o", ms=5, color=colour,
                    mfc=colour if place == "query" else COLOURS["paper"])
        ax.margins(0.15)
        ax.set(xlim=(0, None), ylim=(0, None))
        entitle(ax, "turn, ΔD",
                title="\n".join([name, *["correlation", *found.correlations(name)] * found.named]))
        if found.named:
            ax.locator_params(nbins=2)
            ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}" if v else ""))
        else:
            ax.set(xticks=[], yticks=[])
    axes[0].set_ylabel("stretch, ΔM", fontsize=12)
    made.supxlabel("● queries      ○ values", fontsize=12)
    told = TITLES[found.shown] if found.named else "Which cloud did random numbers draw?"
    claim(made, told, f"{found.shown}. Correlation of ΔD and ΔM: " + "; ".join(
        f"{name}: {', '.join(found.correlations(name))}" for name in found.clouds) + ".")
    return made


def explore_clouds(record: Record, guess: Guess) -> Explorer:
    """Four clouds, without names until `guess` is made: which update is which?"""
    controls = {"shown": ipw.ToggleButtons(options=[*SIZES.values()], description="dots",
                                           style={"button_width": "170px"})}
    made = Explorer(controls, lambda shown: clouds(
        record, shown, guess.value is not None), draw_clouds, _caption)
    guess.buttons.observe(lambda change: (guess.settle(), made.refresh()), names="value")
    return made


def _caption(found: Clouds) -> str:
    hint = "" if found.named else " Which is which, you see when you have guessed."
    return ("A dot is a matrix after a quarter, half, three quarters and all of training. "
            f"Frames are of different sizes: compare shapes.{hint}")


# ── Pythagoras ───────────────────────────────────────────────────────────────────────────────


# What a random piece of relative size x adds to the length of a row, relative to it: by its part
# along the row (0.8 is the mean of a normal number's absolute value), by its part at a right angle.
LAWS = {"chance: slope 1": lambda x: math.sqrt(2 / math.pi / WIDTH) * x,
        "Pythagoras: slope 2": lambda x: x**2 / 2}
CROSSING = 2 * math.sqrt(2 / math.pi / WIDTH)      # where both are equal


def random_rows() -> list[tuple[float, float]]:
    """Return relative size and mean relative change of length of random rows."""
    generator = torch.Generator().manual_seed(0)
    W, noise = torch.nn.functional.normalize(
        torch.randn(2, 400, WIDTH, generator=generator, dtype=torch.float64), dim=-1)
    return [(size, moves(W, W + size * noise)[1].mean().item())
            for size in torch.logspace(-2.3, 0, 24).tolist()]


def draw_crossing(record: Record) -> Figure:
    """Draw how much longer random rows become, against how much was added, and two laws for it."""
    made, ax = figure(8.6, 4.6)
    for (name, law), dash, end in zip(LAWS.items(), ("--", "-"), ((1, 0.006), (0.3, 0.12))):
        ax.plot((0.005, 1), (law(0.005), law(1)), dash, color=COLOURS["rest"], lw=1.8)
        ax.text(*end, name, ha="right", fontsize=12)
    ax.text(0.005, 7e-4, "measured", fontsize=12)
    ax.plot(*zip(*random_rows()), "o", color=COLOURS["random"], ms=6)
    told = []
    for method in ("full", "lora"):
        sizes = [dot["size"] for (name, _), cloud in clouds_of(record).items() if name == method
                 for dot in cloud["dots"]]
        low, high = min(sizes), max(sizes)
        ax.axvspan(low, high, color=COLOURS[method], alpha=0.16, lw=0)
        ax.text(math.sqrt(low * high), 0.98, NAMES[method], ha="center", va="top", fontsize=12,
                color=COLOURS[method], transform=ax.get_xaxis_transform())
        told.append(f"{NAMES[method]}: {low:.3f} to {high:.3f}")
    both = CROSSING, CROSSING**2 / 2
    ax.plot(*both, "o", ms=15, mfc="none", mew=1.8, color=COLOURS["ink"])
    ax.annotate(f"equal at {CROSSING:.2f}", both, xytext=(16, -18), fontsize=12,
                textcoords="offset points")
    logarithmic(ax)
    ax.set(ylim=(1.2e-5, 1))
    entitle(ax, "how much is added to a row: ‖δ‖ / ‖w‖",
            "how much its length changes,\nrelative to ‖w‖")
    claim(made, "A small piece changes the length by chance, a large one by Pythagoras",
          f"Rows of {WIDTH} inputs: both change it equally where {CROSSING:.3f} of it is added. "
          + "; ".join(told) + ".")
    return made
