"""Has each request of the grader answered by a process of its own, and says how that ended."""

import atexit
import contextlib
import dataclasses
import glob
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from ..checks.exercise import Exercise
from ..desk import work
from ..lessons import all_exercises
from ..reading.definitions import Plan
from .plain import Malformed, from_bytes, split, to_bytes
from .sandbox import Limits
from .server import READY, receive, remove, supervise

FORKS = sys.platform == "linux"    # elsewhere a fork after torch was imported is not safe
IMPORT_SECONDS = 60                # of a fresh process, at most
SCRATCH = "peft-teach-"            # how the names of scratch folders begin


class Ended(NamedTuple):
    """What a process sent, how it ended, its seconds by the clock, and its layers of sandbox.

    `how` is "time", "output" or "files" where it reached a limit, "server" where the server ended,
    or else what `server.supervise` says.
    """

    sent: bytes
    how: str
    seconds: float
    confined: tuple[str, ...] = ()


class Runner:
    """Runs each request in a process of its own, forked from a warm server or started afresh.

    With a `lesson` its server is ready for what is handed in beside that lesson's notebook, and
    otherwise for answers.
    """

    def __init__(self, limits: Limits, warm: bool = FORKS, run: str = "", lesson: str = ""):
        self.limits, self.warm, self.scratch = limits, warm, f"{SCRATCH}{run}"
        self.lesson = lesson
        self._server: subprocess.Popen | None = None
        self._one_at_a_time = threading.Lock()    # engines may call from several threads

    def run(self, exercise: Exercise, plan: Plan, cases: Sequence[Any],
            clock: float | None = None) -> Ended:
        """Have an answer tried on cases, as `ask` does."""
        return self.ask({"exercise": exercise.id, "cells": plan.cells,
                         "statements": plan.statements, "cases": list(cases)}, clock)

    def ask(self, request: dict[str, Any], clock: float | None = None) -> Ended:
        """Have a process answer a request. It may take `clock` seconds, or the limits' many."""
        scratch = tempfile.mkdtemp(prefix=self.scratch)
        clock = self.limits.clock if clock is None else clock
        try:
            data = to_bytes(request | {"scratch": scratch, "clock": clock,
                                       "limits": dataclasses.astuple(self.limits)})
            with self._one_at_a_time:
                ended = self._ask(data) if self.warm else self._fresh(data, scratch, clock)
        finally:
            remove(scratch)
        first = next(iter(split(ended.sent)), b"")    # written before any code of the learner's ran
        confined = from_bytes(first)["confined"] if first else ()
        return ended._replace(sent=ended.sent[len(first):], confined=tuple(confined))

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            _end(self._server)
            self._server = None

    def _ask(self, request: bytes) -> Ended:
        if self._server is None or self._server.poll() is not None:
            self.close()
            self._server = _start([self.lesson] if self.lesson else
                                  [exercise.id for exercise in all_exercises()])
            self._server.stdout.read(len(READY))
        started = time.monotonic()
        try:
            self._server.stdin.write(request)
            self._server.stdin.flush()
            head = receive(self._server.stdout)
            frames = self._server.stdout.read(head["size"])
            return Ended(frames, head["end"], time.monotonic() - started)
        except (OSError, Malformed):    # a child can kill the server only without seccomp
            self.close()
            return Ended(b"", "server", time.monotonic() - started)

    def _fresh(self, request: bytes, scratch: str, clock: float) -> Ended:
        """Without a fork, as on Windows: Python and torch are started anew."""
        process = _start(["--once"])
        with contextlib.suppress(OSError):
            process.stdin.write(request)
            process.stdin.flush()    # not closed, which would mean that the grader has ended
        importing = threading.Timer(IMPORT_SECONDS, process.kill)
        importing.start()
        try:
            process.stdout.read(len(READY))
            importing.cancel()
            started = time.monotonic()
            found = supervise(process.pid, process.stdout, process.wait, self.limits, scratch,
                              clock)
            return Ended(*found, time.monotonic() - started)
        finally:
            importing.cancel()
            _end(process)


def _start(arguments: list[str]) -> subprocess.Popen:
    """A server with a minimal environment, so that no secret of the grader's shell is in it."""
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "PEFT_TEACH_CACHE", "SYSTEMROOT", "HOME",
            "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE", "TMPDIR", "TEMP", "TMP")
    environment = {name: os.environ[name] for name in kept if name in os.environ} | {
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",    # or each thread reserves 64 MB that no limit of memory sees
        "PYTHONHASHSEED": "0", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
        "PEFT_TEACH_BUDGET": "smoke", work.VARIABLE: "", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "peft_teach.course.grade.server", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment, start_new_session=True)


def _end(process: subprocess.Popen) -> None:
    with contextlib.suppress(OSError):    # half a request may still be in the buffer
        process.stdin.close()
    process.kill()
    process.wait()
    process.stdout.close()


def runner(limits: Limits, warm: bool, run: str = "", lesson: str = "") -> Runner:
    """The runner of this process, created once, for this run of the grader."""
    made = _runner(limits, warm, lesson)
    made.scratch = f"{SCRATCH}{run}"
    return made


@cache
def _runner(limits: Limits, warm: bool, lesson: str) -> Runner:
    made = Runner(limits, warm, lesson=lesson)
    atexit.register(made.close)
    return made


def clear(run: str) -> None:
    """Remove the scratch folders of a run that was interrupted: their processes had no time to."""
    pattern = os.path.join(glob.escape(tempfile.gettempdir()), f"{SCRATCH}{run}*")
    deadline = time.monotonic() + 5    # an answer that is ending may still write
    while (left := glob.glob(pattern)) and time.monotonic() < deadline:
        for folder in left:
            remove(folder)
        time.sleep(0.05)
