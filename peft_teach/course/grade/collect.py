"""From a folder as a learning platform exports it to: who handed in which notebook, when.

    loose files       anna_07_lora.ipynb, or anna/07_lora.ipynb
    Canvas            meierjo_123_456_07_lora-1.ipynb, meierjo_LATE_123_456_07_lora.ipynb
    Moodle            Jo Meier_12345_assignsubmission_file_/07_lora.ipynb, or ..._file_07_lora.ipynb
    nbgrader          submitted/jo/lora/07_lora.ipynb
    zips              of any of these; one a student, or one for all; and zips in zips

A student is named by one level of the paths, the same for all: the outermost at which the names
have a platform's form, or else the one below the folder that all share. What a student packed lies
below that level and names nobody. A number behind a lesson's own file name, as in `07_lora-1`,
counts copies; every other number is a part of the name.

Zips are read in memory and never unpacked, so that no name in them can reach a file. Links are not
followed. Of a notebook only its code and text are kept, so that little is held of a large one.
"""

import io
import os
import re
import stat
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ...errors import PeftTeachError
from ..lessons import all_exercises
from .limits import MEGABYTE
from .notebook import Unreadable, lesson_of, parse, slim

LARGEST_NOTEBOOK = 32 * MEGABYTE      # bytes; one with many pictures has about 5 MB
MOST_ENTRIES = 50_000
LONGEST_NAME = 1_000                  # characters of a path in a zip
DEEPEST_ZIP = 2                       # zips in a zip

DOUBT = "two students, or one?"       # ends a flag that names others: not for the student

_CANVAS = re.compile(r"^(?P<who>[^_]+)_(?:LATE_)?(?P<id>\d+)_(?P<file>\d+)_(?P<name>.+)$")
_MOODLE = re.compile(r"^(?P<who>.+?)_(?P<id>\d+)_assignsubmission_")
_LESSON = re.compile(    # the lessons' files, and the number of a copy behind
    r"(?i)(?<!\d)\d\d[_ -](inside|full|small[_ ]change|prompt|prefix|adapters|ia3|"
    r"lora|qlora|dora|ladder|chat|ecosystem)(?![^\W\d_])(-\d{1,3}(?!\d)|\s*\(\d{1,3}\))?")
_COPY = re.compile(r"(?i)^(copy of|kopie von|copie de|copia de)\s+|^copy_of_")
_AGAIN = re.compile(r"(?:-(\d+)|\s*\((\d+)\))$")      # "07_lora-2", "07_lora (2)"
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_HIDDEN = ("__MACOSX", ".ipynb_checkpoints", ".git", "__pycache__")
_NOT_WORK = {"timestamp.txt", "onlinetext.html", ".ds_store", "thumbs.db"}
_WORK = re.compile(r"(?i)\.(ipynb\W.*|py|rar|7z|tar|t?gz|html?|pdf|docx?)$")    # perhaps


@dataclass(frozen=True)
class Submission:
    """A file that somebody handed in. `attempt` and `seconds` order those of one student."""

    student: str
    path: str             # as the instructor sees it: "all.zip/jo/07_lora.ipynb"
    data: bytes           # empty where `problem` says why
    name: str = ""        # its file's, without the number in "07_lora-2.ipynb"
    attempt: int = 0      # that number
    seconds: float = 0.0  # when it was saved, as far as the folder knows
    problem: str = ""
    other: bool = False   # no notebook: worth a line only where its student has none
    id: str = ""          # which of several people of this name, where a platform says so
    flags: tuple[str, ...] = ()    # of how the student was found


def collect(place: Path | str) -> list[Submission]:
    """All notebooks below a folder, or in a zip, or one file; ordered by their path.

    What cannot be read is an entry with a `problem`, and so is a student from whom
    there are only other files. Raises `PeftTeachError` if there is nothing at all.
    """
    place = Path(place)
    if not place.exists():
        raise PeftTeachError(f"There is no {place}.", expected="a folder of submissions, or a zip")
    found = _named(list(_below(place) if place.is_dir()
                        else _file(place, PurePosixPath(place.name))))
    alone = {s.student for s in found if s.other} - {s.student for s in found if not s.other}
    kept = [s for s in sorted(found, key=lambda s: s.path) if not s.other]
    kept += [next(s for s in found if s.student == student) for student in sorted(alone)]
    if not kept:
        raise PeftTeachError(f"There is no notebook in {place}.",
                             expected="files that end in .ipynb, or zips of them")
    return kept


