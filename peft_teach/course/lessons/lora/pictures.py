"""Pictures of lesson 07: A and B to scale, the scale by rank, rank against parameters, σ of ΔW."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ....plots import COLOURS, SERIES, figure, logarithmic, plain_ticks
from ....widgets import Guess
from ... import records
from .picture_of_rank import explore_rank
from .picture_of_updates import cuts_recorded, explore_updates, own_updates

__all__ = ["cuts_recorded", "draw_sizes", "draw_to_scale", "explore_rank", "explore_updates",
           "own_updates", "rates_recorded"]


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


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "to_scale": lambda: draw_to_scale(384, 384, 8),
    "sizes": lambda: draw_sizes({"one": {1: 1.0, 8: 20.0}, "two": {1: 30.0, 8: 1.0}}, "size"),
    "rank": lambda: explore_rank(records.load("lora"), Guess("Which rank?", (1, 8, 64))),
    "updates": lambda: explore_updates(records.load("lora"), records.load("change")),
}
