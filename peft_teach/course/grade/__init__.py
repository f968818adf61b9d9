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
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import PeftTeachError
from ..lessons import all_exercises
from . import engine, hidden, report
from .collect import Submission, collect, latest
from .job import FAILED, Job, Settings, do, key, prove
from .limits import Limits, confine
from .notebook import Notebook, Unreadable, lesson_of, parse
from .run import FORKS

__all__ = ["Limits", "Settings", "grade"]

NO_LESSON = "no lesson of this course"
MOST_UNREADABLE = 100    # files in one folder or zip, where none of all is of the course


def grade(submissions: Path | str, out: Path | str, *, solutions: Path | str | None = None,
          lesson: str | None = None, jobs: int | None = None, dask: str | None = None,
          limits: Limits | None = None, warm: bool | None = None) -> list[report.Row]:
    """Grade all notebooks in a folder or a zip, and write marks and feedback into `out`.

    `solutions` is the folder with further cases in `hidden/`; without it the visible ones decide.
    `lesson` says which lesson was asked for; otherwise each notebook counts for its own. Results
    are kept in `out`/results: a run that was interrupted goes on from there. Raises
    `PeftTeachError` if there is nothing to grade, or if the reference itself gets no points.
    """
    out = Path(out)
    report.must_be_writable(out)
    settings = Settings(limits or Limits(), hidden.read(solutions) if solutions else {})
    if warm is not None:
        settings = Settings(settings.limits, settings.hidden, warm)
    rows, jobs_of = [], []
    for submission, found, flags in _sorted_out(collect(submissions), lesson):
        if found is None:
            rows.append(report.Row(submission.student, "", submission.path, (), flags))
        else:
            jobs_of.append((submission, Job(submission.data, found), flags))
    marks = _marks([job for _, job, _ in jobs_of], settings, out / "results",
                   jobs or os.cpu_count() or 1, dask)
    for (submission, job, flags), result in zip(jobs_of, marks):
        more = tuple(flag for mark in result for flag in mark["flags"])
        died = () if result else ("the grader's process died of it: look at it by hand",)
        rows.append(report.Row(submission.student, job.lesson, submission.path, tuple(result),
                               flags + more + died))
    report.write(rows, out, _notes(settings))
    return rows


def _sorted_out(submissions: Sequence[Submission], asked: str | None
                ) -> list[tuple[Submission, str | None, tuple[str, ...]]]:
    """What counts, and for which lesson; None for what cannot be graded. With flags."""
    from ... import __version__  # late: the package imports this one

    exercises = all_exercises()
    lessons = sorted({exercise.lesson for exercise in exercises})
    if asked is not None and asked.isdecimal():
        asked = asked.zfill(2)
    if asked is not None and asked not in lessons:
        raise PeftTeachError(f"There is no lesson {asked!r} with exercises.",
                             expected="one of " + ", ".join(lessons))
    groups: dict[tuple[str, str], list[tuple[Submission, Notebook, str | None]]] = {}
    lost: dict[str, list[tuple[Submission, str]]] = {}
    for submission in submissions:
        try:
            if submission.problem:
                raise Unreadable(submission.problem)
            notebook = parse(submission.data)
        except Unreadable as error:
            lost.setdefault(submission.student, []).append((submission, error.found))
            continue
        found = lesson_of(notebook, submission.path, exercises)
        if counts_for := asked or found:
            groups.setdefault((submission.student, counts_for), []).append(
                (submission, notebook, found))
        else:
            lost.setdefault(submission.student, []).append((submission, NO_LESSON))
    sorted_out: list[tuple[Submission, str | None, tuple[str, ...]]] = []
    for (student, counts_for), group in groups.items():
        of_it = [each for each in group if each[2] == counts_for] or group
        chosen = latest([submission for submission, _, _ in of_it])
        notebook, found = next((n, f) for submission, n, f in of_it if submission is chosen)
        flags = [*chosen.flags]
        if len(of_it) > 1:
            flags.append(f"{len(of_it)} submissions, the latest counts")
        if found != counts_for:
            flags.append(f"this is the notebook of lesson {found}" if found else NO_LESSON)
        if notebook.lesson is None:
            flags.append("its metadata is lost")
        elif notebook.release != __version__:
            flags.append(f"made from release {notebook.release}")
        if student in lost:    # said once, and where its student has a row already, there
            flags.append(_not_graded(lost.pop(student), beside=True))
        sorted_out.append((chosen, counts_for, tuple(flags)))
    places = {PurePosixPath(submission.path).parts[0] for submission in submissions}
    if not groups and len(places) == 1 and len(submissions) > MOST_UNREADABLE:    # no class: a heap
        (first, why), *others = [each for files in lost.values() for each in files]
        heap = replace(first, student=places.pop().removesuffix(".zip"))
        lost = {heap.student: [(heap, why), *others]}
    for files in lost.values():
        first, _ = files[0]
        sorted_out.append((first, None, (*first.flags, _not_graded(files, beside=False))))
    return sorted_out


