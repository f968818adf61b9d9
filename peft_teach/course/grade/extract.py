"""The learner's definitions, out of whatever is left of the notebook.

For each name of an exercise: the last definition of it that is more than a stub (of a value, the
last assignment before its check), and what that needs, followed from name to name: the statements
that give a name its value, and those that change it, such as `SIDES.append(…)` and
`Layer.forward = forward`. Nothing else of the notebook will run: no training, no model, data or
widget of the course, no check, no line that patches a library. Cells may have been moved, copied or
deleted; a cell that does not parse costs only itself.

Here code is only read, never run: `definitions` gives a `Plan` of which statements to run, in
which order.
"""

import ast
import heapq
import importlib.util
import re
import symtable
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..exercise import VALUE, Exercise
from ..lessons import all_exercises
from .notebook import Cell
from .suspicion import chain, names_reference, suspicious

# What the lessons' own cells import, for a notebook that has lost them.
GIVEN = {"torch": "import torch", "pt": "import peft_teach as pt",
         "nn": "from torch import nn", "math": "import math"}

LONGEST_CELL = 100_000     # characters; no one writes more by hand
MOST_CODE = 250_000        # characters, in all cells; a lesson has about 20,000
MOST_STATEMENTS = 5_000    # at the top level of a notebook; a lesson has about 200
MOST_NEEDED = 500          # by one answer; ours need up to 5

_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_DEFINITIONS = _FUNCTIONS | ast.ClassDef
_IMPORTS = ast.Import | ast.ImportFrom
_ASSIGNMENTS = ast.Assign | ast.AnnAssign
_PERHAPS = ast.If | ast.For | ast.While | ast.Try | ast.Match | ast.Expr


@dataclass(frozen=True)
class Plan:
    """Which statements give the learner's definitions, as (cell, number), in order."""

    cells: dict[str, str]                      # "cell 5" -> its source, made plain Python
    statements: tuple[tuple[str, int], ...]
    missing: str = ""                          # why there is nothing to run, for the learner
    attempted: bool = True                     # False: there is no definition at all
    flags: tuple[str, ...] = ()                # for the instructor


@dataclass(frozen=True, eq=False)
class _Statement:
    """A top-level statement: where it stands, and the global names that it has to do with."""

    place: int                # in the notebook, counted over all cells
    cell: str
    index: int                # in its cell
    node: ast.stmt
    binds: frozenset[str]     # to which it gives a value
    changes: frozenset[str]   # whose value it changes
    now: frozenset[str]       # which it reads when it runs
    later: frozenset[str]     # which the functions that it makes read when they are called
    heavy: bool = False       # it trains, loads, shows or checks: it does not run
    checks: str = ""          # the exercise whose check it is
    stands_in: bool = False   # for a line of `pt.check`, as the assignment that it amounts to


