"""From a folder as a learning platform exports it to: who handed in which notebook, when.

    loose files       anna_07_lora.ipynb, or anna/07_lora.ipynb
    Canvas            meierjo_123_456_07_lora-1.ipynb, meierjo_LATE_123_456_07_lora.ipynb,
                      meierjo_123_text.html; anonymous: anon_aB3dE_456_07_lora.ipynb,
                      LATE_anon_aB3dE_456_07_lora.ipynb
    Moodle            Jo Meier_12345_assignsubmission_file_/07_lora.ipynb, or ..._file_07_lora.ipynb
                      blind: Participant_12345_assignsubmission_file_/07_lora.ipynb, and that word
                      in the language of the site
    nbgrader          submitted/jo/lora/07_lora.ipynb
    zips              of any of these; one a student, or one for all; and zips in zips

Students' names are read from one level of the paths, the same for all: the outermost at which the
names have a platform's form, or else the one below the common folder. What a student packed is
below that level and names nobody. A number after a lesson's own file name, as in `07_lora-1`,
counts copies; every other number is a part of the name.

A notebook may bear `.txt` behind its name, as browsers save one. Python in a file is a module of
the notebook beside it, or where there is none the notebook itself.

Zips are read in memory, never extracted, so that no name in them can become a path. Links are not
followed. Only code and text of a notebook are kept, so that large ones take little memory.
"""

import io
import re
import stat
import time
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ...errors import PeftTeachError
from ...store import DESCRIPTION
from ..lessons import START, parts
from ..lessons import names as lesson_names
from ..reading.notebook import Notebook, Unreadable, lesson_of, parse, parse_script
from .limits import MEGABYTE

LARGEST_NOTEBOOK = 32 * MEGABYTE      # bytes; one with many pictures has about 5 MB
LARGEST_SCRIPT, MOST_SCRIPTS = 100_000, 2_000    # bytes of one, and how many in a folder or a zip
LARGEST_ADAPTER = MEGABYTE            # that is read; the capstone's may have 100 kB
MOST_ENTRIES = 50_000
LONGEST_NAME = 1_000                  # characters of a path in a zip

HAND_IN = "hand in the notebook itself, a file that ends in .ipynb"
NO_ANSWER = f"no answer to an exercise: {HAND_IN}"
AS_SCRIPT = "Python in a file, and no notebook, is read all the same"
DOUBT = "two students, or one?"       # ends a flag that names others, so no student sees it
STRAY = "lies beside the export, and has none of its names"
FOREIGN = "of an export, but something else lies beside it"

_UPLOAD = r"((?P<file>\d+)_(?P<name>.+)|(text|link)\.html)$"
_CANVAS = re.compile(rf"^(?P<who>.+?)_(?P<late>LATE_)?(?P<id>\d+)_{_UPLOAD}")
_ANONYMOUS = re.compile(rf"^(?P<late>LATE_)?(?P<who>(?P<id>anon_[^\W_]+))_{_UPLOAD}")
_MOODLE = re.compile(r"^(?P<who>.+?)_(?P<id>\d+)_assignsubmission_(?P<name>.*)$")
_KINDS = r"\.ipynb(\.(txt|json))?", r"\.py(\.txt)?"    # a notebook's, a script's
_NOTEBOOK, _SCRIPT = (re.compile(rf"(?i){kind}$") for kind in _KINDS)
_KIND, _READ = (re.compile(rf"(?i)({'|'.join((*_KINDS, other))})$") for other in (
    r"(?<!^)\.[^.]*", r"\.zip"))    # any kind; what is read, and no other
_BLIND = re.compile(    # what Moodle calls everybody in blind marking, behind a group's name
    r"(?i)^(?:.*-)?(participante?s?|participant·e|teilnehmer/?in|teilnehmer|partecipante|deelnemer|"
    r"deltagare?|deltaker|uczestnik|účastník|résztvevő|osallistuja|участник|учасник|katılımcı|"
    r"参加者|参与者|參與者|참가자|مشارك)$")
