"""`peft-teach grade`: from a folder of notebooks to marks, reasons and feedback.

    collect    who handed in what; roster: the platform's own list, and marks in its form
    run        has a server run an answer's plan, and judges the outputs
    server     forks a child for each answer; child: the learner's code, in a sandbox (limits)
    plain      the serialization between the two
    further    further cases from the instructor's folder
    job        one notebook, on any engine
    handed     what is handed in beside the notebook; board: the class, gain against bytes
    overrides  marks and comments by hand; marking: the pages on which they are given
    blind      pseudonyms on every page; own: files with names, for their owner alone
    returned   the students' pages, in a zip as their platform takes them back
    similarity whose answers agree; suspicion: what else the instructor should look at
    report     grades.csv, feedback, the report of the class; picture

The learner's code is read, and watched as it runs, in the room `reading`. solutions/README.md says
what is defended and what is not.
"""

import json
import os
import secrets
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import PeftTeachError
from ..lessons import number
from ..reading.notebook import lessons_in
from . import blind, board, engine, further, handed, marking, overrides, own, report, returned
from .collect import AS_SCRIPT, HAND_IN, Submission, by_time, collect
from .job import Settings, key, mark_all, mark_references
from .limits import Limits
from .roster import Roster
from .run import FAILED
from .runner import FORKS, clear

__all__ = ["Limits", "Options", "Settings", "grade"]

NO_LESSON = "no lesson of this course"
NOTHING = "nothing handed in"
LEAST_OF_A_LESSON = 0.5  # of its exercises, with which another lesson's notebook counts for it, too
MOST_OTHERS = 3          # of a student's other submissions for a lesson that are tried, too
SAME_TIME = 2.0          # seconds: a zip's dates tell no less apart
MOST_NAMED = 50          # files that belong to nobody, in the report
MOST_UNREADABLE = 100    # in one folder or zip; more, and nothing of the course, is not a class


@dataclass(frozen=True)
class Options:
    """What an instructor may ask of a run. Raises `PeftTeachError` for no percentage."""

    solutions: Path | str | None = None    # the folder with further cases; else the visible decide
    held: Path | str | None = None         # of sentences on which handed-in adapters are measured
    lesson: str | None = None              # the assignment; else each notebook's own lesson
    roster: Sequence[Path | str] = ()      # the course's lists, as the platform exports them
    column: str | None = None              # the assignment there, where no name says the lesson
    late: float = 0.0                      # the percentage deducted from what is called late there
    board: str = board.PSEUDONYMS          # how board.html names the adapters
    blind: bool = False                    # pseudonyms everywhere, and nothing for the platform
    bonus: bool = False                    # marks by hand may be above an exercise's points
    limits: Limits = field(default_factory=Limits)    # of one answer
    fresh: bool = False                    # Python anew for each answer, and no warm server
    jobs: int | None = None                # processes; else one a core
    dask: str | None = None                # a scheduler's address, or local:N, instead of these

    def __post_init__(self):
        if not 0 <= self.late <= 100:
            raise PeftTeachError(f"{self.late:g} % cannot be deducted.",
                                 expected="a number from 0 to 100")


