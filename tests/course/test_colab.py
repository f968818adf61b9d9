"""What a build adds to each lesson: the badge, and the cell that installs and moves nothing."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from peft_teach.course.publish import address
from peft_teach.course.publish.colab import FOLDER, installs
from peft_teach.course.publish.notebooks import make, write
from peft_teach.course.publish.site import page
from peft_teach.course.publish.source import SOLUTION
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
    for file in ("solutions/00_inside/answers.py", "assets/site/glossary.md"):
        (tmp_path / "read" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / "read" / file)
    title, _, link = page(lesson, tmp_path / "read").cells[0].source.split("\n")[:3]
    assert title.startswith("# 00")
    assert f"[open it in Colab]({lesson.launch})" in link


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


@pytest.mark.long
def test_one_click_opens_a_lesson_installs_the_course_and_gives_a_first_tick(tmp_path):
    """What Colab does with the badge's link, the host's place taken by a git repository here.

    The environment has Colab's kind of packages (those of the tests) and not the course.
    """
    tree, served, place = tmp_path / "tree", tmp_path / "served.git", tmp_path / "content"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True,
                            text=True).stdout.split("\n")
    for path in filter(lambda path: path and (ROOT / path).is_file(), listed):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tree / path)
    project = tree / "pyproject.toml"
    project.write_text(project.read_text("utf-8").replace('address = ""', f'address = "{ADDRESS}"'))
    lesson, = make(tree, ["00"])
    write(lesson.student, tree / "lessons/00_inside.ipynb")
    for command in (["init", "-q", "-b", "main"], ["add", "-A"],
                    ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x"],
                    ["clone", "-q", "--bare", ".", str(served)]):
        subprocess.run(["git", *command], cwd=tree, check=True)

    repository, _, path = lesson.launch.removeprefix(address.COLAB).partition("/blob/")
    assert f"https://github.com/{repository}.git" == ADDRESS
    opened = nbformat.reads(subprocess.run(
        ["git", "show", path.replace("/", ":", 1)], cwd=served, check=True, capture_output=True,
        text=True).stdout, as_version=4)
    check = next(cell for cell in opened.cells if "= pt.check(" in cell.source)
    id = re.findall(r'"(.+?)"', check.source)[0]
    answer = next(cell.source for cell in lesson.cells
                  if cell.part == SOLUTION and cell.exercise.id == id)
    cells = ["import torch\nimport peft_teach as pt\nprint(pt.__file__)", answer, check.source]
    opened.cells = [next(filter(installs, opened.cells)), *map(nbformat.v4.new_code_cell, cells)]

    place.mkdir()
    venv.create(tmp_path / "colab", with_pip=True)
    python = tmp_path / "colab/bin/python"
    own, = (tmp_path / "colab").glob("lib/python*/site-packages")
    for package in (each for folder in sys.path if folder.endswith("-packages")
                    for each in Path(folder).iterdir()):
        if "peft_teach" not in package.name and package.suffix != ".pth":
            with contextlib.suppress(FileExistsError):    # pip, and what comes with it
                (own / package.name).symlink_to(package)
    there = {each.name for each in own.iterdir()}
    nbformat.write(opened, place / "opened.ipynb")
    execute = "from nbclient.cli import main; main()"
    subprocess.run([python, "-c", execute, "--inplace", "opened.ipynb"], cwd=place,
                   check=True, env=os.environ | {
        "PATH": f"{python.parent}:{os.environ['PATH']}", "PEFT_TEACH_WORK": "",
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{served}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS})
    text = str([cell.outputs for cell in
                nbformat.read(place / "opened.ipynb", as_version=4).cells])
    assert str(own) in text
    assert "✓" in text
    assert {each.name for each in own.iterdir()} - there == {    # and nothing else is moved
        "peft_teach", "peft_teach-0.1.0.dist-info"}
