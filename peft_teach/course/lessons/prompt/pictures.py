"""Pictures of lesson 03: a soft prompt on its way from words, and back to words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import ipywidgets as ipw
from matplotlib.figure import Figure

from .... import plots
from ....plots import COLOURS, SERIES, dots, figure, in_percent
from ....widgets import Explorer
from ... import reading as reading  # the lesson has it from here
from ... import records
from .front import InFront as InFront

NAMES = {"text": "start: words", "random": "start: random"}
STYLES = {"text": (COLOURS["full"], "-", "o"), "labels": SERIES[2],
          "random": (COLOURS["lora"], "--", "s")}
_FROM = {"text": "words", "labels": "labels", "random": "random numbers"}


@dataclass(frozen=True)
class Way:
    """A soft prompt at one stop of its way."""

    start: str
    stops: Sequence[str]                               # their labels
    at: int                                            # which of them
    curves: Mapping[str, Sequence[tuple[int, float]]]  # by start: stop and accuracy, where tested
    words: Sequence[str]                               # nearest to each vector
    changed: int                                       # of these, not what they were at the start
    distance: Sequence[float]                          # of each vector from its nearest word
    apart: float                                       # from a word to the nearest other, median
    pair: float                                        # between two random words, median
    tested: int

    @property
    def accuracy(self) -> float | None:
        """The test accuracy at this stop, where it was measured."""
        return dict(self.curves[self.start]).get(self.at)

    @property
    def told(self) -> str:
        """What this stop shows, in words."""
        return (f"{self.stops[self.at]}: "
                + ("not tested" if self.accuracy is None else f"{self.accuracy:.1%}"))


def stops(record: Mapping) -> dict[str, float]:
    """Return t at the stops of all recorded ways, by label: the steps, then the way back."""
    shares = {row["t"] for rows in record["snapped"].values() for row in rows} | {1.0}
    return {**{f"step {look['step']}": 0.0 for look in record["way"]["text"]["looks"]},
            **{f"t = {t:g}": t for t in sorted(shares) if t}}


def way(record: Mapping, start: str, at: str) -> Way:
    """Read one stop of the way; `record` is `records.load("prompt")`, `at` a stop's label."""
    every, told = stops(record), record["way"][start]
    labels, looks = list(every), told["looks"]
    index = labels.index(at)
    look, first = looks[min(index, len(looks) - 1)], looks[0]["nearest"]
    return Way(start, labels, index, {name: _curve(record, name) for name in NAMES},
               [told["words"][str(i)] for i in look["nearest"]],
               sum(a != b for a, b in zip(look["nearest"], first)),
               [(1 - every[at]) * d for d in look["distance"]], told["yardstick"]["nearest"],
               told["yardstick"]["random pair"], record["setting"]["tests"])


def _curve(record: Mapping, start: str) -> list[tuple[int, float]]:
    """Return the stops that were tested. Words snapped to are words: as an instruction's."""
    tested = {row["t"]: row["accuracy"] for row in record["snapped"][start]}
    looks, found = record["way"][start]["looks"], {}
    if start == "text":
        written, = records.select(record, group="written", setting={
            "model": "smollm2", "text": record["setting"]["start"]})
        found["step 0"] = written["accuracy"]
        if looks[-1]["nearest"] == looks[0]["nearest"]:
            tested[1.0] = written["accuracy"]
    found[f"step {looks[-1]['step']}"] = tested[0.0]
    found |= {f"t = {t:g}": value for t, value in tested.items() if t}
    return [(i, found[stop]) for i, stop in enumerate(stops(record)) if stop in found]


