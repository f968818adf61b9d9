"""Lesson 13: the field's table, two ladders, the family, what two forms cannot do."""

import csv
import math
from pathlib import Path

import numpy as np
from drawn import Shown

from peft_teach.course import records

FILE = Path(__file__).parents[2] / "assets/records/field.csv"
ROWS = [*csv.DictReader(line for line in FILE.read_text("utf-8").splitlines()
                        if not line.startswith("#"))]
LADDER = records.load("ladder")


def monday(shown: Shown) -> None:
    """25 large dots, and small ones above or below for the same runs in earlier tables."""
    ax, = shown.panels
    ax.named("the first 25 of 63 runs", "place", "problems solved")
    runs: dict[str, list[float]] = {}
    for row in ROWS:
        runs.setdefault(row["run"], []).append(float(row["accuracy"]))
    first = sorted(runs, key=lambda run: -runs[run][-1])[:25]
    for place, run in enumerate(first, start=1):
        *earlier, now = runs[run]
        mlp = run == "lora-rank10-target-mlp"
        ax.line("lora" if mlp else "rest", "o", [place] * len(earlier), earlier)
        ax.line("lora" if mlp else "ink", "o", place, now)
        if mlp:
            ax.text("LoRA on the MLP", "lora", (place, earlier[0]))
    ax.text("Lily", "ink", (1, runs[first[0]][-1]))


def two_ladders(shown: Shown) -> None:
    """Six methods, by what they reach here and what each of their runs reaches there."""
    ax, = shown.panels
    ax.named("", "here: 23 million, R²", "there: 3 billion, problems solved")
    both = {"full": ("full fine-tuning", "full", ["full-finetuning-lr_0.00001"]),
            "lora 8": ("LoRA", "lora", ["lora-rank64-rslora", "lora-rank10-target-mlp", "lora-rank32",
                                        "lora-rank64"]),
            "mask": ("a random mask", "random", ["shira-lr_0.0003-random_seed_42"]),
            "ia3": ("IA³", "rest", ["ia3-all-attn-5k-lr0.005", "ia3-lr_0.001", "ia3-default"]),
            "prompt": ("prompt", "rest", ["prompt_tuning-sample_vocab-lr_0.001", "prompt_tuning-lr_0.001",
                                          "prompt_tuning-default"]),
            "prefix": ("prefix", "rest", ["prefixtuning-tokens50-init_prefix-lr_0.005",
                                          "prefixtuning-lr_0.005_zero_init", "prefixtuning-lr_0.001"])}
    solved = {row["run"]: float(row["accuracy"]) for row in ROWS}    # the last of each name
    for key, (name, colour, there) in both.items():
        r2 = np.mean([row["r2"] for row in LADDER["runs"] if row["group"] == "final"
                      and row["method"] == key and row["seed"] < 7])
        ax.line(colour, "o", [round(r2, 2)] * len(there), [solved[run] for run in there])
        ax.text(name, "ink", (r2, solved[there[0]]), near=0.2)


def family(shown: Shown) -> None:
    """A line for each thing that is changed and its form, and the names of the methods in it."""
    ax, = shown.panels
    lines = {
        "in front of words: vectors": "prompt*", "in keys and values: vectors": "prefix*",
        "behind a layer: a small network": "bottleneck*", "a layer's outputs: gains": "IA³*",
        "a layer's outputs or inputs: turned": "RoAd*,OFT", "a layer's bias": "BitFit*",
        "W: by products BA": "LoRA*,DoRA*,PiSSA,HiRA", "W: at scattered entries": "SHiRA (the mask)",
        "W: by shared or random matrices": "VeRA,RandLoRA,MiSS"}
    for row, (what, names) in enumerate(lines.items()):
        ax.text(what, "ink", (0, row), near=0.1)
        for name in names.split(","):
            ax.text(name.strip("*"), "yours" if "*" in name else "ink")


def cannot(shown: Shown) -> None:
    """One ellipse, with its inputs turned and without; an input whose four pieces add up to 0."""
    left, right = shown.panels
    left.named("OFT turns the inputs: the same ellipse")
    W, t = np.array([[1.3, 0.5], [0.2, 0.7]]), np.linspace(0, 2 * math.pi, 100)
    plain, moved = (W @ [np.cos(t + by), np.sin(t + by)] for by in (0, 0.9))
    left.line("frozen", "-", *plain)
    left.line("series 0", ":", *moved)
    left.line("rest", "o", *plain[:, 0])
    left.line("series 0", "o", *moved[:, 0])
    left.line("series 1", "--", *(1.5 * plain))
    left.text("W x", "rest", tuple(plain[:, 0]))
    left.text("W R x", "series 0", tuple(moved[:, 0]))
    left.text("OFT never gets here", "series 1")
    right.named("MiSS sees the sum of the pieces")
    heights = np.reshape([bar.get_height() for bar in sorted(
        right.shapes, key=lambda bar: bar.get_x())], (5, 3))
    assert np.all(heights[:4])                            # no bar of a piece is empty
    assert np.allclose(heights[:4].sum(0), heights[4])    # the fifth is their sum
    assert not heights[4].any()
    names = ["piece 1", "piece 2", "piece 3", "piece 4", "sum: 0"]
    for at, (piece, name) in enumerate(zip(heights, names, strict=True)):
        for x, height in enumerate(piece, 4 * at):
            right.shape("series 0", x - 0.4, min(height, 0), 0.8, abs(height))
        right.line("ink" if at < 4 else "series 1", "-", [4 * at - 0.5, 4 * at + 2.5], [0, 0])
        right.text(name, "ink" if at < 4 else "series 1", (4 * at + 1, None))
    for x, sign in zip((3, 7, 11, 15), "+++=", strict=True):
        right.text(sign, "ink", (x, 0))
    right.text("M · 0 = 0: the output does not move", "series 1")
