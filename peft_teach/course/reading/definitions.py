"""The learner's definitions, extracted from a notebook in whatever state.

The answer is what the line of its check was given: an object under whatever name, or for each name
of the exercise its last `def` or `class` above that is more than a stub, another function that was
assigned to it, or a value's last assignment. Where nothing stands above a check, it is what stands
below. A notebook with several checks, or with more below, can be read in several ways: `readings`.

With an answer come its dependencies, followed from name to name: the statements that bind a name,
and those that change its value, such as `SIDES.append(…)` and `Layer.forward = forward`. Nothing
else of the notebook will run: no training, no model, data or widget of the course, no check, no
line that patches a library. Cells may have been moved, copied or deleted.

`cells` describes the statements; a `Plan` says which to run, in which order.
"""

import ast
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from ..checks.exercise import VALUE, Exercise
from .cells import Code, Statement, chain, is_none, is_stub
from .sources import is_own

MOST_NEEDED = 500          # statements, by one answer; ours need up to 5
MOST_READINGS = 6          # of a notebook, each run until one passes; one more says there are more

_position = attrgetter("position", "index")


@dataclass(frozen=True)
class Plan:
    """The statements to run for the learner's definitions, as (cell, index), in order."""

    cells: dict[str, str]                      # "cell 5" -> its source as plain Python
    statements: tuple[tuple[str, int], ...]
    missing: str = ""                          # why there is nothing to run, for the learner
    attempted: bool = True                     # False if there is no definition but a stub
    notes: tuple[str, ...] = ()                # what else decided, for the learner
    flags: tuple[str, ...] = ()                # for the instructor alone

    @property
    def nodes(self) -> list[ast.stmt]:
        """The statements, parsed anew."""
        trees = {label: ast.parse(source).body for label, source in self.cells.items()}
        return [trees[label][index] for label, index in self.statements]


def readings(code: Code, exercise: Exercise) -> Iterator[Plan]:
    """The plans for an exercise in the order in which they count, at least one.

    The notebook is read up to the last line of its check, up to each one before, and as a whole:
    what passed a check keeps its points, whatever was tried below. A name of a settled exercise
    stands for what its check gave, or else for what the notebook makes of it below.
    """
    checks = [s.position for s in reversed(code.statements) if s.checks == exercise.id]
    found: set[tuple[tuple[str, int], ...]] = set()
    last = MOST_READINGS - 1
    for view in (code.after_checks(), code):
        for check in (*checks[:last], None, *checks[last:last + 3]):    # None for the whole
            part = view if check is None else view.until(check)
            plan = _plan(part, exercise, max(checks, default=-1) if check is None else check)
            if (plan.attempted and not plan.missing and plan.statements not in found
                    and len(found) <= MOST_READINGS):
                found.add(plan.statements)
                yield plan
    if not found:
        yield plan


def definitions(code: Code, exercise: Exercise) -> Plan:
    """The first of the readings; if there is nothing to run, `missing` says why."""
    return next(readings(code, exercise))


def _plan(code: Code, exercise: Exercise, check: int) -> Plan:
    """The plan for an exercise by a check at this position, -1 for none."""
    value = exercise.answer == VALUE
    roots: list[Statement] = []
    notes: list[str] = []
    attempted = True
    for name in exercise.names:
        written, stubs = _answers(code, name, value, check)
        if not written and (missing := _missing(code, name, value, bool(stubs))):
            return missing
        if written and (unread := _begun_in(code.unread, name, value)):
            notes.append(f"a {name} passed over: {unread[2]}")
        anew = [s for s in written if not value or name not in s.now]
        if len(anew) > 1:
            notes.append(f"{len(anew)} definitions of {name}, the last counts")
        if written and stubs and stubs[-1].position > written[-1].position:
            notes.append(f"an empty {name} after the answer passed over")
        if written and all(s.stands_in or s in stubs for s in code.binders[name]):
            notes.append(f"{name} stands in the line of its check only")
        if written and (place := written[-1].place):
            notes.append(f"{name} stands in {place} ({written[-1].cell}), and is read all the same")
        attempted = attempted and bool(written)
        roots.append((written or stubs)[-1])
    try:
        needed = _with_dependencies(code, roots, check)
    except OverflowError:
        return Plan({}, (), f"This needs more than {MOST_NEEDED} statements of the notebook.",
                    flags=("too much code",))
    if names := sorted(_left_out(code, needed)):
        notes.append(f"needs {', '.join(names)}, whose line trains, loads or shows something, "
                     "which does not run here")
    if code.cut:
        notes.append(f"the notebook has more code than is looked at: from {code.cut} on it is not")
    return Plan({s.cell: code.sources[s.cell] for s in needed},
                tuple((s.cell, s.index) for s in needed), attempted=attempted, notes=tuple(notes))


