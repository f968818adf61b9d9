"""The further cases, as the grader reads them; what they find: test_exercises.py."""

import re

import pytest
from grading_corpus import ROOT

from peft_teach.course.grade import hidden
from peft_teach.errors import PeftTeachError

TEXTS = hidden.read(ROOT / "solutions")


def test_a_folder_without_them_is_an_error(tmp_path):
    with pytest.raises(PeftTeachError, match=r"no further cases in .*hidden"):
        hidden.read(tmp_path)


def test_none_of_them_is_in_the_lessons():
    lines = {"".join(line.split()) for _, text in TEXTS for line in text.splitlines()}
    lines = {line for line in lines if len(line) > 20 and not re.match("import|from", line)}
    for path in (*(ROOT / "lessons").glob("*.ipynb"), *(ROOT / "solutions").glob("[0-9]*")):
        text = "".join(path.read_text("utf-8").split())
        assert not [line for line in lines if line in text], path
