"""The corpus, graded once: everybody gets the mark they deserve, and nobody harms anybody."""

import csv
import os
import re
from pathlib import Path

import pytest
from grading_corpus import CORPUS, ROOT, write

from peft_teach.course.grade import Limits, Options, further, grade
from peft_teach.course.grade.feedback import safe_name
from peft_teach.course.lessons import all_exercises, marked, parts

pytestmark = pytest.mark.long    # one run of the grader over all of them takes minutes

LIMITS = Limits(seconds=2, memory_bytes=512 * 2**20)


class Graded:
    """What one run of the grader left behind, and what it was exposed to."""

    def __init__(self, folder: Path):
        self.out, self.canary = folder / "out", folder / "canary"
        submissions = folder / "submissions"
        submissions.mkdir()
        self.canary.mkdir()
        (self.canary / "precious.txt").write_text("precious")
        write(submissions, str(self.canary))
        grade(submissions, self.out, Options(solutions=ROOT / "solutions", limits=LIMITS, jobs=2))
        text = (self.out / "grades.csv").read_text(encoding="utf-8-sig")
        self.rows = {row["student"].removeprefix("'"): row for row in reversed(list(
            csv.DictReader(text.splitlines())))}
        self.pages = {path.stem: path.read_text(encoding="utf-8")
                      for path in (self.out / "feedback").iterdir()}

    def page(self, student: str) -> str:
        """What the student reads."""
        return self.pages[safe_name(student.replace("/", "⁄"))]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    return Graded(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize("student", CORPUS)
def test_everybody_gets_the_mark_they_deserve(graded, student):
    case, row = CORPUS[student], graded.rows[student]
    points = {e.id: int(row[e.id]) for e in all_exercises() if row[e.id]}
    assert points == case.points, graded.page(student)
    for optional, given, maximum in ((False, "total", "maximum"),
                                     (True, "optional", "optional maximum")):
        there = {e.id: e.points for e in marked(row["lesson"]) if e.optional == optional}
        assert int(row[given]) == sum(case.points.get(id, 0) for id in there)
        assert int(row[maximum]) == sum(there.values())
    assert [said for said in case.says if said not in graded.page(student)] == []
    assert case.flag in row["flags"]
    if student.startswith("perfect") and not parts(row["lesson"]):    # nothing lies beside it
        assert row["flags"] == ""


def test_nobody_is_forgotten(graded):
    others = {"escape": "11 of 11 points; optional: 4 of 4", "bomb": "70 MB are too large",
              "broken": "cannot be read", "Kim Lee": "nothing that could be read, but essay.pdf"}
    assert set(graded.rows) == set(CORPUS) | set(others)
    for student, flag in others.items():
        assert flag in graded.rows[student]["flags"] + graded.page(student)


def test_nothing_was_harmed(graded):
    assert os.listdir(graded.canary) == ["precious.txt"]
    assert (graded.canary / "precious.txt").read_text() == "precious"


def test_no_further_case_is_told(graded):
    """Neither the numbers of the cases, nor the text of their files."""
    texts = further.read(ROOT / "solutions")
    lines = {line.strip() for _, text in texts for line in text.splitlines()}
    secrets = {line for line in lines if len(line) > 20 and not line.startswith(("import", "from"))}
    secrets |= {"5001 3202 2053", "5001, 3202, 2053", "Saw", "07_lora/further.py'\n"}
    for name, page in graded.pages.items():
        shown = re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL) if name == "by heart" else page
        assert not [secret for secret in secrets if secret in shown], name


def test_pages_are_safe_to_open_and_to_hand_out(graded):
    for page in graded.pages.values():
        assert "<script" not in page
        assert "default-src 'none'" in page
        assert str(ROOT) not in page
        assert "Passed!" not in page
        assert "PYTHONPATH" not in page
        assert not re.search(r"/(root|home|tmp)/(?!escaped)", page.replace(str(graded.canary), ""))


def test_the_class_is_a_picture(graded):
    report = (graded.out / "report.html").read_text()
    assert any(f"{exercise.id}: " in report for exercise in all_exercises())
    assert "alt=" in report
    assert (graded.out / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "further ones decided" in report
