"""What a build adds to each lesson: the badge, and the cell that installs and moves nothing."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from peft_teach.course.publish.colab import FOLDER, installs
from peft_teach.course.publish.notebooks import make, write
from peft_teach.course.publish.site import page
from peft_teach.errors import PeftTeachError

ROOT = Path(__file__).parents[2]
ADDRESS = "https://github.com/someone/peft-teach.git"


@pytest.fixture
def built(tmp_path):
    """Give a function: an address → the lessons, built in memory."""
    (tmp_path / "solutions").symlink_to(ROOT / "solutions")

    def build(address, names=()):
        (tmp_path / "pyproject.toml").write_text(
            f'[project]\nversion = "1.2.3"\n[tool.peft-teach]\naddress = "{address}"\n')
        return make(tmp_path, names)
    return build


def test_each_lesson_opens_on_colab_and_installs_from_the_address(built):
    lessons = built(ADDRESS)
    assert len(lessons) > 10
    for lesson in lessons:
        for notebook in (lesson.student, lesson.solution):
            assert ("(https://colab.research.google.com/github/someone/peft-teach/blob/main/lessons/"
                    f"{lesson.name}.ipynb)") in notebook.cells[0].source
            first = next(cell for cell in notebook.cells if cell.cell_type == "code")
            assert installs(first)
            assert f"git+{ADDRESS}" in first.source


def test_a_page_has_a_link_below_its_title(built, tmp_path):
    lesson, = built(ADDRESS, ["00"])
    write(lesson.solution, tmp_path / "read/solutions/00_inside/00_inside.ipynb")
    title, _, link = page(lesson, tmp_path / "read").cells[0].source.split("\n")[:3]
    assert title.startswith("# 00")
    assert link == f"[Open in Colab]({lesson.launch})"


@pytest.mark.parametrize("address", ["", "https://example.org/peft-teach.git"])
def test_no_badge_without_an_address_that_colab_opens(built, address):
    lesson, = built(address, ["00"])
    assert "colab.research" not in str(lesson.student.cells)
    assert lesson.student.cells[0].source.startswith("# 00")


def test_an_address_that_is_none_is_refused(built):
    with pytest.raises(PeftTeachError, match=r"'git@example\.org:x'"):
        built("git@example.org:x", ["00"])


@pytest.mark.parametrize(("address", "course"), [(ADDRESS, f"git+{ADDRESS}"), ("", FOLDER)])
def test_the_cell_installs_where_the_course_is_not_and_moves_nothing(built, monkeypatch, address,
                                                                     course):
    """What pip lists binds what it installs."""
    asked = []
    shell = SimpleNamespace(system=asked.append)
    source = next(cell.source for cell in built(address, ["00"])[0].student.cells if installs(cell))
    exec(source, {"get_ipython": lambda: shell})
    assert not asked    # the course is here
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(source, {"get_ipython": lambda: shell})
    assert asked == [f"pip list --format=freeze >there.txt; pip install -q -c there.txt {course}"]
    assert (FOLDER in source) == (not address)
