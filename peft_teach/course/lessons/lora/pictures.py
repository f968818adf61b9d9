"""Pictures of lesson 07: A and B to scale, the case of rank 64, rank and parameters, σ of ΔW."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ....plots import COLOURS, figure
from ... import records
from ...guess import Guess
from .live import changed_answers, first_gradients
from .picture_of_rank import explore_rank
from .picture_of_scale import (
    ask,
    draw_explanations,
    draw_first_step,
    list_settings,
    show_pairs,
    yours,
)
from .picture_of_updates import cuts_recorded, explore_updates, own_updates

__all__ = ["ask", "changed_answers", "cuts_recorded", "draw_explanations", "draw_first_step",
           "draw_to_scale", "explore_rank", "explore_updates", "first_gradients", "list_settings",
           "own_updates", "show_pairs", "yours"]


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
                f"{name}  ({height} × {width}), {state}\n{height * width:,} entries",
                ha="center", va="top", fontsize=9)
    ax.text(n_in + gap / 2, n_out / 2, "+ s", ha="center", va="center", fontsize=16)
    ax.text(n_in + 1.5 * gap + rank, n_out / 2, "·", ha="center", va="center", fontsize=18)
    ax.set(xlim=(-0.02 * n_in, 2 * n_in + 2.1 * gap + rank), ylim=(1.25 * n_out, -0.03 * n_out),
           aspect="equal")
    ax.axis("off")
    made.set_label(f"W, {n_out} × {n_in}, beside two thin strips: B, {n_out} × {rank}, and A, "
                   f"{rank} × {n_in}.")
    return made


# ── one of each, for the tests ───────────────────────────────────────────────────────────────

EXAMPLES = {
    "to_scale": lambda: draw_to_scale(384, 384, 8),
    "first_step": lambda: draw_first_step({"alpha 16": {1: (0.2, 0.05), 8: (0.07, 0.05)},
                                           "alpha 128": {1: (1.6, 0.4), 8: (0.5, 0.4)}}),
    "explanations": draw_explanations,
    "rank": lambda: explore_rank(records.load("lora"), Guess("Which rank?", (1, 8, 64))),
    "updates": lambda: explore_updates(records.load("lora"), records.load("change")),
}
