"""Pictures of lesson 05: the block with the adapter in it, and sealed layers of BERT.

Where an adapter stands is read off a model after `pt.bottleneck.inject`: which module each adapter
wraps, by its place, and what class it has.
"""

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import ipywidgets as ipw
import pandas
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon
from torch import Tensor, nn

from .... import bottleneck, core, models, outlines, plots
from ....adapter import adapters
from ....plots import COLOURS, dots, figure
from ....widgets import Explorer
from ... import records
from .sealed import PLACES, Sealed
from .sealed import norm as norm  # the lesson shows it, and has it from here

NAMES = {"houlsby": "Houlsby", "post_attention": "post-attention", "pfeiffer": "Pfeiffer",
         "bapna": "Bapna", "parallel": "parallel", "ends": "the two ends"}
SENTENCES = ("A quiet, funny, generous film.", "Two hours that I want back.",
             "The jokes are stale and the plot is worse.", "It dazzles from the first shot.")


def config_of(place: str) -> bottleneck.Config:
    """Return the library's config of a placement: `bottleneck.HOULSBY` of "houlsby"."""
    return getattr(bottleneck, place.upper())


def alike(place: str) -> bottleneck.Config:
    """Return the config of a placement in the race: what may be equal for all places, is."""
    return replace(config_of(place), activation="relu", init="normal", scale=1.0)


# ── where they stand ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Stand:
    """One adapter: what it reads and what it is added to, by the wires of a block."""

    reads: str
    adds: str
    norm: str = ""      # what A reads is normed: by the block's own norm, LN, or by a new one, LN′

    @property
    def told(self) -> str:
        """What it does, in words."""
        read = "r + o₂" if self.reads == "sum" else self.reads
        return f"reads {f'{self.norm}({read})' if self.norm else read} and is added to {self.adds}"


OWN_NORM = " LN′ is a norm of its own."
# By the class of the adapter and the place of what it wraps: the wires that are read, and added to.
WIRES = {
    (bottleneck.OutputAdapter, "attention_out"): ("o₁", "o₁"),
    (bottleneck.OutputAdapter, "ffn_out"): ("o₂", "o₂"),
    (bottleneck.OutputAdapter, "ffn_norm"): ("y", "y"),
    (bottleneck.OutputAdapter, "embeddings"): ("x", "x"),
    (bottleneck.NormedAdapter, "ffn_norm"): ("sum", "sum"),
    (bottleneck.InputAdapter, "ffn"): ("r", "sum"),
}


@dataclass(frozen=True)
class Block:
    """The adapters of a placement, each kind once, and how many a MiniLM gets."""

    place: str
    stands: tuple[Stand, ...]
    modules: int


@functools.cache
def block(place: str) -> Block:
    """Put the library's adapters into a MiniLM, and see where they stand."""
    model = outlines.outline("minilm")
    places = {name: "ffn_norm" if at == "last" else at    # the last hidden state is a block's, too
              for name, at in models.place_of(model).items()}
    model = bottleneck.inject(model, config_of(place))
    found = adapters(model)
    kinds = [Stand(*WIRES[type(adapter), places[name]],
                   "LN" if isinstance(adapter, bottleneck.NormedAdapter) else
                   "LN′" if config_of(place).own_norm else "") for name, adapter in found.items()]
    return Block(place, tuple(dict.fromkeys(kinds)), len(found))


# ── the block, with the adapter in it ────────────────────────────────────────────────────────

# Where the wires run in the drawing; the line of the signal is y = 0, the residual streams above.
AT = {"x": -0.5, "o₁": 2.75, "r": 5.15, "o₂": 7.35, "sum": 8.46, "y": 9.85}
BOXES = {"attention": 1.65, "+": 3.45, "LN": 4.3, "FFN": 6.25, "+ ": 8.05, "LN ": 9.0}


def draw_block(found: Block) -> Figure:
    """Draw a post-LN block, its signal from left to right, and the adapters below it."""
    made, ax = figure(9.2, 3.2)
    ax.axis("off")
    ends = ", before the first block and behind the last" if found.place == "ends" else ""
    ax.set(xlim=(-1.5, 11), ylim=(-2.1, 1.1),
           title=f"{NAMES[found.place]}: {found.modules} adapters in the model{ends}")
    _arrow(ax, COLOURS["ink"], (-1.4, 0), (10.9, 0))
    for start, plus in ((0.25, "+"), (4.8, "+ ")):           # what goes round the sub-layer
        _arrow(ax, COLOURS["ink"], (start, 0), (start, 0.95), (BOXES[plus], 0.95),
               (BOXES[plus], 0.25))
    for name, x in BOXES.items():
        width = {"attention": 0.75, "FFN": 0.55}.get(name, 0.32 if "LN" in name else 0.18)
        part = {"attention": "attention", "FFN": "feed_forward"}.get(name, "paper")
        plots.box(ax, x - width, -0.28, 2 * width, 0.56, name.strip(), size=12, zorder=3, lw=1.8,
                  boxstyle="round,pad=0.02", fc=COLOURS[part], ec=COLOURS["ink"],
                  ink=COLOURS["ink" if part == "paper" else "paper"])
    for name in ("x", "o₁", "r", "o₂", "y"):
        ax.text(AT[name], 0.14, name, ha="center", va="bottom", fontsize=12)
    named = [*zip("AB", found.stands)]
    for name, stand in named:
        _draw_stand(ax, name, stand)
    made.set_label(f"{ax.get_title()}. "
                   f"{'; '.join(f'{name} {stand.told}' for name, stand in named)}.")
    return made


