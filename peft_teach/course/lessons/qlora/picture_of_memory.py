"""What fits on a card: memory of 1 to 70 billion parameters, full fine-tuning, LoRA and QLoRA.

Weights and gradients in 16 bits, Adam's moments in 32 (Rajbhandari et al. 2020, arXiv 1910.02054);
adapters and all that belongs to them in 32. Activations are measured on `outlines`, and go with
width, depth and tokens; LoRA on all matrices keeps as many as full fine-tuning, for the gradient of
A needs each layer's input, too.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import numpy as np
import pandas
from matplotlib.figure import Figure

from .... import account, outlines
from ....account import Ledger
from ....plots import COLOURS, HALO, SERIES, figure, logarithmic, plain_ticks
from ....widgets import Explorer

# Llamas: width, blocks, width of keys and values, feed-forward. Zhang et al. 2024, 2401.02385;
# Touvron et al. 2023, 2302.13971, table 2, and 2307.09288 (the last).
SHAPES = ((2048, 22, 256, 5632), (4096, 32, 4096, 11_008), (5120, 40, 5120, 13_824),
          (6656, 60, 6656, 17_920), (8192, 80, 8192, 22_016), (8192, 80, 1024, 28_672))
WORDS, RANK = 32_000, 16
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8    # a weight, with double quantization
METHODS = {"full fine-tuning": COLOURS["full"], "LoRA": COLOURS["lora"], "QLoRA": SERIES[0][0]}
CARDS = (24, 48, 80)
# Method, billions of parameters, GB, marker; where from: see the caption.
PUBLISHED = (("full fine-tuning", 65, 780, "^"), ("QLoRA", 65, 48, "v"),
             ("LoRA", 8, 16.2 * 1.074, "o"), ("QLoRA", 8, 7.4 * 1.074, "o"))    # from GiB
SOURCES = ("Hollow: published. Triangles: 65 billion, from more than 780 GB to less than 48 GB "
           "(Dettmers et al. 2023). Circles: Llama 3.1 8B, 2 × 2,048 tokens (README of torchtune).")


def sizes(shape: tuple[int, int, int, int]) -> tuple[int, int, int]:
    """Return the weights in the blocks' matrices, outside of them, and LoRA's on all of them."""
    d, blocks, kv, ff = shape
    matrices = ((d, d), (d, kv), (d, kv), (d, d), (d, ff), (d, ff), (ff, d))
    return (blocks * sum(a * b for a, b in matrices), 2 * WORDS * d,
            blocks * RANK * sum(a + b for a, b in matrices))


@functools.cache
def activation_bytes() -> tuple[float, float]:
    """Measure what a token leaves in a block, by the block's width, and above the last one.

    In bfloat16, with an attention that keeps no pairs of tokens.
    """
    one, two = (account.activation_law(outlines.outline("llama-2-7b", blocks, "bfloat16"))[2]
                for blocks in (1, 2))
    return (two - one) / SHAPES[1][0], 2 * one - two


def ledger(method: str, shape: tuple[int, int, int, int], length: int, batch: int,
           recompute: bool) -> Ledger:
    """Return the bytes of training a model of this shape."""
    (inside, outside, adapters), (d, blocks, *_) = sizes(shape), shape
    in_block, above = activation_bytes()
    kept = (2 * blocks + in_block) * d if recompute else blocks * in_block * d
    activations = batch * length * (kept + above)
    if method == "full fine-tuning":
        n = inside + outside
        return Ledger(2 * n, 2 * n, 8 * n, round(activations))
    held = NF4_BYTES if method == "QLoRA" else 2
    return Ledger(round(held * inside + 2 * outside + 4 * adapters), 4 * adapters, 8 * adapters,
                  round(activations))


def memory(billions: float, length: int = 512, batch: int = 1,
           recompute: bool = True) -> pandas.DataFrame:
    """Return GB by method and by what they are for; interpolated between models that exist.

    With `recompute` a block keeps its input alone, and all else is computed once more.
    """
    known = [math.log(sum(sizes(shape)[:2]) / 1e9) for shape in SHAPES]
    parts = ("weights", "gradients", "optimizer", "activations", "total")
    rows = {}
    for method in METHODS:
        found = [ledger(method, shape, length, batch, recompute) for shape in SHAPES]
        rows[method] = {part: math.exp(np.interp(math.log(billions), known, [
            math.log(getattr(each, f"{part}_bytes") / 1e9) for each in found])) for part in parts}
    return pandas.DataFrame(rows).T


@dataclass(frozen=True)
class Memory:
    """Total GB by method and billions of parameters, and what fits on a card."""

    card: int
    totals: Mapping[str, Mapping[float, float]]

    @property
    def fits(self) -> dict[str, float | None]:
        """The largest model that fits, in billions, by method; None where not even the smallest."""
        return {method: max((b for b, gb in of.items() if gb <= self.card), default=None)
                for method, of in self.totals.items()}


def card(card: int, length: int, batch: int, recompute: bool) -> Memory:
    """Return what a card holds."""
    grid = [float(b) for b in np.geomspace(1.1, 70, 120)]
    tables = {b: memory(b, length, batch, recompute).total for b in grid}
    return Memory(card, {method: {b: tables[b][method] for b in grid} for method in METHODS})


def draw_memory(found: Memory) -> Figure:
    """Draw memory against size, and where each method meets the card."""
    made, ax = figure(9.2, 4.8)
    ax.axhline(found.card, color=COLOURS["ink"], lw=1.5)
    ax.text(1.05, found.card * 1.06, f"your card: {found.card} GB", fontsize=11, path_effects=HALO)
    for method, of in found.totals.items():
        colour, largest = METHODS[method], found.fits[method]
        ax.plot(list(of), list(of.values()), color=colour, lw=2.5)
        ax.text(75, list(of.values())[-1], method, color=colour, fontsize=11, va="center")
        if largest:
            ax.plot([largest] * 2, [1, of[largest]], color=colour, lw=1.2, ls=":")
            ax.plot(largest, of[largest], "o", color=colour, ms=8)
            ax.text(largest, 1.15, f" {largest:.2g} B", color=colour, fontsize=11,
                    path_effects=HALO)
    for method, b, gb, marker in PUBLISHED:
        ax.plot(b, gb, marker, ms=10, mfc="none", mew=1.8, color=METHODS[method])
    logarithmic(ax)
    plain_ticks(ax.xaxis, (1, 2, 4, 8, 16, 32, 70))
    ax.set(xlabel="parameters, in billions", ylabel="GB", xlim=(1, 180), ylim=(1, 1500))
    made.set_label(f"On {found.card} GB fit: " + "; ".join(
        f"{method}: {f'{b:.2g} billion' if b else 'not 1.1 billion'}"
        for method, b in found.fits.items()) + ". At 7 and 65 billion, GB: " + "; ".join(
        f"{method}: " + ", ".join(f"{np.interp(b, list(of), list(of.values())):.3g}"
                                  for b in (7, 65)) for method, of in found.totals.items()) + ".")
    return made


def explore_memory() -> Explorer:
    """What fits on a card: full fine-tuning, LoRA, QLoRA, at a length and a batch."""
    controls = {
        "card": ipw.ToggleButtons(options=[(f"{gb} GB", gb) for gb in CARDS], value=48,
                                  description="card"),
        "length": ipw.SelectionSlider(options=(128, 256, 512, 1024, 2048, 4096), value=512,
                                      description="tokens"),
        "batch": ipw.SelectionSlider(options=(1, 2, 4, 8, 16), value=1, description="batch"),
        "recompute": ipw.Checkbox(value=True, description="recompute activations"),
    }
    return Explorer(controls, card, draw_memory, lambda found: "; ".join(
        f"{method}: up to {b:.2g} billion" if b else f"{method}: not even 1.1 billion"
        for method, b in found.fits.items()) + f" on {found.card} GB. " + SOURCES)
