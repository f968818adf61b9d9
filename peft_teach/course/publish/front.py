"""START.ipynb, on which JupyterLab opens: the lessons, how far the reader is, their ladder."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..lessons import of_lesson
from . import colab
from .source import Cell

_TEXT = """\
# Start

Each lesson asks one question. Open one, and run its cells from top to bottom with Shift+Enter. What
passes its check is kept in `my_peft.py` beside this page, your predictions and runs in the folder
`work`.

Below the table stands your ladder: each method that you have trained, by the size of its file, and
how good it is. Where nothing stands yet, it says which lesson trains it. The last cell shows how
far you are, and what is next.

| lesson | exercises | minutes for them |
|---|---|---|
"""
_BOARD = """\
import peft_teach as pt

pt.board.show()"""
_PROGRESS = "pt.progress()"


def cells(sources: Sequence[Path], address: str) -> list[Cell]:
    """Return the cells of the page, from the sources of the lessons."""
    return [colab.added("lessons", "markdown", _TEXT + "\n".join(map(_row, sources))),
            colab.install(address), colab.added("board", "code", _BOARD),
            colab.added("progress", "code", _PROGRESS)]


def title(lesson: str) -> str:
    """Return a lesson's title, with its number: the first heading of its source's text."""
    found = re.search(r"^# # (.+)", lesson, re.MULTILINE)
    return found[1] if found else ""


def _row(source: Path) -> str:
    name = source.parent.name
    asked = [exercise for exercise in of_lesson(name[:2]) if not exercise.optional]
    return (f"| [{title(source.read_text('utf-8')) or name}]({name}.ipynb) | {len(asked)} "
            f"| {sum(exercise.minutes for exercise in asked)} |")
