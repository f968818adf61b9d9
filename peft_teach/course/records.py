"""Recorded results: runs too long for a lesson, each made by the script beside its file.

    record = load("lora")                      assets/records/lora.json, made by lora.py there
    record.runs                                a pandas data frame, one row a run
    record.losses[id], record.spectra[id]      of the run with this id, the frame's index
    record["cost"]                             the rest, by its name in the file
    table(record.runs, "rank")                 "80.0 ± 0.3 %" of each rank, to be shown
    gain(record.runs["accuracy"])              the course's yardstick: 0 the head alone, 1 full
    standard_error(0.80, 2563)                 of an accuracy on so many test sentences

A frame has the columns below that its record knows. Settings that a run leaves out stand as what
they were: its method's default. What is marked with ? is <NA> where a run has no such thing (the
dtypes are Int64 and Float64): the rank of full fine-tuning, the seed where chance has no part.
Whatever is more than one number or name a run (`answers`, `curve`) stands in its row of the file,
`record["runs"][id]`. Columns with the name of a method (`rank`) are asked by brackets.

    group              what the run was made for; the record's script says it of each group
    model              minilm or smollm2
    method             the module of peft_teach that made it, and: head (the head alone), none (no
                       training), scratch (full from random weights), subspace (random directions),
                       gated prefix
    place              of bottlenecks, named after the paper; lora
    targets, layers    what was adapted, as query+value and 3+4+5; all, none
    rank?, alpha?      of LoRA, with the next three
    dropout, rank_stabilized
    plus               how many times the rate of A the rate of B is (LoRA+)
    size?, sigma?      of bottlenecks: the width; the deviation of the start where it was varied
    d?, step?          of subspace: how many directions, and the learning rate along them
    length?            how many vectors a prompt or prefix has
    start, text        what they start as; the instruction in words that stands in front
    head               new, or trained to its end before and then frozen
    read, pool         what the head reads: of the prompt, or the answer's place; as in models.load
    pooler             between that and the head: the model's own, none, or the number of a new one
    penalty, standardized    of a head: on its squared weights; whether its features are
    pretrained         whether the model is
    shots?             training sentences, where they are few and seen several times
    examples?          training sentences
    epochs             how often they are seen
    lr?, seed?, steps?       of the training
    tests              how many sentences the accuracy is on
    parameters?        that the method trains, head not counted
    modules?           how many adapters
    accuracy           on the test sentences, from 0 to 1, as the other four
    validation?, training?   on the validation and the training sentences
    before?, plain?    without the training; without the bound
    ranked?            the share of pairs in which the sentence that is liked has the larger margin
    bound?             between the two answers, best on the training sentences
    loss?              on the training sentences, at the end
    last_loss?         in the last 20 steps
    validation_loss?   on the validation sentences
    gradient?          its largest entry at the end
    spread?            mean standard deviation of the features
    moved?             of a prompt: the distance from its start, as a share of the start's norm
    distance?          of subspace: how far the weights went
    opened?, largest?  of a prefix: the heads that take more of it than before; the largest share
    spectrum           under which its spectrum stands in the file, or none
"""

import functools
import json
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from ..errors import PeftTeachError, unknown

if TYPE_CHECKING:
    import pandas

# In an installed package the records lie inside it; in a checkout, beside it.
INSTALLED = Path(__file__).parents[1] / "_records"
CHECKOUT = Path(__file__).parents[2] / "assets" / "records"


DTYPES = {
    "group": "str", "model": "str", "method": "str", "place": "str", "targets": "str",
    "layers": "str", "rank": "Int64", "alpha": "Float64", "dropout": "float64",
    "rank_stabilized": "bool", "plus": "int64", "size": "Int64", "sigma": "Float64", "d": "Int64",
    "step": "Float64", "length": "Int64", "start": "str", "text": "str", "head": "str",
    "read": "str", "pool": "str", "pooler": "str", "penalty": "float64", "standardized": "bool",
    "pretrained": "bool", "shots": "Int64", "examples": "Int64", "epochs": "int64",
    "lr": "Float64", "seed": "Int64", "steps": "Int64", "tests": "int64", "parameters": "Int64",
    "modules": "Int64", "accuracy": "float64", "validation": "Float64", "training": "Float64",
    "before": "Float64", "plain": "Float64", "ranked": "Float64", "bound": "Float64",
    "loss": "Float64", "last_loss": "Float64", "validation_loss": "Float64",
    "gradient": "Float64", "spread": "Float64", "moved": "Float64", "distance": "Float64",
    "opened": "Int64", "largest": "Float64", "spectrum": "str"}

