"""Pictures of lesson 03: a threshold between answers, the starts, the way to words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import acos, sin
from statistics import mean

import ipywidgets as ipw
import numpy as np
import pandas
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from torch import nn

from .... import data, plots
from ....plots import COLOURS, SERIES, figure, in_percent
from ....widgets import Explorer
from ... import records
from ...desk import live
from ...desk import reviews as reading  # the lesson has it from here
from ...verdicts import POINT, Comparison, verdict
from .front import InFront as InFront
from .front import OnBackbone as OnBackbone

FRONTS = {"the instruction, in words": 1.0, "ten trained vectors": 0.0}    # t in the record
STYLES = {"text": SERIES[0], "labels": SERIES[2], "random": (COLOURS["random"], "--", "s")}
NOTHING, THRESHOLD = "no instruction", "(threshold moved)"
VECTORS, RANDOM = "ten vectors", "ten vectors from random numbers"
ALL = 470                                                              # reviews in the record
STARTS = {"text": "words", "labels": "labels", "random": "random numbers"}


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
    """Return how much of each column of `answers` is right, and a verdict beside three rivals.

    The seeds of a prompt make one row. The best instruction is the best of those here, on these
    reviews. Intervals are in points.
    """
    right = said.iloc[:, 2:].eq(said.liked, axis=0)
    every = {name: torch.tensor(part.to_numpy(), dtype=torch.float64)    # (seeds, reviews)
             for name, part in right.T.groupby(lambda name: name.split(", seed")[0], sort=False)}
    written = {row["setting"]["text"].strip() for row in records.select(record, group="written")}
    best = max(written & {*every}, key=lambda name: every[name].mean())
    rivals = {"no instruction": NOTHING, "its first words": record["setting"]["start"].strip(),
              "our best instruction": best}
    return pandas.DataFrame({name: {"right": f"{own.mean():.1%}", **{
        f"beside {column}": "" if name == rival else in_points(verdict(
            own, every[rival].expand_as(own), POINT)) for column, rival in rivals.items()}}
        for name, own in every.items()}).T


def in_points(found: Comparison) -> str:
    """Return a verdict on accuracies as a table writes it: better (1.8 to 10.3)."""
    return f"{found.word} ({100 * found.low:.1f} to {100 * found.high:.1f})".replace("-", "−")


def margins(record: Mapping) -> list[np.ndarray]:
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
    for margins, way, colour, name in ((found.liked, 1, SERIES[0][0], "liked"),
                                       (found.others, -1, SERIES[1][0], "not liked")):
        counts = way * np.append(np.histogram(margins, edges)[0], 0)
        for wrong in (False, True):
            side = (edges < found.threshold) == (wrong == (way > 0))
            ax.fill_between(edges, np.where(side, counts, 0), step="post", lw=0,
                            color=colour, alpha=1 if wrong else 0.25)
        ax.text(-9.2, 20 * way, f"{len(margins)} reviews,\n{name}", color=colour,
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
        # a line where there are places between the ends
        right.plot(*zip(*sorted(curve.items())), ls=dash if len(curve) > 2 else "none",
                   marker=marker, color=colour, ms=6, lw=2)
        right.annotate(f"from {STARTS[start]}", (0, curve[0.0]), (8, 8), color=colour,
                       fontsize=11, textcoords="offset points")
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


# ── the starts ───────────────────────────────────────────────────────────────────────────────


def starts(record: Mapping) -> pandas.DataFrame:
    """Return a row for each recorded run of ten vectors and 32 steps, tested on 100 reviews."""
    runs = record.runs[record.runs.group.isin(["soft", "rates"])]
    return runs[["start", "seed", "lr", "accuracy"]].assign(
        losses=[record.losses[id] for id in runs.index],
        end=[mean(record.losses[id][-8:]) for id in runs.index])


def draw_starts(record: Mapping) -> Figure:
    """Draw the loss by start, a mean of the seeds, and what each pair of runs ends at."""
    found = starts(record)
    made, left, right = figure(9.2, 3.6, columns=2, width_ratios=(1.25, 1))
    told, ends = [], {}
    for start, (colour, dash, marker) in STYLES.items():
        runs = found[found.start == start].sort_values(["lr", "seed"])
        few = runs[runs.lr == record["setting"]["lr"]]
        losses = np.mean(few.losses.tolist(), axis=0)
        left.plot(range(1, len(losses) + 1), losses, dash, color=colour, lw=2)
        right.plot(range(len(runs)), runs.accuracy, marker, color=colour, ms=8, mew=0)
        ends[STARTS[start]] = losses[-1], colour
        told.append(f"{STARTS[start]} {mean(few.end):.2f}, "
                    f"{mean(few.accuracy):.0%} right")
    left.set(xlabel="step", ylabel="loss of the batch (log axis)", yscale="log")
    plots.name_ends(left, ends)
    plots.plain_ticks(left.yaxis, (0.1, 0.2, 0.5, 1, 2, 4))
    right.set(xticks=range(len(runs)), xticklabels=[
        f"{lr:g}\nseed {seed}" for lr, seed in zip(runs.lr, runs.seed)], xlabel="rate",
        ylabel="right, of 100 reviews", ylim=(0.78, 0.92), xlim=(-0.5, len(runs) - 0.5))
    in_percent(right.yaxis)
    made.set_label(f"After 32 steps at the usual rate: {'; '.join(told)}.")
    return made


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "way": lambda: explore_way(records.load("prompt")),
    "threshold": lambda: explore_threshold(records.load("prompt"),
                                           reading.short(data.load("movies").test)),
    "starts": lambda: draw_starts(records.load("prompt"))}
