"""Pictures of many lessons, on a few made-up numbers; the examples are test_pictures.GENERAL.

Those of the ladder are the record's, with three runs of one seed as the reader's.
"""

import authored
import numpy as np
from drawn import Shown, strips

from peft_teach.course import records


def board(shown: Shown) -> None:
    """Own marks on pale intervals; between heads of two readings and full fine-tuning."""
    record, quality = records.load("ladder"), authored.module("ladder", "drawn")._quality()
    ax, = shown.panels
    ax.named(x="R², all 2,716 test sentences")
    rungs = {"prompt": ("prompt", "54.7 kB"), "lora 8": ("LoRA 8", "321 kB"),
             "full": ("full", "90.9 MB")}
    assert sorted(rungs, key=lambda rung: record["costs"][rung]["file_bytes"]) == [*rungs]
    ax.ticks("y", [name for name, _ in rungs.values()])
    mine = {row["method"]: row["r2"] for row in record["runs"]
            if row["group"] == "final" and row["seed"] == 6}
    grid, = ax.many
    assert np.allclose(grid.get_segments(), [[(0.29, y), (0.62, y)] for y in range(3)])
    ax.many.clear()
    for y, (rung, (_, size)) in enumerate(rungs.items()):
        ax.text(size, "yours", (0.29, y), near=0.02)
        _, low, high = quality[rung]
        if rung == "prompt":
            assert high < 0.29
            ax.text("◂ 0.00", "yours", (0.318, y), near=0.04)
        else:
            ax.shape("quiet", low, y - 0.2, high - low, 0.4)
            ax.line("yours", "D", mine[rung], y)
    zero, mean = record["exact"]["r2"], record["exact_mean"]["r2"]
    full = np.mean([row["r2"] for row in record["runs"]
                    if (row["group"], row["method"]) == ("final", "full")])
    for r2, name, colour in ((zero, "head on\nthe pooler", "head"),
                             (mean, "head on\nthe mean", "head"),
                             (full, "full\nfine-tuning", "full")):
        ax.at(colour, r2, ":")
        ax.text(f"{name}\n{r2:.3f}", colour, (r2, 2.6), near=0.05)
    share = (mine["full"] - zero) / (full - zero)
    assert shown.title == (
        f"Highest of 3 so far: full, R² {mine['full']:.3f}, {share:.0%} of the gain")


def curves(shown: Shown) -> None:
    ax, = shown.panels
    ax.named("a: loss 1.00 → 0.75", "training step", "loss, mean of 2 steps")
    ax.line("series 0", "-", (1, 2), (1, 0.75), "a")
    ax.line("series 1", "--", (1, 2), (0.9, 0.85), "b")


def dots(shown: Shown) -> None:
    ax, = shown.panels
    strips(ax, {"a": ((0.8, 0.7), "series 0", "o"), "c": ((0.6,), "lora", "s")},
           {"b": (0.75, "full")})
