"""Pictures of lesson 02: random subspaces, an update cut to a few k, the three kinds of small."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import ipywidgets as ipw
import numpy as np
import pandas
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from .... import data, plots, spectra
from ....families import BERT
from ....plots import COLOURS, HALO, SERIES, figure, in_percent, logarithmic, plain_ticks
from ....subspace import Subspace
from ....widgets import Explorer, Progress, Run
from ... import records, work
from ...guess import Guess
from ...own_run import own_run
from .tiny import Scale as Scale  # the lesson shows the two, and has them from here
from .tiny import Tiny as Tiny

OWN = "change.own"                # under this name the reader's own points are kept
WIDTH, WIDE, BLOCKS = 384, 1536, 6
IN_HEAD = 770                     # parameters of the head, which every method trains

# The matrices of a block of MiniLM, by their place.
MODULES = {place: BERT.places[place]
           for place in ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")}


def draw_hashing(h: Sequence[int], sign: Sequence[float], d: int) -> Figure:
    """Draw P for a few weights: one row a weight, one ± entry in each, in column h."""
    made, ax = figure(7, 2.6)
    ax.spines[:].set_visible(False)
    for i, (column, s) in enumerate(zip(h, sign)):
        plots.box(ax, i, column, 1, 1, "+" if s > 0 else "−", size=12, ink=COLOURS["paper"],
                  edgecolor=COLOURS["paper"], facecolor=COLOURS["full" if s > 0 else "lora"])
    for row in range(d + 1):
        ax.axhline(row, color=COLOURS["quiet"], lw=0.6)
    ax.set(xlim=(0, len(h)), ylim=(d, 0), xlabel="weights of the model",
           ylabel="entries of z", xticks=[i + 0.5 for i in range(len(h))],
           xticklabels=range(len(h)), yticks=[j + 0.5 for j in range(d)], yticklabels=range(d))
    ax.tick_params(length=0)
    made.set_label("P, lying on its side. Each weight takes one entry of z: " + ", ".join(
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
        energy, k = energy / energy[-1], spectra.energy_rank(torch.tensor(sigma), share)
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

STEP, HEAD = 10.0, 1e-1     # the recorded runs' rates: length of a step of z, rate of the head
FEWER, MORE = 2000, 4000    # sentences that they saw, and that the other runs did
DIMENSIONS = (512, 2048, 8192, 65_536, 262_144, 1_048_576)    # offered beside the recorded ones


@dataclass(frozen=True)
class Subspaces:
    """Accuracies by d, and the smallest recorded d that reaches a goal."""

    points: Mapping[int, Sequence[float]]        # by d: one accuracy a seed
    own: Sequence[tuple[int, float]]             # runs of the reader's own: d, accuracy
    levels: Mapping[str, tuple[float, str]]      # by name: accuracy, colour
    goal: float
    reached: int | None
    told: str
    guess: int | None
    yours: int | None                            # the d that the button trains


def ends(record: Mapping) -> tuple[float, float]:
    """Return the ends of the ruler for runs on 2,000 sentences: the head alone, and full.

    `records.ends` has those of 4,000; `record` is `records.load("change")`.
    """
    return converged(record)["accuracy"], _level(record, "full")


def converged(record: Mapping) -> dict:
    """Return the head that was trained to its end, with the penalty that validation chooses."""
    return max(records.select(record, group="converged"), key=lambda row: row["validation"])


def _level(record: Mapping, method: str) -> float:
    rows = records.select(record, group="short", method=method, pretrained=None)
    return records.accuracy(rows)[0]


def subspaces(record: records.Record, share: int, measure: str, guess: int | None = None,
              yours: int | None = None) -> Subspaces:
    """Read the recorded runs along random directions; `record` is `records.load("change")`.

    `share` is in percent: of full fine-tuning's accuracy, or (`measure` "gain") of what it gains
    over the head alone.
    """
    runs = record.runs.query("group == 'subspace'")
    points = {d: list(seeds) for d, seeds in runs.groupby("d").accuracy}
    head, full = ends(record)
    goal = share / 100 * full if measure == "accuracy" else head + share / 100 * (full - head)
    reached = next((d for d, values in points.items() if mean(values) >= goal), None)
    what = {"accuracy": "full fine-tuning's accuracy",
            "gain": "its gain over the head alone"}[measure]
    told = f"{share} % of {what}: " + (f"d = {reached:,}" if reached else "none of these d")
    if head >= goal:
        reached, told = None, f"{share} % of {what}: the head alone, d = 0"
    own = [(p["d"], p["accuracy"]) for p in work.points(OWN) if "d" in p]
    levels = {"full fine-tuning, all 22.7 million": (full, COLOURS["full"]),
              "head only, to its end": (head, COLOURS["head"]),
              "head only, as long as z": (_level(record, "head"), COLOURS["head"])}
    return Subspaces(points, own, levels, goal, reached, told, guess, yours)


def draw_subspaces(found: Subspaces) -> Figure:
    """Draw accuracy against d."""
    made, ax = figure(8.5, 4)
    plots.seeds(ax, found.points, COLOURS["subspace"], lw=2, label="d random directions")
    plots.levels(ax.axhline, found.levels, ("--", "--", ":"))
    full, head, short_head = (accuracy for accuracy, _ in found.levels.values())
    ax.axhline(found.goal, color=COLOURS["ink"], lw=1)
    below = abs(full - found.goal) < 0.02    # between the two lines is no room
    ax.text(0.01, found.goal, f"goal {found.goal:.1%}", va="top" if below else "bottom",
            fontsize=9, transform=ax.get_yaxis_transform())
    if found.reached:
        plots.ring(ax, found.reached, np.mean(found.points[found.reached]))
    if found.guess:
        ax.axvline(found.guess, color=COLOURS["yours"], ls=":", lw=2, label="your guess")
    if found.yours:
        ax.axvline(found.yours, color=COLOURS["yours"], lw=1, label="your d, for the button")
    if found.own:
        ax.plot(*zip(*found.own), "D", color=COLOURS["yours"], ms=9, label="your own runs", ls="")
    logarithmic(ax, "x")
    ax.set(xlabel="parameters of the subspace, d", ylabel="test accuracy", title=found.told)
    plain_ticks(ax.xaxis, sorted({*found.points, *(d for d, _ in found.own)}))
    in_percent(ax.yaxis)
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    made.set_label(f"{found.told}. " + ", ".join(
        f"d = {d} {np.mean(v):.1%}" for d, v in found.points.items())
        + f"; full fine-tuning {full:.1%}, head only {head:.1%} to its end and "
          f"{short_head:.1%} after 125 steps"
        + "".join(f"; your own d = {d} {a:.1%}" for d, a in found.own) + ".")
    return made


def explore_subspaces(record: records.Record, guess: Guess, movies: data.Dataset | None = None,
                      train_examples: int = FEWER) -> Explorer:
    """Accuracy against d, the goal on a slider; and runs of the reader's own.

    `record` is `records.load("change")`, `guess` the reader's commitment, a d; `movies` are what
    a run trains and tests on.
    """
    chosen = ipw.Dropdown(options=[(f"{d:,}", d) for d in DIMENSIONS], value=2048,
                          description="your d")

    def train() -> Generator[Progress, None, tuple[int, float]]:
        """Train the d that is chosen now as the recorded runs did; the choice may move meanwhile.
        """
        d = chosen.value
        found = yield from own_run(lambda model: Subspace(model, d), None,
                                   movies or data.load("movies"), train_examples=train_examples,
                                   groups=lambda model: model.groups(STEP, HEAD),
                                   name=f"d = {d:,}")
        return d, found.accuracy

    def add(ended: tuple[int, float]) -> None:
        d, accuracy = ended
        keep_own(f"d = {d:,}", d + IN_HEAD, accuracy, d=d)
        run.line.value = f"d = {d:,}: {accuracy:.1%} of the test sentences"
        explorer.refresh()

    run = Run("Train this d to its end", train, add)
    controls = {
        "share": ipw.IntSlider(min=0, max=100, value=50, step=5, description="goal, %"),
        "measure": ipw.ToggleButtons(
            options=(("its gain over the head alone", "gain"),
                     ("full fine-tuning's accuracy", "accuracy")),
            style={"button_width": "210px"}, description="of"),
        "yours": chosen,
    }
    explorer = Explorer(
        controls, lambda **s: subspaces(record, **s, guess=guess.value), draw_subspaces,
        lambda found: "Recorded: accuracy on the course's test sentences after 125 steps, on "
                      "2,000 training sentences, when the whole backbone may move along d "
                      "random directions only. A dot is a seed, the line joins the means, the "
                      "circle is the smallest recorded d that reaches the goal.",
        below=[run.box])
    guess.buttons.observe(lambda change: explorer.refresh(), names="value")
    return explorer


# ── the update of full fine-tuning, cut ──────────────────────────────────────────────────────


@dataclass(frozen=True)
class Cut:
    """σ of one matrix's ΔW, and the accuracy when all are cut at k."""

    matrix: str
    sigma: Sequence[float]
    k: int
    head: float                                           # the accuracy of the head alone
    seeds: Mapping[str, Mapping[int, Sequence[float]]]    # "kept", "dropped", by k: accuracies


