"""Notebooks whose answers are equal or nearly so, in pairs, for the instructor to look at.

    shape(plan, exercise)   the pieces of an answer: `WINDOW` lines each, without names and layout;
                            and again without numbers, texts, prints and the words of errors
    similar(rows)           the pairs of a class, and those whose adapters are equal or nearly so

It changes no mark, and proves nothing: people learn together, and a short answer leaves little
choice. So an answer of fewer lines than a piece has none, nor has a value; and what the lesson
dictates (the stub, the reference) or many of a class wrote is left out.
"""

import ast
import copy
import hashlib
import inspect
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

from ..checks.exercise import CODE, Exercise
from ..lessons import find, parts, stub_of
from ..reading.definitions import Plan

WINDOW = 3         # lines of a piece
MANY, FEW = 0.1, 5    # what more than this share of a class, and more than so many, have, is common
SHARE = 0.9        # of the pieces of the shorter answer: so many are the same in a copy
LEAST = 13         # pieces in all copies of a pair, those of equal bytes counted twice; of the
#                    course's right answers, in styles of one author, 2,000 pairs have 12 at most
TURNED, HALF = 4, 0.5    # of a layer's 64 signs, in a copy; of the layers, that are so alike
BARE = "~"         # before a piece without numbers, texts and prints
_SHOWING = {"print", "display"}
_BLOCKS = ("body", "handlers", "orelse", "finalbody")


@dataclass(frozen=True)
class Pair:
    """Two students whose answers agree, and in which exercises."""

    lesson: str
    students: tuple[str, ...]   # more than two where many have one file
    share: float                # of the pieces of the one who has fewer, from 0 to 1
    exercises: tuple[str, ...]
    equal: tuple[str, ...]      # of these: cells that are equal byte by byte
    reworded: bool = False      # they agree only without numbers, texts and prints


def similar(rows: Sequence[Any]) -> list[Pair]:
    """The pairs of `Row` to look at, the most similar first."""
    found = []
    for lesson in sorted({row.lesson for row in rows if row.marks}):
        of_lesson = [row for row in rows if row.lesson == lesson and row.marks]
        pairs = {pair.students: pair for bare in (True, False)    # as written counts before bare
                 for pair in _in_class(of_lesson, bare)}
        found += [*pairs.values(), *_of_files(of_lesson)]
    return sorted(found, key=lambda pair: (-pair.share, pair.lesson, pair.students))


def _in_class(rows: Sequence[Any], bare: bool) -> Iterator[Pair]:
    """The pairs whose answers agree as written, or bare: without numbers, texts and prints."""
    owners: dict[tuple[str, str], list[int]] = defaultdict(list)    # (exercise, piece) -> rows
    for number, row in enumerate(rows):
        for mark in row.marks:
            for piece in mark.get("shape", ()) if mark["exercise"] not in _files() else ():
                if piece.startswith(BARE) == bare:
                    owners[mark["exercise"], piece].append(number)
    texts = [{mark["exercise"]: mark.get("text") for mark in row.marks} for row in rows]
    sizes: dict[int, Counter[str]] = defaultdict(Counter)    # row -> exercise -> its own pieces
    shared: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for (exercise, _), by in owners.items():
        if len(by) <= max(FEW, MANY * len(rows)):
            for number in by:
                sizes[number][exercise] += 1
            for pair in combinations(by, 2):
                shared[pair][exercise] += 1
    for pair, counts in shared.items():
        one, other = (rows[number] for number in pair)
        same = {id: count for id, count in counts.items()
                if count >= SHARE * min(sizes[number][id] for number in pair)}
        equal = {id: count for id, count in same.items() if len({texts[n][id] for n in pair}) == 1}
        agreed = sum(same.values())
        if agreed + sum(equal.values()) >= LEAST and handed_in(one) != handed_in(other):
            yield Pair(one.lesson, (one.student, other.student),
                       agreed / min(sizes[number].total() for number in pair),
                       tuple(sorted(same)), tuple(sorted(equal)), bare)


class _File(NamedTuple):
    """An adapter that was handed in: by whom, its numbers' hash, and the signs of each layer."""

    path: str
    student: str
    exercise: str
    text: str
    signs: dict[str, int]

    def alike(self, other: "_File") -> float:
        """The share of layers that add nearly the same, 1 for equal numbers."""
        if self.text == other.text:
            return 1.0
        same = sum((self.signs[name] ^ other.signs[name]).bit_count() <= TURNED
                   for name in self.signs.keys() & other.signs.keys())
        return same / max(len(self.signs), len(other.signs), 1)


def _of_files(rows: Sequence[Any]) -> Iterator[Pair]:
    """Who handed in the same numbers or nearly so, whatever their file says of them; many in one
    line."""
    groups: list[list[_File]] = []
    for row in rows:
        mark = next((mark for mark in row.marks if mark["exercise"] in _files()
                     and mark.get("text")), None)
        if mark:
            signs = dict(piece.rsplit("=", 1) for piece in mark.get("shape", ()))
            file = _File(handed_in(row), row.student, mark["exercise"], mark["text"],
                         {name: int(each, 16) for name, each in signs.items()})
            group = next((group for group in groups if group[0].alike(file) >= HALF), None)
            if group is None:
                groups.append([file])
            elif file.path not in {each.path for each in group}:
                group.append(file)
    for group in groups:
        pairs = combinations(group, 2) if len(group) <= FEW else [tuple(group)]
        for pair in pairs:
            share, id = pair[0].alike(pair[-1]), pair[0].exercise
            equal = len({each.text for each in pair}) == 1
            if share >= HALF:
                yield Pair(rows[0].lesson, tuple(each.student for each in pair), share, (id,),
                           (id,) if equal else ())


