"""The class as a picture: the results of each exercise, and the most frequent mistakes."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...plots import COLOURS
from ..exercise import NOT_ATTEMPTED, PASSED, WRONG

_STATES = ((PASSED, COLOURS["yours"]), (WRONG, COLOURS["lora"]), (NOT_ATTEMPTED, COLOURS["quiet"]))
_MOST = 15    # mistakes that are drawn
_ENDS = {"longer than": "out of time", "not Python": "syntax", "own solution": "the reference"}


def outcomes(marks: Sequence[dict[str, Any]]) -> Figure:
    """Draw the marks of a class: a bar for each exercise, and for each of the usual mistakes."""
    exercises = list(dict.fromkeys(mark["exercise"] for mark in marks))
    counts = {id: Counter(m["state"] for m in marks if m["exercise"] == id) for id in exercises}
    mistakes = Counter(sorted(reason(mark) for mark in marks if mark["state"] == WRONG))
    shown = mistakes.most_common(_MOST)    # ties are in the order of names
    height = 1.2 + 0.3 * max(len(exercises), len(shown), 3)
    figure = Figure(figsize=(11, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    start = dict.fromkeys(exercises, 0)
    for state, colour in _STATES:
        widths = [counts[id][state] for id in exercises]
        left.barh(exercises, widths, left=list(start.values()), color=colour, label=state)
        start = {id: start[id] + width for id, width in zip(exercises, widths)}
    left.set(title="How each exercise went", xlabel="students")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12 - 0.3 / height), ncols=3,
                frameon=False)
    right.barh([text for text, _ in shown], [count for _, count in shown], color=COLOURS["lora"])
    right.set(title="By which mistake", xlabel="students")
    for ax in (left, right):
        ax.invert_yaxis()
        ax.spines[["top", "right"]].set_visible(False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.set_label(" ".join(
        [f"{id}: {counts[id][PASSED]} of {sum(counts[id].values())} passed." for id in exercises]
        + [f"Mistake {text}: {count}." for text, count in shown]))
    return figure


def reason(mark: dict[str, Any]) -> str:
    """In a few words, why an answer is wrong: the mistake's name, or how its process ended."""
    if mark["mistake"]:
        what = mark["mistake"].replace("_", " ")
    elif mark["traceback"]:
        what = "an error"
    else:
        ends = (end for words, end in _ENDS.items() if words in mark["message"])
        what = next(ends, "something else")
    return f"{mark['exercise']}: {what}" + (" (further case)" if mark["further"] else "")
