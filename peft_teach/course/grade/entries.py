"""What lies in a folder, in a zip, and in zips in it: each file as far as it is read.

Zips are read in memory, never extracted, so that no name in them can become a path. Links are not
followed. Only code and text of a notebook are kept, so that large ones take little memory.

A notebook may bear `.txt` behind its name, as browsers save one. Python in a file is read, too.
"""

import io
import re
import stat
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ...store import TENSORS
from ..lessons import START
from ..reading.notebook import Notebook, Unreadable, lesson_of, parse, parse_script
from .sandbox import MEGABYTE

LARGEST_NOTEBOOK = 32 * MEGABYTE      # bytes; one with many pictures has about 5 MB
LARGEST_SCRIPT, MOST_SCRIPTS = 100_000, 2_000    # bytes of one, and how many in a folder or a zip
LARGEST_ADAPTER = MEGABYTE            # that is read; the capstone's may have 100 kB
MOST_ENTRIES = 50_000
LONGEST_NAME = 1_000                  # characters of a path in a zip

HAND_IN = "hand in the notebook itself, a file that ends in .ipynb"
EMPTY = "an empty folder"

KINDS = r"\.ipynb(\.(txt|json))?", r"\.py(\.txt)?"    # a notebook's, a script's
_NOTEBOOK, _SCRIPT = (re.compile(rf"(?i){kind}$") for kind in KINDS)
_TENSORS = re.compile(r"(?i)\.(safetensors|bin|ckpt|pth?|pkl|npz?)$")
ADAPTER = re.compile(    # and its copies, as browsers and systems name them
    r"(?i)(^|[_\W])adapter([ _-]*(\d+|\(\d+\)|copy|kopie|copie|copia))*\.safetensors$")
_HIDDEN = ("__MACOSX", ".ipynb_checkpoints", ".git", "__pycache__")
_LIBRARIES = {"site-packages", "peft_teach"}    # whose Python is nobody's answer
_NOBODYS = {".ds_store", "thumbs.db", "desktop.ini"}
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# How many bytes of a zip may be read, and how many kept; the same of a zip in a zip. Each zip has a
# quota of its own, so that none can use up what others need.
_QUOTAS = ((8192 * MEGABYTE, 256 * MEGABYTE), (256 * MEGABYTE, 16 * MEGABYTE))


@dataclass(frozen=True)
class File:
    """A file as it was read, or the `problem` with it."""

    path: PurePosixPath                # below what was handed in: "all.zip/jo/07_lora.ipynb"
    seconds: float = 0.0               # when it was saved, if the folder says so
    notebook: Notebook | None = None   # None if there is a `problem`
    lesson: str | None = None          # the notebook's, if that is known
    problem: str = ""
    other: bool = False                # not a notebook: mentioned only if its student has none
    adapter: bytes | str | None = None    # the file's bytes, or why they were not read


def clean(text: str) -> str:
    """The text without control characters and those that change its direction."""
    return _UNSEEN.sub("", text.encode("utf-8", "replace").decode())


def files(source: Path) -> list[File]:
    """All that lies in a folder or a zip; or one file."""
    return list(_read(_in_folder(source) if source.is_dir() else [
        _on_disk(source.resolve(), PurePosixPath(source.name))], []))


# ── folders and zips ─────────────────────────────────────────────────────────────────────────

_FOLDER = "a folder"
_NO_FILE = {stat.S_IFREG: "", stat.S_IFDIR: _FOLDER,
            stat.S_IFLNK: "a link, which is not followed"}


@dataclass(frozen=True)
class _Entry:
    """An entry of a folder or of a zip, not yet read."""

    path: PurePosixPath              # as the instructor sees it
    no_file: str                     # what it is, if not a file
    size: int
    seconds: float                   # when it was saved
    open: Callable[[], BinaryIO]

    @property
    def name(self) -> str:
        """Its name, as text that can be shown."""
        return clean(self.path.name)

    @property
    def is_nobodys(self) -> bool:
        """Whether a system or an editor put it there."""
        return self.path.name.lower() in _NOBODYS or any(
            part in _HIDDEN or part.startswith("._") for part in self.path.parts)

    @property
    def is_script(self) -> bool:
        """Whether it is Python that somebody may have written."""
        return (bool(_SCRIPT.search(self.path.name)) and self.size <= LARGEST_SCRIPT
                and _LIBRARIES.isdisjoint(self.path.parts) and not self.no_file)

    def unread(self, problem: str, other: bool = False) -> File:
        """The file with the reason why nothing is read of it."""
        return File(self.path, self.seconds, problem=problem, other=other)


def _in_folder(folder: Path) -> Iterator[_Entry]:
    for path in sorted(folder.rglob("*")):    # which does not follow links
        yield _on_disk(path, PurePosixPath(path.relative_to(folder).as_posix()))


def _on_disk(path: Path, shown: PurePosixPath) -> _Entry:
    try:
        status = path.lstat()
    except OSError as error:    # in a folder with permission to list, not to enter
        return _Entry(shown, f"not to be read: {error.strerror}", 0, 0.0, io.BytesIO)
    return _Entry(shown, _NO_FILE.get(stat.S_IFMT(status.st_mode), "no file"), status.st_size,
                  status.st_mtime, partial(path.open, "rb"))


