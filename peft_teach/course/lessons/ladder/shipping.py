"""What may be shipped: the methods of the record under budgets.

    over(record, budget, method)             by how much, or nothing
    clearly_worse(record, budget, method)    than the best that is allowed, or nothing
"""

from collections.abc import Mapping
from statistics import mean

import torch

from . import measure, recorded
from .rungs import NAMES, RUNGS

# By the name of a budget: what is counted, its limit, and how both are said. Of what is kept the
# limit is the least, of all else the most.
BUDGETS: dict[str, tuple[str, float, str]] = {
    "file": ("file_bytes", 100_000, "{:,.0f} bytes on the disk; at most {:,.0f} are allowed"),
    "time": ("step", 0.6, "{:.2f} times the step of full fine-tuning; at most {:g} are allowed"),
    "any": ("", 0.0, ""),
    "keep": ("kept", 0.8, "{:.0%} of the base's neighbours; wanted are at least {:.0%}"),
}


def rung(name: str) -> str | None:
    """Return the rung of this name, a reader's or its own; None for what is none."""
    plain = " ".join(name.lower().split())
    return next((each for each in RUNGS if plain in (each, NAMES[each].lower())), None)


def over(record: Mapping, budget: str, method: str) -> str:
    """Say by how much a method is over a budget; nothing if it is within."""
    what, limit, words = BUDGETS[budget]
    found = _kept(record, method) if what == "kept" else record["costs"][method].get(what, 0.0)
    if found is None:
        return f"what {NAMES[method]} keeps was not measured."
    within = found >= limit if what == "kept" else found <= limit
    return "" if within else f"{NAMES[method]} has {words.format(found, limit)}."


def _kept(record: Mapping, method: str) -> float | None:
    """Return the share of the base's neighbours that are left when a method was trained."""
    if method == "head":
        return 1.0    # nothing of the base moves
    rows = [row for row in record["forgetting"] if row["method"] == method]
    base, tuned = ([row["neighbours"] for row in rows if row["f"] == f] for f in (0, 1))
    return mean(tuned) / mean(base) if rows else None


def clearly_worse(record: Mapping, budget: str, method: str) -> str:
    """Say by how much the best of those within a budget is better, where that is beyond doubt.

    It is by the interval, or where it is better by more than `MARGIN` with every seed: a method
    that fails with most of its seeds has a wide interval.
    """
    rating = measure.unpack(record["ratings"]["movies"])    # a judge needs no data set
    found = recorded.errors(record, rating=rating)
    allowed = [each for each in found if not over(record, budget, each)]
    best = min(allowed, key=lambda each: torch.stack([*found[each].values()]).mean())
    one, other = (errors / rating.var(correction=0)
                  for errors in recorded.shared(found, method, best))
    low, high = measure.interval(one, other)
    told = f"{NAMES[method]} has an R² of {1 - one.mean():.3f}. Another one is better"
    if low > 0:
        return f"{told} by {low:.3f} to {high:.3f}."
    worse = (one - other).mean(dim=1).min() > recorded.MARGIN
    return f"{told} with every seed." if worse else ""
