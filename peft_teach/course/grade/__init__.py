"""`peft-teach grade`: from a folder of notebooks to marks, reasons and feedback.

assets/site/package.md says what each file does, solutions/README.md what is defended and what not.
"""

import json
import os
import secrets
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import PeftTeachError
from ..lessons import number
from . import blind, engine, feedback_zip, further, handed, leaderboard, marking, overrides, report
from .collect import MOST_OTHERS, collect, counted
from .job import Settings, key, mark_all, mark_references
from .private import must_be_writable, store
from .roster import Roster
from .row import Row, ordered
from .run import FAILED, NOT_HERE
from .runner import FORKS, clear
from .sandbox import Limits
from .students import Submission

__all__ = ["Limits", "Options", "Settings", "grade"]

NOTHING = "nothing handed in"
MOST_NAMED = 50          # files that belong to nobody, in the report

Marks = list[dict[str, Any]]    # of one notebook, as `run.Mark` has them; empty if its process died


@dataclass(frozen=True)
class Options:
    """What an instructor may ask of a run. Raises `PeftTeachError` for no percentage."""

    solutions: Path | str | None = None    # the folder with further cases; else the visible decide
    held: Path | str | None = None         # of sentences on which handed-in adapters are measured
    lesson: str | None = None              # the assignment; else each notebook's own lesson
    roster: Sequence[Path | str] = ()      # the course's lists, as the platform exports them
    column: str | None = None              # the assignment there, where no name says the lesson
    late: float = 0.0                      # the percentage deducted from what is called late there
    board: str = leaderboard.PSEUDONYMS    # how board.html names the adapters
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
          ) -> list[Row]:
    """Grade all notebooks in a folder or a zip, and write marks and feedback into `out`.

    Results are kept in `out`/results, from which an interrupted run continues; `out`/overrides.csv
    has the last word. With a roster whoever is missing has a row, too, and marks go into the
    platform's own form. Raises `PeftTeachError` if there is nothing to grade, or if a reference
    gets no points.
    """
    out, options = Path(out), options or Options()
    listed = Roster(options.roster)
    must_be_writable(out)
    lines = overrides.read(out, options.bonus)
    settings = _settings(options)
    assigned = None if options.lesson is None else number(options.lesson)
    nobodys: list[str] = []
    found = listed.named(collect(submissions, nobodys))
    handed_in = counted(found, assigned)
    missing = _missing(listed, handed_in, assigned)
    students = [each.student for each in (*handed_in, *missing)]
    by_hand = blind.resolved(lines, found, students, out)
    overrides.must_be_known(by_hand, students, out)

    marks = _marks(handed_in, settings, out / "results", options)
    checked = [_row(each, marks, assigned or "", options.late) for each in handed_in]
    theirs = _known_as(_by_hand([*checked, *missing], by_hand, assigned), options, out)
    rows = ordered(blind.masked(theirs, found, out) if options.blind else theirs)

    files, notes = ({}, [BLIND]) if options.blind else listed.written(
        _totals(theirs), options.column)
    notes = [*notes, *_late(rows, options.late), *_of_nobody(nobodys, options.blind),
             *feedback_zip.write(rows, out)]
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


def _settings(options: Options) -> Settings:
    """What each notebook is graded by. Raises `PeftTeachError` for folders that do not hold it."""
    return Settings(options.limits, further.read(options.solutions) if options.solutions else (),
                    held=handed.read(options.held) if options.held else (),
                    warm=FORKS and not options.fresh, run=secrets.token_hex(4))


# ── marks ────────────────────────────────────────────────────────────────────────────────────


def _marks(handed_in: Sequence[Submission], settings: Settings, kept: Path, options: Options
           ) -> dict[int, Marks]:
    """The marks of each submission with a lesson, and of its first others, by its `id`.

    They are kept or new. References come first: no result of a lesson is kept before its references
    have passed.
    """
    from tqdm import tqdm

    graded = [each for one in handed_in if one.lesson for each in (one, *one.others[:MOST_OTHERS])]
    keys = [key(each.notebook, each.lesson, settings) for each in graded]
    results = {name: found for name in keys if (found := _kept(kept / f"{name}.json")) is not None}
    new = {name: each for name, each in zip(keys, graded) if name not in results}
    unproven = sorted({each.lesson for each in new.values()})
    tasks = {lesson: (mark_references, lesson, settings) for lesson in unproven}
    tasks |= {name: (mark_all, each.notebook, each.lesson, settings) for name, each in new.items()}
    waiting: dict[str, Marks] = {}
    try:
        with tqdm(total=len(graded), initial=len(graded) - len(new), unit="notebook",
                  desc="grading", file=sys.stderr) as bar:
            for name, result in engine.run(tasks, jobs=options.jobs or os.cpu_count() or 1,
                                           dask=options.dask):
                if name in unproven:
                    _must_be_right(name, result)
                    unproven.remove(name)
                else:
                    results[name] = waiting[name] = result or []
                    bar.update()
                for name in [name for name in waiting if new[name].lesson not in unproven]:
                    _keep(waiting.pop(name), kept / f"{name}.json")
    finally:
        clear(settings.run)
    return {id(each): results[name] for name, each in zip(keys, graded)}


def _keep(marks: Marks, path: Path) -> None:
    """Keep marks for none of which this machine is to blame."""
    if marks and not any(why in flag for mark in marks for flag in mark["flags"]
                         for why in (FAILED, NOT_HERE)):
        store(path, json.dumps(marks, indent=1, sort_keys=True) + "\n")


