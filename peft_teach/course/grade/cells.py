"""The code of a notebook, statement by statement: what each binds, changes and reads.

Here code is only read, never run, and nothing is decided: which statements are an answer stands in
`extract`. A cell that does not parse costs only itself.
"""

import ast
import re
import symtable
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..exercise import Exercise
from ..lessons import all_exercises
from .notebook import Cell
from .suspicion import chain

# What the lessons' own cells import, for a notebook that has lost them.
GIVEN = {"torch": "import torch", "pt": "import peft_teach as pt",
         "nn": "from torch import nn", "math": "import math"}

LONGEST_CELL = 100_000     # characters; no one writes more by hand
MOST_CODE = 250_000        # characters, in all cells; a lesson has about 20,000
MOST_STATEMENTS = 5_000    # at the top level of a notebook; a lesson has about 200

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
DEFINITIONS = FUNCTIONS | ast.ClassDef
IMPORTS = ast.Import | ast.ImportFrom
_ASSIGNMENTS = ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr
_PERHAPS = ast.If | ast.For | ast.While | ast.Try | ast.Match | ast.Expr


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement: where it stands, and the global names that it has to do with."""

    place: int                # in the notebook, counted over all cells
    cell: str
    index: int                # in its cell
    node: ast.stmt
    binds: frozenset[str] = frozenset()      # to which it gives a value
    makes: frozenset[str] = frozenset()      # of these: functions and classes of the learner's own
    assigns: frozenset[str] = frozenset()    # of these: by `=`, not by a loop, `with` or import
    changes: frozenset[str] = frozenset()    # whose value it changes
    now: frozenset[str] = frozenset()        # which it reads when it runs
    later: frozenset[str] = frozenset()      # which what it makes reads when that is called
    heavy: bool = False       # it trains, loads, shows or checks: it does not run
    checks: str = ""          # the exercise whose check is in it
    stands_in: bool = False   # for a line of `pt.check`, as the assignment that it amounts to


class Code:
    """All code of a notebook, read once for all of its exercises."""

    def __init__(self, cells: Sequence[Cell]):
        self.sources: dict[str, str] = {"given": "\n".join(GIVEN.values())}
        self.unread: list[tuple[str, str, str]] = []    # a cell's source, what it is, and a flag
        self.statements: list[Statement] = []
        self.binders: dict[str, list[Statement]] = defaultdict(list)
        self.changers: dict[str, list[Statement]] = defaultdict(list)
        self.left_out: dict[str, Statement] = {}    # what is heavy, by what it binds
        given = [ast.parse(line).body[0] for line in GIVEN.values()]
        self.given = {name: Statement(-1, "given", index, node, frozenset((name,)))
                      for index, (name, node) in enumerate(zip(GIVEN, given))}
        read = self._read(cells)
        nodes = [node for _, _, node, *_ in read]
        names, words = _Names(given + nodes), _words(nodes)
        for label, index, node, reads in read:
            id, objects = _check(node, words)
            self._add(names, label, index, node, reads, checks=id)
            if meant := _meant_by_check(node, id, objects):
                name = f"{label}, check {index}"
                self.sources[name] = ast.unparse(meant)
                self._add(names, name, 0, meant, reads_of(meant), stands_in=True)

    def leave_out(self, names: Iterable[str]) -> None:
        """Look for no statement that gives these names a value, or changes it."""
        for name in names:
            self.binders.pop(name, None)
            self.changers.pop(name, None)

    def lend(self, exercise: Exercise) -> None:
        """Let its names mean the course's own from here on, as its check does where none passed."""
        label = f"given {exercise.id}"
        self.sources[label] = f"{', '.join(exercise.names)} = pt.mine({exercise.id!r})"
        self.leave_out(exercise.names)
        self.given |= dict.fromkeys(exercise.names, Statement(
            -1, label, 0, ast.parse(self.sources[label]).body[0], frozenset(exercise.names),
            now=frozenset({"pt"})))

    def _read(self, cells: Sequence[Cell]) -> list[tuple[str, int, ast.stmt, tuple]]:
        """Every statement of the cells that can be read, with what it reads."""
        read, room = [], MOST_CODE
        for cell in cells:
            label, source = f"cell {cell.number}", cell.source
            try:
                source, tree = _parse(source)
                room -= len(source)
                if room < 0 or len(read) + len(tree.body) > MOST_STATEMENTS:
                    raise ValueError("too much code")
                read += [(label, index, node, reads_of(node))
                         for index, node in enumerate(tree.body)]
                self.sources[label] = source
            except _OtherLanguage as error:
                self.unread.append((source[:LONGEST_CELL], f"a cell of {error}, which defines "
                                    f"nothing here ({label}): put it into one of its own",
                                    "other language"))
            except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
                line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
                what = error.msg if isinstance(error, SyntaxError) else str(error) or "too deep"
                version = "{}.{}".format(*sys.version_info)
                self.unread.append((source[:LONGEST_CELL], "a cell that is not Python "
                                    f"{version}: {what} ({label}{line})", "syntax error"))
        return read

    def _add(self, names: "_Names", label: str, index: int, node: ast.stmt,
             reads: tuple[frozenset[str], frozenset[str]], **more: str | bool) -> None:
        binds, makes, assigns = names.bound(node)
        now, later = reads
        if isinstance(node, _PERHAPS):    # it may leave the value that was there
            now |= binds
        statement = Statement(len(self.statements), label, index, node, binds, makes, assigns,
                              names.changed(node), now, later, names.is_heavy(node), **more)
        self.statements.append(statement)
        if statement.heavy:
            self.left_out |= dict.fromkeys(binds, statement)
            return
        for name in binds:
            self.binders[name].append(statement)
        for name in statement.changes:
            self.changers[name].append(statement)


