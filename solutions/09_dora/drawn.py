"""Lesson 09: arrows, the record's clouds, laws, made-up clouds, pairs, the ladder of methods."""

import math
from collections import Counter
from statistics import mean, stdev

import numpy as np
import torch
from drawn import Panel, Shown, bounds, hue

from peft_teach.course import records

RECORD = records.load("dora")
W, DELTA = np.array([2.4, 1.0]), np.array([-0.7, 1.68])


def idea(shown: Shown) -> None:
    V = W + DELTA
    m = 2.75 * V / np.linalg.norm(V)
    ends = {"IA³ stretches": (1.4 * W, "l · w"), "LoRA adds": (V, "w + δ"),
            "DoRA turns, then sets length": (m, "length m")}
    for ax, (title, (end, text)) in zip(shown.panels, ends.items()):
        ax.named(title)
        arc = ax.shapes.pop(0)
        assert (arc.get_center(), arc.width, arc.height) == ((0, 0), *[
            2 * torch.tensor([2.4, 1.0]).norm().item()] * 2)
        assert (arc.theta1, arc.theta2, hue(arc.get_edgecolor())) == (5, 85, hue("quiet"))
        ax.arrow("rest", (0, 0), W)
        ax.arrow("lora", (0, 0), end)
        ax.text("w", "rest", 0.55 * W, near=0.01)
        ax.text(text, "lora", end if text != "length m" else 0.5 * m, near=0.04)
        if text != "l · w":
            ax.arrow("rest", W, V)
            ax.text("δ", "rest", W + 0.45 * DELTA, near=0.01)
    ax.line("rest", "--", (0, V[0]), (0, V[1]))
    ax.text("V = w + δ", "rest", V, near=0.01)
    assert len(shown.panels) == 3


def _clouds(shown: Shown, names: dict[str, str], colours: dict[str, str]) -> None:
    for i, (ax, (method, name)) in enumerate(zip(shown.panels, names.items())):
        told, dots = [name], RECORD["clouds"][f"{method} 0"]["dots"]
        for place, fill in (("query", colours[method]), ("value", "paper")):
            turn, stretch = ([dot[key] for dot in dots if dot["place"] == place]
                             for key in ("dd", "dm"))
            ax.line(colours[method], "o", turn, stretch, fill=fill)
            told.append(f"{place} {np.corrcoef(turn, stretch)[0, 1]:+.2f}")
        ax.named("\n".join(told if len(name) > 3 and name != "three" and name != "four" else
                           told[:1]), "turn, ΔD", "stretch, ΔM" * (i == 0))
    assert len(shown.panels) == 4


def clouds(shown: Shown) -> None:
    assert shown.title == "Random numbers draw LoRA's line    ● queries   ○ values"
    _clouds(shown, {"dora": "DoRA", "full": "full fine-tuning", "random": "random", "lora": "LoRA"},
            {"dora": "yours", "full": "full", "random": "random", "lora": "lora"})


def clouds_without_names(shown: Shown) -> None:
    assert shown.title == "Which cloud did random numbers draw?    ● queries   ○ values"
    names = {"dora": "one", "full": "two", "random": "three", "lora": "four"}
    _clouds(shown, names, dict.fromkeys(names, "ink"))


def crossing(shown: Shown) -> None:
    ax, = shown.panels
    ax.named("A small piece changes the length by chance, a large one by Pythagoras",
             "how much is added to a row: ‖δ‖ / ‖w‖", "how much its length changes", log="xy")
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


def forged(shown: Shown) -> None:
    """Lines through the start, and six dots on each: an update cannot be smaller than it."""
    ax, = shown.panels
    ax.named("Noise draws a line of any slope", "ΔD: how far rows turn",
             "ΔM: how much they stretch")
    for i, (slope, dash, marker) in enumerate(((-1, "-", "o"), (0, "--", "s"), (1, "-.", "^"))):
        turns = np.linspace(0.01, 0.02, 6)
        ax.line(f"series {i}", dash, (0.01, 0.02), (0.1, 0.1 + 0.01 * slope))
        ax.line(f"series {i}", marker, turns, 0.1 + slope * (turns - 0.01))
        ax.text(f"slope {slope}".replace("-", "−"), f"series {i}", (0.02, 0.1 + 0.01 * slope),
                near=0.01)


