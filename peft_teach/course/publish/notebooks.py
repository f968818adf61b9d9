"""From the source of a lesson to its two notebooks.

    solutions/07_lora/lesson.py ──> lessons/07_lora.ipynb     the student's: stubs, no outputs
                                ├─> lessons/START.ipynb       the page that leads to all of them
                                ├─> solutions/07_lora/07_lora.ipynb    solved, with its outputs
                                └─> peft_teach/course/lessons/lora/    stubs.json, reference.py
"""

import copy
import json
import re
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import unknown
from ...folder import write_whole
from ..checks.exercise import Exercise
from ..desk import my_peft_file
from ..lessons import REFERENCE, START, STUBS
from . import address, blocks, colab, dress, execution, start_page, tables
from .source import GRADE, SOLUTION, SOURCE, SourceCell, read, slug, without_marks, wrong

LESSONS = Path("peft_teach/course/lessons")
_TITLE = '"""The reference: what the solution notebook answers; written by `peft-teach build`."""\n'

_HEADING = r"^### (.+?)(?: \([^()]*\))?$"    # without its points and minutes


@dataclass(frozen=True)
class Lesson:
    """A lesson as built in memory."""

    name: str           # "07_lora"
    cells: list[SourceCell]
    student: Any        # the notebooks
    solution: Any
    launch: str = ""    # the link that opens it on Colab; empty without an address

    @property
    def source(self) -> str:
        """The path of its source below the top of the checkout, as text."""
        return f"solutions/{self.name}/{SOURCE}"

    @property
    def solved(self) -> str:
        """The path of its solution notebook below the top of the checkout, as text."""
        return f"solutions/{self.name}/{self.name}.ipynb"

    @property
    def stubs(self) -> dict[str, str]:
        """The stub of each exercise, by id."""
        return {cell.exercise.id: cell.stub for cell in self.cells if cell.part == SOLUTION}

    @property
    def kept(self) -> dict[str, dict[str, Any]]:
        """What the package keeps of each exercise: its lesson, names, heading and stub."""
        titles, heading = {}, ""
        for cell in self.cells:
            if cell.kind == "markdown":
                heading = (re.findall(_HEADING, cell.source, re.MULTILINE) or [heading])[-1]
            elif cell.part == SOLUTION:
                titles[cell.exercise.id] = heading
        exercises = [cell.exercise for cell in self.cells if cell.part == SOLUTION]
        return {each.id: {"lesson": each.lesson, "names": each.names, "title": titles[each.id],
                          "stub": self.stubs[each.id]} for each in exercises}

    @property
    def files(self) -> dict[Path, str]:
        """What the package keeps of a lesson, by path below the top of the checkout.

        The stubs, which `pt.reset` reads, and the answers and tests that the library lacks.
        """
        prefixes = {id.partition(".")[0] for id in self.stubs}
        if len(prefixes) > 1:
            raise wrong(f"{self.source}: has exercises of {sorted(prefixes)}",
                        "keep a lesson's exercises in one folder")
        if not prefixes:
            return {}
        folder = LESSONS / prefixes.pop()
        kept = json.dumps(self.kept, indent=1, ensure_ascii=False) + "\n"
        found = {folder / STUBS: kept, folder / REFERENCE: _reference(self.cells)}
        return {path: text for path, text in found.items() if text}


def _reference(cells: Sequence[SourceCell]) -> str:
    """What a learner who has not passed goes on with: a module, cut from the solution cells.

    With it stands what an exercise has `given`. Empty where the library holds every answer of the
    lesson.
    """
    text = _with_answers(_TITLE, cells, lambda exercise: (
        *exercise.given, *(() if exercise.reference else exercise.names)))
    return "" if text == _TITLE else text.replace(f"    {my_peft_file.UNTIL}", "")


def _with_answers(text: str, cells: Sequence[SourceCell],
                  asked: Callable[[Exercise], tuple[str, ...]]) -> str:
    """Return the text of a library with what a lesson's cells define of the names asked for."""
    above = []
    for cell in cells:
        if cell.kind == "code":
            above.append(without_marks(cell.source))
        if cell.part == SOLUTION and (names := asked(cell.exercise)):
            try:
                text = my_peft_file.added(replace(cell.exercise, names=names, reference=()),
                                          above, text)
            except my_peft_file.Refused as error:
                raise wrong(f"{cell.where}: {error}", "let the cell define all that it uses, or "
                            "name a reference in the library") from None
    return text


def build(root: Path | str = ".", names: Sequence[str] = (), *, execute: bool = False,
          desk: Path | str | None = None) -> list[str]:
    """Write the notebooks of the named lessons ("07" or "07_lora"; all by default).

    Also writes what the pages compute. Lessons that are executed run in their order, with one
    reader, who works in the folder `desk`, a new one if none is given: each sees what those before
    it trained, and all that earlier lessons built. Returns what was done, a line for each lesson
    and page.
    """
    root = Path(root).resolve()
    with tempfile.TemporaryDirectory() as empty:
        report = _write(root, names, execute, Path(desk or empty).resolve())
    _link(root, names)
    write(start_notebook(root), root / "lessons" / f"{START}.ipynb")
    return report + tables.write(root) + blocks.write(root)


