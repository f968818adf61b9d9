"""Pictures of lesson 03: a threshold between answers, the way to words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import ipywidgets as ipw
import numpy as np
import pandas
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from torch import nn

from .... import data, plots
from ....plots import COLOURS, SERIES, claim, figure, in_percent
from ....widgets import Explorer
from ... import records
from ...desk import live
from ...desk import reviews as reading  # the lesson has it from here
from ...verdicts import POINT, Comparison, verdict
from .front import OnBackbone as OnBackbone

FRONTS = {"the instruction, in words": 1.0, "ten trained vectors": 0.0}    # t in the record
STYLES = {"text": SERIES[0], "random": (COLOURS["random"], "--", "s")}
NOTHING, THRESHOLD = "no instruction", "(threshold moved)"
VECTORS, RANDOM = "ten vectors", "ten vectors from random numbers"
ALL = 470                                                              # reviews in the record
STARTS = {"text": "words", "random": "random numbers"}


# ── what the model says ──────────────────────────────────────────────────────────────────────


def read(model: nn.Module, tokenizer, review: str,
         before: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """Return how likely each of the two words is behind a review, below what it was `before`."""
    asked = tokenizer([reading.QUESTION.format(review)], return_tensors="pt")
    every = live.logits(model, [asked])[0, -1].softmax(-1)                # (vocabulary,)
    two = every[reading.two_words(tokenizer)]
    told = live.likelihoods(*two, before)
    told.loc[told.index[-1], "all other words"] = f"{1 - two.sum():.0%}"
    return told


def answers(record: Mapping, reviews: Sequence) -> pandas.DataFrame:
    """Return the recorded answers to all short test reviews, True for " positive", one a column."""
    asked = by_length(reviews)
    found = {"review": [review.text for review in asked],
             "liked": [review.label == 1 for review in asked]}
    for row in (*records.select(record, group="all"), *records.select(record, group="back")):
        about = row["setting"]
        if row["method"] == "none":
            name = about["text"].strip() or NOTHING
            name = f"{name} {THRESHOLD}" if "bound" in about else name
        elif row["group"] == "all":
            name = f"{VECTORS}, seed {about['seed']}"
        elif (about["start"], about["t"]) == ("random", 0.0):
            name = RANDOM
        else:
            continue
        found[name] = [digit == "1" for digit in row["answers"]]
    return pandas.DataFrame(found)


def by_length(reviews: Sequence) -> list:
    """Return reviews in the order in which the record has them."""
    return sorted(reviews, key=lambda review: len(review.text))


def scores(said: pandas.DataFrame, record: Mapping) -> pandas.DataFrame:
    """Return how much of each column is right and positive, and a verdict beside three rivals.

    The seeds of a prompt make one row. The best instruction is the best of those here, on these
    reviews. Intervals are in points.
    """
    told = {name: part.to_numpy(dtype=bool) for name, part in said.iloc[:, 2:].T.groupby(
        lambda name: name.split(", seed")[0], sort=False)}                # (seeds, reviews)
    every = {name: torch.tensor(part == said.liked.to_numpy(), dtype=torch.float64)
             for name, part in told.items()}
    written = {row["setting"]["text"].strip() for row in records.select(record, group="written")}
    best = max(written & {*every}, key=lambda name: every[name].mean())
    rivals = {"no instruction": NOTHING, "Classify …": record["setting"]["start"].strip(),
              "our best instruction": best}
    return pandas.DataFrame({name: {
        "right": f"{own.mean():.1%}", "says positive": f"{told[name].mean():.0%}", **{
                f"beside {column}": "" if name == rival else in_points(verdict(
            own, every[rival].expand_as(own), POINT)) for column, rival in rivals.items()}}
        for name, own in every.items()}).T


def in_points(found: Comparison) -> str:
    """Return a verdict on accuracies as a table writes it: better (1.8 to 10.3)."""
    return f"{found.word} ({100 * found.low:.1f} to {100 * found.high:.1f})".replace("-", "−")


def gaps(record: Mapping) -> list[np.ndarray]:
    """Return the logit of " positive" less that of " negative": of the words, of the vectors."""
    return [np.array(records.select(record, group="back", setting={
        "model": "smollm2", "start": "text", "t": t, "tests": ALL})[0]["margins"])
        for t in FRONTS.values()]


# ── a threshold between the answers ──────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Parted:
    """How far " positive" is ahead, by what the reviewer thought, and a threshold."""

    front: str
    threshold: float
    liked: Sequence[float]
    others: Sequence[float]

    @property
    def accuracy(self) -> float:
        """The share of reviews on their own side of the threshold."""
        return mean([m > self.threshold for m in self.liked]
                    + [m <= self.threshold for m in self.others])


def parted(record: Mapping, reviews: Sequence, front: str, threshold: float) -> Parted:
    """Part the short test reviews at a threshold; `front` is one of `FRONTS`."""
    row, = records.select(record, group="back", setting={
        "model": "smollm2", "start": "text", "t": FRONTS[front], "tests": len(reviews)})
    asked = list(zip(by_length(reviews), row["margins"]))
    return Parted(front, threshold, *([m for review, m in asked if review.label == label]
                                  for label in (1, 0)))


def draw_parted(found: Parted) -> Figure:
    """Draw liked reviews above the line and the others below; those answered wrongly are solid."""
    made, ax = figure(9.2, 3.6)
    edges = np.arange(-8.5, 8.5, 0.25)
    for gaps, way, colour, name in ((found.liked, 1, SERIES[0][0], "liked"),
                                       (found.others, -1, SERIES[1][0], "not liked")):
        counts = way * np.append(np.histogram(gaps, edges)[0], 0)
        for wrong in (False, True):
            side = (edges < found.threshold) == (wrong == (way > 0))
            ax.fill_between(edges, np.where(side, counts, 0), step="post", lw=0,
                            color=colour, alpha=1 if wrong else 0.25)
        ax.text(-9.2, 20 * way, f"{len(gaps)} reviews,\n{name}", color=colour,
                va="center", fontsize=11)
    ax.axhline(0, color=COLOURS["ink"], lw=1)
    ax.axvline(found.threshold, color=COLOURS["ink"], lw=2)
    for side, text in ((-1, "← “negative”"), (1, "“positive” →")):
        ax.text(found.threshold + 0.2 * side, 27, text, fontsize=11,
                ha="left" if side > 0 else "right")
    ax.set(xlabel="logit of “positive” less that of “negative”", ylabel="reviews",
           ylim=(-28, 30))
    ax.yaxis.set_major_formatter(lambda count, _: f"{abs(count):g}")
    claim(made, f"Threshold {found.threshold:g}: {found.accuracy:.1%} right (pale), the others "
          "wrong (solid)", f"In front: {found.front}.")
    return made


def explore_threshold(record: Mapping, reviews: Sequence) -> Explorer:
    """Move the threshold between the answers, with words in front or with trained vectors."""
    controls = {
        "front": ipw.ToggleButtons(options=list(FRONTS), description="in front",
                                   style={"button_width": "190px"}),
        "threshold": ipw.SelectionSlider(options=[(f"{b / 4:g}", b / 4) for b in range(-8, 17)],
                                         value=0.0, description="threshold"),
    }
    return Explorer(controls, lambda **s: parted(record, reviews, **s), draw_parted,
                    lambda found: "Recorded, seed 0.")


# ── the way back to words ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Way:
    """Two trained prompts, by their start, each moved a share t of the way to its nearest words."""

    t: float
    words: Mapping[str, Sequence[str]]                   # nearest to each vector
    curves: Mapping[str, Mapping[float, float]]          # accuracy by t, where tested
    tested: int


def way(record: Mapping, t: float) -> Way:
    """Read one place of the way; `record` is `records.load("prompt")`."""
    curves: dict[str, dict[float, float]] = {}
    rows = sorted(records.select(record, group="back"), key=lambda row: row["setting"]["t"])
    for row in rows:
        curves.setdefault(row["setting"]["start"], {})[row["setting"]["t"]] = row["accuracy"]
    words = {start: [word for word in nearest if "\ufffd" not in word]    # a part of a letter
             for start, nearest in record["words"].items() if start in curves}
    return Way(t, words, curves, rows[0]["tests"])


def draw_way(found: Way) -> Figure:
    """Draw the accuracy on the way from the trained vectors to their nearest words."""
    made, ax = figure(7.2, 3.8)
    told = []
    for start, curve in found.curves.items():
        colour, dash, marker = STYLES[start]
        aside = 0.04 * (start == "random")    # to the right: the ends of the ways are alike
        # a line where there are places between the ends
        ax.plot([t + aside for t in sorted(curve)], [curve[t] for t in sorted(curve)],
                ls=dash if len(curve) > 2 else "none", marker=marker, color=colour, ms=6, lw=2)
        ax.annotate(f"from {STARTS[start]}", (aside, curve[0.0]), (12, -14 if aside else 8),
                    fontsize=11, textcoords="offset points")
        if found.t in curve:
            plots.ring(ax, found.t + aside, curve[found.t])
            told.append(f"{curve[found.t]:.1%} from {STARTS[start]}")
    ax.set(xlabel="share t of the way to the nearest words", ylim=(0.75, 0.9), xlim=(-0.08, 1.15),
           ylabel=f"accuracy on {found.tested} reviews")
    ax.set_xticks([*found.curves["text"]])
    ax.yaxis.set_major_locator(MultipleLocator(0.05))
    in_percent(ax.yaxis)
    where = {0: "As trained", 1: "At their nearest words"}.get(
        found.t, f"{found.t:.0%} of the way to their nearest words")
    claim(made, f"{where}: {', '.join(told)}", " ".join(
        f"Started as {STARTS[start]}, the nearest words: {', '.join(map(repr, words))}."
        for start, words in found.words.items()))
    return made


def explore_way(record: Mapping) -> Explorer:
    """Two trained prompts, from where training left them to their nearest words."""
    shares = sorted({row["setting"]["t"] for row in records.select(record, group="back")})
    far = {start: mean(plane["far"]) for start, plane in record["planes"].items()}
    other = mean(record["planes"]["text"]["other"])
    return Explorer(
        {"t": ipw.SelectionSlider(options=[(f"{t:g}", t) for t in shares], description="t")},
        lambda t: way(record, t), draw_way,
        lambda found: "Recorded, seed 0. A vector from words ends "
        f"{far['text']:.1f} from its nearest word, which is {other:.1f} from the nearest other "
        f"word; one from random numbers ends {far['random']:.1f} from its nearest, such as "
        f"{', '.join(map(repr, found.words['random'][:3]))}.")


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "way": lambda: explore_way(records.load("prompt")),
    "threshold": lambda: explore_threshold(records.load("prompt"),
                                           reading.short(data.load("movies").test))}
