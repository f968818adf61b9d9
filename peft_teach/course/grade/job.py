"""One submission as a job: it depends on nothing but its arguments, so any engine may run it."""

import dataclasses
import hashlib
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..exercise import VISIBLE_SEED, WRONG, Exercise
from ..lessons import of_lesson
from . import hidden
from .cells import Code
from .extract import Plan
from .limits import Limits
from .notebook import Notebook
from .run import FORKS, Mark, Runner, mark, runner, tried

FAILED = "the grader failed at it"    # by a full disk, perhaps: so such a mark is not kept


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all submissions are graded by."""

    limits: Limits = dataclasses.field(default_factory=Limits)
    hidden: Mapping[str, str] = dataclasses.field(default_factory=dict)    # as hidden.read gives it
    warm: bool = FORKS


@dataclasses.dataclass(frozen=True)
class Job:
    """A notebook, and the lesson whose exercises are looked for in it."""

    notebook: Notebook
    lesson: str


def do(job: Job, settings: Settings) -> list[dict[str, Any]]:
    """The marks of one notebook, as plain data.

    As in the notebook, an answer that uses one which did not pass is given the course's own of it.
    """
    torch.set_num_threads(1)
    running = runner(settings.limits, settings.warm)
    code, marks = Code(job.notebook.cells), []
    for exercise in of_lesson(job.lesson):
        marks.append(_marked(running, code, exercise, hidden.cases(settings.hidden, exercise.id)))
        if not marks[-1].points:
            code.lend(exercise)
    return [dataclasses.asdict(each) for each in marks]


def _marked(running: Runner, code: Code, exercise: Exercise, further: Sequence[Any]) -> Mark:
    """The mark. What the grader itself fails at costs no other answer, and is said to a person."""
    try:
        return mark(running, code, exercise, further)
    except Exception as error:
        return Mark(exercise.id, WRONG, 0, exercise.points, "It could not be graded.",
                    flags=(f"{exercise.id}: {FAILED}, {type(error).__name__}: look at it by hand",))


def prove(lesson: str, settings: Settings) -> list[str]:
    """Grade the course's own references as if they were answers; what is wrong with that.

    A grader that is broken, or a system on which nothing can run, is found so, before it gives
    everybody no points.
    """
    torch.set_num_threads(1)
    running, problems = runner(settings.limits, settings.warm), []
    for exercise in of_lesson(lesson):
        cases = (*exercise.cases(VISIBLE_SEED), *hidden.cases(settings.hidden, exercise.id))
        result, _ = tried(running, exercise, _reference(exercise), cases)
        if not result.passed:
            problems.append(f"{exercise.id}, case {result.case}: {result.message} "
                            f"{result.traceback}".strip())
    return problems


def key(job: Job, settings: Settings) -> str:
    """What a result depends on, in short: notebook, exercises, further cases, limits, versions."""
    depends = (job, sorted(settings.hidden.items()), settings.limits, torch.__version__,
               platform.python_version())
    return hashlib.sha256(repr(depends).encode() + _sources()).hexdigest()[:32]


@cache
def _sources() -> bytes:
    """All code that a mark depends on."""
    package = Path(__file__).parents[2]
    return b"".join(path.read_bytes() for path in sorted(package.rglob("*.py")))


def _reference(exercise) -> Plan:
    """A plan that imports the reference of an exercise under the learner's names."""
    lines = ["import pkgutil", *(f"{name} = pkgutil.resolve_name({path!r})"
                                 for name, path in zip(exercise.names, exercise.references))]
    return Plan({"reference": "\n".join(lines)},
                tuple(("reference", index) for index in range(len(lines))))
