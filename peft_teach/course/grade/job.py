"""One submission as a task: it depends only on its arguments, so any engine may run it."""

import dataclasses
import hashlib
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .. import records
from ..checks.examination import VISIBLE_SEED, WRONG
from ..checks.exercise import Exercise, Part
from ..lessons import marked, of_lesson
from ..reading.cells import Code
from ..reading.definitions import Plan
from ..reading.notebook import Notebook
from . import further, handed
from .run import FAILED, Mark, examine, mark
from .runner import FORKS, runner
from .sandbox import Limits


@dataclasses.dataclass(frozen=True)
class Settings:
    """How all submissions are graded."""

    limits: Limits = dataclasses.field(default_factory=Limits)
    further: tuple[tuple[str, str], ...] = ()    # the texts of further cases
    held: tuple[tuple[str, int], ...] = ()      # sentences that nobody was given
    warm: bool = FORKS
    run: str = ""    # its own word in the names of scratch folders


def mark_all(notebook: Notebook, lesson: str, settings: Settings) -> list[dict[str, Any]]:
    """The marks of one notebook for a lesson's exercises, as plain data.

    An answer may use another that did not pass: as in the notebook, it gets the reference of that.
    An error of the grader itself affects only one answer, or one notebook that it cannot read, and
    is flagged for a person.
    """
    torch.set_num_threads(1)
    running, marks = runner(settings.limits, settings.warm, settings.run), []
    try:
        code = Code(notebook.cells, notebook.files)
        of_file, parts = handed.examined(notebook, lesson, settings.held, settings.warm,
                                         settings.run)
    except Exception as error:
        return [dataclasses.asdict(_failed(each, error)) for each in marked(lesson)]
    more = further.cases(settings.further) | of_file
    for exercise in of_lesson(lesson):
        try:
            given = mark(running, code, exercise, more.get(exercise.id, ()))
            if given.further and exercise.id in of_file:
                given = dataclasses.replace(given, message=handed.NOTE_UNLIKE_THE_FILE)
        except Exception as error:
            given = _failed(exercise, error)
            code.settle(exercise, ())
        marks.append(dataclasses.asdict(given))
    return marks + [dataclasses.asdict(part) for part in parts]


def _failed(each: Exercise | Part, error: Exception) -> Mark:
    flag = f"{each.id}: {FAILED}, {type(error).__name__}: look at it by hand"
    return Mark(each.id, WRONG, 0, each.points, "It could not be graded.", flags=(flag,))


def mark_references(lesson: str, settings: Settings) -> list[str]:
    """Grade the course's own references as if they were answers; return the problems.

    So a broken grader, or a system on which nothing can run, is found before anybody loses points
    by it.
    """
    torch.set_num_threads(1)
    running, problems = runner(settings.limits, settings.warm, settings.run), []
    more = further.cases(settings.further)
    for exercise in of_lesson(lesson):
        cases = (*exercise.cases(VISIBLE_SEED), *more.get(exercise.id, ()))
        result, _ = examine(running, exercise, _reference(exercise), cases)
        if not result.passed:
            problems.append(f"{exercise.id}, case {result.case}: {result.message} "
                            f"{result.traceback}".strip())
    return problems + handed.problems(lesson, settings.warm, settings.run)


def key(notebook: Notebook, lesson: str, settings: Settings) -> str:
    """A hash of what a kept result depends on: notebook, sources, cases, limits, versions."""
    depends = (notebook, lesson, settings.further, settings.held, settings.limits,
               torch.__version__, platform.python_version())
    return hashlib.sha256(repr(depends).encode() + _sources()).hexdigest()[:32]


@cache
def _sources() -> bytes:
    """All code and records that a mark depends on."""
    package = Path(__file__).parents[2]
    files = [*sorted(package.rglob("*.py")), *sorted(records.FOLDER.glob("*"))]
    return b"".join(path.read_bytes() for path in files if path.is_file())


def _reference(exercise: Exercise) -> Plan:
    """A plan that imports the reference of an exercise under the learner's names."""
    lines = ["import pkgutil", *(f"{name} = pkgutil.resolve_name({path!r})"
                                 for name, path in zip(exercise.names, exercise.references))]
    return Plan({"reference": "\n".join(lines)},
                tuple(("reference", index) for index in range(len(lines))))
