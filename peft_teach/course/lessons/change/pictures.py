"""Pictures of lesson 02: random subspaces, and the update of full fine-tuning, cut to a few k."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import ipywidgets as ipw
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator

from ....families import BERT
from ....plots import COLOURS, SERIES, figure, in_percent, logarithmic, plain_ticks
from ....widgets import Explorer
from ... import records

# The matrices of a block of MiniLM, by their place.
MODULES = {place: BERT.places[place]
           for place in ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")}


def draw_hashing(h: Sequence[int], sign: Sequence[float], d: int) -> Figure:
    """Draw P for a few weights: one row a weight, one ± entry in each, in column h."""
    made, ax = figure(7, 2.6)
    ax.spines[:].set_visible(False)
    for i, (column, s) in enumerate(zip(h, sign)):
        ax.add_patch(Rectangle((i, column), 1, 1, edgecolor=COLOURS["paper"],
                               facecolor=COLOURS["full" if s > 0 else "lora"]))
        ax.text(i + 0.5, column + 0.5, "+" if s > 0 else "−", color=COLOURS["paper"], ha="center",
                va="center", fontsize=12)
    for row in range(d + 1):
        ax.axhline(row, color=COLOURS["quiet"], lw=0.6)
    ax.set(xlim=(0, len(h)), ylim=(d, 0), xlabel="weights of the model",
           ylabel="numbers of z", xticks=[i + 0.5 for i in range(len(h))],
           xticklabels=range(len(h)), yticks=[j + 0.5 for j in range(d)], yticklabels=range(d))
    ax.tick_params(length=0)
    made.set_label("P, lying on its side. Each weight takes one number of z: " + ", ".join(
        f"weight {i} {'+' if s > 0 else '−'}z[{int(c)}]" for i, (c, s) in enumerate(zip(h, sign))))
    return made


def draw_energy(sigmas: Mapping[str, Sequence[float]], share: float = 0.9) -> Figure:
    """Draw the energy that the k strongest directions hold, against k, one line a matrix.

    `sigmas` map a name to singular values; a mark stands where `share` of the energy is reached.
    """
    made, ax = figure(8, 3.4)
    told = []
    for (name, sigma), (colour, dash, marker) in zip(sigmas.items(), SERIES):
        energy = np.cumsum(np.square(np.asarray(sigma, dtype=float)))
        energy = energy / energy[-1]
        k = int((energy < share).sum()) + 1
        ax.plot(range(1, len(energy) + 1), energy, dash, lw=2, color=colour)
        ax.plot(k, energy[k - 1], marker, color=colour, ms=7)
        ax.plot([], [], dash + marker, color=colour, label=f"{name}: {k} directions")
        told.append(f"{name} {k}")
    ax.axhline(share, color=COLOURS["quiet"], ls=":", lw=1.5)
    ax.set(xlabel="directions kept, strongest first", ylabel="share of the energy", ylim=(0, 1.02))
    in_percent(ax.yaxis)
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    made.set_label(f"Directions that hold {share:.0%} of the energy: " + "; ".join(told))
    return made


# ── accuracy against the dimension of a random subspace ──────────────────────────────────────


@dataclass(frozen=True)
class Subspaces:
    """Accuracies by d and start, and the smallest d that reaches a goal."""

    points: Mapping[str, Mapping[int, Sequence[float]]]    # by start and d: one accuracy a seed
    full: float
    head: float
    majority: float
    goal: float
    reached: int | None
    told: str
    guess: int | None


def subspaces(record: Mapping, share: int, measure: str, starts: str,
              guess: int | None = None) -> Subspaces:
    """Read the recorded runs along random directions; `record` is `records.load("change")`.

    `share` is in percent: of full fine-tuning's accuracy, or (`measure` "gain") of what it gains
    over the head alone. `starts` is "pretrained", "random" or "both".
    """
    def level(method: str) -> float:
        return mean(row["accuracy"] for row in record["runs"] if row["group"] == "short"
                    and row["method"] == method and row.get("pretrained", True))

    points: dict[str, dict[int, list[float]]] = {"pretrained": {}, "random": {}}
    for row in sorted((r for r in record["runs"] if r["group"] in ("subspace", "scratch")),
                      key=lambda row: row["d"]):
        start = "random" if row["group"] == "scratch" else "pretrained"
        points[start].setdefault(row["d"], []).append(row["accuracy"])
    full, head = level("full"), level("head")
    goal = share / 100 * full if measure == "accuracy" else head + share / 100 * (full - head)
    reached = next((d for d, values in points["pretrained"].items() if mean(values) >= goal), None)
    what = {"accuracy": "full fine-tuning's accuracy",
            "gain": "its gain over the head alone"}[measure]
    told = (f"{share} % of {what}: d = {reached:,}" if reached
            else f"{share} % of {what}: none of these d")
    if head >= goal:
        reached, told = None, f"{share} % of {what}: the head alone, d = 0"
    if starts == "random":
        reached = None
    return Subspaces({s: p for s, p in points.items() if starts in (s, "both")}, full, head,
                     record["setting"]["majority"], goal, reached, told, guess)


def draw_subspaces(found: Subspaces) -> Figure:
    """Draw accuracy against the numbers that may move."""
    made, ax = figure(8.5, 4)
    for start, colour, dash, marker, label in (
            ("pretrained", COLOURS["subspace"], "-", "o", "from the pretrained weights"),
            ("random", COLOURS["random"], "--", "s", "from random weights")):
        points = found.points.get(start)
        if not points:
            continue
        ax.plot(list(points), [np.mean(v) for v in points.values()], dash, color=colour, lw=2,
                label=label)
        for d, values in points.items():
            ax.plot([d] * len(values), values, marker, color=colour, ms=6, alpha=0.75, mew=0)
    for level, colour, label in ((found.full, "full", "full fine-tuning, all 22.7 million"),
                                 (found.head, "head", "head only, d = 0"),
                                 (found.majority, "quiet", "always the same answer")):
        ax.axhline(level, color=COLOURS[colour], ls=":" if colour == "quiet" else "--", lw=1.5,
                   label=label)
    ax.axhline(found.goal, color=COLOURS["ink"], lw=1)
    below = abs(found.full - found.goal) < 0.02    # between the two lines is no room
    ax.text(0.01, found.goal, f"goal {found.goal:.1%}", va="top" if below else "bottom",
            fontsize=9, transform=ax.get_yaxis_transform())
    if found.reached:
        ax.plot(found.reached, np.mean(found.points["pretrained"][found.reached]), "o", ms=14,
                mfc="none", color=COLOURS["ink"], mew=1.8)
    if found.guess:
        ax.axvline(found.guess, color=COLOURS["yours"], ls=":", lw=2, label="your guess")
    logarithmic(ax, "x")
    ax.set(xlabel="numbers that may move, d", ylabel="test accuracy", title=found.told)
    plain_ticks(ax.xaxis, sorted({d for points in found.points.values() for d in points}))
    in_percent(ax.yaxis)
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    made.set_label(f"{found.told}. " + "; ".join(
        f"{start} start: " + ", ".join(f"d = {d} {np.mean(v):.1%}" for d, v in points.items())
        for start, points in found.points.items())
        + f"; full fine-tuning {found.full:.1%}, head only {found.head:.1%}.")
    return made


def explore_subspaces(record: Mapping, guess: int | None = None) -> Explorer:
    """Accuracy against d, the goal on a slider; `record` is `records.load("change")`."""
    controls = {
        "share": ipw.IntSlider(min=50, max=100, value=90, step=5, description="goal, %"),
        "measure": ipw.ToggleButtons(options=(("full fine-tuning's accuracy", "accuracy"),
                                              ("its gain over the head alone", "gain")),
                                     style={"button_width": "210px"}, description="of"),
        "starts": ipw.ToggleButtons(options=("pretrained", "random", "both"), value="both",
                                    description="start"),
    }
    return Explorer(
        controls, lambda **s: subspaces(record, guess=guess, **s), draw_subspaces,
        lambda found: "Recorded: test accuracy after 125 steps when the whole backbone may move "
                      "along d random directions only. A dot is a seed, the line joins the means, "
                      "the circle is the smallest recorded d that reaches the goal.")


# ── the update of full fine-tuning, cut ──────────────────────────────────────────────────────


@dataclass(frozen=True)
class Cut:
    """σ of one matrix's ΔW with its energy, and the accuracy when all are cut at k."""

    matrix: str
    sigma: Sequence[float]
    k: int
    energy: float                                   # what the k strongest hold, from 0 to 1
    ninety: int                                     # how many directions hold 90 %
    head: float                                     # the accuracy of the head alone
    seeds: Mapping[str, Mapping[int, Sequence[float]]]    # "kept", "dropped", by k: accuracies

    @property
    def means(self) -> dict[str, dict[int, float]]:
        """The accuracies by k, mean over the seeds."""
        return {kind: {k: mean(values) for k, values in found.items()}
                for kind, found in self.seeds.items()}

    @property
    def told(self) -> str:
        """What k does, in words."""
        return f"k = {self.k}: accuracy {self.means['kept'][self.k]:.1%}"


