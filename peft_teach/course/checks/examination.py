"""How a learner's answer to an exercise is examined.

    cases ──> run(obj, case) ──> outputs ──> judge(case, outputs) ──> Verdict ──> Result

`run` is the only place where the learner's code runs; `judge` sees only what came out of it. They
are kept apart so that the same exercise can be examined here, in the notebook's own kernel, and by
the grader, where `run` happens in another process.
"""

import contextlib
import copy
import io
import random
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from ...errors import NotAttempted, TrainingStopped
from .exercise import CODE, Exercise
from .judge import error_text, words_of

PASSED, WRONG, NOT_ATTEMPTED = "passed", "wrong", "not attempted"

OF_THE_COURSE = "This calls the course's own solution. Write it yourself."
OF_ITSELF, NO_MEMORY = "of itself", "no memory"    # reasons of a `Result`
VISIBLE_SEED = 0       # the cases of a notebook's check; a grader may take others
EVERY_ITEM = CollectionCheckStrategy.ALL_ITEMS
LONGEST_TRACEBACK = 200  # lines; only an endless recursion is longer, and it repeats itself

# Neither torch nor NumPy has a class of error for each mistake, so the texts of their errors are
# matched here, and nowhere else: another version may word them anew.
# A mistake's name: words of the error, and the explanation where the exercise has none of its own.
OBJECTIONS = {
    "misfit": (
        "must match|cannot be multiplied|incompatible|size mismatch|[Ee]xpected size|not aligned|"
        "[Bb]roadcast|mismatch in its core|invalid for input of size|do not match|equal size|"
        "same number of dimensions|cannot reshape",
        "Two shapes do not fit each other: print the .shape of each on the line before."),
    "dtype": (
        "same dtype|expected scalar type",
        "Two dtypes meet that torch does not mix: print the .dtype of each on the line before."),
}
# Torch has no class of its own for a lack of memory on the CPU.
NO_ROOM = re.compile("MemoryError|can't allocate memory|not enough memory|bad_alloc")


@dataclass(frozen=True)
class Result:
    """What an examination found. `case` is the index of the case that decided.

    `message` says everything. `found` is its first part, without the usual mistake behind it, where
    the two can be told apart: after a first failure a learner reads no more. Texts are for people;
    what a caller decides by is `reason`: OF_ITSELF, NO_MEMORY, or in the grader how the process of
    the answer ended. `lacks` is the library that the answer imports and that is not installed.
    """

    state: str
    message: str = ""
    mistake: str | None = None
    traceback: str = ""
    case: int | None = None
    found: str = ""
    reason: str = ""
    lacks: str = ""

    @property
    def passed(self) -> bool:
        return self.state == PASSED


MADE_OF_ITSELF = Result(NOT_ATTEMPTED, "It is made of what `pt.mine` gives for this exercise. "
                                       "Write it anew.", reason=OF_ITSELF)


def examine(exercise: Exercise, obj: Any, cases: Sequence[Any] | None = None,
            around: Callable[[], AbstractContextManager] = nullcontext) -> Result:
    """Try `obj` on every case; the first one that fails decides. By default the visible cases.

    The learner's code runs within `around()`.
    """
    if refused := wrong_kind(exercise, obj):
        return refused
    with undisturbed():
        cases = exercise.cases(VISIBLE_SEED) if cases is None else cases
        if not cases:
            raise ValueError(f"{exercise.id}: without a case everything would pass")
        for index, case in enumerate(cases):
            outputs, ended = run_case(exercise, obj, case, index, around)
            result = ended or judge_case(exercise, case, outputs, index)
            if not result.passed:
                return result
    return Result(PASSED)


def wrong_kind(exercise: Exercise, obj: Any) -> Result | None:
    """The result of an answer that is not of the exercise's kind, or None for one that is.

    Code must be callable, and values must be there: None is the stub of a value.
    """
    given = dict(zip(exercise.names, exercise.one_by_one(obj)))
    if exercise.answer == CODE:
        for name, value in given.items():
            if not callable(value):
                return Result(WRONG, f"{name} is of type {type(value).__name__}, not the function "
                                     f"or class itself: pass {name}, without brackets behind it.")
        return None
    missing = [name for name, value in given.items() if value is None]
    if missing:
        message = f"{' and '.join(missing)} is None still." if len(missing) < len(given) else ""
        return Result(NOT_ATTEMPTED, message)
    for name, value in given.items():
        if callable(value):
            return Result(WRONG, f"{name} is of type {type(value).__name__}; expected a value, "
                                 "such as a number or a table.")
    return None


def run_case(exercise: Exercise, obj: Any, case: Any, index: int,
            around: Callable[[], AbstractContextManager] = nullcontext
            ) -> tuple[Any, Result | None]:
    """Run the learner's code on one case: its outputs and None, or None and how it ended."""
    # A layer with random weights behaves the same in every check. Only the CPU is seeded:
    # seeding a GPU that is not in use yet could not be undone.
    torch.default_generator.manual_seed(index)
    try:
        # A copy, because code that changes its inputs must not change what it is compared with.
        given = copy.deepcopy(case)
        with examining(exercise.id), around():
            return exercise.run(obj, given), None
    except (KeyboardInterrupt, TrainingStopped):
        raise
    except NotAttempted as error:
        other = error.exercise if error.exercise not in (None, exercise.id) else None
        message = f"It uses {other}, which is not attempted yet." if other else ""
        return None, Result(NOT_ATTEMPTED, message, case=index)
    except BaseException as error:  # SystemExit too: a learner's exit() is a wrong answer
        return None, from_exception(error, index, _input(case), exercise.mistakes)


