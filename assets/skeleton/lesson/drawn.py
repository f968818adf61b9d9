"""Lesson NN: what two factors save, by their rank."""

from picture_checks import Shown


def saved(shown: Shown) -> None:
    ax, = shown.panels
    ax.named("", "rank", "numbers saved")
    ax.level("frozen", 0)
    ax.line("lora", "-o", [1, 8, 384], [384 * 1536 - rank * 1920 for rank in (1, 8, 384)])
