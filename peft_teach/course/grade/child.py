"""The process in which a learner's code runs on the cases of one exercise, or a file is examined.

Before any of it runs, it writes a frame with the layers of the sandbox. Then it writes one for each
case as soon as it has run, with the outputs or with how the learner's code ended, and one for each
note of `watch`. The reader trusts none but the first, since the learner's code can change
everything in this process. An adapter that was handed in brings no code, but a file
that may claim anything, and is looked at under the same limits.
"""

import ast
import builtins
import gc
import linecache
import os
import random
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from ...errors import NotAttempted, PeftTeachError
from ...store import TENSORS
from ..checks.examination import (
    MADE_OF_ITSELF,
    WRONG,
    Result,
    examining,
    from_exception,
    run_case,
    wrong_kind,
)
from ..checks.exercise import LIKENESS, Exercise, Part
from ..desk.mine import mine
from ..lessons import all_exercises, find, parts
from ..reading.sources import MY_PEFT
from ..reading.watch import NOTES, REFERENCE, is_the_courses, watch
from .plain import to_bytes
from .sandbox import Limits, confine

KEPT = {"PEFT_TEACH_BUDGET", "PEFT_TEACH_WORK", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM",
        "OMP_NUM_THREADS", "LC_ALL", "CUDA_VISIBLE_DEVICES", "SYSTEMROOT"}    # of the environment
FRAMES = {note: to_bytes({"note": note}) for note in NOTES}    # made before an answer runs
LONGEST_REASON = 500    # characters, of a message that may quote a stranger's file
SILENCE = {"display": lambda *objects, **named: None, "get_ipython": lambda: None}


def answer(request: dict[str, Any], write: Callable[[bytes], Any],
           requests: BinaryIO | None = None) -> None:
    """Confine this process and answer a request.

    When the grader's pipe of requests ends, so does this process.
    """
    prepare(request)
    scratch = Path(request["scratch"])
    write(to_bytes({"confined": confine(Limits(*request["limits"]), scratch)}))
    if requests:    # a thread started earlier would not be confined
        threading.Thread(target=lambda: (requests.read(), os._exit(1)), daemon=True).start()
    _settle(scratch)
    (_look if "parts" in request else _answer)(request, write)


def prepare(request: dict[str, Any]) -> None:
    """Import what a request needs late, while all files can be read."""
    if "exercise" in request:
        find(request["exercise"])
    else:
        for part in parts(request["lesson"]):
            ready(part)


@cache
def ready(part: Part) -> None:
    """Have a part examine a folder of the course's own, so that all it needs is loaded."""
    if part.sample:
        with tempfile.TemporaryDirectory() as folder:
            part.sample(Path(folder))
            part.examine(Path(folder), ())
        gc.collect()    # what it left would be room beyond the limit of memory


def _look(request: dict[str, Any], write: Callable[[bytes], Any]) -> None:
    """Examine an adapter that was handed in; write a frame for each finding, or the reason."""
    folder = Path("adapter").absolute()
    folder.mkdir()
    (folder / TENSORS).write_bytes(request["adapter"].numpy().tobytes())
    there = [part for part in parts(request["lesson"]) if part.id in request["parts"]]
    asked = [(part.id, partial(part.examine, folder, request["sentences"])) for part in there]
    asked += [(part.further[0], partial(part.further[1], folder)) for part in there
              if part.further]
    asked += [(LIKENESS, partial(part.likeness, folder)) for part in there if part.likeness]
    for id, examine in asked:
        try:
            frame = to_bytes({"id": id, "found": examine()})
        except Exception as error:    # a stranger's file may raise any
            why = error.found if isinstance(error, PeftTeachError) else type(error).__name__
            why = " ".join(why.replace(str(folder), "the folder").split())[:LONGEST_REASON]
            frame = to_bytes({"id": id, "why": why})
        write(frame)


