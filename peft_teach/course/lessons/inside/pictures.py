"""Pictures of lesson 00: where the parameters are, what one token reads, what all heads read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import numpy as np
import torch
from matplotlib.collections import PatchCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from .... import outlines
from ....ink import narrow
from ....plots import COLOURS, claim, figure
from ....widgets import Explorer
from .look import prepared, queries_keys_values, unlabelled, weights_of
from .picture_of_step import bill, example, explore_step, fullest
from .steps import held_after_a_step, put_aside, six_steps, through_a_step

__all__ = ["bill", "draw_heads", "draw_reading", "explore_heads", "explore_parameters",
           "explore_step", "fullest", "held_after_a_step", "prepared", "put_aside",
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
        if share > 0.035 or not narrow():    # of small ones there is no room for all
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
    ax.set(xlabel="… reads this one", ylabel="this token …", anchor="N")    # close to its claim
    ax.spines[:].set_visible(True)
    told = reads_most(found.tokens, n - 3, found.weights[n - 3])
    claim(made, "Block {}, head {}: ".format(*found.head) + told, "; ".join(
        f"{found.tokens[i]} reads {found.tokens[j]} ({found.weights[i, j].item():.2f})"
        for i, j in enumerate(found.weights.argmax(-1).tolist())))
    return made


def draw_heads(tables: Tensor, tokens: Sequence[str]) -> Figure:
    """Draw what is read in all heads, (blocks, heads, reading, read): a table each, a row a block.

    Above each stands what most of its reading goes to, if there is one such thing. On a phone a
    block is a column, of which there are fewer.
    """
    names = {head: habit(tables[head], tokens) for head in np.ndindex(*tables.shape[:2])}
    way = -1 if narrow() else 1
    tables = tables.permute(*(0, 1)[::way], 2, 3)
    rows, columns, n, _ = tables.shape
    above = -(-n // 4)    # rows for a name
    wide, high = n + 1, n + above + 1    # with an edge to the right and below
    named = nn.functional.pad(tables, (0, 0, above, 0))
    edged = nn.functional.pad(named, (0, 1, 0, 1), value=DARKEST / 3)
    made, ax = figure(9.2, 0.6 + (3.9 if narrow() else 9) * rows / columns * (n + above) / n)
    ax.imshow(edged.transpose(1, 2).flatten(2).flatten(0, 1).numpy(), cmap=SHADES, vmin=0,
              vmax=DARKEST)
    for (i, j), name in ((head[::way], name) for head, name in names.items()):
        ax.text(wide * j + n / 2 - 0.5, high * i + above / 2 - 0.5, name, ha="center",
                va="center", fontsize=9)
    ax.set(xticks=[wide * j + n / 2 - 0.5 for j in range(columns)], xticklabels=range(columns),
           yticks=[high * i + above + n / 2 - 0.5 for i in range(rows)],
           yticklabels=range(rows), **dict(zip(("xlabel", "ylabel"), ("head", "block")[::way])))
    seen = [*names.values()]
    claim(made, f"Of {len(names)} heads, {seen.count(tokens[0])} read mostly {tokens[0]}, "
          f"{seen.count('one back')} the token before", "; ".join(
              f"block {i}, head {j}: {name}" for (i, j), name in names.items() if name))
    return made


def habit(table: Tensor, tokens: Sequence[str]) -> str:
    """Say what more than half of a head's reading goes to: table (reading, read)."""
    n = len(tokens)
    found = {"one back": table.diagonal(-1), "itself": table.diagonal(),
             "one on": table.diagonal(1), tokens[0]: table[:, 0], tokens[-1]: table[:, -1]}
    most = max(found, key=lambda name: float(found[name].sum()))
    return most if found[most].sum() > n / 2 else ""


def explore_heads(tables: Tensor, tokens: Sequence[str]) -> Explorer:
    """What each token reads in one head; `tables` are those of `draw_heads`."""
    blocks, heads, *_ = tables.shape
    return Explorer(
        {"block": ipw.IntSlider(0, 0, blocks - 1, description="block"),
         "head": ipw.IntSlider(1, 0, heads - 1, description="head")},
        lambda block, head: Attention((block, head), tokens, tables[block, head]), draw_attention,
        lambda found: "The stronger the shade, the more; the strongest: a half or more. Framed: "
                      "what the last word reads.")


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


def _example() -> Tensor:
    """Two blocks of two heads: the second of each reads half as sharply."""
    sharp = torch.stack([torch.eye(5), torch.eye(5).roll(1, 1)])
    return torch.stack([sharp, 0.5 * sharp + 0.1], 1)


SENTENCE = ("[CLS]", "a", "quiet", "film", "[SEP]")
EXAMPLES = {
    "reading": lambda: draw_reading(
        ("[CLS]", "a", "film"), 2, torch.tensor([1.0]), torch.tensor([[1.0], [2.0], [1.0]]).log(),
        torch.tensor([[4.0, 0.0, 0.0], [0.0, 2.0, -2.0], [-4.0, 0.0, 4.0]])),
    "heads": lambda: explore_heads(_example(), SENTENCE),
    "all_heads": lambda: draw_heads(_example(), SENTENCE),
    "parameters": explore_parameters,
    "step": lambda: explore_step(example()),
}
