"""What the record of lesson 10 says, as data frames, and its errors, by seed and sentence.

`record` is `records.load("ladder")` throughout.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy
import pandas
import safetensors.torch
from torch import Tensor

from ...protocol import NAMES, errors, finals, means, rated, shared
from ...verdicts import MARGIN, interval, word
from .rungs import ALPHA, COSTS, LEFT

HEAD = 385                          # trained by every method: the head's 384 weights and bias
KEPT = ("neighbours kept", "without the top direction")


# ── how good ─────────────────────────────────────────────────────────────────────────────────


def verdicts(record: Mapping, interval: Callable[..., Any]) -> pandas.DataFrame:
    """Return what the reader's `interval(a, b)` of squared errors says of all pairs of methods.

    Rows (one, other), the best first: by how much the one's R² is higher, the ends, a verdict; of
    all seeds that both have.
    """
    found, rows, keys = errors(record), {}, {name: key for key, name in NAMES.items()}
    variance, order = float(rated(record).var(correction=0)), [*means(record).index]
    for i, one in enumerate(order):
        for other in order[i + 1:]:
            a, b = shared(found, keys[one], keys[other])
            low, high = (float(end) / variance for end in interval(b, a))
            gap = float((b - a).mean()) / variance
            rows[one, other] = gap, low, high, word(low, high, MARGIN)
            rows[other, one] = -gap, -high, -low, word(-high, -low, MARGIN)
    pairs = [(one, other) for one in order for other in order if one != other]
    index = pandas.MultiIndex.from_tuples(pairs, names=["one", "other"])
    return pandas.DataFrame([rows[pair] for pair in pairs], index,
                            ["difference", "low", "high", "verdict"])


# ── what it costs, what it forgets, many tasks ───────────────────────────────────────────────

UNITS = [1, 1e3, 1e6, 1]


def bill(record: Mapping) -> pandas.DataFrame:
    """Return each method's R², what it costs and what it keeps of the base, rounded, to read."""
    trained, file, memory, step = COSTS.values()
    return means(record).to_frame().join(prices(record)).round(
        {"R²": 3, file: 0, memory: 0, step: 2, LEFT: 2}).astype(
        dict.fromkeys((trained, file, memory), int))


def gaps(record: Mapping) -> pandas.DataFrame:
    """Return how much higher each method's R² is than full fine-tuning's, in pairs, with its ends.

    The best first; full fine-tuning itself is 0. Of the seeds that all methods have.
    """
    found, variance = errors(record), float(rated(record).var(correction=0))
    by = dict(zip(found, shared(found, *found)))
    rows = {NAMES[method]: [float((by["full"] - each).mean()) / variance,
                            *(end / variance for end in interval(by["full"], each))]
            for method, each in by.items()}
    table = pandas.DataFrame.from_dict(rows, orient="index", columns=["difference", "low", "high"])
    return table.reindex(means(record).index)


def prices(record: Mapping) -> pandas.DataFrame:
    """Return what each method costs, the head counted, and what it keeps of the base's neighbours.

    Kept as trained, without any knob. Head only moves nothing of the base.
    """
    table = pandas.DataFrame.from_dict({NAMES[row["method"]]: {
        "trained": row["parameters"] + HEAD, **record["costs"].get(row["method"], {})}
        for row in finals(record)}, orient="index").reindex(columns=[*COSTS]).div(UNITS)
    table["step"] /= table["step"][NAMES["full"]]
    left = curves(record).pivot_table(KEPT[0], "method", "f")
    kept = (left[1.0] / left[0.0]).reindex(table.index).where(table.index != NAMES["head"], 1.0)
    return table.rename(columns=COSTS).assign(**{LEFT: kept})


def curves(record: Mapping) -> pandas.DataFrame:
    """Return what is left with the update scaled by f: a row a method, seed and f."""
    rows = pandas.DataFrame(record["forgetting"])
    rows["method"] = rows["method"].map(NAMES)
    return rows.rename(columns={"r2": "R²", "neighbours": KEPT[0], "without_top": KEPT[1]})


def forgetting(record: Mapping) -> pandas.DataFrame:
    """Return what is left of the base's neighbours where an update, scaled by f, reaches an R².

    The highest that every run reaches. Interpolated on f run by run; then the mean over seeds.
    f = 0 is the base.
    """
    rows = curves(record).sort_values("f")
    runs = [run for _, run in rows.groupby(["method", "seed"])]
    level = min(run["R²"].max() for run in runs)
    found = [rows[rows.f == 0].assign(method="the base")]
    for run in runs:
        first = (run["R²"] >= level).to_numpy().argmax()
        near = run.iloc[max(first - 1, 0):first + 1]
        found.append(near.tail(1).assign(**{name: numpy.interp(level, near["R²"], near[name])
                                            for name in ("R²", "f", *KEPT)}))
    table = pandas.concat(found).groupby("method")[["R²", "f", *KEPT]].mean()
    return table.sort_values(KEPT[0], ascending=False).rename_axis(None)


def elsewhere(record: Mapping) -> pandas.DataFrame:
    """Return mean R² of the methods that were tried on other tasks, in their order on films."""
    away = pandas.DataFrame([row for row in record["runs"] if row["group"] == "domains"])
    table = away.pivot_table("r2", "method", "domain", sort=False).rename(NAMES)
    films = means(record).rename("films")
    return pandas.concat([films[films.index.isin(table.index)], table], axis=1).round(3)


def tasks(record: Mapping) -> pandas.DataFrame:
    """Return R² of each adapter on each task, mean ± standard deviation over seeds."""
    return pandas.DataFrame(record["tasks"]).pivot_table(
        "r2", "adapter", "task", sort=False,
        aggfunc=lambda r2: f"{r2.mean():.2f} ± {r2.std():.2f}").fillna("")


def adapters(record: Mapping) -> dict[str, dict[str, tuple[Tensor, Tensor, float]]]:
    """Return the recorded LoRAs of rank 1: A, B and the scale, by task and module."""
    found = {}
    for task, text in record["adapters"].items():
        tensors = safetensors.torch.load(base64.b64decode(text))
        found[task] = {name[:-2]: (A, tensors[f"{name[:-1]}B"], ALPHA / len(A))
                       for name, A in tensors.items() if name.endswith(".A")}
    return found


# ── what may be shipped: the methods under budgets ───────────────────────────────────────────────

# By the name of a budget: a column of `prices` and its limit.
BUDGETS = {"file": (COSTS["file_bytes"], 100), "time": (COSTS["step"], 0.65), "any": ("", 0),
           "keep": (LEFT, 0.55)}


def over(prices: pandas.DataFrame, budget: str, method: str) -> str:
    """Say by how much a method is over a budget; nothing if it is within: see `prices`."""
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


def surpassed(record: Mapping, prices: pandas.DataFrame, budget: str, method: str) -> str:
    """Say by how much the best of those within a budget is better than this method.

    Nothing if the means, those of `bill`, lie within the margin.
    """
    r2 = means(record)
    best = max(r2[NAMES[each]] for each in NAMES
               if NAMES[each] in r2 and not over(prices, budget, each))
    own = r2[NAMES[method]]
    if best - own <= MARGIN:
        return ""
    return f"{NAMES[method]} has an R² of {own:.3f}. Another one is better by {best - own:.3f}."
