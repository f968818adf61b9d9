"""From a folder as a learning platform exports it to: who handed in which notebook, when.

    loose files       anna_07_lora.ipynb, or anna/07_lora.ipynb
    Canvas            meierjo_123_456_07_lora-1.ipynb, meierjo_LATE_123_456_07_lora.ipynb
    Moodle            Jo Meier_12345_assignsubmission_file_/07_lora.ipynb
    nbgrader          submitted/jo/lora/07_lora.ipynb
    zips              of any of these; one a student, or one for all; and zips in zips

Zips are read in memory and never unpacked, so that no name in them can reach a file. Links are not
followed.
"""

import io
import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath

from ...errors import PeftTeachError
from .limits import MEGABYTE

LARGEST_NOTEBOOK = 64 * MEGABYTE      # bytes; one with many pictures has about 5 MB
LARGEST_ZIP = 1024 * MEGABYTE         # bytes of all notebooks in one zip
MOST_ENTRIES = 50_000
LONGEST_NAME = 1_000                  # characters of a path in a zip
DEEPEST_ZIP = 2                       # zips in a zip

_CANVAS = re.compile(r"^(?P<who>[^_]+)_(?:LATE_)?(?P<id>\d+)_\d+_.+$")
_MOODLE = re.compile(r"^(?P<who>.+)_(?P<id>\d+)_assignsubmission_\w+_?$")
_LESSON = re.compile(r"(?i)(?<!\d)\d\d[_ -](inside|full|small[_ ]change|prompt|prefix|adapters|ia3|"
                     r"lora|qlora|dora|ladder|chat|ecosystem)")    # the lessons' files
_COPY = re.compile(r"(?i)^(copy of|kopie von|copie de|copia de)\s+|^copy_of_")
_AGAIN = re.compile(r"(?:-(\d+)|\s*\((\d+)\))$")      # "07_lora-2", "07_lora (2)"
_HIDDEN = ("__MACOSX", ".ipynb_checkpoints", ".git", "__pycache__")
_NOT_WORK = {"timestamp.txt", "onlinetext.html", ".ds_store", "thumbs.db"}


@dataclass(frozen=True)
class Submission:
    """A file that somebody handed in. `attempt` and `seconds` order those of one student."""

    student: str
    path: str             # as the instructor sees it: "all.zip/jo/07_lora.ipynb"
    data: bytes           # empty where `problem` says why
    attempt: int = 0      # from a name such as "07_lora-2.ipynb"
    seconds: float = 0.0  # when it was saved, as far as the folder knows
    problem: str = ""
    other: bool = False   # no notebook: worth a line only where its student has none
    id: str = ""          # which of several people of this name, where a platform says so


def collect(place: Path | str) -> list[Submission]:
    """All notebooks below a folder, or in a zip, or one file; ordered by their path.

    A student from whom there are only other files gets an entry with a `problem`. Raises
    `PeftTeachError` if there is nothing at all.
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
    """The one that counts: by the number in its name, then its time, then its path."""
    return max(submissions, key=lambda s: (s.attempt, s.seconds, s.path))


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
        for file in sorted(files):
            path = Path(place, file)
            if path.is_file() and not path.is_symlink():
                yield from _file(path, PurePosixPath(path.relative_to(folder).as_posix()))


def _file(path: Path, name: PurePosixPath) -> Iterator[Submission]:
    if path.suffix.lower() == ".zip":
        yield from _zip(path.read_bytes(), name, 1)
    elif path.suffix.lower() == ".ipynb" and path.stat().st_size > LARGEST_NOTEBOOK:
        yield _submission(name, b"", 0, f"{path.stat().st_size // MEGABYTE} MB are too large")
    elif path.suffix.lower() == ".ipynb":
        yield from _notebook(name, path.read_bytes(), path.stat().st_mtime)
    else:
        yield from _other(name)


def _zip(data: bytes, name: PurePosixPath, depth: int) -> Iterator[Submission]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_ENTRIES:
                yield _submission(name, b"", 0, "the zip has too many entries")
                return
            left = LARGEST_ZIP
            for entry in sorted(entries, key=lambda e: e.filename):
                inside = PurePosixPath(entry.filename.replace("\\", "/")).parts
                inner = name.joinpath(*(part for part in inside if part not in ("/", "..")))
                suffix = inner.suffix.lower()
                if (entry.is_dir() or stat.S_ISLNK(entry.external_attr >> 16)
                        or len(entry.filename) > LONGEST_NAME):
                    continue
                if suffix not in (".ipynb", ".zip"):
                    yield from _other(inner)
                    continue
                if entry.file_size > min(LARGEST_NOTEBOOK, left):
                    yield _submission(inner, b"", 0, "the zip holds too much")
                    continue
                with archive.open(entry) as stream:
                    content = stream.read(entry.file_size + 1)
                left -= len(content)
                if suffix == ".ipynb":
                    yield from _notebook(inner, content, _seconds(entry))
                elif depth < DEEPEST_ZIP:
                    yield from _zip(content, inner, depth + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError,
            NotImplementedError, LookupError) as error:    # damaged, encrypted, or of a new kind
        yield _submission(name, b"", 0, f"the zip cannot be read: {str(error)[:60]}")


def _seconds(entry: zipfile.ZipInfo) -> float:
    """A moment that grows with the entry's date; a zip knows no time zone."""
    year, month, day, hour, minute, second = entry.date_time
    return ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60.0 + second


