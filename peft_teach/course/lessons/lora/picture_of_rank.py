"""The picture *Rank against parameters*: what a setting of LoRA costs, and what was measured.

Accuracies are shown after a commitment; a button trains the setting that is chosen, now.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

import ipywidgets as ipw
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator

from .... import data, outlines
from ....errors import BadConfig
from ....methods import lora
from ....plots import COLOURS, HALO, bytes_text, claim, figure, in_percent, logarithmic
from ....widgets import Choices, Explorer, Progress, Run
from ... import records
from ...desk import work
from ...desk.budget import budget
from ...desk.buttons import Guess
from ...desk.own_run import OwnRun, own_run
from .recorded import by_setting
from .setting import DEPTH, PLACES, Setting, per_rank, setting, shapes

RANKS = (1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 192, 384)
WITHIN = 0.04           # of the accuracy of full fine-tuning: what the lesson bets on
RATE = 3e-3             # the recorded runs' learning rate
OWN = "lora.rank"       # the name under which the reader's own points are kept


@dataclass(frozen=True)
class Budget:
    """What a setting of LoRA costs, and what was measured, by setting: an accuracy a seed."""

    chosen: Setting
    measured: Mapping[Setting, Sequence[float]]
    own: Mapping[str, tuple[int, float]]        # by name: parameters and accuracy
    guess: int | None                           # a rank
    is_open: bool                               # may the accuracies be seen?

    @property
    def share(self) -> float:
        """Of the model's parameters, from 0 to 1."""
        return self.chosen.parameters / sum(outlines.counts("minilm").values())

    @property
    def finding(self) -> str:
        """What the picture shows, before the accuracies may be seen and after."""
        if not self.chosen.parameters:
            return "Nothing is adapted: head only"
        head, full = records.ends()
        here = sorted((about.rank, mean(values)) for about, values in self.measured.items()
                      if replace(about, rank=self.chosen.rank) == self.chosen)
        near = ", ".join(f"{rank}" for rank, accuracy in here if accuracy > full - WITHIN)
        below = ", ".join(f"{rank}" for rank, accuracy in here if accuracy < head)
        if self.is_open and near:
            return (f"Within four points of full fine-tuning: rank {near}"
                    + f"; below the head on the pooler: rank {below}" * bool(below))
        return f"A and B are as large as the matrices at rank {self.whole / self.each:.0f}"

    @property
    def each(self) -> int:
        """How many parameters a rank has."""
        return self.chosen.parameters // self.chosen.rank

    @property
    def whole(self) -> int:
        """How many the matrices have that LoRA changes."""
        return sum(math.prod(shapes()[p]) for p in self.chosen.places) * len(self.chosen.layers)

    @property
    def told(self) -> str:
        """What was measured of the setting, in words."""
        if not self.chosen.parameters:
            return "nothing is adapted: head only"
        found = self.measured.get(self.chosen)
        return f"recorded: {mean(found):.1%}" if found else "not recorded: train it"


def measured(record: dict) -> dict[Setting, list[float]]:
    """Return the accuracies of the recorded settings, by seed; `record` is that of lesson 07."""
    return {about: [row["accuracy"] for row in rows]
            for about, rows in by_setting(record, "ranks", "places", "layers").items()}


def own_points() -> dict[str, tuple[int, float]]:
    """Return the reader's own runs, those of earlier kernels too."""
    return {setting(p["rank"], p["places"], p["layers"]).name: (p["parameters"], p["accuracy"])
            for p in work.points(OWN)}


def draw_ends(ax) -> None:
    """Draw the accuracies of solved heads and of full fine-tuning, and room for their names."""
    head, full = records.ends()
    on_the_mean = records.head_on_the_mean(records.load("full"))
    for name, level, method, dash, up in (
            ("head on the pooler", head, "head", "--", "bottom"),
            ("head on the mean", on_the_mean, "head", ":", "top"),
            ("full fine-tuning", full, "full", "--", "bottom")):
        colour = COLOURS[method]
        ax.axhline(level, color=colour, ls=dash, lw=1.5)
        ax.annotate(name, (0.99, level), (0, 3 if up == "bottom" else -3), ha="right", va=up,
                    fontsize=11, color=colour, xycoords=ax.get_yaxis_transform(),
                    textcoords="offset points")
    ax.margins(0.1)
    ax.yaxis.set_major_locator(MultipleLocator(0.05))
    in_percent(ax.yaxis)


def draw_budget(found: Budget) -> Figure:
    """Draw one matrix and its strips, to scale, and beside it accuracy against parameters."""
    made, left, right = figure(9.2, 4, columns=2, width_ratios=(1, 1.5))
    chosen = found.chosen
    left.axis("off")
    if chosen.parameters:
        _draw_strips(left, chosen)
    _draw_accuracies(right, found)
    claim(made, found.finding, f"{chosen.name}: {chosen.parameters:,} trained parameters, "
          f"{found.share:.3%} of the model" + ("; {}; head on the pooler {:.1%}, full fine-tuning "
          "{:.1%}".format(found.told, *records.ends()) if found.is_open else "") + "".join(
              f"; your own run, {name}: {accuracy:.1%}"
              for name, (_, accuracy) in found.own.items() if found.is_open) + ".")
    return made


