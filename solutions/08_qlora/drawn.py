"""Lesson 08: levels and weights, an outlier, errors through the blocks, memory."""

import math

import numpy as np
import torch
from picture_checks import Shown, hue

from peft_teach import account, outlines

# NF4's levels, as the paper prints them (Dettmers et al. 2023, appendix E).
NF4 = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
       -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
       0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
       0.7229568362236023, 1.0)
WEIGHTS = torch.randn(384, 384, generator=torch.Generator().manual_seed(0)).numpy().astype(float)
BLOCKS = WEIGHTS.reshape(-1, 64)
TOP = np.abs(BLOCKS).max(1, keepdims=True)


def _histogram(ax) -> float:
    """Claim the bell of all weights, as shares of their group's largest; return its height."""
    bell = ax.shapes.pop()
    x = (np.float32(BLOCKS) / np.float32(TOP)).ravel()
    counts, edges = np.histogram(x[np.abs(x) < 1], 120, range=(-1, 1))
    found, at, _ = bell.get_data()
    assert np.allclose(at, edges, atol=1e-6)
    assert np.abs(np.subtract(found, counts)).max() <= 2    # a weight may lie on an edge
    assert hue(bell.get_facecolor()) == hue("quiet")
    assert bell.orientation == "vertical"
    return max(found)


def ruler(shown: Shown) -> None:
    ax, = shown.panels
    assert shown.title == "Sixteen levels, close together where most weights are"
    ax.named(x="weight, divided by the largest of its group")
    _histogram(ax)
    top = ax.ax.get_ylim()[1]
    ax.level("ink", 0)
    for i, mark in enumerate(NF4):
        ax.line("series 0", "-", (mark, mark), (0, -0.13 * top))
        ax.text(f"{i}", "series 0", (mark, -0.16 * top), near=0.01)
    nearest = min(NF4, key=lambda mark: abs(mark - 0.31))
    assert NF4.index(nearest) == 11
    ax.text("1011", "series 0", (nearest, -0.28 * top), near=0.01)
    ax.line("ink", "o", 0.31, 0.42 * top)
    ax.wire("ink", "->", (0.31, 0.42 * top), (nearest, 0), near=0.02)
    ax.text("A weight at 0.31\ngoes to level 11: 1011", "ink", (0.44, 0.72 * top), near=0.01)


def levels(shown: Shown) -> None:
    ax, = shown.panels
    marks = np.array(NF4)
    rounded = (levels[np.abs((BLOCKS / TOP)[..., None] - levels).argmin(-1)] * TOP
               for levels in (marks, np.arange(-15, 16, 2) / 15))
    error, even = (np.linalg.norm(each - BLOCKS) / np.linalg.norm(BLOCKS) for each in rounded)
    assert shown.title == f"NF4: the error is {error:.2%} of ‖W‖, with even levels {even:.2%}"
    ax.named(x="weight, divided by the largest of its group")
    _histogram(ax)
    for i, mark in enumerate(NF4):
        ax.at("yours" if i == 11 else "series 0", mark)
    ax.text(" 11", "yours", (NF4[11], None), near=0.01)


def outlier(shown: Shown) -> None:
    """The first 64 weights, the largest of them 8 times as large."""
    ax, = shown.panels
    block, marks = BLOCKS[0], 8 * np.array(NF4)
    unit = np.abs(block).max()
    exact = block[np.abs(block) < unit] / unit
    rounded = marks[np.abs(exact[:, None] - marks).argmin(1)]
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert shown.title == (f"One weight 8 times as large: the 63 others share {len({*rounded})} "
                           f"levels, {error:.0%} off")
    ax.named(x="the others: rounded in green, exact behind", y="share of the largest")
    for mark in marks:
        ax.level("series 0", mark)
    ax.line("ink", "o", range(63), exact)
    ax.line("yours", "o", range(63), rounded)
    drawn = ax.many.pop(0)    # a line for each weight
    assert hue(drawn.get_color()[0]) == hue("quiet")
    assert np.allclose(drawn.get_segments(), [[(x, a), (x, b)] for x, a, b in zip(
        range(63), exact, rounded)], atol=1e-6)


def blocks(shown: Shown) -> None:
    """Three rows that were given, of six blocks each."""
    ax, = shown.panels
    assert shown.title == ("Nearest levels end 65% off, a shrunk update 68%, stochastic rounding "
                           "22%")
    ax.named(x="after block", y="error of the hidden states")
    for way, colour, style, errors in (
            ("nearest level", "ink", "-o", (0.06, 0.11, 0.18, 0.3, 0.39, 0.65)),
            ("stochastic", "yours", "-s", (0.08, 0.12, 0.15, 0.17, 0.19, 0.22)),
            ("shrunk, not rounded", "rest", "--^", (0.05, 0.1, 0.16, 0.29, 0.4, 0.68))):
        ax.line(colour, style, range(1, 7), errors)
        ax.text(way, colour, (None, errors[-1]), near=0.05)
    assert ax.ax.get_ylim()[0] == 0


def memory(shown: Shown) -> None:
    """A card of 48 GB, 512 tokens, 128,256 words; bytes a weight as the lesson counts them."""
    ax, = shown.panels
    ax.ticks("x", {f"{b}": b for b in (1, 2, 4, 8, 16, 32, 70)})
    ax.line("ink", "-", (1, 70), (48, 48))
    ax.text("your card: 48 GB", "ink", (1.05, 48 * 1.08), near=0.01)
    one, two = (account.activation_law(outlines.outline("llama-2-7b", n, "bfloat16"))[2]
                for n in (1, 2))
    bills: dict[str, dict[float, float]] = {}
    for d, blocks, kv, inner in ((2048, 22, 256, 5632), (4096, 32, 4096, 11_008),
                                 (5120, 40, 5120, 13_824), (6656, 60, 6656, 17_920),
                                 (8192, 80, 8192, 22_016), (8192, 80, 1024, 28_672)):
        inside = blocks * (2 * d * d + 2 * d * kv + 3 * d * inner)
        outside = 2 * 128_256 * d
        adapter = 16 * blocks * (2 * 2 * d + 2 * (d + kv) + 3 * (d + inner))
        above = (2 * one - two) * 128_256 / 32_000    # the outline knows 32,000 words
        held = 512 * ((2 * blocks + (two - one) / 4096) * d + above)
        total = inside + outside
        nf4 = (4 + 8 / 64 + 32 / (64 * 256)) / 8
        for method, size in (("full fine-tuning", (2 + 2 + 4 + 8) * total),
                             ("LoRA", 2 * total + (4 + 4 + 8) * adapter),
                             ("QLoRA", nf4 * inside + 4 * outside + (4 + 4 + 8) * adapter)):
            bills.setdefault(method, {})[total / 1e9] = (size + held) / 1e9
    told = []
    for (method, of), colour in zip(bills.items(), ("full", "lora", "series 0")):
        ax.line(colour, "-", of, of.values())
        last = [*of.values()][-1]
        fits = math.exp(np.interp(math.log(48), *(np.log([*each]) for each in (
            of.values(), of.keys()))))
        ax.line(colour, ":", (fits, fits), (1, min(48, last)))
        ax.line(colour, "o", fits, min(48, last))
        ax.text(f" {fits:.3g} B", colour, (fits, 1.15), near=0.01)
        told.append(f"{method} {fits:.3g}")
    ax.ends({method: ([*of.values()][-1], colour) for (method, of), colour in zip(
        bills.items(), ("full", "lora", "series 0"))})
    assert shown.title == f"On 48 GB fit, in billions: {', '.join(told)}"
    ax.named(x="parameters, in billions", y="GB", log="xy")
