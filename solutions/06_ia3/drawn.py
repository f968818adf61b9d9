"""Lesson 06: a block and its five places, a row that is moved, the desk."""

import itertools

import numpy as np
from drawn import Shown

from peft_teach.course import records

ROW = np.array([1.6, 0.8])


def block(shown: Shown) -> None:
    ax, = shown.panels
    ax.named()
    passing = ("softmax\nmean", "gelu")    # the others have numbers, which are frozen
    box = {text: ax.box(text, "paper" if text in passing else "frozen", edge="rest") for text in (
        "query", "key", "value", "attention\nout", "norm", "ffn_in", "ffn_out", *passing)}
    left = {text: x for text, (x, *_) in box.items()}
    right = {text: x + width for text, (x, _, width, _) in box.items()}
    middle = {text: y + height / 2 for text, (_, y, _, height) in box.items()}
    first = ("query", "key", "value")
    assert middle["query"] > middle["key"] > middle["value"]
    assert len({tuple(box[text][[0, 2, 3]]) for text in first}) == 1
    row = ("key", "softmax\nmean", "attention\nout", "norm", "ffn_in", "gelu", "ffn_out")
    assert all(right[a] < left[b] for a, b in itertools.pairwise(row))
    assert len({middle[text] for text in row if text != "softmax\nmean"}) == 1
    assert box["softmax\nmean"][3] > 3.5
    y = middle["key"]
    ax.text("x", "ink", (0.1, y), near=0.01)
    plus = [right[text] + 0.55 for text in ("attention\nout", "ffn_out")]
    for x in plus:
        ax.wire("rest", "o", (x, y), (x, y), near=0.01)
        ax.text("+", "ink", (x, y), near=0.01)
    wires = [((0.3, y), (left[text], middle[text])) for text in first]
    wires += [((right[text], middle[text]), (left["softmax\nmean"], middle[text]))
              for text in first]
    stations = [*((left[text], right[text]) for text in row[1:3]), (plus[0] - 0.2, plus[0] + 0.2),
                *((left[text], right[text]) for text in row[3:]), (plus[1] - 0.2, plus[1] + 0.2),
                (15.5, 15.5)]
    wires += [((a, y), (b, y)) for (_, a), (b, _) in itertools.pairwise(stations)]
    for i, (start, end) in enumerate(wires):
        ax.wire("rest", "-", start, end, near=0.015)
        corner = (0.6, end[1]) if i < 3 else start    # from which the head of the arrow comes
        ax.wire("rest", "->", corner, end, near=0.015)
    for start, end, top in zip(((0.6, middle["query"]), (8.85, y)), plus, (4.95, 3.8)):
        ax.wire("rest", "-", start, (end, y + 0.15), near=0.01)    # what is added unchanged
        ax.wire("rest", "->", (end, top), (end, y + 0.15), near=0.01)
    for name, at in {"key": (left["softmax\nmean"] - 0.65, y),
                     "value": (left["softmax\nmean"] - 0.65, middle["value"]),
                     "sum": ((plus[0] + left["norm"]) / 2, y),
                     "before": ((right["ffn_in"] + left["gelu"]) / 2, y),
                     "after": ((right["gelu"] + left["ffn_out"]) / 2, y)}.items():
        ax.wire("trained", "D", at, at, near=0.01)
        ax.text(name, "trained", (at[0], at[1] + 0.36), near=0.01)


def _axes(ax) -> None:
    ax.level("quiet", 0)
    ax.at("quiet", 0)


def row(shown: Shown) -> None:
    gain, lora = shown.panels
    push = np.array([-0.6, 1.2])
    for ax, title, colour, ends, way in (
            (gain, "a factor: l · w", "yours", 1.5 * ROW, [-9 * ROW, 9 * ROW]),
            (lora, "LoRA: w + b · a", "lora", ROW + push, [ROW - 9 * push, ROW + 9 * push])):
        ax.named(title)
        _axes(ax)
        ax.line(colour, ":", *zip(*way))
        ax.arrow("quiet", (0, 0), ROW)
        ax.arrow(colour, (0, 0), ends)


def swap(shown: Shown) -> None:
    for ax, (name, rows) in zip(shown.panels, {"start": ((2, 1), (1, 2)),
                                               "IA³": ((1.6, 0.8), (0.8, 1.6))}.items()):
        ax.named(name)
        _axes(ax)
        for row, number, colour in zip(rows, "12", ("series 1", "series 2")):
            ax.arrow(colour, (0, 0), row)
            ax.text(number, colour, row, near=0.12)
    assert len(shown.panels) == 2


def desk(shown: Shown) -> None:
    record, (ax,) = records.load("ia3"), shown.panels
    truth = record["desk"]["truth"]
    curve = {t: np.mean([a == b for a, b in zip(record["desk"]["answers"][f"{t} all"], truth)])
             for t in (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0)}
    ax.named(f"everything at t = 1: {curve[1]:.1%} right", "t", "accuracy")
    ax.ticks("x", dict(zip(("−1\nreversed", "0\noff", "0.5", "1\nas learned", "1.5",
                               "2\ndoubled"), curve)))
    ax.level("rest", 0.5, ":")
    ax.text("chance", "rest", (2, 0.49))
    ax.line("ink", "-o", curve, curve.values())
    ax.ring(1, curve[1])