def _write(root: Path, names: Sequence[str], execute: bool, desk: Path) -> list[str]:
    report = []
    for lesson in make(root, names):
        path = root / lesson.solved
        for file, text in lesson.files.items():    # the checks that are executed ask them
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            write_whole({root / file: text})
        if execute:
            _shelve(root, lesson, desk)
            execution.execute(lesson.solution, path, desk)
            said = "built and executed"
        elif execution.keep(lesson.solution, path):
            said = "built, outputs kept"
        else:
            said = f"built without outputs; `peft-teach build --execute {lesson.name}` makes them"
        _put(lesson, root)
        report.append(f"{lesson.name}: {said}")
    return report


def _shelve(root: Path, lesson: Lesson, desk: Path) -> None:
    """Write the reader's `my_peft.py` anew: what earlier lessons answer, and no later one."""
    text = ""
    earlier = [name for source in _checkout(root)[0] if (name := source.parent.name) < lesson.name]
    for other in make(root, earlier) if earlier else []:
        text = _with_answers(text, other.cells,
                             lambda exercise: exercise.names if exercise.kept else ())
    desk.mkdir(parents=True, exist_ok=True)
    write_whole({desk / my_peft_file.FILE: text})


def _link(root: Path, names: Sequence[str]) -> None:
    """Write the notebooks beside the named ones anew: they link to them. Outputs are kept, or
    nothing is written.
    """
    every = [source.parent.name for source in _checkout(root)[0]]
    built = {at for at, each in enumerate(every) if each in names or each[:2] in names}
    beside = {at + step for at in built for step in (-1, 1)} & {*range(len(every))} - built
    for lesson in make(root, [every[at] for at in beside]) if beside else []:
        if execution.keep(lesson.solution, root / lesson.solved) is not None:
            _put(lesson, root)


def _put(lesson: Lesson, root: Path) -> None:
    """Write both notebooks of a lesson, the solved one with the outputs that it has."""
    path = root / lesson.solved
    execution.clean(lesson.solution, path, root)
    write(lesson.student, root / "lessons" / path.name)
    write(lesson.solution, path)


def make(root: Path, names: Sequence[str] = ()) -> list[Lesson]:
    """The named lessons, all by default, built in memory, not executed."""
    sources, release, where = _checkout(root)
    known = {key: source for source in sources
             for key in (source.parent.name, source.parent.name[:2])}
    for name in names:
        if name not in known:
            raise unknown("lesson", name, [source.parent.name for source in sources])
    lessons, titles = [], {source.parent.name: start_page.title(source.read_text("utf-8"))
                           or source.parent.name for source in sources}
    for source in sorted({known[name] for name in names}) if names else sources:
        name = source.parent.name
        cells = colab.add(dress.dressed(read(source), name, titles), name, where)
        lessons.append(Lesson(name, cells, _notebook(cells, name[:2], release, solved=False),
                              _notebook(cells, name[:2], release, solved=True),
                              address.on_colab(name, where)))
    return lessons


def start_notebook(root: Path) -> Any:
    """The notebook on which JupyterLab opens, built in memory."""
    sources, release, where = _checkout(root)
    return _notebook(start_page.cells(sources, where), START, release, solved=False)


def _checkout(root: Path) -> tuple[list[Path], str, str]:
    """The sources of the lessons, the version, and the address of the repository or nothing."""
    sources = sorted((root / "solutions").glob(f"[0-9][0-9]_*/{SOURCE}"))
    if not sources:
        raise wrong("There are no lesson sources here.",
                    "run this at the top of a checkout of the repository")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return sources, project["project"]["version"], address.of(root)


def write(notebook: Any, path: Path) -> None:
    """Write a notebook, the same bytes for the same notebook."""
    import nbformat

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole({path: nbformat.writes(notebook) + "\n"})


def _notebook(cells: Sequence[SourceCell], lesson: str, release: str, *, solved: bool) -> Any:
    from nbformat import v4

    make = {"code": v4.new_code_cell, "markdown": v4.new_markdown_cell, "raw": v4.new_raw_cell}
    return v4.new_notebook(
        cells=[make[cell.kind](without_marks(cell.source) if solved else cell.stub, id=cell.id,
                               metadata=_metadata(cell)) for cell in cells],
        metadata={"kernelspec": {"display_name": "Python 3", "language": "python",
                                 "name": "python3"},
                  "language_info": {"name": "python"},
                  "peft_teach": {"lesson": lesson, "release": release}})


def _metadata(cell: SourceCell) -> dict[str, Any]:
    """What nbgrader and JupyterLab need to know of a cell."""
    metadata = copy.deepcopy(cell.metadata)
    if cell.part == GRADE:
        metadata["jupyter"] = {"source_hidden": True} | metadata.get("jupyter", {})
    if cell.exercise is None:
        return metadata
    metadata["nbgrader"] = {
        "schema_version": 3, "grade_id": f"{slug(cell.exercise.id)}-{cell.part}",
        "grade": cell.part == GRADE, "solution": cell.part == SOLUTION,
        "locked": cell.part != SOLUTION, "task": False}
    if cell.part == GRADE:
        metadata["nbgrader"]["points"] = cell.exercise.points
    if cell.part != SOLUTION:
        metadata |= {"editable": False, "deletable": False}
    return metadata
