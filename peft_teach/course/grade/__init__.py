"""`peft-teach grade`: from a folder of notebooks to marks, reasons and feedback.

    collect    who handed in what
    notebook   the cells, and which lesson they are of
    cells      what each statement binds, changes and reads; extract: the learner's definitions, as
               a plan; suspicion: what an instructor should look at
    run        asks a server to run the plan, and judges what comes back
    server     forks a child for each answer; child: the learner's code, within limits
    watch      what ran there: the reference's own code, or what could hide it
    plain      what crosses between the two
    hidden     further cases from the instructor's folder
    job        one notebook, on whichever engine
    report     grades.csv, feedback, the report of the class; picture

What is defended and what is not is said in solutions/README.md.
"""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import PeftTeachError
from ..lessons import number
from . import engine, hidden, report
from .collect import Submission, collect, latest
from .job import FAILED, Settings, do, key, prove
from .limits import Limits, confine
from .run import FORKS

__all__ = ["Limits", "Settings", "grade"]

NO_LESSON = "no lesson of this course"
MOST_UNREADABLE = 100    # files in one folder or zip, where none of all is of the course


def grade(submissions: Path | str, out: Path | str, *, solutions: Path | str | None = None,
          lesson: str | None = None, jobs: int | None = None, dask: str | None = None,
          limits: Limits | None = None, fresh: bool = False) -> list[report.Row]:
    """Grade all notebooks in a folder or a zip, and write marks and feedback into `out`.

    `solutions` is the folder with further cases in `hidden/`; without it the visible ones decide.
    `lesson` says which lesson was asked for; otherwise each notebook counts for its own. Results
    are kept in `out`/results: a run that was interrupted goes on from there. Raises
    `PeftTeachError` if there is nothing to grade, or if the reference itself gets no points.
    """
    out = Path(out)
    report.must_be_writable(out)
    settings = Settings(limits or Limits(), hidden.read(solutions) if solutions else (),
                        warm=FORKS and not fresh)
    asked = None if lesson is None else number(lesson)
    handed_in = _sorted_out(collect(submissions), asked)
    graded = [each for each in handed_in if each.lesson]
    marks = _marks(graded, settings, out / "results", jobs or os.cpu_count() or 1, dask)
    rows = [report.Row(each.student, "", each.path, (), each.flags)
            for each in handed_in if not each.lesson]
    for each, result in zip(graded, marks):
        more = [flag for mark in result for flag in mark["flags"]]
        died = [] if result else ["the grader's process died of it: look at it by hand"]
        rows.append(report.Row(each.student, each.lesson, each.path, tuple(result),
                               (*each.flags, *more, *died)))
    report.write(rows, out, _notes(settings))
    return rows


def _sorted_out(submissions: Sequence[Submission], asked: str | None) -> list[Submission]:
    """What counts, each for its `lesson`, with all flags; what cannot be graded has none."""
    groups: dict[tuple[str, str], list[Submission]] = defaultdict(list)
    lost: dict[str, list[Submission]] = defaultdict(list)
    for each in submissions:
        if each.notebook and (lesson := asked or each.lesson):
            groups[each.student, lesson].append(each)
        else:
            lost[each.student].append(each)
    places = {PurePosixPath(each.path).parts[0] for each in submissions}
    if not groups and len(places) == 1 and len(submissions) > MOST_UNREADABLE:    # no class: a heap
        student = places.pop().removesuffix(".zip")
        lost = {student: [replace(each, student=student) for each in submissions]}
    # What is lost is said once, and where its student has a row already, there.
    counted = [_counted(group, lesson, beside=lost.pop(student, []))
               for (student, lesson), group in groups.items()]
    return counted + [replace(first, flags=(*first.flags, _not_graded([first, *others])))
                      for first, *others in lost.values()]


def _counted(group: Sequence[Submission], lesson: str, beside: Sequence[Submission]) -> Submission:
    """Which of a student's submissions counts for a lesson, with what is to be said of it."""
    from ... import __version__  # late: the package imports this one

    group = [each for each in group if each.lesson == lesson] or group
    chosen = latest(group)
    flags = [*chosen.flags]
    if len(group) > 1:
        flags.append(f"{len(group)} submissions, the latest counts")
    if chosen.lesson != lesson:
        flags.append(f"this is the notebook of lesson {chosen.lesson}" if chosen.lesson
                     else NO_LESSON)
    if chosen.notebook.lesson is None:
        flags.append("its metadata is lost")
    elif chosen.notebook.release != __version__:
        flags.append(f"made from release {chosen.notebook.release}")
    if beside:
        where = f"not graded: {beside[0].path}: " if len(beside) == 1 else ""
        flags.append(where + _not_graded(beside))
    return replace(chosen, lesson=lesson, flags=tuple(flags))


def _not_graded(files: Sequence[Submission]) -> str:
    """What to say of a student's files that cannot be graded, however many they are."""
    why = files[0].problem or NO_LESSON
    if len(files) == 1:
        return why
    return f"{len(files):,} files are not graded; the first: {files[0].path}: {why}"


def _marks(graded: Sequence[Submission], settings: Settings, kept: Path, cores: int,
           dask: str | None) -> list[list[dict[str, Any]]]:
    """The marks of each one, from the results that are kept or new; empty where its process died.

    References come first: no result of a lesson is kept before its reference has passed.
    """
    from tqdm import tqdm

    keys = [key(each.notebook, each.lesson, settings) for each in graded]
    results = {name: found for name in keys if (found := _kept(kept / f"{name}.json")) is not None}
    new = {name: each for name, each in zip(keys, graded) if name not in results}
    unproven = sorted({each.lesson for each in new.values()})
    tasks = {lesson: (prove, lesson, settings) for lesson in unproven}
    tasks |= {name: (do, each.notebook, each.lesson, settings) for name, each in new.items()}
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
                    report.store(kept / f"{name}.json",
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


def _notes(settings: Settings) -> list[str]:
    """How it was graded, for the report."""
    limits = settings.limits
    with ProcessPoolExecutor(1, mp_context=get_context("fork" if FORKS else "spawn")) as pool:
        walls = pool.submit(confine, Limits(), Path(os.devnull)).result()    # tried in a process
    decided = ("The visible cases and further ones decided." if settings.hidden else
               "The visible cases alone decided: no folder with further ones was named.")
    way = ("Answers ran in processes forked from a warm server." if settings.warm else
           "Answers ran in fresh processes, each importing torch anew, which takes seconds.")
    return [decided, f"{way} Limits: {limits.seconds:g} s, "
                     f"{limits.memory_bytes // 2**20} MB. Walls on this system: "
                     f"{', '.join(walls)}."]