# ── from cells to Python ─────────────────────────────────────────────────────────────────────

_MAGIC = re.compile(r"^(\s*)(%{1,2}[A-Za-z_].*|[!?].*|[\w.]+\?{1,2}\s*|(?:pip|conda) .*)$")
_ASSIGNED_MAGIC = re.compile(r"^([\w, \t]+=[ \t]*)[%!].*$")
_TIMED = re.compile(r"^(\s*)%time (.*)$")    # it runs, here too
_PYTHON_CELLS = ("%%time", "%%capture", "%%prun", "%%python")


class _OtherLanguage(Exception):
    """A cell of another language, or one that is written to a file."""


def _parse(source: str) -> tuple[str, ast.Module]:
    """A cell as Python; its magics and shell lines do nothing. Raises what `ast.parse` raises."""
    if len(source) > LONGEST_CELL:
        raise ValueError("the cell is too long")
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        return source, ast.parse(source)
    except SyntaxError as error:
        lines = _without_prompts(source)
        head = next((line for line in lines if line.strip()), "")
        if head.startswith("%%") and not head.startswith(_PYTHON_CELLS):
            raise _OtherLanguage(head.split()[0]) from None
        plain = "\n".join(_plain_lines(lines))
        try:
            return plain, ast.parse(plain)
        except SyntaxError:
            raise error from None


def _without_prompts(source: str) -> list[str]:
    """The lines as IPython takes them: no indentation common to all, no prompts of a terminal."""
    from IPython.core.inputtransformer2 import classic_prompt, ipython_prompt, leading_indent

    lines = [f"{line}\n" for line in source.split("\n")]
    for clean in (leading_indent, classic_prompt, ipython_prompt):
        lines = clean(lines)
    return "".join(lines).split("\n")


def _plain_lines(lines: Sequence[str]) -> Iterator[str]:
    """Lines of IPython as lines of Python; what goes on after a backslash belongs to its magic."""
    goes_on = False
    for line in lines:
        plain = "" if goes_on else _plain(line)
        goes_on = plain != line and line.rstrip().endswith("\\")
        yield plain


def _plain(line: str) -> str:
    """A line of IPython as a line of Python: a magic does nothing, its result is None."""
    if timed := _TIMED.match(line):
        return timed.group(1) + timed.group(2)
    if assigned := _ASSIGNED_MAGIC.match(line):
        return f"{assigned.group(1)}None"
    magic = _MAGIC.match(line)
    return f"{magic.group(1)}pass" if magic else line


# ── lines of `pt.check` ──────────────────────────────────────────────────────────────────────


def _words(nodes: Sequence[ast.stmt]) -> dict[str, str]:
    """The names that stand for a text, as in `ID = "lora.count"`."""
    return {target.id: node.value.value for node in nodes
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets if isinstance(target, ast.Name)}


def _check(node: ast.stmt, words: dict[str, str]) -> tuple[str, list[ast.expr]]:
    """The exercise whose check is in a statement, "" for none, and what the check is given."""
    for part in executed(node):
        if isinstance(part, ast.Call) and chain(part.func)[-1] == "check" and part.args:
            id, *objects = part.args
            return str(getattr(id, "value", words.get(getattr(id, "id", ""), ""))), objects
    return "", []


def _meant_by_check(node: ast.stmt, id: str, objects: list[ast.expr]) -> ast.stmt | None:
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

# The parts of the course that train, load, show or check: nothing that an answer is made with.
_HEAVY = {"train", "training", "evaluate", "models", "data", "widgets", "plots", "check", "require",
          "hint", "progress", "reset", "course", "save", "load", "store", "export"}
_HEAVY_LIBRARIES = {"matplotlib", "transformers", "datasets", "ipywidgets", "IPython", "google"}
_CHANGING = {"setattr", "delattr", "shuffle", "update_wrapper"}    # functions


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that run when it runs: not the bodies of its functions."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, FUNCTIONS):
            waiting += part.decorator_list + part.args.defaults
            waiting += [each for each in part.args.kw_defaults if each is not None]
        elif isinstance(part, ast.Lambda):
            waiting += part.args.defaults
        else:
            waiting += ast.iter_child_nodes(part)