def _draw_strips(ax, chosen: Setting) -> None:
    """Draw W of the first place; B beside its rows, and A below its columns."""
    n_out, n_in = shapes()[next(place for place in PLACES if place in chosen.places)]
    gap, rank, count = 0.08 * n_in, chosen.rank, len(chosen.places) * len(chosen.layers)
    ax.add_patch(Rectangle((0, 0), n_in, n_out, color=COLOURS["frozen"]))
    for corner, size in (((n_in + gap, 0), (rank, n_out)), ((0, -gap - rank), (n_in, rank))):
        ax.add_patch(Rectangle(corner, *size, color=COLOURS["trained"]))
    ax.text(n_in + gap, -gap, f"B beside W, A below:\n{rank * (n_in + n_out):,}", va="top",
            fontsize=11)
    which = f"one of {count} matrices" if count > 1 else "the matrix"
    ax.set_title(f"{which}, to scale\nW: {n_in * n_out:,}", fontsize=12, loc="left")
    ax.set_anchor("W")    # what is written beside a tall one has room
    ax.set(aspect="equal", xlim=(0, n_in + gap + RANKS[-1]), ylim=(-gap - RANKS[-1], n_out))


def _draw_accuracies(ax, found: Budget) -> None:
    if not found.is_open:
        ax.text(0.5, 0.5, "Commit to a guess above:\nthen what was measured\nappears here.",
                ha="center", va="center", transform=ax.transAxes)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        return
    for about, values in found.measured.items():
        if replace(about, rank=found.chosen.rank) != found.chosen:
            continue
        ax.plot([about.parameters] * 2, [min(values), max(values)], lw=2, color=COLOURS["lora"])
        ax.plot(about.parameters, mean(values), "o", ms=11 if about == found.chosen else 7,
                color=COLOURS["lora"], zorder=3)
        ax.annotate(about.rank if 1 < about.rank < 64 else f"rank {about.rank}",
                    (about.parameters, min(values)), (0, -4), textcoords="offset points",
                    ha="center", va="top", fontsize=11, zorder=5, path_effects=HALO)
    for parameters, accuracy in found.own.values():
        ax.plot(parameters, accuracy, "D", ms=14, mew=2, mfc="none", color=COLOURS["yours"],
                zorder=4)
    draw_ends(ax)
    if found.chosen.parameters:
        ax.axvline(found.chosen.parameters, color=COLOURS["frozen"], lw=1, zorder=0)
    if found.guess:
        at = found.guess * per_rank(("query", "value"), range(DEPTH))
        ax.axvline(at, alpha=0)    # the axis reaches to it
        ax.annotate(f"your guess,\nrank {found.guess}", (at, 0), (0, 24), fontsize=11, ha="center",
                    xycoords=ax.get_xaxis_transform(), textcoords="offset points",
                    color=COLOURS["yours"], arrowprops={"arrowstyle": "->",
                                                        "color": COLOURS["yours"]})
    logarithmic(ax, "x")
    ax.set(xlabel="trained parameters", ylabel="test accuracy")


def _caption(found: Budget) -> str:
    told = (" Accuracies are on labels, not ratings. A dot is a rank, its line spans three seeds"
            + "; diamonds are runs of your own" * bool(found.own) + ". LoRA's head reads the "
            "pooler, too." if found.is_open else "")
    return (f"{found.chosen.parameters:,} trained parameters, {found.share:.3%} of the model, "
            f"{bytes_text(4 * found.chosen.parameters)} of numbers"
            f"{f'; {found.told}' * found.is_open}." + told)


class RankExplorer(Explorer):
    """Rank, places and blocks against what they cost and reach; and runs of the reader's own.

    `guess` is the commitment after which the accuracies are shown, or at the latest after its
    result (at once where there is no reader to ask); `movies` are what a run of one's own trains
    and tests on.
    """

    def __init__(self, record: dict, guess: Guess, movies: data.Dataset | None = None,
                 train_examples: int = 4000):
        found = measured(record)
        self.guess, self.movies, self.train_examples = guess, movies, train_examples
        self.run = Run("Train this setting now", self._train, self._add)
        controls = {
            "rank": ipw.SelectionSlider(options=RANKS, value=8, description="rank"),
            "places": Choices(PLACES, ("query", "value"), "places"),
            "layers": Choices(range(DEPTH), tuple(range(DEPTH)), "blocks"),
        }
        super().__init__(controls, lambda **chosen: Budget(
            setting(**chosen), found, own_points(), guess.value,
            is_open=guess.value is not None or work.resolved(guess.name)
            or not work.is_reader_here()), draw_budget, _caption, above=[guess.box],
            below=[self.run.box])
        guess.buttons.observe(self._guessed, names="value")
        guess.on_result = self._resulted

    def _resulted(self) -> None:
        if not self.data.is_open:
            self.refresh()

    def _guessed(self, change: object) -> None:
        self.guess.settle()    # first: nobody changes a prediction beside its result
        self.refresh()

    def _train(self) -> Generator[Progress, None, tuple[dict, OwnRun]]:
        """Train what the controls say now; they may move on meanwhile."""
        chosen = {name: control.value for name, control in self.controls.items()}
        trained = setting(**chosen)
        if not trained.parameters:
            raise BadConfig("Nothing is ticked: LoRA needs a place and a block at least.")
        config = lora.Config(rank=chosen["rank"], alpha=2 * chosen["rank"],
                             targets=chosen["places"], layers=chosen["layers"])
        movies = self.movies or data.load("movies")
        found = yield from own_run(lambda model: lora.inject(model, config), RATE, movies,
                                   train_examples=self.train_examples, name=trained.name)
        return chosen, found

    def _add(self, ended: tuple[dict, OwnRun]) -> None:
        chosen, found = ended
        if budget().claims:
            work.add_point(OWN, {
                "rank": chosen["rank"], "places": list(chosen["places"]),
                "layers": list(chosen["layers"]), "parameters": found.parameters,
                "accuracy": round(found.accuracy, 4)})
        self.run.line.value = f"{found.accuracy:.1%} of {found.tests:,} test sentences"
        self.refresh()


def explore_rank(record: dict, guess: Guess) -> Explorer:
    """Rank, places and blocks against what they cost and reach; see `RankExplorer`."""
    return RankExplorer(record, guess)
