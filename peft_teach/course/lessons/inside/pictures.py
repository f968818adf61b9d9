"""Pictures of lesson 00: where the parameters are, what one token reads, what all heads read."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import numpy as np
import torch
import traitlets
from matplotlib import image
from matplotlib.collections import PatchCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from .... import outlines
from ....plots import COLOURS, figure
from ....widgets import Explorer
from .exercises import may_read
from .look import prepared, queries_keys_values, unlabelled, weights_of
from .picture_of_step import bill, example, explore_step, fullest
from .steps import held_after_a_step, put_aside, six_steps, through_a_step

__all__ = ["bill", "draw_reading", "explore_heads", "explore_parameters", "explore_step",
           "fullest", "held_after_a_step", "may_read", "prepared", "put_aside",
           "queries_keys_values", "six_steps", "through_a_step", "unlabelled", "weights_of"]

PARTS = {"embeddings": "embeddings", "query": "attention", "key": "attention",
         "value": "attention", "attention_out": "attention", "attention_norm": "rest",
         "ffn_in": "feed_forward", "ffn_gate": "feed_forward", "ffn_out": "feed_forward",
         "ffn_norm": "rest", "other": "rest", "head": "head"}


# ── what one token reads ─────────────────────────────────────────────────────────────────────


def draw_reading(tokens: Sequence[str], reader: int, shares: Tensor, values: Tensor) -> Figure:
    """Draw what one token reads in one head: an arc a token, and the values, added up.

    shares (tokens,) and values (tokens, width). An arc is as thick as its share; below it the value
    times the share, its entries from top to bottom, to the right and left of a thin line.
    """
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
    made.set_label(f"{tokens[reader]} reads " + "; ".join(
        f"{token} {share:.0%}" for token, share in zip(tokens, shares.tolist())))
    return made


# ── what the heads read ──────────────────────────────────────────────────────────────────────

DARKEST = 0.5    # a share of the reading; most are far below
SHADES = LinearSegmentedColormap.from_list("read", [COLOURS["paper"], COLOURS["attention"]])


@dataclass(frozen=True)
class Attention:
    """What each token of a sentence reads in one head."""

    head: tuple[int, int]      # block, head
    tokens: Sequence[str]
    weights: Tensor            # (reading, read): each row sums to 1


def draw_attention(found: Attention) -> Figure:
    """Draw the weights as a table of shades; the row of the last word, before ". [SEP]", framed."""
    made, ax = figure(5, 4.9)
    ax.imshow(found.weights.numpy(), cmap=SHADES, vmin=0, vmax=DARKEST)
    n = len(found.tokens)
    ax.add_patch(Rectangle((-0.5, n - 3.5), n, 1, fc="none", ec=COLOURS["ink"], lw=1.5))
    places = range(len(found.tokens))
    ax.set_xticks(places, found.tokens, rotation=90)
    ax.set_yticks(places, found.tokens)
    ax.set(xlabel="… reads this one", ylabel="this token …",
           title="block {}, head {}".format(*found.head))
    ax.spines[:].set_visible(True)
    made.set_label("Block {}, head {}. Most of all: ".format(*found.head) + "; ".join(
        f"{found.tokens[i]} reads {found.tokens[j]} ({found.weights[i, j].item():.2f})"
        for i, j in enumerate(found.weights.argmax(-1).tolist())))
    return made


class Heads(ipw.VBox):
    """Thumbnails of all heads to click, parts of one `sheet`; `value` is (block, head)."""

    value = traitlets.Tuple()
    description = "block, head"

    def __init__(self, tables: Sequence[Tensor]):
        every = nn.functional.pad(torch.stack([*tables]), (0, 1, 0, 1), value=DARKEST / 3)   # edges
        blocks, heads, n, _ = every.shape
        self.shape = blocks, heads
        buffer = io.BytesIO()
        sheet = every.transpose(1, 2).reshape(blocks * n, -1).numpy()
        image.imsave(buffer, sheet, cmap=SHADES, vmin=0, vmax=DARKEST, format="png")
        self.sheet = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        rules = [f".peft-teach-head {{background: url({self.sheet}) 0 0 / {heads * 100}% "
                 f"{blocks * 100}%; image-rendering: pixelated; outline: 1px solid #b0b0b0}}",
                 ".peft-teach-head.mod-warning {outline: 3px solid black !important; z-index: 1}"]
        self.buttons, cells = {}, [ipw.Label(str(name)) for name in ("head", *range(heads))]
        for i in range(blocks):
            cells.append(ipw.Label(f"block {i}"))
            for j in range(heads):
                button = ipw.Button(tooltip=f"block {i}, head {j}", layout=ipw.Layout(
                    width="25px", height="25px", padding="0", margin="1px"))
                for name in ("head", f"head-{i}-{j}", "figure"):   # figures turn in a dark theme
                    button.add_class(f"peft-teach-{name}")
                button.on_click(lambda _, chosen=(i, j): setattr(self, "value", chosen))
                rules.append(f".peft-teach-head-{i}-{j} {{background-position: "
                             f"{100 * j / (heads - 1):.2f}% {100 * i / (blocks - 1):.2f}%}}")
                cells.append(button)
                self.buttons[i, j] = button
        grid = ipw.GridBox(cells, layout=ipw.Layout(
            grid_template_columns=f"50px repeat({heads}, 27px)"))
        super().__init__([ipw.HTML(f"<style>{' '.join(rules)}</style>"), grid], value=(0, 1))

    @traitlets.observe("value")
    def _moved(self, change: dict) -> None:
        """Put a frame around the chosen one."""
        for place, button in self.buttons.items():
            button.button_style = "warning" if place == change["new"] else ""


class _ExplorerOfHeads(Explorer):
    """All heads on the left, the chosen one on the right."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.picture.layout.width = "500px"
        self.box.children = [ipw.HBox(self.box.children, layout=ipw.Layout(flex_flow="row wrap"))]

    def still(self) -> tuple[str, str]:
        """Let the still copy have all heads, too."""
        html, text = super().still()
        heads = self.controls["head"]
        (i, j), (rows, columns) = heads.value, heads.shape
        return ('<div style="display: flex; flex-wrap: wrap; gap: 16px"><figure style="margin: 8px '
                '0"><div style="position: relative; width: 360px">'
                '<img alt="All heads as small tables" width="360" class="peft-teach-figure" '
                f'style="image-rendering: pixelated; display: block" src="{heads.sheet}">'
                f'<div style="position: absolute; border: 2px solid; box-sizing: border-box; left: '
                f"{100 * j / columns:.2f}%; top: {100 * i / rows:.2f}%; width: {100 / columns:.2f}%"
                f'; height: {100 / rows:.2f}%"></div></div><figcaption>All heads: a row for each '
                "block, 0 on top; a column for each head, 0 on the left. Framed: the one shown."
                "</figcaption></figure>"
                f'<div style="max-width: 500px">{html}</div></div>', text)


