"""Reading a submitted notebook, whatever an editor, a server or a learner did to it.

It must be JSON, with cells that have a source. Metadata, ids, outputs and the version of the format
may be anything, or missing. UTF-8 and UTF-16 are read; bytes that are neither are replaced.
"""

import ast
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from ...errors import PeftTeachError
from ..lessons import START, all_exercises, parts

MOST_CELLS = 5_000
MOST_CHARACTERS = 1_000_000    # characters; the longest lesson has 50 thousand
MOST_SCRIPT = 100_000    # characters of a script, with its comments
LONGEST_OUTPUT, MOST_OUTPUT = 3_000, 100_000    # characters, of one cell and of all
MOST_VALUES = 3_000_000  # lists, dicts and their items; a million takes 100 MB of memory

_HEADING = re.compile(r"^#\s*(\d\d)\s*·", re.MULTILINE)    # "# 07 · LoRA: a small correction"
_SIGNS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{,:]', re.DOTALL)    # strings; one sign a value
_QUOTED = re.compile(r"""["']([a-z]\w*\.\w+)["']""")        # "lora.layer"
_CHECKED = re.compile(r"""\b(?:check|require)\(\s*["']([a-z]\w*\.\w+)["']""")
_DEFINED = re.compile(r"^(?:def|class)\s+(\w+)", re.MULTILINE)
_BINDS = re.compile(r"^(?:(?:async +def|def|class) |\w[\w, ]*=)", re.MULTILINE)
_MARKS = re.compile(r"^# ?(?:%%.*|In ?\[[ \d]*\]:?.*|<codecell>)\n", re.MULTILINE)    # of editors
_APART = re.compile(r"\n[ \t]*\n(?=[^\s#)\]}])")    # an empty line before one at the left margin
_FILE = re.compile(r"(?<!\d)(\d\d)_[A-Za-z]")              # "07_lora.ipynb"


class Unreadable(PeftTeachError):
    """A file that is not a notebook."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of code. `number` counts all cells from 1, as a reader of the notebook would.

    `kind` is what the notebook calls one that no kernel runs and that may hold an answer: Markdown
    or Raw, one key away from code.
    """

    number: int
    source: str
    kind: str = ""


@dataclass(frozen=True)
class Notebook:
    """The code and the text of a notebook."""

    cells: tuple[Cell, ...]      # of code, and others in which an answer may stand
    text: str                    # of all cells that are not code
    lesson: str | None           # in its metadata: "07"
    release: str | None
    # The adapter that was handed in beside it, or why there is none; "" if nothing is there.
    adapter: bytes | str = ""
    files: tuple[tuple[str, str], ...] = ()    # Python handed in beside it: a module's name, text
    outputs: tuple[tuple[int, str], ...] = ()    # by cell, where a page may cite them

    @property
    def size(self) -> int:
        """The memory that it takes, roughly, in bytes."""
        return sys.getsizeof(self.text) + sum(
            sys.getsizeof(cell) + sys.getsizeof(cell.source) for cell in self.cells) + sum(
            sys.getsizeof(text) for _, text in (*self.files, *self.outputs))

    @property
    def code(self) -> str:
        """All of its code as one text."""
        return "\n".join(cell.source for cell in self.cells if not cell.kind)


def parse(data: bytes) -> Notebook:
    """The notebook in a file's bytes. Raises `Unreadable`."""
    tree = _read(data)
    cells = list(enumerate(_cells(tree), 1))
    ours = _as(dict, _as(dict, tree.get("metadata")).get("peft_teach"))
    lesson, release = (_as(str, ours.get(key))[:20] or None for key in ("lesson", "release"))
    text = "\n".join(source for _, (kind, source) in cells if kind != "code")
    return Notebook(
        tuple(Cell(number, source, "" if kind == "code" else kind.capitalize())
              for number, (kind, source) in cells if kind == "code" or _BINDS.search(source)),
        text, lesson, release,
        outputs=_outputs(tree) if any(each in text for each in _pages()) else ())


def parse_script(data: bytes) -> Notebook:
    """The notebook that Python in a file stands for, as editors export one. Raises `Unreadable`.

    Its cells are what stands between their marks (`# %%`, `# In[3]:`). Without marks it is one
    cell, or where it does not parse one for each block at the left margin, so that an error costs
    its own block only.
    """
    text = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    if len(text) > MOST_SCRIPT:
        raise Unreadable(f"It has {len(text):,} characters, more than {MOST_SCRIPT:,}.")
    cells = _MARKS.split(text)
    if len(cells) == 1 and not _parses(text):
        cells = _APART.split(text)
    if len(cells) > MOST_CELLS:
        raise Unreadable(f"It has more than {MOST_CELLS:,} parts.")
    comments = "\n".join(line.removeprefix("# ") for line in text.split("\n")
                         if line.startswith("# "))
    return Notebook(tuple(Cell(number, source) for number, source in enumerate(cells, 1)),
                    comments, None, None)


