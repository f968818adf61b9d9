"""What a class handed in: whose each file is, what belongs together, and which notebook counts.

    entries    what lies there, as it is read
    students   whose it is, by its path

Python in a file is a module of the notebook beside it, or where there is none the notebook itself.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import PeftTeachError
from ..lessons import parts
from ..reading.notebook import lessons_in
from .entries import EMPTY, HAND_IN, clean, files
from .students import Submission, submitted

AS_SCRIPT = "Python in a file, and no notebook, is read all the same"
NO_LESSON = "no lesson of this course"
LEAST_OF_A_LESSON = 0.5  # of its exercises, with which another lesson's notebook counts for it, too
MOST_OTHERS = 3          # of a student's other submissions for a lesson that are named
SAME_TIME = 2.0          # seconds: a zip's dates tell no less apart
MOST_UNREADABLE = 100    # in one folder or zip; more, and nothing of the course, is not a class


def collect(source: Path | str, nobodys: list[str] | None = None) -> list[Submission]:
    """All notebooks below a folder, or in a zip, or one file; ordered by their path.

    What cannot be read is an entry with a `problem`, and so are other files of a student without a
    notebook, whatever they are. The paths of files that belong to nobody are added to `nobodys`.
    Raises `PeftTeachError` if there is nothing at all.
    """
    source = Path(source)
    if not source.exists():
        raise PeftTeachError(f"There is no {source}.", expected="a folder of submissions, or a zip")
    there = files(source)
    found = submitted(there)
    if not found:
        raise PeftTeachError(f"There is no notebook in {source}.",
                             expected="files that end in .ipynb, or zips of them")
    if nobodys is not None:
        known = {s.path for s in found}
        nobodys += [path for path in (clean(str(file.path)) for file in there
                                      if file.problem != EMPTY) if path not in known]
    found = _with_adapters(_with_scripts(found))
    with_work = {s.student for s in found if not s.file.other}
    return sorted((s for s in found if not s.file.other or s.student not in with_work),
                  key=lambda s: s.path)


def by_time(submissions: Sequence[Submission]) -> list[Submission]:
    """Those of one student and lesson, the latest first: it counts.

    The platform's own number of a file comes first, which grows with each upload; then the number
    of a copy, then when it was saved, and where nothing else tells, the path.
    """
    highest = {s.label.name: s.label.attempt
               for s in sorted(submissions, key=lambda s: s.label.attempt)}
    return sorted(submissions, reverse=True, key=lambda s: (
        s.label.upload, s.label.attempt == highest[s.label.name], s.file.seconds, s.label.attempt,
        s.path))


# ── what belongs to a notebook ───────────────────────────────────────────────────────────────


def _with_scripts(submissions: list[Submission]) -> list[Submission]:
    """The submissions; Python in files as modules of its author's notebooks, or as notebooks."""
    scripts, with_notebook = defaultdict(list), set()
    for s in submissions:
        if s.notebook and s.file.other:
            scripts[s.student].append(s)
        elif s.notebook:
            with_notebook.add(s.student)
    return [_with_modules(s, scripts[s.student], s.student in with_notebook)
            if s.notebook and s.student in scripts else s for s in submissions]


def _with_modules(s: Submission, scripts: Sequence[Submission], has_notebook: bool) -> Submission:
    """A notebook with the modules beside it; a script with the others, where it is the notebook."""
    modules = {each.label.name: each.notebook.code for each in reversed(by_time(scripts))
               if each is not s and each.label.name.isidentifier()}
    if s.file.other:
        if has_notebook or s.lesson is None:
            return replace(s, file=replace(s.file, notebook=None))
        s = replace(s, file=replace(s.file, other=False, problem=""), flags=(*s.flags, AS_SCRIPT))
    return _with(s, files=tuple(modules.items()))


def _with_adapters(submissions: list[Submission]) -> list[Submission]:
    """The submissions; where a lesson asks for an adapter, the notebook with that of its author."""
    theirs = defaultdict(list)
    for s in submissions:
        if s.file.adapter is not None:
            theirs[s.student].append(s)
    return [_with_adapter(s, theirs[s.student]) if s.notebook and s.student in theirs
            and parts(s.lesson or "") else s for s in submissions]


def _with_adapter(s: Submission, there: list[Submission]) -> Submission:
    """A notebook with the latest adapter below its folder, or else of its student."""
    below = s.file.path.parent
    there = [each for each in there if below in each.file.path.parents] or there
    best = max(there, key=lambda each: (
        isinstance(each.file.adapter, bytes), each.file.path.parent.name == "adapter",
        each.label.upload, each.label.attempt, each.file.seconds, each.path))
    several = sum(isinstance(each.file.adapter, bytes) for each in there)
    flags = (f"{several} adapters, {best.path} counts",) if several > 1 else ()
    return replace(_with(s, adapter=best.file.adapter), flags=(*s.flags, *flags))


