"""The reader's own library, `my_peft.py`, beside the notebooks: every answer that passed its check.

The file is the only store: a docstring, the imports of all answers, and a section for each
exercise, in the order of the course, under its lesson's title and paper. An answer that is a value
is not a piece of a library, and stays in its notebook. Whatever the reader edits in the file is
used as it is. `work` says which folder it is in; builds, tests and graders have none.

    # ══ 07 · LoRA ═════════
    #    Hu et al. 2021, LoRA, arXiv 2106.09685

    # ── lora.layer ────────

    class LoRALinear(pt.Adapter):      as written in the reader's cell, with the helpers it needs
        ...
"""

import ast
import builtins
import copy
import dataclasses
import re
import symtable
import types
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from filelock import FileLock

from ...errors import NotAttempted, PeftTeachError
from ...folder import write_whole
from ..checks.examination import OF_THE_COURSE, examining, silent, undisturbed
from ..checks.exercise import VALUE, Exercise
from ..lessons import Known, Shelved, all_exercises, find, known, shelf
from ..reading.cells import Code
from ..reading.definitions import definitions
from ..reading.notebook import Cell
from ..reading.sources import MOST_CODE
from . import work

FILE, BACKUP = work.LIBRARY
LOCK = work.FILE.with_name("my_peft.lock")
UNTIL = "# the course's, until yours passes"

_WIDTH = 95
_TITLE = '"""My own library: what I wrote in the course, as it passed its checks."""\n'
_SECTION = re.compile(r"^# ── (\w+\.\w+)[ ─]*$", re.MULTILINE)
_LESSON = re.compile(r"^# ══ .*\n(?:#    .*\n)?\n*", re.MULTILINE)


Exercises = Mapping[str, Known | Exercise]    # by id, in the order of the course


class Refused(PeftTeachError):
    """An answer that passed its check and cannot be kept."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """The source of an answer with its dependencies."""

    imports: dict[str, str]     # a line for each name
    body: str                   # all other statements, as written
    reads: frozenset[str]       # global names


# ── reading ──────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(frozen=True)
class Library:
    """The file, executed as a module."""

    module: types.ModuleType
    sections: dict[str, str]

    def own(self, exercise: Exercise) -> tuple[Any, ...] | None:
        """The reader's objects for an exercise; None if they are missing, or the course's."""
        there = vars(self.module)
        if UNTIL in self.sections.get(exercise.id, UNTIL) or not set(exercise.names) <= set(there):
            return None
        found = tuple(there[name] for name in exercise.names)
        return copy.deepcopy(found) if exercise.answer == VALUE else found


def read() -> Library:
    """The reader's library; an empty one if there is none, or if it fails, which is printed."""
    empty = Library(types.ModuleType("my_peft"), {})
    folder = work.folder()
    if folder is None:
        return empty
    path = folder / FILE
    try:
        return _loaded(path.read_text("utf-8"), str(path))
    except FileNotFoundError:
        return empty
    except KeyboardInterrupt:
        raise
    except BaseException as error:    # whatever the file does when it runs
        print(f"{FILE} does not run ({_one_line(error)}): the course's pieces are used.")
        return empty


def loaded(text: str, path: Path) -> Library:
    """Return the text run as a library. Raises `PeftTeachError` if it fails."""
    try:
        return _loaded(text, str(path))
    except KeyboardInterrupt:
        raise
    except BaseException as error:    # whatever the file does when it runs
        raise PeftTeachError(f"{path} does not run ({_one_line(error)}).",
                             hint="open it, and mend that line; nothing was written") from None


@lru_cache(maxsize=4)
def _loaded(text: str, path: str) -> Library:
    """The text run as a module that is not in `sys.modules`, so it is never an outdated one."""
    module = types.ModuleType("my_peft")
    module.__file__ = path
    _run(text, path, module)
    return Library(module, _sections(text)[1])


def _run(text: str, path: str, module: types.ModuleType) -> None:
    with undisturbed(), examining(*known()):    # `mine` must not answer with this very file
        exec(compile(text, path, "exec", dont_inherit=True), vars(module))


def _sections(text: str) -> tuple[str, dict[str, str]]:
    """The text above the first section, and that of each section by its exercise."""
    head, *rest = _SECTION.split(_LESSON.sub("", text))
    return head, dict(zip(rest[::2], rest[1::2]))


# ── writing ──────────────────────────────────────────────────────────────────────────────────