def rays(shown: Shown) -> None:
    ax, = shown.panels
    ax.named("Noise of chosen sizes lies near a falling line", "ΔD: how far rows turn",
             "ΔM: how much they stretch")
    for length in (0.85, 1.12, 1.38):
        ax.slope("rest", "-", (0, 0), length)
    ax.slope("ink", "--", (0, 0.05), -1)
    ax.line("random", "o", (0.0266, 0.0232, 0.0208), (0.0229, 0.0266, 0.0285))
    ax.text("the line asked for,\nof slope −1", "ink", (0.006, 0.031), near=0.05)
    ax.text("each matrix has its own ray", "ink", (0.018, 0.009), near=0.05)


def pairs(shown: Shown) -> None:
    ax, = shown.panels
    runs = {(r["method"], r["rank"], r["seed"]): 100 * r["accuracy"] for r in RECORD["runs"]
            if r["group"] == "pairs"}
    ax.named("4 of 4 intervals lie inside the margin, ±1",
             "points of test accuracy: left of 0 DoRA is worse, right of it better")
    ax.band("band", -1, 1, "x")
    ax.at("ink", 0)
    names = {}
    for y, (other, told, rank) in enumerate((
            ("lora", "LoRA", 2), ("lora", "LoRA", 32), ("gain", "scaled LoRA", 2),
            ("gain", "scaled LoRA", 32))):
        gaps = [runs["dora", rank, seed] - runs[other, rank, seed] for seed in range(1, 11)]
        half = 2.262 * stdev(gaps) / math.sqrt(10)    # Student's t, 9 degrees of freedom
        ax.line("yours", "o", gaps, [y + 0.16] * 10)
        ax.line("ink", "-", (mean(gaps) - half, mean(gaps) + half), [y - 0.16] * 2)
        ax.line("ink", "D", mean(gaps), y - 0.16)
        names[f"rank {rank}: DoRA − {told}"] = y
    ax.ticks("y", names)


# ── the ladder ───────────────────────────────────────────────────────────────────────────────

# Each method's words, and where in the block its own pieces stand: how many at which place.
ROWS = {
    "full": ("all weights", 22_713_216, "x ΔWᵀ", "nothing to merge",
             {"embeddings": 4, "q, k, v": 3, "out": 1, "feed-forward": 2}),
    "prompt": ("10 vectors", 3840, "λ (attention to P − h)", "cannot merge: differs by sentence",
               {"before": 3}),
    "prefix": ("10 vectors", 46_080, "λ (attention to K, V − h)",
               "cannot merge: differs by sentence", {"behind k, v": 6}),
    "adapter": ("size 64", 595_200, "gelu(h Dᵀ) Uᵀ", "cannot merge: not linear",
                {"behind out": 1, "behind feed-forward": 1}),
    "IA³": ("scaling", 13_824, "(l − 1) ⊙ h", "merges into W",
            {"feed-forward": 1, "behind k, v": 2}),
    "LoRA": ("rank 8", 73_728, "s · x (BA)ᵀ", "merges into W", {"q, k, v": 4}),
    "QLoRA": ("rank 8", 73_728, "s · x (BA)ᵀ", "merges into 16 bits; into 4, by dice",
              {"q, k, v": 4}),
    "DoRA": ("rank 8", 78_336, "(g − 1) ⊙ x Wᵀ + g ⊙ s · x (BA)ᵀ", "merges into W",
             {"q, k, v": 4, "behind k, v": 2}),
}
PLACES = {"before": (10, 16), "embeddings": (16, 23), "q, k, v": (25, 29.5),
          "behind k, v": (30, 35.4), "softmax": (35.4, 39.1), "out": (42.5, 45.5),
          "behind out": (45.5, 49), "feed-forward": (49, 58), "behind feed-forward": (58, 61.5)}
FROZEN = {"embeddings": 4, "q, k, v": 3, "out": 1, "feed-forward": 2}


