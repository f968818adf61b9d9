"""The code of a notebook, statement by statement: what each binds, changes and reads.

Code is only looked at here, never run: `sources` parses it, and `definitions` decides which
statements are an answer.
"""

import ast
import copy
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..checks.exercise import Exercise
from ..lessons import known
from .notebook import Cell
from .sources import Modules, Parsed, Parser, exercise_names, symbols

# What the lessons' own cells import, for a notebook without them.
GIVEN = {"torch": "import torch", "pt": "import peft_teach as pt",
         "nn": "from torch import nn", "math": "import math"}

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


class _Read(NamedTuple):
    """A statement as it is read: its cell or file, its index there, and where that stands."""

    label: str
    index: int
    node: ast.stmt
    place: str


class Code:
    """All code of a notebook, parsed once for all of its exercises.

    `files` are modules that lie beside it, as (name, text). What is imported of them, or of what a
    cell of `%%writefile` writes, is read where it is imported.
    """

    def __init__(self, cells: Sequence[Cell], files: Sequence[tuple[str, str]] = ()):
        self.sources: dict[str, str] = {"given": "\n".join(GIVEN.values())}    # by the cell's label
        given = [ast.parse(line).body[0] for line in GIVEN.values()]
        self.given = {name: Statement(-1, "given", index, node, frozenset((name,)))
                      for index, (name, node) in enumerate(zip(GIVEN, given))}
        parser = Parser()
        parsed = [*map(parser.parsed, cells)]
        read = self._read(parsed, Modules(parser, parsed, dict(files)))
        self.unread, self.prose, self.cut = parser.unread, parser.prose, parser.cut
        self.statements = self._described(read, _Names(given + [each.node for each in read]))
        light = [s for s in self.statements if not s.heavy]
        self.binders, self.changers = _by_name(light, "binds"), _by_name(light, "changes")
        self.left_out = {name for s in self.statements if s.heavy for name in s.binds}
        # What a check gave for a name: the statements that bind it, and those that change it.
        self.settled: dict[str, tuple[list[Statement], list[Statement]]] = {}
        self.seconds = 0.0    # by the clock, that its answers have taken so far

    def _read(self, parsed: Sequence[Parsed], modules: Modules) -> list[_Read]:
        """Every statement, in the order in which a kernel would have it.

        A file comes in at its import; a text cell, or a cell that writes a file, at its place, if
        nothing else answers what it answers.
        """
        code = [each for each in parsed if not each.place]
        imported = modules.imported([node for each in code for node in each.tree])
        read = [*code, *(part for name in imported for part in modules.parts[name])]
        answered = exercise_names([node for each in read for node in each.tree
                                   if not (is_stub(node) or is_none(node) or _calls_check(node))])
        return [statement for each in parsed
                if not each.place or (each.writes not in imported and (
                    exercise_names(each.tree) - answered))
                for statement in self._with_imports(each, modules)]

    def _with_imports(self, parsed: Parsed, modules: Modules) -> Iterator[_Read]:
        self.sources[parsed.label] = parsed.source
        for index, node in enumerate(parsed.tree):
            if found := modules.instead(node):
                parts, lines = found
                own = Parsed(f"{parsed.label}, import {index}", lines, ast.parse(lines).body)
                for part in (*parts, own):
                    yield from self._with_imports(part, modules)
            else:
                yield _Read(parsed.label, index, node, parsed.place)

    def _described(self, read: Sequence[_Read], names: "_Names") -> list[Statement]:
        """The statements; below each line of a check, the assignment that is equivalent to it."""
        found: list[Statement] = []
        for label, index, node, place in read:
            id, objects = _check(node, names.words)
            found.append(names.statement(len(found), label, index, node, checks=id, place=place))
            if equivalent := _without_check(node, id, objects):
                name = f"{label}, check {index}"
                self.sources[name] = ast.unparse(equivalent)
                found.append(names.statement(len(found), name, 0, equivalent, stands_in=True))
        return found

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


def _by_name(statements: Iterable[Statement], kind: str) -> dict[str, list[Statement]]:
    """The statements by each of the names that they bind, or change."""
    found: dict[str, list[Statement]] = defaultdict(list)
    for statement in statements:
        for name in getattr(statement, kind):
            found[name].append(statement)
    return found


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
    names = known()[id].names if objects and id in known() else ()
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

    def statement(self, position: int, label: str, index: int, node: ast.stmt,
                  **more: Any) -> Statement:
        """A statement with the names that it binds, changes and reads."""
        binds, defines, assigns = self.bound(node)
        now, later = _reads(node)
        if isinstance(node, _PERHAPS):    # it may keep the old value
            now |= binds
        return Statement(position, label, index, node, binds, defines, assigns,
                         self.changed(node), now, later, self.is_heavy(node), **more)

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
    top = symbols(node)
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
