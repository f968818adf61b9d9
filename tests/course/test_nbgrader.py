"""nbgrader itself on a lesson, as an instructor runs it, with the notebooks as they are."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from grading_corpus import ROOT, WRONG, solved

from peft_teach.course.checks.exercise import VALUE
from peft_teach.course.lessons import of_lesson

pytestmark = pytest.mark.long

NAME, LESSON = "inside", "00"

# Each in an exercise of its own, in one notebook; all others are answered right.
# Whatever an answer writes to stderr, a warning or a progress bar, costs nothing.
NOISY = """import sys, warnings
from tqdm import tqdm


def linear_count(n_in, n_out):
    warnings.warn('a warning')
    print('trouble', file=sys.stderr)
    list(tqdm(range(3)))
    return n_in * n_out + n_out
"""
MISTAKEN = WRONG["inside.block"][0]
# After a failed check the name is the reference: the line of the check then finds that.
EARLY = "ledger = pt.check('inside.ledger', lambda *sizes: {})"
FAILED = ("inside.ledger", "inside.block")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder in which an assignment was released, handed in twice and graded."""
    course = tmp_path_factory.mktemp("nbgrader")
    shutil.copy(ROOT / "solutions/nbgrader_config.py", course)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"]])}

    def nbgrader(*arguments: str) -> None:
        done = subprocess.run([sys.executable, "-m", "nbgrader", *arguments], cwd=course,
                              env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    source = next((ROOT / "lessons").glob(f"{LESSON}_*.ipynb"))
    (course / "source" / NAME).mkdir(parents=True)
    shutil.copy(source, course / "source" / NAME)
    nbgrader("generate_assignment", NAME)
    released = json.loads((course / "release" / NAME / source.name).read_text())
    mixed = solved(LESSON, inside_linear=NOISY, inside_block=MISTAKEN, inside_ledger=EARLY)
    for student, notebook in (("mixed", mixed), ("untouched", released)):
        path = course / "submitted" / student / NAME / source.name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(notebook))
    nbgrader("autograde", NAME)
    nbgrader("generate_feedback", NAME)
    nbgrader("export")
    return course


def test_marks(course):
    with (course / "grades.csv").open() as file:
        found = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    passed = [e.points for e in of_lesson(LESSON) if e.id not in FAILED]
    assert found == {"mixed": sum(passed), "untouched": 0}


def test_what_students_get_has_stubs_and_no_solution(course):
    path, = (course / "release" / NAME).glob("*.ipynb")
    cells = json.loads(path.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    assert "BEGIN SOLUTION" not in text
    answers = [cell for cell in cells if cell["metadata"].get("nbgrader", {}).get("solution")]
    assert len(answers) == len(of_lesson(LESSON))
    stubs = ["".join(cell["source"]) for cell in answers]
    assert all("raise pt.NotAttempted(" in stub or stub.rstrip().endswith("= None")
               for stub in stubs)    # code, or a value
    values = [exercise for exercise in of_lesson(LESSON) if exercise.answer == VALUE]
    assert sum("NotAttempted" not in stub for stub in stubs) == len(values) > 0


def test_feedback_says_why(course):
    page, = (course / "feedback/mixed" / NAME).glob("*.html")
    text = re.sub("<[^>]+>", "", page.read_text())
    assert [e.id for e in of_lesson(LESSON) if f"{e.id} is not solved" in text] == [*FAILED]
    assert len(list((course / "feedback").glob(f"*/{NAME}/*.html"))) == 2


def test_what_students_get_runs_to_its_end(course):
    """An error stands below no cell but those that give points."""
    path, = (course / "autograded/untouched" / NAME).glob("*.ipynb")
    failed = [cell for cell in json.loads(path.read_text())["cells"]
              if any(out["output_type"] == "error" for out in cell.get("outputs", ()))]
    assert failed
    assert all(cell["metadata"]["nbgrader"]["grade"] for cell in failed)
