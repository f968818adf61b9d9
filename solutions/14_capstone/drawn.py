"""The capstone: the gains of the recorded tries, a ring a seed."""

from statistics import mean, variance

from picture_checks import Shown
from quote_checks import record

from peft_teach import data
from peft_teach.course.lessons.capstone import handed_in

NAMES = ("value in block 5, rank 1", "value in block 0, rank 1",    # in the record's order,
         "query, value in all blocks, rank 1", "value in all blocks, rank 2")    # three seeds each


def tries(shown: Shown) -> None:
    ax, = shown.panels
    ax.named(x="points more right than the head on the mean")
    places = (0, 1, 2.4, 3.4)
    ax.ticks("y", dict(zip(NAMES, places)))
    ax.at("head", 0)
    ax.text("head on the mean", "head", (0, None))
    alone = handed_in.right_alone(data.load("news").validation).tolist()
    rows = [[*map(int, row["answers"])] for row in record("capstone")["runs"]]
    for i, y in enumerate(places):
        gaps = [[100 * (r - a) for r, a in zip(row, alone)] for row in rows[3 * i:3 * i + 3]]
        gains, by_sentence = [*map(mean, gaps)], [*map(mean, zip(*gaps))]
        half = (4.303**2 * variance(gains) / 3
                + 1.96**2 * variance(by_sentence) / len(alone))**0.5
        middle = mean(gains)
        ax.line("yours", "-", (middle - half, middle + half), [y] * 2)
        ax.line("yours", "o", gains, [y] * 3, fill="none")
        ax.line("yours", "o", middle, y, fill="yours")
        ax.text(f"{middle:+.1f}".replace("-", "−"), "ink", (middle, y - 0.22))
        assert middle - half < 0    # none is better than the head
    assert shown.title == (
        f"None of 4 is better than the head on the mean; {NAMES[0]} against "
        f"{NAMES[1]}: better; {NAMES[2]} against {NAMES[3]}: cannot tell")
