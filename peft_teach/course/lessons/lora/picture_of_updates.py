"""What an update is from inside: its singular values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import torch
from matplotlib.figure import Figure
from torch import nn

from .... import spectra
from ....adapter import adapters
from ....plots import COLOURS, claim, figure
from ....widgets import Explorer
from .setting import DEPTH

YOURS, FULL, WEIGHT = "yours", "full", "weight"
DRAWN = ("1", "8", "64", FULL)
HUES = {WEIGHT: COLOURS["quiet"], FULL: COLOURS["full"], "64": COLOURS["lora"],
        "8": COLOURS["lora"], YOURS: COLOURS["yours"]}

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
    for name, layer in adapters(model).items():
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
    """Draw how many directions hold 90 % of the energy of each ΔW, and of W itself."""
    made, ax = figure(8.4, 3)
    of = {WEIGHT: found.weight, **found.updates}
    rows = {label(run): (spectra.energy_rank(torch.tensor(of[run])), len(of[run]), colour)
            for run, colour in HUES.items() if run in of}
    for name, (count, n, colour) in rows.items():
        ax.barh(name, count, color=colour)
        ax.barh(name, n, fc="none", ec=COLOURS["quiet"], lw=1)    # all that it has
        ax.text(n + 5, name, f"{count} of {n}", va="center", fontsize=11)
    ax.set(xlabel="directions that hold 90% of the energy", xlim=(0, 470))
    ax.invert_yaxis()
    ax.tick_params("y", labelsize=11, length=0)
    claim(made, f"{found.matrix.capitalize()}: full fine-tuning spreads its change, LoRA does not",
          "90 % of the energy lies in: " + "; ".join(
              f"{name}: {count} directions of {n}" for name, (count, n, _) in rows.items()) + ".")
    return made


def label(run: str) -> str:
    """The label beside a run."""
    return {FULL: "full fine-tuning", WEIGHT: "W itself", YOURS: "yours",
            "64": "rank 64, α = 16"}.get(run, f"rank {run}")


def explore_updates(record: Mapping, own: Sigmas | None = None) -> Explorer:
    """Where the energy of ΔW lies, by matrix: LoRA of two ranks, full fine-tuning, and yours."""
    controls = {
        "place": ipw.ToggleButtons(options=("query", "value"), description="place"),
        "block": ipw.ToggleButtons(options=range(DEPTH), value=2, description="block",
                                   style={"button_width": "48px"}),
    }
    return Explorer(
        controls, lambda **s: updates(record, **s, own=own), draw_updates,
        lambda found: "In how many of its directions the energy of a change lies. The recorded "
                      f"runs learned labels{', yours learned ratings' * (own is not None)}.")
