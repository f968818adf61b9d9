"""Reading the source of a lesson: a script in the percent format, with marked cells.

Each exercise has three cells, marked `# %% exercise="lora.layer" part="solution"` and so on:

    solution   what the learner writes stands between ### BEGIN SOLUTION and ### END SOLUTION
    check      LoRALinear = pt.check("lora.layer", LoRALinear)
    grade      pt.require("lora.layer")

If the answer is a value, the region is its assignment, `rank = 8`, at the left margin.

Every error in a cell is reported here, with the file, the cell and what to do.
"""

import ast
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import PeftTeachError
from ..checks.exercise import VALUE, Exercise
from ..lessons import find

SOURCE = "lesson.py"    # in the lesson's folder, solutions/07_lora/
SOLUTION, CHECK, GRADE = PARTS = ("solution", "check", "grade")
BEGIN, END = "BEGIN SOLUTION", "END SOLUTION"

WIDTH = 100    # characters of code: JupyterLab shows 104 of a line in a window of 1,000 pixels

_CALLS = {CHECK: "check", GRADE: "require"}    # what a check and a grade cell must call
_KEPT_METADATA = ("tags", "jupyter")           # of a cell, besides exercise and part


@dataclass(frozen=True)
class SourceCell:
    """One cell of the source. `stub` is the student's version of it."""

    id: str                     # the same in every build, and wherever the cell is moved
    kind: str                   # code, markdown or raw
    source: str
    stub: str
    metadata: dict[str, Any]
    exercise: Exercise | None
    part: str | None
    where: str                  # "solutions/07_lora/lesson.py, cell 3 ('class LoRALinear')"


def read(path: Path) -> list[SourceCell]:
    """The cells of a lesson, validated."""
    import jupytext

    name, lesson = f"solutions/{path.parent.name}/{path.name}", path.parent.name[:2]
    parts: dict[str, list[str]] = {}  # exercise id -> its parts so far
    repeats: dict[str, int] = {}
    cells = []
    for number, raw in enumerate(jupytext.read(path, fmt="py:percent").cells, 1):
        where = f"{name}, cell {number} ({first_line(raw.source)!r})"
        exercise, part = _marker(raw, where)
        if exercise:
            _check_place(exercise, part, lesson, parts.setdefault(exercise.id, []), where)
            id = f"{slug(exercise.id)}-{part}"
        else:
            id = _content_id(lesson, raw, repeats)
        if raw.cell_type == "code":
            _parse(raw.source, where)
        stub = raw.source
        if part == SOLUTION:
            stub = stub_of(raw.source, exercise.id, where, exercise.names)
            _check_stub(stub, exercise, where)
            _check_regions(raw.source, exercise, where)
        elif part in _CALLS:
            _check_call(raw.source, exercise, part, where)
        if raw.cell_type == "code":
            _check_width(stub, where)
        metadata = {key: raw.metadata[key] for key in _KEPT_METADATA if key in raw.metadata}
        cells.append(SourceCell(id, raw.cell_type, raw.source, stub, metadata, exercise, part,
                                where))
    for id, found in parts.items():
        for part in PARTS[len(found):]:
            raise wrong(f"{name}: the exercise {id} has no {part} cell",
                        f'add one, marked # %% exercise="{id}" part="{part}"')
    return cells


def stub_of(source: str, id: str = "", where: str = "this cell",
            names: Sequence[str] = ()) -> str:
    """The cell as a student gets it: each solution region becomes one line that raises.

    A region at the left margin that assigns values becomes `name = None` for each name, or for
    those in `names`, so that the cell still runs.
    """
    lines, region, inside = [], [], False
    for line in source.split("\n"):
        if BEGIN in line:
            if inside:
                raise wrong(f"{where}: a second {BEGIN} before {END}", "close the first region")
            inside, region = True, []
            indentation = _indentation(line)
        elif END in line:
            if not inside:
                raise wrong(f"{where}: {END} without {BEGIN}", f"open the region: ### {BEGIN}")
            inside = False
            assigned = [] if indentation else _assigned("\n".join(region))
            lines += ([f"{name} = None" for name in assigned if not names or name in names]
                      or [f"{indentation}raise pt.NotAttempted({json.dumps(id) if id else ''})"])
        elif inside:
            region.append(line)
        else:
            lines.append(line)
    if inside:
        raise wrong(f"{where}: {BEGIN} without {END}", f"close the region: ### {END}")
    return "\n".join(lines)


def without_marks(source: str) -> str:
    """The cell as a solved notebook has it: without the marks of its solution regions."""
    return "\n".join(line for line in source.split("\n") if BEGIN not in line and END not in line)


def wrong(found: str, hint: str) -> PeftTeachError:
    """The error of a lesson, and what its author can do."""
    return PeftTeachError(found, hint=hint)


def first_line(source: str) -> str:
    """The line by which a person recognises a cell."""
    return source.strip().split("\n")[0][:50]


def squeeze(text: str) -> str:
    """The text without white space, so that another indentation or spacing hides nothing."""
    return "".join(text.split())