def _with(s: Submission, **more: object) -> Submission:
    """A submission with more in its notebook."""
    return replace(s, file=replace(s.file, notebook=replace(s.notebook, **more)))


# ── which one counts ─────────────────────────────────────────────────────────────────────────


def counted(submissions: Sequence[Submission], asked: str | None) -> list[Submission]:
    """The submissions that count, with their `lesson` and flags; ungraded ones have no lesson."""
    groups: dict[tuple[str, str], list[Submission]] = defaultdict(list)
    ungraded: dict[str, list[Submission]] = defaultdict(list)
    for each in _by_lesson(submissions, asked):
        if each.notebook and (lesson := asked or each.lesson):
            groups[each.student, lesson].append(each)
        else:
            ungraded[each.student].append(each)
    tops = {each.file.path.parts[0] for each in submissions}
    if (not groups and len(tops) == 1 and len(submissions) > MOST_UNREADABLE
            and not any(each.label.id for each in submissions)):
        student = clean(tops.pop()).removesuffix(".zip")
        ungraded = {student: [replace(each, student=student) for each in submissions]}
    # Ungraded files are one flag of their student's first row, or a row of their own.
    found = [_latest(group, lesson, beside=ungraded.pop(student, []))
             for (student, lesson), group in groups.items()]
    return found + [replace(first, flags=(*first.flags, _not_graded([first, *others])))
                    for first, *others in ungraded.values()]


def _by_lesson(submissions: Sequence[Submission], asked: str | None) -> list[Submission]:
    """The submissions; a notebook with several lessons once for each that has no other notebook."""
    there = {(each.student, each.lesson) for each in submissions}
    found = []
    for each in submissions:
        shares = lessons_in(each.notebook) if each.notebook else {}
        if set(shares) - {each.lesson}:
            said = f"has exercises of lessons {' and '.join(sorted({*shares, each.lesson}))}"
            each = replace(each, flags=(*each.flags, said))
        others = [lesson for lesson, share in shares.items()
                  if share >= LEAST_OF_A_LESSON and lesson != each.lesson]
        found.append(replace(each, lesson=asked) if asked in others else each)
        if asked is None:
            found += [replace(each, lesson=lesson) for lesson in others
                      if (each.student, lesson) not in there]
    return found


def _latest(group: Sequence[Submission], lesson: str, beside: Sequence[Submission]) -> Submission:
    """The one of a student's submissions that counts for a lesson, with its flags."""
    from ... import __version__  # late: the package imports this one

    group = [each for each in group if each.lesson == lesson] or group
    chosen, *others = by_time(group)
    flags = [*chosen.flags]
    if others:
        flags.append(f"{len(group)} submissions, the latest counts: {chosen.path}, and not "
                     + ", ".join(each.path for each in others[:MOST_OTHERS])
                     + ("" if _are_told_apart(chosen, others[0]) else
                        "; no time tells them apart, so it is the last by name"))
    if chosen.lesson != lesson:
        flags.append(f"this is the notebook of lesson {chosen.lesson}: hand in that of lesson "
                     f"{lesson}" if chosen.lesson else f"{NO_LESSON}: {HAND_IN}")
    if chosen.notebook.lesson is None and AS_SCRIPT not in flags:
        flags.append("its metadata is lost")
    elif chosen.notebook.release != __version__:
        flags.append(f"made from release {chosen.notebook.release}")
    if beside:
        where = f"not graded: {beside[0].path}: " if len(beside) == 1 else ""
        flags.append(where + _not_graded(beside))
    return replace(chosen, lesson=lesson, flags=tuple(flags),
                   others=tuple(replace(each, lesson=lesson) for each in others))


def _are_told_apart(one: Submission, other: Submission) -> bool:
    """Whether more than a name says which of the two is later."""
    return (one.label.upload != other.label.upload or one.label.attempt != other.label.attempt
            or abs(one.file.seconds - other.file.seconds) >= SAME_TIME)


def _not_graded(files: Sequence[Submission]) -> str:
    """The flag for a student's files that cannot be graded, however many there are."""
    why = files[0].file.problem or f"{NO_LESSON}: {HAND_IN}"
    if len(files) == 1:
        return why
    return f"{len(files):,} files are not graded; the first: {files[0].path}: {why}"
