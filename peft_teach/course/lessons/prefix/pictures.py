"""Pictures of lesson 04: where a prompt and a prefix enter, and λ by layer and head."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import ipywidgets as ipw
import pandas
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from .... import models
from ....plots import COLOURS, SERIES, dots, figure, in_percent
from ....widgets import Explorer
from ... import records
from .front import prefixed
from .mixing import mixed, prefix_share, readable, seen
from .stepping import generate_wrong

# The lesson has all of these from here.
__all__ = ["STARTS", "draw_entries", "draw_recorded", "explore_shares", "generate_wrong", "mixed",
           "outcomes", "readable", "shares", "start_of", "with_prefix"]

HEADS, LAYERS, MOST_WORDS = 12, 6, 30
STARTS = {"small random numbers": "random", "zeros": "zeros", "keys and values of words": "words"}
OF_WORDS = "this is a review of a film, and it says if the writer liked it or not, in a few words."


def draw_entries(layers: int = 6, length: int = 3, words: int = 4) -> Figure:
    """Draw what is trained, and what is computed, of a prompt and of a prefix, layer by layer."""
    made, left, right = figure(8.5, 3, columns=2)
    for ax, name, trained in ((left, "a soft prompt", lambda layer: layer == 0),
                              (right, "a prefix", lambda layer: True)):
        for layer in range(layers):
            for place in range(length + words):
                is_own = place < length and trained(layer)
                ax.add_patch(Rectangle((place + 0.08, layer + 0.12), 0.84, 0.76, lw=1,
                                       edgecolor=COLOURS["ink"], hatch="///" if is_own else None,
                                       facecolor=COLOURS["yours" if is_own else (
                                           "frozen" if place < length else "paper")]))
        ax.axvline(length, color=COLOURS["ink"], lw=1.5)
        ax.set(xlim=(0, length + words), ylim=(0, layers), title=name, ylabel="layer",
               xticks=[length / 2, length + words / 2],
               xticklabels=[f"{length} vectors in front", f"{words} words"],
               yticks=[n + 0.5 for n in range(layers)], yticklabels=range(layers))
        ax.tick_params(length=0)
    made.set_label(f"In front of {words} words: of a soft prompt's {length} vectors, layer 0 is "
                   f"trained and layers 1 to {layers - 1} are computed from it; of a prefix, keys "
                   f"and values of all {layers} layers are trained.")
    return made


# ── λ by layer and head ──────────────────────────────────────────────────────────────────────


@torch.no_grad()
def shares(backbone: nn.Module, K: Tensor, V: Tensor, ids: Tensor, place: int | None = None
           ) -> list[list[float]]:
    """Return λ by layer and head of one sentence, ids (1, seq): a mean over its tokens.

    `backbone` is a plain encoder; K, V (layers, length, d). With a place: of the token there, 0 for
    [CLS], whose output alone the head reads.
    """
    at = slice(None) if place is None else slice(place, place + 1)
    heads = backbone.config.num_attention_heads
    every = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool)
    return [prefix_share(layer["query"], layer["key"], k[None], heads, every)[0, :, at].mean(-1)
            .tolist() for layer, k in zip(with_prefix(backbone, K, V, ids), K)]


@torch.no_grad()
def with_prefix(backbone: nn.Module, K: Tensor, V: Tensor, ids: Tensor) -> list[dict[str, Tensor]]:
    """Read a sentence with a prefix; return what each layer's attention saw, and read: see `seen`.
    """
    from transformers import DynamicCache

    pairs, mask, positions = prefixed(K, V, torch.ones_like(ids),
                                      backbone.config.num_attention_heads)
    cache = DynamicCache(pairs)
    with seen(backbone) as layers:
        backbone(input_ids=ids, attention_mask=mask, position_ids=positions,
                 **{models.cache_name(): cache})
    return layers


@torch.no_grad()
def start_of(backbone: nn.Module, tokenizer, start: str, length: int) -> tuple[Tensor, Tensor]:
    """Return K and V of a start, (layers, length, d) each: "random", "zeros" or "words"."""
    from transformers import DynamicCache

    shape = (backbone.config.num_hidden_layers, length, backbone.config.hidden_size)
    if start != "words":
        drawn = 0.02 * torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
        return tuple(drawn if start == "random" else torch.zeros_like(drawn))
    ids, cache = _ids(tokenizer, OF_WORDS, length, ends=False), DynamicCache()
    backbone(input_ids=ids, **{models.cache_name(): cache})
    return tuple(torch.stack([getattr(layer, name)[0].transpose(0, 1).flatten(1)
                              for layer in cache.layers]) for name in ("keys", "values"))


def _ids(tokenizer, text: str, count: int, ends: bool = True) -> Tensor:
    """Return a text of so many tokens, (1, count): cut, or said again until it is as long."""
    ids = tokenizer(text or ".", add_special_tokens=False)["input_ids"] or [tokenizer.unk_token_id]
    ids = (ids * count)[:count]
    return torch.tensor([[tokenizer.cls_token_id, *ids, tokenizer.sep_token_id] if ends else ids])


@dataclass(frozen=True)
class Shares:
    """λ by layer and head, a mean over a sentence's tokens: before training, and after."""

    before: Sequence[Sequence[float]]
    after: Sequence[Sequence[float]]
    start: str
    length: int
    words: int
    text: str

    @property
    def told(self) -> str:
        """The means, in words."""
        means = [mean(x for row in table for x in row) for table in (self.before, self.after)]
        return (f"{self.length} vector{'s' * (self.length > 1)}, {self.words} word"
                f"{'s' * (self.words > 1)}: mean λ {means[0]:.2f} before, {means[1]:.2f} after")


