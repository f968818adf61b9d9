"""START.ipynb, on which JupyterLab opens: the lessons, how far the reader is, what is next."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..lessons import of_lesson
from . import colab
from .source import Cell

_TEXT = """\
# Start

Each lesson asks one question. Open one, and run its cells from top to bottom with Shift+Enter. What
passes its check is kept in `my_peft.py` beside this page, your predictions in the folder `work`.

The cell below the table shows how far you are, and what is next.

| lesson | exercises | minutes for them |
|---|---|---|
"""
_CODE = """\
import peft_teach as pt

pt.progress()"""


def cells(sources: Sequence[Path], address: str) -> list[Cell]:
    """Return the cells of the page, from the sources of the lessons."""
    return [colab.added("lessons", "markdown", _TEXT + "\n".join(map(_row, sources))),
            colab.install(address), colab.added("progress", "code", _CODE)]


def title(lesson: str) -> str:
    """Return a lesson's title, with its number: the first heading of its source's text."""
    found = re.search(r"^# # (.+)", lesson, re.MULTILINE)
    return found[1] if found else ""


def _row(source: Path) -> str:
    name = source.parent.name
    asked = [exercise for exercise in of_lesson(name[:2]) if not exercise.optional]
    return (f"| [{title(source.read_text('utf-8')) or name}]({name}.ipynb) | {len(asked)} "
            f"| {sum(exercise.minutes for exercise in asked)} |")
