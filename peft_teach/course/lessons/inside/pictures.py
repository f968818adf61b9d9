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

from .... import outlines, plots
from ....plots import COLOURS, claim, figure
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
    claim(made, "In one head " + reads_most(tokens, reader, shares), "; ".join(
        f"{token} {share:.0%}" for token, share in zip(tokens, shares.tolist())))
    return made


def reads_most(tokens: Sequence[str], reader: int, shares: Tensor) -> str:
    """Say which token one reads most in a head: shares (tokens,)."""
    most = int(shares.argmax())
    return f"“{tokens[reader]}” reads “{tokens[most]}” most: {shares[most]:.0%}"


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
    ax.set(xlabel="… reads this one", ylabel="this token …")
    ax.spines[:].set_visible(True)
    told = reads_most(found.tokens, n - 3, found.weights[n - 3])
    claim(made, "Block {}, head {}: ".format(*found.head) + told, "; ".join(
        f"{found.tokens[i]} reads {found.tokens[j]} ({found.weights[i, j].item():.2f})"
        for i, j in enumerate(found.weights.argmax(-1).tolist())))
    return made


def sheet_of(tables: Tensor, above: int = 0) -> Tensor:
    """Put all heads' tables, (blocks, heads, n, n), side by side, with edges between.

    `above` rows of each are left white, for a name.
    """
    named = nn.functional.pad(tables, (0, 0, above, 0))
    every = nn.functional.pad(named, (0, 1, 0, 1), value=DARKEST / 3)
    return every.transpose(1, 2).flatten(2).flatten(0, 1)


