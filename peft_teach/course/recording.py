"""Making a record: what takes too long for a lesson runs once, and stands in a json file.

    recorder = Recorder(__file__, setting=setting(data, train_examples=4000))
    recorder.make(wanted, run)               what is there already is not made again

A record is a json object. Its lists, `runs` above all, hold one row a line: what the row is about
(a group and its settings, or a device, a model and a method), then what was found. The file is
written after every row, so a script that was interrupted goes on where it stopped, and a script
that finds nothing missing leaves the file as it is. `course.records` reads it.

Nothing that was recorded is dropped unasked: with `--again` a row stands until it is made anew, and
only `--forget` drops the rest. What a row is about names everything that its numbers depend on; for
measured times that includes the `machine`, so rows of two machines stand beside each other.

`records` makes a data frame of the rows with an `accuracy`. Such a row, or its `setting`, names the
`method`; the row or the record's setting names the `model` and how many `tests` there were; and
`spectrum`, where it has one, its entry in the part "spectra".

The scripts are in `assets/records`, each beside the file that it writes.
"""

import argparse
import datetime
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor, nn

from ..data import Dataset
from ..folder import write_whole
from ..models import find


class Recorder:
    """The record beside a script.

    `setting` says what all runs share. It is written with the first row; a row that is made later
    under another setting, with a newer torch say, has a field `differs` that says in what.

    `again` makes anew what is asked for; each row stands until its new one takes its place.
    `forget` begins with an empty record.
    """

    def __init__(self, script: str | Path, setting: dict | None = None, again: bool = False,
                 forget: bool = False):
        self.file = Path(script).with_suffix(".json")
        self.setting = setting and _as_json(setting)    # as it is read again
        self._made: dict | None = {} if again else None    # what this script made, as a record
        if forget:
            self.file.unlink(missing_ok=True)

    def read(self) -> dict:
        """Return the record as it stands; another process may be adding to it."""
        return json.loads(self.file.read_text("utf-8")) if self.file.exists() else {}

    def made(self) -> dict:
        """Return what need not be made: the record, or with `again` what has been made anew."""
        return self.read() if self._made is None else self._made

    def holds(self, about: dict, part: str = "runs") -> bool:
        """Return whether there is a row about this that need not be made."""
        return _index(self.made().get(part, []), about) is not None

    def make(self, wanted: Iterable[dict], run: Callable[[dict], tuple[dict, dict]],
             again: bool = False) -> None:
        """Make the rows that are missing, in this order; with `again`, those that are there, too.

        `run(about)` returns what was found, and the dicts that other parts of the record gain, by
        name: `{"spectra": {"8": ...}}`. It gets `about` as json gives it back, lists for tuples.
        """
        for about in map(_as_json, wanted):
            if again or not self.holds(about):
                found, gains = run(about)
                self.add(about, found, **gains)
                print(*about.values(), found.get("accuracy", ""), flush=True)

    def add(self, about: dict, found: dict, part: str = "runs", **gains: dict) -> None:
        """Write one row, instead of one about the same, and what other parts gain.

        Two processes may add at once.
        """
        with self._lock():
            record = self.read()
            if self.setting is not None:
                stands = record.setdefault("setting", self.setting)
                differs = {k: v for k, v in self.setting.items() if stands.get(k) != v}
                found = found | ({"differs": differs} if differs else {})
            for into in self._both(record):
                rows, row = into.setdefault(part, []), _as_json({**about, **found})
                index = _index(rows, about)
                if index is None:
                    rows.append(row)
                else:
                    rows[index] = row
            self._gain(record, gains)

    def _lock(self) -> FileLock:
        return FileLock(Path(tempfile.gettempdir()) / f"{self.file.name}.lock")

    def gain(self, **gains: dict) -> None:
        """Write what parts gain that are not rows. Two processes may do so at once."""
        with self._lock():
            self._gain(self.read(), gains)

    def _gain(self, record: dict, gains: dict) -> None:
        for into in self._both(record):
            for part, entries in gains.items():
                into[part] = into.get(part, {}) | entries
        self.save(record)

    def _both(self, record: dict) -> list[dict]:
        """Return what a new row goes into."""
        return [record] if self._made is None else [record, self._made]

    def save(self, record: dict) -> None:
        """Write the whole record, one row a line."""
        parts = [f"{json.dumps(name)}: " + (
            "[\n" + ",\n".join(map(json.dumps, value)) + "\n]" if isinstance(value, list)
            else json.dumps(value)) for name, value in record.items()]
        write_whole({self.file: "{\n" + ",\n".join(parts) + "\n}\n"})


def setting(data: Dataset, **sizes: int) -> dict:
    """Return what the runs of a lesson share: MiniLM, movie reviews, batches, torch's version."""
    return {"model": "minilm", "data": "movies", **sizes, "batch_size": 16, "max_tokens": 32,
            "torch": torch.__version__, "test_examples": len(data.test),
            "majority": round(data.majority, 4)}


def matrices(model: nn.Module, places: tuple[str, ...]) -> dict[str, Tensor]:
    """Return copies of the weights of some places, by module name."""
    return {name: model.get_parameter(f"{name}.weight").detach().clone()
            for name in find(model, places)}


def machine(*modules, device: str = "cpu", **more) -> dict:
    """Return what a measured time depends on: processor, cores, threads, versions."""
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return {"device": name, "cores": os.cpu_count(), **more, "python": platform.python_version(),
            **{m.__name__: m.__version__ for m in (torch, *modules)}}


def today() -> dict:
    """Return the date, for a row of measured times."""
    return {"date": datetime.date.today().isoformat()}


def processor() -> str:
    """Return the name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def arguments(doc: str) -> argparse.ArgumentParser:
    """Return a command line with what every script takes: `--again` and `--forget`."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--again", action="store_true",
                        help="make anew what stands; else only what is missing is made")
    parser.add_argument("--forget", action="store_true",
                        help="begin with an empty record: all that stands is forgotten")
    return parser


def next_rate(found: dict, ladder: Sequence[float], first: float) -> float | None:
    """Return the rate of a ladder to try next; None once the best's two neighbours were tried.

    `found` says by rate how good what was tried is: more is better. So a search ends at the edge of
    what it tried only where the ladder does.
    """
    if not found:
        return first
    best = ladder.index(max(found, key=found.__getitem__))
    beside = [rate for rate in (*ladder[best + 1:best + 2], *ladder[max(0, best - 1):best])
              if rate not in found]
    return beside[0] if beside else None


def bits(answers: Iterable) -> str:
    """Return answers of two classes as one text of zeros and ones, an answer a digit."""
    return "".join(str(int(answer)) for answer in answers)


def _as_json(value: dict) -> dict:
    """Return a dict as it comes back from a file: lists for tuples."""
    return json.loads(json.dumps(value))


def _index(rows: list[dict], about: dict) -> int | None:
    """Return the index of the row that agrees with `about` in all of its fields, or None."""
    about = _as_json(about)
    return next((i for i, row in enumerate(rows)
                 if {name: row.get(name) for name in about} == about), None)
