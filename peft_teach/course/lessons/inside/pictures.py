"""Pictures of lesson 00: a block, what it reads, where parameters are, what training holds."""

import itertools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import ipywidgets as ipw
import torch
from matplotlib.collections import PatchCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from .... import account, models, outlines, plots
from ....plots import COLOURS, bytes_text, figure, in_percent, logarithmic, plain_ticks
from ....widgets import Choices, Explorer
from ... import records
from .blocks import BLOCK_OF_THE_PUZZLE, LETTERS, ORDER, PLACES
from .blocks import may_read as may_read  # the lesson has the three from here
from .steps import Step
from .steps import held_after_a_step as held_after_a_step
from .steps import through_a_step as through_a_step

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
        name, colour = place.replace("attention_", "attention_\n"), COLOURS[PARTS[place]]
        plots.box(ax, x - 0.68, y - 0.4, 1.36, 0.8, f"{name}\n{shapes[place]}", facecolor=colour,
                  alpha=0.22, edgecolor=colour)
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
    for left, right, name in ((0.75, 4.9, "attention"), (7.2, 10.3, "feed-forward (ffn)")):
        ax.plot([left, left, right, right], [-0.7, -0.85, -0.85, -0.7], color=COLOURS["ink"], lw=1)
        ax.text((left + right) / 2, -0.95, name, ha="center", va="top", fontsize=9)
    ax.text(-0.05, 1.0, "x", ha="right", va="center", fontsize=11)
    ax.set(xlim=(-0.2, 12.7), ylim=(-1.4, 3.2))
    ax.axis("off")
    made.set_label("One block, from left to right: query, key and value; attention_out; "
                   "attention_norm; ffn_in; ffn_out; ffn_norm. " + "; ".join(
                       f"{place}: {shapes[place]}" for place in boxes))
    return made


# ── what a token reads ───────────────────────────────────────────────────────────────────────

WHERE = ("itself", "[CLS] or [SEP]", "a neighbour", "another word")
MEAN = "mean of all"


@dataclass(frozen=True)
class Attention:
    """What each token of a sentence reads, in one head or in the mean of a block's heads."""

    tokens: Sequence[str]
    weights: Tensor    # (reading, read): each row sums to 1
    told: str


def shares(weights: Tensor, tokens: Sequence[str]) -> dict[str, float]:
    """Return where the weights (reading, read) of the words go, on average: sums to 1.

    Rows of [CLS] and [SEP] are left out; a special token beside a word is special.
    """
    words = [i for i, token in enumerate(tokens) if token not in ("[CLS]", "[SEP]")]
    found = dict.fromkeys(WHERE, 0.0)
    for i in words:
        for j, token in enumerate(tokens):
            where = ("itself" if i == j else "[CLS] or [SEP]" if token in ("[CLS]", "[SEP]")
                     else "a neighbour" if abs(i - j) == 1 else "another word")
            found[where] += weights[i, j].item() / len(words)
    return found


def draw_attention(found: Attention) -> Figure:
    """Draw the weights as a table of shades, and where they go as bars."""
    made, left, right = figure(9.2, 4.6, columns=2, width_ratios=(1.5, 1))
    read = shares(found.weights, found.tokens)
    even = shares(torch.full_like(found.weights, 1 / len(found.tokens)), found.tokens)
    colours = LinearSegmentedColormap.from_list("read", [COLOURS["paper"], COLOURS["attention"]])
    left.imshow(found.weights.numpy(), cmap=colours, vmin=0, vmax=1)
    places = range(len(found.tokens))
    left.set_xticks(places, found.tokens, rotation=90, fontsize=9)
    left.set_yticks(places, found.tokens, fontsize=9)
    left.set(xlabel="is read", ylabel="reads")
    left.spines[:].set_visible(True)
    for y, where in enumerate(WHERE):
        right.barh(y, read[where], height=0.6, color=COLOURS["attention"])
        right.plot([even[where]] * 2, [y - 0.4, y + 0.4], color=COLOURS["ink"], lw=2)
        right.text(max(read[where], even[where]) + 0.02, y, f"{read[where]:.0%}", va="center",
                   fontsize=10)
    right.set(yticks=range(len(WHERE)), yticklabels=WHERE, xlim=(0, 1.15), ylim=(3.6, -0.6))
    right.set_title(found.told, fontsize=10)
    in_percent(right.xaxis)
    most = [f"{found.tokens[i]} reads {found.tokens[j]} ({found.weights[i, j].item():.2f})"
            for i, j in enumerate(found.weights.argmax(-1).tolist())]
    made.set_label(f"{found.told}. " + ", ".join(
        f"{where}: {share:.0%}" for where, share in read.items())
        + ". Most of all: " + "; ".join(most))
    return made