_LESSON = re.compile(    # "07_lora", "02_small_change", and after it the number of a copy
    rf"(?i)(?<!\d)\d\d[_ -](small[_ ])?({'|'.join(lesson_names())})(?![^\W\d_])"
    r"(-\d{1,3}(?!\d)|\s*\(\d{1,3}\))?")
_COPY = re.compile(r"(?i)^(copy of|kopie von|copie de|copia de)\s+|^copy_of_")
_AGAIN = re.compile(r"(?:-|\s*\()(\d+)\)?$")           # "07_lora-2", "07_lora (2)"
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_TENSORS = re.compile(r"(?i)\.(safetensors|bin|ckpt|pth?|pkl|npz?)$")
_ADAPTER = re.compile(    # and its copies, as browsers and systems name them
    r"(?i)(^|[_\W])adapter([ _-]*(\d+|\(\d+\)|copy|kopie|copie|copia))*\.safetensors$")
_ITS_FOLDERS = ((), ("adapter",), ("work", "adapter"))    # below a notebook, as lesson 14 writes it
_HIDDEN = ("__MACOSX", ".ipynb_checkpoints", ".git", "__pycache__")
_LIBRARIES = {"site-packages", "peft_teach"}    # whose Python is nobody's answer
_NOBODYS = {".ds_store", "thumbs.db", "desktop.ini"}
_WORK = re.compile(r"(?i)\.(ipynb\W.*|py|zip|rar|7z|tar|t?gz|html?|pdf|docx?|odt)$")    # perhaps


@dataclass(frozen=True)
class Submission:
    """A file that somebody handed in; `upload`, `attempt` and `seconds` order those of one."""

    student: str
    path: str             # as the instructor sees it: "all.zip/jo/07_lora.ipynb"
    notebook: Notebook | None = None   # None if there is a `problem`
    lesson: str | None = None          # to which it belongs, if that is known
    name: str = ""        # of the file, without the number in "07_lora-2.ipynb"
    attempt: tuple[int, int] = (0, 0)    # that number of a zip on the platform, and of the file
    upload: int = 0       # the platform's number of the file, which grows with each upload
    seconds: float = 0.0  # when it was saved, if the folder says so
    problem: str = ""
    other: bool = False   # not a notebook: mentioned only if its student has none
    adapter: bytes | str | None = None    # the file's bytes, or why they were not read
    id: str = ""          # the platform's, to tell people of one name apart
    late: bool = False    # as the export says
    flags: tuple[str, ...] = ()    # about the student's name
    called: str = ""      # the student's name in the export, whatever a list calls them
    returns: str = ""     # the name under which the platform takes a page back, "" for none
    others: tuple["Submission", ...] = ()    # of the same lesson, that do not count; latest first


def collect(source: Path | str, nobodys: list[str] | None = None) -> list[Submission]:
    """All notebooks below a folder, or in a zip, or one file; ordered by their path.

    What cannot be read is an entry with a `problem`, and so are other files of a student without a
    notebook, whatever they are. The paths of files that belong to nobody are added to `nobodys`.
    Raises `PeftTeachError` if there is nothing at all.
    """
    source = Path(source)
    if not source.exists():
        raise PeftTeachError(f"There is no {source}.", expected="a folder of submissions, or a zip")
    entries = _in_folder(source) if source.is_dir() else [
        _on_disk(source.resolve(), PurePosixPath(source.name))]
    there = list(_submissions(entries, []))
    found = _named(there)
    if not found:
        raise PeftTeachError(f"There is no notebook in {source}.",
                             expected="files that end in .ipynb, or zips of them")
    if nobodys is not None:
        known = {s.path for s in found}
        nobodys += [path for path in (clean(s.path) for s in there if s.problem != _EMPTY)
                    if path not in known]
    found = _with_adapters(_with_scripts(found))
    with_work = {s.student for s in found if not s.other}
    return sorted((s for s in found if not s.other or s.student not in with_work),
                  key=lambda s: s.path)


def by_time(submissions: Sequence[Submission]) -> list[Submission]:
    """Those of one student and lesson, the latest first: it counts.

    The platform's own number of a file comes first, which grows with each upload; then the number
    of a copy, then when it was saved, and where nothing else tells, the path.
    """
    highest = {s.name: s.attempt for s in sorted(submissions, key=lambda s: s.attempt)}
    return sorted(submissions, reverse=True, key=lambda s: (
        s.upload, s.attempt == highest[s.name], s.seconds, s.attempt, s.path))


