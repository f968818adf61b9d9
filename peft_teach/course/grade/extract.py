"""The learner's definitions, extracted from a notebook in whatever state.

For each name of an exercise: its last `def` or `class` that is more than a stub, wherever it is, or
another function that was assigned to the name; of a value, its last assignment before its check.
With it come its dependencies, followed from name to name: the statements that bind a name, and
those that change its value, such as `SIDES.append(…)` and `Layer.forward = forward`. Nothing else
of the notebook will run: no training, no model, data or widget of the course, no check, no line
that patches a library. Cells may have been moved, copied or deleted.

`cells` describes the statements; `definitions` makes a `Plan` of which to run, in which order.
"""

import ast
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from ..exercise import VALUE, Exercise
from .cells import Code, Statement, chain
from .suspicion import suspicious

MOST_NEEDED = 500          # statements, by one answer; ours need up to 5

_place = attrgetter("place", "index")


@dataclass(frozen=True)
class Plan:
    """The statements to run for the learner's definitions, as (cell, index), in order."""

    cells: dict[str, str]                      # "cell 5" -> its source as plain Python
    statements: tuple[tuple[str, int], ...]
    missing: str = ""                          # why there is nothing to run, for the learner
    attempted: bool = True                     # False if there is no definition at all
    flags: tuple[str, ...] = ()                # for the instructor


def definitions(code: Code, exercise: Exercise) -> Plan:
    """The plan for an exercise; if there is nothing to run, `missing` says why."""
    value = exercise.answer == VALUE
    check = max((s.place for s in code.statements if s.checks == exercise.id), default=-1)
    roots: list[Statement] = []
    flags: list[str] = []
    for name in exercise.names:
        written, stubs = _answers(code, name, value, check)
        if not written and (missing := _missing(code, name, value, bool(stubs))):
            return missing
        if written and (unread := _begun_in(code.unread, name, value)):
            flags.append(f"a {name} passed over: {unread[2]}")
        anew = [s for s in written if not value or name not in s.now]
        if len(anew) > 1:
            flags.append(f"{len(anew)} definitions of {name}, the last counts")
        if written and stubs and stubs[-1].place > written[-1].place:
            flags.append(f"an empty {name} after the answer passed over")
        if written and written[-1].stands_in:
            flags.append(f"{name} stands in the line of its check only")
        roots.append((written or stubs)[-1])
    try:
        needed = _with_dependencies(code, roots, check, value)
    except OverflowError:
        return Plan({}, (), f"This needs more than {MOST_NEEDED} statements of the notebook.",
                    flags=("too much code",))
    if names := sorted(set().union(*(suspicious(s.node) for s in needed))):
        flags.append(f"look at its {', '.join(names)}")
    if names := sorted(_left_out(code, needed)):
        flags.append(f"needs {', '.join(names)}, whose line does not run here")
    return Plan({s.cell: code.sources[s.cell] for s in needed},
                tuple((s.cell, s.index) for s in needed), flags=tuple(flags))


# ── which statements are an answer ───────────────────────────────────────────────────────────


def _answers(code: Code, name: str, value: bool, check: int
             ) -> tuple[list[Statement], list[Statement]]:
    """The statements that bind a name to an answer, and its stubs, in the notebook's order.

    Definitions come first; if there is none, assignments; then arguments of the check.
    """
    bound = code.binders[name]
    given = [s for s in bound if name in s.assigns and not s.stands_in]
    if value:
        others = [s for s in bound if isinstance(s.node, ast.For | ast.With)]
        kinds = [[s for s in given if s.place < check] or given or others]
    else:
        kinds = [[s for s in bound if name in s.defines and not s.stands_in],
                 [s for s in given if name not in s.now]]
    is_stub = _is_none if value else _is_stub
    stubs = [s for s in kinds[0] if is_stub(s.node)]
    for kind in (*kinds, [s for s in bound if s.stands_in]):
        if written := [s for s in kind if not is_stub(s.node)]:
            return written, stubs
    return [], stubs


