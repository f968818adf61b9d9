"""Which checkpoint ships, by need.

    over(curve, need, step)             by how much the need's limit is missed, or nothing
    clearly_worse(curve, need, step)    than the best that is allowed, or nothing

`curve` is `recorded.curve` of the record, a row a checkpoint.
"""

from dataclasses import dataclass

import pandas


@dataclass(frozen=True)
class Need:
    """The column that counts, whether more of it is better, and how much chance may bring.

    With a `limit`, at least this much of another column must be there.
    """

    column: str
    more: bool
    chance: float
    limit: tuple[str, float] = ("", 0.0)


NEEDS = {
    "stage": Need("style", True, 0.05),                       # a party: the voice, nothing else
    "stranger": Need("voice", False, 0.03),                   # questions that nobody foresaw
    "desk": Need("forgotten", False, 0.02, ("style", 0.6)),   # some voice, and its old work done
}


def over(curve: pandas.DataFrame, need: str, step: int) -> str:
    """Say by how much a checkpoint misses a need's limit; nothing where it keeps it."""
    column, least = NEEDS[need].limit
    if not column or curve[column][step] >= least:
        return ""
    return f"step {step} has {curve[column][step]:.2f} ({column}); allowed is at least {least:g}."


def clearly_worse(curve: pandas.DataFrame, need: str, step: int) -> str:
    """Say which of the checkpoints that are allowed is better by more than chance; or nothing."""
    wanted = NEEDS[need]
    values = curve[wanted.column][[not over(curve, need, each) for each in curve.index]]
    best = values.max() if wanted.more else values.min()
    if abs(values[step] - best) <= wanted.chance:
        return ""
    return (f"step {step} has {values[step]:.2f} ({wanted.column}); "
            f"there is one with {best:.2f}.")
