"""Pictures of lesson 04: where a prompt and a prefix enter, a mixture; λ, and what is recorded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import pandas
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor, nn

from .... import models
from ....ink import narrow
from ....plots import COLOURS, abreast, claim, figure
from ....widgets import Explorer
from ... import protocol, records
from ...verdicts import MARGIN, Comparison, verdict
from .exercises import generate_wrong, prefixed
from .messages import Messages
from .mixture import prefix_share, seen

# The lesson has all of these from here.
__all__ = ["Messages", "beside", "carried", "draw_entries", "explore_mixture", "generate_wrong",
           "shares", "start_of", "with_prefix"]

LAYERS = 6


def draw_entries(layers: int = 6, length: int = 3, words: int = 4) -> Figure:
    """Draw what is trained, and what is computed, of a prompt and of a prefix, layer by layer."""
    made, left, right = figure(8.5, 3.2, columns=2)
    parts = {"trained": COLOURS["trained"], "made by the frozen layers below": COLOURS["quiet"],
             "of the words": COLOURS["paper"]}
    for ax, name, trained in ((left, "a soft prompt", lambda layer: layer == 0),
                              (right, "a prefix", lambda layer: True)):
        for layer in range(layers):
            for position in range(length + words):
                part = "of the words" if position >= length else (
                    "trained" if trained(layer) else "made by the frozen layers below")
                ax.add_patch(Rectangle((position + 0.08, layer + 0.12), 0.84, 0.76, lw=1,
                                       ec=COLOURS["ink"], fc=parts[part]))
        ax.set(xlim=(0, length + words), ylim=(0, layers), title=name, ylabel="layer",
               xticks=[length / 2, length + words / 2],
               xticklabels=[f"{length} vectors in front", f"{words} words"],
               yticks=[n + 0.5 for n in range(layers)], yticklabels=range(layers))
        ax.tick_params(length=0)
    made.legend([Patch(ec=COLOURS["ink"], fc=colour) for colour in parts.values()], [*parts],
                frameon=False, loc="outside lower center", ncols=abreast(3))
    claim(made, f"A prompt is trained at the bottom, a prefix in all {layers} layers",
          f"In front of {words} words: of a soft prompt's {length} vectors, layer 0 is "
          f"trained and layers 1 to {layers - 1} are computed from it; of a prefix, keys and "
          f"values of all {layers} layers are trained.")
    return made


# ── one softmax, shared ──────────────────────────────────────────────────────────────────────

WORDS = {"a": 0.9, "quiet": 1.6, "funny": 2.4, "film": 1.1}    # scores of one query
MOST = 50


@dataclass(frozen=True)
class Mixture:
    """One query: the weights of the words alone, and the share of a prefix by its length."""

    words: Sequence[float]
    by_length: Sequence[float]     # λ for 0 to `MOST` vectors of this score
    length: int
    score: float

    @property
    def share(self) -> float:
        """λ of the prefix as it is."""
        return self.by_length[self.length]


def mixture(length: int, score: float) -> Mixture:
    """Put `length` vectors, each of this score, in front of four words; share one softmax."""
    terms = torch.tensor([*WORDS.values()], dtype=torch.float64).exp()
    front = torch.arange(MOST + 1) * torch.tensor(score, dtype=torch.float64).exp()
    return Mixture((terms / terms.sum()).tolist(), (front / (front + terms.sum())).tolist(), length,
                   score)


def draw_mixture(found: Mixture) -> Figure:
    """Draw the attention as a bar, without the prefix and with it, and λ against the length."""
    made, left, right = figure(9.2, 2.9, columns=2, width_ratios=(2, 1))
    for y, share in ((1, 0.0), (0, found.share)):
        left.barh(y, share, 0.5, color=COLOURS["trained"])
        at = share
        for word, weight in zip(WORDS, found.words):
            width = (1 - share) * weight
            left.barh(y, width, 0.5, left=at, color=COLOURS["band"], ec=COLOURS["ink"], lw=0.8)
            if width > max(0.03, (0.024 if narrow() else 0.016) * len(word)):
                left.text(at + width / 2, y, word, ha="center", va="center", fontsize=10)
            at += width
    if found.share > 0.12:
        left.text(found.share / 2, 0, f"λ = {found.share:.2f}", ha="center", va="center",
                  fontsize=10, weight="bold")
    at = 0.0
    for weight in [*found.words, 0]:
        left.plot([at, found.share + (1 - found.share) * at], [0.75, 0.25], ":",
                  color=COLOURS["rest"], lw=1)
        at += weight
    left.set(yticks=[1, 0], yticklabels=["words alone", "with prefix"], xlim=(0, 1),
             ylim=(-0.5, 1.5), xlabel="share of the attention")
    right.plot(found.by_length, color=COLOURS["trained"])
    right.plot(found.length, found.share, "D", ms=10, mew=0, color=COLOURS["trained"])
    right.set(xlabel="vectors in the prefix", ylabel="λ, share of the prefix", ylim=(-0.03, 1.03))
    claim(made, f"{found.length} vectors of score {found.score:g} take {found.share:.0%} of the "
          "attention; the words keep their ratios", "λ by the number of vectors: " + "; ".join(
              f"{n} {found.by_length[n]:.2f}" for n in range(0, MOST + 1, 10)))
    return made


def explore_mixture() -> Explorer:
    """One query, four words, and a prefix of a length and a score on sliders."""
    return Explorer({
        "length": ipw.IntSlider(min=0, max=MOST, value=20, description="length"),
        "score": ipw.SelectionSlider(options=[(f"{s:g}", s) for s in range(-4, 5)], value=0,
                                     description="score"),
    }, mixture, draw_mixture, lambda found: (
        "One query of one head. Every vector of the prefix has the same score here; a score of 0 "
        "is what a key of zeros has."))


# ── λ by layer ───────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def shares(backbone: nn.Module, K: Tensor, V: Tensor, ids: Tensor,
           share: Callable = prefix_share) -> list[list[float]]:
    """Return λ by layer and head of one sentence, ids (1, seq): a mean over its tokens.

    `backbone` is a plain encoder; K, V (layers, length, d).
    """
    heads = backbone.config.num_attention_heads
    every = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool)
    return [share(layer["query"], layer["key"], k[None], heads, every)[0].mean(-1)
            .tolist() for layer, k in zip(with_prefix(backbone, K, V, ids), K)]


@torch.no_grad()
def with_prefix(backbone: nn.Module, K: Tensor, V: Tensor, ids: Tensor) -> list[dict[str, Tensor]]:
    """Read a sentence with a prefix; return what each layer's attention saw: see `seen`."""
    from transformers import DynamicCache

    pairs, mask, positions = prefixed(K, V, torch.ones_like(ids),
                                      backbone.config.num_attention_heads)
    cache = DynamicCache(pairs)
    with seen(backbone) as layers:
        backbone(input_ids=ids, attention_mask=mask, position_ids=positions,
                 **{models.cache_name(): cache})
    return layers


