"""Lesson 00: what one token reads, and a head; where the parameters are; what a step holds."""

import numpy as np
from picture_checks import Panel, Shown, hue

from peft_teach import outlines


def reading(shown: Shown) -> None:
    """Shares of 25, 50 and 25 %; what is read is (0, 1, 0): the others cancel, or have a zero."""
    ax, = shown.panels
    ax.named()
    assert shown.title == "In one head “film” reads “a” most: 50%"
    half = np.linspace(0, np.pi, 40)
    for j, (word, share, parts) in enumerate((
            ("[CLS]", 0.25, (1, 0, 0)), ("a", 0.5, (0, 1, -1)), ("film", 0.25, (-1, 0, 1)))):
        middle, far = (j + 2) / 2, (2 - j) / 2 or 0.25
        ax.line("attention", "-", middle + far * np.cos(half), 1.35 + far / 2 * np.sin(half))
        ax.text(word, "ink", (j, 1.2), near=0.01)
        ax.text(f"{share:.0%}", "ink", (j, 0.98), near=0.01)
        _entries(ax, j, parts)
    _entries(ax, 4, (0, 1, 0))
    ax.text("=", "ink", (3, 0.33), near=0.01)
    ax.text("read", "ink", (4, 1.2), near=0.01)


def _entries(ax: Panel, x: float, entries: tuple[float, ...]) -> None:
    """A thin line, and beside it how far each entry reaches; the largest reaches 0.9."""
    ax.line("quiet", "-", (x, x), (-0.2, 0.85))
    drawn = ax.many.pop(0)
    assert hue(drawn.get_facecolor()[0]) == hue("attention")
    tips = drawn.get_paths()[0].vertices[:, 0] - x
    assert np.isclose(sum({*np.round(tips, 6)}), 0.9 * sum({*entries, 0}))


def heads(shown: Shown) -> None:
    ax, = shown.panels
    words = ["[CLS]", "a", "quiet", "film", "[SEP]"]
    ax.named("", "… reads this one", "this token …")
    assert shown.title == "Block 0, head 1: “quiet” reads “quiet” most: 60%"
    ax.ticks("x", words)
    ax.ticks("y", words)
    ax.image(0.1 + 0.5 * np.eye(5), 0, 0.5, {0.0: "paper", 0.5: "attention"})
    ax.shape((0, 0, 0, 0), -0.5, 1.5, 5, 1, edge="ink")    # of the third from the end


def all_heads(shown: Shown) -> None:
    """Two blocks of two heads with an edge to the right of each table and below.

    Above each table two rows for its name. Block 0 reads itself, block 1 one on.
    """
    ax, = shown.panels
    ax.named(x="head", y="block")
    assert shown.title == "Of 4 heads, 0 read mostly [CLS], 0 the token before"
    ax.ticks("x", {"0": 2, "1": 8})
    ax.ticks("y", {"0": 4, "1": 12})
    sheet = np.full((16, 12), 0.5 / 3)
    for row, column in np.ndindex(2, 2):
        table = np.roll(np.eye(5), row, 1)
        part = sheet[8 * row:8 * row + 7, 6 * column:6 * column + 5]
        part[:2], part[2:] = 0, 0.1 + 0.5 * table if column else table
        if not (row and column):    # there, 2.4 of 5
            ax.text(("itself", "one on")[row], "ink", (6 * column + 2, 8 * row + 0.5), near=0.01)
    ax.image(sheet, 0, 0.5, {0.0: "paper", 0.5: "attention"})


def parameters(shown: Shown) -> None:
    """Areas one after the other: the embeddings, the pooler and the head, the blocks."""
    ax, = shown.panels
    sizes = outlines.counts("minilm")
    total = sum(sizes.values())
    ax.named()
    words = sizes["embeddings"] / total
    assert shown.title == f"minilm: {words:.1%} of {total:,} parameters are a table of words"
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
    """All bytes: 91 of weights, moments, and what comes and goes; the step is the fullest."""
    assert len(shown.panels) == 2
    most = []
    ends = ["in", "0", "loss", "0", "in", "step"]
    for ax, name, unit, g, fullest, where in zip(
            shown.panels, ("everything", "LoRA"), ("MB", ""), (91, 1), (5, 2),
            ("AdamW's step", "the forward pass")):
        bottom = np.zeros(6)
        for part, sizes in (("weights", [91] * 6), ("optimizer", [2 * g] * 6),
                            ("gradients", [0, 0, 0, g // 2, g, g]),
                            ("activations", [0, 25, 50, 25, 0, 0]), ("working", [3, 3, 3, 4, 4, g])):
            for x, (low, size) in enumerate(zip(bottom, sizes)):
                ax.shape(part, x - 0.4, 1e-6 * low, 0.8, 1e-6 * size)
            bottom += sizes
        ax.named(f"{name} trains: {bottom.max():.0f} bytes\nin {where}",
                 "blocks forward, the loss, blocks backward, the step", unit)
        ax.ticks("x", ends)
        ax.ring(fullest, 1e-6 * bottom[fullest])
        assert bottom.argmax() == fullest
        most.append(bottom.max())
    assert shown.title == (f"Each at its fullest, LoRA holds {most[1] / most[0]:.0%} of what full "
                           "training holds")
    shown.names |= {name: hue(part) for name, part in (
        ("weights", "weights"), ("moments", "optimizer"), ("gradients", "gradients"),
        ("activations", "activations"), ("working space", "working"))}
