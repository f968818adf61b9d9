"""Lesson 07: pushes, the case of rank 64, rank against parameters."""

import math
from itertools import pairwise
from statistics import mean

import numpy as np
from picture_checks import Shown, running_mean

from peft_teach.course import records

RECORD = records.load("lora")
GROUPS: dict[str, list[dict]] = {}
for _run in RECORD["runs"]:
    GROUPS.setdefault(_run["group"], []).append(_run)
# The solved heads, each at the penalty that validation chose, and full fine-tuning.
HEADS = {(run.get("pool", "cls"), run["penalty"]): run["accuracy"]
         for run in records.load("full")["runs"] if run["group"] == "converged"}
HEAD, ON_MEAN = HEADS["cls", 0], HEADS["mean", 0.01]
FULL = mean(run["accuracy"] for run in GROUPS["methods"] if run["method"] == "full")


def pushes(shown: Shown) -> None:
    """Eight steps of length 1: along one line, and on the spiral of square roots."""
    line, spiral = shown.panels
    assert shown.title == ("Divided by r, pushes that line up keep their length; at right angles "
                           "they shrink")
    line.named("outputs, r = 8: the pushes line up", "sum 8, divided by 8: 1")
    spiral.named("ΔW, r = 8: each at a right angle\nto the sum before it", "sum 2.83, divided by 8: 0.354")
    angle, corners = 0.0, [(0.0, 0.0), (1.0, 0.0)]
    for k in range(1, 8):
        angle += math.atan(1 / math.sqrt(k))
        corners.append((math.sqrt(k + 1) * math.cos(angle), math.sqrt(k + 1) * math.sin(angle)))
    for ax, points, up in ((line, [(float(k), 0.0) for k in range(9)], 0.4), (spiral, corners, 0)):
        for (a, b), (c, d) in pairwise(points):
            ax.arrow("rest", (a, b + up), (c, d + up))
        ax.arrow("ink", points[0], points[-1])
        (x0, x1), (y0, y1) = ax.ax.get_xlim(), ax.ax.get_ylim()
        assert math.isclose(x1 - x0, 1.2 * 8)
        assert math.isclose(y1 - y0, 0.6 * 8)


def losses(shown: Shown) -> None:
    """Means of three seeds and of twenty steps: the larger rank is ahead at 40, and turns."""
    ax, = shown.panels
    assert shown.title == "Rank 64 falls first, then climbs back; rank 8 stays down"
    ax.named(x="training step", y="loss, mean of 20 steps")
    large, small = (running_mean(np.mean([run["losses"] for run in GROUPS["ranks"]
                                          if run["rank"] == rank], 0)) for rank in (64, 8))
    assert large[39] < small[39] - 0.02
    assert large[149] > max(large[39] + 0.04, large[19] - 0.02)
    assert small[39] > small[79] + 0.1 > small[199] + 0.1
    for loss, colour, dash, name in ((large, "ink", "-", "rank 64, α = 128"),
                                     (small, "lora", "--", "rank 8, α = 16")):
        ax.line(colour, dash, range(1, 251), loss, name)


def first_step(shown: Shown) -> None:
    size, moved = shown.panels
    assert shown.title == "As the rank grows, ΔW shrinks far more than the hidden states' movement"
    size.named("how large is ΔW?", "rank", "‖ΔW‖ after one step", log="xy")
    moved.named("how far do the hidden states move?", "rank", "share of their length", log="xy")
    for i, (dW, share) in enumerate(((0.07, 0.05), (0.5, 0.4))):
        size.line(f"series {i}", ("-o", "--s")[i], 8, dW)
        moved.line(f"series {i}", ("-o", "--s")[i], 8, share)
    for ax, ends in ((size, (0.07, 0.5)), (moved, (0.05, 0.4))):
        ax.ticks("x", {"8": 8})
        ax.ends({f"α = {alpha}: × 1.00": (end, f"series {i}")
                 for i, (alpha, end) in enumerate(zip((16, 128), ends))})
    decades = [math.log10(ax.ax.get_ylim()[1] / ax.ax.get_ylim()[0]) for ax in shown.panels]
    assert math.isclose(*decades)


