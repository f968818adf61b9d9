"""What a training step holds, moment by moment."""

from collections.abc import Mapping
from dataclasses import replace

import ipywidgets as ipw
import pandas
from matplotlib.figure import Figure

from .... import plots
from ....account import Ledger
from ....plots import bytes_text, figure
from ....widgets import Explorer
from .steps import Step


def draw_step(step: Step, most: float) -> Figure:
    """Draw what is held at each moment as bars of four parts, with a ring at the fullest.

    `most` is how many bytes the axis has room for.
    """
    made, ax = figure(9.2, 4)
    held = [Ledger(step.weights, gradients, step.optimizer, activations)
            for gradients, activations in zip(step.gradients, step.activations)]
    plots.stack(ax.bar, "bottom", held, parts=("weights", "optimizer", "gradients", "activations"))
    ends = [each.total_bytes / 1e6 for each in held]
    plots.ring(ax, ends.index(max(ends)), max(ends))
    ax.set_xticks(range(len(ends)), [place or phase for phase, place in step.moments])
    ax.set(ylabel="MB", xlabel="forward, block by block    →    loss    →    backward",
           ylim=(0, 1.25e-6 * most), title=f"{step.told}: at most {bytes_text(step.alive)}")
    ax.legend(ax.containers, ["weights", "moments", "gradients", "activations"], frameon=False,
              ncols=4, loc="upper center")    # the bars, without the ring
    made.set_label(f"{step.told}: at most {bytes_text(step.alive)}. " + "; ".join(
        f"{phase} {place}: activations {bytes_text(a)}, gradients {bytes_text(g)}"
        for (phase, place), a, g in zip(step.moments, step.activations, step.gradients)))
    return made


def explore_step(measured: Mapping[tuple[str, str], Step]) -> Explorer:
    """What is held, block by block; keys of `measured` are as ("LoRA", "16 × 32")."""
    trains, sizes = (list(dict.fromkeys(names)) for names in zip(*measured))
    most = max(step.alive for step in measured.values())
    return Explorer(
        {"trains": ipw.Dropdown(options=trains, description="trains"),
         "size": ipw.Dropdown(options=sizes, description="batch")},
        lambda trains, size: replace(measured[trains, size], told=f"{trains} trains, {size}"),
        lambda step: draw_step(step, most), lambda step: "Measured after each block; “in” is "
        "before block 0. The ring marks the fullest moment.")


def bill(measured: Mapping[tuple[str, str], Step]) -> pandas.DataFrame:
    """Return the MB of each part at its largest, and what is held at most; a row a step."""
    rows = {key: {"weights": step.weights, "moments": step.optimizer,
                  "activations": max(step.activations), "gradients": max(step.gradients),
                  "at most": step.alive} for key, step in measured.items()}
    return pandas.DataFrame(rows).T / 1e6


def example() -> dict[tuple[str, str], Step]:
    """A few moments, made up."""
    moments = (("forward", "in"), ("forward", "0"), ("loss", ""), ("backward", "0"),
               ("backward", "in"))
    return {(trains, f"{n} × 8"): Step(moments, (0, 25 * n, 50 * n, 25 * n, 0),
                                       (0, 0, 0, g // 2, g), 50 * n + 1, 91, 2 * g)
            for trains, g in (("everything", 91), ("LoRA", 1)) for n in (1, 2)}
