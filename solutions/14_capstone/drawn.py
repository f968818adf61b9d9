"""The capstone: the gains of one's tries, a ring a seed."""

from drawn import Shown


def tries(shown: Shown) -> None:
    ax, = shown.panels
    ax.named(x="points more right than the head alone")
    ax.ticks("y", ["block 5 values, rank 1", "block 0 values, rank 1"])
    ax.at("head", 0)
    for y, (gains, mean, ends) in enumerate((((-2, 0, 2), 0, (-5, 5)), ((-18,), -18, (-24, -12)))):
        ax.line("yours", "-", ends, [y] * 2)
        ax.line("yours", "o", gains, [y] * len(gains), fill="none")
        ax.line("yours", "o", mean, y, fill="yours")
        ax.text(f"{mean:+.1f}".replace("-", "−"), "ink", (mean, y - 0.22))
