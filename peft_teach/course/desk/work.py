"""What a reader leaves behind: predictions, sentences, results of checks, points of their own runs.

    guess = commit("lora.rank", 8)        may be changed until its result is shown
    resolve("lora.rank")                  its result is shown: the prediction stands
    committed("lora.rank")                8, in a later kernel too
    add_point("lora", {"rank": 4, "accuracy": 0.801})

All of it is one small file, `work/course.json`, in the folder where the reader works:
`PEFT_TEACH_WORK` names that folder; by default it is the one in which Python started. If the
variable is empty, as in tests, or under nbgrader, nothing is read or written, and
everything is forgotten when the kernel ends. No grade depends on this file, and a check only if it
judges a prediction that the reader committed.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from ...errors import BadConfig
from ...folder import write_whole

VARIABLE, BUILD = "PEFT_TEACH_WORK", "PEFT_TEACH_BUILD"
FILE = Path("work") / "course.json"
LIBRARY = ("my_peft.py", "my_peft.bak.py")    # what the reader built, see `my_peft_file`
OWN = (FILE.parts[0], *LIBRARY)    # not for a notebook, a release or the repository
SECTIONS = ("predictions", "sentences", "checks", "results", "points")

_START = Path.cwd()    # a lesson may change the folder later
_here: dict[str, Any] = {}    # what the kernel remembers where nothing is written
_told: set[str] = set()       # the warnings that were printed


def folder() -> Path | None:
    """Return the folder in which the reader works; None if nothing is to be kept."""
    if os.environ.get("NBGRADER_EXECUTION"):
        return None
    name = os.environ.get(VARIABLE)
    return _START if name is None else Path(name).expanduser() if name else None


def in_work(name: str) -> Path:
    """Return where a file or folder of the reader's own stands; where nothing is kept, from here.
    """
    return (folder() or Path()) / FILE.with_name(name)


def is_reader_here() -> bool:
    """Return whether somebody can be asked; in a build, which keeps what it does, nobody can."""
    return folder() is not None and BUILD not in os.environ


def commit(name: str, value: Any, when: float | None = None) -> Any:
    """Keep a prediction; return the one that counts, None if there is none.

    It takes the place of an earlier one until its result is shown (`resolve`); one made afterwards
    is not kept. `when` is the time at which it was made, in seconds, now by default. `value` is
    plain data, a tuple is kept as a list. `...`, where the reader's value belongs, commits nothing.
    Raises `BadConfig` for what JSON cannot hold.
    """
    def change(kept: dict) -> Any:
        shown = kept["results"].get(name, {}).get("value", float("inf"))
        if (time.time() if when is None else when) < shown:
            kept["predictions"][name] = entry
        return kept["predictions"].get(name, {}).get("value")

    if value is ...:
        return committed(name)
    entry = _entry(name, list(value) if isinstance(value, tuple) else value)
    return _update(change, _file())


def resolve(name: str) -> None:
    """Keep that the result of a prediction has been shown, and when it was for the first time."""
    if not resolved(name):
        _update(lambda kept: kept["results"].setdefault(name, _entry(name, time.time())), _file())


def resolved(name: str) -> bool:
    """Return whether the result of this prediction has been shown."""
    return _value("results", name) is not None


def committed(name: str) -> Any:
    """Return the prediction of this name, or None."""
    return _value("predictions", name)


def write(name: str, sentence: str) -> None:
    """Keep the reader's own sentence; a later one of this name replaces it."""
    _keep("sentences", name, sentence)


def written(name: str) -> str | None:
    """Return the reader's sentence of this name, or None."""
    return _value("sentences", name)


def checked(exercise: str, state: str) -> None:
    """Keep the result of the last check of an exercise."""
    _keep("checks", exercise, state)


def states() -> dict[str, str]:
    """Return the state of each exercise that was checked, by its id."""
    return {name: entry["value"] for name, entry in _read(_file())["checks"].items()}


