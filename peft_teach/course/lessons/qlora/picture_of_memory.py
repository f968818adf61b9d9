"""What fits on a card: full fine-tuning, LoRA and QLoRA of 1 to 70 billion parameters.

Weights and gradients in 16 bits, Adam's copy of the weights and its moments in 32, as in lesson 00;
adapters and all of theirs in 32, and so with QLoRA the word vectors at both ends, as peft's
`prepare_model_for_kbit_training` casts them.
Adam is fused, as transformers' Trainer has it: torch's default on a GPU takes working space
besides, as much as the moments' dtype makes of what trains. What a token leaves in a block is
measured on `outlines` and goes with the width; LoRA on all matrices keeps as much of it as full
fine-tuning, for the gradient of A needs each layer's input, too.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets as ipw
import numpy as np
import pandas
from matplotlib.figure import Figure

from .... import account, outlines
from ....plots import (
    COLOURS,
    HALO,
    SERIES,
    claim,
    entitle,
    figure,
    logarithmic,
    name_ends,
    plain_ticks,
)
from ....widgets import Explorer

# Llamas: width, blocks, width of keys and values, feed-forward. Zhang et al. 2024, 2401.02385;
# Touvron et al. 2023, 2302.13971, table 2, and 2307.09288 (the last).
SHAPES = ((2048, 22, 256, 5632), (4096, 32, 4096, 11_008), (5120, 40, 5120, 13_824),
          (6656, 60, 6656, 17_920), (8192, 80, 8192, 22_016), (8192, 80, 1024, 28_672))
WORDS, RANK = {"Llama 2": 32_000, "Llama 3": 128_256}, 16
MEASURED = WORDS["Llama 2"]      # of the outline on which `token_bytes` measures
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8    # a weight, with double quantization
FULL, LORA, QLORA = "full fine-tuning", "LoRA", "QLoRA"
METHODS = {FULL: COLOURS["full"], LORA: COLOURS["lora"], QLORA: SERIES[0][0]}


def sizes(shape: tuple[int, int, int, int], words: int) -> tuple[int, int, int]:
    """Return the weights in the blocks' matrices, outside of them, and LoRA's on all of them."""
    d, blocks, kv, ff = shape
    matrices = ((d, d), (d, kv), (d, kv), (d, d), (d, ff), (d, ff), (ff, d))
    return (blocks * sum(a * b for a, b in matrices), 2 * words * d,
            blocks * RANK * sum(a + b for a, b in matrices))


@functools.cache
def token_bytes() -> tuple[float, float]:
    """Measure what a token leaves in a block, per unit of its width, and above the last block.

    In bfloat16, with an attention that keeps no pairs of tokens.
    """
    one, two = (account.activation_law(outlines.outline("llama-2-7b", blocks, "bfloat16"))[2]
                for blocks in (1, 2))
    return (two - one) / SHAPES[1][0], 2 * one - two


def bills(tokens: int, words: int) -> dict[str, pandas.DataFrame]:
    """Return GB by method: a row a model, by its billions of parameters, and a column a part.

    `tokens` are those of a batch; a block keeps its input alone, and all else is computed once
    more. What is kept above the last block goes with the number of words that the model knows.
    """
    rows: dict[str, dict] = {method: {} for method in METHODS}
    in_block, above = token_bytes()
    for shape in SHAPES:
        (inside, outside, adapters), (d, blocks, *_) = sizes(shape, words), shape
        kept = (2 * blocks + in_block) * d
        for method, of in rows.items():
            n, held = (adapters, 4) if method != FULL else (inside + outside, 2)
            frozen = {FULL: 0, LORA: 2 * inside + 2 * outside,
                      QLORA: NF4_BYTES * inside + 4 * outside}[method]
            parts = {"weights": frozen + held * n, "gradients": held * n,
                     "optimizer": (16 - 2 * held) * n,
                     "activations": tokens * (kept + above * words / MEASURED)}
            of[(inside + outside) / 1e9] = parts | {"total": sum(parts.values())}
    return {method: pandas.DataFrame(of).T / 1e9 for method, of in rows.items()}


def memory(tokens: int = 512) -> pandas.DataFrame:
    """Return GB by method and by what they are for, of the largest model: Llama 3 70B."""
    return pandas.DataFrame({method: of.iloc[-1] for method, of in bills(
        tokens, WORDS["Llama 3"]).items()}).T


@dataclass(frozen=True)
class Memory:
    """What training takes, by method, and a card."""

    card: int
    bills: Mapping[str, pandas.DataFrame]

    @property
    def fits(self) -> dict[str, float]:
        """The largest model that fits, in billions, by method; 0 where not even the smallest."""
        return {method: np.exp(np.interp(*map(np.log, (self.card, of.total, of.index))))
                if of.total.min() <= self.card else 0.0 for method, of in self.bills.items()}

    @property
    def told(self) -> str:
        """What fits, in words."""
        return f"On {self.card} GB fit, in billions: " + ", ".join(
            f"{method} {f'{b:.3g}' if b else 'none'}" for method, b in self.fits.items())


def draw_memory(found: Memory) -> Figure:
    """Draw memory against size, and where each method meets the card."""
    made, ax = figure(8.4, 4.6)
    ax.plot([1, 70], [found.card] * 2, color=COLOURS["ink"], lw=1.5)
    ax.text(1.05, found.card * 1.08, f"your card: {found.card} GB", fontsize=11, path_effects=HALO)
    for method, of in found.bills.items():
        colour, b = METHODS[method], found.fits[method]
        ax.plot(of.index, of.total, color=colour, lw=2.5)
        if b:
            top = min(found.card, of.total.iloc[-1])
            ax.plot([b, b], [1, top], color=colour, lw=1.2, ls=":")
            ax.plot(b, top, "o", color=colour, ms=8)
            ax.text(b, 1.15, f" {b:.3g} B", color=colour, fontsize=11, path_effects=HALO)
    logarithmic(ax)
    plain_ticks(ax.xaxis, (1, 2, 4, 8, 16, 32, 70))
    entitle(ax, "parameters, in billions", "GB")
    ax.set(xlim=(1, 120), ylim=(
        1, max(1500, *(2 * of.total.max() for of in found.bills.values()))))
    name_ends(ax, {method: (of.total.iloc[-1], METHODS[method])
                   for method, of in found.bills.items()})
    claim(made, found.told, "GB from the smallest to the largest model: " + "; ".join(
        f"{method}: " + ", ".join(f"{gb:.3g}" for gb in of.total)
        for method, of in found.bills.items()) + ".")
    return made


def explore_memory() -> Explorer:
    """What fits on a card: full fine-tuning, LoRA, QLoRA, at a length and a batch."""
    controls = {
        "card": ipw.ToggleButtons(options=[(f"{gb} GB", gb) for gb in (24, 48, 80)], value=48,
                                  description="card"),
        "words": ipw.ToggleButtons(options=[(f"{of}: {words:,}", words)
                                            for of, words in WORDS.items()],
                                   value=WORDS["Llama 3"], description="words"),
        "tokens": ipw.SelectionSlider(options=(128, 512, 2048, 8192, 32_768), value=512,
                                      description="tokens"),
    }
    return Explorer(controls, lambda card, **setting: Memory(card, bills(**setting)), draw_memory,
                    lambda found: (
                        "Weights in 16 bits, or in 4 with the word vectors in 32; Adam and its "
                        f"copy in 32; adapters of rank {RANK} on all matrices; activations "
                        "recomputed."))
