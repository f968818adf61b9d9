"""Lesson 02: two made-up changes, random subspaces and cut updates of the record."""

import numpy as np
import torch
from picture_checks import SEED, Panel, Shown

from peft_teach.course import records

WHITE, PINK, GREEN = "#f7f7f6", "#8e0152", "#276419"    # the middle and the ends of PiYG


def _matrix(ax, matrix, title: str) -> None:
    """White is zero, the strongest colours are two root mean squares of what is not."""
    ax.named(title)
    matrix = np.asarray(matrix)
    ends = 2 * np.sqrt(np.mean(np.square(matrix[matrix != 0])))
    ax.image(matrix, -ends, ends, {-ends: PINK, ends: GREEN, 0.0: WHITE})


def changes(shown: Shown) -> None:
    one, every = shown.panels
    _matrix(one, np.eye(4), "one:\nrank 4, 4 entries")
    _matrix(every, np.ones((4, 4)), "all:\nrank 1, 16 entries")
    assert shown.title == "Parameters, rank and entries are three counts"
    key, = (Panel(inset) for ax in shown.panels for inset in ax.ax.child_axes)
    key.ticks("x", {"below zero": 0, "zero": 31, "above zero": 62})
    key.image(np.linspace(-1, 1, 63)[None], -1, 1, {-1.0: PINK, 0.0: WHITE, 1.0: GREEN})


def subspaces(shown: Shown) -> None:
    record, (ax,) = records.load("change"), shown.panels
    runs = record["runs"]
    points = {}
    for run in runs:
        if run["group"] == "subspace":
            points.setdefault(run["d"], []).append(run["accuracy"])
    full = np.mean([run["accuracy"] for run in runs if run.get("pretrained", True)
                    and (run["group"], run["method"]) == ("short", "full")])
    solved = [run for run in runs if run["group"] == "converged"]
    head, = (r["accuracy"] for r in solved if (r["pool"], r["penalty"]) == ("cls", 0))
    mean = max((r for r in solved if r["pool"] == "mean"), key=lambda r: r["validation"])["accuracy"]
    goal = (head + full) / 2
    means = {d: np.mean(points[d]) for d in sorted(points)}
    reached = min(d for d, found in means.items() if found >= goal)
    assert shown.title == f"{reached:,} numbers reach half of the gain"
    ax.named("", "numbers trained outside the head, d",
             "test accuracy", log="x")
    ax.ticks("x", {f"{d:,}": d for d in means})
    ax.line("subspace", "-", means, means.values())
    for d in means:
        ax.line("subspace", "o", [d] * len(points[d]), points[d])
    ax.ring(reached, means[reached])
    ax.level("ink", goal)
    ax.level("head", mean, ":")
    ax.text("head on the mean", "ink", (None, mean), near=0.05)
    ax.band("band", head, full, "y")
    ax.text("what there is to gain", "ink", (None, full))
    for name, level in (("full\nfine-tuning", full), ("head on\nthe pooler", head),
                        (f"half\n{goal:.1%}", goal)):
        ax.text(name, "ink", (None, level), near=0.01)


def cut(shown: Shown) -> None:
    record, (left, right) = records.load("change"), shown.panels
    rows = [row for row in record["parts"] if row["lr"] == 1e-4 and row["rest"] == "trained"]
    ends = {rule: [r["accuracy"] for r in rows if r["rule"] == rule] for rule in ("all", "none")}
    shares = [1 / 1024, 1 / 256, 1 / 64, 1 / 32, 1 / 16]
    words = ["1/1,024", "1/256", "1/64", "1/32", "1/16"]
    points = {rule: {share: [r["accuracy"] for r in rows if (r["rule"], r["share"], r["scaled"]) ==
                             (rule, share, rule != "strongest")] for share in shares}
              for rule in ("random", "largest", "strongest")}
    del points["strongest"][shares[0]]    # of eight directions, not one is left
    means = {rule: [np.mean(each) for each in of.values()] for rule, of in points.items()}
    torch.manual_seed(SEED)
    delta, chance = torch.randn(384, 384), torch.rand(
        384, 384, generator=torch.Generator().manual_seed(0))
    kept = delta * (chance <= chance.flatten().sort().values[384 * 384 // 32 - 1])
    _matrix(left, kept[:64, :64], "1/32 of your ΔW (a corner)")
    assert shown.title == (f"Random entries, rescaled: 1/32 brings {means['random'][3]:.1%}, the whole "
                           f"update {np.mean(ends['all']):.1%}")
    right.named("", "share of the numbers that is kept", "test accuracy", log="x")
    right.ticks("x", dict(zip(words, shares)))
    for rule, colour, dash, marker, name in (
            ("random", "random", "-", "o", "random entries, rescaled"),
            ("largest", "series 2", "--", "s", "largest entries, rescaled"),
            ("strongest", "series 0", "-.", "^", "strongest directions")):
        right.line(colour, dash, list(points[rule]), means[rule], name)
        aside = {"random": 0.89, "largest": 1, "strongest": 1.12}[rule]
        for share, each in points[rule].items():
            right.line(colour, marker, [aside * share] * 3, each)
    right.ring(1 / 32, means["random"][3])
    for name, rule in (("all of it", "all"), ("nothing", "none")):
        right.level("quiet", np.mean(ends[rule]))
        right.text(name, "ink", (None, np.mean(ends[rule])), near=0.01)