# What holds of a run that does not say; of a method where it is another's than the rest's.
DEFAULTS = {"place": "none", "targets": "all", "layers": "all", "dropout": 0.0,
            "rank_stabilized": False, "plus": 1, "start": "none", "text": "", "head": "new",
            "read": "cls", "pool": "cls", "pooler": "its own", "penalty": 0.0,
            "standardized": False, "pretrained": True, "epochs": 1, "spectrum": "none"}
OF_METHOD = {"head": {"targets": "none", "layers": "none"}, "prefix": {"start": "random"},
             "gated prefix": {"start": "random"}, "prompt": {"start": "random"}}
LINEAR = ["query", "key", "value", "attention_out", "ffn_in", "ffn_out"]


class Record(dict):
    """What stands in a record's file, and its runs as a data frame."""

    @functools.cached_property
    def runs(self) -> "pandas.DataFrame":
        """The runs that have an accuracy, by id; the columns are told at the top of this file."""
        import pandas

        runs = {id: _tidy(row, self.get("setting", {})) for id, row in enumerate(self["runs"])
                if "accuracy" in row}
        if not runs:
            raise PeftTeachError("The rows of this record are not runs with an accuracy.",
                                 hint="pandas.json_normalize(record['runs']) makes them a frame")
        known = set().union(*runs.values())
        dtypes = {name: dtype for name, dtype in DTYPES.items() if name in known}
        rows = [DEFAULTS | OF_METHOD.get(run["method"], {}) | run for run in runs.values()]
        return pandas.DataFrame(rows, columns=list(dtypes),
                                index=pandas.Index(runs, name="id")).astype(dtypes)

    @property
    def losses(self) -> dict[int, list[float]]:
        """The loss of each step, by the run's id."""
        return {id: row["losses"] for id, row in enumerate(self["runs"]) if "losses" in row}

    @property
    def spectra(self) -> dict[int, dict]:
        """The singular values of each matrix's update, by the run's id."""
        return {id: self["spectra"][row["spectrum"]] for id, row in enumerate(self["runs"])
                if "spectrum" in row}


def load(name: str) -> Record:
    """Return the record of this name. Raises `UnknownName` if there is none."""
    folder = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    file = folder / f"{name}.json"
    if not file.is_file():
        raise unknown("record", name, (f.stem for f in sorted(folder.glob("*.json"))))
    return Record(json.loads(file.read_text(encoding="utf-8")))


def _tidy(row: dict, shared: dict) -> dict:
    """Return what a row and its record say of one run, under the names of `DTYPES`."""
    run = {"model": shared.get("model"), "examples": shared.get("train_examples"),
           "tests": shared.get("tests", shared.get("test_examples")),
           "steps": len(row["losses"]) if "losses" in row else None}
    run |= row["setting"] | row
    for name, everything in (("targets", LINEAR), ("layers", None)):
        if name in run:
            chosen = run[name]
            run[name] = "all" if chosen == everything else "+".join(map(str, chosen))
    return {name: value for name, value in run.items() if name in DTYPES
            and value is not None and not isinstance(value, (list, dict))}


def table(runs: "pandas.DataFrame", by: str | list[str], *shares: str) -> "pandas.DataFrame":
    """Return means and deviations as text, "79.9 ± 0.7 %", and how many runs they are over.

    `by` are the columns to group by; `shares` those to tell, from 0 to 1: "accuracy" unless given.
    """
    groups = runs.groupby(by, dropna=False)
    told = groups[list(shares or ("accuracy",))].agg(_percent)
    return told.assign(runs=groups.size())


def _percent(values: "pandas.Series") -> str:
    """Return mean and standard deviation in percent; of a single value, itself."""
    spread = f" ± {100 * values.std():.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread} %"


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
    return (accuracy * (1 - accuracy) / examples) ** 0.5


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
