"""Marks for one notebook: the learner's code runs in another process, the judge in this one.

The learner's process sends bytes. They are decoded and validated as plain data, and judged where
nothing of the learner's has ever run. So the learner's code changes no judge; what its process
sends, computed or made up, is what is judged.
"""

import copy
import dataclasses
import os
import re
import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from ..checks.examination import (
    MADE_OF_ITSELF,
    NO_MEMORY,
    NOT_ATTEMPTED,
    OF_ITSELF,
    OF_THE_COURSE,
    PASSED,
    VISIBLE_SEED,
    WRONG,
    Result,
    judge_case,
)
from ..checks.exercise import Exercise
from ..lessons import find, of_lesson
from ..reading.cells import Code
from ..reading.definitions import MOST_READINGS, Plan, readings, without
from ..reading.watch import REFERENCE
from . import similarity
from .child import FRAMES
from .entries import clean
from .plain import Malformed, from_bytes, split
from .runner import SCRATCH, Ended, Runner
from .sandbox import MEGABYTE, Limits
from .suspicion import suspicious

LONGEST_TEXT = 20_000              # characters of a message or a traceback
FAILED = "the grader failed at it"    # perhaps for a full disk
NOT_HERE = "not installed here"       # as FAILED this may be mended, so no such mark is kept


# ── the mark of one exercise ─────────────────────────────────────────────────────────────────


@dataclasses.dataclass(frozen=True)
class Mark:
    """The points of one answer, and its feedback. `further`: it failed a further case.

    What decided besides the message is in `notes`, for student and instructor; `flags` has it, too,
    and what is for the instructor alone. `confined` are the layers of the sandbox in which it ran,
    on whatever machine; none if nothing did.
    """

    exercise: str
    state: str
    points: int
    maximum: int
    message: str = ""
    mistake: str | None = None
    traceback: str = ""
    further: bool = False
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    text: str = ""                # of the answer, for `similarity`
    shape: tuple[str, ...] = ()
    measured: dict[str, float] | None = None    # of what was handed in, for the board
    page: tuple[dict[str, Any], ...] = ()       # of what was written, for who marks it
    confined: tuple[str, ...] = ()
    reason: str = ""              # as a `Result` has it


NOTE_COMPARED = "calls the reference, and is right without it"
NOTE_SPENT = ("its answers share one limit of time, which was spent: what else stands there was "
              "not tried")
NOTE_CUT = "the notebook's other answers had spent its time, so this one had {:g} seconds"
NOTE_REST = "its cases share {:g} seconds by the clock: for those that were ended, {:.0f} were left"
NOTE_MOST = f"only {MOST_READINGS} of the answers that stand there were tried"
LEAST_SHARE = 0.25    # of an answer's seconds, by the clock, for one that comes when all are spent
NOTE_ANOTHER = "what its last check was given does not pass, another answer in the notebook counts"
TIME = "time"                              # how a process ended: its time was spent
LIMITS = TIME, "output", "files", "SIGKILL"    # or it reached another limit


@dataclasses.dataclass
class _Shared:
    """The runner of one exercise: all that is tried for it shares the seconds `left` to it.

    `confined` are the layers of the sandbox in which it was tried.
    """

    runner: Runner
    left: float
    had: float = 0.0    # of these, what the last run was given
    confined: tuple[str, ...] = ()

    @property
    def limits(self) -> Limits:
        return self.runner.limits

    def run(self, exercise: Exercise, plan: Plan, cases: Sequence[Any]) -> Ended:
        if self.left <= 0:
            return Ended(b"", TIME, 0.0)
        self.had = self.left
        ended = self.runner.run(exercise, plan, cases, self.left)
        self.left -= ended.seconds
        self.confined = ended.confined or self.confined
        return ended


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """What came of one reading of the notebook."""

    plan: Plan
    result: Result
    noted: frozenset[str] = frozenset()
    further: bool = False    # it failed a further case


