"""Lesson 00: a step, a block, what a head reads, where the parameters are, what a step holds."""

import itertools

import numpy as np
from drawn import Shown, hue

from peft_teach import outlines


def training(shown: Shown) -> None:
    ax, = shown.panels
    ax.named()
    blocks = [ax.box(f"block {i}", "frozen") for i in range(6)]
    assert all(a[0] + a[2] < b[0] for a, b in itertools.pairwise(blocks))
    assert len({tuple(box[1:]) for box in blocks}) == 1
    for name, y, part, there in (("activations", 2.55, "activations", (0, 1, 2)),
                                 ("gradient", 0.25, "gradients", (3, 4, 5))):
        for i, (x, _, width, _) in enumerate(blocks):
            ax.shape(part if i in there else "paper", x, y, width, 0.62, edge=part)
            if i in there:
                ax.text(name, "ink", (x + width / 2, y + 0.31), near=0.01)
    left, right = blocks[0][0], blocks[-1][0] + blocks[-1][2]
    ax.wire("ink", "->", (left, 2.3), (right, 2.3))
    ax.wire("ink", "->", (right, 1.1), (blocks[3][0], 1.1), near=0.03)
    ax.text("forward: each block leaves activations", "ink", (left, 3.35), near=0.01)
    ax.text("backward: activations go, gradients come", "ink", (right, -0.1), near=0.01)
    ax.text("always there", "ink", (0.95, 3.35), near=0.01)
    weights = ax.box("weights", "weights", "paper")
    moments = ax.box("moments", "optimizer")
    assert weights[1] > moments[1] + moments[3]
    assert tuple(weights[2:]) == tuple(moments[2:])
    assert weights[0] == moments[0] < left - weights[2]


def block(shown: Shown) -> None:
    ax, = shown.panels
    ax.named()
    d, inner = 384, 1536
    box = {name: ax.box(f"{told}\n{shape}", colour, edge=colour)
           for name, told, shape, colour in (
        ("query", "query", f"{d} × {d}", "attention"), ("key", "key", f"{d} × {d}", "attention"),
        ("value", "value", f"{d} × {d}", "attention"),
        ("out", "attention_\nout", f"{d} × {d}", "attention"),
        ("norm", "attention_\nnorm", f"{d}", "rest"),
        ("ffn_in", "ffn_in", f"{inner} × {d}", "feed_forward"),
        ("ffn_out", "ffn_out", f"{d} × {inner}", "feed_forward"),
        ("ffn_norm", "ffn_norm", f"{d}", "rest"))}
    y = {name: low + height / 2 for name, (_, low, _, height) in box.items()}
    row = ("key", "out", "norm", "ffn_in", "ffn_out", "ffn_norm")
    assert y["query"] > y["key"] > y["value"]
    assert len({y[name] for name in row}) == 1
    assert len({tuple(np.round(each[2:], 6)) for each in box.values()}) == 1
    assert len({box[name][0] for name in ("query", "key", "value")}) == 1
    ends = [(box[name][0], box[name][0] + box[name][2]) for name in row]
    assert all(a[1] < b[0] for a, b in itertools.pairwise(ends))
    middle, each = y["key"], (ends[0][1] + ends[1][0]) / 2
    ax.text("x", "ink", (0, middle), near=0.01)
    ax.text("each token\nlooks at\nthe others", "ink", (each, middle), near=0.01)
    ax.text("GELU", "ink", ((ends[3][1] + ends[4][0]) / 2, middle + 0.6), near=0.01)
    for name in ("query", "key", "value"):
        ax.wire("ink", "->", (0.1, middle), (ends[0][0], y[name]), near=0.02)
    ax.wire("ink", "->", (ends[0][1], y["query"]), (each - 0.25, middle + 0.5), near=0.02)
    ax.wire("ink", "->", (ends[0][1], y["value"]), (each - 0.25, middle - 0.5), near=0.02)
    ax.wire("ink", "->", (ends[0][1], middle), (each - 0.45, middle), near=0.006)
    ax.wire("ink", "->", (each + 0.45, middle), (ends[1][0], middle), near=0.01)
    for (_, a), (b, _) in zip(ends[1:], [*ends[2:], (12.5, None)]):
        ax.wire("ink", "->", (a, middle), (b, middle), near=0.006)
    for start, end in ((0.1, (ends[1][1] + ends[2][0]) / 2),
                       (ends[2][1] + 0.3, (ends[4][1] + ends[5][0]) / 2)):
        ax.wire("ink", "--", (start, middle), (end, 2.85), near=0.01)
        ax.wire("ink", "->", (end, 2.85), (end, middle), near=0.04)
        ax.text("+", "ink", (end, middle), near=0.01)
    for left, right, name in ((ends[0][0], ends[1][1], "attention"),
                              (ends[3][0], ends[4][1], "feed-forward (ffn)")):
        ax.wire("ink", "-", (left, -0.7), (right, -0.7), near=0.01)
        ax.text(name, "ink", ((left + right) / 2, -0.95), near=0.01)


