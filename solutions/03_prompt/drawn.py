"""Lesson 03: a way back to words, a threshold, the starts of the record."""

import math
from statistics import mean

import numpy as np
from drawn import Shown, hue

from peft_teach import data
from peft_teach.course import records
from peft_teach.course.desk import reviews as reading

RECORD = records.load("prompt")
BACK = [run for run in RECORD["runs"] if run["group"] == "back"]
STARTS = {"text": ("words", "series 0", "-", "o"), "labels": ("labels", "series 2", "-.", "^"),
          "random": ("random numbers", "random", "--", "s")}


def way(shown: Shown) -> None:
    """At t = 0: the mean of ten vectors in the plane of their two nearest words."""
    left, right = shown.panels
    left.named("distance from the nearest word")
    right.named(x="share t of the way to the nearest words", y="accuracy on 470 reviews")
    told, following = [], []
    for start, y in (("text", -0.5), ("random", 0.5)):
        name, colour, dash, marker = STARTS[start]
        plane = RECORD["planes"][start]
        tip = np.mean([(far * cosine, far * math.sqrt(1 - cosine ** 2))
                       for far, cosine in zip(plane["far"], plane["towards"])], axis=0)[::-1]
        arrow = left.many.pop(0)
        assert np.allclose([arrow.U[0], arrow.V[0]], tip, rtol=1e-4)
        assert np.allclose(arrow.get_offsets(), 0)
        assert (hue(arrow.get_facecolor()[0]), arrow.angles, arrow.scale) == (hue(colour), "xy", 1)
        left.text(f"started as {name}: {math.hypot(*tip):.1f}", colour, (0.3, y), near=0.01)
        curve = {run["setting"]["t"]: run["accuracy"] for run in BACK
                 if run["setting"]["start"] == start}
        joined = dash if len(curve) > 2 else ""    # no line through what was not measured
        right.line(colour, joined + marker, sorted(curve), [curve[t] for t in sorted(curve)])
        right.text(f"from {name}", colour, (0, curve[0]), near=0.01)
        right.ring(0, curve[0])
        told.append(f"started as {name}, {curve[0]:.1%} right")
        following.append(mean(plane["other"]))
    assert shown.title == f"t = 0: {'; '.join(told)}"
    left.line("ink", "o", 0, 0)
    left.line("ink", "s", 0, mean(following), fill="none")
    left.text(f"the next word: {mean(following):.1f}", "ink", (0.3, mean(following)), near=0.01)
    left.text("the nearest\nword", "ink", (-0.3, 0), near=0.01)


def threshold(shown: Shown) -> None:
    """With the instruction in words, threshold 0: reviews by their margin, up if they were liked."""
    ax, = shown.panels
    run, = (run for run in BACK if run["setting"] == {
        "model": "smollm2", "start": "text", "t": 1.0, "tests": 470})
    reviews = sorted(reading.short(data.load("movies").test), key=lambda review: len(review.text))
    asked = [(review.label, margin) for review, margin in zip(reviews, run["margins"])]
    right = mean((label == 1) == (margin > 0) for label, margin in asked)
    ax.named(f"threshold 0: {right:.1%} right (pale)", "logit of “positive” less that of “negative”",
             "reviews")
    ax.level("ink", 0)
    ax.at("ink", 0)
    ax.text("← “negative”", "ink", (-0.2, 27), near=0.01)
    ax.text("“positive” →", "ink", (0.2, 27), near=0.01)
    edges = np.arange(-8.5, 8.5, 0.25)
    for label, way, colour, name in ((1, 1, "series 0", "liked"), (0, -1, "series 1", "not liked")):
        ax.text(f"235 reviews,\n{name}", colour, (-9.2, 20 * way), near=0.01)
        for wrong in (False, True):
            heights = np.zeros(len(edges))
            for each, margin in asked:
                if each == label and ((margin < 0) == (label == 1)) == wrong:
                    heights[np.searchsorted(edges, margin, side="right") - 1] += way
            drawn = ax.many.pop(0)
            assert hue(drawn.get_facecolor()[0]) == hue(colour)
            assert drawn.get_alpha() == (1 if wrong else 0.25)
            corners = drawn.get_paths()[0].vertices
            steps = {(round(x, 6), y) for x, y in corners if y}
            assert {x for x, _ in steps} <= {round(float(e), 6) for e in [*edges, edges[-1] + 0.25]}
            for edge, height in zip(edges, heights):
                if height:
                    assert {(round(edge, 6), height), (round(edge + 0.25, 6), height)} <= steps
            found = corners[:, 1]
            assert (found.max() if way > 0 else -found.min()) == abs(heights).max()


def starts(shown: Shown) -> None:
    """Raw losses of the usual rate, and what each pair of start and run ends at, run by run."""
    left, right = shown.panels
    left.named("", "step", "loss of the batch (log axis)", log="y")
    right.named("", "rate", "right, of 100 reviews")
    runs = {(run["setting"]["start"], run["lr"], run["setting"]["seed"]): run
            for run in RECORD["runs"] if run["group"] in ("soft", "rates")}
    asked = [(0.006, 0), (0.02, 0), (0.02, 1), (0.02, 2), (0.06, 0)]
    assert len(runs) == 3 * len(asked)
    right.ticks("x", [f"{lr:g}\nseed {seed}" for lr, seed in asked])
    ends = {}
    for start, (name, colour, dash, marker) in STARTS.items():
        raw = np.mean([runs[start, 0.02, seed]["losses"] for seed in range(3)], axis=0)
        left.line(colour, dash, range(1, 33), raw)
        ends[name] = raw[-1], colour
        right.line(colour, marker, range(5), [runs[start, *each]["accuracy"] for each in asked])
    left.ends(ends)