def _not_graded(files: Sequence[tuple[Submission, str]], beside: bool) -> str:
    """What to say of a student's files that cannot be graded, however many they are."""
    first, why = files[0]
    if len(files) == 1:
        return f"not graded: {first.path}: {why}" if beside else why
    return f"{len(files):,} files are not graded; the first: {first.path}: {why}"


def _marks(jobs: Sequence[Job], settings: Settings, kept: Path, cores: int,
           dask: str | None) -> list[list[dict[str, Any]]]:
    """The marks of each job, from the results that are kept or new; empty where it died."""
    from tqdm import tqdm

    keys = [key(job, settings) for job in jobs]
    results = {name: found for name in keys if (found := _kept(kept / f"{name}.json")) is not None}
    new = {name: job for name, job in zip(keys, jobs) if name not in results}
    # The references come first. No result of a lesson is kept before its reference has passed.
    lessons = sorted({job.lesson for job in new.values()})
    tasks = [(prove, lesson, settings) for lesson in lessons]
    tasks += [(do, job, settings) for job in new.values()]
    unproven = set(lessons)
    waiting: dict[str, list[dict[str, Any]]] = {}
    with tqdm(total=len(jobs), initial=len(jobs) - len(new), unit="notebook", desc="grading",
              file=sys.stderr) as bar:
        for index, result in engine.run(tasks, jobs=cores, dask=dask):
            if index < len(lessons):
                _must_be_right(lessons[index], result)
                unproven.remove(lessons[index])
            else:
                name = list(new)[index - len(lessons)]
                results[name] = waiting[name] = result or []
                bar.update()
            for name in [name for name in waiting if new[name].lesson not in unproven]:
                done = waiting.pop(name)
                if done and not any(FAILED in flag for mark in done for flag in mark["flags"]):
                    report.store(kept / f"{name}.json",
                                 json.dumps(done, indent=1, sort_keys=True) + "\n")
    return [results[name] for name in keys]


def _must_be_right(lesson: str, problems: list[str] | None) -> None:
    if problems is None:
        problems = ["its process died"]
    if problems:
        raise PeftTeachError("\n".join([
            f"The reference of lesson {lesson} gets no points here:", *problems]),
            hint="the further cases or this installation are broken; nothing was graded by them")


def _kept(path: Path) -> list[dict[str, Any]] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _notes(settings: Settings) -> list[str]:
    """How it was graded, for the report."""
    limits = settings.limits
    decided = ("The visible cases and further ones decided." if settings.hidden else
               "The visible cases alone decided: no folder with further ones was named.")
    way = ("Answers ran in processes forked from a warm server." if settings.warm else
           "Answers ran in fresh processes, each importing torch anew, which takes seconds.")
    return [decided, f"{way} Limits: {limits.seconds:g} s, "
                     f"{limits.memory_bytes // 2**20} MB. Walls on this system: "
                     f"{', '.join(_walls())}."]


def _walls() -> list[str]:
    """Which walls this system puts around a learner's process, tried in one."""
    way = get_context("fork" if FORKS else "spawn")
    with ProcessPoolExecutor(1, mp_context=way) as pool:
        return pool.submit(confine, Limits(), Path(os.devnull)).result()
