"""The learner's definitions, out of whatever is left of the notebook.

For each name of an exercise: its last `def` or `class` that is more than a stub, wherever it
stands, or the name that another function was given; of a value, its last assignment before its
check. And what that needs, followed from name to name: the statements that give a name its value,
and those that change it, such as `SIDES.append(…)` and `Layer.forward = forward`. Nothing else of
the notebook will run: no training, no model, data or widget of the course, no check, no line that
patches a library. Cells may have been moved, copied or deleted.

`cells` says what the statements are; `definitions` gives a `Plan` of which to run, in which order.
"""

import ast
import importlib.util
import re
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..exercise import VALUE, Exercise
from .cells import Code, Statement, first
from .suspicion import suspicious

MOST_NEEDED = 500          # statements, by one answer; ours need up to 5


@dataclass(frozen=True)
class Plan:
    """Which statements give the learner's definitions, as (cell, number), in order."""

    cells: dict[str, str]                      # "cell 5" -> its source, made plain Python
    statements: tuple[tuple[str, int], ...]
    missing: str = ""                          # why there is nothing to run, for the learner
    attempted: bool = True                     # False: there is no definition at all
    flags: tuple[str, ...] = ()                # for the instructor


def definitions(code: Code, exercise: Exercise) -> Plan:
    """What to run for an exercise; where there is nothing, `missing` says why."""
    value = exercise.answer == VALUE
    check = max((s.place for s in code.statements if s.checks == exercise.id), default=-1)
    roots: list[Statement] = []
    flags: list[str] = []
    for name in exercise.names:
        written, stubs = _answers(code, name, value, check)
        if not written and (missing := _missing(code, name, value, bool(stubs))):
            return missing
        if written and (unread := _unread(code, name, value)):
            flags.append(f"a {name} passed over: {unread[1]}")
        anew = [s for s in written if not value or name not in s.now]
        if len(anew) > 1:
            flags.append(f"{len(anew)} definitions of {name}, the last counts")
        if written and stubs and stubs[-1].place > written[-1].place:
            flags.append(f"an empty {name} after the answer passed over")
        if written and written[-1].stands_in:
            flags.append(f"{name} stands in the line of its check only")
        roots.append((written or stubs)[-1])
        roots += [] if value else _wrappers(code, name, roots[-1])
    try:
        needed = _with_needs(code, roots, check, value)
    except OverflowError:
        return Plan({}, (), f"This needs more than {MOST_NEEDED} statements of the notebook.",
                    flags=("too much code",))
    nodes = [s.node for s in needed]
    if strange := sorted(set().union(*map(suspicious, nodes))):
        flags.append(f"look at its {', '.join(strange)}")
    if absent := sorted(set().union(*map(_not_installed, nodes))):
        flags.append(f"not installed here: {', '.join(absent)}")
    if lost := sorted(_lost(code, needed)):
        flags.append(f"needs {', '.join(lost)}, whose line does not run here")
    return Plan({s.cell: code.sources[s.cell] for s in needed},
                tuple((s.cell, s.index) for s in needed), flags=tuple(flags))


# ── which statements are an answer ───────────────────────────────────────────────────────────


def _answers(code: Code, name: str, value: bool, check: int
             ) -> tuple[list[Statement], list[Statement]]:
    """The statements that give a name its answer, and its stubs, in the notebook's order.

    What defines it comes first; where nothing does, what assigns it; then what was checked only.
    """
    bound = code.binders[name]
    given = [s for s in bound if name in s.assigns and not s.stands_in]
    if value:
        others = [s for s in bound if isinstance(s.node, ast.For | ast.With)]
        kinds = [[s for s in given if s.place < check] or given or others]
    else:
        kinds = [[s for s in bound if name in s.makes and not s.stands_in],
                 [s for s in given if name not in s.now]]
    is_stub = _is_none if value else _is_stub
    stubs = [s for s in kinds[0] if is_stub(s.node)]
    for kind in (*kinds, [s for s in bound if s.stands_in]):
        if written := [s for s in kind if not is_stub(s.node)]:
            return written, stubs
    return [], stubs


def _missing(code: Code, name: str, value: bool, has_stub: bool) -> Plan | None:
    """What to say where nothing gives a name its answer; None where that is a stub, as it was."""
    if unread := _unread(code, name, value):
        why, flag = f"{name} stands in {unread[0]}.", unread[1]
    elif value and any(s.heavy and not s.checks and name in s.binds for s in code.statements):
        why = (f"The line that gives {name} its value trains, loads or shows something, which does "
               "not run here: write the value itself.")
        flag = f"the line of {name} does not run here"
    elif cell := _in_a_text(code, name):
        why = (f"{name} stands in a text ({cell}), which is not read, neither for `exec` nor for a "
               "file: write it as code.")
        flag = f"{name} stands in a text"
    elif has_stub:
        return None
    else:
        return Plan({}, (), f"There is no definition of {name} in the notebook.", attempted=False,
                    flags=(f"no definition of {name}",))
    return Plan({}, (), why, flags=(flag,))


def _unread(code: Code, name: str, value: bool) -> tuple[str, str] | None:
    """Which cell that could not be read has an answer in it, and a flag; None where none has."""
    begins = _begins(name, value)
    found = [(which, flag) for source, which, flag in code.unread if begins.search(source)]
    return found[-1] if found else None


