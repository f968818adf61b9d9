"""Recorded results: runs too long for a lesson, each made by the script beside its file.

    record = load("lora")                      assets/records/lora.json, made by lora.py there
    record.runs                                a pandas data frame, one row a run
    record.losses[id], record.spectra[id]      of the run with this id, the frame's index
    record["setting"]                          the rest, by its name in the file
    table(record.runs, "rank")                 "80.0 ± 0.2 %" for each rank, ready to be shown
    gain(0.80)                                 the course's yardstick: 0 the head, 1 full
    standard_error(0.80, 2563)                 of an accuracy on so many test sentences

The last two take columns, too.

A frame has those of `COLUMNS` that its record knows. A setting that a run does not name has its
method's default. Further numbers and names of one record are columns after these, which its script
explains; any may be missing. Whatever is more than a number or a name (`answers`, `losses`) stays
in the run's row, `record["runs"][id]`.
Write `runs["rank"]` rather than `runs.rank` where a data frame has a method of that name.
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
FOLDER = INSTALLED if INSTALLED.is_dir() else CHECKOUT

NAME = 80        # characters of the longest text that is a name

# The columns that records share, in the order of a frame. A question mark marks what some runs
# lack, as full fine-tuning a rank, and what is not random a seed: there it is <NA>.
COLUMNS = {
    "group": "what the run was made for; the script explains its groups",
    "model": "minilm, smollm2",
    "method": "a method of peft_teach, or: head (head only), none (nothing is trained), scratch "
              "(all of a randomly initialized model), subspace (random directions), gated prefix, "
              "gain (LoRA with a trained factor behind each output); in lesson 10 its rungs",
    "control": "what ought to make a run fail, or none",
    "domain": "on which of the four tasks it ran",
    "place": "of a bottleneck: the paper's placement, by name",
    "targets": "which modules are adapted, as in query+value; all (every linear layer of a block)",
    "layers": "in which blocks, as in 3+4+5; all; none",
    "rank": "? of LoRA",
    "alpha": "? of LoRA",
    "dropout": "of LoRA",
    "rank_stabilized": "of LoRA",
    "plus": "LoRA+: the learning rate of B, in multiples of A's",
    "size": "? of a bottleneck: its width",
    "sigma": "? of a bottleneck: its initial standard deviation, where varied",
    "d": "? of a subspace: its dimension",
    "step": "? of a subspace: the learning rate along its directions",
    "length": "? of a prompt or prefix, in vectors",
    "start": "what the vectors, or A and B, start as",
    "text": "an instruction in words before the sentence",
    "pool": "what the head reads, as in `models.load`",
    "pooler": "what stands before the head: its own, none, or the seed of a random one",
    "penalty": "of a head: L2 on its weights",
    "standardized": "of a head: whether its features are standardized",
    "pretrained": "whether the model starts from pretrained weights",
    "shots": "? training sentences: a few, seen several times",
    "examples": "training sentences: many",
    "epochs": "? passes over them",
    "lr": "? of the training",
    "head_lr": "the head's rate, where it has its own",
    "seed": "? of the training",
    "steps": "? of the training",
    "tests": "? sentences on which the accuracy was measured, where it ran on the films",
    "parameters": "? trained, without the head",
    "modules": "? adapters in the model",
    "accuracy": "on the test sentences (in group `search` of ia3: of validation), from 0 to 1",
    "r2": "share of the ratings' variance that is predicted; then accuracy is the sign's",
    "validation": "? accuracy on the validation sentences",
    "training": "? accuracy on the training sentences",
    "ranked": "share of pairs in which the positive sentence has the larger margin",
    "bound": "? the threshold between the two answers that is best on training sentences",
    "loss": "? on the training sentences, at the end",
    "validation_loss": "? on the validation sentences",
    "gradient": "? largest entry of the gradient at the end",
    "distance": "? of a subspace: norm of the coordinates at the end",
    "hidden_error": "? of the last hidden states before training, relative to a whole base",
    "spectrum": "name of the run's entry in the record's \"spectra\", or none"}

# The settings of a run that does not name them, and the methods whose defaults differ.
DEFAULTS = {"targets": "all", "layers": "all", "dropout": 0.0, "rank_stabilized": False, "plus": 1,
            "start": "none", "text": "", "pool": "cls", "pooler": "its own", "penalty": 0.0,
            "standardized": False, "pretrained": True, "spectrum": "none", "control": "none",
            "domain": "movies"}
METHOD_DEFAULTS = {"head": {"targets": "none", "layers": "none"}, "prompt": {"start": "random"},
                   "prefix": {"start": "random"}, "gated prefix": {"start": "random"}}
LINEAR = ["query", "key", "value", "attention_out", "ffn_in", "ffn_out"]


class Record(dict):
    """A record's file as it is, and its runs as a data frame."""

    @functools.cached_property
    def runs(self) -> "pandas.DataFrame":
        """The runs that have an accuracy, by id. `COLUMNS` says what is in them."""
        import pandas

        runs = {id: _tidy(row, self.get("setting", {})) for id, row in enumerate(self["runs"])
                if "accuracy" in row}
        if not runs:
            raise PeftTeachError("No row of this record has an accuracy.",
                                 hint="pandas.json_normalize(record['runs']) is a frame of them")
        known = dict.fromkeys(name for run in runs.values() for name in run)
        columns = [*(name for name in COLUMNS if name in known),
                   *(name for name in known if name not in COLUMNS)]
        rows = [DEFAULTS | METHOD_DEFAULTS.get(run["method"], {}) | run for run in runs.values()]
        found = pandas.DataFrame(rows, pandas.Index(runs, name="id"), columns, dtype=object)
        return found.convert_dtypes().astype({"accuracy": float})    # which all of them have

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
    file = FOLDER / f"{name}.json"
    if not file.is_file():
        raise unknown("record", name, (f.stem for f in sorted(FOLDER.glob("*.json"))))
    return Record(json.loads(file.read_text(encoding="utf-8")))


