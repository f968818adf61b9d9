"""Lesson 05: the block with HOULSBY's two adapters, and the race of the record."""

import itertools

from drawn import Shown, alike, strips

from peft_teach.course import records


def block(shown: Shown) -> None:
    ax, = shown.panels
    ax.named("Houlsby: 12 adapters in the model")
    parts = [ax.box(*each) for each in (
        ("attention", "attention", "paper"), ("+", "paper"), ("LN", "paper"),
        ("FFN", "feed_forward", "paper"), ("+", "paper"), ("LN", "paper"))]
    assert all(a[0] + a[2] < b[0] for a, b in itertools.pairwise(parts))
    assert {(y, height) for _, y, _, height in parts} == {(-0.28, 0.56)}
    (attention, plus, norm, ffn, plus2, norm2) = ((x, x + width) for x, _, width, _ in parts)
    at = {"x": (-1.5, attention[0]), "o₁": (attention[1], plus[0]), "r": (norm[1], ffn[0]),
          "o₂": (ffn[1], plus2[0]), "y": (norm2[1], 11)}
    for name, (left, right) in at.items():
        at[name] = (left + right) / 2
        ax.text(name, "ink", (at[name], 0.14), near=0.04)
    ax.wire("ink", "-", (-1.5, 0), (-1.5, 0))
    ax.wire("ink", "->", (-1.5, 0), (11, 0))
    for start, (left, right) in ((0.3, plus), (at["r"] - 0.3, plus2)):    # round the sub-layer
        ax.wire("ink", "-", (start, 0), ((left + right) / 2, 0.95))
        ax.wire("ink", "->", ((left + right) / 2, 0.95), ((left + right) / 2, 0.28))
    for name, wire in (("A", "o₁"), ("B", "o₂")):    # down from the wire, through, and up again
        x = at[wire]
        ax.text(name, "ink", (x, -1.7), near=0.03)
        ax.wire("trained", "o", (x - 0.2, 0), (x - 0.2, 0), near=0.02)
        ax.wire("trained", "--", (x - 0.2, 0), (x - 0.5, -1.25), near=0.02)
        ax.wire("trained", "-", (x + 0.5, -1.25), (x + 0.2, -0.6), near=0.02)
        ax.wire("trained", "->", (x + 0.2, -0.6), (x + 0.2, 0), near=0.02)
        for side in (-1, 1):
            piece = ax.piece("trained", (x + 0.27 * side, -1.25), near=0.01)
            assert alike(piece[2:], (0.46, 0.76))


def race(shown: Shown) -> None:
    ax, = shown.panels
    names = {"houlsby": "Houlsby", "post_attention": "post-attention", "pfeiffer": "Pfeiffer",
             "bapna": "Bapna", "parallel": "parallel", "ends": "the two ends"}
    runs = [run for run in records.load("adapters")["runs"] if run["group"] == "alike"]
    rows = {name: ([run["accuracy"] for run in runs if run["setting"]["place"] == place], "lora",
                   "o") for place, name in names.items()}
    strips(ax, rows | {"yours": ([0.8], "yours", "D")}, {"one": (0.6, "head")})
