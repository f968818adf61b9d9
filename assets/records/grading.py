"""Measure how many submissions a minute `peft-teach grade` marks; print the rate, and store it.

    python assets/records/grading.py            48 submissions of each lesson, on two cores
    python assets/records/grading.py --again    all anew; --lessons 07 --count 12 --jobs 1: others
    python assets/records/grading.py --forget   all anew, and what other machines took is forgotten

Needs a checkout, and the `test` extra for the reference: what nbgrader does, to run one solved
notebook from its first cell to its last, at the smoke budget, on the same cores.

The submissions are copies of a lesson in which every student has solved another set of exercises,
so no two are equal and no result is taken twice. Visible and further cases are run. The time is
that of the whole command, with the start of the servers, the report and the feedback. `busy` is
the load of the machine beside this, a minute's average before the start, in cores.

Prints Markdown and writes `grading.json`: one row a lesson. What stands there, measured on this
machine, is not measured again; rows of other machines stay.
"""

import copy
import os
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from peft_teach.course import recording
from peft_teach.course.grade import Options, grade

ROOT = Path(__file__).parents[2]
LEAST = 20    # submissions a minute: what an instructor should be able to count on


def submissions(lesson: str, count: int, folder: Path) -> None:
    """Write `count` notebooks; number i has solved the exercises at the ones of i in binary."""
    solved = read(f"solutions/{lesson}_*/*.ipynb")
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
    """Grade and time; return what was found."""
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        submissions(lesson, count, Path(folder) / "in")
        start = time.perf_counter()
        rows = grade(Path(folder) / "in", Path(folder) / "out",
                     Options(solutions=ROOT / "solutions", jobs=jobs))
        seconds = time.perf_counter() - start
    given, maximum = rows[0].points()
    assert given == maximum    # number 0 has solved all
    return {"seconds": round(seconds, 1), "a_minute": round(60 * count / seconds),
            "busy": round(busy, 1), "whole_notebook_seconds": round(whole(lesson), 1)}


def whole(lesson: str) -> float:
    """Return the seconds that a solved notebook takes from top to bottom, as nbgrader runs it."""
    os.environ["PEFT_TEACH_BUDGET"] = "smoke"
    start = time.perf_counter()
    NotebookClient(read(f"solutions/{lesson}_*/*.ipynb"), timeout=600, kernel_name="python3",
                   resources={"metadata": {"path": str(ROOT / "solutions")}}).execute()
    return time.perf_counter() - start


def table(record: dict) -> str:
    """Return the record as Markdown."""
    lines = ["| lesson | submissions | processes | seconds | a minute | nbgrader's way, a minute "
             "| busy | measured |", "|---|---|---|---|---|---|---|---|"]
    for row in record["runs"]:
        other = 60 * row["jobs"] / row["whole_notebook_seconds"]    # at most: as many at a time
        lines.append(f"| {row['lesson']} | {row['submissions']} | {row['jobs']} | {row['seconds']} "
                     f"| **{row['a_minute']}** (at least {LEAST}) | {other:.1f} | {row['busy']} "
                     f"| {row['machine']['device']}, {row['date']} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing of what the command line asks for."""
    known = [path.name[:2] for path in sorted((ROOT / "lessons").glob("[0-9][0-9]_*.ipynb"))]
    parser = recording.arguments(__doc__)
    parser.add_argument("--lessons", nargs="*", default=known)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    record = recording.Recorder(__file__, again=options.again, forget=options.forget)
    for lesson in options.lessons:
        about = {"lesson": lesson, "submissions": options.count, "jobs": options.jobs,
                 "machine": recording.machine()}
        if not record.holds(about):
            record.add(about, measure(lesson, options.count, options.jobs) | recording.today())
    print(table(record.read()))


if __name__ == "__main__":
    main()