# ── which statements are an answer ───────────────────────────────────────────────────────────


def _answers(code: Code, name: str, value: bool, check: int
             ) -> tuple[list[Statement], list[Statement]]:
    """The statements that bind a name to an answer, and its stubs, in the notebook's order.

    What the check itself was given comes first, then definitions; if there are none, assignments;
    then arguments of other checks.
    """
    bound = code.binders.get(name, [])
    given = [s for s in bound if name in s.assigns and not s.stands_in]
    if value:
        kinds = [given or [s for s in bound if isinstance(s.node, ast.For | ast.With)]]
    else:
        kinds = [[s for s in bound if name in s.defines and not s.stands_in],
                 [s for s in given if name not in s.now]]
    is_empty = is_none if value else is_stub
    stubs = [s for s in kinds[0] if is_empty(s.node)]
    checked = [s for s in bound if s.stands_in]
    for kind in ([s for s in checked if s.position == check + 1], *kinds, checked):
        if written := [s for s in kind if not is_empty(s.node)]:
            return written, stubs
    return [], stubs


def _missing(code: Code, name: str, value: bool, has_stub: bool) -> Plan | None:
    """The plan for a name without an answer; None if it is the untouched stub."""
    unread = (_begun_in(code.unread, name, value) or _begun_in(_texts(code), name, value=False)
              or (not has_stub and _begun_in(code.prose, name, value)))
    if unread:
        _, which, flag = unread
        why = f"{name} stands in {which}."
    elif value and any(s.heavy and not s.checks and name in s.binds for s in code.statements):
        why = (f"The line that gives {name} its value trains, loads or shows something, which does "
               "not run here: write the value itself.")
        flag = f"the line of {name} does not run here"
    elif module := _imported_from(code, name):
        why = (f"{name} comes from {module}.py, which was not handed in with the notebook: put its "
               "code into the cell, or hand in both files in one zip.")
        flag = f"{name} comes from {module}.py"
    elif has_stub:
        return None
    else:
        return Plan({}, (), f"There is no definition of {name} in the notebook.", attempted=False,
                    flags=(f"no definition of {name}",))
    return Plan({}, (), why, flags=(flag,))


def _imported_from(code: Code, name: str) -> str:
    """The learner's own module from which a name is imported, "" for none that could be told."""
    homes = (s.node.module or "" for s in reversed(code.binders.get(name, []))
             if isinstance(s.node, ast.ImportFrom))
    return next(filter(is_own, homes), "")


def _begun_in(texts: Sequence[tuple[str, str, str]], name: str, value: bool
              ) -> tuple[str, str, str] | None:
    """The last of these texts in which an answer begins, with the reason and the flag."""
    begins = re.compile(rf"^{name}\b[^=\n]*=" if value else
                        rf"^[ \t]*(async +def|def|class) +{name}\b", re.MULTILINE)
    return next((each for each in reversed(texts) if begins.search(each[0])), None)


def _texts(code: Code) -> list[tuple[str, str, str]]:
    """The strings in the code, such as one for `exec`, in the form of `code.unread`."""
    return [(part.value, f"a text ({s.cell}), which is not read, neither for `exec` nor for a "
                         "file: write it as code", "stands in a text")
            for s in code.statements for part in ast.walk(s.node)
            if isinstance(part, ast.Constant) and isinstance(part.value, str)]


# ── its dependencies ─────────────────────────────────────────────────────────────────────────


def _with_dependencies(code: Code, roots: Sequence[Statement], check: int) -> list[Statement]:
    """The statements with all their dependencies, in the notebook's order if possible.

    If cells were moved, what a statement reads when it runs is put before it all the same. Raises
    OverflowError for more than anybody writes.
    """
    later: dict[Statement, list[Statement]] = {}     # what its functions need when called
    now: dict[Statement, list[Statement]] = {}       # what it needs itself when it runs
    waiting = deque((root, check) for root in roots)
    for root in roots:
        waiting += [(s, check) for name in sorted(root.binds)
                    for s in _changers(code, name, root, None)]
    while waiting:
        s, called = waiting.popleft()    # the position at which its functions are called
        if s in now:
            continue
        if len(now) >= MOST_NEEDED:
            raise OverflowError
        later[s] = [each for name in s.later for each in _givers(code, name, s, called)]
        now[s] = [each for name in s.now for each in _givers(code, name, s, s.position)]
        waiting.extendleft((each, called) for each in later[s])
        waiting.extend((each, s.position) for each in now[s])
    ordered = dict.fromkeys(s for s in code.statements if isinstance(s.node, ast.ImportFrom)
                            and (s.node.module == "__future__" or "*" in s.binds))

    def put(statement: Statement, above: frozenset[Statement] = frozenset()) -> None:
        before, found = [*now[statement]], set()
        while before:    # it may call what it reads
            if (each := before.pop()) not in found:
                found.add(each)
                before += later[each]
        for each in sorted(found - above - ordered.keys(), key=_position):
            put(each, above | {statement})
        ordered[statement] = None

    for statement in sorted(now, key=_position):
        if statement not in ordered:
            put(statement)
    return list(ordered)