def explore_attention(tokens: Sequence[str], tables: Sequence[Tensor]) -> Explorer:
    """What each token reads; `tables` has the weights of a block's heads: (heads, read, read)."""
    def attention(block: int, head: int | str) -> Attention:
        if head == MEAN:
            return Attention(tokens, tables[block].mean(0), f"block {block}, mean of its heads")
        return Attention(tokens, tables[block][head], f"block {block}, head {head}")

    controls = {
        "block": ipw.Dropdown(options=range(len(tables)), description="block"),
        "head": ipw.Dropdown(options=(MEAN, *range(len(tables[0]))), description="head"),
    }
    return Explorer(controls, attention, draw_attention, lambda found: (
        f"{found.told.capitalize()}. Left: a row for each token that reads, a column for each that "
        "is read; the fuller the colour, the more weight. Right: where the weights of the words "
        "go; the short lines mark where they would go if every token were read alike."))


# ── four matrices without labels ─────────────────────────────────────────────────────────────


def unlabelled(model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Return weight and bias of the four attention layers of block 3, under a letter each.

    They are rewritten: no entry is the model's, nor is a norm, and the block's output stays. In
    each head, queries are multiplied by a matrix and keys by the inverse of its transpose; values
    by another matrix, and the columns of attention_out by its inverse. The bias of the values
    passes a part on to that of attention_out. That of the keys does nothing, and is drawn.
    """
    places = models.places(model)
    layers = [model.get_submodule(places[place][BLOCK_OF_THE_PUZZLE]) for place in PLACES]
    (Q, q), (K, k), (V, v), (O, o) = ((layer.weight.detach().cpu().double(),
                                       layer.bias.detach().cpu().double()) for layer in layers)
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def mixing(least: float, most: float) -> Tensor:
        """Mix the entries of each head; singular values lie between the two numbers."""
        heads = model.config.num_attention_heads
        turn, back = (torch.linalg.qr(drawn(heads, len(q) // heads, len(q) // heads)).Q
                      for _ in range(2))
        scales = torch.linspace(least, most, len(q) // heads, dtype=torch.float64)
        return torch.block_diag(*(turn * scales @ back))

    A, B = mixing(0.3, 0.9), mixing(1.0, 2.0)
    moved = drawn(len(v)) * 3 * v.std()
    made = {"query": (A @ Q, A @ q), "key": (A.inverse().T @ K, drawn(len(k)) * q.std()),
            "value": (B @ V, B @ (v + moved)), "attention_out": (O @ B.inverse(), o - O @ moved)}
    like = layers[0].weight
    found = {letter: tuple(t.to(like) for t in made[place]) for place, letter in zip(PLACES, ORDER)}
    return {letter: found[letter] for letter in LETTERS}


def try_orders(block: Callable[[Mapping[str, Tensor]], Tensor], target: Tensor,
               rest: Mapping[str, Tensor], pieces: Mapping[str, tuple[Tensor, Tensor]]
               ) -> dict[str, float]:
    """Return the largest difference to `target` for each order of the pieces."""
    gaps = {}
    for order in map("".join, itertools.permutations(pieces)):
        weights = dict(rest)
        for place, letter in zip(PLACES, order):
            weights[f"{place}.weight"], weights[f"{place}.bias"] = pieces[letter]
        gaps[order] = (block(weights) - target).abs().max().item()
    return gaps


# ── where the parameters are ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Parameters:
    """The parameters of a known model by place, and what the chosen places hold of them."""

    model: str
    places: Sequence[str]         # the chosen ones
    sizes: Mapping[str, int]      # by place
    blocks: int
    told: str


def parameters(model: str, places: Sequence[str]) -> Parameters:
    """Count an outline by place, and what `places` hold."""
    sizes = outlines.counts(model)
    chosen = sum(sizes.get(place, 0) for place in places)
    missing = [place for place in places if not sizes.get(place)]
    names = ", ".join(place for place in places if place not in missing) or "nothing chosen"
    told = f"{names}: {chosen:,} parameters, {chosen / sum(sizes.values()):.1%}"
    if missing:
        told += f"; it has no {', '.join(missing)}"
    return Parameters(model, places, sizes, outlines.depth(model), told)


def draw_parameters(found: Parameters) -> Figure:
    """Draw every parameter of a model as area, by place and block."""
    made, ax = figure(9, 4.2)
    total, sizes = sum(found.sizes.values()), found.sizes
    block = {place: sizes[place] // found.blocks for place in PARTS
             if place in sizes and place not in ("embeddings", "other", "head")}
    columns = [("embeddings", {"embeddings": sizes["embeddings"]}),
               ("rest", {place: sizes[place] for place in ("other", "head")}),
               *((f"{i}", block) for i in range(found.blocks))]
    left, gap, areas = 0.0, 0.004 * total, []
    for name, parts in columns:
        width, bottom, below = sum(parts.values()), 1.0, 1.1
        for place, size in parts.items():
            height = size / width if width else 0
            bottom -= height
            areas.append(Rectangle((left, bottom), width, height, facecolor=COLOURS[PARTS[place]],
                                   edgecolor=COLOURS["paper"], lw=0.4,
                                   alpha=1 if place in found.places else 0.28))
            if name == columns[-1][0] and height > 0.02:
                below = min(bottom + height / 2, below - 0.055)    # not onto the name before
                ax.text(left + width + gap, below, place, va="center", fontsize=9,
                        weight="bold" if place in found.places else "normal")
        if width > 0.03 * total:
            ax.text(left + width / 2, 1.02, name, ha="center", va="bottom", fontsize=9)
        left += width + gap
    ax.add_collection(PatchCollection(areas, match_original=True))    # at once: half the time
    ax.text(0, -0.03, f"all of it: {total:,}", va="top", fontsize=9)
    ax.set(xlim=(0, left * 1.14), ylim=(-0.1, 1.12), title=textwrap.fill(found.told, 80))
    ax.axis("off")
    made.set_label(f"{found.model}, {total:,} parameters. {found.told}. " + "; ".join(
        f"{place}: {size:,} ({size / total:.1%})" for place, size in sizes.items() if size))
    return made


def explore_parameters() -> Explorer:
    """Where the parameters of known models are: areas by place and block."""
    model = ipw.Dropdown(options=tuple(outlines.SIZES), description="model")
    places = Choices(tuple(PARTS), ("embeddings",), "places")

    def offer(change: object = None) -> None:
        """Offer the places that this model has."""
        for place, box in places.boxes.items():
            box.disabled = not outlines.counts(model.value).get(place)

    model.observe(offer, names="value")
    offer()
    return Explorer({"model": model, "places": places}, parameters, draw_parameters, lambda found: (
        f"{found.model}: every parameter, drawn as area: embeddings, the rest, then "
        f"{found.blocks} blocks. The rest is the pooler and the head of a BERT; in the others the "
        "norms, and the output layer where it is not the embeddings again. Norms of a BERT are "
        "too thin to be seen."))


# ── what training holds ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Memory:
    """What training a known model holds, by what trains; and by batch, for one choice of it."""

    model: str
    trains: str                              # the choice
    batch: int
    tokens: int
    ledgers: Mapping[str, account.Ledger]    # by what trains
    growth: Mapping[int, account.Ledger]     # by batch, if `trains` trains
    told: str

    @property
    def gpus(self) -> dict[str, float]:
        """The bytes of those that the bars come near to."""
        most = max(ledger.total_bytes for ledger in self.ledgers.values())
        return {name: size for name, size in GPUS.items() if size < 1.2 * most}


def memory(model: str, trains: str, optimizer: str = "adamw", batch: int = 16, tokens: int = 32,
           dtype: str = "float32", fused: bool = False) -> Memory:
    """Predict the memory of training an outline; `tokens` is cut to what the model can read.

    What `outlines.measure` found is recorded, for a picture needs three at each choice.
    """
    tokens = min(tokens, outlines.longest(model))
    measured = {row["trains"]: row for row in records.load("outlines")["runs"]
                if (row["model"], row["dtype"]) == (model, dtype)}

    def ledger(trains: str, batch: int) -> account.Ledger:
        return outlines.ledger(model, trains, optimizer, batch, tokens, dtype, fused,
                               measured[trains])

    share = measured[trains]["trained"] / measured[trains]["total"]
    ledgers = {name: ledger(name, batch) for name in outlines.TRAINS}
    total = ledgers[trains].total_bytes
    fits = next((f"fits into {name}" for name, size in GPUS.items() if total <= size),
                f"more than {list(GPUS)[-1]}")
    return Memory(model, trains, batch, tokens, ledgers, {n: ledger(trains, n) for n in BATCHES},
                  f"{trains}: {100 * share:.3g} % trained;\n{bytes_text(total)} in all, {fits}")


def draw_memory(held: Memory) -> Figure:
    """Draw bars by what trains, and how each part grows with the batch."""
    made, left, right = figure(9, 3.8, columns=2)
    totals = [ledger.total_bytes for ledger in held.ledgers.values()]
    unit, factor = ("GB", 1e9) if max(totals) > 1e9 else ("MB", 1e6)
    plots.stack(left.barh, "left", list(held.ledgers.values()), factor)
    for y, total in enumerate(totals):
        left.text(total / factor, y, f"  {bytes_text(total)}", va="center", fontsize=9)
    labelled = 0.0
    for name, size in held.gpus.items():
        left.axvline(size / factor, color=COLOURS["ink"], ls=":", lw=1.2)
        if size > labelled + 0.13 * max(totals):      # else the names would stand on each other
            left.text(size / factor, -0.62, name, ha="center", va="bottom", fontsize=9)
            labelled = size
    left.set(yticks=range(len(held.ledgers)), yticklabels=[
        n.replace(", query", ",\nquery") for n in held.ledgers], xlabel=unit,
        ylim=(len(held.ledgers) - 0.4, -0.6))
    left.get_yticklabels()[list(held.ledgers).index(held.trains)].set_weight("bold")
    left.margins(x=0.2)

    for part in plots.HELD:
        sizes = {batch: _size(ledger, part) / factor for batch, ledger in held.growth.items()}
        if sizes[held.batch] > 0:     # the weights lie below: the gradients may be as large
            right.plot(*zip(*sizes.items()), lw=5 if part == "weights" else 2,
                       color=COLOURS[part], label=part)
            right.plot(held.batch, sizes[held.batch], "o", ms=7, color=COLOURS[part])
    chosen = held.ledgers[held.trains]
    right.axhline((chosen.total_bytes - chosen.activations_bytes) / factor,
                  color=COLOURS["ink"], ls="--", lw=1.2, label="all but the activations")
    logarithmic(right)
    right.set(xlabel="sentences in a batch", ylabel=unit)
    right.set_title(held.told, fontsize=10)
    plain_ticks(right.xaxis, [1, 4, 16, 64, 256])
    right.legend(frameon=False, fontsize=9)
    made.set_label(f"{held.model}, {held.batch} × {held.tokens} tokens. " + "; ".join(
        f"{name}: " + ", ".join(f"{part} {bytes_text(_size(ledger, part))}" for part in plots.HELD)
        for name, ledger in held.ledgers.items()))
    return made


def _size(ledger: account.Ledger, part: str) -> int:
    return getattr(ledger, f"{part}_bytes")


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
    most = ", all that it can read" if held.tokens == outlines.longest(held.model) else ""
    return (f"{held.model}, {held.batch} × {held.tokens} tokens{most}. Left: the sum of the four "
            f"parts by what trains{gpus}. Right, both axes logarithmic: how each part grows with "
            f"the batch if this trains: {held.trains}.")


# ── a step, block by block ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Held:
    """What a training step holds, moment by moment, and what the ledger says of it."""

    trains: str
    size: str
    ledger: account.Ledger
    step: Step

    @property
    def told(self) -> str:
        """The most that is held at any time, beside the ledger's sum."""
        peak = self.ledger.weights_bytes + self.ledger.optimizer_bytes + self.step.peak
        total = self.ledger.total_bytes
        return (f"{self.trains}, {self.size}: at most {bytes_text(peak)} at once, "
                f"{peak / total:.0%} of the ledger's {bytes_text(total)}")


def draw_step(found: Held) -> Figure:
    """Draw what is held at each moment as bars of four parts; dashed is the ledger's sum."""
    made, ax = figure(9.2, 4)
    step, ledger = found.step, found.ledger
    moments = [replace(ledger, gradients_bytes=gradients, activations_bytes=activations)
               for gradients, activations in zip(step.gradients, step.activations)]
    plots.stack(ax.bar, "bottom", moments,
                parts=("weights", "optimizer", "gradients", "activations"))
    ax.axhline(ledger.total_bytes / 1e6, color=COLOURS["ink"], ls="--", lw=1.2,
               label="the ledger's sum")
    ax.set_xticks(range(len(step.moments)),
                  [place or phase for phase, place in step.moments])
    ax.set(ylabel="MB", xlabel="forward, block by block    →    loss    →    backward",
           ylim=(0, 1.32 * ledger.total_bytes / 1e6))
    ax.set_title(found.told, fontsize=10)
    ax.legend(frameon=False, fontsize=9, ncols=5, loc="upper center")
    made.set_label(f"{found.told}. " + "; ".join(
        f"{phase} {place}: activations {bytes_text(a)}, gradients {bytes_text(g)}"
        for (phase, place), a, g in zip(step.moments, step.activations, step.gradients)))
    return made


def explore_step(measured: Mapping[tuple[str, str], tuple[account.Ledger, Step]]) -> Explorer:
    """What is held, block by block; `measured` by what trains and by the batch, such as
    ("LoRA", "16 × 32")."""
    trains, sizes = (list(dict.fromkeys(names)) for names in zip(*measured))
    controls = {"trains": ipw.Dropdown(options=trains, description="trains"),
                "size": ipw.Dropdown(options=sizes, description="batch")}
    return Explorer(controls, lambda trains, size: Held(trains, size, *measured[trains, size]),
                    draw_step, lambda found: (
        f"{found.told}. Measured between the blocks: \"in\" is where the first block begins. "
        "Dashed: the sum of the four parts, as if all were full at once."))


def _example_step() -> Explorer:
    moments = (("forward", "in"), ("forward", "0"), ("loss", ""), ("backward", "0"),
               ("backward", "in"))
    return explore_step({(trains, f"{n} × 8"): (account.Ledger(91, g, 2 * g, 50 * n), Step(
        moments, (0, 25 * n, 50 * n, 25 * n, 0), (0, 0, 0, g // 2, g), 50 * n + 1))
        for trains, g in (("everything", 91), ("LoRA", 1)) for n in (1, 2)})


EXAMPLES = {
    "block": lambda: draw_block({p: "384 × 384" for p in PARTS if p not in (
        "embeddings", "ffn_gate", "other", "head")}),
    "attention": lambda: explore_attention(
        ("[CLS]", "a", "quiet", "film", "[SEP]"),
        [torch.eye(5).roll(i, 1).expand(2, 5, 5) * torch.tensor([[[1.0]], [[0.5]]]) + torch.tensor(
            [[[0.0]], [[0.1]]]) for i in range(2)]),
    "parameters": explore_parameters,
    "step": _example_step,
    "memory": explore_memory,
}
