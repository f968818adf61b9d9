"""Lesson 09: a row that turns, the record's clouds, two laws, pairs."""

import math
from statistics import mean, stdev

import numpy as np
import torch
from picture_checks import Shown, hue

from peft_teach.course import records

RECORD = records.load("dora")
W = np.array([2.0, 0.6])
V = W + np.array([-0.5, 1.6])


def turn(shown: Shown) -> None:
    ax, = shown.panels
    assert shown.title == "B A turns the row, m alone sets its length"
    ax.named()
    length = np.linalg.norm(W)
    circle = ax.shapes.pop(0)
    assert (circle.get_center(), hue(circle.get_edgecolor())) == ((0, 0), hue("trained"))
    assert np.isclose(circle.get_radius(), length)
    ax.line("lora", "--", *zip(W, V))
    for name, colour, end in (("w", "rest", W), ("LoRA", "lora", V),
                              ("DoRA", "trained", length * V / np.linalg.norm(V))):
        ax.arrow(colour, (0, 0), end)
        ax.text(name, colour, end / 2 if name == "DoRA" else end, near=0.01)
    ax.text("B A", "lora", (W + V) / 2, near=0.01)
    ax.text("m", "trained", (-0.17 * length, 0.985 * length), near=0.01)


def _clouds(shown: Shown, names: dict[str, str], colours: dict[str, str]) -> None:
    for i, (ax, (method, name)) in enumerate(zip(shown.panels, names.items())):
        told, dots = [name, "correlation"], RECORD["clouds"][f"{method} 0"]["dots"]
        for place, fill in (("query", colours[method]), ("value", "paper")):
            turn, stretch = ([dot[key] for dot in dots if dot["place"] == place]
                             for key in ("dd", "dm"))
            ax.line(colours[method], "o", turn, stretch, fill=fill)
            told.append(f"{place}: {np.corrcoef(turn, stretch)[0, 1]:+.2f}")
        ax.named("\n".join(told if len(name) > 3 and name != "three" and name != "four" else
                           told[:1]), "turn, ΔD", "stretch, ΔM" * (i == 0))
    assert len(shown.panels) == 4


def clouds(shown: Shown) -> None:
    assert shown.title == "Random numbers draw LoRA's line"
    _clouds(shown, {"dora": "DoRA", "full": "full fine-tuning", "random": "random", "lora": "LoRA"},
            {"dora": "ink", "full": "full", "random": "random", "lora": "lora"})


def clouds_without_names(shown: Shown) -> None:
    assert shown.title == "Which cloud did random numbers draw?"
    names = {"dora": "one", "full": "two", "random": "three", "lora": "four"}
    _clouds(shown, names, dict.fromkeys(names, "ink"))


def crossing(shown: Shown) -> None:
    ax, = shown.panels
    assert shown.title == "A small piece changes the length by chance, a large one by Pythagoras"
    ax.named("", "how much is added to a row: ‖δ‖ / ‖w‖", "how much its length changes,\nrelative to ‖w‖", log="xy")
    chance = math.sqrt(2 / math.pi / 384)
    ax.line("rest", "--", (0.005, 1), (0.005 * chance, chance))
    ax.line("rest", "-", (0.005, 1), (0.005 ** 2 / 2, 0.5))
    ax.text("chance: slope 1", "ink", (1, chance), near=0.2)
    ax.text("Pythagoras: slope 2", "ink", (0.5, 0.12), near=0.15)
    sizes = 10 ** np.linspace(-2.3, 0, 24)
    generator, rows = torch.Generator().manual_seed(0), []
    w, noise = torch.nn.functional.normalize(
        torch.randn(2, 400, 384, generator=generator, dtype=torch.float64), dim=-1)
    for size in sizes:
        rows.append(((w + size * noise).norm(dim=1) - 1).abs().mean().item())
    ax.line("random", "o", sizes, rows)
    ax.text("measured", "ink", (0.005, 7e-4), near=0.01)
    for method, name in (("full", "full fine-tuning"), ("lora", "LoRA")):
        added = [dot["size"] for key, cloud in RECORD["clouds"].items()
                 if key.startswith(method) for dot in cloud["dots"]]
        ax.band(method, min(added), max(added), "x")
        ax.text(name, method, (math.sqrt(min(added) * max(added)), None), near=0.01)
    ax.ring(2 * chance, 2 * chance ** 2)
    ax.text("equal at 0.08", "ink", (2 * chance, 2 * chance ** 2), near=0.01)


def pairs(shown: Shown) -> None:
    ax, = shown.panels
    runs = {(r["method"], r["rank"], r["seed"]): 100 * r["accuracy"] for r in RECORD["runs"]
            if r["group"] == "pairs"}
    assert shown.title == "4 of 4 intervals lie inside the margin, ±1"
    ax.named("", "points of test accuracy: left of 0 DoRA is worse, right of it better")
    ax.band("band", -1, 1, "x")
    ax.at("ink", 0)
    names = {}
    for y, (other, told, rank) in enumerate((
            ("lora", "LoRA", 2), ("lora", "LoRA", 32), ("gain", "scaled LoRA", 2),
            ("gain", "scaled LoRA", 32))):
        gaps = [runs["dora", rank, seed] - runs[other, rank, seed] for seed in range(1, 11)]
        half = 2.262 * stdev(gaps) / math.sqrt(10)    # Student's t, 9 degrees of freedom
        ax.line("rest", "o", gaps, [y + 0.16] * 10)
        ax.line("ink", "-", (mean(gaps) - half, mean(gaps) + half), [y - 0.16] * 2)
        ax.line("ink", "D", mean(gaps), y - 0.16)
        names[f"rank {rank}: DoRA − {told}"] = y
    ax.ticks("y", names)
