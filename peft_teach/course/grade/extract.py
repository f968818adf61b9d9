"""The learner's definitions, out of whatever is left of the notebook.

For each name of an exercise: the last definition of it that is more than a stub, and what that
needs, followed from name to name: imports, functions, classes, and assignments whose value is
simple. Nothing else of the notebook will run: no training, no printing, no line that patches a
library. Cells may have been moved, copied or deleted; a cell that does not parse costs only itself.

Here code is only read, never run: `definitions` gives a `Plan` of which statements to run, in
which order.
"""

import ast
import re
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..exercise import Exercise
from .notebook import Cell
from .suspicion import names_reference, suspicious

# What the lessons' own cells import, for a notebook that has lost them.
GIVEN = {"torch": "import torch", "pt": "import peft_teach as pt",
         "nn": "from torch import nn", "math": "import math"}

LONGEST_CELL = 100_000     # characters; no one writes more by hand
MOST_STATEMENTS = 5_000    # at the top level of a notebook; a lesson has about 200

_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_DEFINITIONS = _FUNCTIONS | ast.ClassDef
_IMPORTS = ast.Import | ast.ImportFrom
_ASSIGNMENTS = ast.Assign | ast.AnnAssign
_BLOCKS = ast.If | ast.Try


@dataclass(frozen=True)
class Plan:
    """Which statements give the learner's definitions, as (cell, number), in order."""

    cells: dict[str, str]                      # "cell 5" -> its source, made plain Python
    statements: tuple[tuple[str, int], ...]
    missing: str = ""                          # why there is nothing to run, for the learner
    attempted: bool = True                     # False: there is no definition at all
    flags: tuple[str, ...] = ()                # for the instructor


@dataclass(frozen=True)
class _Statement:
    """A top-level statement: where it stands, what it gives a value to, and what it reads."""

    place: int                # in the notebook, counted over all cells
    cell: str
    index: int                # in its cell
    node: ast.stmt
    binds: frozenset[str]
    reads: frozenset[str]


class Code:
    """All code of a notebook, read once for all of its exercises."""

    def __init__(self, cells: Sequence[Cell]):
        self.sources: dict[str, str] = {"given": "\n".join(GIVEN.values())}
        self.broken: list[tuple[str, str]] = []     # the source of a cell, and what is wrong
        self.statements: list[_Statement] = []
        for cell in cells:
            self._read(f"cell {cell.number}", cell.source)
        self.own = {s.node.name for s in self.statements if isinstance(s.node, _DEFINITIONS)}
        self.given = {name: _Statement(-1, "given", index, ast.parse(line).body[0],
                                       frozenset((name,)), frozenset())
                      for index, (name, line) in enumerate(GIVEN.items())}

    def _read(self, label: str, source: str) -> None:
        try:
            source, tree = _parse(source)
            if len(self.statements) + len(tree.body) > MOST_STATEMENTS:
                raise ValueError("too much code")
            found = [_Statement(len(self.statements) + index, label, index, node,
                                frozenset(_binds(node)), _reads(node))
                     for index, node in enumerate(tree.body)]
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            what = error.msg if isinstance(error, SyntaxError) else str(error) or "too deep"
            self.broken.append((source[:LONGEST_CELL], f"{what} ({label}{line})"))
            return
        self.sources[label] = source
        self.statements += found


def definitions(code: Code, exercise: Exercise) -> Plan:
    """What to run for an exercise; where there is nothing, `missing` says why."""
    flags: list[str] = []
    roots: list[_Statement] = []
    for name in exercise.names:
        found = _answers(code, name)
        written = [s for s in found if not _is_stub(s.node)]
        begins = re.compile(rf"^[ \t]*(async +def|def|class) +{name}\b", re.MULTILINE)
        broken = [why for source, why in code.broken if begins.search(source)]
        if broken and not written:
            return Plan({}, (), f"The cell of {name} is not Python: {broken[-1]}.",
                        flags=("syntax error",))
        if not found:
            return Plan({}, (), f"There is no definition of {name} in the notebook.",
                        attempted=False, flags=(f"no definition of {name}",))
        if broken:
            flags.append(f"a {name} with a syntax error passed over")
        if len(written) > 1:
            flags.append(f"{len(written)} definitions of {name}, the last counts")
        if written and found[-1] is not written[-1]:
            flags.append(f"an empty {name} after the answer passed over")
        roots.append((written or found)[-1])
    needed = _with_needs(code, roots)
    if any(names_reference(s.node, exercise) for s in needed):
        return Plan({}, (), "This calls the course's own solution. Write it yourself.",
                    flags=("uses the reference",))
    if strange := sorted(set().union(*(suspicious(s.node) for s in needed))):
        flags.append(f"look at its {', '.join(strange)}")
    return Plan({s.cell: code.sources[s.cell] for s in needed},
                tuple((s.cell, s.index) for s in needed), flags=tuple(flags))


