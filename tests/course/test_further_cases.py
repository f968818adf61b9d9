"""The further cases, as the grader reads them; what they find: test_exercises.py."""


import pytest

from peft_teach.course.grade import further
from peft_teach.errors import PeftTeachError


def test_a_folder_without_them_is_an_error(tmp_path):
    with pytest.raises(PeftTeachError, match=r"no further cases in"):
        further.read(tmp_path)