def cut(record: Mapping, head: float, place: str, block: int, k: int) -> Cut:
    """Read σ of one ΔW and the accuracies; `record` is `records.load("change")`."""
    sigma = record["spectra"]["update 0"][f"bert.encoder.layer.{block}.{MODULES[place]}"]
    tables = [t for run, t in record["truncated"].items() if run.startswith("update")]
    seeds = {kind: {int(n): [t[kind][n] for t in tables] for n in tables[0][kind]}
             for kind in ("kept", "dropped")}
    return Cut(f"{place}, block {block}", sigma, k, head, seeds)


def draw_cut(found: Cut) -> Figure:
    """Draw σ of one ΔW, with what its k strongest directions hold, and the accuracy at each k."""
    made, left, right = figure(9, 3.9, columns=2)
    sigma, k = np.asarray(found.sigma), found.k
    energy = np.square(sigma[:k]).sum() / np.square(sigma).sum()
    ninety = spectra.energy_rank(torch.tensor(found.sigma))    # so many directions hold 90 %
    means = {kind: {n: mean(values) for n, values in seeds.items()}
             for kind, seeds in found.seeds.items()}
    told = f"k = {k}: {means['kept'][k]:.1%}, {records.gain(means['kept'][k]):.0%} of the gain"
    places = np.arange(1, len(sigma) + 1)
    left.plot(places, sigma, color=COLOURS["quiet"], lw=1.5)
    left.fill_between(places[:k], sigma[:k], color=COLOURS["full"], alpha=0.75, lw=0,
                      label=f"kept: {energy:.0%} of the energy")
    left.fill_between(places[max(k - 1, 0):], sigma[max(k - 1, 0):], color=COLOURS["quiet"],
                      alpha=0.4, lw=0, label="cut off")
    left.axvline(ninety, ymax=0.7, color=COLOURS["ink"], ls=":", lw=1.5,    # legend above
                 label=f"90 % of the energy: {ninety} directions")
    left.set(xlabel="direction, strongest first", ylabel="singular value of ΔW",
             title=found.matrix, ylim=(0, None), xlim=(-0.02 * len(sigma), len(sigma)))
    left.legend(frameon=False, fontsize=9)

    for kind, colour, style, label in (
            ("kept", "full", "-o", "only the k strongest kept"),
            ("dropped", "random", "--s", "the k strongest left out")):
        plots.seeds(right, {_at(n): values for n, values in found.seeds[kind].items()},
                    COLOURS[colour], style, lw=1.8, label=label)
    plots.ring(right, _at(k), means["kept"][k])
    right.axhline(found.head, color=COLOURS["head"], ls="--", lw=1.5, label="head only, to its end")
    right.set(xlabel="k, in all 36 matrices", ylabel="test accuracy", title=told,
              xticks=[_at(n) for n in means["kept"]], xticklabels=list(means["kept"]))
    right.yaxis.set_major_locator(MultipleLocator(0.05))
    in_percent(right.yaxis)
    right.legend(edgecolor="none", framealpha=1, fontsize=9, loc="center right",
                 bbox_to_anchor=(1, 0.72))
    made.set_label(f"Update of {found.matrix}: 90 % of its energy in {ninety} of {len(sigma)} "
                   f"directions; {k} directions hold {energy:.0%}. {told}. Kept: " + ", ".join(
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
                      "k strongest directions, or without them; a dot is a seed, the line joins "
                      "the means. All else that was trained stays as trained.")


# ── the three kinds of small ─────────────────────────────────────────────────────────────────


def three_kinds(record: records.Record, long: records.Record, cut: float) -> pandas.DataFrame:
    """Return the runs of this lesson's ways, and those of LoRA of rank 1.

    `record` is `records.load("change")`, `long` `records.load("lora")`; `cut` the accuracy of full
    fine-tuning on 2,000 sentences with its matrices cut to eight directions, all else undone. A row
    has the parameters that write the change down, the head's among them; the rank of the change of
    a 384 × 384 matrix; how many sentences it was trained on, and its share of what these allow.
    """
    eight = 4 * BLOCKS * 8 * 2 * WIDTH + 2 * BLOCKS * 8 * (WIDTH + WIDE)
    full = long.runs.query("group == 'methods' and method == 'full'")
    fit = record.runs.query("group == 'bitfit'")
    one = long.runs.query("group == 'ranks' and rank == 1")
    short = record.runs.query("group == 'short' and method == 'full' and pretrained")
    whole = full.parameters.iloc[0]
    ways = [("head only, to its end", 0, 0, MORE, [records.ends()[0]]),
            ("BitFit", fit.parameters.iloc[0], 0, MORE, fit.accuracy),
            ("LoRA, rank 1 (lesson 07)", one.parameters.iloc[0], 1, MORE, one.accuracy),
            ("full fine-tuning", whole, WIDTH, MORE, full.accuracy),
            ("head only, to its end", 0, 0, FEWER, [ends(record)[0]]),
            ("k = 8 of each ΔW", eight, 8, FEWER, [cut]),
            ("full fine-tuning", whole, WIDTH, FEWER, short.accuracy)]
    ways += [(f"subspace, d = {d:,}", d, WIDTH, FEWER, runs.accuracy)
             for d, runs in record.runs.query("group == 'subspace' and d > 256").groupby("d")]
    columns = ["way", "parameters", "rank", "sentences", "accuracy"]
    found = pandas.DataFrame(ways, columns=columns).explode("accuracy").infer_objects()
    rulers = {MORE: records.ends(), FEWER: ends(record)}
    return found.assign(parameters=found.parameters + IN_HEAD, gain=[
        records.gain(a, rulers[n]) for a, n in zip(found.accuracy, found.sentences)])


def keep_own(name: str, parameters: int, accuracy: float, **more) -> None:
    """Keep a run of the reader's own, once; `parameters` with the head's, `more` is a d."""
    point = {"name": name, "parameters": parameters, "accuracy": round(accuracy, 4), **more}
    if point not in work.points(OWN):
        work.add_point(OWN, point)


def own_points(record: Mapping) -> list[tuple[str, int, float]]:
    """Return the reader's own runs: name, parameters, share of the gain."""
    return [(p["name"], p["parameters"],
             records.gain(p["accuracy"], ends(record) if "d" in p else None))
            for p in work.points(OWN)]


def draw_kinds(ways: pandas.DataFrame, own: Sequence[tuple[str, int, float]] = ()) -> Figure:
    """Draw the share of the gain against the parameters, a side for each ruler; a colour says
    which rank. Of the reader's own runs, those with a d stand on the side of the subspaces.
    """
    made, *sides = figure(9.2, 4.2, columns=2)
    colours = {0: COLOURS["head"], 1: COLOURS["lora"], 8: COLOURS["random"], WIDTH: COLOURS["full"]}
    told = []
    for (sentences, n, rank, way), runs in ways.groupby(["sentences", "parameters", "rank", "way"]):
        ax, gain = sides[int(sentences == FEWER)], runs.gain.mean()
        ax.plot([n, n], [runs.gain.min(), runs.gain.max()], color=colours[rank], lw=2)
        ax.plot(n, gain, "o", ms=9, color=colours[rank])
        _write(ax, way, n, gain, COLOURS["ink"], below=way.endswith(("1,024", "4,096")))
        told.append(f"{way}, {sentences:,} sentences: {n:,} parameters, rank {rank}, {gain:.0%}")
    for name, n, gain in own:
        ax = sides[name.startswith("d = ")]
        ax.plot(n, gain, "D", ms=9, color=COLOURS["yours"])
        _write(ax, f"your {name}", n, gain, COLOURS["yours"], below=True)
        told.append(f"your {name}: {n:,} parameters, {gain:.0%}")
    for ax, sentences in zip(sides, (MORE, FEWER)):
        logarithmic(ax, "x")
        plain_ticks(ax.xaxis, (1_000, 100_000, 10_000_000))
        ax.set(xlabel="parameters of the change, with the head's 770", ylabel="share of the gain",
               xlim=(400, 1e8), ylim=(-0.08, 1.15), title=f"trained on {sentences:,} sentences")
        in_percent(ax.yaxis)
    for rank, colour in colours.items():
        sides[1].plot([], [], "o", ms=9, color=colour, label=f"rank {rank}")
    sides[1].legend(frameon=False, fontsize=9, loc="lower right", title="of a 384 × 384 change")
    made.set_label("Share of the gain. " + "; ".join(told) + ".")
    return made


def _write(ax, name: str, x: float, y: float, colour: str, below: bool = False) -> None:
    """Write a name beside a point, on the side where there is room."""
    left = x > 1e5
    ax.annotate(name, (x, y), (-9 if left else 9, -5 if below else 5), textcoords="offset points",
                fontsize=9, ha="right" if left else "left", va="top" if below else "bottom",
                color=colour, path_effects=HALO)


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "hashing": lambda: draw_hashing([0, 2, 2, 1], [1.0, -1.0, 1.0, -1.0], 3),
    "energy": lambda: draw_energy({"one": [3.0, 0.0], "four": [1.0, 1.0, 1.0, 1.0]}),
    "subspaces": lambda: explore_subspaces(records.load("change"), Guess("d?", (16, 256))),
    "cut": lambda: explore_cut(records.load("change"), 0.68),
    "kinds": lambda: draw_kinds(three_kinds(records.load("change"), records.load("lora"), 0.8),
                                [("BitFit", 26_882, 0.5)]),
}
