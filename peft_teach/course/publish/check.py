"""`peft-teach build --check`: is every notebook up to date, and does no solution leak?"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..desk import work
from ..lessons import START, of_lesson
from . import blocks, execution, tables
from .notebooks import make, start_notebook
from .source import BEGIN, END, SOLUTION, SourceCell, first_line, squeeze

SHORTEST_SECRET = 13  # characters; a shorter line, such as `return y`, gives nothing away

# Nor do lines that any code may contain.
_COMMON = re.compile(r"(def|class|import|from|with|for)\b.*|@.*|self\.(\w+) ?= ?\2"
                     r"|super\(\)\.__init__\(.*\)|return self\.base\(x\)"
                     r"|model\.(train|eval)\(\)|loss = model\(\*\*batch\)\.loss"
                     r"|loss\.backward\(\)|optimizer\.(step|zero_grad)\(\)|return loss\.item\(\)")

# The library's methods are the references: `pt.lora` may be used, but not imported from. Of the
# course a lesson uses what `pt.course` offers, never the exercises.
_REFERENCE = re.compile(r"\s*(from|import) +peft_teach\.(course|methods)\b"
                        r"|\s*from +peft_teach +import\b.*\b(course|methods)\b"
                        r"|.*\bpt\.course\.lessons")


def problems(root: Path | str = ".") -> list[str]:
    """The problems, one line each; none if all is well."""
    root = Path(root).resolve()
    lessons = make(root)
    found = []
    for lesson in lessons:
        found += _differences(lesson.student, root, f"lessons/{lesson.name}.ipynb",
                              compare_outputs=True)
        found += _differences(lesson.solution, root, lesson.solved, compare_outputs=False)
        found += [f"{lesson.source}: has no cells for the exercise {exercise.id}"
                  for exercise in of_lesson(lesson.name[:2]) if exercise.id not in lesson.stubs]
    found += _differences(start_notebook(root), root, f"lessons/{START}.ipynb",
                          compare_outputs=True)
    known = {path for lesson in lessons for path in (f"lessons/{lesson.name}.ipynb", lesson.solved)}
    stored = (path.relative_to(root).as_posix()
              for pattern in ("lessons/*.ipynb", "solutions/*.ipynb", "solutions/*/*.ipynb")
              for path in sorted(root.glob(pattern)))
    found += [f"{path}: has no source, remove it"
              for path in stored if path not in known | {f"lessons/{START}.ipynb"}]
    found += [f"{file.as_posix()}: is not what {lesson.source} gives, build again"
              for lesson in lessons for file, text in lesson.files.items()
              if not (root / file).is_file() or (root / file).read_text("utf-8") != text]
    found += tables.problems(root) + blocks.problems(root)
    return found + _leaks(root, [cell for lesson in lessons for cell in lesson.cells])


def _differences(built: Any, root: Path, name: str, *, compare_outputs: bool) -> list[str]:
    """How a stored notebook differs from the one built from its source."""
    if not (root / name).exists():
        return [f"{name}: is missing, build it"]
    stored = execution.stored(root / name)
    problems = []
    if not compare_outputs:
        problems += [f"{name}: {found}" for found in execution.local_paths(stored)]
        for cell in execution.code_cells(stored):
            cell.outputs, cell.execution_count = [], None
    if stored.metadata != built.metadata:
        problems.append(f"{name}: its metadata differs from a build's, build again")
    if len(stored.cells) != len(built.cells):
        return [*problems, f"{name}: has {len(stored.cells)} cells and its source "
                           f"{len(built.cells)}, build again"]
    for number, (old, new) in enumerate(zip(stored.cells, built.cells), 1):
        if old != new:
            differing = ", ".join(key for key in {**old, **new} if old.get(key) != new.get(key))
            problems.append(f"{name}, cell {number} ({first_line(new.source)!r}): its {differing} "
                            "differs from the source, build again")
    return problems


def _leaks(root: Path, cells: Sequence[SourceCell]) -> list[str]:
    """Solutions, references and hidden tests that a student could read in `lessons/`."""
    secrets = [(line, cell.where) for cell in cells if cell.part == SOLUTION
               for line in _secrets(cell)]
    problems = []
    for path in sorted(path for path in (root / "lessons").rglob("*") if path.is_file()):
        if set(path.relative_to(root).parts) & set(work.OWN):    # the reader's, not given out
            continue
        name, text = path.relative_to(root).as_posix(), _text(path)
        squeezed = squeeze(text)
        problems += [f"{name}: holds a line of the solution of {where}: {line!r}; move that line "
                     "out of the region, or word the lesson differently"
                     for line, where in secrets if squeeze(line) in squeezed]
        problems += [f"{name}: holds {marker!r}, which no student should see"
                     for marker in (BEGIN, END, "HIDDEN TESTS") if marker in text]
        problems += [f"{name}: imports what gives solutions away: {line.strip()!r}"
                     for line in text.split("\n") if _REFERENCE.match(line)]
    return problems


def _secrets(cell: SourceCell) -> Iterator[str]:
    """The lines of a solution that must not occur anywhere."""
    stub, inside = squeeze(cell.stub), False
    for line in map(str.strip, cell.source.split("\n")):
        if BEGIN in line or END in line:
            inside = BEGIN in line
        elif (inside and len(line) >= SHORTEST_SECRET and not _COMMON.fullmatch(line)
              and squeeze(line) not in stub):
            yield line


def _text(path: Path) -> str:
    """The text of a file; of a notebook that of its cells, without the JSON around them."""
    if path.suffix == ".ipynb":
        return "\n".join(cell.source for cell in execution.stored(path).cells)
    return path.read_text(encoding="utf-8", errors="replace")