class Code:
    """All code of a notebook, read once for all of its exercises."""

    def __init__(self, cells: Sequence[Cell]):
        self.sources: dict[str, str] = {"given": "\n".join(GIVEN.values())}
        self.broken: list[tuple[str, str]] = []     # the source of a cell, and what is wrong
        self.statements: list[_Statement] = []
        self._room = MOST_CODE
        read: list[tuple[str, int, ast.stmt, tuple[frozenset, frozenset], str, bool]] = []
        for cell in cells:
            read += self._read(f"cell {cell.number}", cell.source, len(read))
        nodes = [each[2] for each in read]
        names = _Names([ast.parse(line).body[0] for line in GIVEN.values()] + nodes)
        self.given = {name: _Statement(-1, "given", index, ast.parse(line).body[0],
                                       frozenset((name,)), *[frozenset()] * 3)
                      for index, (name, line) in enumerate(GIVEN.items())}
        self.binders: dict[str, list[_Statement]] = defaultdict(list)
        self.changers: dict[str, list[_Statement]] = defaultdict(list)
        self.left_out: dict[str, _Statement] = {}
        for place, (label, index, node, (now, later), *check) in enumerate(read):
            binds = frozenset(names.bound(node))
            if isinstance(node, _PERHAPS):    # it may leave the value that was there
                now |= binds
            statement = _Statement(place, label, index, node, binds,
                                   frozenset(names.changed(node)), now, later,
                                   names.is_heavy(node), *check)
            self.statements.append(statement)
            for name in statement.binds:
                if statement.heavy:
                    self.left_out[name] = statement
                else:
                    self.binders[name].append(statement)
            for name in statement.changes if not statement.heavy else ():
                self.changers[name].append(statement)
        self.own = names.own

    def leave_out(self, names: Iterable[str]) -> None:
        """Look for no statement that gives these names a value, or changes it."""
        for name in names:
            self.binders.pop(name, None)
            self.changers.pop(name, None)

    def _read(self, label: str, source: str, before: int) -> list[tuple]:
        """The statements of a cell, with what they read; a line of `pt.check` as an assignment."""
        try:
            source, tree = _parse(source)
            self._room -= len(source)
            if self._room < 0 or before + len(tree.body) > MOST_STATEMENTS:
                raise ValueError("too much code")
            found = []
            for index, node in enumerate(tree.body):
                checks = _checked(node)
                if meant := _meant_by_check(node):
                    text = ast.unparse(meant)
                    name = f"{label}, check {index}"
                    self.sources[name] = text
                    found.append((name, 0, ast.parse(text).body[0], reads(meant), checks, True))
                else:
                    found.append((label, index, node, reads(node), checks, False))
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            what = error.msg if isinstance(error, SyntaxError) else str(error) or "too deep"
            self.broken.append((source[:LONGEST_CELL], f"{what} ({label}{line})"))
            return []
        self.sources[label] = source
        return found


def definitions(code: Code, exercise: Exercise) -> Plan:
    """What to run for an exercise; where there is nothing, `missing` says why."""
    flags: list[str] = []
    roots: list[_Statement] = []
    value = exercise.answer == VALUE
    is_stub = _is_none if value else _is_stub
    check = max((s.place for s in code.statements if s.checks == exercise.id), default=None)
    for name in exercise.names:
        found = _values(code, name, check) if value else _answers(code, name)
        written = [s for s in found if not is_stub(s.node)] or _others(code, name, value)
        begins = re.compile(rf"^{name}\b[^=\n]*=" if value else
                            rf"^[ \t]*(async +def|def|class) +{name}\b", re.MULTILINE)
        broken = [why for source, why in code.broken if begins.search(source)]
        if broken and not written:
            version = "{}.{}".format(*sys.version_info)
            return Plan({}, (), f"The cell of {name} is not Python {version}: {broken[-1]}.",
                        flags=("syntax error",))
        if value and not written and any(
                s.heavy and not s.checks and name in s.binds for s in code.statements):
            return Plan({}, (), f"The line that gives {name} its value trains, loads or shows "
                                "something, which does not run here: write the value itself.",
                        flags=(f"the line of {name} does not run here",))
        if not found and not written:
            return Plan({}, (), f"There is no definition of {name} in the notebook.",
                        attempted=False, flags=(f"no definition of {name}",))
        if broken:
            flags.append(f"a {name} with a syntax error passed over")
        anew = [s for s in written if not value or name not in s.now]
        if len(anew) > 1:
            flags.append(f"{len(anew)} definitions of {name}, the last counts")
        if written and found and found[-1] is not written[-1] and is_stub(found[-1].node) \
                and found[-1].place > written[-1].place:
            flags.append(f"an empty {name} after the answer passed over")
        if written and written[-1].stands_in:
            flags.append(f"{name} stands in the line of its check only")
        roots.append((written or found)[-1])
        roots += [] if value else _wrappers(code, name, roots[-1])
    try:
        needed = _with_needs(code, roots, check if value else None)
    except OverflowError:
        return Plan({}, (), f"This needs more than {MOST_NEEDED} statements of the notebook.",
                    flags=("too much code",))
    nodes = [s.node for s in needed]
    if names_reference(nodes, exercise):
        return Plan({}, (), "This calls the course's own solution. Write it yourself.",
                    flags=("uses the reference",))
    if strange := sorted(set().union(*map(suspicious, nodes))):
        flags.append(f"look at its {', '.join(strange)}")
    if absent := sorted(set().union(*map(_not_installed, nodes))):
        flags.append(f"not installed here: {', '.join(absent)}")
    if lost := sorted(_lost(code, needed)):
        flags.append(f"needs {', '.join(lost)}, whose line does not run here")
    return Plan({s.cell: code.sources[s.cell] for s in needed},
                tuple((s.cell, s.index) for s in needed), flags=tuple(flags))