def clean(text: str) -> str:
    """The text without control characters and those that change its direction."""
    return _UNSEEN.sub("", text.encode("utf-8", "replace").decode())


def safe_name(student: str) -> str:
    """A safe file name: letters and digits of any script, and nothing with a meaning in paths."""
    kept = "".join(c if c.isalnum() or c in "-. " else "_" for c in student).strip(". ")
    kept = re.sub(r"\s+", " ", kept).encode()[:100].decode(errors="ignore")
    reserved = re.match(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", kept)
    return f"_{kept}" if reserved or not kept else kept


# ── files and zips ───────────────────────────────────────────────────────────────────────────

_FOLDER, _EMPTY = "a folder", "an empty folder"
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
                     time.mktime((*entry.date_time, 0, 0, -1)), partial(_opened, archive, entry))


def _opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> BinaryIO:
    with archive.open(entry) as stream:
        return io.BytesIO(stream.read(entry.file_size + 1))    # even if the zip claims less


# How many bytes of a zip may be read, and how many kept; the same of a zip in a zip. Each zip has a
# quota of its own, so that none can use up what others need.
_QUOTAS = ((8192 * MEGABYTE, 256 * MEGABYTE), (256 * MEGABYTE, 16 * MEGABYTE))


def _charge(quotas: list[list[int]], read: int, kept: int) -> None:
    """Charge the quotas of a zip and of those around it. Raises `Unreadable` if one is exceeded."""
    for quota in quotas:
        if read > quota[0] or kept > quota[1]:
            raise Unreadable("the zip holds too much")
        quota[:] = quota[0] - read, quota[1] - kept


def _submissions(entries: Iterable[_Entry], quotas: list[list[int]]) -> Iterator[Submission]:
    """Notebooks, those in zips, and whatever else lies there."""
    scripts = 0
    for entry in entries:
        path, name, suffix = str(entry.path), entry.path.name, entry.path.suffix.lower()
        if name.lower() in _NOBODYS or any(
                part in _HIDDEN or part.startswith("._") for part in entry.path.parts):
            continue
        script = bool(_SCRIPT.search(name)) and entry.size <= LARGEST_SCRIPT and (
            _LIBRARIES.isdisjoint(entry.path.parts)) and (scripts := scripts + 1) <= MOST_SCRIPTS
        if not (_NOTEBOOK.search(name) or suffix == ".zip" or (script and not entry.no_file)):
            yield Submission("", path, other=True, problem=_EMPTY if entry.no_file == _FOLDER else
                             f"nothing that could be read, but {clean(name)}: {HAND_IN}",
                             adapter=_adapter(entry, quotas), seconds=entry.seconds)
            continue
        try:
            if entry.no_file:
                raise Unreadable(f"{clean(name)} is {entry.no_file}")
            if entry.size > LARGEST_NOTEBOOK and (suffix != ".zip" or quotas):
                raise Unreadable(f"{entry.size // MEGABYTE} MB are too large")
            _charge(quotas, entry.size, 0)
            with entry.open() as file:
                if suffix == ".zip":
                    if len(quotas) == len(_QUOTAS):
                        raise Unreadable("a zip in a zip in a zip")
                    inner = [list(_QUOTAS[len(quotas)]), *quotas]
                    empty = True
                    for submission in _submissions(_in_zip(file, entry.path), inner):
                        empty = False
                        yield submission
                    if empty:
                        yield Submission("", path, other=True, problem="a zip with nothing in it")
                    continue
                notebook = (parse_script if script else parse)(file.read())
            if notebook.lesson == START:
                yield Submission("", path, other=True, problem="the page that leads to the lessons")
                continue
            _charge(quotas, 0, 0 if script else notebook.size)
            yield Submission(
                "", path, notebook, lesson_of(notebook, path), seconds=entry.seconds, other=script,
                problem=f"{clean(name)} has {NO_ANSWER}" if script else "")
        except Unreadable as error:
            yield Submission("", path, problem=error.found, seconds=entry.seconds, other=script)
        except Exception as error:    # a damaged or encrypted zip may raise any
            why = getattr(error, "strerror", None) or str(error)[:60]
            yield Submission("", path, problem=f"it cannot be read: {why}", seconds=entry.seconds,
                             other=script)


