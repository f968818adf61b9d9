"""The students' pages in one zip, under the names by which their platform takes files back.

    Moodle    Jo Meier_12345_assignsubmission_file_/feedback.html, for the assignment's "Upload
              multiple feedback files in a zip"; it goes by the number and the form of the name
    Canvas    meierjo_123_456_07_lora.html, for "Upload Submissions"; it goes by both numbers, of
              the person and of the file that they handed in

Whom the platform has no such name for (a text on Canvas, who handed in nothing) is not in it. In
blind marking there is none: an upload is the end of that.
"""

import io
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import feedback
from .private import store
from .row import Row

FILES = CANVAS, MOODLE = "canvas-feedback.zip", "moodle-feedback.zip"
LONG_AGO = (1980, 1, 1, 0, 0, 0)    # the same pages give the same bytes


def write(rows: Sequence[Row], out: Path) -> list[str]:
    """Write the zip, if the submissions came from a platform; what to know of it."""
    for name in FILES:    # an older one has older marks
        (out / name).unlink(missing_ok=True)
    taken: dict[str, dict[str, list[Row]]] = defaultdict(dict)    # name there -> student -> rows
    for row in rows:
        if row.returns:
            theirs = [each for each in rows if each.student == row.student]
            taken[row.returns][row.student] = theirs
    if not taken:
        return []
    pages, unlike = {}, 0
    for name, students in taken.items():
        if len(students) > 1:    # a group handed in one file
            students = {student: [replace(row, student="Your group") for row in theirs]
                        for student, theirs in students.items()}
        found = {page for theirs in students.values() for page in feedback.pages(theirs).values()}
        unlike += len(found) > 1
        if len(found) == 1:
            pages[name] = found.pop()
    path = MOODLE if all("_assignsubmission_" in name for name in taken) else CANVAS
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, page in sorted(pages.items()):
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), page, zipfile.ZIP_DEFLATED)
    store(out / path, buffer.getvalue())
    notes = [f"The students' pages for the platform are in {path}."]
    if left := len({row.student for row in rows if row.path and not row.returns}):
        notes.append(f"{left} of them handed in no file to which the platform takes a page back.")
    if unlike:
        notes.append(f"{unlike} groups are not in it: their members have different pages.")
    return notes
