"""The code of a notebook, statement by statement: what each binds, changes and reads.

Code is only parsed here, never run; `definitions` decides which statements are an answer. A cell
that does not parse affects no other.
"""

import ast
import copy
import re
import symtable
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from ..checks.exercise import Exercise
from ..lessons import all_exercises
from .elsewhere import WRITES, Files, answers, fenced, is_own
from .notebook import Cell

# What the lessons' own cells import, for a notebook without them.
GIVEN = {"torch": "import torch", "pt": "import peft_teach as pt",
         "nn": "from torch import nn", "math": "import math"}

LONGEST_CELL = 100_000     # characters; no one writes more by hand
MOST_CODE = 250_000        # characters, in all cells; a lesson has about 20,000
MOST_STATEMENTS = 5_000    # at the top level of a notebook; a lesson has about 200
LONGEST_CHAIN = 20         # names with dots between them

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
DEFINITIONS = FUNCTIONS | ast.ClassDef
IMPORTS = ast.Import | ast.ImportFrom
_ASSIGNMENTS = ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr
_PERHAPS = ast.If | ast.For | ast.While | ast.Try | ast.Match | ast.Expr


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement, and the global names that it binds, changes and reads."""

    position: int             # in the notebook, counted over all cells
    cell: str
    index: int                # in its cell
    node: ast.stmt
    binds: frozenset[str] = frozenset()      # all names that it binds
    defines: frozenset[str] = frozenset()    # of these: functions and classes of the learner's own
    assigns: frozenset[str] = frozenset()    # of these: by `=`, not by a loop, `with` or import
    changes: frozenset[str] = frozenset()    # whose value it mutates
    now: frozenset[str] = frozenset()        # which it reads when it runs
    later: frozenset[str] = frozenset()      # which its functions read when they are called
    heavy: bool = False       # it trains, loads, shows or checks, and is never run
    checks: str = ""          # the exercise whose check it calls
    stands_in: bool = False   # for a line of `pt.check`, as the equivalent assignment
    place: str = ""           # where it stands, if no cell of code: "a Markdown cell (cell 4)"


class _Parsed(NamedTuple):
    """A cell or a file: its statements, where it stands if not in code, and what it writes."""

    label: str
    source: str
    tree: list[ast.stmt]
    place: str = ""
    writes: str = ""


class _Read(NamedTuple):
    """One statement of them."""

    label: str
    index: int
    node: ast.stmt
    reads: tuple[frozenset[str], frozenset[str]]
    place: str


class Code:
    """All code of a notebook, parsed once for all of its exercises.

    `files` are modules that lie beside it, as (name, text). What is imported of them, or of what a
    cell of `%%writefile` writes, is read where it is imported.
    """

    def __init__(self, cells: Sequence[Cell], files: Sequence[tuple[str, str]] = ()):
        self.sources: dict[str, str] = {"given": "\n".join(GIVEN.values())}
        self.unread: list[tuple[str, str, str]] = []    # a cell's source, why, and a flag
        self.prose: list[tuple[str, str, str]] = []     # the same of text cells, which may be none
        self.statements: list[Statement] = []
        self.cut = ""         # the first cell that was not looked at, for too much code
        self.seconds = 0.0    # by the clock, that its answers have taken so far
        self.binders: dict[str, list[Statement]] = defaultdict(list)
        self.changers: dict[str, list[Statement]] = defaultdict(list)
        self.left_out: set[str] = set()    # names that heavy statements bind
        # What a check gave for a name: the statements that bind it, and those that change it.
        self.settled: dict[str, tuple[list[Statement], list[Statement]]] = {}
        given = [ast.parse(line).body[0] for line in GIVEN.values()]
        self.given = {name: Statement(-1, "given", index, node, frozenset((name,)))
                      for index, (name, node) in enumerate(zip(GIVEN, given))}
        self.room, self.most = MOST_CODE, MOST_STATEMENTS
        read = self._read(cells, dict(files))
        names = _Names(given + [each.node for each in read])
        for label, index, node, reads, place in read:
            id, objects = _check(node, names.words)
            self._add(names, label, index, node, reads, checks=id, place=place)
            if equivalent := _without_check(node, id, objects):
                name = f"{label}, check {index}"
                self.sources[name] = ast.unparse(equivalent)
                self._add(names, name, 0, equivalent, _reads(equivalent), stands_in=True)

    def leave_out(self, names: Iterable[str]) -> None:
        """Ignore all statements that bind or change these names."""
        for name in names:
            self.binders.pop(name, None)
            self.changers.pop(name, None)

    def settle(self, exercise: Exercise, passed: Collection[tuple[str, int]]) -> None:
        """Note what its check gives: the statements that passed, or, if none, the reference.

        `after_checks` goes on with it, as the notebook does.
        """
        for name in exercise.names:
            binds, changes = ([s for s in found.get(name, []) if (s.cell, s.index) in passed]
                              for found in (self.binders, self.changers))
            self.settled[name] = binds, changes
        if not passed:
            label = f"given {exercise.id}"
            self.sources[label] = f"{', '.join(exercise.names)} = pt.mine({exercise.id!r})"
            self.given |= dict.fromkeys(exercise.names, Statement(
                -1, label, 0, ast.parse(self.sources[label]).body[0], frozenset(exercise.names),
                now=frozenset({"pt"})))

    def after_checks(self) -> "Code":
        """The same code, in which a settled name is what its check gave, whatever else binds it."""
        part = copy.copy(self)
        part.binders = self.binders | {name: found for name, (found, _) in self.settled.items()}
        part.changers = self.changers | {name: found for name, (_, found) in self.settled.items()}
        return part

    def until(self, position: int) -> "Code":
        """The same code up to the check at a position, whose arguments count.

        A name that is bound only below, since cells were moved, keeps all its statements.
        """
        def above(found: Iterable[Statement]) -> list[Statement]:
            return [s for s in found if s.position <= position + s.stands_in]

        part = copy.copy(self)
        part.binders = self.binders | {name: above(found) or found
                                       for name, found in self.binders.items()}
        part.changers = self.changers | {name: above(found) for name, found in self.changers.items()
                                         if above(self.binders.get(name, ()))}
        return part

    def _read(self, cells: Sequence[Cell], files: Mapping[str, str]) -> list["_Read"]:
        """Every statement of the cells that parse, with the names that it reads.

        What is no cell of code comes in where a kernel would have it: a file at its import; a text
        cell, or a cell that writes a file, at its place, if nothing else answers what it answers.
        """
        parsed = [self._parsed(cell) for cell in cells]
        modules: dict[str, list[_Parsed]] = defaultdict(list)
        for each in parsed:
            if each.writes and is_own(each.writes):
                modules[each.writes].append(each)
        for name, text in files.items():
            if name not in modules and is_own(name):
                modules[name].append(self._parsed(Cell(0, text), f"{name}.py", name))
        code = [each for each in parsed if not each.place]
        put = Files({name: [node for each in parts for node in each.tree]
                     for name, parts in modules.items()},
                    {part.attr for each in code for node in each.tree for part in ast.walk(node)
                     if isinstance(part, ast.Attribute)} if modules else ())
        imported = put.imported([node for each in code for node in each.tree])
        answered = answers([node for each in (*code, *(
            part for name in imported for part in modules[name])) for node in each.tree
            if not (is_stub(node) or is_none(node) or _calls_check(node))])
        read: list[_Read] = []

        def add(each: _Parsed) -> None:
            self.sources[each.label] = each.source
            for index, node in enumerate(each.tree):
                if found := put.instead(node):
                    names, lines = found
                    for part in (part for name in names for part in modules[name]):
                        add(part)
                    add(_Parsed(f"{each.label}, import {index}", lines, ast.parse(lines).body))
                else:
                    read.append(_Read(each.label, index, node, _reads(node), each.place))

        for each in parsed:
            if not each.place or (each.writes not in imported and answers(each.tree) - answered):
                add(each)
        return read

    def _parsed(self, cell: Cell, label: str = "", writes: str = "") -> "_Parsed":
        """A cell's statements, none if it cannot be read; and where it stands if not in code."""
        source, label = cell.source, label or f"cell {cell.number}"
        place = label if writes else f"a {cell.kind} cell" if cell.kind else ""
        try:
            if cell.kind:
                source = fenced(source)
            elif found := WRITES.match(source):
                source, writes = source[found.end():], found[1]
                place = "a cell of %%writefile"
            source, tree = _parse(source)
            self.room -= len(source)
            if self.room < 0 or len(tree.body) > self.most:
                self.cut = self.cut or label
                raise ValueError("too much code")
            self.most -= len(tree.body)
            return _Parsed(label, source, tree.body, place, writes)
        except _OtherLanguage as error:
            why = (f"a cell of {error}, which defines nothing here ({label}): put it into one of "
                   "its own", "other language")
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            what = error.msg if isinstance(error, SyntaxError) else str(error) or "too deep"
            version = "{}.{}".format(*sys.version_info)
            why = (f"{place or 'a cell'} that is not Python {version}: {what} ({label}{line})",
                   "syntax error")
            if cell.kind:    # prose around an answer
                why = (f"{place}, which no kernel runs: put it alone into a cell of code", why[1])
        (self.prose if cell.kind else self.unread).append((source[:LONGEST_CELL], *why))
        return _Parsed(label, source, [], place, writes)

    def _add(self, names: "_Names", label: str, index: int, node: ast.stmt,
             reads: tuple[frozenset[str], frozenset[str]], **more: str | bool) -> None:
        binds, defines, assigns = names.bound(node)
        now, later = reads
        if isinstance(node, _PERHAPS):    # it may keep the old value
            now |= binds
        statement = Statement(len(self.statements), label, index, node, binds, defines, assigns,
                              names.changed(node), now, later, names.is_heavy(node), **more)
        self.statements.append(statement)
        if statement.heavy:
            self.left_out |= binds
            return
        for name in binds:
            self.binders[name].append(statement)
        for name in statement.changes:
            self.changers[name].append(statement)


