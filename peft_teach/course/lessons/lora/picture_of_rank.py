"""The picture *Rank against parameters*: what a setting of LoRA costs, what was measured near it.

Accuracies are shown after a commitment; a button trains the setting that is chosen, now.
"""

import functools
import math
import textwrap
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import ipywidgets as ipw
import torch
from IPython.display import display
from matplotlib.figure import Figure
from torch import Tensor, nn

from .... import account, data, models, outlines, training
from ....methods import lora
from ....plots import COLOURS, bytes_text, figure, in_percent, logarithmic, plain_ticks
from ....training import Step
from ....widgets import Choices, Explorer, Progress, Run, watch
from ... import records, work
from ...guess import Guess
from ...own_run import OwnRun, own_run

PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
RANKS = (1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 192, 384)
DEPTH = 6               # blocks of MiniLM, of which all runs are
RATE = 3e-3             # the recorded runs' learning rate
OWN = "lora.rank"       # under this name the reader's own points are kept
LOOKS, LOOK = 10, 4     # while a training is watched: how often it is tested, on how many batches

# Settings beside the chosen one, in all blocks, by what the reader calls them.
OTHERS = {"query": ("query",), "query, value": ("query", "value"), "attention": PLACES[:4],
          "all places": PLACES}


@dataclass(frozen=True)
class Point:
    """A recorded setting of LoRA, and the accuracy that each of its seeds reached."""

    rank: int
    alpha: float
    places: tuple[str, ...]
    layers: tuple[int, ...]
    parameters: int
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The accuracy, mean over the seeds."""
        return mean(self.accuracies)

    @property
    def name(self) -> str:
        """The setting in words."""
        return _named(self.rank, self.places, self.layers)


@dataclass(frozen=True)
class Measured:
    """What was measured, and between which levels: full fine-tuning and the head alone."""

    points: tuple[Point, ...]
    full: float
    head: float


@dataclass(frozen=True)
class OwnPoint:
    """A run of the reader's own, by its setting in words."""

    name: str
    parameters: int
    accuracy: float


@dataclass(frozen=True)
class Budget:
    """What a setting of LoRA costs, and what was measured nearest to it."""

    rank: int
    places: tuple[str, ...]
    layers: tuple[int, ...]
    parameters: int
    share: float                                # of the model, from 0 to 1
    by_rank: Mapping[int, int]                  # the parameters at each of `RANKS`
    others: Mapping[str, Mapping[int, int]]     # the same for other places, by name
    whole_matrices: int                         # all parameters of the chosen matrices
    ledger: account.Ledger                      # while training, 16 sentences of 32 tokens
    nearest: Point | None                       # None where nothing is adapted
    measured: Measured
    own: tuple[OwnPoint, ...]
    guess: int | None                           # a rank
    is_open: bool                               # may the accuracies be seen?

    @property
    def file_bytes(self) -> int:
        """The adapter's parameters in a file, four bytes each."""
        return 4 * self.parameters

    @property
    def is_recorded(self) -> bool:
        """Whether the nearest run is one of exactly this setting."""
        return self.nearest is not None and (
            self.nearest.rank, set(self.nearest.places), set(self.nearest.layers)) == (
            self.rank, set(self.places), set(self.layers))

    @property
    def told(self) -> str:
        """The nearest recorded run, with its accuracy and what its seeds span."""
        if self.nearest is None:
            return "nothing is adapted: the head alone"
        values = self.nearest.accuracies
        return (f"{'recorded' if self.is_recorded else 'nearest recorded'}: {self.nearest.name}: "
                f"{self.nearest.mean:.1%} ({min(values):.1%} to {max(values):.1%})")


def measured(record: dict) -> Measured:
    """Read the recorded settings with alpha twice the rank; `record` is `records.load("lora")`."""
    groups = [rows for group in ("ranks", "places", "layers")
              for rows in records.by_setting(records.select(record, group=group))]
    head, full = records.ends()
    return Measured(tuple(
        Point(rows[0]["rank"], rows[0]["alpha"], tuple(rows[0]["targets"]),
              tuple(rows[0]["layers"] or range(DEPTH)), rows[0]["parameters"],
              tuple(row["accuracy"] for row in rows)) for rows in groups),
        full, head)


