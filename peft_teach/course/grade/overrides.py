"""Marks and comments by hand: `overrides.csv` beside the results, read again on each run.

    student,exercise,points,comment
    "Meier, Jo",lora.layer,1.5,"The right idea; the dtype is lost."
    anna,07,12,By an oral exam.

A student is named as in grades.csv. The exercise may be a lesson, for its total; the points may be
left out, for a comment alone. The file is the instructor's: only `peft-teach mark` writes it, one
line for each page.
"""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...errors import PeftTeachError
from ..lessons import marked
from . import csv_file, private

FILE = "overrides.csv"
COLUMNS = ("student", "exercise", "points", "comment")


@dataclass(frozen=True)
class Override:
    """A line of the file. `exercise` may be a lesson; `points` is None for a comment alone."""

    student: str
    lesson: str
    exercise: str
    points: float | None
    comment: str

    def __str__(self) -> str:
        points = [] if self.points is None else [f"{self.points:g} points"]
        return f"{self.exercise}: {', '.join([*points, *filter(None, [self.comment])])}"


def read(folder: Path, bonus: bool = False) -> list[Override]:
    """The lines of the file in a folder; none without it. Raises `PeftTeachError` for a bad one.

    More points than there are to give is a slip, such as 15 for 1.5, unless a `bonus` is meant.
    """
    path = folder / FILE
    if not path.exists():
        return []
    private.make_private(path)
    rows = csv_file.read(path, expected="CSV in UTF-8")
    head = next(rows, [])
    if not set(COLUMNS[:3]) <= set(head):
        raise PeftTeachError(f"{path} has the columns {','.join(head)!r}.",
                             expected=",".join(COLUMNS))
    named = ((dict(zip(head, row)), rows.line_num) for row in rows)
    return [_read(row, f"{path}, line {line}", bonus) for row, line in named
            if any(row.get(name, "").strip() for name in COLUMNS)]


def add(folder: Path, student: str, exercise: str, points: float | None, comment: str) -> None:
    """Write a line at the end of the file, in place of an older one for the same.

    Raises `PeftTeachError` as `read` does.
    """
    path = folder / FILE
    line = dict(zip(COLUMNS, (student, exercise, "" if points is None else f"{points:g}", comment)))
    _read(line, f"{path}, a new line")
    line["student"] = csv_file.cell(student)
    rows, separator = [list(COLUMNS)], ","
    if path.exists():
        there = csv_file.read(path, expected="CSV in UTF-8")
        rows, separator = [*there], there.dialect.delimiter
    head = rows[0] = [*rows[0], *(name for name in COLUMNS if name not in rows[0])]
    kept = [row for row in rows[1:] if [csv_file.plain(dict(zip(head, row)).get(name, ""))
                                        for name in COLUMNS[:2]] != [student, exercise]]
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(
        [head, *kept, [line.get(name, "") for name in head]])
    private.store(path, text.getvalue())


def _read(row: dict[str, str], where: str, bonus: bool = False) -> Override:
    student, exercise, points, comment = (row.get(name, "").strip() for name in COLUMNS)
    lessons = {each.id: each.lesson for each in marked()}
    lesson = lessons.get(exercise, exercise.zfill(2))
    if lesson not in lessons.values():
        raise PeftTeachError(f"{where}: there is no exercise or lesson {exercise!r}.",
                             expected=f"one of {', '.join(dict.fromkeys(lessons.values()))}, or an "
                             "id such as lora.layer")
    try:
        number = float(points.replace(",", ".")) if points else None
    except ValueError:
        number = math.nan
    if number is not None and not 0 <= number < math.inf:
        raise PeftTeachError(f"{where}: {points!r} is not a number of points.",
                             expected="a number from 0 on, or nothing for a comment alone")
    most = maximum(exercise if exercise in lessons else lesson)
    if number is not None and number > most and not bonus:
        raise PeftTeachError(f"{where}: {number:g} points for {exercise}, which has {most}.",
                             hint="correct the line; if more is meant, say so with --bonus")
    return Override(csv_file.plain(student), lesson, exercise if exercise in lessons else lesson,
                    number, comment)


def maximum(exercise: str) -> int:
    """The points of an exercise, or of all in a lesson but the optional ones."""
    return sum(each.points for each in marked() if each.id == exercise
               or (each.lesson == exercise and not each.optional))


def must_be_known(overrides: Iterable[Override], students: Iterable[str], folder: Path) -> None:
    """Raise `PeftTeachError` for a line about none of these students: its points would be lost."""
    there = set(students)
    strangers = sorted({each.student for each in overrides} - there)
    if strangers:
        raise PeftTeachError(
            f"{folder / FILE} has lines for {', '.join(map(repr, strangers[:5]))}, who "
            f"{'is' if len(strangers) == 1 else 'are'} not among the students here.",
            hint="write names as they stand in grades.csv; take the lines of others out")
