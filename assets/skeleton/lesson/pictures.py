"""Pictures of lesson NN."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ....plots import COLOURS, figure


def draw_saved(ranks: Sequence[int], saved: Sequence[int]) -> Figure:
    """Draw what two factors save, by their rank."""
    made, ax = figure(7, 3)
    ax.axhline(0, color=COLOURS["frozen"])
    ax.plot(ranks, saved, "o-", color=COLOURS["lora"])
    ax.set(xlabel="rank", ylabel="numbers saved")
    made.set_label("Numbers saved by rank. " + "; ".join(
        f"{rank}: {number:,}" for rank, number in zip(ranks, saved, strict=True)))
    return made


EXAMPLES = {"saved": lambda: draw_saved([1, 8, 384], [587_904, 574_464, -147_456])}
