"""Pictures of lesson 00: a block and its places, where the parameters are, what training holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .... import account, outlines
from ....plots import COLOURS, bytes_text, figure, logarithmic, plain_ticks
from ....widgets import Choices, Explorer

# The places of a model from top to bottom, each with the part that it belongs to.
PARTS = {"embeddings": "embeddings", "query": "attention", "key": "attention",
         "value": "attention", "attention_out": "attention", "attention_norm": "rest",
         "ffn_in": "feed_forward", "ffn_gate": "feed_forward", "ffn_out": "feed_forward",
         "ffn_norm": "rest", "other": "rest", "head": "head"}
GPUS = {"16 GB": 16e9, "24 GB": 24e9, "80 GB": 80e9}
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


# ── one block ────────────────────────────────────────────────────────────────────────────────


def draw_block(shapes: Mapping[str, str]) -> Figure:
    """Draw a block of BERT by its places, from input to output; `shapes` are texts by place."""
    made, ax = figure(9.2, 3.6)
    boxes = {"query": (1.5, 2.1), "key": (1.5, 1.0), "value": (1.5, -0.1),
             "attention_out": (4.2, 1.0), "attention_norm": (5.9, 1.0), "ffn_in": (7.9, 1.0),
             "ffn_out": (9.6, 1.0), "ffn_norm": (11.3, 1.0)}
    for place, (x, y) in boxes.items():
        colour = COLOURS[PARTS[place]]
        ax.add_patch(Rectangle((x - 0.68, y - 0.4), 1.36, 0.8, facecolor=colour, alpha=0.22,
                               edgecolor=colour))
        name = place.replace("attention_", "attention_\n")
        ax.text(x, y, f"{name}\n{shapes[place]}", ha="center", va="center", fontsize=9)
    ax.text(2.85, 1.0, "each token\nlooks at\nthe others", ha="center", va="center", fontsize=9,
            style="italic")
    ax.text(8.75, 1.6, "GELU", ha="center", va="center", fontsize=9, style="italic")
    arrows = [((0.1, 1.0), (0.78, 2.1)), ((0.1, 1.0), (0.78, 1.0)), ((0.1, 1.0), (0.78, -0.1)),
              ((2.2, 2.1), (2.6, 1.5)), ((2.2, 1.0), (2.4, 1.0)), ((2.2, -0.1), (2.6, 0.5)),
              ((3.3, 1.0), (3.5, 1.0)), ((4.9, 1.0), (5.2, 1.0)), ((6.6, 1.0), (7.2, 1.0)),
              ((8.6, 1.0), (8.9, 1.0)), ((10.3, 1.0), (10.6, 1.0)), ((12.0, 1.0), (12.5, 1.0))]
    line = {"arrowstyle": "->", "color": COLOURS["ink"]}
    for start, end in arrows:
        ax.annotate("", end, start, arrowprops=line)
    for start, end in ((0.1, 5.05), (6.9, 10.45)):     # the residual: round the sub-layer, added
        ax.plot([start, start, end], [1.0, 2.85, 2.85], color=COLOURS["ink"], lw=1, ls="--")
        ax.annotate("", (end, 1.15), (end, 2.87), arrowprops={**line, "ls": "--"})
        ax.text(end, 1.0, "+", ha="center", va="center", fontsize=11,
                bbox={"boxstyle": "circle,pad=0.08", "facecolor": COLOURS["paper"],
                      "edgecolor": COLOURS["ink"]})
    for left, right, y, name in ((8.85, 12.05, 0.2, "ffn: one module, with two inputs"),
                                 (0.75, 12.05, -0.85, "block")):
        ax.plot([left, left, right, right], [y + 0.15, y, y, y + 0.15], color=COLOURS["ink"], lw=1)
        ax.text((left + right) / 2, y - 0.1, name, ha="center", va="top", fontsize=9)
    ax.text(-0.05, 1.0, "x", ha="right", va="center", fontsize=11)
    ax.set(xlim=(-0.2, 12.7), ylim=(-1.4, 3.2))
    ax.axis("off")
    made.set_label("One block, from left to right: query, key and value; attention_out; "
                   "attention_norm; ffn_in; ffn_out; ffn_norm. " + "; ".join(
                       f"{place}: {shapes[place]}" for place in boxes))
    return made


# ── where the parameters are ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Parameters:
    """The parameters of a known model by place, and what the chosen places hold of them."""

    model: str
    total: int
    sizes: Mapping[str, int]                              # by place
    columns: Sequence[tuple[str, Mapping[str, int]]]      # name and sizes by place: left to right
    blocks: int
    places: Sequence[str]                                 # the chosen ones
    chosen: int                                           # what these hold
    told: str

    @property
    def share(self) -> float:
        """What the chosen places hold of all, from 0 to 1."""
        return self.chosen / self.total


def parameters(model: str, places: Sequence[str], dtype: str = "float32") -> Parameters:
    """Count an outline by place and block, and what `places` hold, in bytes if held in `dtype`."""
    sizes, blocks = outlines.counts(model), outlines.depth(model)
    outside = ("embeddings", "other", "head")
    inside = {p: sizes[p] // blocks for p in PARTS if p in sizes and p not in outside}
    columns = [("embeddings", {"embeddings": sizes["embeddings"]}),
               ("rest", {p: sizes[p] for p in ("other", "head")}),
               *((f"{i}", inside) for i in range(blocks))]
    total, chosen = sum(sizes.values()), sum(sizes.get(p, 0) for p in places)
    size = bytes_text(chosen * outlines.DTYPES[dtype].itemsize)
    missing = [p for p in places if not sizes.get(p)]
    names = ", ".join(p for p in places if p not in missing) or "nothing chosen"
    told = f"{names}: {chosen:,} numbers, {chosen / total:.1%}, {size}"
    if missing:
        told += f"; it has no {', '.join(missing)}"
    return Parameters(model, total, sizes, columns, blocks, tuple(places), chosen, told)


def draw_parameters(found: Parameters) -> Figure:
    """Draw every number of a model as area, by place and block."""
    made, ax = figure(9, 4.2)
    left, gap = 0.0, 0.004 * found.total
    for name, parts in found.columns:
        width, bottom, below = sum(parts.values()), 1.0, 1.1
        for place, size in parts.items():
            height = size / width if width else 0
            bottom -= height
            ax.add_patch(Rectangle((left, bottom), width, height, facecolor=COLOURS[PARTS[place]],
                                   edgecolor=COLOURS["paper"], lw=0.4,
                                   alpha=1 if place in found.places else 0.28))
            if name == found.columns[-1][0] and height > 0.02:
                below = min(bottom + height / 2, below - 0.055)    # not onto the name before
                ax.text(left + width + gap, below, place, va="center", fontsize=9,
                        weight="bold" if place in found.places else "normal")
        if width > 0.03 * found.total:
            ax.text(left + width / 2, 1.02, name, ha="center", va="bottom", fontsize=9)
        left += width + gap
    ax.text(0, -0.03, f"all of it: {found.total:,}", va="top", fontsize=9)
    ax.set(xlim=(0, left * 1.14), ylim=(-0.1, 1.12), title=found.told)
    ax.axis("off")
    made.set_label(f"{found.model}, {found.total:,} parameters. {found.told}. " + "; ".join(
        f"{place}: {size:,} ({size / found.total:.1%})"
        for place, size in found.sizes.items() if size))
    return made


def explore_parameters() -> Explorer:
    """Where the parameters of known models are: areas by place and block."""
    controls = {
        "model": ipw.Dropdown(options=tuple(outlines.SIZES), description="model"),
        "places": Choices(tuple(PARTS), ("embeddings",), "places"),
        "dtype": ipw.ToggleButtons(options=tuple(outlines.DTYPES), description="held in"),
    }
    return Explorer(controls, parameters, draw_parameters, lambda found: (
        f"{found.model}: every number of it, drawn as area: embeddings, the rest, then "
        f"{found.blocks} blocks. The rest is the pooler and the head of a BERT; in the others the "
        "norms, and the output layer where it is not the embeddings again. Norms of a BERT are "
        "too thin to be seen."))


# ── what training holds ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Memory:
    """What training a known model holds, by what trains; and by batch, for one choice of it."""

    model: str
    trains: str                                  # the choice
    batch: int
    tokens: int
    ledgers: Mapping[str, account.Ledger]        # by what trains
    growth: Mapping[int, account.Ledger]         # by batch, if `trains` trains
    gpus: Mapping[str, float]                    # bytes, of those that the bars come near to
    fits: str
    told: str

    @property
    def chosen(self) -> account.Ledger:
        """The ledger of the choice."""
        return self.ledgers[self.trains]


def memory(model: str, trains: str, optimizer: str = "adamw", batch: int = 16, tokens: int = 32,
           dtype: str = "float32", fused: bool = False) -> Memory:
    """Predict the memory of training an outline; `tokens` is cut to what the model can read."""
    tokens = min(tokens, outlines.longest(model))

    def ledger(trains: str, batch: int) -> account.Ledger:
        return outlines.ledger(model, trains, optimizer, batch, tokens, dtype, fused)

    measured = outlines.measure(model, trains, dtype)
    share = measured["trained"] / measured["total"]
    ledgers = {name: ledger(name, batch) for name in outlines.TRAINS}
    total, most = ledgers[trains].total_bytes, max(x.total_bytes for x in ledgers.values())
    fits = next((f"fits into {name}" for name, size in GPUS.items() if total <= size),
                f"more than {list(GPUS)[-1]}")
    return Memory(model, trains, batch, tokens, ledgers, {n: ledger(trains, n) for n in BATCHES},
                  {name: size for name, size in GPUS.items() if size < 1.2 * most}, fits,
                  f"{trains}: {100 * share:.3g} % trained;\n{bytes_text(total)} in all, {fits}")


def draw_memory(held: Memory) -> Figure:
    """Draw bars by what trains, and how each part grows with the batch."""
    made, left, right = figure(9, 3.8, columns=2)
    names = ("weights", "gradients", "optimizer", "activations")
    most = max(ledger.total_bytes for ledger in held.ledgers.values())
    unit, factor = ("GB", 1e9) if most > 1e9 else ("MB", 1e6)
    for y, ledger in enumerate(held.ledgers.values()):
        start = 0.0
        for part in names:
            size = getattr(ledger, f"{part}_bytes") / factor
            left.barh(y, size, left=start, color=COLOURS[part], label=part if y == 0 else None)
            start += size
        left.text(start, y, f"  {bytes_text(ledger.total_bytes)}", va="center", fontsize=9)
    labelled = 0.0
    for name, size in held.gpus.items():
        left.axvline(size / factor, color=COLOURS["ink"], ls=":", lw=1.2)
        if size > labelled + 0.13 * most:      # else the names would stand on each other
            left.text(size / factor, -0.62, name, ha="center", va="bottom", fontsize=9)
            labelled = size
    left.set(yticks=range(len(held.ledgers)), yticklabels=[
        n.replace(", query", ",\nquery") for n in held.ledgers], xlabel=unit,
        ylim=(len(held.ledgers) - 0.4, -0.6))
    left.get_yticklabels()[list(held.ledgers).index(held.trains)].set_weight("bold")
    left.margins(x=0.2)

    for part in names:
        sizes = [getattr(x, f"{part}_bytes") / factor for x in held.growth.values()]
        now = getattr(held.chosen, f"{part}_bytes") / factor
        if sizes[0] > 0:     # the weights lie below: the gradients may be as large
            right.plot(list(held.growth), sizes, lw=5 if part == "weights" else 2,
                       color=COLOURS[part], label=part)
            right.plot(held.batch, now, "o", ms=7, color=COLOURS[part])
    right.axhline((held.chosen.total_bytes - held.chosen.activations_bytes) / factor,
                  color=COLOURS["ink"], ls="--", lw=1.2, label="all but the activations")
    logarithmic(right)
    right.set(xlabel="sentences in a batch", ylabel=unit, title=held.told)
    right.title.set_fontsize(10)
    plain_ticks(right.xaxis, [1, 4, 16, 64, 256])
    right.legend(frameon=False, fontsize=9)
    made.set_label(f"{held.model}, {held.batch} × {held.tokens} tokens. " + "; ".join(
        f"{name}: " + ", ".join(f"{part} {bytes_text(getattr(x, f'{part}_bytes'))}"
                                for part in names) for name, x in held.ledgers.items()))
    return made


def explore_memory() -> Explorer:
    """What training holds in memory, for known models and any batch, length and optimizer."""
    controls = {
        "model": ipw.Dropdown(options=tuple(outlines.SIZES), description="model"),
        "trains": ipw.Dropdown(options=outlines.TRAINS, description="trains"),
        "optimizer": ipw.Dropdown(options=("adamw", "momentum", "sgd"), description="optimizer"),
        "batch": ipw.SelectionSlider(options=BATCHES, value=16, description="batch"),
        "tokens": ipw.SelectionSlider(options=LENGTHS, value=32, description="tokens"),
        "dtype": ipw.ToggleButtons(options=tuple(outlines.DTYPES), description="held in"),
        "fused": ipw.Checkbox(value=False, description="fused attention"),
    }
    return Explorer(controls, memory, draw_memory, _memory_caption)


def _memory_caption(held: Memory) -> str:
    gpus = f"; dotted: GPUs of {', '.join(held.gpus)}" if held.gpus else ""
    return (f"{held.model}, {held.batch} × {held.tokens} tokens. Left: the sum of the four parts "
            f"by what trains{gpus}. Right, both axes logarithmic: how each part grows with the "
            f"batch if this trains: {held.trains}.")


EXAMPLES = {
    "block": lambda: draw_block({p: "384 × 384" for p in PARTS if p not in (
        "embeddings", "ffn_gate", "other", "head")}),
    "parameters": explore_parameters,
    "memory": explore_memory,
}