def explore_heads(tables: Sequence[Tensor], tokens: Sequence[str]) -> Explorer:
    """What each token reads in each head; `tables` has those of each block, (heads, read, read)."""
    return _ExplorerOfHeads(
        {"head": Heads(tables)},
        lambda head: Attention(head, tokens, tables[head[0]][head[1]]), draw_attention,
        lambda found: "Click a head, and it is shown large. White: nothing is read; the darkest: a "
                      "half or more. Framed: what the last word reads.")


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
    ax.set(xlim=(0, left * 1.23), ylim=(0, 1.08), title=f"{found.model}: {total:,} parameters")
    ax.axis("off")
    made.set_label(f"{found.model}, {total:,} parameters. " + "; ".join(
        f"{place}: {size:,} ({size / total:.1%})" for place, size in sizes.items() if size))
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
        ("[CLS]", "a", "film"), 2, torch.tensor([0.25, 0.5, 0.25]),
        torch.tensor([[4.0, 0.0, 0.0], [0.0, 2.0, -2.0], [-4.0, 0.0, 4.0]])),
    "heads": lambda: explore_heads(
        [torch.eye(5).roll(i, 1).expand(2, 5, 5) * torch.tensor([[[1.0]], [[0.5]]]) + torch.tensor(
            [[[0.0]], [[0.1]]]) for i in range(2)], ("[CLS]", "a", "quiet", "film", "[SEP]")),
    "parameters": explore_parameters,
    "step": lambda: explore_step(example()),
}