def _missing(code: Code, name: str, value: bool, has_stub: bool) -> Plan | None:
    """The plan for a name without an answer; None if it is the untouched stub."""
    unread = _begun_in(code.unread, name, value) or _begun_in(_texts(code), name, value=False)
    if unread:
        _, which, flag = unread
        why = f"{name} stands in {which}."
    elif value and any(s.heavy and not s.checks and name in s.binds for s in code.statements):
        why = (f"The line that gives {name} its value trains, loads or shows something, which does "
               "not run here: write the value itself.")
        flag = f"the line of {name} does not run here"
    elif has_stub:
        return None
    else:
        return Plan({}, (), f"There is no definition of {name} in the notebook.", attempted=False,
                    flags=(f"no definition of {name}",))
    return Plan({}, (), why, flags=(flag,))


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


def _is_stub(node: ast.stmt) -> bool:
    """Whether it raises NotAttempted, other than below a `return`."""
    if isinstance(node, ast.Raise):
        return node.exc is not None and any(chain(inner)[-1] == "NotAttempted"
                                            for inner in ast.walk(node.exc))
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for statement in getattr(node, block, ()):
            if _is_stub(statement):
                return True
            if isinstance(statement, ast.Return | ast.Raise):
                break
    return False


def _is_none(node: ast.stmt) -> bool:
    """Whether it is the stub of a value: `rank = None`, or `slow, fast = None, None`."""
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return False
    given = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    return all(each is None or (isinstance(each, ast.Constant) and each.value is None)
               for each in given)


# ── its dependencies ─────────────────────────────────────────────────────────────────────────


def _with_dependencies(code: Code, roots: Sequence[Statement], check: int, value: bool
                       ) -> list[Statement]:
    """The statements with all their dependencies, in the notebook's order if possible.

    If cells were moved, what a statement reads when it runs is put before it all the same. Changes
    of a value count up to its check. Raises OverflowError for more than anybody writes.
    """
    later: dict[Statement, list[Statement]] = {}     # what its functions need when called
    now: dict[Statement, list[Statement]] = {}       # what it needs itself when it runs
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
    ordered = dict.fromkeys(s for s in code.statements if isinstance(s.node, ast.ImportFrom)
                            and (s.node.module == "__future__" or "*" in s.binds))

    def put(statement: Statement, above: frozenset[Statement] = frozenset()) -> None:
        before, found = [*now[statement]], set()
        while before:    # it may call what it reads
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


def _givers(code: Code, name: str, user: Statement, place: int) -> list[Statement]:
    """The statement that binds `name` to the value that `user` reads, and those that change it."""
    binder = _binder(code, name, user, place)
    return [binder, *_changers(code, name, binder, user)] if binder else []


def _binder(code: Code, name: str, user: Statement, place: int) -> Statement | None:
    """The statement that binds `name` to the value that `user` reads at a place, or at its own.

    The last one before it counts, or if there is none, since cells were moved, the next one after.
    """
    if name in user.binds and name not in user.now:
        return None    # it is recursive
    found = code.binders.get(name, [])
    before = [s for s in found if s.place < max(place, user.place)]
    if before:
        return before[-1]
    return found[0] if found and name not in user.binds else code.given.get(name)


def _changers(code: Code, name: str, binder: Statement, user: Statement | None
              ) -> list[Statement]:
    """The statements that change the value of `name` until it is rebound, or read by `user`."""
    end = min((s.place for s in code.binders.get(name, []) if s.place > binder.place),
              default=len(code.statements))
    if user is not None and (name in user.changes or (
            name in user.now and binder.place < user.place)):
        end = min(end, user.place)
    return [s for s in code.changers.get(name, [])
            if binder.place < s.place < end and s is not user]


def _left_out(code: Code, needed: Sequence[Statement]) -> set[str]:
    """The names that they read and only heavy statements bind, which do not run."""
    read = set().union(*(s.now | s.later for s in needed))
    return {name for name in read if name in code.left_out and not code.binders.get(name)
            and name not in code.given}