# ── from cells to Python ─────────────────────────────────────────────────────────────────────

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
    """A cell as Python; its magics and shell lines do nothing. Raises what `ast.parse` raises."""
    if len(source) > LONGEST_CELL:
        raise ValueError("the cell is too long")
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        return source, ast.parse(source)
    except SyntaxError as error:
        plain = _without_prompts(source)
        head, *_ = plain.split(None, 1) or [""]
        if head.startswith("%%") and not head.startswith(_PYTHON_CELLS):
            raise _OtherLanguage(head) from None
        for form, line in _MAGICS:
            plain = form.sub(partial(_in_place, line), plain)
        try:
            return plain, ast.parse(plain)
        except SyntaxError:
            raise error from None


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


# ── lines of `pt.check` ──────────────────────────────────────────────────────────────────────


def _check(node: ast.stmt, words: dict[str, Any]) -> tuple[str, list[ast.expr]]:
    """The exercise whose check a statement calls, "" for none, and the check's arguments."""
    if call := _calls_check(node):
        id, *objects = call.args
        return str(getattr(id, "value", words.get(getattr(id, "id", ""), ""))), objects
    return "", []


def _calls_check(node: ast.stmt) -> ast.Call | None:
    return next((part for part in executed(node) if isinstance(part, ast.Call)
                 and chain(part.func)[-1] == "check" and part.args), None)


