"""The further cases, by the exercise's id; only the instructor's folder has them.

    solutions/07_lora/further.py        CASES = {"lora.layer": layer_cases, ...}

Each function returns a list of cases as the exercise's own `cases` does: plain data that its `run`
takes and whose answer its `judge` knows.
"""

import traceback
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import PeftTeachError
from ..lessons import find


def read(solutions: Path | str) -> tuple[tuple[str, str], ...]:
    """The name and the text of each file. Raises `PeftTeachError` if there is none or one fails."""
    files = sorted(Path(solutions).glob("*/further.py"))
    if not files:
        raise PeftTeachError(f"There are no further cases in {solutions}.",
                             expected="files such as 07_lora/further.py",
                             hint="name the folder solutions/ of the repository, or leave "
                                  "--solutions out and grade by the visible cases alone")
    texts = tuple((f"{file.parent.name}/{file.name}", file.read_text("utf-8", errors="replace"))
                  for file in files)
    cases(texts)    # so that errors in them come before anything else runs
    return texts


@cache
def cases(texts: tuple[tuple[str, str], ...]) -> dict[str, tuple[Any, ...]]:
    """The further cases by the id of their exercise."""
    found = {}
    for name, text in texts:
        module: dict[str, Any] = {"__name__": "further"}
        try:
            exec(compile(text, name, "exec"), module)
            for id, make in module["CASES"].items():
                found[find(id).id] = tuple(make())    # an unknown id raises here
        except Exception as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
                     if frame.filename == name]
            line = getattr(error, "lineno", lines[-1] if lines else 1)
            said = str(error.args[0] if error.args else error).partition("\n")[0]
            raise PeftTeachError(f"The further cases in {name} do not run: line {line}, "
                                 f"{type(error).__name__}: {said}") from None
    return found
