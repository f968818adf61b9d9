"""Every lesson as a whole: built from its source, solvable, and safe to run in any way."""

from pathlib import Path

import nbformat
import pytest

from peft_teach.course.build.check import audit
from peft_teach.course.build.source import SOLUTION, read
from peft_teach.course.lessons import of_lesson

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "solutions").glob("[0-9][0-9]_*.py"))


def notebook(folder: str, source: Path):
    return nbformat.read(ROOT / folder / f"{source.stem}.ipynb", as_version=4)


def test_notebooks_are_what_their_sources_give_and_no_solution_is_out():
    assert audit(ROOT) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.stem)
def test_a_lesson_follows_the_anatomy(source):
    cells = read(source)
    assert 2 <= len([c for c in cells if c.part == SOLUTION]) <= 8
    text = "\n".join(c.source for c in cells if c.kind == "markdown")
    for part in ("**Time**", "**Five lines to remember**", "**Sources**", "arXiv"):
        assert part in text
    longest = max(len(c.source.splitlines()) for c in cells if c.kind == "code")
    assert longest <= 30      # a screen


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.stem)
def test_outputs_that_nbval_compares_are_stored(source):
    tagged = [c for c in notebook("solutions", source).cells
              if "nbval-check-output" in c.metadata.get("tags", ())]
    assert tagged
    assert all(c.outputs for c in tagged)


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.stem)
def test_a_solved_lesson_has_all_points_and_every_figure_a_text(source):
    page = str([c.outputs for c in notebook("solutions", source).cells if c.cell_type == "code"])
    assert page.count(": passed (") >= len(of_lesson(source.stem[:2]))
    assert ": not attempted (" not in page    # a card; a table of progress may say it on the way
    assert page.count("<img ") == page.count('<img alt="') > 0
    assert 'alt=""' not in page


@pytest.mark.long
@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.stem)
def test_every_cell_can_run_twice(source, monkeypatch, tmp_path):
    """As a student does: not solved, and each cell run once more before the next one."""
    from nbclient import NotebookClient

    monkeypatch.setenv("PEFT_TEACH_BUDGET", "smoke")
    lesson = notebook("lessons", source)
    cells = [c for c in lesson.cells if c.cell_type == "code"]
    lesson.cells = [nbformat.from_dict({**c, "id": c.id + turn}) for c in cells for turn in "ab"]
    NotebookClient(lesson, kernel_name="python3", timeout=300,
                   resources={"metadata": {"path": str(tmp_path)}}).execute()