@cache
def _files() -> frozenset[str]:
    return frozenset(part.id for part in parts() if part.examine)


def handed_in(row: Any) -> str:
    """The path, the same for all of a group: Moodle has a copy for each, "Group-Name_201_…"."""
    return row.path.partition(f"-{row.student}_")[0]


# ── an answer without its names ──────────────────────────────────────────────────────────────


def text(plan: Plan) -> str:
    """A hash of the cells of an answer as they were written."""
    return _hash("\n".join(plan.cells.values()))


def shape(plan: Plan, exercise: Exercise) -> tuple[str, ...]:
    """The pieces of an answer that the lesson does not dictate, each once."""
    if exercise.answer != CODE:
        return ()
    return tuple(piece for bare in (False, True) for piece in _pieces(plan.nodes, bare)
                 if piece not in _dictated(exercise.id))


@cache
def _dictated(id: str) -> frozenset[str]:
    exercise = find(id)
    sources = [stub_of(id) or "", *map(inspect.getsource, exercise.one_by_one(exercise.resolve()))]
    return frozenset(piece for source in sources for bare in (False, True)
                     for piece in _pieces(ast.parse(textwrap.dedent(source)).body, bare))


def _pieces(statements: Sequence[ast.stmt], bare: bool) -> dict[str, None]:
    """The hashes of all `WINDOW` lines in a row of each statement.

    A name counts by its order among the names of these lines, so inserted lines change only the
    pieces around them.
    """
    parts = [part for node in statements for part in ast.walk(node)]
    bound = {name for part in parts for name in _bound(part)}
    blocks = [list(_lines([_Marked(bound, bare).visit(copy.deepcopy(node))], bare))
              for node in statements]
    mark = BARE if bare else ""
    return dict.fromkeys(mark + _hash(_canonical("\n".join(lines[start:start + WINDOW])))
                         for lines in blocks for start in range(len(lines) - WINDOW + 1))


def _bound(part: ast.AST) -> Iterator[str]:
    """The names that a node gives to something: of functions, of arguments, of attributes too."""
    if isinstance(part, ast.Name | ast.Attribute) and isinstance(part.ctx, ast.Store):
        yield part.id if isinstance(part, ast.Name) else part.attr
    elif isinstance(part, ast.FunctionDef | ast.ClassDef):
        yield part.name
    elif isinstance(part, ast.arg):
        yield part.arg


class _Marked(ast.NodeTransformer):
    """Leaves out annotations, and writes each bound name between two marks.

    Bare, it leaves out numbers, texts and what errors say, too.
    """

    def __init__(self, bound: set[str], bare: bool):
        self.bound, self.bare = bound, bare

    def visit(self, node: ast.AST) -> ast.AST:
        if self.bare and (isinstance(node, ast.JoinedStr) or (
                isinstance(node, ast.Constant) and isinstance(node.value, int | float | str)
                and not isinstance(node.value, bool))):
            return ast.Constant(0)
        if self.bare and isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        if self.bare and isinstance(node, ast.Assert):
            node.msg = None
        for field in ("id", "attr", "name", "arg"):
            if getattr(node, field, None) in self.bound and not isinstance(node, ast.keyword):
                setattr(node, field, f"⟨{getattr(node, field)}⟩")
        for field in {"annotation", "returns"}.intersection(node._fields):
            setattr(node, field, None)
        self.generic_visit(node)
        if isinstance(node, ast.AnnAssign):
            return ast.Assign([node.target], node.value or node.target, lineno=0)
        return node


def _lines(statements: Sequence[ast.AST], bare: bool) -> Iterator[str]:
    """The first line of each statement, nested ones too; without imports and docstrings.

    Bare, also without prints.
    """
    for node in statements:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass) or (
                isinstance(node, ast.Expr) and (isinstance(node.value, ast.Constant) or (
                    bare and isinstance(node.value, ast.Call)
                    and getattr(node.value.func, "id", "") in _SHOWING))):
            continue
        inner = []
        for block in [block for block in _BLOCKS if block in node._fields]:
            inner += getattr(node, block)
            setattr(node, block, [ast.Pass()] if block == "body" else [])
        yield ast.unparse(node)
        yield from _lines(inner, bare)


def _canonical(lines: str) -> str:
    names: dict[str, str] = {}
    return re.sub("⟨(.*?)⟩", lambda found: names.setdefault(found[1], f"v{len(names)}"), lines)


def _hash(source: str) -> str:
    return of_bytes(source.encode("utf-8", "replace"))


def of_bytes(data: bytes) -> str:
    """A hash, of which a class has no two by chance."""
    return hashlib.blake2b(data, digest_size=6).hexdigest()