def _in_zip(file: BinaryIO, shown: PurePosixPath) -> Iterator[_Entry]:
    archive = zipfile.ZipFile(file)
    if len(archive.infolist()) > MOST_ENTRIES:
        raise Unreadable("the zip has too many entries")
    for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
        if len(entry.filename) > LONGEST_NAME:
            continue
        inside = PurePosixPath(entry.filename.replace("\\", "/")).parts
        path = shown.joinpath(*(part for part in inside if part not in ("/", "..")))
        kind = stat.S_IFDIR if entry.is_dir() else stat.S_IFMT(entry.external_attr >> 16)
        yield _Entry(path, _NO_FILE.get(kind, ""), entry.file_size,
                     time.mktime((*entry.date_time, 0, 0, -1)), partial(_unpacked, archive, entry))


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> BinaryIO:
    with archive.open(entry) as stream:
        return io.BytesIO(stream.read(entry.file_size + 1))    # even if the zip claims less


# ── what is read of an entry ─────────────────────────────────────────────────────────────────


def _read(entries: Iterable[_Entry], quotas: list[list[int]]) -> Iterator[File]:
    """Notebooks, those in zips, and whatever else lies there."""
    scripts = count(1)
    for entry in entries:
        if entry.is_nobodys:
            continue
        is_script = entry.is_script and next(scripts) <= MOST_SCRIPTS
        try:
            if entry.path.suffix.lower() == ".zip":
                yield from _zip(entry, quotas)
            elif is_script or _NOTEBOOK.search(entry.path.name):
                yield _notebook(entry, quotas, is_script)
            else:
                yield _other(entry, quotas)
        except Unreadable as error:
            yield entry.unread(error.found, other=is_script)
        except Exception as error:    # a damaged or encrypted zip may raise any
            yield entry.unread(f"it cannot be read: {_why(error)}", other=is_script)


def _opened(entry: _Entry, quotas: list[list[int]], most: float) -> BinaryIO:
    """A file of at most so many bytes, to be read. Raises `Unreadable` for any other."""
    if entry.no_file:
        raise Unreadable(f"{entry.name} is {entry.no_file}")
    if entry.size > most:
        raise Unreadable(f"{entry.size // MEGABYTE} MB are too large")
    _charge(quotas, entry.size, 0)
    return entry.open()


def _charge(quotas: list[list[int]], read: int, kept: int) -> None:
    """Charge the quotas of a zip and of those around it. Raises `Unreadable` if one is exceeded."""
    for quota in quotas:
        if read > quota[0] or kept > quota[1]:
            raise Unreadable("the zip holds too much")
        quota[:] = quota[0] - read, quota[1] - kept


def _zip(entry: _Entry, quotas: list[list[int]]) -> Iterator[File]:
    """What is in a zip; the outermost may be of any size."""
    with _opened(entry, quotas, LARGEST_NOTEBOOK if quotas else float("inf")) as file:
        if len(quotas) == len(_QUOTAS):
            raise Unreadable("a zip in a zip in a zip")
        is_empty = True
        for found in _read(_in_zip(file, entry.path), [list(_QUOTAS[len(quotas)]), *quotas]):
            is_empty = False
            yield found
        if is_empty:
            yield entry.unread("a zip with nothing in it", other=True)


def _notebook(entry: _Entry, quotas: list[list[int]], is_script: bool) -> File:
    """A notebook, or a script as one."""
    with _opened(entry, quotas, LARGEST_NOTEBOOK) as file:
        notebook = (parse_script if is_script else parse)(file.read())
    if notebook.lesson == START:
        return entry.unread("the page that leads to the lessons", other=True)
    _charge(quotas, 0, 0 if is_script else notebook.size)
    return File(entry.path, entry.seconds, notebook, lesson_of(notebook, str(entry.path)),
                f"{entry.name} has no answer to an exercise: {HAND_IN}" if is_script else "",
                other=is_script)


def _other(entry: _Entry, quotas: list[list[int]]) -> File:
    return File(entry.path, entry.seconds, other=True, adapter=_adapter(entry, quotas),
                problem=EMPTY if entry.no_file == _FOLDER else
                f"nothing that could be read, but {entry.name}: {HAND_IN}")


def _adapter(entry: _Entry, quotas: list[list[int]]) -> bytes | str | None:
    """The bytes of an adapter's file, or why they are not read; None for anything else.

    The file's own name may be its student's, which no mark tells.
    """
    if not (kind := _TENSORS.search(entry.name)):
        return None
    if not ADAPTER.search(entry.name):
        return (f"A {kind[0]} file of another name is not opened; expected {TENSORS}, as pt.save "
                "writes it")
    if entry.no_file:
        return f"{TENSORS} is {entry.no_file}"
    if entry.size > LARGEST_ADAPTER:
        return f"{TENSORS} has {entry.size:,} bytes, which is far too large"
    try:
        _charge(quotas, entry.size, entry.size)
        with entry.open() as file:
            return file.read(LARGEST_ADAPTER)
    except Exception as error:    # as of a notebook
        return f"{TENSORS} cannot be read: {_why(error)}"


def _why(error: Exception) -> str:
    """What an error says, without the name of the file, which one of a zip quotes."""
    return getattr(error, "strerror", None) or re.sub(r"<.*>|(['\"]).*\1", "…", str(error))[:60]
