"""What the case of rank 64 and the last exercise ask the record, by setting.

A setting is a rank, an alpha and a learning rate, of LoRA on query and value in all blocks. The
case is held at one rate.
"""

import functools
import math
from collections.abc import Mapping

from ... import records
from .setting import Setting

LEARNS = 0.78    # the mean test accuracy from which on a setting learns
RATE = 3e-3


def by_setting(record: Mapping, *groups: str) -> dict[Setting, list[dict]]:
    """Return the runs of these groups, in which alpha is twice the rank, by where LoRA is."""
    found: dict[Setting, list[dict]] = {}
    for row in record["runs"]:
        if row["group"] in groups:
            found.setdefault(Setting.of(row), []).append(row)
    return found


@functools.cache
def _all() -> dict[tuple[int, float], list[dict]]:
    """The runs by setting, sorted; without variants of the method."""
    found: dict[tuple[int, float], list[dict]] = {}
    for row in records.load("lora")["runs"]:
        variant = any(map(row.get, ("dropout", "plus", "rank_stabilized")))
        usual = "rank" in row and Setting.of(row) == Setting.usual(row["rank"])
        if usual and row["lr"] == RATE and not variant:
            found.setdefault((row["rank"], row["alpha"]), []).append(row)
    return dict(sorted(found.items()))


def settings() -> list[tuple[int, float]]:
    """Return every recorded (rank, alpha)."""
    return list(_all())


def runs(rank: int, alpha: float, lr: float = RATE) -> list[dict]:
    """Return the runs of a setting, one a seed; none where it was not recorded.

    An alpha or a rate within one percent of a recorded one is taken for it.
    """
    if not math.isclose(lr, RATE, rel_tol=0.01):
        return []
    return next((rows for (r, a), rows in _all().items()
                 if r == rank and math.isclose(a, alpha, rel_tol=0.01)), [])


def ends(rows: list[dict]) -> str:
    """Return whether these runs, on average, "learns" or "fails"."""
    return "learns" if records.accuracy(rows)[0] >= LEARNS else "fails"


def first_size(rank: int, alpha: float, lr: float = RATE) -> float:
    """Return what ‖ΔW‖ after one step of Adam is proportional to at one rate: s · √rank."""
    return alpha / math.sqrt(rank)
