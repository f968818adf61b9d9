"""Pictures of many lessons, on a few made-up numbers; the examples are test_pictures.GENERAL.

Those of the ladder are the record's, with three runs of one seed as the reader's.
"""

import authored
import numpy as np
from drawn import Shown, strips

from peft_teach.course import records


def board(shown: Shown) -> None:
    """Own marks on pale intervals; a slot for what has no row; the head alone in two readings."""
    record, quality = records.load("ladder"), authored.module("ladder", "drawn")._quality()
    ax, = shown.panels
    ax.named(x="R², all 2,716 test sentences")
    rungs = {"prompt": ("prompt", "54.7 kB"), "ia3": ("IA³", "81 kB"),
             "bitfit": ("BitFit", "133 kB"), "lora 8": ("LoRA 8", "321 kB"),
             "dora 8": ("DoRA 8", "341 kB"), "prefix": ("prefix", "393 kB"),
             "bottleneck": ("bottleneck", "1.22 MB"), "qlora all": ("QLoRA", "1.36 MB"),
             "full": ("full", "90.9 MB")}
    assert sorted(rungs, key=lambda rung: record["costs"][rung]["file_bytes"]) == [*rungs]
    ax.ticks("y", [name for name, _ in rungs.values()])
    lessons = dict(zip(("ia3", "bitfit", "dora 8", "prefix", "bottleneck", "qlora all"),
                       ("06", "02", "09", "04", "05", "08")))
    mine = {row["method"]: row["r2"] for row in record["runs"]
            if row["group"] == "final" and row["seed"] == 6}
    grid, = ax.many
    assert np.allclose(grid.get_segments(), [[(0.29, y), (0.62, y)] for y in range(9)])
    ax.many.clear()
    for y, (rung, (_, size)) in enumerate(rungs.items()):
        open_ = rung not in lessons
        ax.text(size, "yours" if open_ else "rest", (0.29, y), near=0.02)
        if not open_:
            ax.text(f"lesson {lessons[rung]}", "rest", (record["exact"]["r2"], y), near=0.04)
            continue
        _, low, high = quality[rung]
        if rung == "prompt":
            assert high < 0.29
            ax.text("◂ 0.00", "yours", (0.318, y), near=0.04)
        else:
            ax.shape("quiet", low, y - 0.2, high - low, 0.4)
            ax.line("yours", "D", mine[rung], y)
    for part, name in (("exact", "head on the pooler"), ("exact_mean", "head on the mean")):
        ax.at("head", record[part]["r2"], ":")
        ax.text(name, "head", (record[part]["r2"], 8.4), near=0.05)


def curves(shown: Shown) -> None:
    ax, = shown.panels
    ax.named("a: loss 1.00 → 0.75", "training step", "loss, mean of 2 steps")
    ax.line("series 0", "-", (1, 2), (1, 0.75), "a")
    ax.line("series 1", "--", (1, 2), (0.9, 0.85), "b")


def dots(shown: Shown) -> None:
    ax, = shown.panels
    strips(ax, {"a": ((0.8, 0.7), "series 0", "o"), "c": ((0.6,), "lora", "s")},
           {"b": (0.75, "full")})


def ledgers(shown: Shown) -> None:
    ax, = shown.panels
    ax.named(x="MB")
    ax.ticks("y", ["full", "head"])
    for y, sizes in enumerate(((4, 3, 2, 1), (4, 0, 0.1, 0.5))):
        end = 0.0
        for part, size in zip(("weights", "gradients", "optimizer", "activations"), sizes):
            ax.shape(part, end, y - 0.4, size, 0.8)
            if size > 0.5:
                ax.text(f"{size}", "paper" if part == "weights" else "ink", (end + size / 2, y),
                        near=0.02)
            ax.legend({part: part})
            end += size
        ax.text(f"  {end:.0f} MB", "ink", (end, y), near=0.02)
    assert ax.ax.yaxis_inverted()
