"""Pictures of lesson 03: vectors before words, a threshold between answers, the way to words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import acos, sin
from statistics import mean

import ipywidgets as ipw
import numpy as np
import pandas
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from torch import nn

from .... import data, plots
from ....plots import COLOURS, SERIES, figure, in_percent
from ....widgets import Explorer
from ... import records
from ...desk import live
from ...desk import reviews as reading  # the lesson has it from here
from .front import InFront as InFront

FRONTS = {"the instruction, in words": 1.0, "ten trained vectors": 0.0}    # t in the record
STYLES = {"text": (COLOURS["full"], "-", "o"), "labels": (SERIES[1][0], "-.", "^"),
          "random": (COLOURS["lora"], "--", "s")}
STARTS = {"text": "words", "labels": "labels", "random": "random numbers"}
TOKENS = ("Review", ":", "A", "triumph", ".", "Sentiment", ":")


def draw_prompt(length: int = 10) -> Figure:
    """Draw vectors in front of a review, the frozen model that reads them, and its two answers."""
    made, ax = figure(9.2, 2.5)
    ax.axis("off")
    ax.set(xlim=(0, 9.2), ylim=(0, 2.5))
    x, tops = 0.1, []
    for i, text in enumerate(("",) * length + TOKENS):
        own, width = i < length, 0.3 if i < length else 0.2 + 0.085 * len(text)
        plots.box(ax, x, 1.25, width, 0.4, text, fc=COLOURS["yours" if own else "frozen"], lw=0.8)
        tops.append(x + width / 2)
        ax.annotate("", (tops[-1], 0.88), (tops[-1], 1.22), arrowprops={"arrowstyle": "->"})
        x += width + 0.06 + 0.12 * (i == length - 1)
    plots.box(ax, 0.1, 0.3, x - 0.16, 0.56, "the model, frozen", 11, fc=COLOURS["frozen"], lw=1.2)
    ax.annotate("", (x + 0.45, 0.58), (x - 0.04, 0.58), arrowprops={"arrowstyle": "->"})
    ax.text(x + 0.5, 0.58, "“positive” or\n“negative”?", va="center", fontsize=10)
    middle, end = mean(tops[:length]), mean(tops[length:])
    ax.text(middle, 1.78, f"P: {length} vectors, trained", ha="center", fontsize=10,
            color=COLOURS["yours"], weight="bold")
    ax.text(end, 1.78, "E(x): the words' vectors", ha="center", fontsize=10)
    ax.text(middle, 2.25, "Classify the sentiment of this film review.", ha="center", va="center",
            fontsize=10, color=COLOURS["rest"])
    ax.plot([middle - 1.5, middle + 1.5], [2.25, 2.25], color=COLOURS["rest"], lw=1)
    made.set_label(f"{length} trained vectors stand where an instruction stood, in front of the "
                   f"vectors of {len(TOKENS)} words; a frozen model reads all of them and says "
                   "“positive” or “negative”.")
    return made


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
    asked, start = sorted(reviews, key=lambda review: len(review.text)), record["setting"]["start"]
    kinds = {"no instruction": {"text": ""}, "the words": {"text": start},
             "the words, another threshold": {"text": start, "bound": "best"},
             **{f"ten vectors, seed {seed}": {"start": "text", "seed": seed} for seed in range(3)}}
    said = {name: records.select(record, group="all", setting={
        "model": "smollm2", "tests": len(asked), **kind})[0]["answers"]
        for name, kind in kinds.items()}
    return pandas.DataFrame({"review": [review.text for review in asked],
                             "liked": [review.label == 1 for review in asked],
                             **{name: [digit == "1" for digit in row]
                                for name, row in said.items()}})


def scores(said: pandas.DataFrame) -> pandas.DataFrame:
    """Return how much of each column of `answers` is right, and how far ahead of the words it is.

    In standard errors: reviews won less reviews lost, divided by the root of their sum.
    """
    said, right = said.iloc[:, 2:], said.iloc[:, 2:].eq(said.liked, axis=0)
    gain = right.sub(right["the words"].astype(int), axis=0)    # 1 is a review won, -1 one lost
    return pandas.DataFrame({
        "right": right.mean().map("{:.1%}".format), "says positive": said.sum(),
        "ahead of the words": (gain.sum() / gain.abs().sum().clip(lower=1) ** 0.5).round(1)})


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
    asked = list(zip(sorted(reviews, key=lambda review: len(review.text)), row["margins"]))
    return Parted(front, threshold, *([m for review, m in asked if review.label == label]
                                  for label in (1, 0)))


def draw_parted(found: Parted) -> Figure:
    """Draw liked reviews above the line and the others below; those answered wrongly are solid."""
    made, ax = figure(9.2, 3.6)
    edges = np.arange(-8.5, 8.5, 0.25)
    for margins, way, colour, name in ((found.liked, 1, "full", "liked"),
                                       (found.others, -1, "lora", "not liked")):
        counts = way * np.append(np.histogram(margins, edges)[0], 0)
        for wrong in (False, True):
            side = (edges < found.threshold) == (wrong == (way > 0))
            ax.fill_between(edges, np.where(side, counts, 0), step="post", lw=0,
                            color=COLOURS[colour], alpha=1 if wrong else 0.25)
        ax.text(-9.2, 20 * way, f"{len(margins)} reviews,\n{name}", color=COLOURS[colour],
                va="center", fontsize=11)
    ax.axhline(0, color=COLOURS["ink"], lw=1)
    ax.axvline(found.threshold, color=COLOURS["ink"], lw=2)
    for side, text in ((-1, "← “negative”"), (1, "“positive” →")):
        ax.text(found.threshold + 0.2 * side, 27, text, fontsize=11,
                ha="left" if side > 0 else "right")
    ax.set(xlabel="logit of “positive” less that of “negative”", ylabel="reviews",
           ylim=(-28, 30),
           title=f"threshold {found.threshold:g}: {found.accuracy:.1%} right (pale)")
    ax.yaxis.set_major_formatter(lambda count, _: f"{abs(count):g}")
    made.set_label(f"{found.front}: with a threshold of {found.threshold:g}, "
                   f"{found.accuracy:.1%} right.")
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
    tips: Mapping[str, Sequence[tuple[float, float]]]    # in a plane with the two nearest words
    others: Mapping[str, Sequence[float]]                # where the second of these stands
    curves: Mapping[str, Mapping[float, float]]          # accuracy by t, where tested
    tested: int


def way(record: Mapping, t: float) -> Way:
    """Read one place of the way; `record` is `records.load("prompt")`."""
    planes, curves = record["planes"], {}
    rows = sorted(records.select(record, group="back"), key=lambda row: row["setting"]["t"])
    for row in rows:
        curves.setdefault(row["setting"]["start"], {})[row["setting"]["t"]] = row["accuracy"]
    words = {start: [told["words"][str(i)] for i in told["looks"][-1]["nearest"]]
             for start, told in record["way"].items() if start in planes}
    tips = {start: [((1 - t) * far * cosine, (1 - t) * far * sin(acos(cosine)))
                    for far, cosine in zip(plane["far"], plane["towards"])]
            for start, plane in planes.items()}
    return Way(t, words, tips, {start: plane["other"] for start, plane in planes.items()}, curves,
               rows[0]["tests"])


def draw_way(found: Way) -> Figure:
    """Draw the vectors beside their nearest words, and the accuracy on the way to these."""
    made, left, right = figure(9.2, 3.6, columns=2, width_ratios=(1.3, 1))
    told = []
    for start, tips in found.tips.items():
        (colour, dash, marker), long = STYLES[start], start == "random"
        y, x = np.mean(tips, axis=0)
        left.quiver(0, 0, x, y, angles="xy", scale_units="xy", scale=1, color=colour, width=0.01,
                    zorder=2 - long)
        left.text(0.3, 0.5 if long else -0.5, f"started as {STARTS[start]}: {np.hypot(x, y):.1f}",
                  color=colour, va="center", fontsize=11)
        curve = found.curves[start]
        right.plot(*zip(*curve.items()), dash, marker=marker, color=colour, ms=6, lw=2)
        if found.t in curve:
            plots.ring(right, found.t, curve[found.t])
            told.append(f"started as {STARTS[start]}, {curve[found.t]:.1%} right")
    next_word = mean(mean(others) for others in found.others.values())
    left.plot(0, 0, "o", color=COLOURS["ink"], ms=9)
    left.plot(0, next_word, "s", color=COLOURS["ink"], ms=9, mfc="none", mew=1)
    left.text(0.3, next_word, f"the next word: {next_word:.1f}", va="center", fontsize=11)
    left.text(-0.3, 0, "the nearest\nword", ha="right", va="center", fontsize=11)
    left.set(xlim=(-2.4, 7.8), ylim=(-1.3, 2.6), aspect="equal")
    left.axis("off")
    left.set_title("distance from the nearest word", fontsize=12)
    title = f"t = {found.t:g}: {'; '.join(told)}"
    right.set(xlabel="share t of the way to the nearest words", ylim=(0.75, 0.9),
              ylabel=f"accuracy on {found.tested} reviews")
    right.yaxis.set_major_locator(MultipleLocator(0.05))
    in_percent(right.yaxis)
    made.suptitle(title)
    made.set_label(f"{title}. " + " ".join(
        f"Started as {STARTS[start]}, the nearest words, and how far: " + ", ".join(
            f"{word!a} {np.hypot(*tip):.1f}" for word, tip in zip(found.words[start], tips)) + "."
        for start, tips in found.tips.items()))
    return made


def explore_way(record: Mapping) -> Explorer:
    """Two trained prompts, from where training left them to their nearest words."""
    shares = sorted({row["setting"]["t"] for row in records.select(record, group="back")})
    return Explorer(
        {"t": ipw.SelectionSlider(options=[(f"{t:g}", t) for t in shares], description="t")},
        lambda t: way(record, t), draw_way,
        lambda found: "An arrow leads from a vector's nearest word to the vector: a mean of ten. "
        "Recorded, seed 0. Nearest to the vectors from random numbers: "
        f"{', '.join(map(ascii, found.words['random']))}.")


# ── the loss ─────────────────────────────────────────────────────────────────────────────────


def losses(record: Mapping) -> pandas.DataFrame:
    """Return a row for each recorded run on the way to 32 steps: its start, length and losses."""
    runs = record.runs[record.runs.group.isin(["soft", "lengths"])]
    return runs[["start", "length", "seed"]].assign(losses=[record.losses[id] for id in runs.index])


def draw_losses(record: Mapping, live: Sequence[float] = ()) -> Figure:
    """Draw the loss by start and by length, means of the seeds; a dot is a seed's at the end."""
    runs = losses(record)
    made, left, right = figure(9.2, 3.4, columns=2, sharey=True)
    told = []
    for ax, by, every, styles in (
            (left, "start", runs[runs.length == 10], STYLES),
            (right, "length", runs[runs.start == "text"],
             {1: SERIES[0], 10: STYLES["text"], 50: SERIES[2]})):
        for i, (value, (colour, dash, marker)) in enumerate(styles.items()):
            part = every[every[by] == value]
            name = STARTS.get(value) or f"{value} vector{'' if value == 1 else 's'}"
            curve = plots.running_mean(np.mean(part.losses.tolist(), axis=0), 8)
            ends = [mean(row[-8:]) for row in part.losses]
            ax.plot(range(1, len(curve) + 1), curve, dash, color=colour, lw=2, label=name)
            ax.plot([len(curve) + 1.5 + i] * len(ends), ends, marker, color=colour, ms=6, mew=0)
            told.append(f"{name} {mean(ends):.2f}")
        ax.set(xlabel="step", yscale="log")
    left.plot(range(1, len(live) + 1), plots.running_mean(live, 8), "*", color=COLOURS["yours"],
              ms=10, label="yours, from labels")
    left.set(ylabel="loss (mean of eight steps)", title="10 vectors, by start")
    right.set_title("from words, by length")
    plots.plain_ticks(left.yaxis, (0.2, 0.5, 1, 2, 5))
    for ax in (left, right):
        ax.legend(frameon=False)
    made.set_label(f"Mean loss of the last 8 of 32 steps: {', '.join(told)}.")
    return made


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "prompt": draw_prompt, "way": lambda: explore_way(records.load("prompt")),
    "threshold": lambda: explore_threshold(records.load("prompt"),
                                           reading.short(data.load("movies").test)),
    "losses": lambda: draw_losses(records.load("prompt"), [3.0, 2.0])}
