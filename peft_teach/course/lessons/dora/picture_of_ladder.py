"""The ladder so far: eight methods on one block, under one equation, counted for MiniLM.

    h ← h + scale · something learned
"""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from torch import nn

from .... import account, models, outlines
from ....methods import bottleneck, dora, full, ia3, lora, prefix, prompt
from ....plots import COLOURS, figure

LENGTH, RANK = 10, 8
STAYS = "cannot merge: "


@dataclass(frozen=True)
class Rung:
    """A method: what it adds to h, where, and whether a weight can take it in."""

    name: str
    detail: str
    added: str
    where: str
    merges: str
    inject: Callable[[nn.Module], nn.Module]


def _lora(model: nn.Module) -> nn.Module:
    return lora.inject(model, lora.Config(rank=RANK, targets=models.query_and_value(model)))


RUNGS = (
    Rung("full", "all weights", "x ΔWᵀ", "every matrix", "nothing to merge", full.inject),
    Rung("prompt", f"{LENGTH} vectors", "λ (attention to P − h)", "the first layer's input",
         STAYS + "differs by sentence",
         lambda model: prompt.inject(model, prompt.Config(length=LENGTH))),
    Rung("prefix", f"{LENGTH} vectors", "λ (attention to K, V − h)", "every attention",
         STAYS + "differs by sentence",
         lambda model: prefix.inject(model, prefix.Config(length=LENGTH))),
    Rung("adapter", "size 64", "gelu(h Dᵀ) Uᵀ", "after each sub-layer", STAYS + "not linear",
         lambda model: bottleneck.inject(model, bottleneck.HOULSBY)),
    Rung("IA³", "scaling", "(l − 1) ⊙ h", "keys, values, inner layer", "merges into W", ia3.inject),
    Rung("LoRA", f"rank {RANK}", "s · x (BA)ᵀ", "query, value", "merges into W", _lora),
    Rung("QLoRA", f"rank {RANK}", "s · x (BA)ᵀ", "query, value, beside four bits",
         "merges into 16 bits; into 4, by dice", _lora),    # four bits are frozen: LoRA's count
    Rung("DoRA", f"rank {RANK}", "(g − 1) ⊙ x Wᵀ + g ⊙ s · x (BA)ᵀ", "query, value",
         "merges into W", lambda model: dora.inject(model, dora.Config(rank=RANK))),
)


def trained() -> list[int]:
    """Return how many numbers each method trains in MiniLM, the head left out."""
    return [account.parameters(rung.inject(outlines.outline("minilm"))).adapter for rung in RUNGS]


# ── drawn ────────────────────────────────────────────────────────────────────────────────────

TRAINED, FROZEN = COLOURS["trained"], COLOURS["quiet"]
TALL, WIDE, TOLD = 10.4, 100, 64    # of a row, of all, where its words begin: units of the drawing
ABOVE = {"embeddings": 16.8, "q, k, v": 27, "softmax": 37, "out": 44, "feed-forward": 54}
LINES = {"q": 2.6, "k": 0.0, "v": -2.6}


