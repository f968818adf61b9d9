"""The capstone: the gains of two tries."""

from drawn import Shown


def tries(shown: Shown) -> None:
    ax, = shown.panels
    ax.named("points against the head alone (grey)")
    ax.ticks("y", ["first", "second"])
    ax.at("head", 0)
    for y, (low, gain, high) in enumerate(((6, 10, 14), (-2, 2, 5))):
        ax.line("yours", "-o", (low, gain, high), [y] * 3)
        ax.text(f"+{gain:.1f}", "ink", (gain, y - 0.2))