def _adapter(entry: _Entry, quotas: list[list[int]]) -> bytes | str | None:
    """The bytes of an adapter's file, or why they are not read; None for anything else."""
    name = clean(entry.path.name)
    if not _TENSORS.search(name):
        return None
    if not _ADAPTER.search(name):
        return f"{name} is not opened; expected adapter.safetensors, as pt.save writes it"
    if entry.no_file or entry.size > LARGEST_ADAPTER:
        return f"{name} is {entry.no_file}" if entry.no_file else (
            f"{name} has {entry.size:,} bytes, which is far too large")
    try:
        _charge(quotas, entry.size, entry.size)
        with entry.open() as file:
            return file.read(LARGEST_ADAPTER)
    except Exception as error:    # as of a notebook
        return f"{name} cannot be read: {getattr(error, 'strerror', None) or str(error)[:60]}"


def _with_scripts(submissions: list[Submission]) -> list[Submission]:
    """The submissions; Python in files as modules of its author's notebooks, or as notebooks."""
    scripts, with_notebook = defaultdict(list), set()
    for s in submissions:
        if s.other and s.notebook:
            scripts[s.student].append(s)
        elif s.notebook:
            with_notebook.add(s.student)
    return [_with_modules(s, scripts[s.student], s.student in with_notebook)
            if s.notebook and s.student in scripts else s for s in submissions]


def _with_modules(s: Submission, scripts: Sequence[Submission], has_notebook: bool) -> Submission:
    """A notebook with the modules beside it; a script with the others, where it is the notebook."""
    files = {each.name: each.notebook.code for each in reversed(by_time(scripts))
             if each is not s and each.name.isidentifier()}
    if s.other:
        if has_notebook or s.lesson is None:
            return replace(s, notebook=None)
        s = replace(s, other=False, problem="", flags=(*s.flags, AS_SCRIPT))
    return replace(s, notebook=replace(s.notebook, files=tuple(files.items())))


def _with_adapters(submissions: list[Submission]) -> list[Submission]:
    """The submissions; where a lesson asks for an adapter, the notebook with that of its author."""
    theirs = defaultdict(list)
    for s in submissions:
        if s.adapter is not None:
            theirs[s.student].append(s)
    return [_with_adapter(s, theirs[s.student]) if s.notebook and s.student in theirs
            and parts(s.lesson or "") else s for s in submissions]


def _with_adapter(s: Submission, there: list[Submission]) -> Submission:
    """A notebook with the latest adapter below its folder, or else of its student."""
    below = PurePosixPath(s.path).parent
    there = [each for each in there if below in PurePosixPath(each.path).parents] or there
    best = max(there, key=lambda each: (
        isinstance(each.adapter, bytes), PurePosixPath(each.path).parent.name == "adapter",
        each.upload, each.attempt, each.seconds, each.path))
    several = sum(isinstance(each.adapter, bytes) for each in there)
    flags = (f"{several} adapters, {best.path} counts",) if several > 1 else ()
    return replace(s, notebook=replace(s.notebook, adapter=best.adapter), flags=(*s.flags, *flags))


def _may_be_work(name: str) -> bool:
    """Whether a loose file that is no notebook is somebody's, to judge by its name."""
    return bool(_WORK.search(name) or _LESSON.search(name))


# ── the students ─────────────────────────────────────────────────────────────────────────────