def draw_shares(found: Shares) -> Figure:
    """Draw λ: a column for each head, layer by layer; open before training, filled after."""
    made, ax = figure(9, 3.8)
    for layer, (before, after) in enumerate(zip(found.before, found.after)):
        places = [layer * (HEADS + 2) + head for head in range(HEADS)]
        ax.vlines(places, before, after, color=COLOURS["quiet"], lw=1.5)
        ax.plot(places, before, "o", ms=6, mfc=COLOURS["paper"], color=COLOURS["ink"],
                label=f"before: {found.start}" if layer == 0 else None)
        ax.plot(places, after, "D", ms=5, color=COLOURS["yours"],
                label="after training" if layer == 0 else None)
    ax.set(ylim=(-0.03, 1.03), ylabel="λ, share of the prefix", title=found.told,
           xticks=[n * (HEADS + 2) + (HEADS - 1) / 2 for n in range(LAYERS)],
           xticklabels=[f"layer {n}" for n in range(LAYERS)])
    in_percent(ax.yaxis)
    ax.tick_params(axis="x", length=0)
    ax.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1.08), ncols=2)
    made.set_label(f"{found.told}. " + "; ".join(
        f"layer {n}: {min(before):.2f} to {max(before):.2f} before, {min(after):.2f} to "
        f"{max(after):.2f} after" for n, (before, after) in enumerate(
            zip(found.before, found.after))) + ".")
    return made


def explore_shares(backbone: nn.Module, tokenizer, K: Tensor, V: Tensor,
                   text: str = "A quiet, funny, generous film.") -> Explorer:
    """λ on a sentence of the reader's, with the lengths of prefix and sentence on sliders.

    `backbone` is plain; K and V (layers, length, d) were trained.
    """
    K, V = K.detach().cpu(), V.detach().cpu()
    sentence = ipw.Text(value=text, description="a sentence", continuous_update=False,
                        layout=ipw.Layout(width="38em"))
    starts = {name: start_of(backbone, tokenizer, start, K.shape[1])
              for name, start in STARTS.items()} | {"own": (K, V)}

    @functools.lru_cache(maxsize=500)
    def table(which: str, length: int, words: int, text: str) -> list[list[float]]:
        k, v = starts[which]
        return shares(backbone, k[:, :length], v[:, :length], _ids(tokenizer, text, words))

    def compute(length: int, words: int, start: str) -> Shares:
        tables = [table(which, length, words, sentence.value) for which in (start, "own")]
        return Shares(*tables, start, length, words, sentence.value)

    explorer = Explorer({
        "length": ipw.IntSlider(min=1, max=K.shape[1], value=K.shape[1], description="prefix"),
        "words": ipw.IntSlider(min=1, max=MOST_WORDS, value=8, description="words"),
        "start": ipw.Dropdown(options=tuple(STARTS), description="before"),
    }, compute, draw_shares, lambda found: (
        "λ of each of the twelve heads in each layer, a mean over the sentence's tokens. Open "
        "circles: the start chosen above; filled: your trained prefix, of which the first "
        "vectors are taken. The sentence is cut, or said again, to this many words or pieces "
        f"of words: “{found.text}”"), above=[sentence])
    sentence.observe(lambda change: explorer.refresh(), names="value")
    return explorer


# ── recorded ─────────────────────────────────────────────────────────────────────────────────


_STYLES = (("head", (COLOURS["head"], "^")), ("prompt", SERIES[1][::2]), ("lora", (
    COLOURS["lora"], "s")), ("full", (COLOURS["full"], "s")), ("yours", (COLOURS["yours"], "D")))
_NOTES = {"still": ", no dropout", "frozen": ", frozen prefix", "start": ", from words"}


def outcomes(record: records.Record, rates: records.Record) -> pandas.DataFrame:
    """Return what was recorded on MiniLM after 120 steps, each run with its `name`."""
    runs = pandas.concat([record.runs.query("group != 'parts'"), rates.runs.query(
        "group == 'defaults' and method in ['prompt', 'prefix', 'lora', 'full']")])
    runs = runs[runs.model == "minilm"].fillna({"length": 20})
    return runs.assign(name=runs.apply(_name, axis=1)).sort_values("name", kind="stable")


def _name(run: pandas.Series) -> str:
    size = f" of {run.length}" if "pr" in run.method else ""
    return f"{run.method}{size}, rate {run.lr:g}{_NOTES.get(run.group, '')}"


def draw_recorded(runs: pandas.DataFrame) -> Figure:
    """Draw test accuracies, a line a name and a mark a seed, between the ends of the ruler.

    The method that a row names gives it its colour; all others are prefixes.
    """
    head, full = records.ends()
    rows = {name: [*values] for name, values in runs.groupby("name", sort=False).accuracy}
    styles = {name: next((style for word, style in _STYLES if word in name), SERIES[0][::2])
              for name in rows}
    return dots(rows, {"the head alone, 4,000 sentences": (head, COLOURS["head"]),
                       "full fine-tuning, 4,000 sentences": (full, COLOURS["full"])}, styles)


# ── one of each, for the tests ───────────────────────────────────────────────────────────────


def _example() -> Explorer:
    model, tokenizer = models.load("minilm", device="cpu")
    K, V = torch.randn(2, LAYERS, 8, 384, generator=torch.Generator().manual_seed(1))
    return explore_shares(model, tokenizer, K, V)


EXAMPLES = {
    "entries": draw_entries,
    "shares": _example,
    "recorded": lambda: draw_recorded(outcomes(records.load("prefix"), records.load("rates"))),
}
