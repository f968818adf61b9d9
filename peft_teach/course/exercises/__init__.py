"""All exercises. `exercises/lora.py` holds those whose id starts with `lora.`, as `EXERCISES`."""

import importlib
import pkgutil

from ...errors import unknown
from ..exercise import Exercise


def find(id: str) -> Exercise:
    """The exercise with this id. Imports only the module that it stands in."""
    prefix = str(id).partition(".")[0]
    if prefix in _prefixes():
        for exercise in _load(prefix):
            if exercise.id == id:
                return exercise
    raise unknown("exercise", id, (exercise.id for exercise in all_exercises()))


def all_exercises() -> tuple[Exercise, ...]:
    """Every exercise, by lesson; within a lesson in the order of their module."""
    found = (exercise for prefix in _prefixes() for exercise in _load(prefix))
    return tuple(sorted(found, key=lambda exercise: exercise.lesson))


def of_lesson(lesson: str) -> tuple[Exercise, ...]:
    """The exercises of a lesson, such as "07"; none for a lesson without any."""
    return tuple(exercise for exercise in all_exercises() if exercise.lesson == lesson)


def _prefixes() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _load(prefix: str) -> tuple[Exercise, ...]:
    exercises = importlib.import_module(f"{__name__}.{prefix}").EXERCISES
    ids = [exercise.id for exercise in exercises]
    if len(set(ids)) < len(ids) or not all(id.startswith(f"{prefix}.") for id in ids):
        raise ValueError(f"exercises/{prefix}.py: the ids differ and start with '{prefix}.': {ids}")
    return exercises
