"""Who handed in which file, by the names that a learning platform or an instructor gave them.

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
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import PurePosixPath

from ...store import DESCRIPTION
from ..lessons import names as lesson_names
from ..reading.notebook import Notebook
from .entries import ADAPTER, EMPTY, KINDS, File, clean

DOUBT = "two students, or one?"       # ends a flag that names others, so no student sees it
STRAY = "lies beside the export, and has none of its names"
FOREIGN = "of an export, but something else lies beside it"

_UPLOAD = r"((?P<file>\d+)_(?P<name>.+)|(text|link)\.html)$"
_CANVAS = re.compile(rf"^(?P<who>.+?)_(?P<late>LATE_)?(?P<id>\d+)_{_UPLOAD}")
_ANONYMOUS = re.compile(rf"^(?P<late>LATE_)?(?P<who>(?P<id>anon_[^\W_]+))_{_UPLOAD}")
_MOODLE = re.compile(r"^(?P<who>.+?)_(?P<id>\d+)_assignsubmission_(?P<name>.*)$")
_KIND, _READ = (re.compile(rf"(?i)({'|'.join((*KINDS, other))})$") for other in (
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
_ITS_FOLDERS = ((), ("adapter",), ("work", "adapter"))    # below a notebook, as lesson 14 writes it
_WORK = re.compile(r"(?i)\.(ipynb\W.*|py|zip|rar|7z|tar|t?gz|html?|pdf|docx?|odt)$")    # perhaps


@dataclass(frozen=True)
class Label:
    """What the path of a file says of it."""

    student: str = ""
    id: str = ""          # the platform's, to tell people of one name apart
    upload: int = 0       # the platform's number of the file, which grows with each upload
    name: str = ""        # of the file, without the number in "07_lora-2.ipynb"
    attempt: tuple[int, int] = (0, 0)    # that number of a zip on the platform, and of the file
    returns: str = ""     # the name under which the platform takes a page back, "" for none


@dataclass(frozen=True)
class Submission:
    """A file that somebody handed in, and what is to be said of it."""

    student: str                       # as in the export, or as a list calls them
    file: File
    label: Label = Label()
    lesson: str | None = None          # for which it counts, if that is known
    late: bool = False                 # as the export says, or the list
    flags: tuple[str, ...] = ()
    others: tuple["Submission", ...] = ()    # of the same lesson, that do not count; latest first

    @property
    def path(self) -> str:
        """Where it lies, as the instructor sees it."""
        return clean(str(self.file.path))

    @property
    def notebook(self) -> Notebook | None:
        """The notebook in it; None if there is none, or a problem with it."""
        return self.file.notebook


def submitted(files: Sequence[File]) -> list[Submission]:
    """The files with the names of their students, without those that are nobody's."""
    full = {folder for file in files for folder in file.path.parents}
    files = [file for file in files if file.problem != EMPTY or file.path not in full]
    paths = _Paths(files)
    found = [each for file in sorted(files, key=lambda file: file.other)
             if (each := paths.submission(file))]
    ids: dict[tuple[str, tuple[str, ...]], set[str]] = defaultdict(set)
    for s in found:
        ids[s.student, s.file.path.parts[:paths.at(s.file)]].add(s.label.id)
    several = {student for (student, _), there in ids.items() if len(there) > 1}
    found = [_called(s, f"{s.student} ({s.label.id})") if s.label.id and s.student in several else s
             for s in found]
    doubted = _perhaps_one({s.student for s in found if not s.label.id})
    return [replace(s, flags=(*s.flags, doubted[s.student])) if s.student in doubted else s
            for s in found]


def _called(submission: Submission, student: str) -> Submission:
    return replace(submission, student=student, label=replace(submission.label, student=student))


def _perhaps_one(students: set[str]) -> dict[str, str]:
    """The flags of `anna` and `anna-1`, who may be two people or one with a copy."""
    flags = {}
    for student in sorted(students):
        first = _AGAIN.sub("", student)
        if first != student and first in students:
            flags[first] = flags[student] = f"{first} and {student}: {DOUBT}"
    return flags


# ── one file ─────────────────────────────────────────────────────────────────────────────────