def mark(runner: Runner, code: Code, exercise: Exercise, further: Sequence[Any] = ()) -> Mark:
    """Mark one exercise of a notebook on its visible cases, and then on the further ones.

    The first reading that passes counts, or else one that passes the visible cases, or the first.
    It settles what the notebook's other answers find under its names. By the clock, all readings of
    an exercise share the time of one, and all exercises of a notebook share their seconds of CPU
    time, plus the time of one.
    """
    clock = _clock(runner.limits, code, exercise)
    shared = _Shared(runner, clock)
    outcomes: list[_Outcome] = []
    untried = readings(code, exercise)
    for plan in islice(untried, MOST_READINGS):
        if names := sorted(suspicious(plan.nodes)):
            plan = dataclasses.replace(plan, flags=(*plan.flags, f"look at its {', '.join(names)}"))
        outcomes.append(_outcome(shared, exercise, plan, further))
        if outcomes[-1].result.passed or outcomes[-1].result.reason == TIME:
            break    # no other is tried when the time is spent
    last = outcomes[-1].result
    spent = last.reason == TIME
    cut = [NOTE_CUT.format(clock)] if spent and clock < runner.limits.clock else []
    if spent and 0 < shared.had < clock - 1:
        cut.append(NOTE_REST.format(clock, shared.had))
    if not last.passed and next(untried, None):
        cut.append(NOTE_SPENT if spent else NOTE_MOST)
    code.seconds += clock - shared.left
    best = next((each for each in outcomes if each.result.passed), None) or next(
        (each for each in outcomes if each.further), outcomes[0])
    plan, result = best.plan, best.result
    code.settle(exercise, plan.statements if result.passed else ())
    notes = (*plan.notes, *([NOTE_ANOTHER] if best is not outcomes[0] else []),
             *cut, *([f"{NOT_HERE}: {result.lacks}"] if result.lacks else []))
    return Mark(exercise.id, result.state, exercise.points if result.passed else 0, exercise.points,
                _shown(result.message), result.mistake, _shown(result.traceback), best.further,
                notes, tuple(f"{exercise.id}: {flag}" for flag in (
                    *notes, *plan.flags, *sorted(best.noted))),
                similarity.text(plan), similarity.shape(plan, exercise), confined=shared.confined,
                reason=result.reason)


def _clock(limits: Limits, code: Code, exercise: Exercise) -> float:
    """The seconds by the clock that an exercise may take in this notebook."""
    whole = len(of_lesson(exercise.lesson)) * limits.seconds + limits.clock
    return min(limits.clock, max(whole - code.seconds, LEAST_SHARE * limits.seconds))


def _outcome(shared: _Shared, exercise: Exercise, plan: Plan, further: Sequence[Any]
             ) -> _Outcome:
    """Run one plan. What `watch` noted matters only for an answer that gets points."""
    if plan.missing:
        return _Outcome(plan, Result(WRONG if plan.attempted else NOT_ATTEMPTED, plan.missing))
    result, noted = examine(shared, exercise, plan, _visible(exercise.id))
    if result.passed and further and REFERENCE not in noted:
        beyond, more = examine(shared, exercise, plan, further)
        noted |= more
        if not beyond.passed and REFERENCE not in noted:
            said = _without_the_case(exercise, beyond, shared.limits)
            return _Outcome(plan, said, further=True)
    if REFERENCE not in noted:    # the feedback is that of the visible cases
        return _Outcome(plan, result, frozenset(noted if result.passed else ()))
    if (own := without(plan, exercise)) and (
            again := _outcome(shared, exercise, own, further)).result.passed:
        compared = dataclasses.replace(own, notes=(*own.notes, NOTE_COMPARED))
        return dataclasses.replace(again, plan=compared)
    return _Outcome(plan, Result(WRONG, OF_THE_COURSE), frozenset(noted))


@cache
def _visible(id: str) -> tuple[Any, ...]:
    return tuple(find(id).cases(VISIBLE_SEED))