def _named(submissions: list[Submission]) -> list[Submission]:
    """The submissions with the names of their students, from one level of the paths."""
    full = {folder for s in submissions for folder in PurePosixPath(s.path).parents}
    submissions = [s for s in submissions
                   if s.problem != _EMPTY or PurePosixPath(s.path) not in full]
    work = [s for s in submissions if not s.other] or submissions
    paths = [PurePosixPath(s.path).parts for s in work]
    level, platform = _level(paths)
    if len(paths) == 1 and not platform:    # a guess, which other files of the class correct
        folders = [PurePosixPath(s.path).parts[:-1] for s in submissions]
        level = min(level, _shared(list(filter(None, folders)) or [()]))
    one, exports = _of_one_zip(work, level), {} if platform else _exports(paths, level)
    named, ids = [], defaultdict(set)
    beside: dict[PurePosixPath, set[str]] = defaultdict(set)    # whose notebooks lie in a folder
    for submission in sorted(submissions, key=lambda s: s.other):
        parts = PurePosixPath(submission.path).parts
        at, flags = min(level, len(parts) - 1), ()
        if parts[at] == "submitted" and len(parts) > at + 2:    # nbgrader's
            at += 1
        form = _MOODLE.match(parts[at]) or (platform and platform.match(parts[at]))
        loose = at == len(parts) - 1 and not form and submission.problem != _EMPTY
        owner = "" if form or platform else _owner(submission, loose, beside)
        if submission.other and loose and not owner and not _may_be_work(parts[at]):
            continue
        if form:
            student = form["who"]
            if _MOODLE.match(parts[at]) and _BLIND.match(student):
                student = f"{student} {form['id']}"
        elif platform:
            student, flags = parts[at], (STRAY,)
        elif owner:
            student = owner
        elif (inside := exports.get(parts[:at + 1])) and (form := inside.match(parts[at + 1])):
            student = f"{parts[at]}: {form['who']}"
            flags = (FOREIGN,)
        elif one:
            student, flags = one, (f"all that lies in {one}.zip is taken for one student's",)
        else:
            first = PurePosixPath(parts[at]).stem if submission.other and loose else parts[at]
            left = map(_without_lesson, (first, *parts[at + 1:], *reversed(parts[:at])))
            student = next(filter(None, left), parts[-1])
        student = " ".join(unicodedata.normalize("NFC", clean(student)).split()) or "_"
        if loose and submission.notebook:
            beside[PurePosixPath(submission.path).parent].add(student)
        id = form["id"] if form else ""
        ids[student, parts[:at]].add(id)
        upload = (form.groupdict().get("name") if form else "") or parts[-1]
        in_upload = at < len(parts) - 1
        stem = _stem(parts[-1] if in_upload else upload)
        named.append(replace(
            submission, student=student, path=clean(submission.path), id=id, flags=flags,
            late=bool(form and form.groupdict().get("late")),
            name=_AGAIN.sub("", stem),
            upload=int(form.groupdict().get("file") or 0) if form else 0,
            attempt=(_copy(_stem(upload)) if form and in_upload else 0, _copy(stem)),
            returns=_returned(form) if form and platform else ""))
    several = {student for (student, _), found in ids.items() if len(found) > 1}
    named = [replace(s, student=f"{s.student} ({s.id})") if s.id and s.student in several else s
             for s in named]
    named = [replace(s, called=s.student) for s in named]
    doubted = _perhaps_one({s.student for s in named if not s.id})
    return [replace(s, flags=(*s.flags, doubted[s.student])) if s.student in doubted else s
            for s in named]


def _returned(form: re.Match) -> str:
    """The name under which the platform takes a page back for whom an export's name names.

    Moodle's feedback files go by the number of a participant in a folder's name. Canvas goes by the
    numbers of a person and of a file that they handed in, so it takes nothing back for a text.
    """
    if form.re is _MOODLE:
        return f"{form['who']}_{form['id']}_assignsubmission_file_/feedback.html"
    return f"{_stem(form[0])}.html" if form["file"] else ""


def _stem(name: str) -> str:
    """The name of a file without what says its kind."""
    return _KIND.sub("", name)


def _copy(stem: str) -> int:
    """The number of a copy behind a name, 0 for none."""
    again = _AGAIN.search(stem)
    return int(again[1]) if again else 0