# ── reading cells ────────────────────────────────────────────────────────────────────────────

_MAGIC = re.compile(r"^(\s*)([%!?].*|[\w.]+\?{1,2}\s*)$")
_ASSIGNED_MAGIC = re.compile(r"^([\w, \t]+=[ \t]*)[%!].*$")
_PYTHON_CELLS = ("%%time", "%%capture", "%%prun", "%%python")


def _parse(source: str) -> tuple[str, ast.Module]:
    """A cell as Python; its magics and shell lines do nothing. Raises what `ast.parse` raises."""
    if len(source) > LONGEST_CELL:
        raise ValueError("the cell is too long")
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        return source, ast.parse(source)
    except SyntaxError as error:
        head = next((line for line in source.split("\n") if line.strip()), "")
        if head.startswith("%%") and not head.startswith(_PYTHON_CELLS):
            return "", ast.parse("")     # another language, or a file
        plain = "\n".join(map(_plain, source.split("\n")))
        if plain == source:
            raise
        try:
            return plain, ast.parse(plain)
        except SyntaxError:
            raise error from None


def _plain(line: str) -> str:
    """A line of IPython as a line of Python: a magic does nothing, its result is None."""
    if assigned := _ASSIGNED_MAGIC.match(line):
        return f"{assigned.group(1)}None"
    magic = _MAGIC.match(line)
    return f"{magic.group(1)}pass" if magic else line


# ── what a statement binds and reads ─────────────────────────────────────────────────────────


def _binds(node: ast.stmt) -> Iterator[str]:
    """The global names that a statement gives a value to, if it is of a kind that may run."""
    if isinstance(node, _DEFINITIONS):
        yield node.name
    elif isinstance(node, _IMPORTS):
        for alias in node.names:
            yield alias.asname or alias.name.split(".")[0]
    elif isinstance(node, _ASSIGNMENTS):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            for part in ast.walk(target):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    yield part.id
    elif isinstance(node, _BLOCKS):
        for inner in _inside(node):
            yield from _binds(inner)


def _inside(node: ast.stmt) -> Iterator[ast.stmt]:
    for block in ("body", "orelse", "finalbody"):
        yield from getattr(node, block, ())
    for handler in getattr(node, "handlers", ()):
        yield from handler.body


def _reads(node: ast.stmt) -> frozenset[str]:
    """The global names that a statement reads, when it runs or when what it defines is called."""
    tables = [symtable.symtable(ast.unparse(node), "cell", "exec")]
    names = {symbol.get_name() for symbol in tables[0].get_symbols() if symbol.is_referenced()}
    while tables:
        for inner in tables.pop().get_children():
            names |= {symbol.get_name() for symbol in inner.get_symbols()
                      if symbol.is_referenced() and symbol.is_global()}
            tables.append(inner)
    return frozenset(names)


def _is_stub(node: ast.stmt) -> bool:
    """Whether the line that raises NotAttempted still stands in it."""
    return any(isinstance(part, ast.Raise) and part.exc is not None
               and any(_last(inner) == "NotAttempted" for inner in ast.walk(part.exc))
               for part in ast.walk(node))


# ── which statements are an answer, and which may run beside it ──────────────────────────────

_SAFE_CALLS = {"int", "float", "bool", "str", "len", "range", "tuple", "list", "dict", "set", "min",
               "max", "sum", "abs", "round", "sorted", "zip", "enumerate", "frozenset", "partial",
               "namedtuple", "staticmethod", "classmethod"}
_SAFE_LIBRARIES = {"torch", "nn", "math", "np", "numpy", "functools", "collections", "itertools"}