def own_points() -> tuple[OwnPoint, ...]:
    """Return the reader's own runs, those of earlier kernels too."""
    return tuple(OwnPoint(_named(p["rank"], p["places"], p["layers"]), p["parameters"],
                          p["accuracy"]) for p in work.points(OWN))


def nearest(points: Sequence[Point], rank: int, places: Sequence[str],
            layers: Sequence[int]) -> Point | None:
    """Return the recorded setting that shares the most matrices, then the nearest in rank."""
    chosen = {(p, b) for p in places for b in layers}

    def distance(point: Point) -> float:
        other = {(p, b) for p in point.places for b in point.layers}
        apart = 1 - len(chosen & other) / len(chosen | other)
        return 8 * apart + abs(math.log2(rank / point.rank))

    return min(points, key=distance) if chosen else None


def budget(measured: Measured, rank: int, places: Sequence[str], layers: Sequence[int],
           own: tuple[OwnPoint, ...] = (), guess: int | None = None,
           is_open: bool = True) -> Budget:
    """Count a setting, predict its memory, and look for the recorded run nearest to it.

    `layers` are block numbers; `guess` is a rank to which the reader committed.
    """
    whole = sum(math.prod(_shapes()[p]) for p in places) * len(layers)
    return Budget(
        rank, tuple(places), tuple(layers), rank * _per_rank(places, layers),
        rank * _per_rank(places, layers) / sum(outlines.counts("minilm").values()),
        {r: r * _per_rank(places, layers) for r in RANKS},
        {name: {r: r * _per_rank(other, range(DEPTH)) for r in RANKS}
         for name, other in OTHERS.items()},
        whole, training_ledger(rank, tuple(places), tuple(layers)),
        nearest(measured.points, rank, places, layers), measured, own, guess, is_open)


@functools.cache
def training_ledger(rank: int, places: tuple[str, ...], layers: tuple[int, ...]) -> account.Ledger:
    """Predict what training MiniLM with this LoRA holds, 16 sentences of 32 tokens."""
    model = _adapted(rank, places, layers)
    batch, tokens = 16, 32
    ids = torch.zeros(batch, tokens, dtype=torch.long, device="meta")
    kept = account.activations(model, {"input_ids": ids, "labels": ids[:, 0]})
    return account.ledger(model, batch, tokens, law=(kept, 0, 0, 0))    # measured at this size


def _adapted(rank: int, places: tuple[str, ...], layers: tuple[int, ...]) -> nn.Module:
    model = outlines.outline("minilm").requires_grad_(False)
    with torch.device("meta"):
        for name in models.find(model, places, layers) if places and layers else ():
            models.replace(model, name, lora.LoRALinear(model.get_submodule(name), rank))
    for name in models.head(model):
        model.get_parameter(name).requires_grad_(True)
    return model


@functools.cache
def _shapes() -> dict[str, tuple[int, int]]:
    """Return the (n_out, n_in) of a block's matrices, by place."""
    model = outlines.outline("minilm")
    return {p: tuple(model.get_submodule(models.places(model)[p][0]).weight.shape) for p in PLACES}


def _per_rank(places: Sequence[str], layers: Sequence[int]) -> int:
    return len(layers) * sum(sum(_shapes()[p]) for p in places)


def _words(places: Sequence[str], layers: Sequence[int]) -> str:
    groups = {PLACES: "all places", PLACES[:4]: "attention", PLACES[4:]: "feed-forward"}
    where = groups.get(tuple(places), ", ".join(places) or "no place")
    if len(layers) == DEPTH:
        return where
    return f"{where}, block{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"


def _named(rank: int, places: Sequence[str], layers: Sequence[int]) -> str:
    return f"rank {rank}, {_words(places, layers)}"