def _owner(submission: Submission, loose: bool, beside: dict[PurePosixPath, set[str]]) -> str:
    """The owner of an adapter among loose files: by its name, or the only one with a notebook.

    "" where that cannot be told, and for anything but an adapter.
    """
    path = PurePosixPath(submission.path)
    if submission.adapter is None and path.name != DESCRIPTION:
        return ""
    if loose and (own := _without_lesson(_ADAPTER.sub("", path.name))) not in ("", path.name):
        return own
    for folder in path.parents:
        if path.relative_to(folder).parent.parts in _ITS_FOLDERS and len(beside[folder]) == 1:
            return next(iter(beside[folder]))
    return ""


def _level(paths: Sequence[tuple[str, ...]]) -> tuple[int, re.Pattern | None]:
    """The depth at which the paths name students, and the platform whose form the names have.

    At the depth where all paths diverge, which no student has named, it is enough if most names
    have the form: the others are stray files.
    """
    folders = [path[:-1] for path in paths]
    shared = _shared(folders)
    for depth in range(min(map(len, paths), default=0)):
        if platform := _platform((path[:depth + 1] for path in paths), most=depth == shared):
            return depth, platform
        if all(path[depth] == "submitted" for path in paths):
            return depth + 1, None
    if len(paths) == 1:    # the innermost folder is the best guess
        return max(len(folders[0]) - 1, 0), None
    return shared, None


def _shared(folders: Sequence[tuple[str, ...]]) -> int:
    """How many folders, from the outermost on, are the same for all."""
    return sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, zip(*folders)))


def _exports(paths: Sequence[tuple[str, ...]], level: int) -> dict[tuple, re.Pattern]:
    """The folders at this depth that are exports of a platform themselves.

    They may be forged, so the students whom they name are kept apart from those outside.
    """
    inside = defaultdict(set)
    for path in paths:
        inside[path[:level + 1]].add(path[:level + 2])
    return {folder: platform for folder, entries in inside.items()
            if len(entries) > 1 and (platform := _platform(entries))}


def _platform(entries: Iterable[tuple[str, ...]], most: bool = False) -> re.Pattern | None:
    """The platform whose form all of these entries have, or most of them.

    In Canvas every person and every file has a number of its own, unlike the parts of
    `lora_2025_11_20.ipynb` or `exercise_07_1_anna.ipynb`.
    """
    names = [entry[-1] for entry in set(entries)]
    for platform in (_MOODLE, _ANONYMOUS, _CANVAS):
        forms = [form for form in map(platform.match, names) if form]
        if platform is _CANVAS:
            people = len({form["id"] for form in forms})
            uploads = [form["file"] for form in forms if form["file"]]
            files = len(set(uploads))
            if files < len(uploads) or people == 1 < files or not all(
                    PurePosixPath(form[0]).suffix for form in forms):
                return None
        if forms and (len(forms) == len(names) or (most and 2 * len(forms) > len(names))):
            return platform
    return None


def _of_one_zip(work: Sequence[Submission], level: int) -> str:
    """The only student, if it is one zip with notebooks of different lessons at its top.

    "" otherwise, or if the files are named after students and lessons, or after lessons alone.
    """
    paths, lessons = [PurePosixPath(s.path) for s in work], [s.lesson for s in work]
    folder, *others = {path.parent for path in paths} or {PurePosixPath()}
    if others or folder.suffix.lower() != ".zip" or len(folder.parts) != level:
        return ""
    names = [(_without_lesson(path.name), _LESSON.search(path.name)) for path in paths]
    by_name = all(name and file for name, file in names) or not any(name for name, _ in names)
    apart = None not in lessons and len(set(lessons)) == len(lessons)
    return _without_lesson(folder.name) if apart and not by_name else ""


def _perhaps_one(students: set[str]) -> dict[str, str]:
    """The flags of `anna` and `anna-1`, who may be two people or one with a copy."""
    flags = {}
    for student in sorted(students):
        first = _AGAIN.sub("", student)
        if first != student and first in students:
            flags[first] = flags[student] = f"{first} and {student}: {DOUBT}"
    return flags


def _without_lesson(part: str) -> str:
    """The name of a folder or a file without the lesson's name and a copy's number."""
    stem = _READ.sub("", part)
    return _LESSON.sub("", _COPY.sub("", stem)).strip(" _-.")