def _draw_stand(ax, name: str, stand: Stand) -> None:
    """Draw one bottleneck below the signal, with an arrow from what it reads to where it adds."""
    colour, low = COLOURS["trained"], -1.25
    read, add = AT[stand.reads], BOXES["+ "] if stand.adds == "sum" else AT[stand.adds]
    middle, end = (read + add) / 2, -0.28 if stand.adds == "sum" else -0.02
    if stand.reads == stand.adds == "sum":      # first through the norm, then back
        middle = 8.75
        into = [(read, 0), (read, -0.6), (9.95, -0.6), (9.95, low), (middle + 0.5, low)]
        out = [(middle - 0.5, low), (add, low), (add, end)]
        ax.text(9.95, low, stand.norm, ha="center", va="center", fontsize=12, zorder=4, bbox={
            "boxstyle": "round", "facecolor": COLOURS["paper"], "edgecolor": COLOURS["ink"]})
    else:
        if stand.reads == stand.adds:
            read, add = read - 0.17, add + 0.17
        left, right = min(read, middle - 0.8), max(add, middle + 0.8)
        into = [(read, 0), (read, -0.6), (left, -0.6), (left, low), (middle - 0.5, low)]
        out = [(middle + 0.5, low), (right, low), (right, -0.6), (add, -0.6), (add, end)]
    for side in (-1, 1):                        # two trapezia, narrow in the middle
        ax.add_patch(Polygon([(middle + side * 0.5, low - 0.38), (middle + side * 0.5, low + 0.38),
                              (middle + side * 0.04, low + 0.1), (middle + side * 0.04, low - 0.1)],
                             closed=True, facecolor=colour, edgecolor=COLOURS["ink"], zorder=3))
    ax.text(middle, low - 0.44, f"LN′, {name}" if stand.norm == "LN′" else name, ha="center",
            va="top", fontsize=13)
    ax.plot(*zip(*into), color=colour, lw=2.5, ls="--", zorder=2)
    _arrow(ax, colour, *out, width=2.5)
    ax.plot(read, 0, "o", color=colour, ms=8, zorder=5)


def _arrow(ax, colour: str, *points: tuple[float, float], width: float = 1.8) -> None:
    ax.plot(*zip(*points[:-1]), color=colour, lw=width, zorder=2)
    ax.add_patch(FancyArrowPatch(*points[-2:], arrowstyle="-|>", mutation_scale=16, lw=width,
                                 color=colour, shrinkA=0, shrinkB=0, zorder=2))


def explore_block() -> Explorer:
    """The block, and the adapter that is moved through it."""
    place = ipw.ToggleButtons(options=[(NAMES[p], p) for p in PLACES], value="houlsby",
                              description="place", style={"button_width": "auto"})
    return Explorer(
        {"place": place}, block, draw_block,
        lambda found: "One block of MiniLM. An adapter reads where the dashed line begins, and "
                      "adds its output where the arrow ends."
                      f"{OWN_NORM if any(s.norm == 'LN′' for s in found.stands) else ''}")


# ── before any training ──────────────────────────────────────────────────────────────────────


@functools.cache
def _probe() -> tuple[nn.Module, Mapping[str, Tensor], Tensor]:
    """Return a MiniLM, a batch of a few sentences, and the base's hidden states of their tokens."""
    model, tokenizer = models.load("minilm", labels=2, device="cpu")
    batch = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    return model.eval(), batch, _hidden(model, batch)


