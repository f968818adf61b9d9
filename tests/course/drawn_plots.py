"""Pictures of many lessons, on a few made-up numbers; the examples are test_pictures.GENERAL."""

from drawn import Shown, strips


def curves(shown: Shown) -> None:
    ax, = shown.panels
    ax.named("a: loss 1.00 → 0.75", "training step", "loss, mean of 2 steps")
    ax.line("series 0", "-", (1, 2), (1, 0.75), "a")
    ax.line("series 1", "--", (1, 2), (0.9, 0.85), "b")


def dots(shown: Shown) -> None:
    ax, = shown.panels
    strips(ax, {"a": ((0.8, 0.7), "series 0", "o"), "c": ((0.6,), "lora", "s")},
           {"b": (0.75, "full")})


def ledgers(shown: Shown) -> None:
    ax, = shown.panels
    ax.named(x="MB")
    ax.ticks("y", ["full", "head"])
    for y, sizes in enumerate(((4, 3, 2, 1), (4, 0, 0.1, 0.5))):
        end = 0.0
        for part, size in zip(("weights", "gradients", "optimizer", "activations"), sizes):
            ax.shape(part, end, y - 0.4, size, 0.8)
            if size > 0.5:
                ax.text(f"{size}", "paper" if part == "weights" else "ink", (end + size / 2, y),
                        near=0.02)
            ax.legend({part: part})
            end += size
        ax.text(f"  {end:.0f} MB", "ink", (end, y), near=0.02)
    assert ax.ax.yaxis_inverted()
