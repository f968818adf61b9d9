"""What the instructor gets: grades.csv, a page for each student, a report of the class.

All text from a notebook is escaped.
"""

import base64
import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..checks.examination import PASSED, WRONG
from ..checks.exercise import VALUE, Measured
from ..lessons import marked
from . import csv_file, feedback, leaderboard
from .feedback import PAGE, escape, file_names, late, of_id, out_of
from .private import store
from .roster import LMS_FILES
from .row import Row, ordered
from .similarity import similar

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
    pages = feedback.pages(rows)
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
        table.writerow(map(csv_file.cell, [
            row.student, row.lesson, *("" if x is None else f"{x:g}" for x in numbers),
            "late" if row.late else "", "; ".join(map(str, row.hand)), "; ".join(row.flags),
            row.path]))
    return text.getvalue()


def write_board(rows: Sequence[Row], out: Path) -> None:
    """Write board.html, which the class may see; none where nothing was measured."""
    from ...plots import html

    entries = [leaderboard.Entry(row.known_as, Measured(**mark["measured"])) for row in rows
               if row.known_as for mark in row.marks if mark.get("measured")]
    (out / "board.html").unlink(missing_ok=True)
    if entries:
        told = ("Each gain with the 95 % interval of the sentences' luck; another seed would move "
                "them, too. Adapters of one colour are one group, and are not told apart: in the "
                "table the smallest stands first. Those of equal size stand side by side.")
        store(out / "board.html", PAGE.format(
            title="The board", allowed="'none'",
            body=html(leaderboard.draw(entries), told) + leaderboard.table(entries)), mode=None)


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
    names, table = file_names(rows), []
    for row in rows:
        solved = [m["state"] == PASSED for m in row.marks if not of_id(m["exercise"]).optional]
        page = f"feedback/{quote(names[row.student])}.html"
        table.append((f'<a href="{page}">{escape(row.student)}</a>', *map(escape, (
            row.lesson or "?", out_of(row.points()), out_of((sum(solved), len(solved))),
            out_of(row.points(optional=True)), "; ".join(map(str, row.hand)),
            "; ".join([*late(row), *row.flags])))))
    parts += [_table(("student", "lesson", "points", "solved", "optional", "by hand", "look at"),
                     table) + f"<script>{_SORT}</script>", _alike(rows)]
    return PAGE.format(title="The class", body="\n".join(parts), allowed=f"'sha256-{_SORTS}'")


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
        star = " *" if of_id(id).answer == VALUE else ""
        table.append((f"{id}{star}", rate, *(str(kinds[each] or "") for each in KINDS),
                      escape(", ".join(f"{what} {count}" for what, count in mistakes))))
    return _table(("exercise", "solved by", *KINDS, "mistakes"), table) + (
        "<p>* The answer is a value. How many were tried before it, no check can know.</p>")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells in HTML that sorts by each of its columns."""
    titles = "".join(f"<th><button>{title}</button></th>" for title in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"
