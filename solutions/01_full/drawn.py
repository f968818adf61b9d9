"""Lesson 01: what trains in three ways; three made-up runs; losses of the records."""

import math

from drawn import Shown, running_mean

from peft_teach.course import records


def ways(shown: Shown) -> None:
    ax, = shown.panels
    ax.named()
    backbones, heads, middles = [], [], []
    for way, name, start, trained in (
            ("scratch", "from scratch", "random", True),
            ("full", "full fine-tuning", "pretrained", True),
            ("head", "head only", "pretrained", False)):
        ink = "ink" if way == "head" else "paper"
        told = f"starts {start}\n{'trained' if trained else 'frozen'}"
        backbone = ax.box(told, way if trained else "frozen", ink, way)
        head = ax.box("starts random\ntrained", way, ink, way)
        assert backbone[1] + backbone[3] < head[1]
        backbones.append(backbone)
        heads.append(head)
        middles.append(backbone[0] + backbone[2] / 2)
        ax.text(name, "ink", (middles[-1], head[1] + head[3] + 0.15), near=0.05)
    assert middles == sorted(middles)
    for of, name, size in ((backbones, "backbone", "22,713,216"), (heads, "head", "770")):
        assert len({tuple(box[1:]) for box in of}) == 1    # as high and as wide
        ax.text(f"{name}\n{size}\nparameters", "ink", (-0.1, of[0][1] + of[0][3] / 2), near=0.01)
    assert all(b[3] > 2 * h[3] and _same_x(b, h) for b, h in zip(backbones, heads))


def patients(shown: Shown) -> None:
    for ax, name, losses in zip(shown.panels, "AB", ((0.7, 0.75), (0.7, 0.7))):
        ax.named(name, "training step", "loss, mean of 20 steps" * (name == "A"))
        ax.line("quiet", "-", (0, 1), (0.7, 0.6), "healthy")
        ax.line("ink", "-", (0, 1), losses)
    assert len(shown.panels) == 2


def learning(shown: Shown) -> None:
    ax, = shown.panels
    runs = {}
    for record in ("lora", "full"):    # the second one's, where both have a run
        for run in reversed(records.load(record)["runs"]):
            if run.get("seed") == 0 and run.get("epochs", 1) == 1 and "pool" not in run:
                runs[run["method"], run["lr"]] = run
    for way, name, rate, dash in (("scratch", "from scratch", 1e-4, ":"),
                                  ("head", "head only", 1e-1, "--"),
                                  ("full", "full fine-tuning", 1e-4, "-")):
        run = runs[way, rate]
        ax.line(way, dash, range(1, 251), running_mean(run["losses"]),
                f"{name}: {run['accuracy']:.1%} right")
    ax.named(f"full fine-tuning at rate 0.0001: {run['accuracy']:.1%} right", "training step",
             "loss (mean of the last 20)")
    ax.line("yours", "-", (1, 2, 3), (0.7, 0.65, 0.6), "yours, full fine-tuning")
    ax.level("quiet", math.log(2))
    ax.text("log 2", "ink", (None, math.log(2)), near=0.01)


def _same_x(a, b) -> bool:
    return (a[0], a[2]) == (b[0], b[2])
