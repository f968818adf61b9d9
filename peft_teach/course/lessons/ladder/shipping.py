"""What may be shipped: the methods of the record under budgets.

    over(prices, budget, method)                     by how much, or nothing
    clearly_worse(record, prices, budget, method)    than the best that is allowed, or nothing

`prices` is `recorded.prices` of the record.
"""

from collections.abc import Mapping

import pandas
import torch

from . import measure, recorded
from .rungs import COSTS, LEFT, NAMES, RUNGS

# By the name of a budget: a column of `prices` and its limit.
BUDGETS = {"file": (COSTS["file_bytes"], 100), "time": (COSTS["step"], 0.65), "any": ("", 0),
           "keep": (LEFT, 0.55)}


def rung(name: str) -> str | None:
    """Return the rung of this name, a reader's or its own; None for what is none."""
    plain = " ".join(name.lower().split())
    return next((each for each in RUNGS if plain in (each, NAMES[each].lower())), None)


def over(prices: pandas.DataFrame, budget: str, method: str) -> str:
    """Say by how much a method is over a budget; nothing if it is within."""
    column, limit = BUDGETS[budget]
    if not column:
        return ""
    found = prices[column][NAMES[method]]
    if found >= limit if column == LEFT else found <= limit:
        return ""
    if found != found:
        return f"what {NAMES[method]} costs or keeps was not measured."
    most = "least" if column == LEFT else "most"
    return f"{NAMES[method]} has {found:,.2f} ({column}); allowed is at {most} {limit:g}."


def clearly_worse(record: Mapping, prices: pandas.DataFrame, budget: str, method: str) -> str:
    """Say by how much the best of those within a budget is better, where the interval has no 0."""
    found, variance = recorded.errors(record), recorded.ratings(record).var(correction=0)
    allowed = [each for each in found if not over(prices, budget, each)]
    best = min(allowed, key=lambda each: torch.stack([*found[each].values()]).mean())
    one, other = (errors / variance for errors in recorded.shared(found, method, best))
    low, high = measure.interval(one, other)
    return "" if low <= 0 else (f"{NAMES[method]} has an R² of {1 - one.mean():.3f}. Another one "
                                f"is better by {low:.3f} to {high:.3f}.")
