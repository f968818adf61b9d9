"""Recorded results: runs too long for a lesson, each made by the script beside its file.

    record = load("lora")                      assets/records/lora.json, made by lora.py there
    rows = select(record, group="ranks", rank=8)
    mean, spread = accuracy(rows)              over the seeds
    gain(0.80)                                 the course's yardstick: 0 the head alone, 1 full
    standard_error(0.80, 2563)                 of an accuracy on so many test sentences
"""

import functools
import json
import math
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


def standard_error(accuracy: float, examples: int) -> float:
    """Return the standard error of an accuracy, from 0 to 1, that was found on so many examples.

    It says how far chance in the choice of test sentences reaches: √(a (1 - a) / n). What another
    seed of the training would have done is no part of it; `accuracy` gives the spread over seeds.
    """
    return math.sqrt(accuracy * (1 - accuracy) / examples)


def gain(accuracy: float) -> float:
    """Return the share of the gain: 0 is the head alone, 1 full fine-tuning.

    One yardstick for all methods of the course. It may lie below 0 or above 1. As all test
    accuracies have a standard error of about 0.008, a share has one of about 0.07.
    """
    head, full = ends()
    return (accuracy - head) / (full - head)


@functools.cache    # a picture asks at each redraw, and the two records stand
def ends() -> tuple[float, float]:
    """Return the test accuracies between which `gain` measures.

    The head alone on the pooler's output, trained until the loss falls no further, without any
    penalty (`full.json`; the problem is convex, so no seed has a part in it, and of the penalties
    validation chooses none), and full fine-tuning, mean of three seeds (`lora.json`). Both learned
    from the same 4,000 sentences.
    """
    head = select(load("full"), group="converged", pool="cls", penalty=0.0)
    full = select(load("lora"), group="methods", method="full")
    return accuracy(head)[0], accuracy(full)[0]


def by_setting(rows: list[dict]) -> list[list[dict]]:
    """Return the runs in groups that differ in nothing but the seed, in the order of the record."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        setting = {k: v for k, v in row["setting"].items() if k != "seed"}
        groups.setdefault(json.dumps(setting, sort_keys=True), []).append(row)
    return list(groups.values())