def draw_way(found: Way) -> Figure:
    """Draw the accuracy along the way, and how far the vectors are from words at one stop.

    A line joins neighbouring stops that were both tested.
    """
    made, left, right = figure(9.3, 4.2, columns=2)
    for name, curve in found.curves.items():
        colour, dash, marker = STYLES[name]
        tested = [dict(curve).get(stop, nan) for stop in range(len(found.stops))]
        left.plot(tested, dash, marker=marker, color=colour, ms=6, lw=1.8, label=NAMES[name])
    if found.accuracy is not None:
        plots.ring(left, found.at, found.accuracy)
    left.axvline(found.at, color=COLOURS["ink"], lw=1, ls=":")
    left.axhline(0.5, color=COLOURS["quiet"], lw=1)
    left.set(ylabel=f"accuracy on {found.tested} reviews", ylim=(0.4, 1),
             title=found.told, xticks=range(len(found.stops)), xticklabels=found.stops)
    left.tick_params(axis="x", rotation=60)
    in_percent(left.yaxis)
    left.legend(frameon=False, fontsize=9, loc="lower left")
    _draw_distances(right, found)
    changed = f"{found.changed} of {len(found.words)} nearest words changed"
    right.set_title(changed)
    listed = ", ".join(f"{_shown(word)} {d:.1f}" for word, d in zip(found.words, found.distance))
    made.set_label(f"{NAMES[found.start]}, {found.told}, {changed}. Nearest word and "
                   f"distance: {listed}. From a word to the nearest other: {found.apart:.1f}.")
    return made


def _draw_distances(ax, found: Way) -> None:
    places = range(len(found.words))
    ax.barh(places, found.distance, color=STYLES[found.start][0], alpha=0.8)
    plots.levels(ax.axvline, {"a word to the nearest other": (found.apart, COLOURS["ink"]),
                              "two random words": (found.pair, COLOURS["ink"])}, ("--", ":"))
    ax.set(yticks=places, yticklabels=[_shown(word) for word in found.words],
           xlabel="distance to the nearest word", ylim=(len(found.words) + 1.4, -0.6),
           xlim=(0, 1.06 * max(found.pair, *found.distance)))
    ax.legend(edgecolor="none", framealpha=1, fontsize=9, loc="lower right")


def _shown(word: str) -> str:
    """A token as it can stand at an axis: its blanks are seen. Some are bytes of a character."""
    if "\ufffd" in word:
        return "part of a character"
    text = repr(word)[1:-1].replace("$", r"\$")
    return f"“{text if text.isprintable() and text.isascii() else ascii(word)[1:-1]}”"


def explore_way(record: Mapping) -> Explorer:
    """A soft prompt from its start to its end, and from there to the nearest words.

    `record` is `records.load("prompt")`.
    """
    trained = f"step {record['way']['text']['looks'][-1]['step']}"
    controls = {
        "start": ipw.ToggleButtons(options=[(name.removeprefix("start: "), start)
                                            for start, name in NAMES.items()],
                                   description="start"),
        "at": ipw.SelectionSlider(options=list(stops(record)), value=trained,
                                  description="the way"),
    }
    return Explorer(
        controls, lambda **s: way(record, **s), draw_way,
        lambda found: f"Recorded, seed 0. First the prompt is trained, {trained}; then each vector "
                      "is moved to its nearest word, by a share t of the way. Left: accuracy, "
                      "where it was tested; between the steps it was not. Right: how far each "
                      "vector is from the word nearest to it.")


# ── recorded ─────────────────────────────────────────────────────────────────────────────────


def draw_recorded(record: Mapping) -> Figure:
    """Draw accuracies after training: first by start, then by length; a mark a seed, a bar a mean.
    """
    start, rows, styles = record["setting"]["start"], {}, {}
    for group in ("soft", "lengths"):
        runs = record.runs[record.runs.group == group]
        for (length, begun), part in runs.groupby(["length", "start"], sort=False):
            name = f"{length} vector{'s' * int(length > 1)} from {_FROM[begun]}"
            rows[name], styles[name] = list(part.accuracy), STYLES[begun][::2]    # colour, marker
    said = record.runs.groupby(["group", "text"]).accuracy.first()
    return dots(rows, {"the words": (said["written", start], COLOURS["ink"]),
                       "no instruction": (said["written", ""], COLOURS["quiet"]),
                       "the words, another bound": (said["threshold", start], COLOURS["ink"])},
                styles)


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {"way": lambda: explore_way(records.load("prompt")),
            "recorded": lambda: draw_recorded(records.load("prompt"))}
