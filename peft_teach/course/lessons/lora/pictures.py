"""Pictures of lesson 07: A and B to scale, the scale by rank, rank against parameters, σ of ΔW."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from .... import account, models
from ....plots import COLOURS, SERIES, figure, in_percent, logarithmic, plain_ticks
from ....widgets import Choices, Explorer
from ... import records

PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)


def draw_to_scale(n_out: int, n_in: int, rank: int) -> Figure:
    """Draw W (n_out, n_in), B (n_out, rank) and A (rank, n_in) side by side, all to one scale."""
    made, ax = figure(7, 3.2)
    gap = 0.3 * n_in
    parts = (("W", 0, 0, n_in, n_out, COLOURS["quiet"], "frozen"),
             ("B", n_in + gap, 0, rank, n_out, COLOURS["lora"], "trained"),
             ("A", n_in + 2 * gap + rank, 0, n_in, rank, COLOURS["lora"], "trained"))
    for name, x, y, width, height, colour, state in parts:
        ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="none"))
        ax.text(x + width / 2, y + height + 0.03 * n_out,
                f"{name}  ({height} × {width}), {state}\n{height * width:,} numbers",
                ha="center", va="top", fontsize=9)
    ax.text(n_in + gap / 2, n_out / 2, "+ s", ha="center", va="center", fontsize=16)
    ax.text(n_in + 1.5 * gap + rank, n_out / 2, "·", ha="center", va="center", fontsize=18)
    ax.set(xlim=(-0.02 * n_in, 2 * n_in + 2.1 * gap + rank), ylim=(1.25 * n_out, -0.03 * n_out),
           aspect="equal")
    ax.axis("off")
    made.set_label(f"W, {n_out} × {n_in}, beside two thin strips: B, {n_out} × {rank}, and A, "
                   f"{rank} × {n_in}.")
    return made


def draw_sizes(table: Mapping[str, Mapping[int, float]], ylabel: str) -> Figure:
    """Draw a quantity against the rank, one line a rule, both axes logarithmic."""
    made, ax = figure(6, 3)
    for (name, points), (colour, dash, marker) in zip(table.items(), SERIES):
        ax.plot(list(points), list(points.values()), dash + marker, color=colour, label=name)
    ranks = sorted({rank for points in table.values() for rank in points})
    logarithmic(ax)
    ax.set(xlabel="rank", ylabel=ylabel)
    plain_ticks(ax.xaxis, ranks)
    ax.legend(frameon=False)
    made.set_label(f"{ylabel}, from rank {ranks[0]} to {ranks[-1]}. " + "; ".join(
        f"{n}: {p[min(p)]:.3g} to {p[max(p)]:.3g}" for n, p in table.items()))
    return made


def rates_recorded(record: dict, method: str) -> dict[float, float]:
    """Return seed 0's test accuracy by learning rate; the main run's rate is among them."""
    rows = records.select(record, method=method, group="rates")
    rows += [row for row in record["runs"] if row["method"] == method and row["seed"] == 0
             and row["group"] in ("methods", "ranks") and row.get("rank", 8) == 8]
    return {row["lr"]: row["accuracy"] for row in sorted(rows, key=lambda row: row["lr"])}


# ── rank, places and blocks against parameters and accuracy ──────────────────────────────────


@dataclass(frozen=True)
class Point:
    """A recorded setting of LoRA, and what its seeds reached."""

    rank: int
    targets: frozenset[str]
    layers: tuple[int, ...]
    parameters: int
    mean: float
    spread: float


@dataclass(frozen=True)
class Measured:
    """What was measured: every recorded setting of LoRA, and the two levels."""

    depth: int                    # blocks of the model that it was measured on
    points: tuple[Point, ...]
    full: float
    head: float


@dataclass(frozen=True)
class Budget:
    """What a setting of LoRA costs, and what was measured."""

    rank: int
    places: tuple[str, ...]
    layers: tuple[int, ...]
    parameters: int
    share: float                       # of the model, from 0 to 1
    whole_matrices: int                # the same matrices, all of their numbers
    by_rank: Mapping[int, int]         # the parameters at each of `RANKS`
    chosen: Point | None               # the recorded run of exactly this setting
    measured: Measured
    guess_parameters: int | None

    @property
    def file_bytes(self) -> int:
        """The adapter's file, four bytes a number."""
        return 4 * self.parameters

    @property
    def told(self) -> str:
        """What was measured of this setting, in words."""
        if self.chosen is None:
            return "no run recorded with exactly this setting"
        return f"measured: {self.chosen.mean:.1%} ± {self.chosen.spread:.1%}"


