"""Lesson 06: a block and its five places, a row that is moved, the desk."""

import itertools

import numpy as np
from matplotlib.patches import Circle
from picture_checks import Shown, alike, bounds

from peft_teach.course import records

ROW = np.array([1.6, 0.8])


def block(shown: Shown) -> None:
    """Six matrices to scale, in the order of the flow; each vector as high as what it scales."""
    ax, = shown.panels
    legend = 0.8    # the drawing stands below it

    def parts(kind: str) -> list[tuple]:
        return sorted(box for box in (bounds(s) for s in ax.shapes if s.get_gid() == kind)
                      if box[1] > legend)

    q, k, v, out, norm, ffn_in, ffn_out = parts("frozen")
    softmax, gelu = parts("passing")
    key, value, total, before, after = parts("trained")
    small = q[2]
    assert all(alike(box[2:], (small, small)) for box in (q, k, v, out))
    assert alike((*ffn_in[2:], *ffn_out[2:]), (small, 4 * small, 4 * small, small))
    first, second = sorted(bounds(s) for s in ax.shapes if isinstance(s, Circle))
    row = (k, key, softmax, out, first, total, norm, ffn_in, before, gelu, after, ffn_out, second)
    assert all(a[0] + a[2] < b[0] for a, b in itertools.pairwise(row))
    line = k[1] + k[3] / 2
    assert all(np.isclose(box[1] + box[3] / 2, line, atol=1e-6) for box in row)
    for vector, scaled in ((key, k), (value, v), (total, norm), (before, ffn_in), (after, ffn_in)):
        assert alike((vector[1], vector[3]), (scaled[1], scaled[3]))
    assert alike(value[0], key[0])
    assert q[1] < k[1] < v[1]
    skips = [x for x, y in (line.get_data() for line in ax.lines) if len(x) == 4 and x[2] == x[3]]
    for x, begins, ends, plus in zip(sorted(skips, key=min), (0, norm[0]), (q[0], ffn_in[0]),
                                     (first, second)):
        assert begins < x[0] < ends
        assert alike(x[3], plus[0] + plus[2] / 2)
    for name, box in zip(("key", "value", "sum", "before", "after"),
                         (key, value, total, before, after)):
        said, = (t for t in ax.texts if t.get_text() == name)
        x, y = said.get_position()
        assert np.isclose(x, box[0] + box[2] / 2)
        assert 0 < box[1] - y < 0.1
    assert sorted(t.get_text() for t in ax.texts if len(t.get_text()) == 1) == ["k", "q", "v", "x"]
    for left in (ax.lines, ax.shapes, ax.heads, ax.texts, ax.arrows, ax.many):
        left.clear()


def _axes(ax) -> None:
    ax.level("quiet", 0)
    ax.at("quiet", 0)


def row(shown: Shown) -> None:
    gain, lora = shown.panels
    push = np.array([-0.6, 1.2])
    assert shown.title == "A factor moves a row along its own line, LoRA along another"
    for ax, title, name, colour, ends, way in (
            (gain, "a factor", "l · w", "yours", 1.5 * ROW, [-9 * ROW, 9 * ROW]),
            (lora, "LoRA", "w + b · a", "lora", ROW + push, [ROW - 9 * push, ROW + 9 * push])):
        ax.named(title)
        ax.text("w", "head", ROW, near=0.12)
        ax.text(name, colour, ends, near=0.06)
        _axes(ax)
        ax.line(colour, ":", *zip(*way))
        ax.arrow("quiet", (0, 0), ROW)
        ax.arrow(colour, (0, 0), ends)


def swap(shown: Shown) -> None:
    assert shown.title == "The rows are to be swapped: IA³ cannot"
    for ax, (name, rows) in zip(shown.panels, {"start": ((2, 1), (1, 2)), "wanted": ((1, 2), (2, 1)),
                                               "IA³": ((1.6, 0.8), (0.8, 1.6))}.items()):
        ax.named(name)
        _axes(ax)
        for row, number, colour in zip(rows, "12", ("series 1", "series 2")):
            ax.arrow(colour, (0, 0), row)
            ax.text(number, colour, row, near=0.12)
    assert len(shown.panels) == 3


def desk(shown: Shown) -> None:
    record, (ax,) = records.load("ia3"), shown.panels
    truth = record["desk"]["truth"]
    curve = {f: np.mean([a == b for a, b in zip(record["desk"]["answers"][f"{f} all"], truth)])
             for f in (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0)}
    assert shown.title == f"Everything at f = 1: {curve[1]:.1%} right; switched off {curve[0]:.1%}"
    ax.named("", "f, how far the desk is turned", "right, of 150 sentences")
    ax.ticks("x", dict(zip(("−1\nreversed", "0\noff", "0.5", "1\nas learned", "1.5",
                               "2\ndoubled"), curve)))
    far = 1.96 * (0.25 / 150)**0.5    # of guesses, in 95 of 100 cases
    ax.band("band", 0.5 - far, 0.5 + far, "y")
    ax.text("guessing", "head", (2, 0.5))
    ax.line("ink", "-o", curve, curve.values())
    ax.ring(1, curve[1])
