"""Lesson 03: a way back to words, a threshold."""

from statistics import mean

import numpy as np
from picture_checks import Shown, hue

from peft_teach import data
from peft_teach.course import records
from peft_teach.course.desk import reviews as reading

RECORD = records.load("prompt")
BACK = [run for run in RECORD["runs"] if run["group"] == "back"]
STARTS = {"text": ("words", "series 0", "-", "o"),
          "random": ("random numbers", "random", "--", "s")}


def way(shown: Shown) -> None:
    """At t = 0: accuracy by share of the way, and a ring at the trained vectors."""
    ax, = shown.panels
    ax.named(x="share t of the way to the nearest words", y="accuracy on 470 reviews")
    told = []
    for start, (name, colour, dash, marker) in STARTS.items():
        curve = {run["setting"]["t"]: run["accuracy"] for run in BACK
                 if run["setting"]["start"] == start}
        aside = 0.04 * (start == "random")
        joined = dash if len(curve) > 2 else ""    # no line through what was not measured
        ax.line(colour, joined + marker, [t + aside for t in sorted(curve)],
                [curve[t] for t in sorted(curve)])
        ax.text(f"from {name}", "ink", (aside, curve[0]), near=0.01)
        ax.ring(aside, curve[0])
        told.append(f"{curve[0]:.1%} from {name}")
    assert shown.title == f"As trained: {', '.join(told)}"
    ax.ticks("x", {"0.0": 0, "0.5": 0.5, "0.8": 0.8, "1.0": 1})


def threshold(shown: Shown) -> None:
    """With the instruction in words, threshold 0: reviews by their gap, up if they were liked."""
    ax, = shown.panels
    run, = (run for run in BACK if run["setting"] == {
        "model": "smollm2", "start": "text", "t": 1.0, "tests": 470})
    reviews = sorted(reading.short(data.load("movies").test), key=lambda review: len(review.text))
    asked = [(review.label, gap) for review, gap in zip(reviews, run["margins"])]
    right = mean((label == 1) == (gap > 0) for label, gap in asked)
    assert shown.title == f"Threshold 0: {right:.1%} right (pale), the others wrong (solid)"
    ax.named("", "logit of “positive” less that of “negative”",
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
            for each, gap in asked:
                if each == label and ((gap < 0) == (label == 1)) == wrong:
                    heights[np.searchsorted(edges, gap, side="right") - 1] += way
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