def draw_ladder() -> Figure:
    """Draw the eight methods, each on the same block, with its equation and its count."""
    counts, top = trained(), TALL * len(RUNGS)
    made, ax = figure(9.2, 8.3)
    ax.axis("off")
    ax.set(xlim=(0, WIDE), ylim=(0, top + 7))
    for x, text, style in ((14, "frozen", {"fc": FROZEN}), (30, "trained", {"fc": TRAINED}),
                           (47, "frozen, in four bits", {"fc": FROZEN, "hatch": "////"})):
        ax.add_patch(Rectangle((x, top + 4.4), 1.8, 1.8, ec=COLOURS["ink"], lw=0.6, **style))
        ax.text(x + 2.6, top + 5.2, text, fontsize=12, va="center")
    for text, x in ABOVE.items():
        ax.text(x, top + 1.5, text, fontsize=11.5, va="center", ha="center")
    ax.text(TOLD, top + 1.5, "h ← h + …", fontsize=13.5, va="center", weight="bold")
    for i, (rung, count) in enumerate(zip(RUNGS, counts)):
        y = top - TALL * (i + 0.5)
        ax.axhline(y + TALL / 2, color=COLOURS["band"], lw=1)
        _block(ax, y, rung.name)
        never = rung.merges.startswith(STAYS)
        for x, up, text, style in (
                (0, 2.5, rung.name, {"fontsize": 14, "weight": "bold"}), (0, -0.4, rung.detail, {}),
                (0, -3.2, f"{count:,}", {"color": TRAINED}),
                (TOLD, 1.5, rung.added, {"fontsize": 13.5}),
                (TOLD, -1.9, rung.merges, {"color": COLOURS["rest" if never else "ink"]})):
            ax.text(x, y + up, text, va="center", **{"fontsize": 12, **style})
    made.set_label("What each method adds to h, where, what it trains, and whether it merges. "
                   + "; ".join(f"{rung.name}, {rung.detail}: {rung.added}, {rung.where}, "
                               f"{count:,}, {rung.merges}"
                               for rung, count in zip(RUNGS, counts)) + ".")
    return made


def _block(ax, y: float, method: str) -> None:
    """Draw one block from left to right, and what the method trains in it."""
    own = {"fc": TRAINED, "ec": COLOURS["ink"], "lw": 0.6, "zorder": 3}
    still = own | {"fc": TRAINED if method == "full" else FROZEN, "zorder": 2}
    matrix = still | {"hatch": "////" if method == "QLoRA" else None}

    def box(x: float, middle: float, width: float, height: float, style: dict) -> None:
        ax.add_patch(Rectangle((x, y + middle - height / 2), width, height, **style))

    def line(*points: tuple[float, float]) -> None:
        ax.plot(*zip(*((x, y + up) for x, up in points)), color=COLOURS["rest"], lw=1, zorder=1)

    for n in range(4):
        box(16.1 + 1.7 * n, 0, 1.4, 1.4, still)
    for letter, up in LINES.items():
        line((22.6, 0), (24.2, 0), (24.2, up), (36, up))
        box(26, up, 2.1, 2.1, matrix)
        if method != "QLoRA":
            ax.text(27.05, y + up - 0.1, letter, fontsize=9.5, ha="center", va="center", zorder=4)
    box(35.5, 0, 3.5, 7.6, own | {"fc": COLOURS["paper"], "zorder": 2})    # softmax
    line((39, 0), (62, 0))
    ax.plot(62, y, ">", color=COLOURS["rest"], ms=5, mew=0)
    for x, height in ((43, 2.1), (50, 6), (55.5, 6)):
        box(x, 0, 2.1, height, matrix)
    match method:
        case "prompt":
            for n in range(3):
                box(11 + 1.7 * n, 0, 1.4, 1.4, own)
        case "prefix":
            for n in range(6):
                box(30.2 + 1.7 * (n % 3), LINES["kv"[n // 3]], 1.4, 1.4, own)
        case "adapter":
            for x in (46, 58.5):
                ax.add_patch(Polygon([(x, y - 2), (x, y + 2), (x + 1.2, y + 0.6), (x + 2.4, y + 2),
                                      (x + 2.4, y - 2), (x + 1.2, y - 0.6)], **own))
        case "IA³":
            box(53.4, 0, 0.7, 6, own)
        case "LoRA" | "QLoRA" | "DoRA":
            for up, side in ((LINES["q"], 1), (LINES["v"], -1)):
                box(28.4, up, 0.8, 2.1, own)
                box(26, up + side * 1.65, 2.1, 0.8, own)
    for letter in {"IA³": "kv", "DoRA": "qv"}.get(method, ""):
        box(31.5, LINES[letter], 0.7, 2.2, own)
