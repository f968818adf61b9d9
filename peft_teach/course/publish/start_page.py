"""START.ipynb, on which JupyterLab opens: what is next, two minutes to begin with, all lessons."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..desk.start import FIRST
from ..lessons import find, of_lesson, stub_of
from . import colab
from .bets import buttons
from .source import SourceCell

_TITLE = """\
# Start

Each lesson asks one question. Open one, and run its cells from top to bottom with Shift+Enter. What
passes its check is kept in `my_peft.py` beside this page, your predictions and runs in the folder
`work`."""
_NEXT = """\
import peft_teach as pt

pt.course.next_step()"""
_BET = """\
## Two minutes

A chat model has matrices of 4,096 × 4,096 numbers. LoRA, the method of lesson 07, leaves such a
matrix $W$ as it is, and trains two thin ones beside it: $A$ of shape (rank, n_in) and $B$ of shape
(n_out, rank). **At rank 8, how much is there to train?** Bet before you count: click an answer."""
_QUESTION, _OPTIONS = "Of every thousand numbers in W, LoRA trains as many as", (4, 40, 400)
_GUESS = f"""\
pt.widgets.Guess("{_QUESTION}", {_OPTIONS},
                 "start.share")"""
_EXERCISE = """\
Now count. Replace the line `raise …` by one that returns the number of entries of $A$ and $B$
together. Run that cell and the next. Lesson 07 goes on from there."""
_COMPARE = """\
# @title Result: trained of every thousand numbers
count = lora_count(4096, 4096, 8)
share = round(1000 * count / 4096**2)
pt.compare("start.share", share, f"trained of every thousand numbers; {count:,} of 16,777,216")"""
_LESSONS = """\
## Your course

Run the next cell for how far you are. From lesson 01 on, your ladder holds each method that you
have trained, by the size of its file and how good it is."""
_TABLE = """\
<details><summary>All lessons, and how long their exercises take</summary>

| lesson | exercises | minutes for them |
|---|---|---|
"""


def cells(sources: Sequence[Path], address: str) -> list[SourceCell]:
    """Return the cells of the page, from the sources of the lessons."""
    table = _TABLE + "\n".join(map(_row, sources)) + "\n\n</details>"
    return [colab.added("start", "markdown", _TITLE), colab.install(address),
            colab.added("next", "code", _NEXT), *_two_minutes(),
            colab.added("course", "markdown", _LESSONS),
            colab.added("progress", "code", "pt.progress()"),
            colab.added("lessons", "markdown", table)]


def _two_minutes() -> list[SourceCell]:
    """The bet and the exercise that one begins with; none where its lesson is not built."""
    stub = stub_of(FIRST)
    if stub is None:
        return []
    name, = find(FIRST).names
    return [colab.added("bet", "markdown", _BET), colab.added("guess", "code", _GUESS),
            colab.added("exercise", "markdown", _EXERCISE), colab.added("stub", "code", stub),
            colab.added("check", "code", f'{name} = pt.check("{FIRST}", {name})'),
            colab.added("compare", "code", _COMPARE, **colab.FOLDED)]


def bet_of_the_site() -> str:
    """Return the page's bet as HTML for the site's landing, with its answer behind it."""
    count, of = 8 * (4096 + 4096), 4096**2
    bet = buttons(_QUESTION, map(str, _OPTIONS), f"It is {round(1000 * count / of)}: A and B have "
                  f"8 × (4,096 + 4,096) = {count:,} numbers together, W has {of:,}.")
    return f"\n```{{raw}} html\n{bet}\n```\n"


def title(lesson: str) -> str:
    """Return a lesson's title, with its number: the first heading of its source's text."""
    found = re.search(r"^# # (.+)", lesson, re.MULTILINE)
    return found[1] if found else ""


def _row(source: Path) -> str:
    name = source.parent.name
    asked = [exercise for exercise in of_lesson(name[:2]) if not exercise.optional]
    return (f"| [{title(source.read_text('utf-8')) or name}]({name}.ipynb) | {len(asked)} "
            f"| {sum(exercise.minutes for exercise in asked)} |")
