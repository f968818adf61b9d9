"""Pictures of lesson 01: three ways to learn, what they reach at which rate, what they hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import numpy as np
from matplotlib.figure import Figure

from .... import plots
from ....plots import COLOURS, figure, in_percent, running_mean
from ....widgets import Choices, Explorer
from ... import records
from .sick import patients as patients  # the lesson has them from here

WAYS = {"scratch": "from scratch", "head": "head only", "full": "full fine-tuning"}
DASHES = {"scratch": ":", "head": "--", "full": "-"}
OWN = {"scratch": "s", "head": "D", "full": "*"}    # markers of the reader's runs


def draw_ways(backbone: int, head: int) -> Figure:
    """Draw what starts how, and what trains; `backbone` and `head` are counts of numbers."""
    made, ax = figure(8, 2.9)
    ways = (("scratch", "random", True), ("full", "pretrained", True),
            ("head", "pretrained", False))
    for i, (way, start, trained) in enumerate(ways):
        x, colour = 2.6 * i, COLOURS[way]
        for y, height, label, on in ((0, 1.5, f"backbone, {backbone:,}\nstarts {start}", trained),
                                     (1.62, 0.5, f"head, {head:,}, starts random", True)):
            plots.box(ax, x, y, 2.2, height, f"{label}\n{'trained' if on else 'frozen'}",
                      edgecolor=colour, lw=1.5, facecolor=colour if on else COLOURS["frozen"],
                      alpha=0.35 if on else 1, ls="-" if on else "--")
        ax.text(x + 1.1, 2.3, WAYS[way], ha="center", fontweight="bold")
    ax.set(xlim=(-0.1, 7.5), ylim=(-0.1, 2.6))
    ax.axis("off")
    made.set_label("; ".join(
        f"{WAYS[way]}: the backbone, {backbone:,} numbers, starts {start} and "
        f"{'is trained' if trained else 'stays frozen'}, the head, {head:,}, is trained"
        for way, start, trained in ways))
    return made


# ── by learning rate ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Learning:
    """Recorded runs of the ways, each at one learning rate, and the levels beside them."""

    lines: Mapping[str, Mapping]         # by label: method, losses, curve or None, accuracy
    levels: Mapping[str, float]          # accuracies without steps, by name
    guesses: Mapping[str, float]         # accuracies that the reader chose, by method
    own: Mapping[str, tuple[Sequence[float], float]]    # the reader's runs: losses, accuracy


def ways_recorded(*found: dict) -> list[dict]:
    """Return seed 0's run from scratch, of the head and of full fine-tuning at each rate.

    Each went once over the data. Where two records hold a run, the first one's is taken; `curve`
    is None for a run whose accuracy was not looked at along the way.
    """
    runs: dict[tuple, dict] = {}
    for row in (row for record in found for row in record["runs"]):
        if (row["method"] in WAYS and row.get("seed") == 0 and row.get("epochs", 1) == 1
                and "pool" not in row):
            runs.setdefault((row["method"], row["lr"]), row | {"curve": row.get("curve")})
    return list(runs.values())


def learning(runs: Sequence[Mapping], levels: Mapping[str, float], methods: Sequence[str],
             guesses: Mapping[str, float | None] | None = None,
             own: Mapping[str, tuple[Sequence[float], float]] | None = None,
             **rates: float) -> Learning:
    """Choose the run of each method at its learning rate.

    `rates` are by method, as in `scratch=1e-4`; `guesses` are accuracies that the reader chose,
    `own` the reader's runs by method, each its losses and its accuracy.
    """
    lines = {}
    for method in methods:
        run = next(r for r in runs if r["method"] == method and r["lr"] == rates[method])
        lines[f"{WAYS[method]}, rate {run['lr']:g}"] = {
            field: run[field] for field in ("method", "losses", "curve", "accuracy")}
    return Learning(lines, levels, {
        m: g for m, g in (guesses or {}).items() if g is not None and m in methods}, {
        m: run for m, run in (own or {}).items() if m in methods})


def draw_learning(shown: Learning) -> Figure:
    """Draw losses, and accuracy on held-out sentences.

    Where only the last accuracy was recorded, it is a dot at the last step. The reader's own runs
    are thick behind the recorded ones, and end in a marker of their own.
    """
    made, left, right = figure(9, 4.6, columns=2)
    for name, line in shown.lines.items():
        colour, losses = COLOURS[line["method"]], line["losses"]
        left.plot(range(1, len(losses) + 1), running_mean(losses), ls=DASHES[line["method"]], lw=2,
                  color=colour, label=name)
        if line["curve"]:
            right.plot(*zip(*line["curve"]), ls=DASHES[line["method"]], lw=2, color=colour)
        right.plot(len(losses), line["accuracy"], "o", ms=8, color=colour, zorder=3)
    for method, (losses, accuracy) in shown.own.items():
        left.plot(range(1, len(losses) + 1), running_mean(losses), lw=6, alpha=0.4, zorder=1,
                  ls=DASHES[method], color=COLOURS["yours"], label=f"yours, {WAYS[method]}")
        right.plot(len(losses), accuracy, OWN[method], ms=14 if method == "full" else 9, zorder=4,
                   color=COLOURS["yours"], label=f"yours, {WAYS[method]}")
    left.axhline(np.log(2), color=COLOURS["quiet"], ls=":", label="log 2: knowing nothing")
    left.set(xlabel="training step", ylabel="loss (mean of the last 20)")
    left.set_ylim(top=min(left.get_ylim()[1], 1.2))
    plots.levels(right.axhline, {name: (level, COLOURS["quiet"])
                                 for name, level in shown.levels.items()}, (":", (0, (6, 2)), "-."))
    plots.levels(right.axhline, {f"your guess, {WAYS[method]}": (guess, COLOURS["yours"])
                                 for method, guess in shown.guesses.items()}, ("--", ":", "-."))
    right.set(xlabel="training step", ylabel="accuracy", ylim=(0.45, 0.9))
    in_percent(right.yaxis)
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1),
                  handlelength=4)      # or a thick dashed line would look like a solid one
    made.set_label("; ".join(
        f"{name}: loss {np.mean(line['losses'][-20:]):.2f} at the end, test accuracy "
        f"{line['accuracy']:.1%}" for name, line in shown.lines.items())
        + "".join(f"; {name}: {level:.1%}" for name, level in shown.levels.items())
        + "".join(f"; yours, {WAYS[method]}, {len(losses)} steps: {accuracy:.1%}"
                  for method, (losses, accuracy) in shown.own.items()))
    return made


def explore_learning(runs: Sequence[Mapping], levels: Mapping[str, float],
                     best: Mapping[str, float],
                     guesses: Mapping[str, float | None] | None = None,
                     own: Mapping[str, tuple[Sequence[float], float]] | None = None) -> Explorer:
    """Loss and accuracy of the three ways, each at any recorded learning rate.

    `runs` are what `ways_recorded` returns; `best` gives the rate that each method starts with;
    the rest is as for `learning`.
    """
    controls = {"methods": Choices([(WAYS[m], m) for m in best], tuple(best), "shown")}
    for method, rate in best.items():
        options = sorted(r["lr"] for r in runs if r["method"] == method)
        controls[method] = ipw.Dropdown(
            options=[(f"rate {lr:g}", lr) for lr in options], value=rate, description=WAYS[method],
            style={"description_width": "8em"})

    def caption(shown: Learning) -> str:
        methods = [line["method"] for line in shown.lines.values()]
        hidden = ", ".join(WAYS[m] for m in best if m not in methods)
        told = f" Not shown, whatever the rate: {hidden}." if hidden else ""
        return ("Recorded, one seed; yours in green. Left: the training loss. Right: accuracy on "
                "1,000 held-out sentences along the way, where it was looked at; the markers at "
                f"the end are on test sentences.{told}")

    return Explorer(controls, lambda **s: learning(runs, levels, guesses=guesses, own=own, **s),
                    draw_learning, caption)


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "ways": lambda: draw_ways(22_713_216, 770),
    "learning": lambda: explore_learning(
        ways_recorded(records.load("full"), records.load("lora")),
        {"always the same answer": 0.495, "counting words": 0.76},
        {"scratch": 1e-4, "head": 1e-1, "full": 1e-4}, {"scratch": 0.7, "head": None},
        {"full": ([0.7, 0.6, 0.5], 0.8)}),
}