class _Paths:
    """How the paths of a class name its students: at which level, and in which form."""

    def __init__(self, files: Sequence[File]):
        work = [file for file in files if not file.other] or files
        paths = [file.path.parts for file in work]
        self.level, self.platform = _level(paths)
        if len(paths) == 1 and not self.platform:    # a guess, which other files correct
            folders = [file.path.parts[:-1] for file in files]
            self.level = min(self.level, _shared(list(filter(None, folders)) or [()]))
        self.one = _of_one_zip(work, self.level)    # the only student, "" for several
        self.exports = {} if self.platform else _exports(paths, self.level)
        # Whose notebooks lie in a folder, of the files seen so far: notebooks come first.
        self.beside: dict[PurePosixPath, set[str]] = defaultdict(set)

    def at(self, file: File) -> int:
        """The level of a file's path at which its student is named."""
        parts = file.path.parts
        level = min(self.level, len(parts) - 1)
        return level + (parts[level] == "submitted" and len(parts) > level + 2)    # nbgrader's

    def submission(self, file: File) -> Submission | None:
        """A file with its student; None for one that is nobody's."""
        parts, at = file.path.parts, self.at(file)
        form = _MOODLE.match(parts[at]) or (self.platform and self.platform.match(parts[at]))
        is_loose = at == len(parts) - 1 and not form and file.problem != EMPTY
        owner = "" if form or self.platform else self._owner(file, is_loose)
        may_be_work = _WORK.search(parts[at]) or _LESSON.search(parts[at])
        if file.other and is_loose and not owner and not may_be_work:
            return None
        flags: tuple[str, ...] = ()
        if form:
            student = _who(form)
        elif self.platform:
            student, flags = parts[at], (STRAY,)
        elif owner:
            student = owner
        elif form := self._of_an_export(parts, at):
            student, flags = f"{parts[at]}: {form['who']}", (FOREIGN,)
        elif self.one:
            student = self.one
            flags = (f"all that lies in {student}.zip is taken for one student's",)
        else:
            first = PurePosixPath(parts[at]).stem if file.other and is_loose else parts[at]
            left = map(_without_lesson, (first, *parts[at + 1:], *reversed(parts[:at])))
            student = next(filter(None, left), parts[-1])
        student = " ".join(unicodedata.normalize("NFC", clean(student)).split()) or "_"
        if is_loose and file.notebook:
            self.beside[file.path.parent].add(student)
        label = _label(student, form, parts[at:], is_known=bool(self.platform))
        return Submission(student, file, label, file.lesson, flags=flags,
                          late=bool(form and form.groupdict().get("late")))

    def _of_an_export(self, parts: tuple[str, ...], at: int) -> re.Match | None:
        """The name of a student in an export that lies beside something else."""
        platform = self.exports.get(parts[:at + 1])
        return platform.match(parts[at + 1]) if platform and len(parts) > at + 1 else None

    def _owner(self, file: File, is_loose: bool) -> str:
        """The owner of an adapter among loose files: by its name, or the only one with a notebook.

        "" where that cannot be told, and for anything but an adapter.
        """
        path = file.path
        if file.adapter is None and path.name != DESCRIPTION:
            return ""
        if is_loose and (own := _without_lesson(ADAPTER.sub("", path.name))) not in ("", path.name):
            return own
        for folder in path.parents:
            its = path.relative_to(folder).parent.parts
            if its in _ITS_FOLDERS and len(self.beside[folder]) == 1:
                return next(iter(self.beside[folder]))
        return ""


def _who(form: re.Match) -> str:
    """The student in a platform's form; in blind marking Moodle tells them apart by number."""
    is_blind = form.re is _MOODLE and _BLIND.match(form["who"])
    return f"{form['who']} {form['id']}" if is_blind else form["who"]


def _label(student: str, form: re.Match | None, parts: Sequence[str], is_known: bool) -> Label:
    """What a path says, from the part on that names the student, in a platform's form or in none.

    `is_known` says that the platform is the one from which all came.
    """
    told = form.groupdict() if form else {}
    upload, in_upload = told.get("name") or parts[-1], len(parts) > 1
    stem = _stem(parts[-1] if in_upload else upload)
    return Label(student, told.get("id", ""), int(told.get("file") or 0), _AGAIN.sub("", stem),
                 (_copy(_stem(upload)) if form and in_upload else 0, _copy(stem)),
                 _returned(form) if form and is_known else "")


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


def _without_lesson(part: str) -> str:
    """The name of a folder or a file without the lesson's name and a copy's number."""
    stem = _READ.sub("", part)
    return _LESSON.sub("", _COPY.sub("", stem)).strip(" _-.")


# ── all of them ──────────────────────────────────────────────────────────────────────────────


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


def _of_one_zip(work: Sequence[File], level: int) -> str:
    """The only student, if it is one zip with notebooks of different lessons at its top.

    "" otherwise, or if the files are named after students and lessons, or after lessons alone.
    """
    paths, lessons = [file.path for file in work], [file.lesson for file in work]
    folder, *others = {path.parent for path in paths} or {PurePosixPath()}
    if others or folder.suffix.lower() != ".zip" or len(folder.parts) != level:
        return ""
    names = [(_without_lesson(path.name), _LESSON.search(path.name)) for path in paths]
    by_name = all(name and file for name, file in names) or not any(name for name, _ in names)
    apart = None not in lessons and len(set(lessons)) == len(lessons)
    return _without_lesson(folder.name) if apart and not by_name else ""
