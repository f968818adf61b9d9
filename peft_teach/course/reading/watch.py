"""What ran while an answer was examined, noted the moment it happens.

If the reference's own code ran, an equivalent that the exercise names, or a version that a lesson
puts to a learner's test, then the course answered, not the learner. All other notes are for a
person to look at: the profiler, which sees what runs, was read or changed; code was created, or run
where the profiler is blind; the library's source was read. Code can evade all this on purpose, so
the absence of notes proves nothing.
"""

import _thread
import linecache
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from .. import lessons
from ..checks.exercise import VALUE, Exercise, resolved

NOTES = REFERENCE, _PROFILER, _THREAD, _CODE, _PIPE, _CTYPES, _SOURCE = (
    "uses the reference", "reads or changes the profiler", "starts a thread",
    "creates code objects", "takes over the pipe to the grader", "uses ctypes",
    "reads the library's source")

_EVENTS = {"sys.setprofile": _PROFILER, "sys.monitoring.register_callback": _PROFILER,
           "_thread.start_new_thread": _THREAD, "_thread.start_joinable_thread": _THREAD,
           "code.__new__": _CODE}
_CALLS = {sys.getprofile: _PROFILER, _thread.start_new_thread: _THREAD, os.close: _PIPE,
          os.closerange: _PIPE, os.dup2: _PIPE}    # which raise no event, in Python 3.11 at least
_MUTANTS = {str(path) for path in Path(lessons.__file__).parent.glob("*/mutants.py")}
_given = cache(resolved)    # called before anything is noted, so later calls are no event
_QUOTES = (traceback.__file__, warnings.__file__)    # they read a source to show a line of it


def watch(exercise: Exercise, write: Callable[[str], Any]) -> None:
    """Write each note, once, of what this thread of a learner's process does from now on."""
    linecache.clearcache()    # sources in it could be read unnoticed
    sources = {os.path.realpath(file) for name, module in sys.modules.items()
               if name.partition(".")[0] == "peft_teach" and (file := module.__file__)}
    left = set(NOTES)

    def note(which: str) -> None:
        if which in left:
            left.remove(which)
            write(which)

    def hook(event: str, arguments: tuple) -> None:
        if event in _EVENTS:
            note(_EVENTS[event])
        elif event.startswith("ctypes."):
            note(_CTYPES)
        elif event == "open" and isinstance(arguments[0], int):
            note(_PIPE)
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if path in sources and not _is_quoted(sys._getframe()):
                note(_SOURCE)

    sys.setprofile(_profile(exercise, note))
    sys.addaudithook(hook)


@contextmanager
def seeing(exercise: Exercise, note: Callable[[str], Any]) -> Iterator[None]:
    """Call `note` for what runs in the block, in a process that continues."""
    before = sys.getprofile()
    sys.setprofile(_profile(exercise, note))
    try:
        yield
    finally:
        sys.setprofile(before)


def is_the_courses(exercise: Exercise, obj: Any) -> bool:
    """Whether a value is the course's own object, not just an equal one; never a number or text."""
    return exercise.answer == VALUE and any(
        own is _given(path) and isinstance(own, list | dict | tuple)
        for own, path in zip(exercise.one_by_one(obj), exercise.references))


def _profile(exercise: Exercise, note: Callable[[str], Any]) -> Callable:
    """For `sys.setprofile`: note that the reference runs or, if it is a value, is resolved."""
    paths = (*exercise.references, *exercise.equivalents)
    codes = {code for path in paths for code in _codes(_given(path))}
    asked = resolved.__code__ if exercise.answer == VALUE else None
    files = {code.co_filename for code in codes}
    # A test that the learner writes is given versions; no other answer meets them.
    given = () if exercise.arguments else _MUTANTS

    def profile(frame: FrameType, event: str, called: Any) -> None:
        if event == "call":
            code = frame.f_code
            if (code.co_filename in files and code in codes) or code.co_filename in given or (
                    code is asked and frame.f_locals["path"] in paths):
                note(REFERENCE)
        elif event == "c_call" and called in _CALLS:
            note(_CALLS[called])

    return profile


def _codes(obj: Any) -> set[CodeType]:
    """The code of a function or of a class's own methods, and all code nested in it.

    Not that of a decorator such as `torch.no_grad()`, which other functions share.
    """
    home = getattr(sys.modules.get(getattr(obj, "__module__", "")), "__file__", None)
    found: set[CodeType] = set()
    waiting = [obj]
    while waiting:
        each = waiting.pop()
        if isinstance(each, CodeType):
            found |= {each} if each.co_filename == home else set()
            waiting += [inner for inner in each.co_consts if isinstance(inner, CodeType)]
        elif isinstance(each, type):
            waiting += vars(each).values() if each.__module__ == obj.__module__ else ()
        else:
            waiting += [inner for name in ("__code__", "__func__", "__wrapped__", "fget", "fset")
                        if (inner := getattr(each, name, None)) is not None]
    return found


def _is_quoted(frame: FrameType | None) -> bool:
    """Whether a source is read only to show a line of it in a traceback or a warning."""
    while frame is not None and frame.f_code.co_filename not in _QUOTES:
        frame = frame.f_back
    return frame is not None