def draw_budget(found: Budget) -> Figure:
    """Draw parameters against rank, among other places; and accuracy against parameters."""
    made, left, right = figure(9.2, 4.6, columns=2)
    for name, sizes in found.others.items():
        left.plot(RANKS, sizes.values(), color=COLOURS["quiet"], lw=1)
        left.text(RANKS[-1] * 1.15, sizes[RANKS[-1]], name, va="center", fontsize=9)
    logarithmic(left)
    if found.parameters:
        left.plot(RANKS, found.by_rank.values(), color=COLOURS["lora"], lw=2.5)
        left.plot(found.rank, found.parameters, "o", ms=11, color=COLOURS["lora"])
        left.axhline(found.whole_matrices, color=COLOURS["full"], ls="--", lw=1.5)
        left.text(1, found.whole_matrices * 1.12, "the chosen matrices themselves", fontsize=9,
                  color=COLOURS["full"])
    left.set(xlabel="rank", ylabel="parameters that LoRA trains", xlim=(0.8, 450),
             title=f"{found.parameters:,} parameters, {found.share:.3%} of the model")
    plain_ticks(left.xaxis, (1, 2, 4, 8, 16, 64, 192))
    _draw_accuracies(right, found)
    for ax in (left, right):
        ax.title.set_fontsize(10)
    made.set_label(f"Rank {found.rank}, {_words(found.places, found.layers)}: {found.parameters:,} "
                   f"trained parameters, {found.share:.3%} of the model, {_memory(found)}" + (
                       f"; {found.told}; full fine-tuning {found.measured.full:.1%}, head alone "
                       f"{found.measured.head:.1%}" if found.is_open else "") + "".join(
                       f"; your own run, {p.name}: {p.accuracy:.1%}"
                       for p in found.own if found.is_open) + ".")
    return made


def _draw_accuracies(ax, found: Budget) -> None:
    if not found.is_open:
        ax.text(0.5, 0.5, "Commit to a guess above:\nthen what was measured\nappears here.",
                ha="center", va="center", transform=ax.transAxes)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        return
    for point in found.measured.points:
        near = point is found.nearest
        alike = (set(point.places), point.layers) == (set(found.places), tuple(found.layers))
        ax.plot([point.parameters] * 2, [min(point.accuracies), max(point.accuracies)],
                color=COLOURS["lora"], alpha=1 if alike else 0.25, lw=2.5 if near else 1.2)
        ax.plot(point.parameters, point.mean, "o", ms=10 if near else 6, color=COLOURS["lora"],
                alpha=1 if alike else 0.25, mew=0, zorder=3 if near else 2)
        if alike:
            ax.annotate(f"r {point.rank}", (point.parameters, min(point.accuracies)), fontsize=9,
                        xytext=(0, -4), textcoords="offset points", ha="center", va="top")
    for point in found.own:
        ax.plot(point.parameters, point.accuracy, "D", ms=9, color=COLOURS["yours"], zorder=4)
    for name, level in (("full fine-tuning", found.measured.full),
                        ("head alone", found.measured.head)):
        ax.axhline(level, color=COLOURS["full" if name[0] == "f" else "head"], ls="--", lw=1.5)
        ax.text(0.99, level, name, ha="right", va="bottom", fontsize=9,
                transform=ax.get_yaxis_transform())
    if found.parameters:
        ax.axvline(found.parameters, color=COLOURS["lora"], lw=1.5, ls=":")
    if found.guess:
        at = found.guess * _per_rank(("query", "value"), range(DEPTH))
        ax.axvline(at, color=COLOURS["yours"], lw=1.5, ls="-.")
        ax.text(at, 0.02, f" your guess, rank {found.guess}", fontsize=9, rotation=90, va="bottom",
                ha="right", transform=ax.get_xaxis_transform())
    logarithmic(ax, "x")
    ax.set(xlabel="parameters that LoRA trains", ylabel="test accuracy",
           title="\n".join(textwrap.wrap(found.told, 44)))
    in_percent(ax.yaxis)