@cache
def _pages() -> tuple[str, ...]:
    """The headings of what a person reads."""
    return tuple(heading for part in parts() for heading, *_ in part.rubric)


def _outputs(tree: dict) -> tuple[tuple[int, str], ...]:
    """What each cell has put out as text, the first part of it."""
    found, room = [], MOST_OUTPUT
    for number, cell in enumerate(_as(list, tree.get("cells")), 1):
        told = []
        for output in _as(list, _as(dict, cell).get("outputs")):
            data = _as(dict, _as(dict, output).get("data"))
            told.append(_joined(_as(dict, output).get("text", data.get("text/plain", ""))))
        text = "\n".join(filter(None, told))[:LONGEST_OUTPUT]
        if text and len(text) <= room:
            found.append((number, text))
            room -= len(text)
    return tuple(found)


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
        return True
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False


def _read(data: bytes) -> dict:
    if not data:
        raise Unreadable("the file is empty")
    text = data.decode(json.detect_encoding(data), errors="replace")
    values = (sign for sign in _SIGNS.finditer(text) if sign[0][0] != '"')
    if next(islice(values, MOST_VALUES, None), None):    # counted without parsing any
        raise Unreadable(f"This notebook has more than {MOST_VALUES:,} values.",
                         hint="clear its outputs, save it, and hand it in again")
    try:
        return _as(dict, json.loads(text))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"This is not a notebook: {str(error)[:80]}.",
                         hint="open it in Jupyter, save it, and hand it in again") from None


def _cells(tree: dict) -> list[tuple[str, str]]:
    """The kind, "code", "markdown" or "raw", and the source of each cell."""
    cells = tree.get("cells")
    if not isinstance(cells, list) or not cells:
        raise Unreadable("This is JSON, but it has no cells.", expected="a notebook")
    if len(cells) > MOST_CELLS:
        raise Unreadable(f"This notebook has {len(cells):,} cells, more than {MOST_CELLS:,}.",
                         hint="leave out what was pasted into it")
    kinds = {"code": "code", "raw": "raw"}    # whatever else it is called, it is text
    read = [(kinds.get(_as(str, cell.get("cell_type", "code")), "markdown"),
             _joined(cell.get("source")))
            for cell in (_as(dict, cell) for cell in cells)]
    for what, is_code in (("code", True), ("text", False)):
        size = sum(len(source) for kind, source in read if (kind == "code") == is_code)
        if size > MOST_CHARACTERS:
            raise Unreadable(f"This notebook has {size:,} characters of {what}, more than "
                             f"{MOST_CHARACTERS:,}.", hint="leave out data pasted into it")
    return read


def lesson_of(notebook: Notebook, file: str) -> str | None:
    """The lesson of a notebook: by its metadata, its cells, its heading or the name of its file.

    Exercises named in the code come before a heading; the metadata comes first, unless the cells
    name only exercises of other lessons. START, which leads to all, is of none.
    """
    if notebook.lesson == START:
        return None
    code = notebook.code
    quoted, defined = set(_QUOTED.findall(code)), set(_DEFINED.findall(code))
    named: Counter[str] = Counter()
    written: Counter[str] = Counter()
    for exercise in all_exercises():
        named[exercise.lesson] += exercise.id in quoted
        written[exercise.lesson] += len(defined.intersection(exercise.names))
    if notebook.lesson and notebook.lesson in named and (named[notebook.lesson] or not +named):
        return notebook.lesson
    for count in (named, written):
        if +count:
            return min(count, key=lambda lesson: (-count[lesson], lesson))
    for found in (*_HEADING.findall(notebook.text), *_FILE.findall(file)):
        if found in named:
            return found
    return None


def lessons_in(notebook: Notebook) -> dict[str, float]:
    """The lessons whose exercises are checked in a notebook, and what share of them is."""
    checked = set(_CHECKED.findall(notebook.code))
    shares = {}
    for exercise in all_exercises():
        shares.setdefault(exercise.lesson, []).append(exercise.id in checked)
    return {lesson: sum(each) / len(each) for lesson, each in shares.items() if any(each)}


def _joined(source: Any) -> str:
    lines = source if isinstance(source, list) else [source]
    return "".join(line for line in lines if isinstance(line, str))


def _as(kind: type, value: Any) -> Any:
    """The value, or an empty one of this type if it is of another."""
    return value if isinstance(value, kind) else kind()
