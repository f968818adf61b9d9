"""Lesson 01: what trains in three ways; the ruler's ends; made-up runs."""

import math

from picture_checks import Shown
from quote_checks import mean, record, select

from peft_teach.course import records


def ways(shown: Shown) -> None:
    ax, = shown.panels
    ax.named()
    assert shown.title == "Head only trains 770 of 22,713,986 numbers"
    middles = []
    for name, start, trained in (("from scratch", "random", True),
                                 ("full fine-tuning", "pretrained", True),
                                 ("head only", "pretrained", False)):
        x, y, width, height = ax.box(f"starts {start}\n{'trained' if trained else 'frozen'}",
                                     "trained" if trained else "frozen")
        middles.append(x + width / 2)
        ax.text(name, "ink", (middles[-1], 2), near=0.05)
        dot = ax.piece("trained", (middles[-1], 1.65), near=0.01)
        assert dot[1] > y + height
        ax.ring(middles[-1], 1.65)
        assert math.isclose(dot[2] * dot[3], width * height * 770 / 22_713_216, rel_tol=1e-6)
    assert middles == sorted(middles)
    for told, at in (("backbone\n22,713,216", y + height / 2),
                     ("head: 770\nstarts random, trained", dot[1])):
        ax.text(told, "ink", (-0.1, at), near=0.01)


def ruler(shown: Shown) -> None:
    ax, = shown.panels
    ax.named()
    finals = [run["r2"] for run in records.load("ladder")["runs"]
              if (run["group"], run["method"]) == ("final", "full")]
    ladder, heads = records.load("ladder"), select(record("full"), group="converged")
    pooler = next(run for run in heads if run["pool"] == "cls" and run["penalty"] == 0)
    best = max((run for run in heads if run["pool"] == "mean"), key=lambda r: r["validation"])
    full = mean(run["accuracy"] for run in select(record("lora"), group="methods", method="full"))
    far = []    # of the gain: the head on the mean
    for y, name, ends, others, write in (
            (1.55, "labels, % right", (pooler["accuracy"], best["accuracy"], full),
             {"counting words": 0.762, "full, your 45 steps": 0.78}, "{:.2%}"),
            (0, "ratings, R²", (ladder["exact"]["r2"], ladder["exact_mean"]["r2"], mean(finals)),
             {}, "{:.3f}")):
        ax.text(name, "ink", (-0.1, y), near=0.01)
        ax.line("ink", "-", (0, 1), (y, y))
        marks = dict(zip(("head on the pooler", "head on the mean", "full fine-tuning"), ends))
        for mark, value in {**marks, **others}.items():
            x = (value - ends[0]) / (ends[2] - ends[0])
            colour = ("yours" if "your" in mark else "ink" if mark in others
                      else "full" if mark[0] == "f" else "head")
            if mark in others:
                ax.line(colour, "D", x, y)
            else:
                ax.line(colour, "-", (x, x), (y - 0.1, y + 0.1))
            gain = f"\n{x:.0%} of the gain" if 0 < x < 1 else ""
            ax.text(f"{mark}\n{write.format(value)}{gain}", colour, (x, y), near=0.1)
        far.append((ends[1] - ends[0]) / (ends[2] - ends[0]))
    for y, x, name, least in ((-0.25, 0, "pooler", ends[0]), (-0.58, far[1], "mean", ends[1])):
        ax.line("ink", "-", (x, x, 1, 1), (y + 0.1, y, y, y + 0.1))
        ax.text(f"to gain over the head on the {name}: {ends[2] - least:.3f}", "ink",
                ((x + 1) / 2, y), near=0.02)
    assert shown.title == (f"A frozen network, read at all of its tokens, brings {far[0]:.0%} and "
                           f"{far[1]:.0%} of the gain")


def patients(shown: Shown) -> None:
    assert shown.title == "2 runs with one change each, beside the healthy one"
    for ax, name, losses in zip(shown.panels, ("A", "B, up to 2.0"), ((0.7, 0.75), (0.7, 2.0))):
        ax.named(name, "training step", "loss, mean of 20 steps" * (name == "A"))
        ax.line("quiet", "-", (0, 1), (0.7, 0.6), "healthy")
        ax.line("ink", "-", (0, 1), losses, "changed")
    assert len(shown.panels) == 2
