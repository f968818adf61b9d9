"""What the instructor gets: grades.csv, a page for each student, a report of the class.

A student's page has the messages of the checks, and of further cases only that one failed. All text
from a notebook is escaped.
"""

import base64
import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape as escaped
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..checks.examination import PASSED, WRONG
from ..checks.exercise import VALUE, Exercise, Measured, Part
from ..desk.card import Card
from ..lessons import marked
from . import board, sheet
from .entries import clean
from .handed import TO_MARK, WAITS
from .overrides import Override
from .own import store
from .roster import LMS_FILES
from .similarity import similar
from .students import DOUBT

_PAGE = """<!DOCTYPE html>
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
_SORT = """
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.parentNode, body = head.closest("table").tBodies[0];
  const up = head.ariaSort !== "ascending", text = row => row.cells[head.cellIndex].textContent;
  for (const other of head.parentNode.cells) other.ariaSort = "none";
  head.ariaSort = up ? "ascending" : "descending";
  body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) *
    text(a).localeCompare(text(b), undefined, {numeric: true})));
};
"""
_SORTS = base64.b64encode(hashlib.sha256(_SORT.encode()).digest()).decode()    # this, and no other


@cache
def _of_id(id: str) -> Exercise | Part:
    return next(each for each in marked() if each.id == id)


@dataclass(frozen=True)
class Row:
    """A student and a lesson: one line of grades.csv, one section of the student's page."""

    student: str
    lesson: str                          # "" if unknown
    path: str
    marks: tuple[dict[str, Any], ...]    # as `run.Mark` has them
    flags: tuple[str, ...]
    hand: tuple[Override, ...] = ()      # what the instructor says of it, which comes last
    late: bool = False                   # as the platform says
    deduction: float = 0.0               # percent of the points, if it is late
    known_as: str = ""                   # on the board of the class
    returns: str = ""                    # the name under which the platform takes the page back

    def given(self, id: str) -> float | None:
        """The points for an exercise, or for a lesson; by hand, or else by the checks."""
        marks = {mark["exercise"]: mark["points"] for mark in self.marks}
        marks |= {each.exercise: each.points for each in self.hand if each.points is not None}
        return marks.get(id)

    def waits(self, mark: Mapping[str, Any]) -> bool:
        """Whether a person has yet to mark what the student wrote."""
        return mark["state"] == TO_MARK and not any(
            each.points is not None and each.exercise in (mark["exercise"], self.lesson)
            for each in self.hand)

    def points(self, optional: bool = False) -> tuple[float, int]:
        """The points given and their maximum, of the optional exercises or of all others."""
        there = {e.id: e.points for e in marked(self.lesson) if e.optional == optional}
        total = sum(self.given(id) or 0 for id in there)
        if not optional:
            if self.late:
                total = round(total * (1 - self.deduction / 100), 2)
            by_hand = self.given(self.lesson)
            total = total if by_hand is None else by_hand
        return total, sum(there.values())


def ordered(rows: Sequence[Row]) -> list[Row]:
    """The rows as the table has them, by student."""
    return sorted(rows, key=lambda row: (row.student.casefold(), row.student, row.lesson, row.path))


def write(rows: Sequence[Row], out: Path, notes: Sequence[str],
          platform: Mapping[str, str] | None = None) -> str:
    """Write all three, and the platform's files, by name. The same rows give the same bytes.

    A grades.csv that is not as it was written is kept under another name, which is returned.
    """
    rows = ordered(rows)
    table = f"\ufeff{grades(rows)}".encode("utf-8", "replace")    # so spreadsheets know it is UTF-8
    kept = _keep_what_was_edited(out, table)
    store(out / "grades.csv", table)
    for name in LMS_FILES:    # an older one has older marks
        if platform and name in platform:
            store(out / name, platform[name])
        else:
            (out / name).unlink(missing_ok=True)
    pages = feedback(rows)
    for old in (out / "feedback").glob("*.html"):
        if old.stem not in pages:
            old.unlink()
    for name, page in pages.items():
        store(out / "feedback" / f"{name}.html", page)
    store(out / "report.html", _report(rows, notes, out) + _SIGNED.format(_digest(table)))
    return kept


