"""A lesson as an author adds it: a few files of its own, built, run unsolved and graded.

In a checkout of its own, so that other processes (kernels, the grader's server) meet the lesson as
they would meet any other. nbgrader meets all kinds of answers in test_nbgrader.
"""

# ruff: noqa: F811 (fixtures are imported, and asked for by their names)

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from demo_course import FOLDER, LESSON_99, checkout, write  # noqa: F401
from exact import files
from nbclient import NotebookClient

pytestmark = pytest.mark.long

POINTS = {"kinds.shift": 3, "kinds.rank": 1, "kinds.settings": 2, "kinds.law": 2}

# What learners change in the solved lesson, and what they are told.
WRONG = {
    "kinds.shift": ("return self.base(x) + self.b", "return self.base(x)", "moves by 0.00"),
    "kinds.rank": ("max(smaller)", "len(smaller) + 1", "Nothing is saved"),
    "kinds.settings": ('{"lr": 2e-3}', '{"lr": 2e-3, "rank": 9}', "They differ in 2 things"),
    "kinds.law": ("    assert double(-1) == -2", "",
                  "It rejects 3 of 4 broken versions, and 0 of 3 right ones. "
                  "Accepted though broken: one that forgets the sign."),
}


def environment(checkout):
    return os.environ | {"PYTHONPATH": str(checkout), "PATH": os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"]])}


def run(checkout, *arguments, **variables):
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=checkout, capture_output=True,
                          env=environment(checkout) | variables, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


def text_of(page):
    return " ".join(re.sub("<[^>]+>", " ", page).split())


@pytest.fixture(scope="module")
def built(checkout):
    """The checkout with the lesson in it, and the files that were there before it came."""
    lesson, source = (checkout / "peft_teach/course/lessons/kinds",
                      checkout / "solutions/99_kinds/lesson.py")
    shutil.rmtree(lesson)
    source.unlink()
    run(checkout, "peft_teach.course.cli", "build")
    before = files(checkout)
    shutil.copytree(FOLDER / "kinds", lesson,    # what an author writes of it is elsewhere
                    ignore=shutil.ignore_patterns("__pycache__", "answers.py"))
    write(checkout, "99_kinds", LESSON_99)
    run(checkout, "peft_teach.course.cli", "build", "99", "--execute")
    run(checkout, "peft_teach.course.cli", "build", "--check")
    return checkout, before


def solved(built, **changes):
    """The solved notebook, with one thing changed."""
    text = (built[0] / "solutions/99_kinds/99_kinds.ipynb").read_text()
    notebook = json.loads(text)
    for id, (old, new, _) in changes.items():
        cell, = (cell for cell in notebook["cells"]
                 if cell["id"] == f"{id.replace('.', '-')}-solution")
        source = "".join(cell["source"])
        assert source.count(old) == 1
        cell["source"] = source.replace(old, new)
    return json.dumps(notebook)


def states(built, notebook, **variables):
    """Run a notebook from top to bottom; the state that each check showed."""
    notebook = nbformat.reads(notebook, as_version=4)
    NotebookClient(notebook, timeout=120).execute(env=environment(built[0]) | variables)
    shown = [output.get("data", {}).get("text/plain", "") for cell in notebook.cells
             for output in cell.get("outputs", ())]
    assert not [output for cell in notebook.cells for output in cell.get("outputs", ())
                if output.output_type == "stream" and output.name == "stderr"]
    return dict(re.findall(r"^. (kinds\.\w+): ([a-z ]+) \(", "\n".join(shown), re.MULTILINE))


def test_no_shared_file_changed(built):
    checkout, before = built
    after = files(checkout)
    last = max(name for name in before if re.match(r"lessons/\d", name))    # leads to the new one
    solved = f"solutions/{Path(last).stem}/{Path(last).name}"
    assert {name for name in before if after[name] != before[name]} == {
        "lessons/START.ipynb", last, solved}
    assert set(after) - set(before) == {
        "solutions/99_kinds/lesson.py", "solutions/99_kinds/99_kinds.ipynb",
        "lessons/99_kinds.ipynb",
        *(f"peft_teach/course/lessons/kinds/{name}" for name in (
            "__init__.py", "exercises.py", "mutants.py", "stubs.json"))}


def test_the_lesson_runs_unsolved(built):
    unsolved = (built[0] / "lessons/99_kinds.ipynb").read_text()
    assert states(built, unsolved) == dict.fromkeys(POINTS, "not attempted")


def test_the_lesson_runs_solved_and_what_passed_is_there_in_the_next_kernel(built, tmp_path):
    found = states(built, solved(built), PEFT_TEACH_WORK=str(tmp_path))
    assert found == dict.fromkeys(POINTS, "passed")
    library = (tmp_path / "my_peft.py").read_text()
    kept = ["kinds.shift", "kinds.law"]    # the other answers are values, of use to nobody else
    assert re.findall(r"^# ── (\S+)", library, re.MULTILINE) == kept
    assert "print" not in library
    code = ("import peft_teach as pt\n"
            "doubles = pt.mine('kinds.law')\n"
            "pt.audit()\npt.audit(double=abs)\nprint(pt.mine.__module__)")
    cells = [nbformat.v4.new_code_cell(code)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120).execute(
        env=environment(built[0]) | {"PEFT_TEACH_WORK": str(tmp_path)})
    shown = "\n".join(output.get("text") or output.data["text/plain"]
                      for output in notebook.cells[0].outputs)
    assert shown.startswith("yours: doubles\n")
    assert re.findall("accepts|rejects: Asser", shown) == ["accepts", "rejects: Asser"]
    # It ran in the folder of the tests, which is not where the reader works.
    assert not list(Path.cwd().glob("my_peft*"))


def test_the_lesson_is_graded(built, tmp_path):
    folder, expected = tmp_path / "in", {}
    folder.mkdir()
    submissions = {"perfect": solved(built), "untouched": (
        built[0] / "lessons/99_kinds.ipynb").read_text()}
    expected["perfect"], expected["untouched"] = POINTS, dict.fromkeys(POINTS, 0)
    for id, change in WRONG.items():
        student = id.replace(".", "")
        submissions[student] = solved(built, **{id: change})
        expected[student] = POINTS | {id: 0}
    # An earlier piece is the course's: a right law would reject the one in this my_peft.py.
    (tmp_path / "my_peft.py").write_text("# ── demo.double\ndef double(x):\n    return x\n")
    mine = ("    assert double(3) == 6", '    assert double(3) == pt.mine("demo.double")(3)', "")
    submissions["mine"], expected["mine"] = solved(built, **{"kinds.law": mine}), POINTS
    itself = ("class Shift(pt.Adapter)", 'class Shift(pt.mine("kinds.shift"))', "")
    submissions["itself"] = solved(built, **{"kinds.shift": itself})
    expected["itself"] = POINTS | {"kinds.shift": 0}
    for student, notebook in submissions.items():
        (folder / student).mkdir()
        (folder / student / "99_kinds.ipynb").write_text(notebook)
    run(built[0], "peft_teach.course.cli", "grade", str(folder), "--out", str(tmp_path / "out"),
        PEFT_TEACH_WORK=str(tmp_path))
    with (tmp_path / "out/grades.csv").open(encoding="utf-8-sig") as file:
        marks = {row["student"]: {id: float(row[id]) for id in POINTS}
                 for row in csv.DictReader(file)}
    assert marks == expected
    for id, (_, _, told) in WRONG.items():
        page = (tmp_path / "out/feedback" / f"{id.replace('.', '')}.html").read_text()
        assert told in text_of(page)
    page = text_of((tmp_path / "out/feedback/itself.html").read_text())
    assert "It is made of what pt.mine gives for this exercise." in page
