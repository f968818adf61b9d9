"""Pictures of lesson 00: training, a block, what its heads read, where the parameters are."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import pandas
import torch
import traitlets
from matplotlib import image
from matplotlib.collections import PatchCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from .... import models, outlines, plots
from ....plots import COLOURS, figure
from ....widgets import Explorer
from .exercises import may_read
from .look import prepared, queries_keys_values, unlabelled, weights_of
from .picture_of_step import bill, example, explore_step
from .steps import held_after_a_step, put_aside, six_steps, through_a_step

__all__ = ["bill", "draw_block", "draw_training", "explore_heads", "explore_parameters",
           "explore_step", "held_after_a_step", "may_read", "prepared",
           "put_aside", "queries_keys_values", "six_steps", "through_a_step", "unlabelled",
           "weights_of", "where_read"]

PARTS = {"embeddings": "embeddings", "query": "attention", "key": "attention",
         "value": "attention", "attention_out": "attention", "attention_norm": "rest",
         "ffn_in": "feed_forward", "ffn_gate": "feed_forward", "ffn_out": "feed_forward",
         "ffn_norm": "rest", "other": "rest", "head": "head"}


# ── training, and one block ──────────────────────────────────────────────────────────────────


def draw_training() -> Figure:
    """Draw what a step holds half way back through six blocks."""
    made, ax = figure(9.2, 3.7)
    ink, line = COLOURS["ink"], {"arrowstyle": "-|>", "color": COLOURS["ink"], "lw": 1.8}

    def slab(x: float, y: float, part: str, name: str, there: bool = True) -> None:
        plots.box(ax, x, y, 1.14, 0.62, name if there else "", edgecolor=COLOURS[part], lw=1.5,
                  facecolor=COLOURS[part] if there else COLOURS["paper"],
                  linestyle="-" if there else ":")

    for i in range(6):
        x, passed = 2.9 + 1.3 * i, i > 2
        plots.box(ax, x, 1.35, 1.14, 0.7, f"block {i}", facecolor=COLOURS["frozen"], edgecolor=ink)
        slab(x, 2.55, "activations", "activations", not passed)
        slab(x, 0.25, "gradients", "gradient", passed)
    ax.annotate("", (10.7, 2.3), (2.9, 2.3), arrowprops=line)
    ax.annotate("", (6.6, 1.1), (10.7, 1.1), arrowprops=line)
    ax.text(2.9, 3.35, "forward: each block leaves activations", va="bottom", fontsize=11)
    ax.text(10.6, -0.1, "backward: activations go, gradients come", va="top", ha="right",
            fontsize=11)
    for y, part, name in ((1.85, "weights", "weights"), (0.65, "optimizer", "moments")):
        plots.box(ax, 0.1, y, 1.7, 0.9, name, 11, COLOURS["paper" if y > 1 else "ink"],
                  facecolor=COLOURS[part], edgecolor=ink)
    ax.text(0.95, 3.35, "always there", ha="center", va="bottom", fontsize=11)
    ax.set(xlim=(0, 10.8), ylim=(-0.5, 3.8))
    ax.axis("off")
    made.set_label("Always there: the weights and the moments. Of six blocks, half way back, 0 to "
                   "2 still hold their activations, and 3 to 5 have gradients instead.")
    return made


def draw_block(model: nn.Module) -> Figure:
    """Draw a block of a BERT by its places, with the shapes of their weights."""
    made, ax = figure(9.2, 3.6)
    boxes = {"query": (1.5, 2.1), "key": (1.5, 1.0), "value": (1.5, -0.1),
             "attention_out": (4.2, 1.0), "attention_norm": (5.9, 1.0), "ffn_in": (7.9, 1.0),
             "ffn_out": (9.6, 1.0), "ffn_norm": (11.3, 1.0)}
    places = models.places(model)
    shapes = {place: " × ".join(map(str, model.get_submodule(places[place][0]).weight.shape))
              for place in boxes}
    for place, (x, y) in boxes.items():
        name, colour = place.replace("attention_", "attention_\n"), COLOURS[PARTS[place]]
        plots.box(ax, x - 0.68, y - 0.4, 1.36, 0.8, f"{name}\n{shapes[place]}", facecolor=colour,
                  alpha=0.3, edgecolor=colour)
    ax.text(2.85, 1.0, "each token\nlooks at\nthe others", ha="center", va="center",
            style="italic")
    ax.text(8.75, 1.6, "GELU", ha="center", va="center", style="italic")
    arrows = [((0.1, 1.0), (0.78, y)) for y in (2.1, 1.0, -0.1)]
    arrows += [((2.2, 2.1), (2.6, 1.5)), ((2.2, -0.1), (2.6, 0.5))]
    arrows += [((start, 1.0), (start + long, 1.0)) for start, long in (
        (2.2, 0.2), (3.3, 0.2), (4.9, 0.3), (6.6, 0.6), (8.6, 0.3), (10.3, 0.3), (12.0, 0.5))]
    line = {"arrowstyle": "->", "color": COLOURS["ink"]}
    for start, end in arrows:
        ax.annotate("", end, start, arrowprops=line)
    for start, end in ((0.1, 5.05), (6.9, 10.45)):     # the residual: round the sub-layer, added
        ax.plot([start, start, end], [1.0, 2.85, 2.85], color=COLOURS["ink"], lw=1, ls="--")
        ax.annotate("", (end, 1.15), (end, 2.87), arrowprops={**line, "ls": "--"})
        ax.text(end, 1.0, "+", ha="center", va="center", fontsize=11,
                bbox={"boxstyle": "circle,pad=0.08", "facecolor": COLOURS["paper"],
                      "edgecolor": COLOURS["ink"]})
    for left, right, name in ((0.75, 4.9, "attention"), (7.2, 10.3, "feed-forward (ffn)")):
        ax.plot([left, left, right, right], [-0.7, -0.85, -0.85, -0.7], color=COLOURS["ink"], lw=1)
        ax.text((left + right) / 2, -0.95, name, ha="center", va="top")
    ax.text(-0.05, 1.0, "x", ha="right", va="center", fontsize=11)
    ax.set(xlim=(-0.2, 12.7), ylim=(-1.4, 3.2))
    ax.axis("off")
    made.set_label("One block, from left to right. " + "; ".join(
        f"{place}: {shape}" for place, shape in shapes.items()))
    return made


# ── what the heads read ──────────────────────────────────────────────────────────────────────

DARKEST = 0.5    # a share of the reading; most are far below
SHADES = LinearSegmentedColormap.from_list("read", [COLOURS["paper"], COLOURS["attention"]])


def where_read(tables: Sequence[Tensor], tokens: Sequence[str]) -> pandas.DataFrame:
    """Return what the words read, the mean of all heads, and the share if all were read alike.

    `tables` has those of each block, (heads, reading, read). Rows of [CLS] and [SEP] are left out;
    a special token beside a word is special.
    """
    special = torch.tensor([token in ("[CLS]", "[SEP]") for token in tokens])
    position = torch.arange(len(tokens))
    apart = (position[:, None] - position).abs()
    kinds = {"itself": apart == 0, "special": (apart > 0) & special,
             "neighbour": (apart == 1) & ~special, "another": (apart > 1) & ~special}
    weights = torch.stack([*tables]).mean((0, 1))
    table = pandas.DataFrame({name: {
        "share": (weights * kind)[~special].sum(1).mean().item(),
        "fair share": kind[~special].float().mean().item()} for name, kind in kinds.items()}).T
    return table.assign(times=table["share"] / table["fair share"])


@dataclass(frozen=True)
class Attention:
    """What each token of a sentence reads in one head."""

    head: tuple[int, int]      # block, head
    tokens: Sequence[str]
    weights: Tensor            # (reading, read): each row sums to 1


def draw_attention(found: Attention) -> Figure:
    """Draw the weights as a table of shades."""
    made, ax = figure(5, 4.9)
    ax.imshow(found.weights.numpy(), cmap=SHADES, vmin=0, vmax=DARKEST)
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
        buffer = io.BytesIO()
        sheet = every.transpose(1, 2).reshape(blocks * n, -1).numpy()
        image.imsave(buffer, sheet, cmap=SHADES, vmin=0, vmax=DARKEST, format="png")
        self.sheet = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        rules = [f".peft-teach-head {{background: url({self.sheet}) 0 0 / {heads * 100}% "
                 f"{blocks * 100}%; image-rendering: pixelated; outline: 1px solid #b0b0b0}}",
                 ".peft-teach-head.mod-warning {outline: 3px solid black !important}"]
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
        return ('<div style="display: flex; flex-wrap: wrap; gap: 16px"><figure style="margin: 8px '
                '0"><img alt="All heads as small tables" width="360" class="peft-teach-figure" '
                f'style="image-rendering: pixelated" src="{self.controls["head"].sheet}">'
                "<figcaption>All heads, a row for each block: 0 on top.</figcaption></figure>"
                f'<div style="max-width: 500px">{html}</div></div>', text)


def explore_heads(tables: Sequence[Tensor], tokens: Sequence[str]) -> Explorer:
    """What each token reads in each head; `tables` has those of each block, (heads, read, read)."""
    return _ExplorerOfHeads(
        {"head": Heads(tables)},
        lambda head: Attention(head, tokens, tables[head[0]][head[1]]), draw_attention,
        lambda found: "Click a head, and it is shown large. The stronger the colour, the more is "
                      "read, up to a half.")


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
        "Area is the number of parameters. Grey, beside the embeddings: in a BERT the pooler and "
        "the head, in the other models the norms and any separate output layer."))


EXAMPLES = {
    "training": draw_training,
    "block": lambda: draw_block(outlines.outline("minilm", 1)),
    "heads": lambda: explore_heads(
        [torch.eye(5).roll(i, 1).expand(2, 5, 5) * torch.tensor([[[1.0]], [[0.5]]]) + torch.tensor(
            [[[0.0]], [[0.1]]]) for i in range(2)], ("[CLS]", "a", "quiet", "film", "[SEP]")),
    "parameters": explore_parameters,
    "step": lambda: explore_step(example()),
}