# ── reading cells ────────────────────────────────────────────────────────────────────────────

_MAGIC = re.compile(r"^(\s*)(%{1,2}[A-Za-z_].*|[!?].*|[\w.]+\?{1,2}\s*)$")
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
        plain = "\n".join(_plain_lines(source.split("\n")))
        if plain == source:
            raise
        try:
            return plain, ast.parse(plain)
        except SyntaxError:
            raise error from None


def _plain_lines(lines: Sequence[str]) -> Iterator[str]:
    """Lines of IPython as lines of Python; what goes on after a backslash belongs to its magic."""
    goes_on = False
    for line in lines:
        plain = "" if goes_on else _plain(line)
        goes_on = plain != line and line.rstrip().endswith("\\")
        yield plain


def _plain(line: str) -> str:
    """A line of IPython as a line of Python: a magic does nothing, its result is None."""
    if assigned := _ASSIGNED_MAGIC.match(line):
        return f"{assigned.group(1)}None"
    magic = _MAGIC.match(line)
    return f"{magic.group(1)}pass" if magic else line


# The parts of the course that train, load, show or check: nothing that an answer is made with.
_HEAVY = {"train", "training", "evaluate", "models", "data", "widgets", "plots", "check", "require",
          "hint", "progress", "reset", "course", "save", "load", "store", "export"}
_CHANGING = {"setattr", "delattr", "shuffle", "update_wrapper"}    # functions
_HEAVY_LIBRARIES = {"matplotlib", "transformers", "datasets", "ipywidgets", "IPython", "google"}


def _checked(node: ast.stmt) -> str:
    """The exercise whose `pt.check("…", …)` a statement is or assigns; "" if it does not."""
    call = node.value if isinstance(node, ast.Expr | ast.Assign) else None
    if not (isinstance(call, ast.Call) and chain(call.func)[-1] == "check" and call.args
            and isinstance(call.args[0], ast.Constant)):
        return ""
    return str(call.args[0].value)


def _meant_by_check(node: ast.stmt) -> ast.stmt | None:
    """`f = g` for `f = pt.check("…", g)`; None for `f = pt.check("…", f)`, as in the lesson."""
    id = _checked(node)
    names = next((e.names for e in all_exercises() if e.id == id), None)
    objects = node.value.args[1:] if id else []
    if names is None or len(names) != len(objects):
        return None
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    else:
        target = ast.parse(f"{', '.join(names)} = 0").body[0].targets[0]
    value = objects[0] if len(objects) == 1 else ast.Tuple(objects, ast.Load())
    if ast.unparse(target) == ast.unparse(value):
        return None
    return ast.fix_missing_locations(ast.Assign([target], value, lineno=1))