def _kept(path: Path) -> Marks | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _must_be_right(lesson: str, problems: list[str] | None) -> None:
    if problems != []:
        raise PeftTeachError("\n".join([
            f"The reference of lesson {lesson} gets no points here:",
            *(problems or ["its process died"])]),
            hint="the further cases or this installation are broken; nothing was graded by them")


# ── rows ─────────────────────────────────────────────────────────────────────────────────────


def _row(each: Submission, marks: Mapping[int, Marks], assigned: str, late: float) -> Row:
    """Return the row of a submission, by its marks."""
    result, flags = marks.get(id(each), []), [*each.flags]
    if each.lesson:
        flags += _better(each, marks)
        flags += [flag for mark in result for flag in mark["flags"]]
        flags += [] if result else ["the grader's process died of it: look at it by hand"]
    return Row(each.student, each.lesson or assigned, each.path, tuple(result), tuple(flags),
               late=each.late, deduction=late, returns=each.label.returns)


def _better(counted: Submission, marks: Mapping[int, Marks]) -> list[str]:
    """Which of a student's other submissions would have more points, the best of them."""
    def total(each: Submission) -> tuple[float, int]:
        return Row(each.student, each.lesson, "", tuple(marks[id(each)]), ()).points()

    best = max(counted.others[:MOST_OTHERS], key=lambda each: total(each)[0], default=counted)
    (more, most), (points, _) = total(best), total(counted)
    if more <= points:
        return []
    return [f"{best.path} would have {more:g} of {most:g} points, this one has {points:g}"]


def _missing(listed: Roster, handed_in: Sequence[Submission], assigned: str | None
             ) -> list[Row]:
    """A row for everybody in the list who handed in nothing, for each lesson."""
    lessons = {assigned} if assigned else {each.lesson for each in handed_in if each.lesson} or {""}
    rows = []
    for lesson in sorted(lessons):
        there = {each.student for each in handed_in if each.lesson in (lesson, None)}
        rows += [Row(student, lesson, "", (), (NOTHING,))
                 for student in listed.missing(there)]
    return rows


def _by_hand(rows: Sequence[Row], by_hand: Sequence[overrides.Override], assigned: str | None
             ) -> list[Row]:
    """The rows with what the instructor says of each; another row for a lesson without one."""
    rows, by_hand = list(rows), [each for each in by_hand if assigned in (None, each.lesson)]
    for student, lesson in dict.fromkeys((each.student, each.lesson) for each in by_hand):
        hand = tuple(each for each in by_hand if (each.student, each.lesson) == (student, lesson))
        indices = {row.lesson: index for index, row in enumerate(rows) if row.student == student}
        index = indices.get(lesson, indices.get("", len(rows)))
        row = rows[index] if index < len(rows) else Row(student, lesson, "", (), ())
        rows[index:index + 1] = [replace(row, lesson=lesson, hand=hand)]
    return rows


def _known_as(rows: Sequence[Row], options: Options, out: Path) -> list[Row]:
    """The rows with the name that each measured adapter has on the board."""
    there = {row.student for row in rows if any(mark.get("measured") for mark in row.marks)}
    named = options.board == leaderboard.NAMES
    hidden = options.board == leaderboard.PSEUDONYMS or (options.blind and named)
    names = (leaderboard.pseudonyms([*there], out) if hidden and there else
             {student: student for student in there if named})
    return [replace(row, known_as=names.get(row.student, "")) for row in rows]


def _totals(rows: Sequence[Row]) -> dict[tuple[str, str], tuple[float, float, str]]:
    """Points, their maximum and comments of each row that has a mark, for the platform."""
    return {(row.student, row.lesson): (*row.points(), "; ".join(map(str, row.hand)))
            for row in rows if row.marks or any(each.points is not None for each in row.hand)}


# ── what to know of the run ──────────────────────────────────────────────────────────────────

BLIND = ("Blind: no page names a student, and nothing was written for the platform. "
         "When the marks are final, the same command without --blind does both.")


def _late(rows: Sequence[Row], percent: float) -> list[str]:
    loses = f"{percent:g} % of its points" if percent else "nothing"
    return [f"What the platform calls late loses {loses}."] if any(row.late for row in rows) else []


def _of_nobody(files: Sequence[str], is_blind: bool) -> list[str]:
    if not files:
        return []
    more = len(files) - MOST_NAMED
    what = f"{len(files):,} files" if is_blind else ", ".join(sorted(files)[:MOST_NAMED]) + (
        f" and {more:,} more" if more > 0 else "")
    return [f"Nobody's, and not looked at: {what}."]


def _notes(settings: Settings, rows: Sequence[Row]) -> list[str]:
    """How the class was graded, for the report."""
    limits = settings.limits
    decided = ("The visible cases and further ones decided." if settings.further else
               "The visible cases alone decided: no folder with further ones was named.")
    way = ("Answers ran in processes forked from a warm server." if settings.warm else
           "Answers ran in fresh processes, each importing torch anew, which takes seconds.")
    return [decided, f"{way} Limits: {limits.seconds:g} s, "
                     f"{limits.memory_bytes // 2**20} MB. {_sandbox(rows)}"]


def _sandbox(rows: Sequence[Row]) -> str:
    """What confined the answers, each on the machine on which it ran."""
    there = Counter(", ".join(mark["confined"]) for row in rows for mark in row.marks
                    if mark["confined"])
    if len(there) > 1:
        each = (f"{count} in {layers}" for layers, count in there.most_common())
        return f"The sandbox was not the same for all answers: {'; '.join(each)}."
    return f"The sandbox: {next(iter(there))}." if there else "No answer ran."
