"""The questions that every adapter is asked: none is idle, and each says what it saw.

What they find of methods of each kind: test_exercises, by the lessons' own.
"""

import answers
import pytest
import torch
from torch import nn

import peft_teach as pt
from peft_teach.course.checks import adapter_judge
from peft_teach.course.checks.adapter_judge import QUESTIONS
from peft_teach.course.checks.examination import examine
from peft_teach.course.checks.observe import observe, tried
from peft_teach.course.lessons import find
from peft_teach.course.publish.authored import define


def found(task, adapter):
    """What the check says: the mistake's name, or the message where there is none."""
    result = examine(task, adapter)
    return "passed" if result.passed else result.mistake or result.message


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_it_is_called_as_in_training_until_it_is_evaluated():
    modes = []

    class Shift(pt.Adapter):
        def __init__(self, base):
            super().__init__(base)
            self.b, self.scale = nn.Parameter(torch.zeros(2)), torch.tensor(2.0)
            self.eval()

        def forward(self, x):
            modes.append(self.training)
            return self.base(x) + self.b

    base = nn.Linear(3, 2).requires_grad_(False)
    seen = observe(Shift, base, {"x": draw(4, 3)}, {"b": draw(2)}, ("scale",))
    assert modes == [True, True, True, False]
    assert type(seen["attributes"]["scale"]) is float


def test_an_input_that_was_written_over_is_told():
    assert tried(lambda x: 2 * x, {"x": draw(2)})["intact"]
    seen = tried(lambda x: x.mul_(2), {"x": draw(2)})
    assert not seen["intact"]
    assert not seen["slopes"]


# ── the questions ────────────────────────────────────────────────────────────────────────────

EXAMPLES = {
    "is_adapter": "not_adapter", "holds_base": "base_lost", "leaves_base_frozen": "base_trained",
    "has_its_parameters": "shapes", "registers_no_buffer": "buffer",
    "has_a_forward": "forward_left", "gives_a_tensor": "no_return",
    "leaves_its_inputs": "input_changed", "leaves_its_base": "base_changed",
    "starts_as_its_method": "both_zero", "keeps_dtypes": "dtype",
    "follows_the_equation": "no_scale", "starts_as_its_base": "start_differs",
    "gives_the_same_twice": "second_call", "evaluates_as_it_trains": "training_only",
    "learns": "no_gradient", "lets_gradients_through": "input_cut",
    "keeps_its_numbers": "no_scale_attribute"}


@pytest.mark.parametrize("question", QUESTIONS[1:], ids=lambda question: question.__name__)
def test_no_question_is_idle(question, monkeypatch):
    """Without it, its wrong answer is not found, or not by its name."""
    mistake = EXAMPLES[question.__name__]
    adapter = define("lora.layer", answers.wrong("lora.layer")[mistake][0])
    task = find("lora.layer")
    assert found(task, adapter) == mistake
    monkeypatch.setattr(adapter_judge, "QUESTIONS", [q for q in QUESTIONS if q != question])
    assert found(task, adapter) != mistake


def test_the_numbers_in_a_message_are_the_adapters_and_the_equations():
    text = answers.wrong("lora.layer")["no_scale"][0]
    result = examine(find("lora.layer"), define("lora.layer", text))
    case = find("lora.layer").cases(0)[0]
    base = nn.functional.linear(case["x"], case["W"], case["b"])
    u = case["x"] @ case["A"].T @ case["B"].T
    right, wrong = base + case["alpha"] / case["rank"] * u, base + u
    place = divmod(int((right - wrong).abs().argmax()), right.shape[1])
    assert (f"layer(x)[{place[0]}, {place[1]}] is {wrong[place]:.4g}; expected {right[place]:.4g}."
            in result.found)


@pytest.mark.parametrize(("made", "said"), [
    (3, "an int"), (None, "None"), (torch.zeros(2, 3), "a tensor of shape (2, 3)"),
    (nn.Linear(2, 2), "a Linear")])
def test_what_is_no_adapter_is_said_in_words(made, said):
    result = examine(find("lora.layer"), lambda base, rank, alpha: made)
    assert result.mistake == "not_adapter"
    assert f") made {said}, which is no pt.Adapter." in result.found
