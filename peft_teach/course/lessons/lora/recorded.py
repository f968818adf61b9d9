"""What the case of rank 64 and the last exercise ask the record, by setting.

A setting is a rank, an alpha and a learning rate, of LoRA on query and value in all blocks.
"""

import functools
import math

from ... import records

LEARNS, FAILS = 0.78, 0.74     # mean test accuracies, from and up to which a setting does
TARGETS = ["query", "value"]
HELD_BACK = ((64, 128, 1e-3), (8, 128, 3.75e-4))    # for the last exercise


@functools.cache
def _all() -> dict[tuple[int, float, float], list[dict]]:
    """The runs by setting, sorted; without variants of the method, and what is held back."""
    found: dict[tuple[int, float, float], list[dict]] = {}
    for row in records.load("lora")["runs"]:
        variant = any(map(row.get, ("dropout", "plus", "rank_stabilized", "layers")))
        if row.get("targets") == TARGETS and not variant:
            setting = row["rank"], row["alpha"], row["lr"]
            if setting not in HELD_BACK:
                found.setdefault(setting, []).append(row)
    return dict(sorted(found.items()))


def settings() -> list[tuple[int, float, float]]:
    """Return every recorded (rank, alpha, learning rate)."""
    return list(_all())


def runs(rank: int, alpha: float, lr: float) -> list[dict]:
    """Return the runs of a setting, one a seed; none where it was not recorded.

    An alpha or a rate within one percent of a recorded one is taken for it.
    """
    return next((rows for (r, a, rate), rows in _all().items() if r == rank and math.isclose(
        a, alpha, rel_tol=0.01) and math.isclose(rate, lr, rel_tol=0.01)), [])


def ends(rows: list[dict]) -> str:
    """Return whether these runs, on average, "learns" or "fails"; "between" for neither."""
    mean, _ = records.accuracy(rows)
    return "learns" if mean >= LEARNS else "fails" if mean <= FAILS else "between"


def first_size(rank: int, alpha: float, lr: float) -> float:
    """Return what ‖ΔW‖ after one step of Adam is proportional to: s · √rank · lr."""
    return alpha / math.sqrt(rank) * lr


def felt(rank: int, alpha: float, lr: float) -> float:
    """Return what the movement of the output in that step is proportional to: s · rank · lr."""
    return alpha * lr


def words(rank: int, alpha: float, lr: float) -> str:
    """Return a setting in words."""
    return f"rank {rank}, alpha {alpha:.4g}, lr {lr:g}"


@functools.cache
def pairs() -> list[tuple[list[dict], list[dict]]]:
    """Return the runs of each pair that the last exercise asks about, in its order."""
    def rows(group: str, **wanted) -> list[dict]:
        return records.select(records.load("lora"), group=group, **wanted)

    return [(rows("scale", rank=64, alpha=128, lr=1e-3), rows("ranks", rank=64)),
            (rows("scale", rank=8, alpha=128, lr=3.75e-4), rows("scale", rank=1, alpha=16)),
            (rows("ranks", rank=64), rows("variants", rank=64, alpha=16))]    # s = 16 / √64 = 2