# ── what a statement binds, changes and reads ────────────────────────────────────────────────


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that run when it runs: not the bodies of its functions."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, _FUNCTIONS):
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
        self.own: dict[str, list[ast.stmt]] = defaultdict(list)    # functions and classes
        self.sets: dict[str, set[str]] = {}               # the globals that a function sets
        for node in nodes:
            for part in _executed(node):
                if isinstance(part, ast.Import):
                    self.paths |= {a.asname or a.name.split(".")[0]:
                                   a.name if a.asname else a.name.split(".")[0]
                                   for a in part.names}
                elif isinstance(part, ast.ImportFrom):
                    self.paths |= {a.asname or a.name: f"{part.module or ''}.{a.name}"
                                   for a in part.names}
                elif isinstance(part, _DEFINITIONS):
                    self.own[part.name].append(part)
        for name, given in self.own.items():
            found = {each for node in given for part in ast.walk(node)
                     if isinstance(part, ast.Global) for each in part.names}
            if found:
                self.sets[name] = found
        self.heavy = self._heavy_functions()

    def _heavy_functions(self) -> set[str]:
        """The learner's functions that train or load, and those that name one of them."""
        named_by: dict[str, set[str]] = defaultdict(set)
        waiting = []
        for name, given in self.own.items():
            parts = [part for node in given for part in ast.walk(node)]
            if any(self._is_heavy(part) for part in parts):
                waiting.append(name)
            for part in parts:
                if isinstance(part, ast.Name) and part.id in self.own:
                    named_by[part.id].add(name)
        heavy: set[str] = set()
        while waiting:
            if (name := waiting.pop()) not in heavy:
                heavy.add(name)
                waiting += named_by[name]
        return heavy

    def _is_heavy(self, part: ast.AST) -> bool:
        if not isinstance(part, ast.Name | ast.Attribute):
            return False
        head, *rest = chain(part)
        path = [*self.paths.get(head, "").split("."), *rest]
        return len(path) > 1 and (path[0] in _HEAVY_LIBRARIES
                                  or (path[0] == "peft_teach" and path[1] in _HEAVY))

    def is_heavy(self, node: ast.stmt) -> bool:
        """Whether a statement trains, loads, shows or checks when it runs."""
        if isinstance(node, _DEFINITIONS | _IMPORTS):
            return False
        return any(self._is_heavy(part) or (
            isinstance(part, ast.Call) and isinstance(part.func, ast.Name)
            and part.func.id in self.heavy) for part in _executed(node))

    def bound(self, node: ast.stmt) -> Iterator[str]:
        """The global names to which a statement gives a value."""
        waiting: list[ast.AST] = [node]
        while waiting:
            part = waiting.pop()
            if isinstance(part, _DEFINITIONS):
                yield part.name
            elif isinstance(part, _IMPORTS):
                yield from (a.asname or a.name.split(".")[0] for a in part.names)
            elif not isinstance(part, ast.Lambda):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    yield part.id
                elif isinstance(part, ast.MatchAs | ast.MatchStar) and part.name:
                    yield part.name
                elif isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
                    yield from self.sets.get(part.func.id, ())
                waiting += [inner for inner in ast.iter_child_nodes(part)
                            if not (isinstance(part, ast.comprehension) and inner is part.target)]

    def changed(self, node: ast.stmt) -> set[str]:
        """The global names whose value a statement changes; never those of imports."""
        found: set[str] = set()
        for part in _executed(node):
            if isinstance(part, ast.Attribute | ast.Subscript) \
                    and isinstance(part.ctx, ast.Store | ast.Del):
                found.add(_first(part))
            elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
                found |= self._changed_by(part.value)
            elif isinstance(part, _DEFINITIONS):
                for decorator in part.decorator_list:    # @size.register, @put_on(LoRALinear)
                    if isinstance(decorator, ast.Attribute | ast.Call):
                        found.add(_first(decorator))
                    if isinstance(decorator, ast.Call):
                        found |= {a.id for a in decorator.args if isinstance(a, ast.Name)}
        return {name for name in found if name is not None and name not in self.paths}

    def _changed_by(self, call: ast.Call) -> set[str]:
        """What a call that stands alone changes: `X.append(1)`, `setattr(X, …)`, `fill(X)`."""
        if isinstance(call.func, ast.Attribute) and _first(call.func) not in self.paths:
            return {_first(call.func)}
        given = {a.id for a in call.args if isinstance(a, ast.Name)}
        last = chain(call.func)[-1]
        own = any(_changes_arguments(node) for node in self.own.get(last, ()))
        return given if own or last in _CHANGING else set()


def _changes_arguments(node: ast.stmt) -> bool:
    """Whether a function puts something on, or into, what it is given."""
    if not isinstance(node, _FUNCTIONS):
        return False
    names = {each.arg for each in node.args.posonlyargs + node.args.args}
    return any(
        _first(part) in names if isinstance(part, ast.Attribute | ast.Subscript)
        and isinstance(part.ctx, ast.Store) else
        isinstance(part, ast.Expr) and isinstance(part.value, ast.Call) and (
            (chain(part.value.func)[-1] == "setattr" and bool(part.value.args)
             and _first(part.value.args[0]) in names)
            or (isinstance(part.value.func, ast.Attribute) and _first(part.value.func) in names))
        for part in ast.walk(node))


