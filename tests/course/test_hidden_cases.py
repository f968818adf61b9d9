"""The further cases: the reference passes, and they find what the visible cases let through."""

import re

import pytest
import torch
from grading_corpus import ROOT, lessons
from torch import nn

import peft_teach as pt
from peft_teach.course.build.source import SOLUTION
from peft_teach.course.exercise import PASSED, WRONG, examine
from peft_teach.course.grade import hidden
from peft_teach.course.grade.plain import from_bytes, to_bytes
from peft_teach.course.lessons import all_exercises, find
from peft_teach.errors import PeftTeachError, UnknownName

TEXTS = hidden.read(ROOT / "solutions")
IDS = [e.id for e in all_exercises()]
WITH = [id for id in IDS if id != "lora.forty_kb"]    # a puzzle whose one case is the question


def author(id):
    """The solution that stands in the lesson."""
    exercise = find(id)
    cell, = (cell for cell in lessons()[exercise.lesson].cells
             if cell.part == SOLUTION and cell.exercise.id == id)
    namespace = {"torch": torch, "pt": pt}
    exec(compile(cell.source, id, "exec"), namespace)
    return exercise.pack([namespace[name] for name in exercise.names])


def test_every_exercise_has_further_cases():
    assert [id for id in IDS if hidden.cases(TEXTS, id)] == WITH


@pytest.mark.parametrize("id", WITH)
def test_the_reference_and_the_author_pass(id):
    exercise, cases = find(id), hidden.cases(TEXTS, id)
    assert len(cases) >= 3
    assert examine(exercise, exercise.resolve(), cases).state == PASSED
    assert examine(exercise, author(id), cases).state == PASSED


@pytest.mark.parametrize("id", IDS)
def test_cases_cross_to_the_other_process_as_they_are(id):
    for case in (*find(id).cases(0), *hidden.cases(TEXTS, id)):
        assert same(from_bytes(to_bytes(case)), case)


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("id", WITH)
def test_they_are_not_the_visible_ones(id):
    visible = [case for seed in range(3) for case in find(id).cases(seed)]
    assert not any(same(a, b) for a in visible for b in hidden.cases(TEXTS, id))


# ── answers that pass the notebook's check, and are wrong ────────────────────────────────────


class ThreeAxes(pt.Adapter):
    """Spreads b by hand over an input of three axes."""

    def __init__(self, base):
        super().__init__(base)
        self.b = nn.Parameter(torch.zeros(base.bias.shape))

    def forward(self, x):
        y = self.base(x)
        return y + self.b.to(y.dtype).expand(x.shape[0], x.shape[1], -1)


WRONG_BEYOND = {
    "change.bitfit": ThreeAxes,
}


@pytest.mark.parametrize("id", WRONG_BEYOND)
def test_they_find_what_the_visible_cases_let_through(id):
    exercise = find(id)
    assert examine(exercise, WRONG_BEYOND[id]).state == PASSED
    assert examine(exercise, WRONG_BEYOND[id], hidden.cases(TEXTS, id)).state == WRONG


# ── reading them ─────────────────────────────────────────────────────────────────────────────


def test_a_folder_without_them_is_an_error(tmp_path):
    with pytest.raises(PeftTeachError, match=r"no further cases in .*hidden"):
        hidden.read(tmp_path)


def test_an_exercise_that_does_not_exist_is_an_error(tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/x.py").write_text('CASES = {"lora.lair": list}')
    with pytest.raises(UnknownName, match=r"lora\.layer"):
        hidden.cases(hidden.read(tmp_path), "lora.layer")


def test_none_of_them_is_in_the_lessons():
    lines = {"".join(line.split()) for text in TEXTS.values() for line in text.splitlines()}
    lines = {line for line in lines if len(line) > 20 and not re.match("import|from", line)}
    for path in (*(ROOT / "lessons").glob("*.ipynb"), *(ROOT / "solutions").glob("[0-9]*")):
        text = "".join(path.read_text("utf-8").split())
        assert not [line for line in lines if line in text], path
