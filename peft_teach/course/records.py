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


def sweep(record: dict, method: str) -> dict[float, float]:
    """Return seed 0's test accuracy by learning rate; the main run's rate is among them."""
    rows = select(record, method=method, group="rates")
    rows += [row for row in record["runs"] if row["method"] == method and row["seed"] == 0
             and row["group"] in ("methods", "ranks") and row.get("rank", 8) == 8]
    return {row["lr"]: row["accuracy"] for row in sorted(rows, key=lambda row: row["lr"])}


def ways(*records: dict) -> list[dict]:
    """Return seed 0's run from scratch, of the head and of full fine-tuning at each rate.

    Each went once over the data. Where two records hold a run, the first one's is taken; `curve`
    is None for a run whose accuracy was not looked at along the way.
    """
    found: dict[tuple, dict] = {}
    for row in (row for record in records for row in record["runs"]):
        if (row["method"] in ("scratch", "head", "full") and row["seed"] == 0
                and row.get("epochs", 1) == 1 and "pool" not in row):
            found.setdefault((row["method"], row["lr"]), row | {"curve": row.get("curve")})
    return list(found.values())


def points(record: dict, depth: int) -> dict:
    """Return what `widgets.lora_budget` reads: one point a LoRA setting, and the two levels.

    `depth` is the number of blocks of the model that the record is of.
    """
    def level(method: str) -> float:
        return accuracy(select(record, group="methods", method=method))[0]

    groups = [rows for group in ("ranks", "places", "layers", "forty_kb")
              for rows in by_setting(select(record, group=group))]
    return {"depth": depth, "full": level("full"), "head": level("head"), "points": [
        {field: rows[0][field] for field in ("rank", "targets", "layers", "parameters")}
        | dict(zip(("mean", "spread"), accuracy(rows))) for rows in groups]}