def latest(submissions: list[Submission]) -> Submission:
    """The one that counts: of copies with a number the highest, then by its time and its path."""
    highest: dict[str, int] = defaultdict(int)
    for submission in submissions:
        highest[submission.name] = max(highest[submission.name], submission.attempt)
    return max((s for s in submissions if s.attempt == highest[s.name]),
               key=lambda s: (s.seconds, s.path))


def clean(text: str) -> str:
    """Without the characters that cannot be seen or that turn a line around."""
    return _UNSEEN.sub("", text.encode("utf-8", "replace").decode())


def safe_name(student: str) -> str:
    """A name for files: letters and digits of any script, and nothing that a path could mean."""
    kept = "".join(c if c.isalnum() or c in "-. " else "_" for c in student).strip(". ")
    kept = re.sub(r"\s+", " ", kept)
    while len(kept.encode()) > 100:
        kept = kept[:-1]
    reserved = re.match(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", kept)
    return f"_{kept}" if reserved or not kept else kept


# ── files and zips ───────────────────────────────────────────────────────────────────────────


def _below(folder: Path) -> Iterator[Submission]:
    for place, folders, files in os.walk(folder):    # which does not follow links
        folders.sort()
        for entry in sorted([*files, *folders]):
            path = Path(place, entry)
            name = PurePosixPath(path.relative_to(folder).as_posix())
            if path.is_symlink():
                yield from _no_file(name, "a link, which is not followed")
            elif path.is_dir():
                yield from _no_file(name, "a folder")
            else:
                yield from _file(path, name)


def _file(path: Path, name: PurePosixPath) -> Iterator[Submission]:
    try:
        if not path.is_file():    # reading a pipe would wait for ever
            yield from _no_file(name, "no file")
        elif path.suffix.lower() == ".zip":
            with path.open("rb") as file:
                yield from _zip(file, name, _Left())
        elif path.suffix.lower() == ".ipynb" and path.stat().st_size > LARGEST_NOTEBOOK:
            yield _problem(name, f"{path.stat().st_size // MEGABYTE} MB are too large")
        elif path.suffix.lower() == ".ipynb":
            yield from _notebook(name, path.read_bytes(), path.stat().st_mtime)
        else:
            yield from _other(name)
    except OSError as error:
        yield _problem(name, f"the file cannot be read: {error.strerror}")


@dataclass
class _Left:
    """How many bytes a zip may still unpack to, and how many of them may be kept.

    Each zip of a student's, and each in a zip, has its own: none can use up what others need.
    """

    unpacked: int = 8192 * MEGABYTE
    kept: int = 256 * MEGABYTE
    depth: int = 1

    def inner(self) -> "_Left":
        return _Left(min(256 * MEGABYTE, self.unpacked), min(16 * MEGABYTE, self.kept),
                     self.depth + 1)


def _zip(file: BinaryIO, name: PurePosixPath, left: _Left) -> Iterator[Submission]:
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:    # its libraries raise whatever they like
        yield _problem(name, f"the zip cannot be read: {str(error)[:60]}")
        return
    entries = sorted(archive.infolist(), key=lambda entry: entry.filename)
    if len(entries) > MOST_ENTRIES:
        yield _problem(name, "the zip has too many entries")
        return
    for entry in entries:
        inside = PurePosixPath(entry.filename.replace("\\", "/")).parts
        inner = name.joinpath(*(part for part in inside if part not in ("/", "..")))
        suffix = inner.suffix.lower()
        if len(entry.filename) > LONGEST_NAME:
            continue
        if stat.S_ISLNK(entry.external_attr >> 16):
            yield from _no_file(inner, "a link, which is not followed")
            continue
        if entry.is_dir():
            yield from _no_file(inner, "a folder")
            continue
        if _is_hidden(inner):
            continue
        if suffix not in (".ipynb", ".zip"):
            yield from _other(inner)
            continue
        if entry.file_size > min(LARGEST_NOTEBOOK, left.unpacked) or left.kept <= 0:
            yield _problem(inner, "the zip holds too much")
            continue
        try:
            with archive.open(entry) as stream:
                content = stream.read(entry.file_size + 1)
        except Exception as error:    # damaged, encrypted, or of a new kind
            left.unpacked -= entry.file_size
            yield _problem(inner, f"the zip cannot be read: {str(error)[:60]}")
            continue
        left.unpacked -= len(content)
        if suffix == ".ipynb":
            for submission in _notebook(inner, content, _seconds(entry)):
                left.kept -= len(submission.data)
                yield submission
        elif left.depth < DEEPEST_ZIP:
            its = left.inner()
            whole = its.unpacked, its.kept
            yield from _zip(io.BytesIO(content), inner, its)
            left.unpacked -= whole[0] - its.unpacked
            left.kept -= whole[1] - its.kept
        else:
            yield _problem(inner, "a zip in a zip in a zip")


def _seconds(entry: zipfile.ZipInfo) -> float:
    """A moment that grows with the entry's date; a zip knows no time zone."""
    year, month, day, hour, minute, second = entry.date_time
    return ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60.0 + second


def _notebook(name: PurePosixPath, data: bytes, seconds: float) -> Iterator[Submission]:
    if _is_hidden(name):
        return
    try:
        yield Submission("", str(name), slim(data), seconds=seconds)
    except Unreadable as error:
        yield _problem(name, error.found if data else "the file is empty", seconds)


def _no_file(name: PurePosixPath, what: str) -> Iterator[Submission]:
    """What is called like a notebook or a zip, and is none."""
    if _is_notebook(name.name) and not _is_hidden(name):
        yield _problem(name, f"{clean(name.name)} is {what}")


def _is_notebook(name: str) -> bool:
    return name.lower().endswith((".ipynb", ".zip"))


def _problem(name: PurePosixPath, problem: str, seconds: float = 0.0,
             other: bool = False) -> Submission:
    return Submission("", str(name), b"", seconds=seconds, problem=problem, other=other)


def _other(name: PurePosixPath) -> Iterator[Submission]:
    """A file that is no notebook: worth a line where it may be somebody's work."""
    if not _is_hidden(name) and name.name.lower() not in _NOT_WORK and (
            _WORK.search(name.name) or any(map(_MOODLE.match, name.parts))):
        yield _problem(name, f"nothing that could be read, but {clean(name.name)}", other=True)


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part in _HIDDEN or part.startswith("._") for part in name.parts)