def start_of(backbone: nn.Module, size: float, length: int) -> tuple[Tensor, Tensor]:
    """Return random K and V of this standard deviation, (layers, length, d) each."""
    config = backbone.config
    K, V = size * torch.randn(2, config.num_hidden_layers, length, config.hidden_size,
                              generator=torch.Generator().manual_seed(0))
    return K, V


# ── recorded ─────────────────────────────────────────────────────────────────────────────────


def carried(record: records.Record) -> pandas.DataFrame:
    """Return the share of each layer's message that arrives: a row for each method and seed.

    The last rows had the last layer's message alone to bring.
    """
    found = {(row["method"] + ", layer 5's alone" * alone, row["seed"]):
             dict(zip(range(LAYERS - 1 if alone else 0, LAYERS), row["arrived"]))
             | {"mean": row["share"]}
             for alone in (False, True)
             for row in records.select(record, group="last" if alone else "final")}
    return pandas.DataFrame(found.values(), pandas.MultiIndex.from_tuples(
        found, names=["in front", "seed"])).rename_axis(columns="layer")


def beside(of: str = "r2", margin: float = MARGIN) -> dict[str, Comparison]:
    """Return the verdict on the recorded prefixes of 20, by what stands beside them."""
    ladder = records.load("ladder")
    rating = protocol.rated(ladder)
    found = protocol.scores(protocol.finals(ladder), rating, of)
    heads = {"the head on the pooler": "exact", "the head on the mean": "exact_mean"}
    prefix, prompt = protocol.shared(found, "prefix", "prompt")
    rivals = {"a prompt of 20": prompt}
    for name, key in heads.items():    # solved, so no seed changes it
        head = protocol.scores([ladder[key] | {"method": key, "seed": 0}], rating, of)[key][0]
        rivals[name] = head.expand_as(prefix)
    return {name: verdict(prefix, rival, margin) for name, rival in rivals.items()}


# ── one of each, for the tests ───────────────────────────────────────────────────────────────


EXAMPLES = {
    "entries": draw_entries,
    "mixture": explore_mixture,
}
