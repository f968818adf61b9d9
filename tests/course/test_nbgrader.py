"""nbgrader itself on two lessons, as an instructor runs it, with the notebooks as they are."""

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

from peft_teach.course.exercise import VALUE
from peft_teach.course.lessons import of_lesson

pytestmark = pytest.mark.long

COURSE = {"inside": "00", "lora": "07"}
FIRST = {"00": "inside.linear", "07": "lora.count"}

# Whatever an answer writes to stderr, a warning or a progress bar, costs nothing.
NOISY = """import sys, warnings
from tqdm import tqdm


def linear_count(n_in, n_out):
    warnings.warn('a warning')
    print('trouble', file=sys.stderr)
    list(tqdm(range(3)))
    return n_in * n_out + n_out
"""

# After a failed check the name is the reference: the line of the check then finds that.
EARLY = "linear_count = pt.check('inside.linear', lambda n_in, n_out: 0)"


def submissions(lesson: str) -> dict[str, dict]:
    """A notebook a student: three of the short lesson, one of the one with all kinds of answers."""
    first = FIRST[lesson].replace(".", "_")
    answers = {"wrong": WRONG[FIRST[lesson]][0]}    # and the right ones of all other exercises
    if lesson == "00":
        answers |= {"noisy": NOISY, "reference": EARLY}
    return {student: solved(lesson, **{first: answer}) for student, answer in answers.items()}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder in which two assignments were released, handed in and graded."""
    course = tmp_path_factory.mktemp("nbgrader")
    shutil.copy(ROOT / "solutions/nbgrader_config.py", course)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"]])}

    def nbgrader(*arguments: str) -> None:
        done = subprocess.run([sys.executable, "-m", "nbgrader", *arguments], cwd=course,
                              env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    for assignment, lesson in COURSE.items():
        source = next((ROOT / "solutions").glob(f"{lesson}_*.ipynb"))
        (course / "source" / assignment).mkdir(parents=True)
        shutil.copy(source, course / "source" / assignment)
        nbgrader("generate_assignment", assignment)
        released = json.loads((course / "release" / assignment / source.name).read_text())
        for student, notebook in (submissions(lesson) | {"untouched": released}).items():
            path = course / "submitted" / student / assignment / source.name
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(notebook))
        nbgrader("autograde", assignment)
        nbgrader("generate_feedback", assignment)
    nbgrader("export")
    return course


def points(course: Path) -> dict[tuple[str, str], float]:
    with (course / "grades.csv").open() as file:
        return {(row["assignment"], row["student_id"]): float(row["score"])
                for row in csv.DictReader(file)}


def test_marks(course):
    found = points(course)
    for assignment, lesson in COURSE.items():
        total = sum(exercise.points for exercise in of_lesson(lesson))
        first = next(e.points for e in of_lesson(lesson) if e.id == FIRST[lesson])
        expected = {"wrong": total - first, "untouched": 0, "noisy": total,
                    "reference": total - first}
        students = {*submissions(lesson), "untouched"}
        assert {student: found[assignment, student] for student in students} == {
            student: expected[student] for student in students}


@pytest.mark.parametrize(("assignment", "lesson"), COURSE.items())
def test_what_students_get_has_stubs_and_no_solution(course, assignment, lesson):
    path, = (course / "release" / assignment).glob("*.ipynb")
    cells = json.loads(path.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    assert "BEGIN SOLUTION" not in text
    answers = [cell for cell in cells if cell["metadata"].get("nbgrader", {}).get("solution")]
    assert len(answers) == len(of_lesson(lesson))
    stubs = ["".join(cell["source"]) for cell in answers]
    assert all("raise pt.NotAttempted()" in stub or stub.rstrip().endswith("= None")
               for stub in stubs)    # code, or a value
    values = [exercise for exercise in of_lesson(lesson) if exercise.answer == VALUE]
    assert sum("NotAttempted" not in stub for stub in stubs) == len(values)


@pytest.mark.parametrize(("assignment", "lesson"), COURSE.items())
def test_feedback_says_why(course, assignment, lesson):
    page, = (course / "feedback/wrong" / assignment).glob("*.html")
    text = page.read_text()
    assert f"{FIRST[lesson]} is not solved" in re.sub("<[^>]+>", "", text)
    assert len(list((course / "feedback").glob(f"*/{assignment}/*.html"))) == 1 + len(
        submissions(lesson))


@pytest.mark.parametrize("assignment", COURSE)
def test_what_students_get_runs_to_its_end(course, assignment):
    """An error stands below no cell but those that give points."""
    path, = (course / "autograded/untouched" / assignment).glob("*.ipynb")
    failed = [cell for cell in json.loads(path.read_text())["cells"]
              if any(out["output_type"] == "error" for out in cell.get("outputs", ()))]
    assert failed
    assert all(cell["metadata"]["nbgrader"]["grade"] for cell in failed)