def _first(node: ast.AST) -> str | None:
    """The name that a chain such as `torch.nn.Linear` or `CFG["one"].x` begins with."""
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def reads(node: ast.stmt) -> tuple[frozenset[str], frozenset[str]]:
    """The global names that a statement reads: when it runs, and when what it makes is called."""
    top = symtable.symtable(ast.unparse(node), "cell", "exec")
    now = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    now |= {part.target.id for part in _executed(node)     # `X += 1` does not count as one
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


def _is_stub(node: ast.stmt) -> bool:
    """Whether it comes to the line that raises NotAttempted; below a `return` it does not."""
    if isinstance(node, ast.Raise):
        return node.exc is not None and any(_last(inner) == "NotAttempted"
                                            for inner in ast.walk(node.exc))
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(node, block, None)
        for statement in inner if isinstance(inner, list) else ():
            if _is_stub(statement):
                return True
            if isinstance(statement, ast.Return | ast.Raise):
                break
    return False


def _is_none(node: ast.stmt) -> bool:
    """Whether it is a value's stub, `rank = None`, or `slow, fast = None, None`."""
    if not isinstance(node, _ASSIGNMENTS):
        return False
    given = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    return all(each is None or (isinstance(each, ast.Constant) and each.value is None)
               for each in given)


def _last(node: ast.AST) -> str | None:
    return getattr(node, "attr", None) or getattr(node, "id", None)


def _not_installed(node: ast.stmt) -> set[str]:
    """The libraries that a statement imports, and that this installation does not have."""
    tried = {id(inner) for part in ast.walk(node) if isinstance(part, ast.Try)
             for inner in ast.walk(part)}
    names = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Import) and id(part) not in tried:
            names |= {alias.name.split(".")[0] for alias in part.names}
        elif isinstance(part, ast.ImportFrom) and id(part) not in tried and not part.level:
            names.add((part.module or "").split(".")[0])
    return {name for name in names if not _is_installed(name)}


