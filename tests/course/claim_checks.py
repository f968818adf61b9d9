"""What a lesson claims, beside the record that says so: `claims.py` in its folder.

    from claim_checks import Claim, of, percent, spread

    CLAIMS = (
        Claim("Rank 1 comes within four points of full fine-tuning.",      a row of its table,
              seen=f"{spread(RANK_1)}; full fine-tuning {percent(FULL)}",  made of the record,
              tried=f"At twice the rate: {percent(TWICE)}",                cell by cell,
              holds={"within four points": lambda: FULL - mean(of("lora", rank=1)) < 0.04}),
    )
    JUDGED = {
        "the larger one is worse": lambda: mean(LARGE) < mean(SMALL),      words of its prose
        "the best of them": "a task",                          no judgement of runs, and why
    }

`test_quoted` holds the lesson's table to these texts, row by row (its last column is of papers).
The words in `holds` stand in their row and are true of the record; so are those of `JUDGED` in
prose, in a fold or in a picture's caption. A sentence there that judges, by one of `WORDS`, needs
such words.

A function that asks the runs of two methods of one record compares them, so it asks by `of`. That
record's script then says in `SEARCHED` how each method's rate was found:

    SEARCHED = {"lora": {"by": "lr", "groups": ("rates", "ranks"), "where": {"rank": 8, "seed": 0},
                      "used": ("ranks",)},      the best on validation of these rows, not at their
                                                edge, is the rate of all runs in `used`;
             "full": {"record": "lora", "used": ("short",)},       found in that record;
             "head": "solved", "scratch": "not searched",
             "prompt": "alike"}            validation cannot tell the rates that were tried apart

`each` names a field over which there are several searches, `score` what they look at in place of
`validation`; "*" are all other methods.
"""

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from quote_checks import record, select

RECORDS = Path(__file__).parents[2] / "assets/records"
SOLVED, ALIKE, NOT_SEARCHED, REST = "solved", "alike", "not searched", "*"

# Records of several methods whose scripts do not say yet how each rate was found, and why that may
# be. A claim that compares methods of one of them fails (`unfair`).
NOT_DECLARED = {
    "benchmark": "times and bytes of a step, at the library's rates",
    "adapters": "compares places of one method, each at the rate of its own climb (`tried` there)",
    "rates": "asks of each method whether it learns at the library's rate, and compares none",
}

# Not "only" and "the same", which hardly ever judge runs in our prose: "the same sentences".
WORDS = re.compile(r"\b(better|worse|worst|(?<!at )most|best|leads?|clearly|grows?|ahead|as good as"
                   r"|(cannot|could not) tell|no difference|(are|is|do|does) the same)\b", re.I)


@dataclass(frozen=True)
class Claim:
    """A row of a lesson's table: what is claimed, its first three cells, and what must be true."""

    claim: str
    seen: str
    tried: str
    holds: Mapping[str, Callable[[], bool]]


def percent(share: float, unit: str = " %") -> str:
    """Return a share as a lesson writes it: "80.5 %"."""
    return f"{100 * share:.1f}{unit}"


def spread(shares: list[float], unit: str = " %") -> str:
    """Return mean and standard deviation as a lesson writes them: "79.9 ± 0.7 %"."""
    return f"{100 * mean(shares):.1f} ± {100 * stdev(shares):.1f}{unit}"


# ── the runs that a claim asks ───────────────────────────────────────────────────────────────

_asked: set[tuple[str, str]] = set()


def of(name: str, field: str = "accuracy", **wanted: Any) -> list[float]:
    """Return one field of a record's runs that agree in every given field."""
    rows = select(record(name), **wanted)
    _asked.update((name, row["method"]) for row in rows)
    return [row[field] for row in rows]


@contextmanager
def asked() -> Iterator[set[tuple[str, str]]]:
    """Give the (record, method) pairs that are asked within this block."""
    _asked.clear()
    yield _asked


# ── how each rate was found ──────────────────────────────────────────────────────────────────


@cache
def rates(name: str) -> dict[str, Any] | None:
    """Return what a record's script says of its methods' rates; None if it says nothing."""
    for node in ast.parse((RECORDS / f"{name}.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SEARCHED":
            return ast.literal_eval(node.value)
    return None


def rate_problems(name: str, runs: list[dict], declared: Mapping[str, Any]) -> Iterator[str]:
    """Yield in what a record does not agree with what its script says of the rates."""
    runs = [row for row in runs if "method" in row]    # others train nothing that is compared
    for method in sorted({row["method"] for row in runs} | {*declared} - {REST}):
        how = declared.get(method, declared.get(REST))
        if how is None:
            yield f"{name}.py: SEARCHED does not say how the rate of {method!r} was found"
            continue
        if isinstance(how, str):
            if how not in (SOLVED, ALIKE, NOT_SEARCHED):
                yield f"{name}.py: the rate of {method!r} is {how!r}, not {SOLVED!r} or a search"
            continue
        of, search = runs, how
        if "record" in how:
            of, search = record(how["record"])["runs"], (rates(how["record"]) or {}).get(method)
            if not isinstance(search, dict):
                yield f"{name}.py: {how['record']}.py does not search a rate of {method!r}"
                continue
        for size, chosen, tried in _searches(method, of, search):
            by = search["by"]
            used = {row[by] for row in runs if row["group"] in how["used"]
                    and row["method"] == method and _size(row, search) == size} - {chosen}
            if not min(tried) < chosen < max(tried):
                yield (f"{name}.py: the search of {method!r} ends at its edge: {by} {chosen:g} of "
                       f"{sorted(tried)}")
            if used:
                yield (f"{name}.py: {method!r} was run at {by} {sorted(used)}, and validation "
                       f"chose {chosen:g}")


def _searches(method: str, runs: list[dict], how: Mapping[str, Any]
              ) -> Iterator[tuple[str, float, list[float]]]:
    """Yield what each search was for, the rate that it chose, and those that it tried."""
    score = how.get("score", "validation")
    rows = [row for row in runs if row["group"] in how["groups"] and row.get("method") == method
            and row.get(score) is not None
            and how["where"].items() <= (row | row.get("setting", {})).items()]
    for size in {_size(row, how) for row in rows} or {"None"}:
        tried = {row[how["by"]]: row[score] for row in rows if _size(row, how) == size}
        yield size, max(tried, key=tried.get, default=math.nan), [*tried] or [math.nan]


def _size(row: Mapping[str, Any], how: Mapping[str, Any]) -> str:
    return str(row.get(how.get("each")))


def unfair(pairs: set[tuple[str, str]]) -> Iterator[str]:
    """Yield which of these (record, method) pairs are compared though no rate was searched."""
    for name in sorted({name for name, _ in pairs}):
        methods = {method for which, method in pairs if which == name}
        if len(methods) > 1:
            yield from (f"the rate of {method!r} in {name}.json was not searched"
                        for method in sorted(methods)
                        if _found(name, method) == NOT_SEARCHED)


def _found(name: str, method: str) -> Any:
    declared = rates(name) or {}
    return declared.get(method, declared.get(REST, NOT_SEARCHED))
