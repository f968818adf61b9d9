"""Lesson 13: the field's table, the family, what two forms cannot do, two ladders."""

import csv
import math
from pathlib import Path

import numpy as np
from picture_checks import Shown

from peft_teach.course import records

FILE = Path(__file__).parents[2] / "assets/records/field.csv"
ROWS = [*csv.DictReader(line for line in FILE.read_text("utf-8").splitlines()
                        if not line.startswith("#"))]
LADDER, SIXTY = records.load("ladder"), records.load("sixty")


def monday(shown: Shown) -> None:
    """29 runs by January and July, and two lines: no change, and the average one."""
    ax, = shown.panels
    ax.named("", "problems solved, January", "problems solved, July")
    january, july = ({row["run"]: float(row["accuracy"]) for row in ROWS if row["table"] == table}
                     for table in ("2026-01-13", "2026-07-20"))
    both = {run: (january[run], july[run]) for run in january if july.get(run, 0) >= 0.3}
    assert len(both) == 29
    x, y = map(np.array, zip(*(both[run] for run in sorted(both)), strict=True))
    ax.line("ink", "o", x, y)
    ax.line("lora", "o", *both["lora-rank32"])
    ax.text("LoRA of rank 32", "lora")
    fall = (y - x).mean()
    for colour, style, by in (("quiet", "-", 0), ("rest", "--", fall)):
        ax.line(colour, style, [0.3, 0.56], [0.3 + by, 0.56 + by])
    ax.text("as in January", "rest")
    ax.text(f"{-100 * fall:.1f} points lower", "rest")


def two_ladders(shown: Shown) -> None:
    """Ten methods, by their place here and their place there; three move by more than three."""
    ax, = shown.panels
    ax.named()
    ladder = {"full": "full fine-tuning", "mask": "a random mask", "dora 8": "DoRA", "ia3": "IA³",
              "lora 8": "LoRA", "prefix": "prefix", "prompt": "prompt"}
    sixty = {"OFT 32": "OFT", "VeRA 256": "VeRA", "MiSS 16": "MiSS"}
    sizes = {"DoRA": "DoRA 8", "LoRA": "LoRA 8"} | {name: key for key, name in sixty.items()}
    here = {name: np.mean([row["r2"] for row in record["runs"] if row["group"] == "final"
                           and row["method"] == key and row["seed"] < 7])
            for record, names in ((LADDER, ladder), (SIXTY, sixty)) for key, name in names.items()}
    solved = {row["run"]: float(row["accuracy"]) for row in ROWS}    # the last of each name
    there = {name: solved[run] for name, run in {
        "full fine-tuning": "full-finetuning-lr_0.00001", "a random mask": "shira-lr_0.0003-random_seed_42",
        "DoRA": "lora-rank32-dora", "IA³": "ia3-all-attn-5k-lr0.005", "LoRA": "lora-rank64-rslora",
        "prefix": "prefixtuning-tokens50-init_prefix-lr_0.005", "OFT": "oft-rank32", "MiSS": "miss-default",
        "prompt": "prompt_tuning-sample_vocab-lr_0.001", "VeRA": "vera-default",
    }.items()}
    left, right = (sorted(found, key=found.get, reverse=True) for found in (here, there))
    for name in here:
        places = left.index(name) + 1, right.index(name) + 1
        moves = name in ("full fine-tuning", "LoRA", "MiSS")
        ax.line("series 0" if moves else "quiet", "-o", [0, 1], places)
        ink = "series 0" if moves else "ink"
        ax.text(f"{sizes.get(name, name)}  {here[name]:.2f}", ink)
        ax.text(f"{there[name]:.1%}  {name}", ink)
    ax.text("here, R²")
    ax.text("there, solved")


def family(shown: Shown) -> None:
    """Nine forms, each a small picture, in which a count of cells is trained."""
    forms = (("vectors in front", "prompt, prefix", "", 24), ("a small network", "bottleneck", "", 84),
             ("a bias", "BitFit", "", 12), ("one factor per feature", "IA³", "", 12),
             ("features turned", "RoAd", "OFT", 12), ("a product BA", "LoRA, DoRA", "PiSSA, HiRA", 36),
             ("scattered entries", "", "SHiRA (the mask)", 20), ("one shard, repeated", "", "MiSS", 36),
             ("random matrices", "", "VeRA", 11))
    for ax, (form, ours, others, trained) in zip(shown.panels, forms, strict=True):
        (image,) = ax.images
        cells = np.asarray(image.get_array())
        assert (cells == 4).sum() == trained, form
        ax.image(cells, 0, 4, {0: "paper", 1: "frozen", 2: "rest", 4: "trained"})
        ax.text(form)
        ax.text(ours or others, "yours" if ours else "ink")
        if ours and others:
            ax.text(others)


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