def _tidy(row: dict, shared: dict) -> dict:
    """Return the columns of one run that its row, or the record's setting, gives."""
    run = {"model": shared.get("model"), "examples": shared.get("train_examples"),
           "tests": None if "domain" in row else shared.get("tests", shared.get("test_examples")),
           "steps": len(row["losses"]) if "losses" in row else None}
    run |= row.get("setting", {}) | row
    if run["method"] == "subspace":    # elsewhere `length` counts vectors
        run["distance"] = run.pop("length")
    if "pooler" in run:    # a seed, or a name
        run["pooler"] = str(run["pooler"])
    for name, everything in (("targets", LINEAR), ("layers", None)):
        if name in run:
            chosen = run[name]
            run[name] = "all" if chosen == everything else "+".join(map(str, chosen))
    return {name: value for name, value in run.items()
            if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= NAME)}


def table(runs: "pandas.DataFrame", by: str | list[str], *shares: str) -> "pandas.DataFrame":
    """Return means and standard deviations as text, "79.9 ± 0.7 %", and the number of runs.

    `by` are the columns to group by, `shares` columns from 0 to 1: "accuracy" unless given.
    """
    groups = runs.groupby(by, dropna=False)
    shown = groups[list(shares or ("accuracy",))].agg(_percent)
    return shown.assign(runs=groups.size())


def _percent(values: "pandas.Series") -> str:
    """Return mean and standard deviation in percent; a single value alone."""
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
    """Return the standard error of accuracies, from 0 to 1, found on so many examples.

    √(a (1 - a) / n): what another choice of test sentences would change. What another seed of the
    training would change is the spread that `accuracy` returns.
    """
    return (accuracy * (1 - accuracy) / examples) ** 0.5


def gain(accuracy: float) -> float:
    """Return the share of the gain: 0 is the head, 1 full fine-tuning, as `ends` has them.

    One yardstick for all methods of the course. It may lie below 0 or above 1. As all test
    accuracies have a standard error of about 0.008, a share has one of about 0.07.
    """
    head, full = ends()
    return (accuracy - head) / (full - head)


def head_on_the_mean(record: dict) -> float:
    """Return the accuracy of the head on the mean, solved, with the penalty validation chooses."""
    rows = select(record, group="converged", pool="mean")
    return max(rows, key=lambda row: row["validation"])["accuracy"]


@functools.cache    # a picture asks at each redraw, and the two records stand
def ends() -> tuple[float, float]:
    """Return the test accuracies between which `gain` measures.

    The head on the pooler, trained until the loss falls no further, without any
    penalty (`full.json`; the problem is convex, so the seed does not matter, and validation prefers
    no penalty), and full fine-tuning, mean of three seeds (`lora.json`). Both learned
    from the same 4,000 sentences.
    """
    head = select(load("full"), group="converged", pool="cls", penalty=0.0)
    full = select(load("lora"), group="methods", method="full")
    return accuracy(head)[0], accuracy(full)[0]