def _without_check(node: ast.stmt, id: str, objects: list[ast.expr]) -> ast.stmt | None:
    """`f = x = g` for `x = pt.check("…", g)`; None for `f = pt.check("…", f)`, as in the lesson."""
    names = next((e.names for e in all_exercises() if e.id == id), ())
    if not names or len(names) != len(objects):
        return None
    given, asked = (ast.unparse(each[0] if len(names) == 1 else ast.Tuple(list(each), ast.Load()))
                    for each in (objects, [ast.Name(name) for name in names]))
    targets = [asked, *map(ast.unparse, node.targets if isinstance(node, ast.Assign) else ())]
    targets = [each for each in dict.fromkeys(targets) if each != given]
    return ast.parse(" = ".join([*targets, given])).body[0] if targets else None


# ── what a statement binds, changes and reads ────────────────────────────────────────────────

# The parts of the course that train, load, show or check, which no answer needs.
_HEAVY = {"train", "training", "evaluate", "models", "data", "widgets", "plots", "check", "require",
          "hint", "progress", "reset", "save", "load", "store", "export"}
_HEAVY_LIBRARIES = {"matplotlib", "transformers", "datasets", "ipywidgets", "IPython", "google"}
_CHANGING = {"setattr", "delattr", "shuffle", "update_wrapper"}    # they mutate an argument
_DESCRIBING = {"str", "repr", "type", "print", "len", "id"}        # they wrap no function


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that run with it: not the bodies of its functions."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, FUNCTIONS | ast.Lambda):
            waiting += getattr(part, "decorator_list", [])
            waiting += filter(None, part.args.defaults + part.args.kw_defaults)
        else:
            waiting += ast.iter_child_nodes(part)


