"""The class as a picture: each exercise, the most frequent mistakes, the distribution of marks."""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...plots import COLOURS
from ..checks.examination import NOT_ATTEMPTED, OF_THE_COURSE, PASSED, WRONG
from .handed import TO_MARK
from .run import TIME

ERROR, TIME_OUT, MISSING = "error", "out of time", "nothing handed in"
KINDS = {PASSED: COLOURS["yours"], WRONG: COLOURS["lora"], ERROR: COLOURS["subspace"],
         TIME_OUT: COLOURS["random"], TO_MARK: COLOURS["full"], NOT_ATTEMPTED: COLOURS["quiet"],
         MISSING: COLOURS["band"]}
_MOST = 15    # mistakes that are drawn
_UNREAD = "that is not Python"


def outcomes(marks: Sequence[dict[str, Any]], shares: Sequence[float]) -> Figure:
    """Draw a class: a bar for each exercise and each of the usual mistakes, and the totals.

    `shares` are the totals of the students, of what could be had, from 0 to 1.
    """
    exercises = list(dict.fromkeys(mark["exercise"] for mark in marks))
    counts = {id: Counter(kind(m) for m in marks if m["exercise"] == id) for id in exercises}
    mistakes = Counter(sorted(reason(mark) for mark in marks if mark["state"] == WRONG))
    shown = mistakes.most_common(_MOST)    # ties are in the order of names
    height = 1.4 + 0.3 * max(len(exercises), len(shown), 3)
    figure = Figure(figsize=(13, height), layout="constrained")
    left, right, totals = figure.subplots(1, 3, width_ratios=(3, 3, 2))
    start = dict.fromkeys(exercises, 0)
    for each, colour in KINDS.items():
        widths = [counts[id][each] for id in exercises]
        if any(widths):
            left.barh(exercises, widths, left=list(start.values()), color=colour, label=each)
        start = {id: start[id] + width for id, width in zip(exercises, widths)}
    left.set(title="How each exercise went", xlabel="students")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12 - 0.4 / height), ncols=3,
                frameon=False)
    right.barh([text for text, _ in shown], [count for _, count in shown], color=COLOURS["lora"])
    right.set(title="By which mistake", xlabel="students")
    percents = [100 * min(share, 1.0) for share in shares]
    totals.hist(percents, bins=range(0, 101, 10), color=COLOURS["full"], edgecolor="white")
    totals.set(title="How many points", xlabel="% of a lesson's points", ylabel="students")
    totals.yaxis.set_major_locator(MaxNLocator(integer=True))
    totals.spines[["top", "right"]].set_visible(False)
    for ax in (left, right):
        ax.invert_yaxis()
        ax.spines[["top", "right"]].set_visible(False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.set_label(" ".join(
        [f"{id}: {counts[id][PASSED]} of {sum(counts[id].values())} passed." for id in exercises]
        + [f"Mistake {text}: {count}." for text, count in shown]
        + [f"Half of the students have {statistics.median(percents):.0f} % of the points or more."
           for _ in percents[:1]]))
    return figure


def kind(mark: dict[str, Any]) -> str:
    """How an answer ended, one of `KINDS`: a wrong one is told from an error and a time-out."""
    if mark["state"] != WRONG:
        return mark["state"]
    if mark["reason"] == TIME:
        return TIME_OUT
    broken = mark["traceback"] or mark["reason"] or _UNREAD in mark["message"]
    return ERROR if broken and not mark["mistake"] else WRONG


def reason(mark: dict[str, Any]) -> str:
    """In a few words, why an answer is wrong: the mistake's name, or how its process ended."""
    if mark["mistake"]:
        what = mark["mistake"].replace("_", " ")
    elif mark["reason"] == TIME:
        what = TIME_OUT
    elif mark["traceback"] or mark["reason"]:
        what = "an error"
    elif mark["message"] == OF_THE_COURSE:
        what = "the reference"
    else:
        what = "syntax" if _UNREAD in mark["message"] else "something else"
    return f"{mark['exercise']}: {what}" + (" (further case)" if mark["further"] else "")
