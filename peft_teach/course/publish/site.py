"""`peft-teach site`: the course as pages to read, from the executed solution notebooks.

    assets/site/*.md ─────────┐
    solved notebooks ─────────┼─> a folder for Sphinx ──> HTML that asks no other host for anything
    charts.py ────────────────┘

A solution is folded, or replaced by its stub. What is for Colab or graders is left out.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ...errors import PeftTeachError
from ..lessons import START
from . import charts
from .colab import ADDED
from .execution import stored
from .notebooks import Lesson, make, write
from .source import CHECK, GRADE, SOLUTION, wrong

SOURCES = Path("assets/site")
FOLDED, NONE = "folded", "none"


def site(root: Path | str, out: Path | str, solutions: str = FOLDED) -> str:
    """Write the site into `out`; return what was done.

    `solutions` is "folded" or "none". Raises `PeftTeachError` where `root` is no checkout, Sphinx
    is not installed, or Sphinx warns of something: a link that leads nowhere, say.
    """
    root, out = Path(root).resolve(), Path(out).resolve()
    if not (root / SOURCES).is_dir():
        raise wrong(f"{root} is no checkout of the course.",
                    "run this at the top of the repository")
    try:
        from sphinx.cmd.build import build_main
    except ModuleNotFoundError:
        raise wrong("Sphinx is not installed.", 'pip install -e ".[site]"') from None
    with tempfile.TemporaryDirectory() as folder:
        lessons = stage(root, Path(folder), solutions)
        if build_main(["-q", "-W", "--keep-going", "-b", "html", folder, str(out)]):
            raise PeftTeachError("Sphinx warned of what stands above; the site is not whole.")
    return f"{out}/index.html: {lessons} lessons."


def stage(root: Path, folder: Path, solutions: str = FOLDED) -> int:
    """Write what Sphinx reads into a folder; return the number of lessons."""
    shutil.copytree(root / SOURCES, folder, dirs_exist_ok=True)
    for name in ("pyproject.toml", "README.md"):    # the settings and a page read them
        shutil.copyfile(root / name, folder / name)
    charts.draw(folder / "_static")
    lessons = make(root)
    for lesson in lessons:
        write(page(lesson, root, solutions), folder / "lessons" / f"{lesson.name}.ipynb")
    return len(lessons)


def page(lesson: Lesson, root: Path, solutions: str = FOLDED) -> Any:
    """Return the notebook of a lesson as it is read: its stored outputs, nothing to run."""
    notebook = stored(root / lesson.solved)
    shown = []
    for cell, known, student in zip(notebook.cells, lesson.cells, lesson.student.cells):
        if known.part in (GRADE, ADDED):
            continue
        if known.part == SOLUTION and solutions == NONE:
            cell = student
        elif known.part == SOLUTION:
            cell.metadata = {"tags": ["hide-input"],
                             "mystnb": {"code_prompt_show": "Show a solution",
                                        "code_prompt_hide": "Hide the solution"}}
        elif cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata = {"tags": ["hide-input"]}
        if known.part == CHECK and solutions == NONE:
            cell.outputs = []
        if shown and cell.cell_type == "markdown" and cell.source.startswith("# "):
            cell.source = f"#{cell.source}"    # a page has one title
        cell.source = cell.source.replace(f"({START}.ipynb)", "(../start.md)")    # no page here
        shown.append(cell)
    if lesson.launch:
        title, _, rest = shown[0].source.partition("\n")
        shown[0].source = f"{title}\n\n[Open in Colab]({lesson.launch})\n{rest}"
    notebook.cells = shown
    return notebook