class _Names:
    """The meaning of the notebook's names, as far as the text shows it."""

    def __init__(self, nodes: Sequence[ast.stmt]):
        self.paths: dict[str, str] = {}         # imported names: the full name
        self.own: dict[str, list[ast.AST]] = defaultdict(list)    # functions and classes
        self.words: dict[str, Any] = {}         # names of constants: the value
        for part in (part for node in nodes for part in executed(node)):
            if isinstance(part, IMPORTS):
                home = f"{part.module or ''}." if isinstance(part, ast.ImportFrom) else ""
                for a in part.names:
                    name = a.asname or a.name.split(".")[0]
                    self.paths[name] = f"{home}{a.name}" if a.asname or home else name
            elif isinstance(part, DEFINITIONS):
                self.own[part.name].append(part)
            elif isinstance(part, ast.Assign) and isinstance(part.value, ast.Lambda):
                for target in map(ast.unparse, part.targets):
                    self.own[target].append(part.value)
            elif isinstance(part, ast.Assign) and isinstance(part.value, ast.Constant):
                self.words |= dict.fromkeys(map(ast.unparse, part.targets), part.value.value)
        parts = {name: [part for node in given for part in ast.walk(node)]
                 for name, given in self.own.items()}
        self.sets = {name: {each for part in inner if isinstance(part, ast.Global)
                            for each in part.names} for name, inner in parts.items()}
        self.fills = {name for name, given in self.own.items()
                      if any(_changes_arguments(node) for node in given)}
        named = {name: {part.id for part in inner if isinstance(part, ast.Name)}
                 for name, inner in parts.items()}
        more = {name for name, inner in parts.items() if any(map(self._is_heavy, inner))}
        self.heavy: set[str] = set()    # functions that train or load, and their callers
        while more:
            self.heavy |= more
            more = {name for name, inner in named.items() if inner & more} - self.heavy

    def _is_heavy(self, part: ast.AST) -> bool:
        if not isinstance(part, ast.Name | ast.Attribute):
            return False
        head, *rest = chain(part)
        path = [*self.paths.get(head, "").split("."), *rest]
        if path[:2] == ["peft_teach", "course"]:
            return len(path) > 2 and path[2] != "records"    # numbers, of which a value may be made
        return len(path) > 1 and (path[0] in _HEAVY_LIBRARIES
                                  or (path[0] == "peft_teach" and path[1] in _HEAVY))

    def is_heavy(self, node: ast.stmt) -> bool:
        """Whether a statement trains, loads, shows or checks when it runs."""
        if isinstance(node, DEFINITIONS | IMPORTS):
            return False
        return any(self._is_heavy(part) or (
            isinstance(part, ast.Call) and isinstance(part.func, ast.Name)
            and part.func.id in self.heavy) for part in executed(node))

    def bound(self, node: ast.stmt) -> tuple[frozenset[str], ...]:
        """The global names that a statement binds, and among them those it defines or assigns."""
        other, defines, assigns = set(), set(), set()
        waiting: list[ast.AST] = [node]
        while waiting:
            part = waiting.pop()
            if isinstance(part, DEFINITIONS):
                defines.add(part.name)
                continue
            if isinstance(part, ast.Lambda):
                continue
            if isinstance(part, IMPORTS):
                other |= {a.asname or a.name.split(".")[0] for a in part.names}
            elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                other.add(part.id)
            elif isinstance(part, ast.MatchAs | ast.MatchStar) and part.name:
                other.add(part.name)
            elif isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
                other |= self.sets.get(part.func.id, set())
            elif isinstance(part, _ASSIGNMENTS) and part.value is not None:
                targets = part.targets if isinstance(part, ast.Assign) else [part.target]
                names = {inner.id for target in targets for inner in ast.walk(target)
                         if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)}
                assigns |= names
                if self._is_function(part.value):
                    defines |= names
            waiting += [inner for inner in ast.iter_child_nodes(part)
                        if not (isinstance(part, ast.comprehension) and inner is part.target)]
        binds = (other | defines | assigns) - self._wrapped(node)
        return frozenset(binds), frozenset(defines & binds), frozenset(assigns & binds)

    def _is_function(self, value: ast.expr) -> bool:
        """Whether an expression is a function or class of the learner's own."""
        return (isinstance(value, ast.Lambda)
                or (isinstance(value, ast.Name) and value.id in self.own)
                or (isinstance(value, ast.Call) and chain(value.func)[-1] == "partial"))

    def changed(self, node: ast.stmt) -> frozenset[str]:
        """The global names whose value a statement mutates; never imported names."""
        found = self._wrapped(node).union(_changed(executed(node), self.fills))
        return frozenset(found - {"…"} - self.paths.keys())

    def _wrapped(self, node: ast.stmt) -> set[str]:
        """The learner's function that a line wraps: `merged = torch.no_grad()(merged)`.

        It counts as a change of the function, not as a new value of the name.
        """
        match node:
            case ast.Assign([ast.Name(name)], ast.Call(function, [ast.Name(given)])) if (
                    name == given and name in self.own and chain(function)[0] not in _DESCRIBING):
                return {name}
        return set()