def keep(exercise: Exercise, cells: Sequence[str], uses_reference: bool = False) -> str:
    """Put an answer that passed into the file, from the cells that ran; return the card's line.

    The answer is not examined again, but it must run on its own, in the file. Raises `NotAttempted`
    for an answer made with `mine` of its own exercise; to find that out, the answer runs on its own
    even where nothing is kept.
    """
    folder, there = work.folder() if exercise.kept else None, known()
    try:
        piece = _piece(exercise, cells, there)
        said = _put(exercise, piece, there, None if uses_reference else folder)
        if uses_reference:
            raise Refused(OF_THE_COURSE)
        return said
    except Refused as error:
        return f"Passed, not kept: {error}" if folder else ""
    except OSError as error:
        return f"Passed, not kept: {FILE}: {error.strerror or error}."
    except UnicodeDecodeError as error:
        return f"Passed, not kept: {FILE} does not run ({_one_line(error)})."


def _put(exercise: Exercise, piece: Piece, there: Exercises, folder: Path | None) -> str:
    if folder is None:
        _try(exercise, piece, _with(exercise, piece, "", there), FILE)
        return ""
    path, lock = folder / FILE, folder / LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock, timeout=10):
        old = path.read_text("utf-8") if path.is_file() else ""
        new = _with(exercise, piece, old, there)
        earlier = _sections(old)[1].get(exercise.id, UNTIL)
        if new == old:
            return f"It stands in {FILE}."
        _try(exercise, piece, new, str(path))
        replaced = UNTIL not in earlier and earlier.strip() != piece.body.strip()
        before = {path.with_name(BACKUP): old} if replaced else {}
        write_whole(before | {path: new})
    return f"It is kept in {FILE}" + (
        f", in place of another; the file as it was is {BACKUP}." if replaced else ".")


def _try(exercise: Exercise, piece: Piece, text: str, path: str) -> None:
    """Run the text as a new module. Raises `Refused` if it fails or lacks a name."""
    module = types.ModuleType("my_peft")
    try:
        with silent():
            _run(text, path, module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, NotAttempted) and error.exercise == exercise.id:
            raise
        raise Refused(f"{FILE} would not run ({_one_line(error)}).") from None
    needed = _read_when_called(symtable.symtable(piece.body, FILE, "exec")).union(exercise.names)
    if lacking := needed - vars(module).keys() - vars(builtins).keys():
        raise Refused(f"it needs {', '.join(sorted(lacking))}, which {FILE} would not have: "
                      "define that beside it.")


def _read_when_called(table: symtable.SymbolTable) -> set[str]:
    """The global names that the functions and classes of a text read."""
    return {symbol.get_name() for inner in table.get_children() for symbol in inner.get_symbols()
            if symbol.is_global() and symbol.is_referenced()}.union(
        *map(_read_when_called, table.get_children()))


def _one_line(error: BaseException) -> str:
    line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
    text = error.msg if isinstance(error, SyntaxError) else str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}{line}"


def added(exercise: Exercise, cells: Sequence[str], text: str) -> str:
    """Return the text of a library with an answer, from cells that define it, without titles.

    Raises `Refused`.
    """
    there = {each.id: each for each in all_exercises()}    # the build reads nothing that it writes
    return _with(exercise, _piece(exercise, cells, there), text, there, title=lambda lesson: "")


# ── a piece, from the reader's cells ─────────────────────────────────────────────────────────


def _piece(exercise: Exercise, cells: Sequence[str], there: Exercises) -> Piece:
    code = read_cells(cells)
    code.leave_out(_others(exercise, there))
    plan = definitions(code, exercise)
    if plan.missing:
        raise Refused(plan.missing)
    statements = {(s.cell, s.index): s for s in (*code.statements, *code.given.values())}
    imports, body, names = {}, [], set()
    for s in map(statements.__getitem__, plan.statements):
        if isinstance(s.node, ast.Import | ast.ImportFrom):
            imports |= _imports(s.node)
        else:
            body.append(_as_written(code.sources[s.cell], s.node))
            names |= s.now | s.later
    imports = {name: line for name, line in imports.items() if name in names or name == "*"}
    if any("my_peft" in line for line in imports.values()):
        raise Refused(f"it imports {FILE} itself; pt.mine gives what it takes from there.")
    return Piece(imports, _spaced(body), frozenset(names))


def read_cells(cells: Sequence[str]) -> Code:
    """The newest cells, as many as the grader would read, each once, in the order they last ran."""
    last, room = {}, MOST_CODE
    for cell in reversed(cells):
        room -= 0 if cell in last else len(cell)
        if room < 0:
            break
        last[cell] = True
    return Code([Cell(number, source) for number, source in enumerate(reversed(last), 1)])


