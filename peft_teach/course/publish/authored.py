"""What an author writes of a lesson beside its source, in `solutions/07_lora/`, as modules.

Its `answers.py` is made with `but` and `solution`: a wrong answer is the smallest change of a right
one, and most right ones begin with the solution cell. The page of a lesson shows the most usual
wrong answer to each exercise; the tests read all answers (tests/course/answers.py says what stands
in such a file).
"""

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ..lessons import find
from . import source

CHECKOUT = Path(__file__).parents[3]    # an author has the package from there
# What the text of an answer may use, besides what it imports itself.
PRELUDE = "import math\nimport torch\nfrom torch import nn\nimport peft_teach as pt\n"


@cache
def homes() -> dict[str, Path]:
    """The folder of each lesson by the name that its exercises begin with: {"lora": …}."""
    sources = sorted(CHECKOUT.glob(f"solutions/*/{source.SOURCE}"))
    return {re.search(r'exercise="(\w+)\.', path.read_text("utf-8"))[1]: path.parent
            for path in sources}


@cache
def module(home: Path, name: str) -> ModuleType:
    """One file of a lesson's folder as a module, such as "answers"."""
    spec = importlib.util.spec_from_file_location(f"{home.name}_{name}", home / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


# ── answers ──────────────────────────────────────────────────────────────────────────────────


def but(text: str, *changes: str) -> str:
    """The text with `old` replaced by `new`, for each pair; each `old` stands in it exactly once.

    Raises ValueError for one that does not: a wrong answer would silently be a right one.
    """
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        if text.count(old) != 1:
            raise ValueError(f"{old!r} stands {text.count(old)} times in:\n{text}")
        text = text.replace(old, new)
    return text


read = cache(source.read)    # once a lesson, and not once an exercise


@cache
def solution(id: str) -> str:
    """The solution cell of an exercise, without its marks: what most answers begin with."""
    cells = read(homes()[id.partition(".")[0]] / source.SOURCE)
    cell, = (cell for cell in cells if cell.part == source.SOLUTION and cell.exercise.id == id)
    return source.without_marks(cell.source) + "\n"


def usual(home: Path, id: str) -> tuple[str, str]:
    """The most usual wrong answer to an exercise, by its lesson's folder: its mistake, its text."""
    mistake, texts = next(iter(module(home, "answers").WRONG[id].items()))
    return mistake, (texts if isinstance(texts, str) else texts[0]).strip()


@cache
def define(id: str, text: str) -> Any:
    """Run the text as a cell of its own; the object that the exercise's check would be given."""
    exercise, namespace = find(id), {"__name__": "answers"}
    exec(compile(PRELUDE, "prelude", "exec"), namespace)
    exec(compile(text, id, "exec"), namespace)
    return exercise.as_one([namespace[name] for name in exercise.names])
