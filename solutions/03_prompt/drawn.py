"""Lesson 03: vectors in front of words, a way back to words, a threshold, losses of the record."""

import math
from itertools import pairwise
from statistics import mean

import numpy as np
from drawn import Shown, hue, running_mean

from peft_teach import data
from peft_teach.course import records
from peft_teach.course.desk import reviews as reading

RECORD = records.load("prompt")
BACK = [run for run in RECORD["runs"] if run["group"] == "back"]
STARTS = {"text": ("words", "full", "-", "o"), "labels": ("labels", "series 1", "-.", "^"),
          "random": ("random numbers", "lora", "--", "s")}


def prompt(shown: Shown) -> None:
    """Ten boxes without words, seven with; an arrow from each into the model, one out of it."""
    ax, = shown.panels
    ax.named()
    model = ax.box("the model, frozen", "frozen")
    words = [ax.box(word, "frozen") for word in (
        "Review", ":", "A", "triumph", ".", "Sentiment", ":")]
    own = sorted((np.array([s.get_x(), s.get_y(), s.get_width(), s.get_height()])
                  for s in ax.shapes), key=lambda box: box[0])
    assert len(own) == 10
    for x, y, width, height in own:
        ax.shape("yours", x, y, width, height)
    row = [*own, *words]
    assert all(a[0] + a[2] < b[0] for a, b in pairwise(row))
    assert len({(box[1], box[3]) for box in row}) == len({box[2] for box in own}) == 1
    assert model[0] == row[0][0]
    assert math.isclose(model[0] + model[2], row[-1][0] + row[-1][2], abs_tol=0.1)
    assert model[1] + model[3] < row[0][1]
    for x, y, width, _ in row:
        ax.arrow("ink", (x + width / 2, y - 0.03), (x + width / 2, model[1] + model[3] + 0.02))
    end = model[0] + model[2]
    ax.wire("ink", "->", (end, 0.58), (end + 0.5, 0.58), near=0.03)
    ax.text("“positive” or\n“negative”?", "ink", (end + 0.6, 0.58), near=0.03)
    front, behind = (mean(x + width / 2 for x, _, width, _ in part) for part in (own, words))
    ax.text("P: 10 vectors, trained", "yours", (front, 1.78), near=0.01)
    ax.text("E(x): the words' vectors", "ink", (behind, 1.78), near=0.01)
    ax.text("Classify the sentiment of this film review.", "rest", (front, 2.25), near=0.01)
    ax.line("rest", "-", (front - 1.5, front + 1.5), (2.25, 2.25))    # struck through


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
        right.line(colour, dash + marker, sorted(curve), [curve[t] for t in sorted(curve)])
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
    for label, way, colour, name in ((1, 1, "full", "liked"), (0, -1, "lora", "not liked")):
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


def losses(shown: Shown) -> None:
    left, right = shown.panels
    left.named("10 vectors, by start", "step", "loss (mean of eight steps)", log="y")
    right.named("from words, by length", "step", log="y")
    runs = [run for run in RECORD["runs"] if run["group"] in ("soft", "lengths")]
    by_length = {1: ("series 0", "-", "o"), 10: ("full", "-", "o"), 50: ("series 2", "-.", "^")}
    for ax, key, styles in ((left, "start", {start: look[1:] for start, look in STARTS.items()}),
                            (right, "length", by_length)):
        for i, (value, (colour, dash, marker)) in enumerate(styles.items()):
            wanted = {"start": "text", "length": 10, key: value}
            each = [run["losses"] for run in runs if wanted.items() <= {
                "length": 10, **run["setting"]}.items()]
            assert len(each) == 3
            name = STARTS[value][0] if key == "start" else f"{value} vector{'s' * (value > 1)}"
            ax.line(colour, dash, range(1, 33), running_mean(np.mean(each, axis=0), 8), name)
            ax.line(colour, marker, [33.5 + i] * 3, [mean(row[-8:]) for row in each])
    left.line("yours", "*", (1, 2), (3.0, 2.5), "yours, from labels")