def _memory(found: Budget) -> str:
    held = found.ledger
    return (f"{bytes_text(held.total_bytes)} while training (weights "
            f"{bytes_text(held.weights_bytes)}, gradients {bytes_text(held.gradients_bytes)}, "
            f"optimizer {bytes_text(held.optimizer_bytes)}, activations "
            f"{bytes_text(held.activations_bytes)}), {bytes_text(found.file_bytes)} in a file")


def _budget_caption(found: Budget) -> str:
    told = (f" Right: a dot is a recorded setting, its line spans three seeds; the large dot is "
            f"the nearest to yours, {found.told}. Diamonds are runs of your own."
            if found.is_open else "")
    return (f"{found.parameters:,} trained parameters in {len(found.places) * len(found.layers)} "
            f"matrices: {_memory(found)}. Left: the same for other places, in all blocks, in grey."
            + told)


class RankExplorer(Explorer):
    """Rank, places and blocks against what they cost and reach; and runs of the reader's own.

    `guess` is the commitment after which the accuracies are shown (they are shown at once where
    nothing is kept of a reader); `movies` are what a run of one's own trains and tests on.
    """

    def __init__(self, record: dict, guess: Guess, movies: data.Dataset | None = None,
                 train_examples: int = 4000):
        found = measured(record)
        self.guess, self.movies, self.train_examples = guess, movies, train_examples
        self.watched: tuple[OwnPoint, ...] = ()    # a training of the lesson's, as it goes on
        self.run = Run("Train this setting now", self._train, self._add)
        controls = {
            "rank": ipw.SelectionSlider(options=RANKS, value=8, description="rank"),
            "places": Choices(PLACES, ("query", "value"), "places"),
            "layers": Choices(range(DEPTH), tuple(range(DEPTH)), "blocks"),
        }
        super().__init__(controls, lambda **s: budget(
            found, **s, own=own_points() + self.watched, guess=guess.value,
            is_open=guess.value is not None or work.folder() is None), draw_budget,
            _budget_caption, above=[guess.box], below=[self.run.box])
        guess.buttons.observe(lambda change: self.refresh(), names="value")

    def watch(self, steps: Iterable[Step], total: int, model: nn.Module,
              tests: Sequence[Mapping[str, Tensor]]) -> None:
        """Run a training to its end, with the model's accuracy drawn onto the picture meanwhile."""
        display(self)
        watch(self._followed(steps, total, model, tests), total)
        self._follow(model, tests)

    def _followed(self, steps, total: int, model: nn.Module, tests) -> Iterator[Step]:
        self._follow(model, tests[:LOOK])
        for step in steps:
            if (step.index + 1) % max(1, total // LOOKS) == 0:
                self._follow(model, tests[:LOOK])
            yield step

    def _follow(self, model: nn.Module, tests) -> None:
        found = training.evaluate(model, tests)
        self.watched = (OwnPoint("your training", account.parameters(model).adapter,
                                 found.accuracy),)
        self.refresh()

    def _train(self) -> Generator[Progress, None, tuple[dict, OwnRun]]:
        """Train what the controls say now; they may move on meanwhile."""
        chosen = {name: control.value for name, control in self.controls.items()}
        config = lora.Config(rank=chosen["rank"], alpha=2 * chosen["rank"],
                             targets=chosen["places"], layers=chosen["layers"])
        movies = self.movies or data.load("movies")
        found = yield from own_run(lambda model: lora.inject(model, config), RATE, movies,
                                   train_examples=self.train_examples)
        return chosen, found

    def _add(self, ended: tuple[dict, OwnRun]) -> None:
        chosen, found = ended
        work.add_point(OWN, {
            "rank": chosen["rank"], "places": list(chosen["places"]),
            "layers": list(chosen["layers"]), "parameters": found.parameters,
            "accuracy": round(found.accuracy, 4)})
        self.run.line.value = f"{found.accuracy:.1%} of {found.tests:,} test sentences"
        self.refresh()


def explore_rank(record: dict, guess: Guess) -> Explorer:
    """Rank, places and blocks against what they cost and reach; `record` is `records.load("lora")`.

    `guess` is the reader's commitment: a rank.
    """
    return RankExplorer(record, guess)