def grade(submissions: Path | str, out: Path | str, options: Options | None = None
          ) -> list[report.Row]:
    """Grade all notebooks in a folder or a zip, and write marks and feedback into `out`.

    Results are kept in `out`/results, from which an interrupted run continues; `out`/overrides.csv
    has the last word. With a roster whoever is missing has a row, too, and marks go into the
    platform's own form. Raises `PeftTeachError` if there is nothing to grade, or if a reference
    gets no points.
    """
    out, options = Path(out), options or Options()
    listed = Roster(options.roster)
    own.must_be_writable(out)
    by_hand = overrides.read(out, options.bonus)
    settings = Settings(options.limits,
                        further.read(options.solutions) if options.solutions else (),
                        held=handed.read(options.held) if options.held else (),
                        warm=FORKS and not options.fresh, run=secrets.token_hex(4))
    asked = None if options.lesson is None else number(options.lesson)
    nobodys: list[str] = []
    found = collect(submissions, nobodys)
    found = listed.named(found) if options.roster else found
    handed_in = _select(found, asked)
    missing = _missing(listed, handed_in, asked)
    students = [*(each.student for each in handed_in), *(row.student for row in missing)]
    by_hand = blind.resolved(by_hand, found, students, out)
    overrides.must_be_known(by_hand, students, out)
    graded = [each for each in handed_in if each.lesson]
    others = [other for each in graded for other in each.others[:MOST_OTHERS]]
    try:
        marks = _marks([*graded, *others], settings, out / "results",
                       options.jobs or os.cpu_count() or 1, options.dask)
    finally:
        clear(settings.run)
    totals = {id(each): _total(each, result) for each, result in zip([*graded, *others], marks)}
    rows = [report.Row(each.student, asked or "", each.path, (), each.flags, late=each.late,
                       deduction=options.late, returns=each.returns)
            for each in handed_in if not each.lesson]
    for each, result in zip(graded, marks):
        more = [flag for mark in result for flag in mark["flags"]]
        died = [] if result else ["the grader's process died of it: look at it by hand"]
        rows.append(report.Row(each.student, each.lesson, each.path, tuple(result),
                               (*each.flags, *_better(each, totals), *more, *died),
                               late=each.late, deduction=options.late, returns=each.returns))
    rows = _by_hand([*rows, *missing],
                    [each for each in by_hand if asked in (None, each.lesson)])
    rows = _known_as(rows, board.PSEUDONYMS if options.blind and options.board == board.NAMES
                     else options.board, out)
    files, notes = {}, []
    if options.blind:
        rows = blind.masked(rows, found, out)
        notes.append("Blind: no page names a student, and nothing was written for the platform. "
                     "When the marks are final, the same command without --blind does both.")
    elif options.roster:
        files, notes = listed.written(_totals(rows), options.column)
    if any(row.late for row in rows):
        loses = f"{options.late:g} % of its points" if options.late else "nothing"
        notes.append(f"What the platform calls late loses {loses}.")
    if nobodys and options.blind:
        notes.append(f"Nobody's, and not looked at: {len(nobodys):,} files.")
    elif nobodys:
        notes.append(f"Nobody's, and not looked at: {_listed(sorted(nobodys))}.")
    rows = report.ordered(rows)
    notes += returned.write(rows, out)
    if waits := marking.write(rows, out):
        notes.append(f"{waits} pages wait for a person: peft-teach mark {out}")
    kept = report.write(rows, out, [*_notes(settings, rows), *notes], files)
    report.write_board(rows, out)
    if kept:
        notes.append(f"grades.csv had been edited: it is kept as {kept}. What stands in "
                     f"{overrides.FILE} (student,exercise,points,comment) is applied on each run.")
    for note in notes:
        print(note, file=sys.stderr)
    return rows


def _total(submission: Submission, result: Sequence[dict[str, Any]]) -> tuple[float, int]:
    """The points and their maximum that a submission has, or would have."""
    return report.Row(submission.student, submission.lesson, "", tuple(result), ()).points()


def _better(counted: Submission, totals: dict[int, tuple[float, int]]) -> list[str]:
    """Which of a student's other submissions would have more points, the best of them."""
    best = max(counted.others[:MOST_OTHERS], key=lambda each: totals[id(each)][0], default=counted)
    (more, most), (points, _) = totals[id(best)], totals[id(counted)]
    if more <= points:
        return []
    return [f"{best.path} would have {more:g} of {most:g} points, this one has {points:g}"]


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _known_as(rows: Sequence[report.Row], by: str, out: Path) -> list[report.Row]:
    """The rows with the name that each measured adapter has on the board."""
    there = {row.student for row in rows if any(mark.get("measured") for mark in row.marks)}
    names = (board.pseudonyms([*there], out) if by == board.PSEUDONYMS and there else
             {student: student for student in there if by == board.NAMES})
    return [replace(row, known_as=names.get(row.student, "")) for row in rows]


def _missing(listed: Roster, handed_in: Sequence[Submission], asked: str | None
             ) -> list[report.Row]:
    """A row for everybody in the list who handed in nothing, for each lesson."""
    lessons = {asked} if asked else {each.lesson for each in handed_in if each.lesson} or {""}
    rows = []
    for lesson in sorted(lessons):
        there = {each.student for each in handed_in if each.lesson in (lesson, None)}
        rows += [report.Row(student, lesson, "", (), (NOTHING,))
                 for student in listed.missing(there)]
    return rows


def _by_hand(rows: Sequence[report.Row], by_hand: Sequence[overrides.Override]
             ) -> list[report.Row]:
    """The rows with what the instructor says of each; another row for a lesson without one."""
    rows = list(rows)
    for student, lesson in dict.fromkeys((each.student, each.lesson) for each in by_hand):
        hand = tuple(each for each in by_hand if (each.student, each.lesson) == (student, lesson))
        indices = {row.lesson: index for index, row in enumerate(rows) if row.student == student}
        index = indices.get(lesson, indices.get("", len(rows)))
        row = rows[index] if index < len(rows) else report.Row(student, lesson, "", (), ())
        rows[index:index + 1] = [replace(row, lesson=lesson, hand=hand)]
    return rows


def _totals(rows: Sequence[report.Row]) -> dict[tuple[str, str], tuple[float, float, str]]:
    """Points, their maximum and comments of each row that has a mark, for the platform."""
    return {(row.student, row.lesson): (*row.points(), "; ".join(map(str, row.hand)))
            for row in rows if row.marks or any(each.points is not None for each in row.hand)}