_SIGNED = "<!-- grades.csv was {} -->\n"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _keep_what_was_edited(out: Path, table: bytes) -> str:
    """Copy a grades.csv that neither this run nor the last one wrote; the copy's name, or ""."""
    path, last = out / "grades.csv", out / "report.html"
    there = path.read_bytes() if path.exists() else table
    signed = last.read_text(encoding="utf-8") if last.exists() else ""
    if there == table or _SIGNED.format(_digest(there)) in signed:
        return ""
    number = 1
    while (copy := out / f"grades-edited-{number}.csv").exists():
        number += 1
    store(copy, there)
    return copy.name


def grades(rows: Sequence[Row]) -> str:
    """The table: a row for a student and a lesson, a column for an exercise."""
    lessons = sorted({row.lesson for row in rows if row.lesson})
    ids = [exercise.id for lesson in lessons for exercise in marked(lesson)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    table.writerow(["student", "lesson", *ids, "total", "maximum", "optional", "optional maximum",
                    "late", "by hand", "flags", "file"])
    for row in rows:
        numbers = [*map(row.given, ids), *row.points(), *row.points(optional=True)]
        table.writerow(map(sheet.cell, [
            row.student, row.lesson, *("" if x is None else f"{x:g}" for x in numbers),
            "late" if row.late else "", "; ".join(map(str, row.hand)), "; ".join(row.flags),
            row.path]))
    return text.getvalue()


def write_board(rows: Sequence[Row], out: Path) -> None:
    """Write board.html, which the class may see; none where nothing was measured."""
    from ...plots import html

    entries = [board.Entry(row.known_as, Measured(**mark["measured"])) for row in rows
               if row.known_as for mark in row.marks if mark.get("measured")]
    (out / "board.html").unlink(missing_ok=True)
    if entries:
        told = ("Each gain with the 95 % interval of the sentences' luck; another seed would move "
                "them, too. Adapters of one colour are one group, and are not told apart: in the "
                "table the smallest stands first. Those of equal size stand side by side.")
        store(out / "board.html", _PAGE.format(
            title="The board", allowed="'none'",
            body=html(board.draw(entries), told) + board.table(entries)), mode=None)


def _files(rows: Sequence[Row]) -> dict[str, str]:
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


def feedback(rows: Sequence[Row]) -> dict[str, str]:
    """The page of each student, by the name of its file."""
    names, sections = _files(rows), {}
    for row in rows:
        sections.setdefault(row.student, []).append(_section(row))
    return {names[student]: _PAGE.format(title=escape(student), body="\n".join(parts),
                                         allowed="'none'")
            for student, parts in sections.items()}


def _section(row: Row) -> str:
    head = f"Lesson {row.lesson}: {_of(row.points())} points" if row.lesson else "Not graded"
    if waits := sum(mark["maximum"] for mark in row.marks if row.waits(mark)):
        head += f", and {waits} more to give"
    if more := _of(row.points(optional=True)):
        head += f"; optional: {more}"
    ids = tuple(f"{mark['exercise']}:" for mark in row.marks)    # those are for the instructor
    said = [flag for flag in row.flags if not (flag.startswith(ids) or flag.endswith(DOUBT))]
    by_hand = [f"By hand: {each}" for each in row.hand]
    if row.known_as:
        by_hand.append(f"On the board of the class: {row.known_as}.")
    parts = [f"<h2>{escape(head)}</h2>", *(
        f"<p>{escape(text)}</p>" for text in (row.path, *said, *_late(row), *by_hand) if text)]
    for mark in row.marks:
        optional = ", optional" if _of_id(mark["exercise"]).optional else ""
        state, points = mark["state"], f"{row.given(mark['exercise']):g} of {mark['maximum']}"
        if row.waits(mark):
            state, points = WAITS, f"{mark['maximum']}"
        elif state == TO_MARK:
            state = "marked by your instructor"
        can_hint = mark["state"] == WRONG and isinstance(_of_id(mark["exercise"]), Exercise)
        again = f"pt.hint({mark['exercise']!r})" if can_hint else ""
        card = Card(mark["exercise"], state, f"{points} points{optional}",
                    (mark["message"], *(f"Noted: {note}." for note in mark["notes"])),
                    code_label="Where it happened:", code=mark["traceback"], next=again)
        parts.append(card._repr_html_())
    return "\n".join(parts)


def _late(row: Row) -> list[str]:
    """What both pages say of points that were deducted."""
    return [f"Late, as the platform says: {row.deduction:g} % of the points are deducted."
            ] if row.late and row.deduction else []


def _report(rows: Sequence[Row], notes: Sequence[str], out: Path) -> str:
    """The class on one page: a picture, the exercises, a table with the flags, who is alike."""
    parts = [f"<p>{escape(note)}</p>" for note in notes]
    marks = [mark for row in rows for mark in row.marks]
    if marks:
        from ...plots import html
        from .picture import MISSING, outcomes

        marks += [{"exercise": exercise.id, "state": MISSING} for row in rows
                  if row.lesson and not row.marks for exercise in marked(row.lesson)]
        order = [exercise.id for exercise in marked()]
        marks.sort(key=lambda mark: order.index(mark["exercise"]))
        shares = [given / most for row in rows for given, most in [row.points()] if most]
        figure = outcomes(marks, shares)
        picture = io.BytesIO()
        figure.savefig(picture, dpi=110, facecolor="white", metadata={"Software": None})
        store(out / "report.png", picture.getvalue())
        parts += [html(figure, "How the class did, and by which mistakes. Students who handed in "
                               "nothing that could be read are in it with the course's list only."),
                  _items(marks)]
    names, table = _files(rows), []
    for row in rows:
        solved = [m["state"] == PASSED for m in row.marks if not _of_id(m["exercise"]).optional]
        page = f"feedback/{quote(names[row.student])}.html"
        table.append((f'<a href="{page}">{escape(row.student)}</a>', *map(escape, (
            row.lesson or "?", _of(row.points()), _of((sum(solved), len(solved))),
            _of(row.points(optional=True)), "; ".join(map(str, row.hand)),
            "; ".join([*_late(row), *row.flags])))))
    parts += [_table(("student", "lesson", "points", "solved", "optional", "by hand", "look at"),
                     table) + f"<script>{_SORT}</script>", _alike(rows)]
    return _PAGE.format(title="The class", body="\n".join(parts), allowed=f"'sha256-{_SORTS}'")


def _alike(rows: Sequence[Row]) -> str:
    """The pairs of students whose answers agree, "" if there are none."""
    pairs = [(escape(" and ".join(pair.students)), pair.lesson,
              f"{pair.share:.0%}{' reworded' if pair.reworded else ''}",
              ", ".join(pair.exercises), ", ".join(pair.equal)) for pair in similar(rows)]
    if not pairs:
        return ""
    return ("<h2>Alike</h2>\n<p>Without names and layout, and without what the lesson dictates or "
            "many wrote; reworded: without numbers, texts and prints, too. It changes no mark and "
            "proves nothing: ask.</p>\n"
            + _table(("answers of", "lesson", "agree by", "in", "byte by byte"), pairs))


def _items(marks: Sequence[dict[str, Any]]) -> str:
    """The exercises: how many solved each, how the others ended, and by which mistakes."""
    from .picture import KINDS, MISSING, kind, reason

    table = []
    for id in dict.fromkeys(mark["exercise"] for mark in marks):
        of_it = [mark for mark in marks if mark["exercise"] == id]
        kinds = Counter(map(kind, of_it))
        tried = len(of_it) - kinds[MISSING]
        rate = f"{100 * kinds[PASSED] / tried:.0f} %" if tried else ""
        mistakes = Counter(sorted(reason(mark).partition(": ")[2] for mark in of_it
                                  if mark["state"] == WRONG)).most_common()
        star = " *" if _of_id(id).answer == VALUE else ""
        table.append((f"{id}{star}", rate, *(str(kinds[each] or "") for each in KINDS),
                      escape(", ".join(f"{what} {count}" for what, count in mistakes))))
    return _table(("exercise", "solved by", *KINDS, "mistakes"), table) + (
        "<p>* The answer is a value. How many were tried before it, no check can know.</p>")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells in HTML that sorts by each of its columns."""
    titles = "".join(f"<th><button>{title}</button></th>" for title in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def _of(counted: tuple[float, float]) -> str:
    """"7 of 9", or "" if the maximum is 0."""
    return "{:g} of {:g}".format(*counted) if counted[1] else ""


def escape(text: str) -> str:
    """Text for HTML, without characters that change its direction."""
    return escaped(clean(text))