def measured(record: dict, depth: int) -> Measured:
    """Read the recorded settings; `record` is `records.load("lora")`.

    `depth` is the number of blocks of the model that the record is of.
    """
    def level(method: str) -> float:
        return records.accuracy(records.select(record, group="methods", method=method))[0]

    groups = [rows for group in ("ranks", "places", "layers", "forty_kb")
              for rows in records.by_setting(records.select(record, group=group))]
    points = tuple(
        Point(rows[0]["rank"], frozenset(rows[0]["targets"]),
              tuple(rows[0]["layers"] or range(depth)), rows[0]["parameters"],
              *records.accuracy(rows)) for rows in groups)
    return Measured(depth, points, level("full"), level("head"))


def budget(shapes: Mapping[str, tuple[int, int]], total: int, measured: Measured, rank: int,
           places: Sequence[str], blocks: tuple[int, int], guess: int | None = None) -> Budget:
    """Count a setting, and look for its recorded run.

    `shapes` map a place to (n_out, n_in), `total` counts the model's parameters, `blocks` are the
    first and the last adapted block, `guess` is a rank that the reader chose before.
    """
    layers = tuple(range(blocks[0], blocks[1] + 1))
    per_rank = len(layers) * sum(sum(shapes[p]) for p in places)
    whole = len(layers) * sum(shapes[p][0] * shapes[p][1] for p in places)
    chosen = next((p for p in measured.points if (p.rank, p.targets, p.layers)
                   == (rank, frozenset(places), layers)), None)
    return Budget(rank, tuple(places), layers, rank * per_rank, rank * per_rank / total,
                  max(whole, 1), {r: max(r * per_rank, 1) for r in RANKS}, chosen, measured,
                  guess and guess * measured.depth * (sum(shapes["query"]) + sum(shapes["value"])))


def draw_budget(found: Budget) -> Figure:
    """Draw parameters against rank, and accuracy against parameters."""
    made, left, right = figure(9, 3.8, columns=2)
    left.plot(RANKS, [found.by_rank[r] for r in RANKS], color=COLOURS["lora"], lw=2)
    left.axhline(found.whole_matrices, color=COLOURS["full"], ls="--", lw=1.5)
    left.text(RANKS[0], found.whole_matrices * 1.15, "the same matrices, all of their numbers",
              color=COLOURS["full"], fontsize=9)
    left.plot(found.rank, found.parameters, "o", ms=11, color=COLOURS["lora"])
    logarithmic(left)
    left.set(xlabel="rank", ylabel="trained parameters",
             title=f"{found.parameters:,} parameters, {found.share:.3%} of the model")
    plain_ticks(left.xaxis, (1, 2, 4, 8, 16, 64, 192))

    for point in found.measured.points:
        chosen = point is found.chosen
        right.errorbar(point.parameters, point.mean, yerr=point.spread, fmt="o",
                       ms=11 if chosen else 5, color=COLOURS["lora"],
                       alpha=1 if chosen else 0.4, capsize=2, zorder=3 if chosen else 2)
    if found.guess_parameters:
        right.axvline(found.guess_parameters, color=COLOURS["yours"], lw=1.5, ls=":",
                      label="your guess")
    for name, level in (("full", found.measured.full), ("head", found.measured.head)):
        right.axhline(level, color=COLOURS[name], ls="--", lw=1.5,
                      label={"full": "full fine-tuning", "head": "head only"}[name])
    if found.chosen is None:
        right.axvline(found.parameters, color=COLOURS["lora"], lw=1.5, ls=":",
                      label="this setting (not measured)")
    logarithmic(right, "x")
    right.set(xlabel="trained parameters (adapter)", ylabel="test accuracy", title=found.told)
    in_percent(right.yaxis)
    right.legend(frameon=False, fontsize=9)
    made.set_label(
        f"Rank {found.rank} on {', '.join(found.places) or 'no place'}: {found.parameters:,} "
        f"trained numbers; {found.told}; full fine-tuning {found.measured.full:.1%}, head only "
        f"{found.measured.head:.1%}.")
    return made


def explore_budget(model: nn.Module, record: dict, guess: int | None = None) -> Explorer:
    """Rank, places and blocks against trained parameters, file size and recorded accuracy.

    `model` is an unadapted encoder, `record` is `records.load("lora")`.
    """
    table = models.places(model)
    shapes = {p: tuple(model.get_submodule(table[p][0]).weight.shape) for p in PLACES}
    total, depth = account.parameters(model).total, len(table["block"])
    found = measured(record, depth)
    controls = {
        "rank": ipw.SelectionSlider(options=[1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 192, 384], value=8,
                                    description="rank"),
        "places": Choices(PLACES, ("query", "value"), "places"),
        "blocks": ipw.IntRangeSlider(min=0, max=depth - 1, value=(0, depth - 1),
                                     description="blocks"),
    }
    return Explorer(
        controls, lambda **s: budget(shapes, total, found, guess=guess, **s), draw_budget,
        lambda found: f"{found.parameters:,} trained numbers in {len(found.layers)} blocks, "
                      f"{found.file_bytes / 1000:,.0f} kB on disk. Left: how the count grows with "
                      "the rank. Right: every recorded LoRA setting, mean and standard deviation "
                      "over its seeds.")