def _select(submissions: Sequence[Submission], asked: str | None) -> list[Submission]:
    """The submissions that count, with their `lesson` and flags; ungraded ones have no lesson."""
    groups: dict[tuple[str, str], list[Submission]] = defaultdict(list)
    ungraded: dict[str, list[Submission]] = defaultdict(list)
    for each in _by_lesson(submissions, asked):
        if each.notebook and (lesson := asked or each.lesson):
            groups[each.student, lesson].append(each)
        else:
            ungraded[each.student].append(each)
    tops = {PurePosixPath(each.path).parts[0] for each in submissions}
    if (not groups and len(tops) == 1 and len(submissions) > MOST_UNREADABLE
            and not any(each.id for each in submissions)):
        student = tops.pop().removesuffix(".zip")
        ungraded = {student: [replace(each, student=student) for each in submissions]}
    # Ungraded files are one flag of their student's first row, or a row of their own.
    counted = [_counted(group, lesson, beside=ungraded.pop(student, []))
               for (student, lesson), group in groups.items()]
    return counted + [replace(first, flags=(*first.flags, _not_graded([first, *others])))
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


def _counted(group: Sequence[Submission], lesson: str, beside: Sequence[Submission]) -> Submission:
    """The one of a student's submissions that counts for a lesson, with its flags."""
    from ... import __version__  # late: the package imports this one

    group = [each for each in group if each.lesson == lesson] or group
    chosen, *others = by_time(group)
    flags = [*chosen.flags]
    if others:
        told = (chosen.upload != others[0].upload or chosen.attempt != others[0].attempt
                or abs(chosen.seconds - others[0].seconds) >= SAME_TIME)
        flags.append(f"{len(group)} submissions, the latest counts: {chosen.path}, and not "
                     f"{_listed([each.path for each in others[:MOST_OTHERS]])}"
                     + ("" if told else "; no time tells them apart, so it is the last by name"))
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


def _not_graded(files: Sequence[Submission]) -> str:
    """The flag for a student's files that cannot be graded, however many there are."""
    why = files[0].problem or f"{NO_LESSON}: {HAND_IN}"
    if len(files) == 1:
        return why
    return f"{len(files):,} files are not graded; the first: {files[0].path}: {why}"


def _marks(graded: Sequence[Submission], settings: Settings, kept: Path, cores: int,
           dask: str | None) -> list[list[dict[str, Any]]]:
    """The marks of each one, kept or new; empty if its process died.

    References come first: no result of a lesson is kept before its references have passed.
    """
    from tqdm import tqdm

    keys = [key(each.notebook, each.lesson, settings) for each in graded]
    results = {name: found for name in keys if (found := _kept(kept / f"{name}.json")) is not None}
    new = {name: each for name, each in zip(keys, graded) if name not in results}
    unproven = sorted({each.lesson for each in new.values()})
    tasks = {lesson: (mark_references, lesson, settings) for lesson in unproven}
    tasks |= {name: (mark_all, each.notebook, each.lesson, settings) for name, each in new.items()}
    waiting: dict[str, list[dict[str, Any]]] = {}
    with tqdm(total=len(graded), initial=len(graded) - len(new), unit="notebook", desc="grading",
              file=sys.stderr) as bar:
        for name, result in engine.run(tasks, jobs=cores, dask=dask):
            if name in unproven:
                _must_be_right(name, result)
                unproven.remove(name)
            else:
                results[name] = waiting[name] = result or []
                bar.update()
            for name in [name for name in waiting if new[name].lesson not in unproven]:
                done = waiting.pop(name)
                if done and not any(FAILED in flag for mark in done for flag in mark["flags"]):
                    own.store(kept / f"{name}.json",
                                 json.dumps(done, indent=1, sort_keys=True) + "\n")
    return [results[name] for name in keys]


def _must_be_right(lesson: str, problems: list[str] | None) -> None:
    if problems != []:
        raise PeftTeachError("\n".join([
            f"The reference of lesson {lesson} gets no points here:",
            *(problems or ["its process died"])]),
            hint="the further cases or this installation are broken; nothing was graded by them")


def _kept(path: Path) -> list[dict[str, Any]] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _notes(settings: Settings, rows: Sequence[report.Row]) -> list[str]:
    """How the class was graded, for the report."""
    limits = settings.limits
    decided = ("The visible cases and further ones decided." if settings.further else
               "The visible cases alone decided: no folder with further ones was named.")
    way = ("Answers ran in processes forked from a warm server." if settings.warm else
           "Answers ran in fresh processes, each importing torch anew, which takes seconds.")
    return [decided, f"{way} Limits: {limits.seconds:g} s, "
                     f"{limits.memory_bytes // 2**20} MB. {_sandbox(rows)}"]


def _sandbox(rows: Sequence[report.Row]) -> str:
    """What confined the answers, each on the machine on which it ran."""
    there = Counter(", ".join(mark["confined"]) for row in rows for mark in row.marks
                    if mark["confined"])
    if len(there) > 1:
        each = (f"{count} in {layers}" for layers, count in there.most_common())
        return f"The sandbox was not the same for all answers: {'; '.join(each)}."
    return f"The sandbox: {next(iter(there))}." if there else "No answer ran."
