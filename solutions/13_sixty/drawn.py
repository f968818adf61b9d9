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
SOLVED = {row["run"]: float(row["accuracy"]) for row in ROWS}
LADDER = records.load("ladder")


def monday(shown: Shown) -> None:
    """63 dots; the band is what a difference to LoRA's may be by the problems alone."""
    ax, = shown.panels
    ax.named("63 runs of peft's comparison", "place", "problems solved")
    solved, lora = sorted(SOLVED.values(), reverse=True), SOLVED["lora-rank32"]
    gap = 1.96 * math.sqrt(2 * lora * (1 - lora) / 1319)
    ax.band("band", lora - gap, lora + gap, "y")
    ax.level("lora", lora)
    above = sum(each > lora for each in solved)
    ax.line("ink", "o", range(1, above + 1), solved[:above])
    ax.line("rest", "o", range(above + 1, 64), solved[above:])
    ax.text("LoRA of rank 32", "lora", (40, lora))
    ax.text("Lily", "ink", (1, solved[0]))


def two_ladders(shown: Shown) -> None:
    """Seven methods, by their place here and there."""
    ax, = shown.panels
    here = {"full": "full fine-tuning", "lora 8": "LoRA 8", "dora 8": "DoRA 8",    # there 32
            "mask": "a random mask", "ia3": "IA³", "prefix": "prefix", "prompt": "prompt"}
    there = {"full": "full-finetuning-lr_0.00001", "lora 8": "lora-rank32",
             "dora 8": "lora-rank32-dora", "mask": "shira-lr_0.0003-random_seed_42",
             "ia3": "ia3-all-attn-5k-lr0.005", "prompt": "prompt_tuning-sample_vocab-lr_0.001",
             "prefix": "prefixtuning-tokens50-init_prefix-lr_0.005"}
    r2 = {key: np.mean([row["r2"] for row in LADDER["runs"] if row["group"] == "final"
                        and row["method"] == key and row["seed"] < 7]) for key in here}
    colours = {"full": "full", "lora 8": "lora", "mask": "random"}
    for key, name in here.items():
        left = 1 + sum(each > r2[key] for each in r2.values())
        right = 1 + sum(SOLVED[there[each]] > SOLVED[there[key]] for each in here)
        ax.line(colours.get(key, "rest"), "-o", [0, 1], [left, right])
        ax.text(f"{name}  {r2[key]:.2f}", "ink", (0, left))
        ax.text(f"{SOLVED[there[key]]:.1%}  {name.replace('8', '32')}", "ink", (1, right))
    ax.ticks("x", {"here: 23 million, R²": 0, "there: 3 billion, solved": 1})
    assert ax.ax.yaxis_inverted()    # the best on top


def family(shown: Shown) -> None:
    """A line for each thing that is changed and its form, and the names of the methods in it."""
    ax, = shown.panels
    lines = {
        "in front of words: vectors": "prompt*,P-tuning",
        "in keys and values: vectors": "prefix*,LLaMA-Adapter",
        "behind a layer: a small network": "bottleneck*",
        "a layer's outputs: gains": "IA³*", "a layer's features or inputs: turned": "RoAd*,OFT,BOFT,HRA",
        "a layer's bias": "BitFit*",
        "W: by products BA": "LoRA*,DoRA*,PiSSA,AdaLoRA,HiRA,LoHa",
        "W: at scattered entries": "SHiRA (the mask)*",
        "W: by shared or random matrices": "VeRA,RandLoRA,MiSS,Lily,VB-LoRA,TinyLoRA"}
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
