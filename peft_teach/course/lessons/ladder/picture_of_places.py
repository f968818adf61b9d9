"""Places that jump from experiment to experiment, and all pairs judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import pandas
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ....ink import narrow
from ....plots import COLOURS, SERIES, claim, entitle, figure
from ....widgets import Explorer
from ...protocol import NAMES, errors, shared
from ...verdicts import BETTER, SAME, UNSURE, WORSE

SHOWN = 8                # experiments beside each other
# Colour, dash and marker of each method, by its name.
STYLES = dict(zip(NAMES.values(), (
    (COLOURS["full"], "-", "o"), (COLOURS["lora"], "-", "s"), (COLOURS["lora"], "--", "D"),
    (SERIES[2][0], "-", "^"), (COLOURS["lora"], "-.", "o"), (COLOURS["lora"], "-.", "v"),
    (COLOURS["lora"], ":", "^"), (COLOURS["random"], "--", "X"), (COLOURS["ink"], "-.", "D"),
    (COLOURS["ink"], "-", "P"), (SERIES[0][0], "--", "s"), (SERIES[1][0], ":", "o"),
    (COLOURS["head"], "-", "D"))))


# ── places ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Places:
    """Each method's place, from 1, in a row of experiments with so many runs a method."""

    runs: int
    first: int                               # the number of the first experiment that is shown
    places: Mapping[str, Sequence[int]]

    def at(self, place: int) -> list[str]:
        """Return the methods that have this place at least once."""
        return [name for name, places in self.places.items() if place in places]


def places(found: Mapping[str, torch.Tensor], runs: int, first: int) -> Places:
    """Return the places in experiments of so many seeds, drawn with replacement as sentences are.

    `found` are errors (seeds, sentences) at the same seeds. An experiment has one draw of seeds and
    sentences for all methods, so they are compared in pairs.
    """
    table = torch.stack([*found.values()])                            # (methods, seeds, sentences)
    _, seeds, sentences = table.shape
    columns = []
    for number in range(first, first + SHOWN):
        generator = torch.Generator().manual_seed(number)
        drawn = torch.randint(seeds, (runs,), generator=generator)
        asked = torch.randint(sentences, (sentences,), generator=generator)
        counts = torch.bincount(asked, minlength=sentences).float()   # (sentences,)
        error = table[:, drawn].mean(1) @ counts                      # (methods,)
        columns.append(error.argsort().argsort() + 1)
    return Places(runs, first, dict(zip(found, torch.stack(columns, 1).tolist())))


def draw_places(found: Places) -> Figure:
    """Draw the places, a line a method, with its name at both ends; loud is who is ever second.

    A phone has room for the names at one end.
    """
    made, ax = figure(9.2, 4.6)
    numbers, second = range(found.first, found.first + SHOWN), found.at(2)
    aside, room = (0.35, 0.3) if narrow() else (0.2, 2.2)
    for name, row in found.places.items():
        colour, dash, marker = STYLES[name] if name in second else (COLOURS["quiet"], "-", "")
        style = {"fontsize": 11, "va": "center", "weight": "bold" if marker else "normal"}
        ax.plot(numbers, row, dash, marker=marker, color=colour, ms=8, lw=2.5 if marker else 1)
        ax.text(numbers[0] - aside, row[0], name, ha="right", **style)
        if not narrow():
            ax.text(numbers[-1] + aside, row[-1], name, ha="left", **style)
    entitle(ax, "experiment")
    ax.set(xlim=(numbers[0] - room, numbers[-1] + room), ylim=(len(found.places) + 0.6, 0.4),
           xticks=numbers, yticks=[])
    ax.spines[["left", "bottom"]].set_visible(False)
    claim(made, f"Second at least once in {SHOWN} experiments: {len(second)} of "
          f"{len(found.places)} methods", f"{found.runs} runs a method, from experiment "
          f"{numbers[0]}. " + "; ".join(f"{name}: {', '.join(map(str, row))}"
                                        for name, row in found.places.items()) + ".")
    return made


def explore_places(record: Mapping) -> Explorer:
    """Who is first? Experiments with one to five runs a method."""
    found = errors(record)
    found = dict(zip((NAMES[method] for method in found), shared(found, *found)))
    runs = ipw.ToggleButtons(options=range(1, 6), description="runs",
                             style={"button_width": "48px"})
    first = ipw.IntSlider(value=1, min=1, max=1 + 25 * SHOWN, step=SHOWN, description="from")
    return Explorer(
        {"runs": runs, "first": first}, lambda runs, first: places(found, runs, first), draw_places,
        lambda seen: "Best on top. Bold: they came second. Each column is an experiment, drawn "
        f"with replacement from what we have: {seen.runs} run{'s' * (seen.runs > 1)} a method, and "
        "the test sentences.")


# ── all pairs ────────────────────────────────────────────────────────────────────────────────

# Of each verdict the sign, its colour and that of its square: told apart by their lightness, too.
SIGNS = {BETTER: ("+", COLOURS["paper"], SERIES[0][0]), SAME: ("=", COLOURS["ink"],
         COLOURS["quiet"]), UNSURE: ("?", COLOURS["ink"], COLOURS["band"]),
         WORSE: ("−", COLOURS["paper"], SERIES[1][0])}


def draw_verdicts(verdicts: pandas.DataFrame) -> Figure:
    """Draw the verdict on each pair once, of the frame that `verdicts` returns: best first."""
    order = [*dict.fromkeys(verdicts.index.get_level_values("one"))]
    once = {(one, other): told for (one, other), told in verdicts.verdict.items()
            if order.index(one) < order.index(other)}
    made, ax = figure(8.6, 1.9 + 0.36 * len(order))
    for (one, other), told in once.items():
        sign, ink, colour = SIGNS[told]
        x, y = order.index(other), order.index(one)
        ax.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, fc=colour, ec=COLOURS["quiet"],
                               lw=0.8))
        ax.text(x, y, sign, ha="center", va="center", fontsize=13, color=ink)
    last = len(order) - 1
    ax.set(xlim=(0.4, last + 0.6), ylim=(last - 0.4, -0.6))
    ax.set_yticks(range(last), order[:-1], fontsize=11)
    ax.set_xticks(range(1, last + 1), order[1:], fontsize=11, rotation=40, ha="right")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    counts = {told: [*once.values()].count(told) for told in SIGNS}
    apart, alike = len(once) - counts[SAME] - counts[UNSURE], counts[SAME]
    ax.legend(handles=[Patch(fc=colour, ec=COLOURS["quiet"], label=f"{sign}  {told}")
                       for told, (sign, _, colour) in SIGNS.items() if counts[told]],
              frameon=False, loc="lower left", fontsize=12)
    claim(made, f"In {apart} of {len(once)} pairs one is better, in {alike} both are the same; "
          f"{counts[UNSURE]} we cannot tell", ". ".join(
              f"{one} against " + ", ".join(f"{other}: {told}" for (first, other), told
                                            in once.items() if first == one)
              for one in order[:-1]) + ".")
    return made
