"""The further cases, as the grader reads them, and that each of them is needed.

Each has an answer that it alone finds, in the `SLIPS` of a lesson's answers; what they find of
answers as learners write them: test_exercises.py.
"""

import answers
import pytest
from grading_corpus import ROOT

from peft_teach.course.checks.examination import PASSED, examine
from peft_teach.course.grade import further
from peft_teach.course.lessons import find
from peft_teach.course.publish.authored import define
from peft_teach.errors import PeftTeachError

TEXTS = further.read(ROOT / "solutions")
CASES = further.cases(TEXTS)


def test_a_folder_without_them_is_an_error(tmp_path):
    with pytest.raises(PeftTeachError, match=r"no further cases in"):
        further.read(tmp_path)


def found(id: str, asked: str, cases: tuple) -> list[int]:
    """Which of the cases find a slip."""
    answer = define(id, answers.slips(id)[asked])
    return [i for i, case in enumerate(cases) if examine(find(id), answer, [case]).state != PASSED]


def test_each_exercise_with_further_cases_has_a_slip_for_each():
    assert {id: len(answers.slips(id)) for id in CASES} == {
        id: len(cases) for id, cases in CASES.items()}


@pytest.mark.parametrize("id", CASES)
def test_each_further_case_finds_a_slip_that_no_other_case_finds(id):
    by_slip = {asked: found(id, asked, CASES[id]) for asked in answers.slips(id)}
    assert sorted(by_slip.values()) == [[i] for i in range(len(CASES[id]))], by_slip
    assert not any(found(id, asked, find(id).cases(0)) for asked in by_slip)