def slug(id: str) -> str:
    """An exercise's id with the characters that cell ids and nbgrader allow."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", id)


def _marker(raw: Any, where: str) -> tuple[Exercise | None, str | None]:
    """The exercise and the part that a cell is marked with."""
    if "incorrectly_encoded_metadata" in raw.metadata:
        raise wrong(f"{where}: its marker cannot be read",
                    'quote both values: # %% exercise="lora.layer" part="check"')
    id, part = raw.metadata.get("exercise"), raw.metadata.get("part")
    if id is None and part is None:
        if BEGIN in raw.source or END in raw.source:
            raise wrong(f"{where}: a solution region in a cell that is not marked",
                        'mark it: # %% exercise="..." part="solution"')
        return None, None
    if id is None or part not in PARTS:
        raise wrong(f"{where}: marked with exercise {id!r} and part {part!r}",
                    f"name an exercise, and as its part one of {', '.join(PARTS)}")
    if raw.cell_type != "code":
        raise wrong(f"{where}: the {part} cell of an exercise is code", "remove [markdown]")
    if (BEGIN in raw.source) != (part == SOLUTION):
        raise wrong(f"{where}: a solution region stands in the solution cell, and only there",
                    f"enclose the solution in ### {BEGIN} and ### {END}")
    try:
        return find(id), part
    except PeftTeachError as error:
        raise wrong(f"{where}: {error}", "correct the marker, or write the exercise") from None


def _check_place(exercise: Exercise, part: str, lesson: str, found: list[str], where: str) -> None:
    if exercise.lesson != lesson:
        raise wrong(f"{where}: {exercise.id} is an exercise of lesson {exercise.lesson}",
                    "move the cell, or change the lesson that the exercise names")
    if part in found:
        raise wrong(f"{where}: a second {part} cell of {exercise.id}",
                    "join the two, or make two exercises of them")
    if part != PARTS[len(found)]:
        raise wrong(f"{where}: {exercise.id} has no {PARTS[len(found)]} cell before its {part} "
                    "cell", f"keep the order {', '.join(PARTS)}")
    found.append(part)


def _check_call(source: str, exercise: Exercise, part: str, where: str) -> None:
    if not re.search(rf"\b{_CALLS[part]}\(\s*[\"']{re.escape(exercise.id)}[\"']", source):
        raise wrong(f"{where}: the {part} cell does not call {_CALLS[part]}",
                    f'call pt.{_CALLS[part]}("{exercise.id}", ...)')


def _check_stub(stub: str, exercise: Exercise, where: str) -> None:
    """A stub defines every name, and runs, since an unsolved notebook must run to its end."""
    tree = _parse(stub, f"{where}, as a stub")
    defined = {getattr(node, "name", None) for node in tree.body}
    defined |= {target.id for node in tree.body if isinstance(node, ast.Assign)
                for target in node.targets if isinstance(target, ast.Name)}
    for name in exercise.names:
        if name not in defined:
            raise wrong(f"{where}: its stub does not define {name}",
                        f"begin the region below the line that defines {name}"
                        if exercise.answer != VALUE else
                        f"give it its value in a region at the left margin: {name} = ...")
    functions = [node for node in ast.walk(tree)
                 if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    called = {node for function in functions for node in ast.walk(function)}
    if any(isinstance(node, ast.Raise) and node not in called for node in ast.walk(tree)):
        raise wrong(f"{where}: its stub raises as soon as the cell runs",
                    "put the region inside of a function")


def _check_width(stub: str, where: str) -> None:
    for line in stub.split("\n"):
        if len(line) > WIDTH:
            raise wrong(f"{where}: a line of {len(line)} characters, which a page would cut: "
                        f"{line.strip()[:40]!r} …", f"break it: at most {WIDTH}")


def _check_regions(source: str, exercise: Exercise, where: str) -> None:
    """Regions of code are inside functions, those of values at the left margin."""
    indented = [bool(_indentation(line)) for line in source.split("\n") if BEGIN in line]
    if exercise.answer == VALUE and any(indented):
        raise wrong(f"{where}: a region inside of a function, and the answer is a value",
                    "begin it at the left margin, above the line that gives the value")
    if exercise.answer != VALUE and not all(indented):
        raise wrong(f"{where}: a region at the left margin, and the answer is code",
                    "put the region inside of a function")


def _assigned(region: str) -> list[str]:
    """The names to which the lines of a region assign, in their order."""
    try:
        tree = ast.parse(region)
    except SyntaxError:    # half a statement, which is reported elsewhere
        return []
    targets = [target for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)
               for target in getattr(node, "targets", None) or [node.target]]
    return list(dict.fromkeys(part.id for target in targets for part in ast.walk(target)
                              if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)))


def _indentation(line: str) -> str:
    return line[:len(line) - len(line.lstrip())]


def _parse(source: str, where: str) -> ast.Module:
    try:
        return compile(source, where, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        raise wrong(f"{where}: not Python: {error.msg}, line {error.lineno}",
                    "lessons are plain Python, without magics or shell commands") from None


def _content_id(lesson: str, raw: Any, repeats: dict[str, int]) -> str:
    text = f"{lesson}\n{raw.cell_type}\n{raw.source}"
    id = hashlib.sha256(text.encode()).hexdigest()[:12]
    repeats[id] = repeats.get(id, 0) + 1
    return id if repeats[id] == 1 else f"{id}-{repeats[id]}"
