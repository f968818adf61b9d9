"""Recorded results: runs too long for a lesson, each made by the script beside its file.

    record = load("lora")                      assets/records/lora.json, made by lora.py there
    rows = select(record, group="ranks", rank=8)
    mean, spread = accuracy(rows)              over the seeds
    dots(record, "places", label)              [(label, accuracies), ...], for a picture
"""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from ..errors import PeftTeachError, unknown

# In an installed package the records lie inside it; in a checkout, beside it.
INSTALLED = Path(__file__).parents[1] / "_records"
CHECKOUT = Path(__file__).parents[2] / "assets" / "records"


def load(name: str) -> dict:
    """Return the record of this name. Raises `UnknownName` if there is none."""
    folder = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    file = folder / f"{name}.json"
    if not file.is_file():
        raise unknown("record", name, (f.stem for f in sorted(folder.glob("*.json"))))
    return json.loads(file.read_text(encoding="utf-8"))


def select(record: dict, **wanted) -> list[dict]:
    """Return the runs that agree in every given field; a missing field counts as None."""
    rows = [row for row in record["runs"]
            if all(row.get(k) == (list(v) if isinstance(v, tuple) else v)
                   for k, v in wanted.items())]
    if not rows:
        raise PeftTeachError(f"No recorded run has {wanted}.",
                             hint="look at the fields of record['runs'][0]")
    return rows


def accuracy(rows: list[dict]) -> tuple[float, float]:
    """Return mean and standard deviation of the test accuracy over the seeds, from 0 to 1."""
    values = [row["accuracy"] for row in rows]
    return mean(values), stdev(values) if len(values) > 1 else 0.0


def by_setting(rows: list[dict]) -> list[list[dict]]:
    """Return the runs in groups that differ in nothing but the seed, in the order of the record."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        setting = {k: v for k, v in row["setting"].items() if k != "seed"}
        groups.setdefault(json.dumps(setting, sort_keys=True), []).append(row)
    return list(groups.values())


def dots(record: dict, group: str, label: Callable[[dict], str],
         **wanted) -> list[tuple[str, list[float]]]:
    """Return (label, accuracies over the seeds) of every setting in a group, as recorded."""
    return [(label(rows[0]), [row["accuracy"] for row in rows])
            for rows in by_setting(select(record, group=group, **wanted))]
