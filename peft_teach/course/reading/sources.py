"""From cells and files to Python, as a kernel would have run it.

    a cell of code    its magics and shell lines do nothing
    a text cell       Markdown or Raw, one key in Jupyter away from code; in a fence, or without
    a file            that a cell of %%writefile writes, or that was handed in beside the notebook

Nothing is opened, imported or run here. A cell that does not parse affects no other.
"""

import ast
import re
import symtable
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.util import find_spec
from typing import NamedTuple

from ..lessons import known
from .notebook import Cell

LONGEST_CELL = 100_000     # characters; no one writes more by hand
MOST_CODE = 250_000        # characters, in all cells; a lesson has about 20,000
MOST_STATEMENTS = 5_000    # at the top level of a notebook; a lesson has about 200

MY_PEFT = "my_peft"    # the learner's own library, which stays on their machine
_WRITES = re.compile(r"\s*%%(?:writefile|file)\s+(?:-a\s+)?[\"']?(?:[\w.-]*/)*(\w+)\.py[\"']?"
                     r"[ \t]*\n")
_FENCE = re.compile(r"\s*(```+|~~~+)[ \t]*\{?(?:i?python\d?|py)?\}?[ \t]*\n(.*)\n\1\s*", re.DOTALL)
_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Parsed(NamedTuple):
    """A cell or a file: its statements, where it stands if not in code, and what it writes."""

    label: str
    source: str
    tree: list[ast.stmt]
    place: str = ""
    writes: str = ""


class Parser:
    """Parses the cells and files of one notebook, as much code as anybody writes."""

    def __init__(self):
        self.unread: list[tuple[str, str, str]] = []    # a cell's source, why, and a flag
        self.prose: list[tuple[str, str, str]] = []     # the same of text cells, which may be none
        self.cut = ""         # the first cell that was not looked at, for too much code
        self._room, self._most = MOST_CODE, MOST_STATEMENTS

    def parsed(self, cell: Cell, label: str = "", writes: str = "") -> Parsed:
        """A cell's statements, none if it cannot be read; and where it stands if not in code."""
        source, label = cell.source, label or f"cell {cell.number}"
        place = label if writes else f"a {cell.kind} cell" if cell.kind else ""
        try:
            if cell.kind:
                source = _unfenced(source)
            elif found := _WRITES.match(source):
                source, writes = source[found.end():], found[1]
                place = "a cell of %%writefile"
            source, tree = _parse(source)
            self._room -= len(source)
            if self._room < 0 or len(tree.body) > self._most:
                self.cut = self.cut or label
                raise ValueError("too much code")
            self._most -= len(tree.body)
            return Parsed(label, source, tree.body, place, writes)
        except _OtherLanguage as error:
            why, flag = (f"a cell of {error}, which defines nothing here ({label}): put it into "
                         "one of its own"), "other language"
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            what = error.msg if isinstance(error, SyntaxError) else str(error) or "too deep"
            version = "{}.{}".format(*sys.version_info)
            why = f"{place or 'a cell'} that is not Python {version}: {what} ({label}{line})"
            flag = "syntax error"
            if cell.kind:    # prose around an answer
                why = f"{place}, which no kernel runs: put it alone into a cell of code"
        (self.prose if cell.kind else self.unread).append((source[:LONGEST_CELL], why, flag))
        return Parsed(label, source, [], place, writes)


def _unfenced(source: str) -> str:
    """The code of a text that is one fenced block; any other text as it is."""
    found = _FENCE.fullmatch(source)
    return found[2] if found else source


# Lines of IPython and the equivalent lines of Python: a magic does nothing, its result is None. It
# includes the lines that a backslash continues.
_REST = r"(?:.*\\[ \t]*\n)*.*"
_MAGICS = tuple((re.compile(f"^{form}$", re.MULTILINE), plain) for form, plain in (
    (r"([ \t]*)%time (.*)", r"\1\2"),    # the statement runs
    (r"([ \t]*)%run (?:-\w+ )*[\"']?(?:[\w.-]*/)*(\w+)\.py[\"']?[ \t]*", r"\1from \2 import *"),
    (rf"([\w, \t]+=[ \t]*)[%!]{_REST}", r"\1None"),
    (r"([ \t]*)[\w.]+\?\??[ \t]*", r"\1pass"),
    (rf"([ \t]*)(?:%%?[A-Za-z_]|[!?]|(?:pip|conda) ){_REST}", r"\1pass")))
_PYTHON_CELLS = ("%%time", "%%capture", "%%prun", "%%python")


class _OtherLanguage(Exception):
    """A cell of another language, or of `%%writefile`."""


