"""Reading a notebook that came back: whatever an editor, a server or a learner did to it.

Only JSON is needed, and cells with a source. Metadata, ids, outputs and the version of the format
may be anything, or gone. UTF-8 and UTF-16 are read; bytes that are neither cost nothing but
themselves.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ...errors import PeftTeachError
from ..exercise import Exercise

MOST_CELLS = 5_000
MOST_CODE = 1_000_000    # characters; the longest lesson has 50 thousand
MOST_VALUES = 3_000_000  # lists, dicts and what stands in them; a million takes 100 MB of memory

_HEADING = re.compile(r"^#\s*(\d\d)\s*·", re.MULTILINE)    # "# 07 · LoRA: a small correction"
_SIGNS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{,:]', re.DOTALL)
_QUOTED = re.compile(r"""["']([a-z]\w*\.\w+)["']""")        # "lora.layer"
_DEFINED = re.compile(r"^(?:def|class)\s+(\w+)", re.MULTILINE)
_FILE = re.compile(r"(?<!\d)(\d\d)_[A-Za-z]")              # "07_lora.ipynb"


class Unreadable(PeftTeachError):
    """A file that is no notebook."""


@dataclass(frozen=True)
class Cell:
    """A cell of code. `number` counts all cells from 1, as a reader of the notebook would."""

    number: int
    source: str


@dataclass(frozen=True)
class Notebook:
    """What is left of a notebook."""

    cells: tuple[Cell, ...]      # of code
    text: str                    # of all other cells
    lesson: str | None           # what its metadata says: "07"
    release: str | None


def parse(data: bytes) -> Notebook:
    """The notebook in a file's bytes. Raises `Unreadable`."""
    code, text = [], []
    tree = _read(data)
    for number, (kind, source) in enumerate(_cells(tree), 1):
        if kind == "code":
            code.append(Cell(number, source))
        else:
            text.append(source)
    ours = _ours(tree)
    return Notebook(tuple(code), "\n".join(text), _short(ours.get("lesson")),
                    _short(ours.get("release")))


def slim(data: bytes) -> bytes:
    """What `parse` reads of a notebook, as a notebook: no outputs. Raises `Unreadable`."""
    tree = _read(data)
    cells = [{"cell_type": kind, "source": source} for kind, source in _cells(tree)]
    ours = {key: _short(value) for key, value in _ours(tree).items() if key in (
        "lesson", "release")}
    return json.dumps({"cells": cells, "metadata": {"peft_teach": ours}}).encode()


def _read(data: bytes) -> dict:
    text = data.decode(json.detect_encoding(data), errors="replace")
    if _values(text) > MOST_VALUES:
        raise Unreadable(f"This notebook has more than {MOST_VALUES:,} values.",
                         hint="clear its outputs, save it, and hand it in again")
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"This is not a notebook: {str(error)[:80]}.",
                         hint="open it in Jupyter, save it, and hand it in again") from None
    return tree if isinstance(tree, dict) else {}


def _values(text: str) -> int:
    """At most how many values a JSON text has, told without holding any of them."""
    count = sum(map(text.count, "[{,:"))
    if count > MOST_VALUES:    # then it is worth the time to leave out what stands in texts
        signs = (1 for each in _SIGNS.finditer(text) if each[0][0] != '"')
        count = sum(islice(signs, MOST_VALUES + 1))
    return count


def _cells(tree: dict) -> list[tuple[str, str]]:
    """The kind, "code" or "text", and the source of each cell."""
    cells = tree.get("cells")
    if cells is None:    # the format before 2015
        cells = [cell for sheet in _list(tree.get("worksheets")) if isinstance(sheet, dict)
                 for cell in _list(sheet.get("cells"))]
    if not isinstance(cells, list) or not cells:
        raise Unreadable("This is JSON, but it has no cells.", expected="a notebook")
    if len(cells) > MOST_CELLS:
        raise Unreadable(f"This notebook has {len(cells):,} cells, more than {MOST_CELLS:,}.",
                         hint="leave out what was pasted into it")
    cells = [cell if isinstance(cell, dict) else {"cell_type": "none"} for cell in cells]
    read = [("code" if cell.get("cell_type", "code") == "code" else "text",
             _joined(cell.get("source", cell.get("input", "")))) for cell in cells]
    for kind in ("code", "text"):
        size = sum(len(source) for its, source in read if its == kind)
        if size > MOST_CODE:
            raise Unreadable(f"This notebook has {size:,} characters of {kind}, more than "
                             f"{MOST_CODE:,}.", hint="leave out data that were pasted into it")
    return read


def _ours(tree: dict) -> dict:
    metadata = tree.get("metadata")
    ours = metadata.get("peft_teach") if isinstance(metadata, dict) else None
    return ours if isinstance(ours, dict) else {}


def lesson_of(notebook: Notebook, file: str, exercises: Sequence[Exercise]) -> str | None:
    """Which lesson a notebook is of: by its metadata, its cells, its heading, its file's name.

    The exercises that its code names decide over a heading; the metadata decides over all, unless
    the cells name exercises of other lessons only.
    """
    code = "\n".join(cell.source for cell in notebook.cells)
    quoted, defined = set(_QUOTED.findall(code)), set(_DEFINED.findall(code))
    named: Counter[str] = Counter()
    written: Counter[str] = Counter()
    for exercise in exercises:
        named[exercise.lesson] += exercise.id in quoted
        written[exercise.lesson] += len(defined.intersection(exercise.names))
    if notebook.lesson in named and (named[notebook.lesson] or not +named):
        return notebook.lesson
    for count in (named, written):
        if +count:
            return min(count, key=lambda lesson: (-count[lesson], lesson))
    for found in (*_HEADING.findall(notebook.text), *_FILE.findall(file)):
        if found in named:
            return found
    return None


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _joined(source: Any) -> str:
    lines = source if isinstance(source, list) else [source]
    return "".join(line for line in lines if isinstance(line, str))


def _short(value: Any) -> str | None:
    return value[:20] if isinstance(value, str) else None