# ── who ──────────────────────────────────────────────────────────────────────────────────────


def _named(submissions: list[Submission]) -> list[Submission]:
    """The submissions with their students and their names, by what the paths say at one level."""
    work = [s for s in submissions if not s.other] or submissions
    paths = [PurePosixPath(s.path).parts for s in work]
    level, platform = _level(paths)
    one, exports = _of_one_zip(work, level), () if platform else _exports(paths, level)
    named, ids = [], defaultdict(set)
    for submission in submissions:
        parts = PurePosixPath(submission.path).parts
        at, flags = min(level, len(parts) - 1), ()
        if parts[at] == "submitted" and len(parts) > at + 2:    # nbgrader's
            at += 1
        form = _MOODLE.match(parts[at]) or (
            _CANVAS.match(parts[at]) if platform is _CANVAS else None)
        left = map(_without_lesson, (*parts[at:], *reversed(parts[:at])))
        if form:
            student = form["who"]
        elif platform:
            student, flags = parts[at], ("lies beside the export, and has none of its names",)
        elif parts[:at + 1] in exports and len(parts) > at + 1 and (
                form := _MOODLE.match(parts[at + 1]) or _CANVAS.match(parts[at + 1])):
            student = f"{parts[at]}: {form['who']}"
            flags = ("of an export, but something else lies beside it",)
        elif one:
            student, flags = one, (f"all that lies in {one}.zip is taken for one student's",)
        else:
            student = next(filter(None, left), parts[-1])
        student = " ".join(unicodedata.normalize("NFC", clean(student)).split()) or "_"
        id = form["id"] if form else ""
        ids[student, parts[:at]].add(id)
        stem = PurePosixPath(form["name"] if platform is _CANVAS and form and at == len(parts) - 1
                             else parts[-1]).stem
        again = _AGAIN.search(stem)
        named.append(replace(
            submission, student=student, path=clean(submission.path), id=id,
            name=_AGAIN.sub("", stem), flags=flags,
            attempt=int(next(filter(None, again.groups()))[:6]) if again else 0))
    several = {student for (student, _), found in ids.items() if len(found) > 1}
    named = [replace(s, student=f"{s.student} ({s.id})") if s.id and s.student in several else s
             for s in named]
    doubted = _perhaps_one({s.student for s in named if not s.id})
    return [replace(s, flags=(*s.flags, doubted[s.student])) if s.student in doubted else s
            for s in named]