# ── singular values of ΔW ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Spectra:
    """σ of one matrix's ΔW by run, and what its directions share with full fine-tuning's."""

    matrix: str
    sigma: Mapping[str, Sequence[float]]            # by rank, and "full"
    overlap: Mapping[str, Mapping[str, float]]      # by run: "in" and "out", from 0 to 1
    chance: Mapping[str, float]                     # what two random subspaces would share


def spectra(record: Mapping, place: str, block: int, ranks: Sequence[str]) -> Spectra:
    """Read σ of ΔW and the overlap with full fine-tuning, for one matrix and some ranks."""
    name = f"bert.encoder.layer.{block}.attention.self.{place}"
    rows = {r: record[r][name] for r in sorted(ranks, key=int)}
    sigma = {r: row["sigma"] for r, row in rows.items()} | {"full": record["full"][name]["sigma"]}
    rows |= {"full, again": record["full again"][name]} if "full again" in record else {}
    width = len(record["full"][name]["sigma"])
    return Spectra(f"{place}, block {block}", sigma, {n: row["overlap"] for n, row in rows.items()},
                   {n: min(len(row["sigma"]), 8) / width for n, row in rows.items()})


def draw_spectra(found: Spectra) -> Figure:
    """Draw σ of ΔW, and the overlap with full fine-tuning's."""
    made, left, right = figure(9, 3.8, columns=2)
    shades = np.linspace(0.35, 1, max(1, len(found.sigma)))
    for shade, (name, sigma) in zip(shades, found.sigma.items()):
        full = name == "full"
        left.plot(range(1, len(sigma) + 1), sigma, "o-" if len(sigma) < 20 else "-", ms=4,
                  label="full fine-tuning" if full else f"LoRA, rank {name}",
                  color=COLOURS["full"] if full else COLOURS["lora"],
                  alpha=1 if full else shade, lw=1.8)
    logarithmic(left)
    left.set(xlabel="direction, strongest first", ylabel="singular value of ΔW",
             title=found.matrix)
    left.legend(frameon=False, fontsize=9)

    names = list(found.overlap)
    for side, offset, colour in (("in", -0.18, COLOURS["lora"]), ("out", 0.18, COLOURS["yours"])):
        right.bar([i + offset for i in range(len(names))],
                  [found.overlap[n][side] for n in names], width=0.34, color=colour,
                  label={"in": "input directions", "out": "output directions"}[side])
    for i, name in enumerate(names):
        right.plot([i - 0.4, i + 0.4], [found.chance[name]] * 2, color=COLOURS["ink"], lw=1.5,
                   label="two random subspaces" if i == 0 else None)
    right.set(xticks=range(len(names)), xticklabels=names, ylim=(0, 1),
              xlabel="rank, or full fine-tuning with another seed",
              ylabel="overlap with full fine-tuning", title="Do they point the same way?")
    right.legend(frameon=False, fontsize=9)
    made.set_label(f"Singular values of the update of {found.matrix}. " + "; ".join(
        f"{n}: {len(s)} directions, from {s[0]:.2g} to {s[-1]:.2g}"
        for n, s in found.sigma.items()))
    return made


def explore_spectra(record: Mapping) -> Explorer:
    """Singular values of ΔW by matrix, for LoRA of several ranks and for full fine-tuning.

    `record` is the part "spectra" of `records.load("lora")`.
    """
    ranks = sorted((r for r in record if r.isdigit()), key=int)
    controls = {
        "place": ipw.ToggleButtons(options=("query", "value"), description="place"),
        "block": ipw.ToggleButtons(options=range(6), value=5, description="block",
                                   style={"button_width": "48px"}),
        "ranks": Choices(ranks, tuple(ranks), "ranks"),
    }
    return Explorer(
        controls, lambda **s: spectra(record, **s), draw_spectra,
        lambda found: "Left: how strongly each direction is changed. A LoRA of rank r has r of "
                      "them and no more. Right: how much of the space of the (at most 8) "
                      "strongest directions is shared with full fine-tuning; the black bar is "
                      "what chance gives.")


# ── one of each, for the tests ───────────────────────────────────────────────────────────────


def _budget_example() -> Explorer:
    from ....outlines import outline

    return explore_budget(outline("minilm"), records.load("lora"), guess=8)


EXAMPLES = {
    "to_scale": lambda: draw_to_scale(384, 384, 8),
    "sizes": lambda: draw_sizes({"one": {1: 1.0, 8: 20.0}, "two": {1: 30.0, 8: 1.0}}, "size"),
    "budget": _budget_example,
    "spectra": lambda: explore_spectra(records.load("lora")["spectra"]),
}
