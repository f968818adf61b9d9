"""Pictures of lesson 00: where the parameters are, what one token reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import numpy as np
import torch
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from .... import outlines
from ....plots import COLOURS, claim, figure
from ....widgets import Explorer
from .look import prepared, queries_keys_values, unlabelled, weights_of
from .picture_of_step import bill, example, explore_step, fullest
from .steps import held_after_a_step, put_aside, six_steps, through_a_step

__all__ = ["bill", "draw_reading", "explore_parameters", "explore_step", "fullest",
           "held_after_a_step", "prepared", "put_aside", "queries_keys_values", "six_steps",
           "through_a_step", "unlabelled", "weights_of"]

PARTS = {"embeddings": "embeddings", "query": "attention", "key": "attention",
         "value": "attention", "attention_out": "attention", "attention_norm": "rest",
         "ffn_in": "feed_forward", "ffn_gate": "feed_forward", "ffn_out": "feed_forward",
         "ffn_norm": "rest", "other": "rest", "head": "head"}


# ── what one token reads ─────────────────────────────────────────────────────────────────────


def draw_reading(tokens: Sequence[str], reader: int, query: Tensor, keys: Tensor,
                 values: Tensor) -> Figure:
    """Draw what one token reads in one head: an arc a token, and the values, added up.

    query (width,), the reader's; keys and values (tokens, width). An arc is as thick as its share;
    below it the value times the share, its entries from top to bottom, to the right and left of a
    thin line.
    """
    shares = (keys @ query / len(query)**0.5).softmax(0)
    made, ax = figure(9.2, 4.4)
    n, parts = len(tokens), (shares[:, None] * values).numpy()
    read, depth = parts.sum(0), np.linspace(0, 1, parts.shape[1])
    scale = 0.9 / abs(parts).max()
    half = np.linspace(0, np.pi, 40)
    for j, (token, share) in enumerate(zip(tokens, shares.tolist())):
        middle, far = (j + reader) / 2, abs(j - reader) / 2 or 0.25
        ax.plot(middle + far * np.cos(half), 1.35 + 1.5 * far / n * np.sin(half),
                color=COLOURS["attention"], lw=max(12 * share, 0.3))
        ax.text(j, 1.2, token, ha="center", va="center", rotation=45, fontsize=11,
                weight="bold" if j == reader else "normal")
        ax.text(j, 0.98, f"{share:.0%}", ha="center", va="center", fontsize=9)
    for x, entries in (*enumerate(parts), (n + 1, read)):
        ax.plot([x, x], [-0.2, 0.85], color=COLOURS["quiet"], lw=0.8)
        ax.fill_betweenx(0.85 - 1.05 * depth, x, x + scale * entries, step="mid",
                         color=COLOURS["attention"], lw=0)
    ax.text(n, 0.33, "=", ha="center", va="center", fontsize=16)
    ax.text(n + 1, 1.2, "read", ha="center", va="center", fontsize=11)
    ax.set(xlim=(-0.8, n + 2), ylim=(-0.25, 2.2))
    ax.axis("off")
    most = int(shares.argmax())
    claim(made, f"In one head “{tokens[reader]}” reads “{tokens[most]}” most: {shares[most]:.0%}",
          "; ".join(f"{token} {share:.0%}" for token, share in zip(tokens, shares.tolist())))
    return made


# ── where the parameters are ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Parameters:
    """The parameters of a known model by place."""

    model: str
    sizes: Mapping[str, int]
    blocks: int


def draw_parameters(found: Parameters) -> Figure:
    """Draw every parameter of a model as area, by place and block."""
    made, ax = figure(9, 4)
    total, sizes = sum(found.sizes.values()), found.sizes
    block = {place: sizes[place] // found.blocks for place in PARTS
             if place in sizes and place not in ("embeddings", "other", "head")}
    columns = [{"embeddings": sizes["embeddings"]},
               {place: sizes[place] for place in ("other", "head")}, *[block] * found.blocks]
    left, gap, areas = 0.0, 0.004 * total, []
    for i, parts in enumerate(columns):
        width, bottom, below = sum(parts.values()), 1.0, 1.1
        for place, size in parts.items():
            height = size / width if width else 0
            bottom -= height
            areas.append(Rectangle((left, bottom), width, height, facecolor=COLOURS[PARTS[place]],
                                   edgecolor=COLOURS["paper"], lw=0.6))
            if i == found.blocks + 1 and height > 0.02:
                below = min(bottom + height / 2, below - 0.06)    # not onto the name before
                ax.text(left + width + 2 * gap, below, va="center",
                        s=f"{place}, {size * found.blocks / total:.1%}")
        left += width + gap
    ax.text(0, 1.02, f"embeddings, {sizes['embeddings'] / total:.1%}", va="bottom")
    ax.text(left - found.blocks * (width + gap) / 2, 1.02, f"{found.blocks} blocks", ha="center",
            va="bottom")
    ax.add_collection(PatchCollection(areas, match_original=True))    # at once: half the time
    ax.set(xlim=(0, left * 1.23), ylim=(0, 1.08))
    ax.axis("off")
    words = sizes["embeddings"] / total
    claim(made, f"{found.model}: {words:.1%} of {total:,} parameters are a table of words",
          "; ".join(f"{place}: {size:,} ({size / total:.1%})"
                    for place, size in sizes.items() if size))
    return made


def explore_parameters() -> Explorer:
    """Where the parameters of known models are: areas by place and block."""
    model = ipw.Dropdown(options=tuple(outlines.SIZES), description="model")
    return Explorer({"model": model}, lambda model: Parameters(
        model, outlines.counts(model), outlines.depth(model)), draw_parameters, lambda found: (
        "Area is the number of parameters. Grey, beside the embeddings: in a BERT the pooler, a "
        "layer for the vector of [CLS], and the classifier; in the other models the norms and any "
        "separate output layer."))


EXAMPLES = {
    "reading": lambda: draw_reading(
        ("[CLS]", "a", "film"), 2, torch.tensor([1.0]), torch.tensor([[1.0], [2.0], [1.0]]).log(),
        torch.tensor([[4.0, 0.0, 0.0], [0.0, 2.0, -2.0], [-4.0, 0.0, 4.0]])),
    "parameters": explore_parameters,
    "step": lambda: explore_step(example()),
}