def _is_installed(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


# ── which statements are an answer ───────────────────────────────────────────────────────────


def _answers(code: Code, name: str) -> list[_Statement]:
    """The statements that define a name; of assignments those that rename or make a function."""
    return [s for s in code.binders[name]
            if not s.stands_in and not isinstance(s.node, _IMPORTS | ast.Expr | ast.AugAssign)
            and (not isinstance(s.node, _ASSIGNMENTS)
                 or isinstance(s.node.value, ast.Lambda | ast.Name | ast.Attribute)
                 or (isinstance(s.node.value, ast.Call)
                     and _last(s.node.value.func) == "partial"))]


def _values(code: Code, name: str, check: int | None) -> list[_Statement]:
    """The statements that give a name its value before its check; any, if none stands there."""
    found = [s for s in code.binders[name] if not s.stands_in
             and not isinstance(s.node, _IMPORTS | _DEFINITIONS)]
    return [s for s in found if check is not None and s.place < check] or found


def _others(code: Code, name: str, value: bool) -> list[_Statement]:
    """Where no statement defines a name: those that give it any value, then what was checked."""
    found = [s for s in code.binders[name]
             if isinstance(s.node, _ASSIGNMENTS) and name not in s.now and not _is_stub(s.node)]
    given = [] if value else [s for s in found if not s.stands_in]
    return given or [s for s in found if s.stands_in]


def _wrappers(code: Code, name: str, root: _Statement) -> list[_Statement]:
    """Lines such as `merged = torch.no_grad()(merged)` after a definition, up to its next one."""
    found: list[_Statement] = []
    for s in code.binders[name][code.binders[name].index(root) + 1:]:
        call = s.node.value if isinstance(s.node, ast.Assign) else None
        if not (isinstance(call, ast.Call) and [ast.unparse(a) for a in call.args] == [name]
                and _first(call.func) not in (name, "str", "repr", "type", "print", "len", "id")):
            break
        found.append(s)
    return found


# ── what an answer needs ─────────────────────────────────────────────────────────────────────


def _with_needs(code: Code, roots: Sequence[_Statement], until: int | None = None
                ) -> list[_Statement]:
    """The statements and all that they need, in the notebook's order where that can be.

    Where cells were moved, what a statement reads when it runs comes before it all the same. What
    changes a root counts up to a place, that of its check, where one is given. Raises OverflowError
    where there is more than anybody writes.
    """
    needs: dict[_Statement, set[_Statement]] = {}     # of its functions, when they are called
    before: dict[_Statement, set[_Statement]] = {}    # of itself, when it runs
    waiting = list(roots)
    for root in roots:
        waiting += [s for name in sorted(root.binds) for s in _changers(code, name, root, None)
                    if until is None or s.place < until or until < root.place]
    while waiting:
        statement = waiting.pop()
        if statement in needs:
            continue
        if len(needs) >= MOST_NEEDED:
            raise OverflowError
        before[statement] = {s for name in statement.now for s in _givers(code, name, statement)}
        needs[statement] = {s for name in statement.later for s in _givers(code, name, statement)}
        waiting += before[statement] | needs[statement]
    for statement in needs:    # what runs may call what it reads
        called, waiting = set(), list(before[statement])
        while waiting:
            each = waiting.pop()
            if each not in called:
                called.add(each)
                waiting += needs[each] - called
        before[statement] = called - {statement}
    imports = [s for s in code.statements if isinstance(s.node, ast.ImportFrom)]
    early = [s for s in imports if s.node.module == "__future__"]
    early += [s for s in imports if "*" in s.binds]
    return early + [s for s in _in_order(before) if s not in early]


def _in_order(before: dict[_Statement, set[_Statement]]) -> list[_Statement]:
    """The statements by their places, each after those before it; a circle is cut."""

    def key(statement: _Statement) -> tuple[int, int]:
        return statement.place, statement.index

    left = {s: len(b) for s, b in before.items()}
    after: dict[_Statement, list[_Statement]] = defaultdict(list)
    for statement, earlier in before.items():
        for each in earlier:
            after[each].append(statement)
    ready = [(*key(s), s) for s, count in left.items() if not count]
    heapq.heapify(ready)
    rest, ordered, done = sorted(left, key=key, reverse=True), [], set()
    while rest:
        if ready:
            statement = heapq.heappop(ready)[-1]
        elif (statement := rest.pop()) in done:
            continue
        if statement in done:
            continue
        ordered.append(statement)
        done.add(statement)
        for each in after[statement]:
            left[each] -= 1
            if not left[each] and each not in done:
                heapq.heappush(ready, (*key(each), each))
    return ordered


def _givers(code: Code, name: str, user: _Statement) -> list[_Statement]:
    """The statement that gives `name` the value which `user` reads, and those that change it."""
    binder = _binder(code, name, user)
    return [binder, *_changers(code, name, binder, user)] if binder else []


def _binder(code: Code, name: str, user: _Statement) -> _Statement | None:
    """The statement that gives `name` the value which `user` reads.

    The last one before it counts, and where there is none, as after cells were moved, the next one
    after it.
    """
    if name in user.binds and name not in user.now:
        return None    # it calls itself
    found = code.binders.get(name, [])
    index = bisect_left(found, user.place, key=lambda s: s.place)
    if index:
        return found[index - 1]
    if name in user.binds:
        return code.given.get(name)
    return found[0] if found else code.given.get(name)


def _changers(code: Code, name: str, binder: _Statement, user: _Statement | None
              ) -> list[_Statement]:
    """What changes the value of `name` up to its next one, or up to a user that runs."""
    found, binders = code.changers.get(name, []), code.binders.get(name, [])
    index = bisect_left(binders, binder.place + 1, key=lambda s: s.place)
    end = binders[index].place if index < len(binders) else len(code.statements)
    if user is not None and (name in user.changes or (
            name in user.now and binder.place < user.place)):
        end = min(end, user.place)
    first = bisect_left(found, binder.place + 1, key=lambda s: s.place)
    return [s for s in found[first:bisect_left(found, end, key=lambda s: s.place)] if s is not user]


def _lost(code: Code, needed: Sequence[_Statement]) -> set[str]:
    """The names that they read, and that only statements which do not run give a value to."""
    read = set().union(*(s.now | s.later for s in needed))
    return {name for name in read if name in code.left_out and not code.binders.get(name)
            and name not in code.given}
