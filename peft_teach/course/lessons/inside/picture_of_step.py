"""What a training step holds, stretch by stretch: everything trains, and LoRA."""

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import pandas
from matplotlib.figure import Figure

from .... import plots
from ....account import Ledger
from ....plots import abreast, bytes_text, claim, figure
from ....widgets import Explorer
from .steps import BACKWARD, STEP, Step

PARTS = {"weights": "weights", "optimizer": "moments", "gradients": "gradients",
         "activations": "activations"}
SHOWN = ("everything", "LoRA")


@dataclass(frozen=True)
class Steps:
    """The steps of some ways to train on one batch, up to a stretch."""

    of: Mapping[str, Step]
    until: int


def draw_steps(found: Steps, most: float) -> Figure:
    """Draw what is held in each stretch as bars, with a ring at the fullest; a panel a way.

    `most` is how many bytes the axes have room for.
    """
    made, *panels = figure(9.2, 4.4, columns=len(found.of), sharey=True)
    for ax, (trains, step) in zip(panels, found.of.items()):
        held = [Ledger(step.weights, gradients, step.optimizer, activations, working)
                for gradients, activations, working in zip(
                    step.gradients, step.activations, step.working)][:found.until]
        plots.stack(ax.bar, "bottom", held, parts=(*PARTS, "working"))
        ends = step.held[:found.until]
        top = ends.index(max(ends))
        plots.ring(ax, top, ends[top] / 1e6)
        ax.set_title(f"{trains} trains: {bytes_text(ends[top])}\nin {_where(step, top)}",
                     fontsize=12)
        ax.set_xticks(range(len(step.stretches)),
                      [place or phase for phase, place in step.stretches], fontsize=9)
        ax.set(xlabel="blocks forward, the loss, blocks backward, the step",
               ylim=(0, 1.2e-6 * most), xlim=(-0.7, len(step.stretches) - 0.3))
    panels[0].set_ylabel("MB")
    made.legend(panels[0].containers, [*PARTS.values(), "working space"], frameon=False,
                ncols=abreast(5), loc="outside lower center")
    full, lora = (max(step.held[:found.until]) for step in found.of.values())
    claim(made, f"Each at its fullest, LoRA holds {lora / full:.0%} of what full training holds",
          "; ".join(f"{trains} trains, at most {bytes_text(max(step.held))}: " + ", ".join(
              f"{phase} {place} {bytes_text(size)}" for (phase, place), size in zip(
                  step.stretches, step.held)) for trains, step in found.of.items()))
    return made


def _where(step: Step, at: int) -> str:
    """Say in which part of a step a stretch lies."""
    return {BACKWARD: "the backward pass", STEP: "AdamW's step"}.get(
        step.stretches[at][0], "the forward pass")


def fullest(step: Step) -> str:
    """Say where the most is held."""
    return _where(step, step.fullest)


def explore_step(measured: Mapping[tuple[str, str], Step]) -> Explorer:
    """What is held, stretch by stretch; keys of `measured` are as ("LoRA", "16 × 32")."""
    last = len(next(iter(measured.values())).stretches)
    until = ipw.IntSlider(last, 1, last, description="stretches")
    play = ipw.Play(value=last, min=1, max=last, interval=600)
    ipw.jslink((play, "value"), (until, "value"))
    most = max(max(step.held) for step in measured.values())
    return Explorer(
        {"size": ipw.Dropdown(options=list(dict.fromkeys(size for _, size in measured)),
                              description="batch"), "until": until},
        lambda size, until: Steps({t: measured[t, size] for t in SHOWN}, until),
        lambda found: draw_steps(found, most),
        lambda found: "Each bar: the fullest moment of a stretch, by every tensor that torch makes "
        "and drops. “in” are the embeddings. Rings: the fullest moments.", below=[play])


def bill(measured: Mapping[tuple[str, str], Step]) -> pandas.DataFrame:
    """Return the MB of each part at the fullest moment, their sum and its share; a row a step."""
    rows = {}
    for (trains, size), step in measured.items():
        at, full = step.fullest, measured["everything", size]
        parts = (step.weights, step.optimizer, step.gradients[at], step.activations[at],
                 step.working[at], step.held[at])
        rows[trains, size] = [*(f"{each / 1e6:,.1f}" for each in parts),
                              f"{step.held[at] / max(full.held):.0%}"]
    columns = [*PARTS.values(), "working", "at most", "share"]
    return pandas.DataFrame(rows, columns).T


def example() -> dict[tuple[str, str], Step]:
    """A few stretches, made up."""
    stretches = (("forward", "in"), ("forward", "0"), ("loss", ""), (BACKWARD, "0"),
                 (BACKWARD, "in"), (STEP, ""))
    return {(trains, f"{n} × 8"): Step(
        stretches, (0, 25 * n, 50 * n, 25 * n, 0, 0), (0, 0, 0, g // 2, g, g),
        (3, 3, 3, 4, 4, g), 91, 2 * g) for trains, g in (("everything", 91), ("LoRA", 1))
        for n in (1, 4)}