def ladder(shown: Shown) -> None:
    ax, = shown.panels
    ax.named()
    top = 10.4 * 8
    for x, text, colour in ((14, "frozen", "quiet"), (30, "trained", "trained"),
                            (47, "frozen, in four bits", "quiet")):
        ax.text(text, "ink", (x + 2.6, top + 5.2), near=0.01)
        ax.shape(colour, x, top + 4.4, 1.8, 1.8)
    for text in ("embeddings", "q, k, v", "softmax", "out", "feed-forward"):
        low, high = PLACES[text]
        ax.text(text, "ink", ((low + high) / 2, top + 1.5), near=0.03)
    ax.text("h ← h + …", "ink", (64, top + 1.5), near=0.01)
    skeletons = {name: _block(ax, top - 10.4 * (i + 0.5), name, *row)
                 for i, (name, row) in enumerate(ROWS.items())}
    boxes, lines = zip(*skeletons.values())    # one block, eight times
    assert all(set(of) == set(boxes[0]) for of in boxes)
    assert all(of == lines[0] for of in lines)
    of_qkv = sorted(box[1] for box in boxes[0] if PLACES["q, k, v"][0] < box[0] < 29.5)
    assert of_qkv == [-3.65, -1.05, 1.55]
    assert {box[3] for box in boxes[0] if box[0] > 49} == {6}
    assert {box[2:] for box in boxes[0] if box[0] < 25} == {(1.4, 1.4)}
    assert lines[0] == [((22.6, 0), (24.2, 0), (24.2, 2.6), (36, 2.6)),
                        ((22.6, 0), (24.2, 0), (24.2, 0), (36, 0)),
                        ((22.6, 0), (24.2, 0), (24.2, -2.6), (36, -2.6)),
                        ((39, 0), (62, 0)), ((62, 0),)]


def _block(ax: Panel, y: float, name: str, detail: str, count: int, added: str, merges: str,
           own: dict) -> tuple[list, list]:
    """Claim a row; return its boxes that every method has, and its lines, seen from its middle."""
    ax.level("band", y + 5.2)
    never = merges.startswith("cannot")
    for x, up, text, colour in ((0, 2.5, name, "ink"), (0, -0.4, detail, "ink"),
                                (0, -3.2, f"{count:,}", "trained"), (64, 1.5, added, "ink"),
                                (64, -1.9, merges, "rest" if never else "ink")):
        ax.text(text, colour, (x, y + up), near=0.005)
    for letter, up in zip("qkv", (2.6, 0, -2.6)):
        if name != "QLoRA":    # its letters would not be read on four bits
            ax.text(letter, "ink", (27, y + up), near=0.01)
    trained, every = Counter(), []
    for shape in [s for s in ax.shapes if abs(bounds(s)[1] - y) < 5.2]:
        ax.shapes.remove(shape)
        x, low, width, height = bounds(shape)
        place, = (p for p, (a, b) in PLACES.items() if a < x + width / 2 < b)
        box = tuple(round(float(v), 3) for v in (x, low - y, width, height))
        colour = hue(shape.get_facecolor())
        if colour == hue("trained"):
            trained[place] += 1
        else:
            assert colour == hue("paper" if place == "softmax" else "quiet")
        if colour != hue("trained") or name == "full":
            every.append(box)
            assert (shape.get_hatch() is not None) == (
                name == "QLoRA" and place in ("q, k, v", "out", "feed-forward"))
        else:
            assert box in OWN[name], (name, box)
    assert trained == own
    lines = [line for line in ax.lines if abs(line.get_ydata()[0] - y) < 5
             and hue(line.get_color()) == hue("rest")]
    for line in lines:
        ax.lines.remove(line)
    return every, [tuple((round(float(a), 3), round(float(b - y), 3)) for a, b in
                         line.get_xydata()) for line in lines]


# Where a method's own pieces stand, seen from the row's middle.
_LORA = {(28.4, 1.55, 0.8, 2.1), (26, 3.85, 2.1, 0.8), (28.4, -3.65, 0.8, 2.1),
         (26, -4.65, 2.1, 0.8)}
OWN = {"prompt": {(x, -0.7, 1.4, 1.4) for x in (11, 12.7, 14.4)},
       "prefix": {(x, y, 1.4, 1.4) for x in (30.2, 31.9, 33.6) for y in (-0.7, -3.3)},
       "adapter": {(x, -2, 2.4, 4) for x in (46, 58.5)},
       "IA³": {(53.4, -3, 0.7, 6), (31.5, -1.1, 0.7, 2.2), (31.5, -3.7, 0.7, 2.2)},
       "LoRA": _LORA, "QLoRA": _LORA,
       "DoRA": _LORA | {(31.5, 1.5, 0.7, 2.2), (31.5, -3.7, 0.7, 2.2)}}