def _as_written(source: str, node: ast.stmt) -> str:
    """A statement's lines, with its decorators and the comment right above it."""
    lines = source.split("\n")
    start = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))]) - 1
    if len(ast.parse("\n".join(lines[start:node.end_lineno])).body) > 1:
        # Other statements share its line.
        return ast.get_source_segment(source, node) or ast.unparse(node)
    while start and lines[start - 1].startswith("#"):
        start -= 1
    return "\n".join(lines[start:node.end_lineno])


def _spaced(statements: Sequence[str]) -> str:
    """One statement a line, with two empty lines around those that span several."""
    text = statements[0]
    for before, each in pairwise(statements):
        text += ("\n\n\n" if "\n" in before + each else "\n") + each
    return text


def _imports(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """The names that a statement imports, each with a line that imports it alone."""
    start = f"from {'.' * node.level}{node.module or ''} " if isinstance(
        node, ast.ImportFrom) else ""
    return {alias.asname or alias.name.split(".")[0]:
            f"{start}import {ast.unparse(alias)}" for alias in node.names
            if start != "from __future__ "}


# ── the file with a piece in it ──────────────────────────────────────────────────────────────


def _heading(lesson: str) -> str:
    """A lesson's title and paper as comments, above what was built in it."""
    there = shelf().get(lesson, Shelved())
    title = f"# ══ {there.name or f'lesson {lesson}'.strip()} ".ljust(_WIDTH, "═")
    return "\n".join([title, *([f"#    {there.paper}"] if there.paper else []), "", "", ""])


def _with(exercise: Exercise, piece: Piece, text: str, there: Exercises,
          title: Callable[[str], str] = _heading) -> str:
    """The file's text with the piece, each lesson's under its title.

    Raises `Refused` if a name of the piece is already taken.
    """
    head, sections = _sections(text or _TITLE)
    given = {id: _bound(other) for id, other in sections.items() if id != exercise.id}
    imported = _bound(head)
    for id, taken in {**given, "the imports": imported}.items():
        for name, line in (_bound(piece.body) | piece.imports).items():
            if taken.get(name, line) != line:
                raise Refused(f"`{name}` is already there for {id}: rename one.")
    sections[exercise.id] = piece.body
    for name, id in _others(exercise, there).items():
        if name in piece.reads and id not in sections:
            sections[id] = _the_courses(find(id))
    order = [*there]
    ids = sorted(sections, key=lambda id: order.index(id) if id in order else len(order))
    new = [line for name, line in piece.imports.items() if name not in imported]
    new.sort(key=lambda line: (line.startswith("from"), line))
    parts = ["\n".join([head.rstrip(), *([""] if new and not imported else []), *new])]
    last = None
    for id in ids:
        lesson = there[id].lesson if id in there else ""
        above = title(lesson) if lesson != last else ""
        parts.append(f"{above}{f'# ── {id} '.ljust(_WIDTH, '─')}\n\n{sections[id].strip()}")
        last = lesson
    return "\n\n\n".join(parts) + "\n"


def _bound(text: str) -> dict[str, str]:
    """The names that a text binds, each with its statement or its line of import.

    Raises `Refused` for a text that is not Python.
    """
    try:
        ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise Refused(f"{FILE} does not run ({_one_line(error)}).") from None
    found = {}
    for statement in Code([Cell(1, text)]).statements:
        node = statement.node
        found |= _imports(node) if isinstance(node, ast.Import | ast.ImportFrom) else (
            dict.fromkeys(statement.binds, ast.unparse(node)))
    return found


def _others(exercise: Exercise, there: Exercises) -> dict[str, str]:
    """The names of all other exercises, which a piece takes from the sections of these."""
    return {name: id for id, each in there.items() if id != exercise.id for name in each.names}


def _the_courses(exercise: Exercise) -> str:
    """The lines that import the course's own answer to an exercise."""
    lines = []
    for name, path in zip(exercise.names, exercise.references):
        module, _, attributes = path.partition(":")
        first, *rest = attributes.split(".")
        own = f"_{first}" if rest else name
        given = first if own == first else f"{first} as {own}"
        lines.append(f"from {module} import {given}    {UNTIL}")
        if rest:
            lines.append(f"{name} = {'.'.join([own, *rest])}")
    return "\n".join(lines)