def examine(runner: Runner | _Shared, exercise: Exercise, plan: Plan, cases: Sequence[Any]
            ) -> tuple[Result, set[str]]:
    """Run the cases in the other process and judge the outputs here; also what `watch` noted.

    The first case that fails decides; a case without a frame fails.
    """
    ended = runner.run(exercise, plan, cases)
    frames = split(ended.sent)
    outputs = [frame for frame in frames if frame not in FRAMES.values()]
    result = Result(PASSED)
    for index, case in enumerate(cases):
        try:
            result = (_read(exercise, from_bytes(outputs[index]), copy.deepcopy(case), index)
                      if index < len(outputs) else
                      Result(WRONG, _why(ended.how, runner.limits), case=index,
                             reason=ended.how))
        except Exception:    # a learner's code may have written the bytes
            result = Result(WRONG, "What it gave could not be read.", case=index)
        if not result.passed:
            break
    return result, {note for note, frame in FRAMES.items() if frame in frames}


def _read(exercise: Exercise, sent: Any, case: Any, index: int) -> Result:
    """The result of one frame. A frame can say that an answer is wrong, never that it is right.

    Raises any exception for a frame that our child would not send.
    """
    if "outputs" in sent:
        return judge_case(exercise, case, sent["outputs"], index)
    ended = sent["ended"]
    state = NOT_ATTEMPTED if ended["state"] == NOT_ATTEMPTED else WRONG
    mistake = ended["mistake"] if ended["mistake"] in exercise.mistakes else None
    message, trace = " ".join(str(ended["message"]).split()), str(ended["traceback"])
    reason, lacks = ended["reason"], str(ended["lacks"])
    if not _SAID.match(message) or (trace and "Traceback (most recent" not in trace) or (
            reason not in ("", OF_ITSELF, NO_MEMORY)):
        raise Malformed("words that are not the child's")
    return Result(state, message, mistake, trace, index, reason=reason,
                  lacks=lacks if lacks.isidentifier() else "")


# Every message of a child begins like this, so that none consists of a learner's words alone.
_SAID = re.compile(r"Your code raised |What it gave cannot be read: |\w+( and \w+)* is of type |"
                   r"(\w+( and \w+)* is None still\.|It uses [\w.]+, which is not attempted yet\.|"
                   f"{MADE_OF_ITSELF.message})?$")


def _why(end: str, limits: Limits) -> str:
    """The message for an answer whose process sent no result."""
    return {
        "time": f"It took longer than {limits.seconds:g} seconds. Is there a loop that never ends?",
        "output": f"It gave back more than {limits.output_bytes // MEGABYTE} MB.",
        "files": f"It wrote more than {limits.file_bytes // MEGABYTE} MB to the disk.",
        "exit": "It ended its process, or broke it, instead of returning. Is there an exit in it?",
        "server": "It ended the grader's process. Look at it by hand.",
        "SIGKILL": "Its process was ended by the system. Does it use too much memory?",
    }.get(end, f"Its process crashed ({end}).")


def _without_the_case(exercise: Exercise, result: Result, limits: Limits) -> Result:
    """What the feedback may say of a further case: that it failed, the mistake, a limit it reached.

    No numbers, tracebacks or words of the learner's: each could give the case away.
    """
    more = ""
    if result.state == NOT_ATTEMPTED:
        more = "There it uses a part that is not attempted."
    elif result.mistake:
        more = exercise.explained(result.mistake)
    elif result.reason in LIMITS:
        more = result.message
    elif result.reason == NO_MEMORY:
        more = f"It needs more than {limits.memory_bytes // MEGABYTE} MB of memory."
    said = f"It passes the checks of the notebook, but not a further case. {more}"
    return Result(WRONG, said.strip(), result.mistake, reason=result.reason)


# ── what may be shown of a text ──────────────────────────────────────────────────────────────


def _shown(text: str) -> str:
    """A message or a traceback as every machine would write it, of a length that a person reads."""
    if len(text) > LONGEST_TEXT:
        half = LONGEST_TEXT // 2
        text = f"{text[:half]}\n … \n{text[-half:]}"
    for folder in (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"),
                   str(Path(__file__).parents[3]), sys.prefix, sys.base_prefix):
        text = text.replace(f"{folder}{os.sep}", "")
    text = re.sub(rf"[^\s'\"]{{0,200}}{SCRATCH}\w{{8,16}}", "scratch", text)
    text = re.sub(r"0x[0-9a-fA-F]{6,}", "0x…", text)
    return "\n".join(clean(line.expandtabs(4)) for line in text.split("\n"))