def add_point(picture: str, point: dict[str, Any], replaces: tuple[str, ...] = ()) -> None:
    """Keep a result of the reader's own run, which a picture draws beside the recorded results.

    It takes the place of an older one that agrees with it in the fields `replaces`, if there are
    any.
    """
    def change(kept: dict) -> None:
        others = [p for p in kept["points"].get(picture, ()) if not replaces or any(
            p.get(field) != point.get(field) for field in replaces)]
        kept["points"][picture] = [*others, point]

    _must_be_plain(picture, point)
    _update(change, _file())


def points(picture: str) -> list[dict[str, Any]]:
    """Return the reader's own points in a picture, oldest first."""
    return list(_read(_file())["points"].get(picture, ()))


def forget(exercise: str | None = None) -> None:
    """Forget the check of one exercise, or everything; then the file is kept under another name."""
    if exercise is not None:
        _update(lambda kept: kept["checks"].pop(exercise, None), _file())
        return
    _here.clear()
    if (file := _file()) is not None and file.is_file():
        _set_aside(file)


# ── the file ─────────────────────────────────────────────────────────────────────────────────


def _keep(section: str, name: str, value: Any) -> None:
    entry = _entry(name, value)
    _update(lambda kept: kept[section].__setitem__(name, entry), _file())


def _value(section: str, name: str) -> Any:
    return _read(_file())[section].get(name, {}).get("value")


def _entry(name: str, value: Any) -> dict[str, Any]:
    _must_be_plain(name, value)
    return {"value": value, "when": time.strftime("%Y-%m-%d %H:%M")}


def _must_be_plain(name: str, value: Any) -> None:
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        same = False
    if not same:
        raise BadConfig(f"{name} cannot be {value!r}.",
                        expected="plain data: numbers, text, lists and dicts of them")


def _file() -> Path | None:
    """Return the reader's file, None if nothing is to be kept."""
    place = folder()
    return None if place is None else place / FILE


def _update(change: Callable[[dict], Any], file: Path | None) -> Any:
    """Change what is kept, atomically for all kernels that work with this file."""
    if file is None:
        return change(_sections(_here))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock"), timeout=10):
            kept = _sections(_read_file(file))
            result = change(kept)
            write_whole({file: json.dumps(kept, indent=1, ensure_ascii=False) + "\n"})
            return result
    except OSError as error:
        _tell(f"What you do here is not kept: {file}: {error.strerror or error}.")
        return change(_sections(_here))


def _read(file: Path | None) -> dict[str, dict]:
    kept = _sections({} if file is None else _read_file(file))
    return {section: kept[section] | _sections(_here)[section] for section in SECTIONS}


def _read_file(file: Path) -> dict[str, Any]:
    """Return the content of a file; a damaged one is renamed, with a warning."""
    try:
        kept = json.loads(file.read_text("utf-8"))
        if _is_kept(kept):
            return kept
    except FileNotFoundError:
        return {}
    except OSError as error:
        _tell(f"{file} cannot be read: {error.strerror or error}.")
        return {}
    except (ValueError, RecursionError):
        pass
    _tell(f"{file} is damaged. It is kept as {_set_aside(file).name}, and a new one begins.")
    return {}


def _is_kept(kept: Any) -> bool:
    """Return whether parsed JSON has the form that is written here."""
    return (isinstance(kept, dict) and all(isinstance(kept.get(s, {}), dict) for s in SECTIONS)
            and all(isinstance(entry, dict) and "value" in entry
                    for s in SECTIONS[:4] for entry in kept.get(s, {}).values())
            and all(isinstance(row, list) for row in kept.get("points", {}).values()))


def _sections(kept: dict[str, Any]) -> dict[str, Any]:
    for section in SECTIONS:
        kept.setdefault(section, {})
    return kept


def _set_aside(file: Path) -> Path:
    """Move a file beside itself, under the first name that is free."""
    number = 1
    while (aside := file.with_name(f"{file.stem}.{number}{file.suffix}")).exists():
        number += 1
    try:
        return file.replace(aside)
    except OSError:
        return file


def _tell(line: str) -> None:
    """Say a thing once a kernel; never on stderr, which nbgrader takes for a failure."""
    if line not in _told:
        _told.add(line)
        print(line)
