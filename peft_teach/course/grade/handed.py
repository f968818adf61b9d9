"""What a lesson marks beside its exercises: an adapter that was handed in, a page to be read.

No code of the learner's runs for it. The file's bytes go into a folder of their own, and the lesson
says what to look at.
"""

import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import PeftTeachError
from ...store import TENSORS
from ..check.exercise import NOT_ATTEMPTED, PASSED, WRONG
from ..check.part import Part
from ..lessons import parts
from ..reading.notebook import Notebook
from . import sheet
from .collect import clean
from .run import Mark

BY_HAND = "To be marked by hand, in overrides.csv."
NOTHING = f"No {TENSORS} was handed in with the notebook."
ANOTHER = ("It passes the checks of the notebook, but with the numbers of the file that was handed "
           "in it gives other answers than the file: another method, rank or scale?")
IN_THE_OPEN = "on sentences that students can read: --held names a folder with others"
LONGEST_PAGE = 10_000    # characters; 400 words have a quarter of them
FEWEST = 300    # sentences: with these, an adapter that is 4 points ahead seldom falls behind


def examined(notebook: Notebook, lesson: str, held: Sequence[tuple[str, int]]
             ) -> tuple[dict[str, tuple[Any, ...]], list[Mark]]:
    """Further cases that an adapter makes, by their exercise, and the marks of the parts."""
    if not (there := parts(lesson)):
        return {}, []
    if not isinstance(notebook.adapter, bytes) or not notebook.adapter:
        why = notebook.adapter or NOTHING
        return {}, [_mark(part, NOT_ATTEMPTED, why, flag=True) if part.examine else
                    _page(part, notebook.text) for part in there]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, TENSORS).write_bytes(notebook.adapter)
        return _cases(there, Path(folder)), [
            _examined(part, Path(folder), held) if part.examine else _page(part, notebook.text)
            for part in there]


def _examined(part: Part, folder: Path, held: Sequence[tuple[str, int]]) -> Mark:
    try:
        holds, why, measured = part.examine(folder, held)
    except Exception as error:    # a stranger's file may raise any
        what = error.found if isinstance(error, PeftTeachError) else f"{type(error).__name__}."
        return _mark(part, WRONG, what.replace(str(folder), "the folder"), flag=True)
    flags = () if held or not measured else (IN_THE_OPEN,)
    return _mark(part, PASSED if holds else WRONG, why, not holds, flags,
                 measured and measured.plain())


def _page(part: Part, text: str) -> Mark:
    """No points yet, and what the student wrote."""
    _, begins, page = text.rpartition(part.begins)
    page = f"{begins}{page.partition('**Sources**')[0]}".strip() if begins else "No page was found."
    shown = "\n".join(map(clean, page[:LONGEST_PAGE].splitlines()))
    return _mark(part, NOT_ATTEMPTED, f"{BY_HAND}\n{shown}", flags=(BY_HAND,))


def _mark(part: Part, state: str, message: str, flag: bool = False, flags: Sequence[str] = (),
          measured: Mapping | None = None) -> Mark:
    said = [message] if flag else []
    return Mark(part.id, state, part.points if state == PASSED else 0, part.points, message,
                flags=tuple(f"{part.id}: {each}" for each in (*said, *flags)), measured=measured)


def _cases(there: Sequence[Part], folder: Path) -> dict[str, tuple[Any, ...]]:
    found = {}
    for id, case in filter(None, (part.further for part in there)):
        try:
            found[id] = tuple(case(folder))
        except Exception:    # what is wrong with the folder its part says
            continue
    return found


def problems(lesson: str) -> list[str]:
    """Why a folder of the course's own would get no points here; nothing if all is well."""
    found = []
    for part in parts(lesson):
        if part.sample:
            with tempfile.TemporaryDirectory() as folder:
                part.sample(Path(folder))
                holds, why, _ = part.examine(Path(folder), ())
                found += [] if holds else [f"{part.id}: {why}"]
    return found


@cache
def read(folder: Path | str) -> tuple[tuple[str, int], ...]:
    """The sentences of a folder's CSV files, with columns text and label, 0 or 1.

    Raises `PeftTeachError` where there are none, too few, or a label is another.
    """
    found = []
    for file in sorted(Path(folder).glob("*.csv")):
        rows = sheet.read(file, expected="CSV in UTF-8")
        head = next(rows, [])
        for row in rows:
            named = dict(zip(head, row))
            if named.get("label") not in ("0", "1") or not named.get("text", "").strip():
                raise PeftTeachError(f"{file}, line {rows.line_num}: {','.join(row)[:60]!r}.",
                                     expected="columns text and label, and a label of 0 or 1")
            found.append((named["text"], int(named["label"])))
    if len(found) < FEWEST or len({label for _, label in found}) < 2:
        raise PeftTeachError(f"{folder} holds {len(found)} sentences.",
                             expected=f"at least {FEWEST}, of both labels, in *.csv: text,label")
    return tuple(found)
