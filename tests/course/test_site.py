"""The pages: what stands on them and what does not.

The whole site, with its charts, is built and looked at in a browser by tests/browser/test_site.py.
"""

import re
from pathlib import Path

import pytest

from peft_teach.course import records
from peft_teach.course.publish import charts, methods, site
from peft_teach.course.publish.notebooks import make
from peft_teach.errors import PeftTeachError
from peft_teach.methods import METHODS

ROOT = Path(__file__).parents[2]
LESSON, = make(ROOT, ["07"])


def texts(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


@pytest.mark.parametrize("solutions", [site.FOLDED, site.NONE])
def test_a_page_has_what_is_read_and_nothing_for_graders(solutions):
    page = site.page(LESSON, ROOT, solutions)
    assert "pt.require(" not in texts(page)
    assert "find_spec" not in texts(page)
    prose = [re.sub("```.*?```", "", cell.source, flags=re.DOTALL) for cell in page.cells
             if cell.cell_type == "markdown"]
    assert len(re.findall(r"^# ", "\n".join(prose), re.MULTILINE)) == 1
    assert any(cell.get("outputs") for cell in page.cells)
    solved = [cell for cell in page.cells if "nn.Parameter(torch.zeros(" in cell.source
              and "class LoRALinear" in cell.source]
    if solutions == site.NONE:
        assert not solved
        assert "raise pt.NotAttempted" in texts(page)
    else:
        assert [cell.metadata["tags"] for cell in solved] == [["hide-input"]]


def test_the_lists_name_every_lesson_and_every_method():
    start = (ROOT / "assets/site/start.md").read_text("utf-8")
    included = re.search(r"{include} README.md\n:start-after: (.+)\n:end-before: \"(.+)\"", start)
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.partition(included[1])[2].partition(included[2])[0]
    for lesson in make(ROOT):
        assert f"(lessons/{lesson.name}.ipynb)" in table
    drawn = set(methods.DRAWINGS)
    assert drawn == {*METHODS, "head"}
    assert set(re.findall(r"method-(\w+)\.svg", (ROOT / "assets/site/map.md").read_text(
        "utf-8"))) == drawn


def test_the_charts_are_the_lessons_pictures_of_the_records(tmp_path):
    charts.draw(tmp_path)
    rank, updates, ladder = (re.findall('alt="(.+?)"', (tmp_path / f"{name}.html").read_text(
        "utf-8")) for name in charts.CHARTS)
    runs = records.load("lora").runs.query("group == 'ranks' and rank == 64")
    assert "rank 64, query, value: 589,824" in rank[0]
    assert f"recorded: {runs.accuracy.mean():.1%}" in rank[0]
    assert len(updates) == 12
    assert "full fine-tuning: " in updates[0]
    assert len(ladder) == 4
    assert all(f"{method}: " in each for each in ladder for method in ("LoRA 8", "the head alone"))


def test_no_checkout_is_an_error_that_says_so(tmp_path):
    with pytest.raises(PeftTeachError, match="no checkout of the course"):
        site.site(tmp_path, tmp_path / "out")