def draw_heads(tables: Tensor, tokens: Sequence[str], chosen: tuple[int, int]) -> Figure:
    """Draw the tables of all heads, a row a block, the chosen one framed.

    Above each stands what most of its reading goes to, if there is one such thing.
    """
    blocks, heads, n, _ = tables.shape
    above = -(-n // 4)    # rows for a name
    made, ax = figure(9.2, 0.6 + 9 * blocks / heads * (n + above) / n)
    ax.imshow(sheet_of(tables, above).numpy(), cmap=SHADES, vmin=0, vmax=DARKEST)
    high, names = n + above + 1, {head: habit(tables[head], tokens) for head in np.ndindex(
        blocks, heads)}
    for (i, j), name in names.items():
        ax.text((n + 1) * j + n / 2 - 0.5, high * i + above / 2 - 0.5, name, ha="center",
                va="center", fontsize=9)
    ax.set(xticks=[(n + 1) * j + n / 2 - 0.5 for j in range(heads)], xticklabels=range(heads),
           yticks=[high * i + above + n / 2 - 0.5 for i in range(blocks)],
           yticklabels=range(blocks))
    i, j = chosen
    ax.add_patch(Rectangle(((n + 1) * j - 1, high * i - 1), n + 1, high, fc="none",
                           ec=COLOURS["ink"], lw=2.5, clip_on=False))
    ax.set(xlabel="head", ylabel="block")
    seen = [*names.values()]
    claim(made, f"Of {blocks * heads} heads, {seen.count(tokens[0])} read mostly {tokens[0]}, "
          f"{seen.count('one back')} the token before", f"Framed: block {i}, head {j}")
    return made


def habit(table: Tensor, tokens: Sequence[str]) -> str:
    """Say what more than half of a head's reading goes to: table (reading, read)."""
    n = len(tokens)
    found = {"one back": table.diagonal(-1), "itself": table.diagonal(),
             "one on": table.diagonal(1), tokens[0]: table[:, 0], tokens[-1]: table[:, -1]}
    most = max(found, key=lambda name: float(found[name].sum()))
    return most if found[most].sum() > n / 2 else ""


class Heads(ipw.VBox):
    """Thumbnails of all heads to click, parts of one `sheet`; `value` is (block, head)."""

    value = traitlets.Tuple()
    description = "block, head"

    def __init__(self, tables: Sequence[Tensor]):
        self.tables = torch.stack([*tables])
        blocks, heads, n, _ = self.tables.shape
        side = f"{max(1, 38 // (n + 1)) * (n + 1)}px"    # whole pixels an entry
        buffer = io.BytesIO()
        image.imsave(buffer, sheet_of(self.tables).numpy(), cmap=SHADES, vmin=0, vmax=DARKEST,
                     format="png")
        sheet = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        rules = [f".peft-teach-head {{background: url({sheet}) 0 0 / {heads * 100}% "
                 f"{blocks * 100}%; image-rendering: pixelated; outline: 1px solid #b0b0b0}}",
                 ".peft-teach-head.mod-warning {outline: 3px solid black !important; z-index: 1}"]
        self.buttons, cells = {}, [ipw.Label(str(name)) for name in ("head", *range(heads))]
        for i in range(blocks):
            cells.append(ipw.Label(f"block {i}"))
            for j in range(heads):
                button = ipw.Button(tooltip=f"block {i}, head {j}", layout=ipw.Layout(
                    width=side, height=side, padding="0", margin="1px"))
                for name in ("head", f"head-{i}-{j}", "figure"):   # figures turn in a dark theme
                    button.add_class(f"peft-teach-{name}")
                button.on_click(lambda _, chosen=(i, j): setattr(self, "value", chosen))
                rules.append(f".peft-teach-head-{i}-{j} {{background-position: "
                             f"{100 * j / (heads - 1):.2f}% {100 * i / (blocks - 1):.2f}%}}")
                cells.append(button)
                self.buttons[i, j] = button
        grid = ipw.GridBox(cells, layout=ipw.Layout(
            grid_template_columns=f"50px repeat({heads}, calc({side} + 2px))"))
        super().__init__([ipw.HTML(f"<style>{' '.join(rules)}</style>"), grid], value=(0, 1))

    @traitlets.observe("value")
    def _moved(self, change: dict) -> None:
        """Put a frame around the chosen one."""
        for place, button in self.buttons.items():
            button.button_style = "warning" if place == change["new"] else ""


class _ExplorerOfHeads(Explorer):
    """All heads on the left, the chosen one on the right."""

    def __init__(self, tokens: Sequence[str], *parts):
        super().__init__(*parts)
        self.tokens = tokens
        self.picture.layout.width = "500px"
        self.box.children = [ipw.HBox(self.box.children, layout=ipw.Layout(flex_flow="row wrap"))]

    def still(self) -> tuple[str, str]:
        """Let the still copy have all heads, too."""
        html, text = super().still()
        heads = self.controls["head"]
        return plots.html(draw_heads(heads.tables, self.tokens, heads.value), (
            "Each small table is a head: a row is what one token reads, from left to right. Its "
            "name: what more than half of its reading goes to. White: nothing is read; the "
            "darkest: a half or more. Framed: the one below."
        )) + html, text


def explore_heads(tables: Sequence[Tensor], tokens: Sequence[str]) -> Explorer:
    """What each token reads in each head; `tables` has those of each block, (heads, read, read)."""
    return _ExplorerOfHeads(
        tokens, {"head": Heads(tables)},
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


def _example() -> list[Tensor]:
    """Two blocks of two heads: the second of each reads half as sharply."""
    half = torch.tensor([[[1.0]], [[0.5]]]), torch.tensor([[[0.0]], [[0.1]]])
    return [torch.eye(5).roll(i, 1).expand(2, 5, 5) * half[0] + half[1] for i in range(2)]


SENTENCE = ("[CLS]", "a", "quiet", "film", "[SEP]")
EXAMPLES = {
    "reading": lambda: draw_reading(
        ("[CLS]", "a", "film"), 2, torch.tensor([1.0]), torch.tensor([[1.0], [2.0], [1.0]]).log(),
        torch.tensor([[4.0, 0.0, 0.0], [0.0, 2.0, -2.0], [-4.0, 0.0, 4.0]])),
    "heads": lambda: explore_heads(_example(), SENTENCE),
    "all_heads": lambda: draw_heads(torch.stack(_example()), SENTENCE, (1, 0)),
    "parameters": explore_parameters,
    "step": lambda: explore_step(example()),
}
