"""Which checkpoint ships, by need.

    clearly_worse(curve, need, step)    than the best, or nothing

`curve` is `recorded.curve` of the record, a row a checkpoint.
"""

from dataclasses import dataclass

import pandas


@dataclass(frozen=True)
class Need:
    """What counts, by the columns; whether more of it is better; how much chance may bring."""

    formula: str
    more: bool
    chance: float


NEEDS = {
    "stage": Need("style", True, 0.05),                   # a party: the voice, nothing else
    "stranger": Need("voice", False, 0.03),               # questions that nobody foresaw
    "desk": Need("style - forgotten / 2", True, 0.05),    # some voice, and its old work done
}


def clearly_worse(curve: pandas.DataFrame, need: str, step: int) -> str:
    """Say what the best checkpoint has, if that is better by more than chance; or nothing."""
    wanted = NEEDS[need]
    values = curve.eval(wanted.formula)
    best = values.max() if wanted.more else values.min()
    if abs(values[step] - best) <= wanted.chance:
        return ""
    return (f"step {step} has {values[step]:.2f} ({wanted.formula}); "
            f"there is one with {best:.2f}.")