def cut(record: Mapping, head: float, place: str, block: int, k: int) -> Cut:
    """Read σ of one ΔW and the accuracies; `record` is `records.load("change")`."""
    sigma = record["spectra"]["update 0"][f"bert.encoder.layer.{block}.{MODULES[place]}"]
    energy = [s * s for s in sigma]
    whole, partial, ninety = sum(energy), 0.0, 0
    while partial < 0.9 * whole:
        partial += energy[ninety]
        ninety += 1
    tables = [t for run, t in record["truncated"].items() if run.startswith("update")]
    seeds = {kind: {int(n): [t[kind][n] for t in tables] for n in tables[0][kind]}
             for kind in ("kept", "dropped")}
    return Cut(f"{place}, block {block}", sigma, k, sum(energy[:k]) / whole, ninety, head, seeds)


def draw_cut(found: Cut) -> Figure:
    """Draw σ of one ΔW, and the accuracy at each k."""
    made, left, right = figure(9, 3.9, columns=2)
    sigma, k, means = np.asarray(found.sigma), found.k, found.means
    places = np.arange(1, len(sigma) + 1)
    left.plot(places, sigma, color=COLOURS["quiet"], lw=1.5)
    left.fill_between(places[:k], sigma[:k], color=COLOURS["full"], alpha=0.75, lw=0,
                      label=f"kept: {found.energy:.0%} of the energy")
    left.fill_between(places[max(k - 1, 0):], sigma[max(k - 1, 0):], color=COLOURS["quiet"],
                      alpha=0.4, lw=0, label="cut off")
    left.axvline(found.ninety, ymax=0.7, color=COLOURS["ink"], ls=":", lw=1.5,    # legend above
                 label=f"90 % of the energy: {found.ninety} directions")
    left.set(xlabel="direction, strongest first", ylabel="singular value of ΔW",
             title=found.matrix, ylim=(0, None), xlim=(-0.02 * len(sigma), len(sigma)))
    left.legend(frameon=False, fontsize=9)

    for kind, colour, dash, marker, label in (
            ("kept", COLOURS["full"], "-", "o", "only the k strongest kept"),
            ("dropped", COLOURS["random"], "--", "s", "the k strongest left out")):
        right.plot([_at(n) for n in means[kind]], list(means[kind].values()), dash, color=colour,
                   lw=1.8, label=label)
        for n, values in found.seeds[kind].items():
            right.plot([_at(n)] * len(values), values, marker, color=colour, ms=5, alpha=0.75,
                       mew=0)
    right.plot(_at(k), means["kept"][k], "o", ms=13, mfc="none", color=COLOURS["ink"], mew=1.8)
    right.axhline(found.head, color=COLOURS["head"], ls="--", lw=1.5, label="head only")
    right.set(xlabel="k, in all 36 matrices", ylabel="test accuracy", title=found.told,
              xticks=[_at(n) for n in means["kept"]], xticklabels=list(means["kept"]))
    right.yaxis.set_major_locator(MultipleLocator(0.05))
    in_percent(right.yaxis)
    right.legend(frameon=False, fontsize=9, loc="center right", bbox_to_anchor=(1, 0.62))
    made.set_label(f"Update of {found.matrix}: 90 % of its energy in {found.ninety} of "
                   f"{len(sigma)} directions; {k} directions hold {found.energy:.0%}. "
                   f"{found.told}. Kept: " + ", ".join(
                       f"k = {n} {v:.1%}" for n, v in means["kept"].items()) + ". Left out: "
                   + ", ".join(f"k = {n} {v:.1%}" for n, v in means["dropped"].items()) + ".")
    return made


