"""Which tests guard one method, or one lesson: `pytest --method lora`, `pytest --lesson lora`.

The tests that every method or lesson must pass, without the rows of the others; its own file; for a
method its oracle, wherever it stands, and each row of any test that is named after the method.
"""

import re
from functools import cache
from pathlib import Path

import pytest

OF_METHODS = ("tests/test_package.py", "tests/course/test_site.py", "tests/library/test_methods.py",
              "tests/library/test_laws.py", "tests/library/test_rates.py",
              "tests/oracles/test_benchmark.py")
WITH_ROWS = ("tests/library", "tests/oracles")
OF_LESSONS = ("tests/test_package.py", "tests/course/test_lessons.py",
              "tests/course/test_exercises.py", "tests/course/test_quoted.py",
              "tests/course/test_pictures.py", "tests/course/test_instructor_guide.py",
              "tests/course/test_release.py", "tests/course/test_site.py")
ROOT = Path(__file__).parents[1]


def add_options(parser):
    """Add `--method` and `--lesson` to pytest's own options."""
    group = parser.getgroup("guards")
    group.addoption("--method", metavar="NAME", help="every guard of one method")
    group.addoption("--lesson", metavar="NAME", help="every guard of one lesson, by the name of "
                    "its folder in peft_teach/course/lessons")


def names(options) -> list[str]:
    """The methods, or the lessons. They are loaded only where one of them is asked for."""
    if options.method:
        from peft_teach.methods import METHODS

        return [*METHODS]
    from peft_teach.course import lessons

    return lessons.names()


def configure(options) -> None:
    """Let the guards be all of them, the long ones too. Another name is a `UsageError`."""
    if (options.method or options.lesson) not in names(options):
        raise pytest.UsageError(
            f"no {options.method or options.lesson!r}; there are {', '.join(names(options))}; a "
            "method is a row of METHODS in peft_teach/methods/__init__.py, a lesson a folder of "
            "peft_teach/course/lessons")
    options.markexpr = "not browser"


def is_read(path: Path, options) -> bool:
    """Whether a test file may hold a guard of what was asked for."""
    name = path.relative_to(ROOT).as_posix()
    if options.lesson:
        return name in OF_LESSONS or _is_its_own(name, options)
    return name in OF_METHODS or name.startswith(WITH_ROWS)


def is_kept(item, options) -> bool:
    """Whether a test is a guard of what was asked for."""
    name, wanted = item.path.relative_to(ROOT).as_posix(), options.lesson or options.method
    row = item.name.partition("[")[2]
    if options.lesson:
        row = re.sub(r"\d\d_\w+", lambda stem: _lesson_of(stem[0][:2]), row)
    known = [*names(options), *(["vera"] if options.method else [])]    # a method of the tests
    about = {each for each in known if re.search(rf"(?<![a-z]){each}(?![a-z])", row)}
    if wanted in about or _is_its_own(name, options):
        return True
    if options.method and any(wanted in mark.args for mark in item.iter_markers("oracle")):
        return True
    return name in (OF_METHODS if options.method else OF_LESSONS) and not about


def _is_its_own(file: str, options) -> bool:
    """Whether a file bears the name; a lesson's notebook does, too, behind its number."""
    if options.method:
        return file in (f"tests/{folder}/test_{options.method}{more}.py"
                        for folder in ("library", "oracles") for more in ("", "_oracle"))
    number = re.match(r"lessons/(\d\d)_", file)
    return file == f"tests/course/test_{options.lesson}.py" or bool(
        number and _lesson_of(number[1]) == options.lesson)


@cache
def _lesson_of(number: str) -> str:
    """The lesson with this number, which its notebook bears: "change" of 02_small_change."""
    from peft_teach.course import lessons

    return next((e.id.partition(".")[0] for e in lessons.of_lesson(number)), number)
