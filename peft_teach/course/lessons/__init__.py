"""All lessons, a folder each: what is a lesson's own stands there, and nowhere else.

    lora/
        __init__.py     its number: LESSON = "07"
        exercises.py    those whose id starts with `lora.`, as `EXERCISES`
        mutants.py      right and broken versions, where a learner writes a test of them
        stubs.json      of each exercise lesson, names, heading and stub; written by the build
        reference.py    what the library lacks of its answers, and tests that it gives; likewise
        pictures.py     the lesson's own pictures, where it has any, with `EXAMPLES` of them
        recorded.py     what its record says, as data frames, where more than pictures ask for it
        handed_in.py    what else is marked, where something is handed in beside the notebook

A further file is for an idea of its own, and bears its name. No lesson imports another: what two
need stands in `checks`, or beside the rooms of the course. Only an answer may be made of an earlier
lesson's, as a reader's is by `pt.mine`: the build writes that import.

The notebooks say of themselves what a page or a file shows of a lesson: `shelf`.
"""

import importlib
import json
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ...errors import PeftTeachError, unknown
from ..checks.exercise import Exercise, Part

STUBS, REFERENCE = "stubs.json", "reference.py"    # written by the build
START = "START"    # the notebook that leads to all lessons, by its file and in its metadata
# In an installed package the notebooks lie inside it; in a checkout, beside it.
INSTALLED = Path(__file__).parents[2] / "_lessons"
CHECKOUT = Path(__file__).parents[3] / "lessons"

# "Hu et al. 2021, *LoRA*, arXiv 2106.09685", as it stands below a lesson's sources.
_PAPER = re.compile(r"[^\W\d_][^;:*\n]*? \d{4}, \*[^*]+\*, (?:arXiv|doi) \S+[^\s.,;:)]")
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


def find(id: str) -> Exercise:
    """The exercise with this id. Imports only the folder that it stands in."""
    prefix = str(id).partition(".")[0]
    if _has(prefix, "exercises.py"):
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


class Known(NamedTuple):
    """What stands of an exercise in a notebook, in this form and in an `Exercise`."""

    lesson: str
    names: tuple[str, ...]


def known() -> dict[str, Known]:
    """Every exercise by its id, in the order of the course, as the build wrote it down.

    Imports a lesson only where nothing is built of it.
    """
    found = {id: Known(each["lesson"], tuple(each["names"])) for prefix in names()
             for id, each in (_stubs(prefix) or {
                 each.id: vars(each) | {"lesson": each.lesson} for each in _load(prefix)}).items()}
    return dict(sorted(found.items(), key=lambda item: item[1].lesson))


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


def _built(id: str) -> dict[str, Any]:
    return _stubs(str(id).partition(".")[0]).get(id, {})


def _stubs(prefix: str) -> dict[str, dict[str, Any]]:
    files = (Path(folder) / prefix / STUBS for folder in __path__)
    file = next((file for file in files if file.is_file()), None)
    return {} if file is None else json.loads(file.read_text(encoding="utf-8"))


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


# ── the notebooks, as they are given out ─────────────────────────────────────────────────────


@dataclass(frozen=True)
class Shelved:
    """A lesson's notebook: its file, its title, its paper, and where in it each exercise is."""

    file: str = ""
    name: str = ""                             # "07 · LoRA"
    question: str = ""                         # "a thin correction to a large matrix"
    paper: str = ""
    anchors: Mapping[str, str] = field(default_factory=dict)    # of the headings, by exercise


def notebooks() -> list[Path]:
    """Return the notebooks as they are given out. Raises `PeftTeachError` where there are none."""
    return sorted(folder().glob("*.ipynb"))


def folder() -> Path:
    """Return the folder in which they lie."""
    for place in (INSTALLED, CHECKOUT):
        if place.is_dir():
            return place
    raise PeftTeachError("The lessons are not in this installation.",
                         hint="install the course from its repository, or from a wheel of it")


@cache
def shelf() -> dict[str, Shelved]:
    """Return the notebooks by the numbers of their lessons; none where they were not installed."""
    try:
        return {file.name[:2]: _shelved(file.name, json.loads(file.read_text("utf-8")))
                for file in notebooks() if file.name[:2].isdigit()}
    except (PeftTeachError, OSError, ValueError):
        return {}


def in_two(title: str) -> tuple[str, str]:
    """Return a lesson's title in two: "07 · LoRA", and its question, "" for none."""
    name, *question = re.split(r"[:,]", title, maxsplit=1)
    return name.strip(), "".join(question).strip()


def _shelved(file: str, notebook: dict) -> Shelved:
    title, above, sources, anchors = "", "", "", {}
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^#+ (.+)", text, re.MULTILINE)
            title, above = title or (headings or [""])[0], (headings or [above])[-1]
            sources = text.partition("**Sources**")[2] or sources
        elif found := re.search(r"\bcheck\(\"(\w+\.\w+)\"", text):
            anchors[found[1]] = above.replace(" ", "-")
    name, question = in_two(title)
    papers = _PAPER.findall(_LINK.sub(r"\1", sources))
    method = name.rpartition(" ")[2]    # of BitFit, the paper that is called so
    paper = next((each for each in papers if f"*{method}" in each), (papers or [""])[0])
    return Shelved(file, name, question, " ".join(paper.replace("*", "").split()), anchors)