def judge_case(exercise: Exercise, case: Any, outputs: Any, index: int) -> Result:
    """What the exercise's judge says of the outputs of one case, whatever they are."""
    try:
        check_type(outputs, exercise.returns, collection_check_strategy=EVERY_ITEM)
    except TypeCheckError as error:
        return Result(WRONG, f"What came back is not the check's report: {error}.",
                      case=index)
    try:
        with torch.no_grad():
            verdict = exercise.judge(case, outputs)
        if verdict.passed:
            return Result(PASSED, verdict.message, case=index)
        known = exercise.explained(verdict.mistake) if verdict.mistake else ""
        return Result(WRONG, f"{verdict.message} {known}".strip(), verdict.mistake, case=index,
                      found=verdict.message)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Result(WRONG, f"Your code ran, but what it gave ({type(outputs).__name__}) could not"
                             f" be judged: {error_text(error)}", case=index)


def from_exception(error: BaseException, index: int | None = None, told: str = "",
                   mistakes: Mapping[str, str] = MappingProxyType({})) -> Result:
    """The result of a learner's code that raised, with its traceback.

    Torch's most common objections are explained, by the exercise if it knows the mistake's name.
    """
    whole = words_of(error)
    found = f"Your code raised {error_text(error).rstrip('.')}.{told}"
    name, usual = _objection(error, whole)
    message = f"{found} {mistakes.get(name, usual) if name else usual}".strip()
    reason = NO_MEMORY if NO_ROOM.search(f"{type(error).__name__} {whole}") else ""
    lacks = error.name or "" if type(error) is ModuleNotFoundError else ""
    return Result(WRONG, message, name if name in mistakes else None, _format(error), index, found,
                  reason, lacks)


def _objection(error: BaseException, text: str) -> tuple[str | None, str]:
    """The name of the mistake that an error with this text means, and its explanation."""
    if isinstance(error, RuntimeError | ValueError):
        for name, (pattern, usual) in OBJECTIONS.items():
            if re.search(pattern, text):
                return name, usual
    return None, ""


_examined: list[str] = []    # the exercises whose answers are running


@contextmanager
def examining(*ids: str) -> Iterator[None]:
    """Say that answers to these exercises run: `mine` must not give out what is asked for."""
    before = list(_examined)
    _examined.extend(ids)
    try:
        yield
    finally:
        _examined[:] = before


def is_examined(id: str | None = None) -> bool:
    """Whether an answer to this exercise is running; without an id, whether any is."""
    return bool(_examined) if id is None else id in _examined


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the random state as it was, and torch's dtype, device, gradients and determinism.

    Without this, the numbers of a lesson would depend on how often an exercise was checked.
    """
    python, numpy = random.getstate(), np.random.get_state()
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    device, deterministic = torch.get_default_device(), _deterministic()
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=gpus):
            torch.set_grad_enabled(True)
            yield
    finally:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        if _deterministic() != deterministic:    # to set it takes a second, the first time
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        random.setstate(python)
        np.random.set_state(numpy)


def _deterministic() -> tuple[bool, bool]:
    return (torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled())


@contextmanager
def silent() -> Iterator[None]:
    """Let nothing that is written be seen."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _format(error: BaseException) -> str:
    """The learner's traceback, without the frames of libraries above it.

    If the error arose in one of those (a wrong signature does), that call is what they need.
    """
    frames = error.__traceback__
    while frames and frames.tb_next and _is_of_a_library(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    lines = "".join(traceback.format_exception(type(error), error, frames)).splitlines()
    if len(lines) > LONGEST_TRACEBACK:
        half = LONGEST_TRACEBACK // 2
        lines[half:-half] = [f"  … {len(lines) - 2 * half} lines more of the same …"]
    return "\n".join(lines)


def line_of(error: BaseException) -> str:
    """The learner's line that ran when an error arose, "" if none did: the last of no library."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _is_of_a_library(frame.filename):
            return f"line {frame.lineno}, in {frame.name}: `{frame.line}`"
    return ""


def _is_of_a_library(file: str) -> bool:
    """Whether a file is the course's, Python's or an installed package's: not the learner's."""
    libraries = Path(__file__).parents[2], Path(traceback.__file__).parent
    return any(place in libraries or place.name in ("site-packages", "dist-packages")
               for place in Path(file).parents)


def _input(case: Any) -> str:
    """Say what a case was made of, as far as it fits into a line: numbers and words."""
    known = {k: repr(v) for k, v in case.items()} if isinstance(case, Mapping) else {}
    short = [f"{k}={v}" for k, v in known.items() if len(v) <= 60 and "tensor(" not in v]
    return f" The input: {', '.join(short)}." if short else ""
