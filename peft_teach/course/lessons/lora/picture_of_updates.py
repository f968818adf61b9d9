"""What an update is from inside: its singular values, and what a cut leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import ipywidgets as ipw
import pandas
import torch
from matplotlib.figure import Figure
from torch import nn

from .... import core, spectra
from ....plots import COLOURS, figure, in_percent, logarithmic, plain_ticks
from ....widgets import Explorer
from .picture_of_rank import DEPTH, draw_ends

YOURS, FULL, WEIGHT = "yours", "full", "weight"
DRAWN = ("1", "8", "64", FULL)
MARKERS = {"1": "o", "8": "D", "64": "P"}

Sigmas = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Spectra:
    """Singular values of the updates of one matrix, by run, and those of W itself."""

    matrix: str
    updates: Sigmas                 # by run: a rank, "full", "yours"
    weight: Sequence[float]


def own_updates(model: nn.Module) -> dict[str, list[float]]:
    """Return the singular values of what the reader trained, by the name of the matrix."""
    found = {}
    for name, layer in core.adapters(model).items():
        sigma = spectra.singular_values((layer.merged().weight - layer.base.weight).detach())
        found[name] = [s for s in sigma.tolist() if s > 1e-5 * sigma[0]]
    return found


def updates(record: Mapping, place: str, block: int, own: Sigmas | None = None) -> Spectra:
    """Read what is recorded of one matrix."""
    matrix = f"bert.encoder.layer.{block}.attention.self.{place}"
    found = {run: record["spectra"][run][matrix]["sigma"] for run in DRAWN}
    return Spectra(f"{place}, block {block}", found | ({YOURS: own[matrix]} if own else {}),
                   record["spectra"][WEIGHT][matrix]["sigma"])


def draw_updates(found: Spectra) -> Figure:
    """Draw the share of the energy of ΔW that its k strongest directions hold, and of W itself."""
    made, ax = figure(8, 4.4)
    for run, sigma in {**found.updates, WEIGHT: found.weight}.items():
        share, n = energy(sigma), len(sigma)
        ax.plot(range(1, n + 1), share, **_style(run), ms=5, markevery=[0, n - 1])
        k = {FULL: 20, WEIGHT: 60, YOURS: 1}.get(run)
        place, offset = ((n, 1.0), (-8, 8)) if k is None else ((k, share[k - 1]), (8, -8))
        ax.annotate(label(run), place, xytext=offset, textcoords="offset points", fontsize=9,
                    color=_style(run)["color"])
    ax.axhline(0.9, color=COLOURS["quiet"], lw=1)
    logarithmic(ax, "x")
    ax.set(xlabel="strongest directions, k", ylabel="share of the energy in them",
           title=found.matrix, xlim=(0.9, 420), ylim=(0, 1.1))
    plain_ticks(ax.xaxis, (1, 4, 16, 64, 384))
    in_percent(ax.yaxis)
    made.set_label(f"Updates of {found.matrix}. 90 % of the energy lies in: " + "; ".join(
        f"{label(run)}: {spectra.energy_rank(torch.tensor(sigma))} directions of {len(sigma)}"
        for run, sigma in found.updates.items()) + ".")
    return made


def energy(sigma: Sequence[float]) -> list[float]:
    """Return the share of the energy in the first k directions, for each k."""
    energy = torch.tensor(sigma).square()
    return (energy.cumsum(0) / energy.sum()).tolist()


def _style(run: str) -> dict:
    """How a run is drawn: colour, dash and marker."""
    if run == FULL:
        return {"color": COLOURS["full"], "ls": "-", "marker": ""}
    if run == WEIGHT:
        return {"color": COLOURS["ink"], "ls": ":", "marker": ""}
    if run == YOURS:
        return {"color": COLOURS["yours"], "ls": "--", "marker": "X"}
    return {"color": COLOURS["lora"], "ls": "-", "marker": MARKERS[run]}


def label(run: str) -> str:
    """What stands at the end of a run's line."""
    return {FULL: "full", WEIGHT: "W itself", YOURS: "yours",
            "64": "rank 64, α = 16"}.get(run, f"rank {run}")


def explore_updates(record: Mapping, own: Sigmas | None = None) -> Explorer:
    """Where the energy of ΔW lies, by matrix: LoRA of three ranks, full fine-tuning, and yours."""
    controls = {
        "place": ipw.ToggleButtons(options=("query", "value"), description="place"),
        "block": ipw.ToggleButtons(options=range(DEPTH), value=2, description="block",
                                   style={"button_width": "48px"}),
    }
    return Explorer(
        controls, lambda **s: updates(record, **s, own=own), draw_updates,
        lambda found: "In how many directions the energy of the change lies. A LoRA of rank r has "
                      "r directions and no more.")


# ── of all matrices ──────────────────────────────────────────────────────────────────────────


def cuts(record: Mapping, of_full: Mapping) -> pandas.DataFrame:
    """Return the accuracy by k and run, when each ΔW is cut to its k strongest directions.

    `record` is `records.load("lora")`; `of_full` is `records.load("change")`, where full
    fine-tuning's updates of all 36 matrices were cut.
    """
    tables = [t["kept"] for run, t in of_full["truncated"].items() if run.startswith("update")]
    full = {k: mean(t[k] for t in tables) for k in tables[0]}
    frame = pandas.DataFrame({"8": record["cut"]["8"], "64": record["cut"]["64"], FULL: full})
    return frame.set_axis(frame.index.astype(int)).sort_index().drop(0)    # at 0 the head is alone


def draw_cuts(found: pandas.DataFrame) -> Figure:
    """Draw the accuracy against the number of directions that are kept."""
    made, ax = figure(8, 3.8)
    for run, left in found.items():
        left = left.dropna()
        ax.plot(left.index, left, **_style(run), ms=5)
        ax.annotate(label(run), (left.index[-1], left.iloc[-1]), xytext=(4, -4), va="top",
                    textcoords="offset points", fontsize=9, color=_style(run)["color"])
    ticks = (1, 2, 4, 8, 16, 32, 64, 128, 384)
    draw_ends(ax)
    logarithmic(ax, "x")
    plain_ticks(ax.xaxis, ticks)
    ax.set(xlabel="directions that each ΔW keeps", ylabel="test accuracy")
    in_percent(ax.yaxis)
    made.set_label("Accuracy with each ΔW cut to k directions. " + "; ".join(
        f"{label(run)}: " + ", ".join(f"{k}: {a:.1%}" for k, a in left.dropna().items())
        for run, left in found.items()) + ".")
    return made