def _parse(source: str) -> tuple[str, ast.Module]:
    """A cell as Python; its magics and shell lines do nothing. Raises what `_tree` raises."""
    if len(source) > LONGEST_CELL:
        raise ValueError("the cell is too long")
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        return source, _tree(source)
    except SyntaxError:
        plain = _without_prompts(source)
        head, *_ = plain.split(None, 1) or [""]
        if head.startswith("%%") and not head.startswith(_PYTHON_CELLS):
            raise _OtherLanguage(head) from None
        for form, line in _MAGICS:
            plain = form.sub(partial(_in_place, line), plain)
        return plain, _tree(plain)


def _tree(source: str) -> ast.Module:
    """A source, parsed. A kernel compiles its statements one by one, and so are they tried here."""
    tree = ast.parse(source)
    try:
        for node in tree.body:
            symbols(node)
    except SyntaxError:
        symtable.symtable(source, "cell", "exec")    # the same error, with its line
        raise
    return tree


def symbols(node: ast.stmt) -> symtable.SymbolTable:
    """A statement's names, by the compiler, which raises an error for `def f(a, a)`."""
    return symtable.symtable(ast.unparse(node), "cell", "exec")


def _without_prompts(source: str) -> str:
    """The text as IPython reads it: without common indentation and prompts of a terminal."""
    from IPython.core.inputtransformer2 import classic_prompt, ipython_prompt, leading_indent

    lines = [f"{line}\n" for line in source.split("\n")]
    for clean in (leading_indent, classic_prompt, ipython_prompt):
        lines = clean(lines)
    return "".join(lines)


def _in_place(line: str, found: re.Match) -> str:
    """The replacement, with empty lines so that the number of lines remains."""
    return found.expand(line) + "\n" * found[0].count("\n")


# ── names of exercises, and the modules that a notebook imports ──────────────────────────────


def is_own(module: str) -> bool:
    """Whether a module can be the learner's own: no library is called so here."""
    return module == MY_PEFT or (module.isidentifier() and module not in sys.modules
                                 and find_spec(module) is None)


@cache
def _names() -> frozenset[str]:
    return frozenset(name for exercise in known().values() for name in exercise.names)


def exercise_names(tree: Iterable[ast.stmt]) -> frozenset[str]:
    """The names of exercises that these statements bind, other than by imports."""
    return _names().intersection(_bound(tree))


def _bound(tree: Iterable[ast.stmt]) -> Iterator[str]:
    for node in tree:
        if isinstance(node, _DEFINITIONS):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            yield from (part.id for part in ast.walk(node) if isinstance(part, ast.Name)
                        and isinstance(part.ctx, ast.Store))


class Modules:
    """The learner's own modules, whose text stands in for their import: once, at the first.

    They are what cells write, and `files` that lie beside the notebook, as name and text.
    """

    def __init__(self, parser: Parser, parsed: Sequence[Parsed], files: Mapping[str, str]):
        self.parts: dict[str, list[Parsed]] = defaultdict(list)
        self.parts["__main__"] = []    # the notebook, whose names are there
        for each in parsed:
            if each.writes and is_own(each.writes):
                self.parts[each.writes].append(each)
        for name, text in files.items():
            if name not in self.parts and is_own(name):
                self.parts[name].append(parser.parsed(Cell(0, text), f"{name}.py", name))
        # The names that the notebook's code has behind dots, as of a module's.
        self._used = {part.attr for each in parsed if not each.place for node in each.tree
                      for part in ast.walk(node) if isinstance(part, ast.Attribute)}
        self._put: set[str] = set()

    def imported(self, tree: Iterable[ast.stmt]) -> set[str]:
        """Those of the modules that these statements import."""
        return {name for node in tree for name in self._of(node)}

    def instead(self, node: ast.stmt) -> tuple[list[Parsed], str] | None:
        """What stands for an import: modules that are put here, and lines that give the names.

        None for any other statement.
        """
        modules = self._of(node)
        if not modules or not isinstance(node, ast.Import | ast.ImportFrom):
            return None
        new = [name for name in modules if name not in self._put]
        self._put.update(new)
        lines = []
        for alias in node.names:
            name = alias.asname or alias.name
            if isinstance(node, ast.Import):
                lines.append(f"{name} = {self._object(alias.name)}" if alias.name in self.parts
                             else ast.unparse(ast.Import([alias])))
            elif name != alias.name:
                lines.append(f"{name} = {alias.name}")
        return [part for name in new for part in self.parts[name]], "\n".join(lines)

    def _of(self, node: ast.stmt) -> list[str]:
        asked = ([node.module or ""] if isinstance(node, ast.ImportFrom) else
                 [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
        return [name for name in asked if name in self.parts]

    def _object(self, module: str) -> str:
        """An expression for the module: an object with those of its names that are used."""
        tree = (node for part in self.parts[module] for node in part.tree)
        names = dict.fromkeys(name for name in _bound(tree) if name in self._used)
        return f"type({module!r}, (), {{{', '.join(f'{name!r}: {name}' for name in names)}}})"