def _givers(code: Code, name: str, user: Statement, position: int) -> list[Statement]:
    """The statement that binds `name` to the value that `user` reads, and those that change it."""
    binder = _binder(code, name, user, position)
    return [binder, *_changers(code, name, binder, user)] if binder else []


def _binder(code: Code, name: str, user: Statement, position: int) -> Statement | None:
    """The statement that binds `name` to the value that `user` reads at a position, or at its own.

    The last one before it counts, or if there is none, since cells were moved, the next one after.
    """
    if name in user.binds and name not in user.now:
        return None    # it is recursive
    found = code.binders.get(name, [])
    before = [s for s in found if s.position < max(position, user.position)]
    if before:
        return before[-1]
    return found[0] if found and name not in user.binds else code.given.get(name)


def _changers(code: Code, name: str, binder: Statement, user: Statement | None
              ) -> list[Statement]:
    """The statements that change the value of `name` until it is rebound, or read by `user`."""
    end = min((s.position for s in code.binders.get(name, []) if s.position > binder.position),
              default=len(code.statements))
    if user is not None and (name in user.changes or (
            name in user.now and binder.position < user.position)):
        end = min(end, user.position)
    return [s for s in code.changers.get(name, [])
            if binder.position < s.position < end and s is not user]


def _left_out(code: Code, needed: Sequence[Statement]) -> set[str]:
    """The names that these statements read and that only heavy ones, which do not run, bind."""
    read = set().union(*(s.now | s.later for s in needed))
    return {name for name in read if name in code.left_out and not code.binders.get(name)
            and name not in code.given}


# ── comparing with the reference ─────────────────────────────────────────────────────────────


def without(plan: Plan, exercise: Exercise) -> Plan | None:
    """The plan without `assert` and the statements that name the reference or an equivalent.

    None if there are none. What is right without them is the learner's own.
    """
    trees = {label: ast.parse(source) for label, source in plan.cells.items()}
    names = {path.rpartition(":")[2].rpartition(".")[2]
             for path in (*exercise.references, *exercise.equivalents)}
    cut = _Cut(names, [part for tree in trees.values() for part in ast.walk(tree)])
    cells = {label: ast.unparse(ast.fix_missing_locations(cut.visit(tree)))
             for label, tree in trees.items()}
    return replace(plan, cells=cells) if cut.found else None


class _Cut(ast.NodeTransformer):
    """Replaces what compares by `pass`, so that no statement changes its position."""

    def __init__(self, names: set[str], parts: Sequence[ast.AST]):
        self.names, self.found = names, False
        self.course = {"pt"} | {    # names of the package, of its modules and of what is in them
            alias.asname or alias.name.partition(".")[0] for part in parts
            if isinstance(part, ast.Import | ast.ImportFrom) for alias in part.names
            if (getattr(part, "module", None) or alias.name).partition(".")[0] == "peft_teach"}
        self.aliases = {alias.asname or alias.name for part in parts
                        if isinstance(part, ast.ImportFrom) for alias in part.names
                        if (part.module or "").startswith("peft_teach") and alias.name in names}

    def visit(self, node: ast.AST) -> ast.AST:
        asked = node.test if isinstance(node, ast.If) else node
        if isinstance(node, ast.Assert) or (
                isinstance(node, ast.Expr | ast.Assign | ast.AnnAssign | ast.If)
                and any(map(self._is_the_courses, ast.walk(asked)))):
            self.found = True
            self.aliases |= {part.id for part in ast.walk(asked) if isinstance(part, ast.Name)
                             and isinstance(part.ctx, ast.Store)}
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def _is_the_courses(self, part: ast.AST) -> bool:
        if not isinstance(part, ast.Name | ast.Attribute):
            return False
        head, *rest = chain(part)
        return head in self.aliases or (head in self.course and not self.names.isdisjoint(rest))
