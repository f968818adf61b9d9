"""Lesson 05: where HOULSBY's two adapters hang, the race of the record, a merge to scale."""

import numpy as np
from picture_checks import Shown, alike, bounds, hue, strips

from peft_teach.course import records


def block(shown: Shown) -> None:
    """The drawing as a whole is tested in tests/library/test_drawing.py: here, its orange parts.

    Twelve adapters of size 32, as in the race: 12 · (32 · (2 · 384 + 1) + 384) numbers.
    """
    ax, = shown.panels
    orange = [bounds(shape) for shape in ax.shapes if hue(shape.get_facecolor()) == hue("trained")]
    small = [box for box in orange if 0.2 > box[2] > 0.08 and box[1] > 1]
    attention, ffn = (min(t.get_unitless_position()[0] for t in ax.texts if t.get_text() == name)
                      for name in ("attention", "feed-forward"))
    assert sorted(sum(box[0] > end for box in small) for end in (attention, ffn)) == [2, 4]
    assert len(orange) == len(small) + 2 + 1    # one of them enlarged, and the legend
    assert "Trained: 299,904 numbers, at attention_out, ffn_out." in shown.figure.get_label()
    for left in (ax.lines, ax.shapes, ax.heads, ax.texts, ax.arrows, ax.many):
        left.clear()


def race(shown: Shown) -> None:
    ax, = shown.panels
    names = {"houlsby": "Houlsby", "post_attention": "post-attention", "pfeiffer": "Pfeiffer",
             "bapna": "Bapna", "parallel": "parallel", "ends": "the two ends"}
    runs = [run for run in records.load("adapters")["runs"] if run["group"] == "alike"]
    rows = {name: ([run["accuracy"] for run in runs if run["setting"]["place"] == place],
                   "series 0", "o") for place, name in names.items()}
    strips(ax, rows, {})
    *inside, ends = (np.mean(values) for values, *_ in rows.values())
    assert shown.title == (f"Inside the block: {min(inside):.1%} to {max(inside):.1%} right; at the two "
                           f"ends {ends:.1%}")


def merge(shown: Shown) -> None:
    """Beside: four matrices; merged: the same four, in two touching pairs. 384 : 1,536 : 64."""
    ax, = shown.panels
    shapes = {kind: [bounds(s) for s in ax.shapes if s.get_gid() == kind]
              for kind in ("trained", "frozen")}
    trained = sorted(shapes["trained"])[1:]     # without the legend's
    frozen = sorted(shapes["frozen"])
    frozen = [box for box in frozen if box[2] > 0.2]
    (down, up, merged_down, merged_up), (w1, w2, merged_w1, merged_w2) = trained, frozen
    for box, (wide, high) in zip((w1, w2, down, up), ((384, 1536), (1536, 384), (384, 64),
                                                     (64, 384))):
        assert all(abs(side / w1[2] * 384 - n) < 1 for side, n in zip(box[2:], (wide, high)))
    for one, other in ((down, merged_down), (up, merged_up), (w1, merged_w1), (w2, merged_w2)):
        assert alike(one[2:], other[2:])
    assert down[1] > w1[1] + w1[3] + 0.1        # apart, and below
    assert alike(merged_down[:2], (merged_w1[0], merged_w1[1] + merged_w1[3]))
    assert alike(merged_up[:2], (merged_w2[0] + merged_w2[2], merged_w2[1]))
    for left in (ax.lines, ax.shapes, ax.heads, ax.texts, ax.arrows, ax.many):
        left.clear()
