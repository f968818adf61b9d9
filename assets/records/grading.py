"""Measure how many submissions a minute `peft-teach grade` marks; print the rate, and store it.

    python assets/records/grading.py                  48 submissions of each lesson, on two cores
    python assets/records/grading.py --lessons 07 --count 12 --jobs 1

Needs a checkout, and the `test` extra for the reference: what nbgrader does, to run one solved
notebook from its first cell to its last, at the smoke budget, on the same cores.

The submissions are copies of a lesson in which every student has solved another set of exercises,
so no two are equal and no result is taken twice. Visible and further cases are run. The time is
that of the whole command, with the start of the servers, the report and the feedback. `busy` is
the load of the machine beside this, a minute's average before the start, in cores.

Prints Markdown and writes `grading.json`: one row a lesson.
"""

import argparse
import copy
import datetime
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import nbformat
import torch
from nbclient import NotebookClient

from peft_teach.course.grade import grade

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_suffix(".json")
LEAST = 20    # submissions a minute: what an instructor should be able to count on


def submissions(lesson: str, count: int, folder: Path) -> None:
    """Write `count` notebooks; number i has solved the exercises at the ones of i in binary."""
    solved = read(f"solutions/{lesson}_*.ipynb")
    untouched = read(f"lessons/{lesson}_*.ipynb")
    answers = [i for i, cell in enumerate(solved.cells) if cell.id.endswith("-solution")]
    for number in range(count):
        notebook = copy.deepcopy(untouched)
        for bit, index in enumerate(answers):
            if not number >> bit & 1:
                notebook.cells[index].source = solved.cells[index].source
        # Beyond 2 to the exercises, sets repeat, and of equal notebooks one result would serve all.
        notebook.cells[answers[0]].source += f"\n# student {number}"
        path = folder / f"student{number:04d}/lesson.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)


def read(pattern: str):
    """Return the one notebook of this name."""
    path, = ROOT.glob(pattern)
    return nbformat.read(path, as_version=4)


def measure(lesson: str, count: int, jobs: int) -> dict:
    """Grade and time; return a row."""
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        submissions(lesson, count, Path(folder) / "in")
        start = time.perf_counter()
        rows = grade(Path(folder) / "in", Path(folder) / "out", solutions=ROOT / "solutions",
                     jobs=jobs)
        seconds = time.perf_counter() - start
    assert rows[0].points == rows[0].maximum    # number 0 has solved all
    return {"lesson": lesson, "submissions": count, "jobs": jobs, "seconds": round(seconds, 1),
            "a_minute": round(60 * count / seconds), "busy": round(busy, 1),
            "whole_notebook_seconds": round(whole(lesson), 1)}


def whole(lesson: str) -> float:
    """Return the seconds that a solved notebook takes from top to bottom, as nbgrader runs it."""
    os.environ["PEFT_TEACH_BUDGET"] = "smoke"
    start = time.perf_counter()
    NotebookClient(read(f"solutions/{lesson}_*.ipynb"), timeout=600, kernel_name="python3",
                   resources={"metadata": {"path": str(ROOT / "solutions")}}).execute()
    return time.perf_counter() - start


def table(record: dict) -> str:
    """Return the record as Markdown."""
    lines = ["| lesson | submissions | seconds | a minute | nbgrader's way, a minute | busy |",
             "|---|---|---|---|---|---|"]
    for row in record["runs"]:
        other = 60 * row["jobs"] / row["whole_notebook_seconds"]    # at most: as many at a time
        lines.append(f"| {row['lesson']} | {row['submissions']} | {row['seconds']} | "
                     f"**{row['a_minute']}** (at least {LEAST}) | {other:.1f} | {row['busy']} |")
    return "\n".join([f"{record['machine']['device']}, {record['machine']['jobs']} processes, "
                      f"{record['machine']['date']}", "", *lines])


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lessons", nargs="*", default=["00", "01", "02", "07"])
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    machine = {"device": processor(), "cores": os.cpu_count(), "jobs": options.jobs,
               "date": str(datetime.date.today()), "python": platform.python_version(),
               "torch": torch.__version__}
    runs = [measure(lesson, options.count, options.jobs) for lesson in options.lessons]
    record = {"machine": machine, "runs": runs}
    FILE.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(record))


def processor() -> str:
    """Return the name of this machine's processor."""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