def _notebook(name: PurePosixPath, data: bytes, seconds: float) -> Iterator[Submission]:
    if not _is_hidden(name):
        yield _submission(name, data, seconds, "" if data else "the file is empty")


def _other(name: PurePosixPath) -> Iterator[Submission]:
    """A file that is no notebook: worth a line only if a platform's folder says whose it is."""
    if not _is_hidden(name) and name.name.lower() not in _NOT_WORK and _platform(name):
        yield _submission(name, b"", 0, f"no notebook, but {name.name}", other=True)


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part in _HIDDEN or part.startswith("._") for part in name.parts)


# ── who ──────────────────────────────────────────────────────────────────────────────────────


def _submission(name: PurePosixPath, data: bytes, seconds: float, problem: str,
                other: bool = False) -> Submission:
    again = _AGAIN.search(name.stem)
    attempt = int(next(filter(None, again.groups()))[:6]) if again else 0
    student, id = _platform(name) or ("", "")
    return Submission(student, str(name), data, attempt, seconds, problem, other, id)


def _platform(name: PurePosixPath) -> tuple[str, str] | None:
    """The student and an id, where Moodle, nbgrader or Canvas put them into the path."""
    parts = name.parts
    for part in reversed(parts[:-1]):
        if match := _MOODLE.match(part.removesuffix(".zip")):
            return match["who"], match["id"]
    if "submitted" in parts[:-2]:
        return parts[parts.index("submitted") + 1], ""
    for part in reversed(parts):
        if match := _CANVAS.match(part):
            return match["who"], match["id"]
    return None


def _named(submissions: list[Submission]) -> list[Submission]:
    """The submissions with their students; where no platform said who, their paths do.

    Below the folder that all of them share, the name is what the path begins with: a folder's, a
    zip's or the file's own, without the lesson's name in it.
    """
    folders = [PurePosixPath(s.path).parent.parts for s in submissions if not s.student]
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*folders)))
    if len(folders) == 1:    # then the nearest folder is the best guess
        shared = max(len(folders[0]) - 1, 0)
    named = []
    for submission in submissions:
        parts = PurePosixPath(submission.path).parts
        left = map(_without_lesson, (*parts[shared:], *reversed(parts[:shared])))
        student = submission.student or next(filter(None, left), parts[-1])
        student = student.encode("utf-8", "replace").decode()
        student = " ".join(unicodedata.normalize("NFC", student).split())[:120]
        named.append(replace(submission, student=student))
    ids: dict[str, set[str]] = {}
    for submission in named:
        ids.setdefault(submission.student, set()).add(submission.id)
    return [replace(s, student=f"{s.student} ({s.id})") if s.id and len(ids[s.student]) > 1 else s
            for s in named]


def _without_lesson(part: str) -> str:
    """What a folder's or a file's name says beside the lesson, the copy and the attempt."""
    stem = re.sub(r"(?i)\.(ipynb|zip)$", "", part)
    return _LESSON.sub("", _AGAIN.sub("", _COPY.sub("", stem))).strip(" _-.")