def _changed(parts: Iterable[ast.AST], fills: Iterable[str] = ()) -> Iterator[str]:
    """The names mutated by `X.y = 1`, `X[0] = 1`, `X.append(1)`, `setattr(X, …)` or `fill(X)`.

    `fills` are the functions that mutate their arguments. Decorators with a dot or a call mutate,
    too: `@size.register`, `@put_on(LoRALinear)`.
    """
    for part in parts:
        if isinstance(part, ast.Attribute | ast.Subscript) \
                and isinstance(part.ctx, ast.Store | ast.Del):
            yield chain(part)[0]
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            path = chain(part.value.func)
            if isinstance(part.value.func, ast.Attribute):
                yield path[0]
            if path[-1] in _CHANGING or path[-1] in fills:
                yield from _names_given(part.value)
        elif isinstance(part, DEFINITIONS):
            for decorator in part.decorator_list:
                if not isinstance(decorator, ast.Name):
                    yield chain(decorator)[0]
                if isinstance(decorator, ast.Call):
                    yield from _names_given(decorator)


def _names_given(call: ast.Call) -> Iterator[str]:
    return (each.id for each in call.args if isinstance(each, ast.Name))


def _changes_arguments(node: ast.AST) -> bool:
    """Whether a function mutates one of its arguments."""
    return isinstance(node, FUNCTIONS) and not {
        each.arg for each in node.args.posonlyargs + node.args.args
    }.isdisjoint(_changed(ast.walk(node)))


def chain(node: ast.AST) -> list[str]:
    """`pt.lora.LoRALinear` as its three names, `CFG["one"].x` with "…" for each call or index.

    A start that is not a name is "…", too, and so is that of a chain that is too long.
    """
    names: list[str] = []
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript) and len(names) < LONGEST_CHAIN:
        names.append(node.attr if isinstance(node, ast.Attribute) else "…")
        node = node.func if isinstance(node, ast.Call) else node.value
    return [node.id if isinstance(node, ast.Name) else "…", *reversed(names)]


def is_stub(node: ast.stmt) -> bool:
    """Whether it raises NotAttempted, other than below a `return`."""
    if isinstance(node, ast.Raise):
        return node.exc is not None and any(chain(inner)[-1] == "NotAttempted"
                                            for inner in ast.walk(node.exc))
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for statement in getattr(node, block, ()):
            if is_stub(statement):
                return True
            if isinstance(statement, ast.Return | ast.Raise):
                break
    return False


def is_none(node: ast.stmt) -> bool:
    """Whether it is the stub of a value: `rank = None`, or `slow, fast = None, None`."""
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return False
    given = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    return all(each is None or (isinstance(each, ast.Constant) and each.value is None)
               for each in given)


def _reads(node: ast.stmt) -> tuple[frozenset[str], frozenset[str]]:
    """The global names that a statement reads: when it runs, and when its functions are called."""
    top = symtable.symtable(ast.unparse(node), "cell", "exec")
    now = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    now |= {part.target.id for part in executed(node)     # symtable omits those of `X += 1`
            if isinstance(part, ast.AugAssign) and isinstance(part.target, ast.Name)}
    later: set[str] = set()
    waiting = [(inner, True) for inner in top.get_children()]
    while waiting:
        table, runs = waiting.pop()
        runs = runs and (table.get_type() == "class" or table.get_name() in (
            "listcomp", "setcomp", "dictcomp", "genexpr"))
        names = {symbol.get_name() for symbol in table.get_symbols()
                 if symbol.is_declared_global() or (symbol.is_referenced() and (
                     symbol.is_global() or table.get_type() == "class"))}
        (now if runs else later).update(names)
        waiting += [(inner, runs) for inner in table.get_children()]
    return frozenset(now), frozenset(later)
