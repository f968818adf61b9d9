"""The further cases, from the instructor's own folder: by the exercise's id, in no notebook.

    solutions/hidden/lora.py        CASES = {"lora.layer": layer_cases, ...}

Each function gives a list of cases as the exercise's own `cases` does: plain data that its `run`
takes and its `judge` knows the answer to.
"""

import traceback
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import PeftTeachError
from ..lessons import find


def read(solutions: Path | str) -> tuple[tuple[str, str], ...]:
    """The files with further cases: the name and the text of each. Raises `PeftTeachError`."""
    folder = Path(solutions) / "hidden"
    files = sorted(folder.glob("*.py"))
    if not files:
        raise PeftTeachError(f"There are no further cases in {folder}.",
                             expected="files such as hidden/lora.py",
                             hint="name the folder solutions/ of the repository, or leave "
                                  "--solutions out and grade by the visible cases alone")
    texts = tuple((file.name, file.read_text("utf-8", errors="replace")) for file in files)
    cases(texts)    # so that what is wrong with them is said before anything runs
    return texts


@cache
def cases(texts: tuple[tuple[str, str], ...]) -> dict[str, tuple[Any, ...]]:
    """The further cases of each exercise, by its id, for which the instructor has some."""
    found = {}
    for name, text in texts:
        module: dict[str, Any] = {"__name__": f"hidden_{name}"}
        try:
            exec(compile(text, name, "exec"), module)
            for id, make in module["CASES"].items():
                found[find(id).id] = tuple(make())    # an id that does not exist raises here
        except Exception as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
                     if frame.filename == name]
            line = getattr(error, "lineno", lines[-1] if lines else 1)
            said = str(error.args[0] if error.args else error).partition("\n")[0]
            raise PeftTeachError(f"The further cases in hidden/{name} do not run: line {line}, "
                                 f"{type(error).__name__}: {said}") from None
    return found