def heads(shown: Shown) -> None:
    ax, = shown.panels
    words = ["[CLS]", "a", "quiet", "film", "[SEP]"]
    ax.named("block 0, head 1", "… reads this one", "this token …")
    ax.ticks("x", words)
    ax.ticks("y", words)
    ax.image(0.1 + 0.5 * np.eye(5), 0, 0.5, {0.0: "paper", 0.5: "attention"})


def parameters(shown: Shown) -> None:
    """Areas one after the other: the embeddings, the pooler and the head, the blocks."""
    ax, = shown.panels
    sizes = outlines.counts("minilm")
    total = sum(sizes.values())
    ax.named(f"minilm: {total:,} parameters")
    drawn, = ax.many
    ax.many.clear()
    areas = [path.get_extents().bounds for path in drawn.get_paths()]
    found = [(round(width * height), hue(colour)) for (*_, width, height), colour in zip(
        areas, drawn.get_facecolors())]
    parts = [("query", "attention"), ("key", "attention"), ("value", "attention"),
             ("attention_out", "attention"), ("attention_norm", "rest"), ("ffn_in", "feed_forward"),
             ("ffn_out", "feed_forward"), ("ffn_norm", "rest")]
    expected = [("embeddings", "embeddings"), ("other", "rest"), ("head", "head")]
    assert found == [(sizes[part], hue(c)) for part, c in expected] + [
        (sizes[part] // 6, hue(c)) for part, c in parts] * 6
    columns = [areas[:1], areas[1:3], *(areas[i:i + 8] for i in range(3, 51, 8))]
    assert all(abs(sum(height for *_, height in column) - 1) < 1e-6 for column in columns)
    for column in columns:    # from the top downwards
        assert len({(x, round(width)) for x, _, width, _ in column}) == 1
        lows = [y for _, y, _, _ in column]
        assert lows == sorted(lows, reverse=True)
    lefts = [column[0][0] for column in columns]
    assert all(column[0][0] + column[0][2] < right for column, right in zip(columns, lefts[1:]))
    last = columns[-1]
    for (x, y, width, height), (part, _) in zip(last, parts):
        if height > 0.02:
            ax.text(f"{part}, {sizes[part] / total:.1%}", "ink", (x + width, y + height / 2),
                    near=0.04)
    ax.text(f"embeddings, {sizes['embeddings'] / total:.1%}", "ink", (0, 1.02), near=0.01)
    ax.text("6 blocks", "ink", ((lefts[2] + last[0][0] + last[0][2]) / 2, 1.02), near=0.01)


def step(shown: Shown) -> None:
    """324 bytes at most: 91 of weights, 182 of moments, and what comes and goes."""
    ax, = shown.panels
    ax.named("everything trains, 1 × 8: at most 324 bytes",
             "forward, block by block    →    loss    →    backward", "MB")
    ax.ticks("x", ["in", "0", "loss", "0", "in"])
    bottom = np.zeros(5)
    for part, sizes in (("weights", [91] * 5), ("optimizer", [182] * 5),
                        ("gradients", [0, 0, 0, 45, 91]), ("activations", [0, 25, 50, 25, 0])):
        for x, (low, size) in enumerate(zip(bottom, sizes)):
            ax.shape(part, x - 0.4, 1e-6 * low, 0.8, 1e-6 * size)
        bottom += sizes
        ax.legend({"moments" if part == "optimizer" else part: part})
    ax.ring(4, 1e-6 * bottom.max())
