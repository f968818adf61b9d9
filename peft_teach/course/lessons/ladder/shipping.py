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
BUDGETS = {"file": (COSTS["file_bytes"], 100), "time": (COSTS["step"], 0.6), "any": ("", 0),
           "keep": (LEFT, 0.6)}


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
    """Say by how much the best of those within a budget is better, where that is beyond doubt.

    It is by the interval, or where it is better by more than `MARGIN` with every seed: a method
    that fails with most of its seeds has a wide interval.
    """
    rating = measure.unpack(record["ratings"]["movies"])    # a judge needs no data set
    found = recorded.errors(record, rating=rating)
    allowed = [each for each in found if not over(prices, budget, each)]
    best = min(allowed, key=lambda each: torch.stack([*found[each].values()]).mean())
    one, other = (errors / rating.var(correction=0)
                  for errors in recorded.shared(found, method, best))
    low, high = measure.interval(one, other)
    told = f"{NAMES[method]} has an R² of {1 - one.mean():.3f}. Another one is better"
    if low > 0:
        return f"{told} by {low:.3f} to {high:.3f}."
    worse = (one - other).mean(dim=1).min() > recorded.MARGIN
    return f"{told} with every seed." if worse else ""