def _in_a_text(code: Code, name: str) -> str | None:
    """The cell that defines a name in a text, such as one for `exec`."""
    begins = _begins(name, value=False)
    return next((s.cell for s in code.statements for part in ast.walk(s.node)
                 if isinstance(part, ast.Constant) and isinstance(part.value, str)
                 and begins.search(part.value)), None)


def _begins(name: str, value: bool) -> re.Pattern:
    """What an answer begins with, in a text."""
    return re.compile(rf"^{name}\b[^=\n]*=" if value else
                      rf"^[ \t]*(async +def|def|class) +{name}\b", re.MULTILINE)


def _wrappers(code: Code, name: str, root: Statement) -> list[Statement]:
    """Lines such as `merged = torch.no_grad()(merged)` after a definition, up to its next one."""
    found: list[Statement] = []
    for s in code.binders[name][code.binders[name].index(root) + 1:]:
        call = s.node.value if isinstance(s.node, ast.Assign) else None
        if not (isinstance(call, ast.Call) and [ast.unparse(a) for a in call.args] == [name]
                and first(call.func) not in (name, "str", "repr", "type", "print", "len", "id")):
            break
        found.append(s)
    return found


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
    if not isinstance(node, ast.Assign | ast.AnnAssign):
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


# ── what an answer needs ─────────────────────────────────────────────────────────────────────


def _with_needs(code: Code, roots: Sequence[Statement], check: int, value: bool) -> list[Statement]:
    """The statements and all that they need, in the notebook's order where that can be.

    Where cells were moved, what a statement reads when it runs comes before it all the same. What
    changes a value counts up to its check. Raises OverflowError for more than anybody writes.
    """
    later: dict[Statement, list[Statement]] = {}     # what its functions need, when called
    now: dict[Statement, list[Statement]] = {}       # what itself needs, when it runs
    waiting = deque((root, check) for root in roots)
    for root in roots:
        waiting += [(s, check) for name in sorted(root.binds)
                    for s in _changers(code, name, root, None)
                    if not value or s.place < check or check < root.place]
    while waiting:
        s, called = waiting.popleft()    # the place at which its functions are called
        if s in now:
            continue
        if len(now) >= MOST_NEEDED:
            raise OverflowError
        later[s] = [each for name in s.later for each in _givers(code, name, s, called)]
        now[s] = [each for name in s.now for each in _givers(code, name, s, s.place)]
        waiting.extendleft((each, called) for each in later[s])
        waiting.extend((each, s.place) for each in now[s])
    early = [s for s in code.statements if isinstance(s.node, ast.ImportFrom)
             and (s.node.module == "__future__" or "*" in s.binds)]
    ordered = dict.fromkeys(sorted(early, key=lambda s: s.node.module != "__future__"))

    def put(statement: Statement, above: frozenset[Statement] = frozenset()) -> None:
        before, found = [*now[statement]], set()
        while before:    # what runs may call what it reads
            if (each := before.pop()) not in found:
                found.add(each)
                before += later[each]
        for each in sorted(found - above - ordered.keys(), key=_place):
            put(each, above | {statement})
        ordered[statement] = None

    for statement in sorted(now, key=_place):
        if statement not in ordered:
            put(statement)
    return list(ordered)


def _place(statement: Statement) -> tuple[int, int]:
    return statement.place, statement.index


def _givers(code: Code, name: str, user: Statement, place: int) -> list[Statement]:
    """The statement that gives `name` the value which `user` reads, and those that change it."""
    binder = _binder(code, name, user, place)
    return [binder, *_changers(code, name, binder, user)] if binder else []


def _binder(code: Code, name: str, user: Statement, place: int) -> Statement | None:
    """The statement that gives `name` the value which `user` reads at a place, or at its own.

    The last one before it counts, and where there is none, as after cells were moved, the next one
    after it.
    """
    if name in user.binds and name not in user.now:
        return None    # it calls itself
    found = code.binders.get(name, [])
    index = bisect_left(found, max(place, user.place), key=lambda s: s.place)
    if index:
        return found[index - 1]
    if name in user.binds:
        return code.given.get(name)
    return found[0] if found else code.given.get(name)


def _changers(code: Code, name: str, binder: Statement, user: Statement | None
              ) -> list[Statement]:
    """What changes the value of `name` up to its next one, or up to a user that runs."""
    found, binders = code.changers.get(name, []), code.binders.get(name, [])
    index = bisect_left(binders, binder.place + 1, key=lambda s: s.place)
    end = binders[index].place if index < len(binders) else len(code.statements)
    if user is not None and (name in user.changes or (
            name in user.now and binder.place < user.place)):
        end = min(end, user.place)
    start = bisect_left(found, binder.place + 1, key=lambda s: s.place)
    return [s for s in found[start:bisect_left(found, end, key=lambda s: s.place)] if s is not user]


def _lost(code: Code, needed: Sequence[Statement]) -> set[str]:
    """The names that they read, and that only statements which do not run give a value to."""
    read = set().union(*(s.now | s.later for s in needed))
    return {name for name in read if name in code.left_out and not code.binders.get(name)
            and name not in code.given}
