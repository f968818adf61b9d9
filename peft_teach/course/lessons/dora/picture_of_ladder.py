"""The ladder so far: eight methods on one block, under one equation, counted for one's own model.

    h ← h + scale · something learned
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from torch import nn

from .... import account, models, outlines
from ....methods import bottleneck, dora, full, ia3, lora, prefix, prompt
from ....plots import COLOURS, figure

LENGTH, RANK = 10, 8
QUERY_VALUE = ("query", "value")
STAYS = "cannot merge: "


@dataclass(frozen=True)
class Rung:
    """A method: what it adds to h, where, times what, and whether a weight can take it in."""

    name: str
    detail: str
    added: str
    where: str
    scale: str
    merges: str
    inject: Callable[[nn.Module], nn.Module]


def _lora(model: nn.Module) -> nn.Module:
    return lora.inject(model, lora.Config(rank=RANK, targets=lora.where(model, None)))


RUNGS = (
    Rung("full", "all weights", "x ΔWᵀ", "every matrix", "1", "is the weight", full.inject),
    Rung("prompt", f"{LENGTH} vectors", "λ (attention to P − h)", "the first layer's input",
         "softmax's share λ", STAYS + "differs by sentence",
         lambda model: prompt.inject(model, prompt.Config(length=LENGTH))),
    Rung("prefix", f"{LENGTH} vectors", "λ (attention to K, V − h)", "every attention",
         "softmax's share λ", STAYS + "differs by sentence",
         lambda model: prefix.inject(model, prefix.Config(length=LENGTH))),
    Rung("adapter", "size 64", "gelu(h Dᵀ) Uᵀ", "after each sub-layer", "1",
         STAYS + "not linear",
         lambda model: bottleneck.inject(model, bottleneck.HOULSBY)),
    Rung("IA³", "gains", "(l − 1) ⊙ h", "keys, values, inner layer", "learned l",
         "merges into W", ia3.inject),
    Rung("LoRA", f"rank {RANK}", "s · x (BA)ᵀ", "query, value", "s = α / r", "merges into W",
         _lora),
    Rung("QLoRA", f"rank {RANK}", "s · x (BA)ᵀ", "query, value, beside four bits", "s = α / r",
         "merges into 16 bits, not into 4", _lora),    # four bits are frozen: LoRA's count
    Rung("DoRA", f"rank {RANK}", "(g − 1) ⊙ x Wᵀ + g ⊙ s · x (BA)ᵀ", "query, value",
         "learned g = m / ‖V‖", "merges into W",
         lambda model: dora.inject(model, dora.Config(rank=RANK))),
)


def ladder(model: nn.Module | None = None) -> pandas.DataFrame:
    """Return the methods, with what each trains on this model (MiniLM without one), head excluded.

    Counted on fresh copies without numbers, so what is on the model already does not matter.
    """
    model = outlines.outline("minilm") if model is None else model
    make, config = type(model), models.config_of(model)
    rows = {}
    for rung in RUNGS:
        with torch.device("meta"):
            fresh = rung.inject(make(config))
        rows[f"{rung.name}, {rung.detail}"] = {
            "what is added to h": rung.added, "where": rung.where, "scaled by": rung.scale,
            "trained": account.parameters(fresh).adapter, "merges": rung.merges}
    return pandas.DataFrame(rows).T


# ── drawn ────────────────────────────────────────────────────────────────────────────────────

TRAINED, FROZEN = COLOURS["lora"], COLOURS["quiet"]
TALL, WIDE = 10.4, 100             # of a row, and of all, in units of the drawing
LETTERS = {"q": 2.6, "k": 0.0, "v": -2.6}


def draw_ladder(model: nn.Module | None = None) -> Figure:
    """Draw the eight methods, each on the same block, with its equation and its count."""
    table = ladder(model)
    made, ax = figure(9.2, 8.2)
    ax.axis("off")
    top = TALL * len(RUNGS)
    ax.set(xlim=(0, WIDE), ylim=(0, top + 6.4))
    _legend(ax, top + 4.8)
    for x, text in ((20.6, "embeddings"), (31, "q, k, v"), (41, "softmax"), (49, "out"),
                    (60.5, "feed-forward"), (70, "h ← h + …")):
        ax.text(x, top + 1.3, text, fontsize=10.5, va="center",
                ha="left" if x == 70 else "center", weight="bold" if x == 70 else "normal")
    for i, (rung, trained) in enumerate(zip(RUNGS, table.trained)):
        y = top - TALL * (i + 0.5)
        ax.axhline(y + TALL / 2, color=COLOURS["frozen"], lw=1)
        ax.text(0, y + 2.0, rung.name, fontsize=13, weight="bold", va="center")
        ax.text(0, y - 0.5, rung.detail, fontsize=10.5, va="center")
        ax.text(0, y - 2.9, f"{trained:,}", fontsize=10.5, va="center", color=TRAINED)
        _block(ax, y, rung.name)
        ax.text(70, y + 1.4, rung.added, fontsize=12.5, va="center")
        ax.text(70, y - 1.8, rung.merges, fontsize=10.5, va="center",
                color=COLOURS["rest" if rung.merges.startswith(STAYS) else "ink"])
    made.set_label("What each method adds to h, trains and becomes. " + "; ".join(
        f"{name}: {rung.added}, {rung.where}, {trained:,}, {rung.merges}"
        for rung, (name, trained) in zip(RUNGS, table.trained.items())) + ".")
    return made


def _legend(ax, y: float) -> None:
    for x, text, style in ((14, "frozen", {"fc": FROZEN}), (30, "trained", {"fc": TRAINED}),
                           (47, "frozen, in four bits", {"fc": FROZEN, "hatch": "////"})):
        ax.add_patch(Rectangle((x, y - 0.9), 1.8, 1.8, ec=COLOURS["ink"], lw=0.6, **style))
        ax.text(x + 2.6, y, text, fontsize=10.5, va="center")


def _block(ax, y: float, method: str) -> None:
    """Draw one block from left to right, and what the method trains in it."""
    frozen = {"fc": TRAINED if method == "full" else FROZEN, "ec": COLOURS["ink"], "lw": 0.6,
              "zorder": 2, "hatch": "////" if method == "QLoRA" else None}
    own = {"fc": TRAINED, "ec": COLOURS["ink"], "lw": 0.6, "zorder": 3}

    def box(x: float, middle: float, width: float, height: float, **style) -> None:
        ax.add_patch(Rectangle((x, middle - height / 2), width, height, **style))

    def line(*points: tuple[float, float]) -> None:
        ax.plot(*zip(*points), color=COLOURS["rest"], lw=1, zorder=1)

    for n in range(4):                                                # the sentence
        box(17 + 2 * n, y, 1.6, 1.6, **{**frozen, "hatch": None})
    for letter, up in LETTERS.items():
        line((25, y), (27, y), (27, y + up), (39, y + up))
        box(29, y + up, 2.1, 2.1, **frozen)
        if method != "QLoRA":
            ax.text(30.05, y + up - 0.1, letter, fontsize=9.5, ha="center", va="center", zorder=4)
    box(39, y, 4, 7.6, fc=COLOURS["paper"], ec=COLOURS["ink"], lw=0.8, zorder=2)
    line((43, y), (67.5, y))
    ax.annotate("", (68, y), (66, y), arrowprops={"arrowstyle": "->", "lw": 1,
                                                  "color": COLOURS["rest"]})
    box(47.5, y, 2.2, 2.2, **frozen)
    for x in (56, 61.5):
        box(x, y, 2.2, 6, **frozen)
    if method == "prompt":
        for n in range(3):
            box(11 + 2 * n, y, 1.6, 1.6, **own)
    if method == "prefix":
        for up in (LETTERS["k"], LETTERS["v"]):
            for n in range(3):
                box(33.4 + 1.8 * n, y + up, 1.5, 1.5, **own)
    if method == "adapter":
        for x in (51, 64):
            ax.add_patch(Polygon([(x, y - 2), (x, y + 2), (x + 1.3, y + 0.6), (x + 2.6, y + 2),
                                  (x + 2.6, y - 2), (x + 1.3, y - 0.6)], **own))
    if method in ("LoRA", "QLoRA", "DoRA"):
        for up, side in ((LETTERS["q"], 1), (LETTERS["v"], -1)):
            box(31.4, y + up, 0.8, 2.1, **own)
            box(29, y + up + side * 1.65, 2.1, 0.8, **own)
    gains = {"IA³": ((34, "k"), (34, "v")), "DoRA": ((34, "q"), (34, "v"))}
    for x, letter in gains.get(method, ()):
        box(x, y + LETTERS[letter], 0.7, 2.2, **own)
    if method == "IA³":
        box(59.6, y, 0.7, 6, **own)