class _Names:
    """What the names of a notebook mean, as far as its text says."""

    def __init__(self, nodes: Sequence[ast.stmt]):
        self.paths: dict[str, str] = {}                   # of what is imported: its full name
        self.own: dict[str, list[ast.AST]] = defaultdict(list)     # functions and classes
        for part in (part for node in nodes for part in executed(node)):
            if isinstance(part, ast.Import):
                self.paths |= {a.asname or a.name.split(".")[0]:
                               a.name if a.asname else a.name.split(".")[0] for a in part.names}
            elif isinstance(part, ast.ImportFrom):
                self.paths |= {a.asname or a.name: f"{part.module or ''}.{a.name}"
                               for a in part.names}
            elif isinstance(part, DEFINITIONS):
                self.own[part.name].append(part)
            elif isinstance(part, ast.Assign) and isinstance(part.value, ast.Lambda):
                for target in map(ast.unparse, part.targets):
                    self.own[target].append(part.value)
        parts = {name: [part for node in given for part in ast.walk(node)]
                 for name, given in self.own.items()}
        self.sets = {name: {each for part in inner if isinstance(part, ast.Global)
                            for each in part.names} for name, inner in parts.items()}
        self.fills = {name for name, given in self.own.items()
                      if any(_changes_arguments(node) for node in given)}
        named = {name: {part.id for part in inner if isinstance(part, ast.Name)}
                 for name, inner in parts.items()}
        more = {name for name, inner in parts.items() if any(map(self._is_heavy, inner))}
        self.heavy: set[str] = set()    # functions that train or load, and those that name one
        while more:
            self.heavy |= more
            more = {name for name, inner in named.items() if inner & more} - self.heavy

    def _is_heavy(self, part: ast.AST) -> bool:
        if not isinstance(part, ast.Name | ast.Attribute):
            return False
        head, *rest = chain(part)
        path = [*self.paths.get(head, "").split("."), *rest]
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
        """The global names to which a statement gives a value; those that it makes or assigns."""
        other, makes, assigns = set(), set(), set()
        waiting: list[ast.AST] = [node]
        while waiting:
            part = waiting.pop()
            if isinstance(part, DEFINITIONS):
                makes.add(part.name)
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
                    makes |= names
            waiting += [inner for inner in ast.iter_child_nodes(part)
                        if not (isinstance(part, ast.comprehension) and inner is part.target)]
        return frozenset(other | makes | assigns), frozenset(makes), frozenset(assigns)

    def _is_function(self, value: ast.expr) -> bool:
        """Whether an expression is a function, or class, of the learner's own, under some name."""
        return (isinstance(value, ast.Lambda)
                or (isinstance(value, ast.Name) and value.id in self.own)
                or (isinstance(value, ast.Call) and chain(value.func)[-1] == "partial"))

    def changed(self, node: ast.stmt) -> frozenset[str]:
        """The global names whose value a statement changes; never those of imports."""
        parts = list(executed(node))
        found = set(_changed(parts, self.fills))
        for decorator in (each for part in parts if isinstance(part, DEFINITIONS)
                          for each in part.decorator_list):    # @size.register, @put_on(LoRALinear)
            if isinstance(decorator, ast.Attribute | ast.Call):
                found.add(first(decorator))
            if isinstance(decorator, ast.Call):
                found |= {a.id for a in decorator.args if isinstance(a, ast.Name)}
        return frozenset(found - {None} - self.paths.keys())


def _changed(parts: Iterable[ast.AST], fills: Iterable[str] = ()) -> Iterator[str | None]:
    """What parts of code change: `X.y = 1`, `X[0] = 1`, `X.append(1)`, `setattr(X, …)`, `fill(X)`.

    `fills` are the functions that change what they are given.
    """
    for part in parts:
        if isinstance(part, ast.Attribute | ast.Subscript) \
                and isinstance(part.ctx, ast.Store | ast.Del):
            yield first(part)
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            call = part.value
            if isinstance(call.func, ast.Attribute):
                yield first(call.func)
            if (last := chain(call.func)[-1]) in _CHANGING or last in fills:
                yield from (a.id for a in call.args if isinstance(a, ast.Name))


def _changes_arguments(node: ast.AST) -> bool:
    """Whether a function puts something on, or into, what it is given."""
    return isinstance(node, FUNCTIONS) and not {
        each.arg for each in node.args.posonlyargs + node.args.args
    }.isdisjoint(_changed(ast.walk(node)))


def first(node: ast.AST) -> str | None:
    """The name that a chain such as `torch.nn.Linear` or `CFG["one"].x` begins with."""
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def reads_of(node: ast.stmt) -> tuple[frozenset[str], frozenset[str]]:
    """The global names that a statement reads: when it runs, and when what it makes is called."""
    top = symtable.symtable(ast.unparse(node), "cell", "exec")
    now = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    now |= {part.target.id for part in executed(node)     # `X += 1` does not count as one
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