def explanations(shown: Shown) -> None:
    left, right = shown.panels
    assert shown.title == ("α tells the runs that learn from those that fail; the size of the "
                           "first ΔW does not")
    left.named("by the size of the first ΔW",
               "α / √rank, the size of the first ΔW", "test accuracy", log="x")
    right.named("by α", "α", log="x")
    runs: dict[tuple, list[float]] = {}
    for row in RECORD["runs"]:
        if row.get("targets") == ["query", "value"] and row["lr"] == 3e-3 and not any(
                row.get(name) for name in ("dropout", "plus", "rank_stabilized", "layers")):
            runs.setdefault((row["rank"], row["alpha"]), []).append(row["accuracy"])
    for ax, by, limit in ((left, lambda r, a: a / math.sqrt(r), 16), (right, lambda r, a: a, 76)):
        ax.at("quiet", limit)
        ax.ticks("x", {f"{v}": v for v in (2, 4, 8, 16, 45, 128)})
        found: dict[tuple, dict[int, list[float]]] = {}
        for (rank, alpha), each in sorted(runs.items()):
            at = float(f"{by(rank, alpha):.3g}"), "lora" if mean(each) >= 0.78 else "ink"
            found.setdefault(at, {})[rank] = each
        for (x, colour), each in found.items():
            low, high = min(map(min, each.values())), max(map(max, each.values()))
            ax.text(", ".join(map(str, each)), "ink", (x, low), near=0.001)
            ax.line(colour, "-", (x, x), (low, high))
            ax.line(colour, "o" if colour == "lora" else "X", [x] * len(each),
                    [mean(one) for one in each.values()])
    left.text("at this size\nboth happen", "rest", (16 / 1.2, 0.52), near=0.01)
    right.text("all to the left\nof this line learn", "rest", (76 / 1.2, 0.52), near=0.01)
    left.text("it learns", "lora", (6, 0.745), near=0.01)
    left.text("it fails", "ink", (6, 0.62), near=0.01)


def rank(shown: Shown) -> None:
    """Rank 8 on query and value: 12 matrices of 384 × 384; beside it the ranks of the record."""
    left, right = shown.panels
    left.named("one of 12 matrices, to scale\nW: 147,456")
    left.shape("frozen", 0, 0, 384, 384)
    left.shape("trained", 384 * 1.08, 0, 8, 384)
    left.shape("trained", 0, -384 * 0.08 - 8, 384, 8)
    left.text("B beside W, A below:\n6,144", "ink", (384 * 1.08, -384 * 0.08))
    found: dict[int, list[float]] = {}
    for run in (*GROUPS["ranks"], *GROUPS["places"], *GROUPS["layers"]):
        if sorted(run["targets"]) == ["query", "value"] and run.get("layers") is None:
            found.setdefault(run["rank"], []).append(run["accuracy"])
    near = ", ".join(f"{r}" for r in sorted(found) if mean(found[r]) > FULL - 0.04)
    assert [r for r in found if mean(found[r]) < HEAD] == [64]
    assert shown.title == (f"Within four points of full fine-tuning: rank {near}; below the head on "
                           "the pooler: rank 64")
    right.named(x="trained parameters", y="test accuracy", log="x")
    for r, each in found.items():
        x = 12 * 768 * r
        right.line("lora", "-", (x, x), (min(each), max(each)))
        right.line("lora", "o", x, mean(each))
        right.text(f"{r}" if 1 < r < 64 else f"rank {r}", "ink", (x, min(each)), near=0.001)
    for method, name, dash, level in (("head", "head on the pooler", "--", HEAD),
                                      ("head", "head on the mean", ":", ON_MEAN),
                                      ("full", "full fine-tuning", "--", FULL)):
        right.level(method, level, dash)
        right.text(name, method, (None, level), near=0.01)
    right.at("frozen", 12 * 768 * 8)
