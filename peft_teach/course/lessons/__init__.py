"""All lessons, a folder each: what is a lesson's own stands there, and nowhere else.

    lora/
        exercises.py    those whose id starts with `lora.`, as `EXERCISES`
        mutants.py      right and broken versions, where a learner writes a test of them
        stubs.json      what a student starts from, and under which heading; written by the build
        answers.py      the solution notebook's answers that the library does not have; likewise
        pictures.py     the lesson's own pictures, where it has any, with `EXAMPLES` of them
        recorded.py     what its record says, as data frames, where more than pictures ask for it
        handed_in.py    what else is marked, where something is handed in beside the notebook

A further file is for an idea of its own, and bears its name. No lesson imports another: what two
need stands in `checks`, or beside the rooms of the course. Only an answer may be made of an earlier
lesson's, as a reader's is by `pt.mine`: the build writes that import.
"""

import importlib
import json
import pkgutil
from pathlib import Path
from types import ModuleType

from ...errors import unknown
from ..checks.exercise import Exercise
from ..checks.part import Part

STUBS, ANSWERS = "stubs.json", "answers.py"    # written by the build
START = "START"    # the notebook that leads to all lessons, by its file and in its metadata


def find(id: str) -> Exercise:
    """The exercise with this id. Imports only the folder that it stands in."""
    prefix = str(id).partition(".")[0]
    if prefix in names():
        for exercise in _load(prefix):
            if exercise.id == id:
                return exercise
    raise unknown("exercise", id, (exercise.id for exercise in all_exercises()))


def all_exercises() -> tuple[Exercise, ...]:
    """Every exercise, by lesson; within a lesson in the order of their file."""
    found = (exercise for prefix in names() for exercise in _load(prefix))
    return tuple(sorted(found, key=lambda exercise: exercise.lesson))


def of_lesson(lesson: str) -> tuple[Exercise, ...]:
    """The exercises of a lesson, such as "07"; none for a lesson without any."""
    return tuple(exercise for exercise in all_exercises() if exercise.lesson == lesson)


def parts(lesson: str | None = None) -> tuple[Part, ...]:
    """What is marked besides the exercises, of a lesson or of all."""
    files = (name for name in names() if _has(name, "handed_in.py"))
    found = (part for name in files
             for part in importlib.import_module(f"{__name__}.{name}.handed_in").HANDED_IN)
    return tuple(part for part in found if lesson in (None, part.lesson))


def marked(lesson: str | None = None) -> tuple[Exercise | Part, ...]:
    """All that is marked, by lesson: its exercises, and then its other parts."""
    there = all_exercises() if lesson is None else of_lesson(lesson)
    return tuple(sorted((*there, *parts(lesson)), key=lambda each: each.lesson))


def number(lesson: str | int) -> str:
    """A lesson's number as its exercises have it: "07" for 7. Raises `UnknownName`."""
    number, known = str(lesson).zfill(2), [exercise.lesson for exercise in all_exercises()]
    if number not in known:
        raise unknown("lesson with exercises", number, dict.fromkeys(known))
    return number


def stub_of(id: str) -> str | None:
    """What a student starts an exercise from; None where the build has not written it."""
    return _built(id).get("stub")


def title_of(id: str) -> str:
    """An exercise's heading in its notebook, and its id; the id alone where none is built."""
    return " · ".join(filter(None, (_built(id).get("title"), id)))


def _built(id: str) -> dict[str, str]:
    prefix = str(id).partition(".")[0]
    files = (Path(folder) / prefix / STUBS for folder in __path__)
    file = next((file for file in files if file.is_file()), None)
    return {} if file is None else json.loads(file.read_text(encoding="utf-8")).get(id, {})


def names() -> list[str]:
    """The lessons' folders, by name."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def pictures(name: str) -> ModuleType:
    """The lesson's own pictures, as a module. Only here do matplotlib and ipywidgets arrive.

    Raises `UnknownName` for a lesson that has none.
    """
    if name not in with_pictures():
        raise unknown("lesson with pictures", name, with_pictures())
    return importlib.import_module(f"{__name__}.{name}.pictures")


def with_pictures() -> list[str]:
    """The lessons that have pictures of their own, by name."""
    return [name for name in names() if _has(name, "pictures.py")]


def _has(name: str, file: str) -> bool:
    return any((Path(folder) / name / file).is_file() for folder in __path__)


def _load(prefix: str) -> tuple[Exercise, ...]:
    exercises = importlib.import_module(f"{__name__}.{prefix}.exercises").EXERCISES
    ids = [exercise.id for exercise in exercises]
    if len(set(ids)) < len(ids) or not all(id.startswith(f"{prefix}.") for id in ids):
        raise ValueError(f"{prefix}/exercises.py: the ids differ and start with '{prefix}.': {ids}")
    return exercises