def _hidden(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad():
        found = model.base_model(**batch).last_hidden_state
    return found[batch["attention_mask"].bool()]                       # (tokens, d_model)


def deviation(place: str, size: int, sigma: float) -> float:
    """How far bottlenecks drawn with this σ move MiniLM's last hidden states, relative to them."""
    model, batch, base = _probe()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = bottleneck.inject(model, replace(alike(place), size=size))
        try:
            for adapter in adapters(model).values():
                for W in (adapter.A.W_down, adapter.A.W_up):
                    W.data.normal_(0, sigma)
            moved = _hidden(model, batch)
        finally:
            core.remove(model)
    return float((moved - base).norm() / base.norm())


# ── what they learned ────────────────────────────────────────────────────────────────────────


def race(record: records.Record) -> pandas.DataFrame:
    """Return the recorded runs in which only place and size differ, each with its `name`."""
    runs = record.runs[record.runs.group == "alike"]
    return runs.assign(name=runs.place.map(NAMES))


def best(runs: pandas.DataFrame) -> str:
    """Return the place whose every seed is above all seeds of the others, if there is one."""
    seeds = runs.groupby("name").accuracy
    low, high = seeds.min(), seeds.max()
    ahead = [name for name in low.index if low[name] > high.drop(name).max()]
    return ahead[0] if ahead else "none: the seeds cannot tell"


def draw_race(runs: pandas.DataFrame, references: Mapping[str, float],
              yours: float | None = None) -> Figure:
    """Draw the accuracy of each place, a mark a seed; `yours` is that of the reader's own run."""
    rows = {name: [*each] for name, each in runs.groupby("name", sort=False).accuracy}
    styles = dict.fromkeys(rows, (COLOURS["lora"], "o")) | {"yours": (COLOURS["yours"], "D")}
    return dots(rows | ({"yours": [yours]} if yours else {}),
                {name: (at, COLOURS["head"]) for name, at in references.items()}, styles)


# ── the one that merges ──────────────────────────────────────────────────────────────────────


@torch.no_grad()
def merge_parallel(merged: Callable) -> pandas.DataFrame:
    """Draw parallel adapters with GELU large and merge them; say how far the states are moved.

    `merged(up, down, A, s)` returns the two linear layers of the wider feed-forward part.
    """
    base, batch, before = _probe()
    model = bottleneck.inject(copy.deepcopy(base), bottleneck.Config(
        reads="input", activation="gelu", scale=4.0)).eval()
    for adapter in adapters(model).values():
        for p in adapter.A.parameters():
            p.normal_(0, 0.05)
    adapted = _hidden(model, batch)
    for layer, adapter in zip(model.bert.encoder.layer, list(adapters(model).values())):
        layer.intermediate.dense, adapter.base.dense = merged(
            layer.intermediate.dense, adapter.base.dense, adapter.A, adapter.scale)
        layer.output = adapter.base
    told = {"base against adapters": adapted - before,
            "adapters against merged": _hidden(model, batch) - adapted}
    rows = {name: f"{off.abs().max():.2g}" for name, off in told.items()}
    return pandas.Series(rows | {"adapters left": len(adapters(model))}).to_frame(
        "largest difference in the last hidden states")


# ── sealed layers ────────────────────────────────────────────────────────────────────────────


def seal(place: str, seed: int = 0) -> Sealed:
    """Return a BERT layer of MiniLM's width with the library's adapters at this place, sealed.

    Its two norms are plain (weight 1, bias 0); what its attention and its feed-forward part give
    is the prober's to say, by hooks on the two `dense` that end them. `norm` is its norm.
    """
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.BertModel(transformers.BertConfig(
            hidden_size=384, num_hidden_layers=1, num_attention_heads=12, intermediate_size=1536,
            vocab_size=10), add_pooling_layer=False).eval()
        layer, given = model.encoder.layer[0], {}
        for name, module in (("x", model.embeddings.dropout),
                             ("attention", layer.attention.output.dense),
                             ("ffn", layer.output.dense)):
            module.register_forward_hook(
                lambda module, inputs, output, name=name: given[name].view(1, 1, -1))
        model = bottleneck.inject(model, config_of(place))
        for adapter in adapters(model).values():
            for parameter in adapter.own_parameters().values():
                parameter.data.normal_(1 if parameter.dim() == 1 else 0, 0.1)

    def call(x: Tensor, attention: Tensor, ffn: Tensor) -> Tensor:
        given.update(x=x.float(), attention=attention.float(), ffn=ffn.float())
        with torch.no_grad():
            return model(torch.zeros(1, 1, dtype=torch.long)).last_hidden_state[0, 0]

    return Sealed(call, 384)


def probed(name_placement) -> list[tuple[str, str, int]]:
    """Hand over sealed layers; return what is inside, what it was called, after how many probes."""
    found = []
    for i, place in enumerate(PLACES):
        sealed = seal(place, seed=i)
        found.append((place, str(name_placement(sealed, norm, 384)), sealed.asked))
    return found


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "block": explore_block,
    "race": lambda: draw_race(race(records.load("adapters")), {"one": 0.6}, 0.8),
}