def _level(paths: Sequence[tuple[str, ...]]) -> tuple[int, re.Pattern | None]:
    """At which depth the paths name their students, and in which platform's form.

    Where all paths part, so that no student has named what is there, most may do: the others are
    strays.
    """
    folders = [path[:-1] for path in paths]
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, zip(*folders)))
    for depth in range(min(map(len, paths), default=0)):
        entries = dict.fromkeys(path[:depth + 1] for path in paths)
        for platform in (_MOODLE, _CANVAS):
            fit = _in_form(entries, platform)
            if len(fit) == len(entries) or (depth == shared and 2 * len(fit) > len(entries)):
                return depth, platform
        if all(path[depth] == "submitted" for path in paths):
            return depth + 1, None
    if len(paths) == 1:    # then the nearest folder is the best guess
        return max(len(folders[0]) - 1, 0), None
    return shared, None


def _exports(paths: Sequence[tuple[str, ...]], level: int) -> set[tuple[str, ...]]:
    """The folders at this depth that hold more students, in a platform's form.

    It may be forged: so they do not count as the students that they name, but stay apart.
    """
    inside: dict[tuple[str, ...], dict] = defaultdict(dict)
    for path in paths:
        if len(path) > level + 1:
            inside[path[:level + 1]][path[:level + 2]] = None
    return {place for place, entries in inside.items() for platform in (_MOODLE, _CANVAS)
            if len(_in_form(entries, platform)) == len(entries) > 1}


def _in_form(entries: Iterable[tuple[str, ...]], platform: re.Pattern) -> list[tuple[str, ...]]:
    """The entries in a platform's form.

    People and files have numbers of their own in Canvas; in `lora_2025_11_20.ipynb` or
    `exercise_07_1_anna.ipynb` others would have the same.
    """
    fit = [entry for entry in entries if platform.match(entry[-1])]
    if platform is _MOODLE:
        return fit
    forms = [_CANVAS.match(entry[-1]) for entry in fit]
    files, users = [form["file"] for form in forms], {form["id"] for form in forms}
    own = (all(PurePosixPath(form[0]).suffix for form in forms) and len(set(files)) == len(files)
           and (len(users) > 1 or len(files) == 1))
    return fit if own else []


def _of_one_zip(work: Sequence[Submission], level: int) -> str:
    """Whose all of it is, where it is one zip with notebooks of different lessons at its top.

    "" where it is not, or where the lessons' own file names say who: all of them, or nobody.
    """
    paths, exercises = [PurePosixPath(s.path) for s in work], all_exercises()
    place, *others = {path.parent for path in paths} or {PurePosixPath()}
    if (others or place.suffix.lower() != ".zip" or len(place.parts) != level
            or len(work) > len({exercise.lesson for exercise in exercises})):
        return ""
    found = [None if s.problem else lesson_of(parse(s.data), s.path, exercises) for s in work]
    names = [(_without_lesson(path.name), _LESSON.search(path.name)) for path in paths]
    by_name = all(name and file for name, file in names) or not any(name for name, _ in names)
    apart = None not in found and len(set(found)) == len(found)
    return _without_lesson(place.name) if apart and not by_name else ""


def _perhaps_one(students: set[str]) -> dict[str, str]:
    """What to say of `anna` and `anna-1`, which may be two people or copies of one's work."""
    flags = {}
    for student in sorted(students):
        first = _AGAIN.sub("", student)
        if first != student and first in students:
            flags[first] = flags[student] = f"{first} and {student}: {DOUBT}"
    return flags


def _without_lesson(part: str) -> str:
    """What a folder's or a file's name says beside the lesson and its copy."""
    stem = re.sub(r"(?i)\.(ipynb|zip)$", "", part)
    return _LESSON.sub("", _COPY.sub("", stem)).strip(" _-.")
