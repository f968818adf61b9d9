"""A page for each student: the messages of the checks, and of further cases only that one failed.

All text from a notebook is escaped.
"""

import re
from collections.abc import Sequence
from functools import cache
from html import escape as escaped

from ..checks.examination import WRONG
from ..checks.exercise import Exercise, Part
from ..desk.card import Card
from ..lessons import marked
from .entries import clean
from .handed import TO_MARK, WAITS
from .row import Row
from .students import DOUBT

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src {allowed}">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em;
        color: #222; background: #fff; }}
table {{ border-collapse: collapse; }} th, td {{ text-align: left; padding: 2px 14px 2px 0; }}
th button {{ font: inherit; color: inherit; background: none; border: 0; padding: 0; }}
@media (prefers-color-scheme: dark) {{ body {{ color: #ddd; background: #181818; }} }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


@cache
def of_id(id: str) -> Exercise | Part:
    """What is marked under an id."""
    return next(each for each in marked() if each.id == id)


def file_names(rows: Sequence[Row]) -> dict[str, str]:
    """The name of each student's file."""
    names: dict[str, str] = {}
    taken = set()
    for student in dict.fromkeys(row.student for row in rows):
        name, number = safe_name(student), 2
        while name.casefold() in taken:    # names that differ in special characters only
            name, number = f"{safe_name(student)}_{number}", number + 1
        taken.add(name.casefold())
        names[student] = name
    return names


def safe_name(student: str) -> str:
    """A safe file name: letters and digits of any script, and nothing with a meaning in paths."""
    kept = "".join(c if c.isalnum() or c in "-. " else "_" for c in student).strip(". ")
    kept = re.sub(r"\s+", " ", kept).encode()[:100].decode(errors="ignore")
    reserved = re.match(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", kept)
    return f"_{kept}" if reserved or not kept else kept


def pages(rows: Sequence[Row]) -> dict[str, str]:
    """The page of each student, by the name of its file."""
    names, sections = file_names(rows), {}
    for row in rows:
        sections.setdefault(row.student, []).append(_section(row))
    return {names[student]: PAGE.format(title=escape(student), body="\n".join(parts),
                                         allowed="'none'")
            for student, parts in sections.items()}


def _section(row: Row) -> str:
    head = f"Lesson {row.lesson}: {out_of(row.points())} points" if row.lesson else "Not graded"
    if waits := sum(mark["maximum"] for mark in row.marks if row.waits(mark)):
        head += f", and {waits} more to give"
    if more := out_of(row.points(optional=True)):
        head += f"; optional: {more}"
    ids = tuple(f"{mark['exercise']}:" for mark in row.marks)    # those are for the instructor
    said = [flag for flag in row.flags if not (flag.startswith(ids) or flag.endswith(DOUBT))]
    by_hand = [f"By hand: {each}" for each in row.hand]
    if row.known_as:
        by_hand.append(f"On the board of the class: {row.known_as}.")
    parts = [f"<h2>{escape(head)}</h2>", *(
        f"<p>{escape(text)}</p>" for text in (row.path, *said, *late(row), *by_hand) if text)]
    for mark in row.marks:
        optional = ", optional" if of_id(mark["exercise"]).optional else ""
        state, points = mark["state"], f"{row.given(mark['exercise']):g} of {mark['maximum']}"
        if row.waits(mark):
            state, points = WAITS, f"{mark['maximum']}"
        elif state == TO_MARK:
            state = "marked by your instructor"
        can_hint = mark["state"] == WRONG and isinstance(of_id(mark["exercise"]), Exercise)
        again = f"pt.hint({mark['exercise']!r})" if can_hint else ""
        card = Card(mark["exercise"], state, f"{points} points{optional}",
                    (mark["message"], *(f"Noted: {note}." for note in mark["notes"])),
                    code_label="Where it happened:", code=mark["traceback"], next=again)
        parts.append(card._repr_html_())
    return "\n".join(parts)


def late(row: Row) -> list[str]:
    """What both pages say of points that were deducted."""
    return [f"Late, as the platform says: {row.deduction:g} % of the points are deducted."
            ] if row.late and row.deduction else []


def out_of(counted: tuple[float, float]) -> str:
    """"7 of 9", or "" if the maximum is 0."""
    return "{:g} of {:g}".format(*counted) if counted[1] else ""


def escape(text: str) -> str:
    """Text for HTML, without characters that change its direction."""
    return escaped(clean(text))