def _answer(request: dict[str, Any], write: Callable[[bytes], Any]) -> None:
    """Define what the learner wrote and run the cases; write a frame for each."""
    exercise = find(request["exercise"])
    watch(exercise, lambda note: write(FRAMES[note]))
    try:
        with examining(exercise.id):
            obj = _define(request, exercise)
        refused = wrong_kind(exercise, obj)
    except NotAttempted:    # it uses `mine` of the same exercise
        refused = MADE_OF_ITSELF
    except BaseException as error:    # SystemExit too
        refused = from_exception(error)
    if refused:
        write(to_bytes({"ended": vars(refused)}))
        return
    if is_the_courses(exercise, obj):
        write(FRAMES[REFERENCE])
    for index, case in enumerate(request["cases"]):
        outputs, ended = run_case(exercise, obj, case, index)
        if ended:
            write(to_bytes({"ended": vars(ended)}))
            return
        try:
            frame = to_bytes({"outputs": outputs})
        except Exception as error:    # from a class of the learner's that lies
            said = f"What it gave cannot be read: {type(error).__name__}."
            frame = to_bytes({"ended": vars(Result(WRONG, said))})
        write(frame)


def _settle(scratch: Path) -> None:
    """Make the scratch folder home, and every run the same.

    What would differ between machines or runs, and so in a traceback, is removed.
    """
    os.chdir(scratch)
    for name in set(os.environ) - KEPT:
        del os.environ[name]
    for name in ("HOME", "TMPDIR", "TEMP", "TMP"):
        os.environ[name] = os.curdir    # the absolute path differs between runs
    for module in (os, sys.modules[os.name]):    # the sandbox refuses the ids of others
        module.getpid = lambda: 1
    tempfile.tempdir = str(scratch)
    tqdm.monitor_interval = 0    # no thread of its own
    random.seed(0)
    np.random.seed(0)


def _define(request: dict[str, Any], exercise: Exercise) -> Any:
    """Run the statements of the plan as module `__main__`; return the objects of the exercise."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.modules[MY_PEFT] = _Library(MY_PEFT)
    vars(builtins).update(SILENCE)
    trees, flags = {}, 0
    for label, source in request["cells"].items():
        trees[label] = ast.parse(source)
        lines = [f"{line}\n" for line in source.split("\n")]
        linecache.cache[label] = (len(source), None, lines, label)    # so tracebacks can show them
    passed_over: list[tuple[ast.stmt, Exception]] = []
    for label, index in request["statements"]:
        node = trees[label].body[index]
        for part in _one_by_one(node):
            try:
                code = compile(ast.Module([part], []), label, "exec", flags, dont_inherit=True)
                flags |= code.co_flags & 0x1000000    # from __future__ import annotations
                exec(code, vars(module))
            except Exception as error:    # an answer that does not need this can be right
                if isinstance(error, NotAttempted) and error.exercise == exercise.id:
                    raise
                passed_over.append((part, error))
                if isinstance(part, ast.Import | ast.ImportFrom):
                    for alias in part.names:
                        name = alias.asname or alias.name.split(".")[0]
                        vars(module).setdefault(name, _absent(error))
    for name in exercise.names:
        if not hasattr(module, name):
            raise next((e for part, e in passed_over if name in _named(part)), passed_over[0][1])
    return exercise.as_one([getattr(module, name) for name in exercise.names])


class _Library(types.ModuleType):
    """What stands for `my_peft`, which is on the learner's machine: its pieces are the course's."""

    def __getattr__(self, name: str) -> Any:
        exercise = next((each for each in all_exercises() if name in each.names), None)
        if exercise is None:
            raise AttributeError(name)
        return exercise.one_by_one(mine(exercise.id))[exercise.names.index(name)]


def _one_by_one(node: ast.stmt) -> list[ast.stmt]:
    """An import of several names as one import each, so that one can fail alone."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return [node]
    return [ast.copy_location(ast.Import([alias]) if isinstance(node, ast.Import) else
                              ast.ImportFrom(node.module, [alias], node.level), node)
            for alias in node.names]


def _absent(error: Exception) -> Any:
    """A placeholder for a library that is not installed: using it raises the import's error."""
    def refuse(*_: Any, **named: Any) -> None:
        raise error

    return type("Absent", (), {"__getattr__": refuse, "__call__": refuse})()


def _named(node: ast.stmt) -> set[str]:
    return {getattr(part, "name", None) or getattr(part, "id", None) for part in ast.walk(node)}
