"""What only the checks of lesson 07 do."""

import answers

from peft_teach.course.exercise import examine
from peft_teach.course.lessons import find


def test_an_unknown_factor_is_told():
    text = answers.but(answers.right("lora.layer")["plain"], "alpha / rank", "0.3 * alpha / rank")
    result = examine(find("lora.layer"), answers.define("lora.layer", text))
    assert (result.passed, result.mistake) == (False, None)
    assert "0.3 times the expected, everywhere" in result.message