def _at(k: int) -> float:
    """Return where k stands on an axis that is logarithmic and yet has a place for 0."""
    return float(np.log2(k)) if k else -1.0


def explore_cut(record: Mapping, head: float) -> Explorer:
    """σ of ΔW by matrix, and the accuracy when all are cut to k directions.

    `record` is `records.load("change")`, `head` the accuracy of the head alone.
    """
    kept = sorted(int(k) for k in record["truncated"]["update 0"]["kept"])
    controls = {
        "place": ipw.Dropdown(options=tuple(MODULES), description="place"),
        "block": ipw.ToggleButtons(options=range(6), value=2, description="block",
                                   style={"button_width": "48px"}),
        "k": ipw.SelectionSlider(options=kept, value=8, description="k"),
    }
    return Explorer(
        controls, lambda **s: cut(record, head, **s), draw_cut,
        lambda found: "Left: the singular values of one matrix's ΔW after full fine-tuning. "
                      "Right: recorded test accuracy with the ΔW of all 36 matrices cut to their "
                      "k strongest directions, or robbed of them; a dot is a seed, the line joins "
                      "the means. All else that was trained stays as trained.")


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "hashing": lambda: draw_hashing([0, 2, 2, 1], [1.0, -1.0, 1.0, -1.0], 3),
    "energy": lambda: draw_energy({"one": [3.0, 0.0], "four": [1.0, 1.0, 1.0, 1.0]}),
    "subspaces": lambda: explore_subspaces(records.load("change"), 256),
    "cut": lambda: explore_cut(records.load("change"), 0.68),
}