def _answers(code: Code, name: str) -> list[_Statement]:
    """The statements that define a name; of assignments those that rename or make a function."""
    found = [s for s in code.statements if name in s.binds and _may_run(s.node, code.own)
             and not isinstance(s.node, _IMPORTS)]
    likely = [s for s in found if not isinstance(s.node, _ASSIGNMENTS)
              or isinstance(s.node.value, ast.Lambda | ast.Name | ast.Attribute)
              or (isinstance(s.node.value, ast.Call) and _last(s.node.value.func) == "partial")]
    return likely or [s for s in found if name not in s.reads]


def _may_run(node: ast.stmt, own: set[str]) -> bool:
    """Whether a statement may run beside an answer: it gives a name to something simple.

    Functions and classes, imports, and values that are made without a call, or by a call of a
    small function of Python or torch, or of one of the learner's `own`; of the course's, none.
    """
    if isinstance(node, _DEFINITIONS | _IMPORTS | ast.Pass):
        return True
    if isinstance(node, _ASSIGNMENTS):
        return _is_simple(node.value, own)
    if isinstance(node, _BLOCKS):
        return (_is_simple(getattr(node, "test", None), own)
                and all(_may_run(inner, own) for inner in _inside(node)))
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_simple(value: ast.expr | None, own: set[str]) -> bool:
    return value is None or all(
        _first(part.func) in _SAFE_LIBRARIES
        or (isinstance(part.func, ast.Name | ast.Attribute) and _last(part.func) in _SAFE_CALLS)
        or (isinstance(part.func, ast.Name) and part.func.id in own)
        for part in ast.walk(value) if isinstance(part, ast.Call))


def _first(node: ast.expr) -> str | None:
    """The name that a chain such as `torch.nn.Linear` begins with."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else None


def _last(node: ast.AST) -> str | None:
    return getattr(node, "attr", None) or getattr(node, "id", None)


# ── what an answer needs ─────────────────────────────────────────────────────────────────────


def _with_needs(code: Code, roots: Sequence[_Statement]) -> list[_Statement]:
    """The statements and all that they need, each after what it needs, in an order that is fixed.

    Statements such as `Layer.forward = forward`, which complete a class, stand at the end.
    """
    ordered: list[_Statement] = []
    seen: set[tuple[str, int]] = set()
    waiting = [(root, False) for root in reversed(roots)]
    while waiting:
        statement, complete = waiting.pop()
        if complete:
            ordered.append(statement)
        elif (statement.cell, statement.index) not in seen:
            seen.add((statement.cell, statement.index))
            needs = [_binder(code, name, statement) for name in sorted(statement.reads)]
            needs += _completing(code, statement)
            waiting.append((statement, True))
            waiting += [(need, False) for need in reversed(needs) if need is not None]
    imports = [s for s in code.statements if isinstance(s.node, ast.ImportFrom)]
    future = [s for s in imports if s.node.module == "__future__"]
    stars = [s for s in imports if "*" in s.binds]
    return (future + stars + [s for s in ordered if s.binds]
            + [s for s in ordered if not s.binds])


def _binder(code: Code, name: str, user: _Statement) -> _Statement | None:
    """The statement that gives `name` the value which `user` reads.

    The last one before it counts, and where there is none, as after cells were moved, the next one
    after it.
    """
    found = [s for s in code.statements
             if name in s.binds and s is not user and _may_run(s.node, code.own)]
    before = [s for s in found if s.place < user.place]
    if name in user.binds and not (before and isinstance(user.node, _ASSIGNMENTS)):
        return None    # it calls itself
    return (before[-1:] or found[:1] or [code.given.get(name)])[0]


def _completing(code: Code, statement: _Statement) -> list[_Statement]:
    """What is put on a class from outside of it, up to the class's next definition."""
    if not isinstance(statement.node, ast.ClassDef):
        return []
    name, later = statement.node.name, code.statements[statement.place + 1:]
    end = next((s.place for s in later if name in s.binds), len(code.statements))
    return [s for s in code.statements[statement.place + 1:end]
            if isinstance(s.node, ast.Assign) and isinstance(s.node.targets[0], ast.Attribute)
            and _first(s.node.targets[0]) == name and _may_run(s.node, code.own)]
