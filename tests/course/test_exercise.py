"""Examining an answer: its states, its traceback, and what it must leave untouched."""

# ruff: noqa: F811 (fixtures are imported, and asked for by their names)

import dataclasses
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_course import demo, exercises  # noqa: F401
from exact import assert_equal

from peft_teach.course import lessons
from peft_teach.course.checks import examination as module
from peft_teach.course.checks.examination import Result, examine
from peft_teach.course.checks.exercise import Exercise, Verdict
from peft_teach.errors import NotAttempted, PeftTeachError, UnknownName


def double(x):
    return 2 * x


def found(obj, **changes):
    return examine(dataclasses.replace(exercises.find("demo.double"), **changes), obj)


def test_a_right_answer_passes():
    assert found(double) == Result("passed")
    assert found(double).passed


def test_references_are_resolved_by_name(demo):
    assert exercises.find("demo.double").resolve() is demo.reference_double
    pair = exercises.find("demo.pair").resolve()
    assert pair == (demo.reference_encode, demo.reference_decode)
    dotted = dataclasses.replace(exercises.find("demo.double"), reference="pathlib:Path.home")
    assert dotted.resolve() == Path.home


def test_a_reference_that_is_not_built_says_so():
    for path in ("peft_teach.course.lessons.probe.reference:saved", "pathlib:Path.saved"):
        probe = dataclasses.replace(exercises.find("demo.double"), reference=path)
        with pytest.raises(PeftTeachError, match=r"does not have .*saved(.|\n)*peft-teach build"):
            probe.resolve()


def test_a_named_mistake_speaks_with_the_exercises_message():
    result = found(lambda x: x)
    assert result == Result("wrong", "The output is the input.", "not_scaled", case=0)


def test_a_verdicts_own_message_comes_first():
    result = found(lambda x: x + 2)
    assert result.mistake == "added"
    assert "instead of" in result.message


def test_the_first_failing_case_decides():
    def only_vectors(x):
        return 2 * x if x.dim() == 1 else x

    assert found(only_vectors).case == 1


@pytest.mark.parametrize("output", [
    None, "text", 3, float("nan"), [1], {}, object(), torch.zeros(9), torch.zeros(3).bool(),
    torch.zeros(3, dtype=torch.complex64), torch.zeros(3, device="meta"), torch.nn.Linear(2, 2)])
def test_any_output_is_judged(output):
    assert found(lambda x: output).state == "wrong"


class Unfriendly(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("error", [
    ZeroDivisionError(), SystemExit(), GeneratorExit(), Unfriendly()])
def test_a_judge_that_fails_gives_a_wrong_verdict(error):
    def judge(case, outputs):
        raise error

    result = found(double, judge=judge)
    assert result.state == "wrong"
    assert "Tensor" in result.message
    assert type(error).__name__ in result.message
    assert "could not be judged" in found(double, judge=lambda case, y: None).message


@pytest.mark.parametrize("error", [
    ValueError("five"), NotImplementedError("five"), SystemExit("five"), MemoryError("five")])
def test_an_error_is_wrong_and_its_traceback_is_shown(error):
    def inner():
        raise error

    def learner(x):
        return inner()

    result = found(learner)
    assert result.state == "wrong"
    assert result.case == 0
    assert type(error).__name__ in result.message
    for text in ("in learner", "in inner", "raise error", "five"):
        assert text in result.traceback


def test_keyboard_interrupt_passes_through():
    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found(interrupted)
    with pytest.raises(KeyboardInterrupt):
        found(double, judge=interrupted)


def test_frames_of_libraries_above_the_learners_are_trimmed():
    ours = Path(lessons.__file__).parent / "any" / "exercises.py"
    scope = {}
    exec(compile("def run(f, case):\n    return f(case['x'])", str(ours), "exec"), scope)

    def learner(x):
        raise ValueError

    trace = found(learner, run=scope["run"]).traceback
    assert "in learner" in trace
    assert "in run" not in trace
    assert "_examine_case" not in trace

    class Layer(torch.nn.Module):
        def forward(self, x):
            return x @ x.new_zeros(99, 1)

    trace = found(Layer(), run=scope["run"]).traceback    # torch calls it
    assert trace.splitlines()[1].endswith("in forward")
    # With a wrong signature no line of the learner's is reached: the call itself is shown.
    assert "in run" in found(lambda: 1, run=scope["run"]).traceback


def test_causes_stay_in_the_traceback():
    def learner(x):
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    assert "first" in found(learner).traceback


def test_endless_recursion_is_wrong_and_stays_readable():
    def even(x):
        return odd(x)

    def odd(x):
        return even(x)

    result = found(even)
    assert "RecursionError" in result.message
    assert len(result.traceback.splitlines()) <= module.LONGEST_TRACEBACK + 1
    assert result.traceback.splitlines()[-1].startswith("RecursionError")


def test_a_stub_is_not_attempted():
    def stub(x):
        raise NotAttempted("demo.double")

    def anonymous(x):
        raise NotAttempted

    assert found(stub) == Result("not attempted", case=0)
    assert found(anonymous).state == "not attempted"


def test_another_exercises_stub_is_named():
    def depends(x):
        raise NotAttempted("demo.pair")

    result = found(depends)
    assert result.state == "not attempted"
    assert "demo.pair" in result.message


def test_changing_the_input_does_not_change_what_is_expected():
    def in_place(x):
        return x.mul_(2)

    def zeroing(x):
        return x.zero_()

    assert found(in_place).passed
    assert found(zeroing).state == "wrong"


def test_outputs_with_a_gradient_are_judged():
    assert found(lambda x: 2 * x.requires_grad_(), judge=lambda case, y: Verdict(
        torch.equal(y, 2 * case["x"]) and not (y + y).requires_grad)).passed


def test_random_state_and_modes_are_untouched():
    def meddling(x):
        torch.manual_seed(99)
        random.seed(99)
        np.random.seed(99)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.use_deterministic_algorithms(True)
        raise ValueError

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert found(meddling).state == "wrong"
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    with torch.no_grad():
        assert found(lambda x: torch.is_grad_enabled() and 2 * x).passed
        assert found(meddling).state == "wrong"
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device().type == "cpu"
    assert not torch.are_deterministic_algorithms_enabled()
    assert_equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


def test_random_code_gives_the_same_result_each_time():
    seen = []

    def learner(x):
        seen.append(torch.rand(1).item())
        return 2 * x

    found(learner)
    torch.manual_seed(5)
    found(learner)
    assert seen[:2] == seen[2:]
    assert seen[0] != seen[1]


def test_no_cases_do_not_pass():
    with pytest.raises(ValueError, match="without a case"):
        found(double, cases=lambda seed: [])


def test_other_cases_can_be_given(demo):
    hidden = demo.double_cases(7)
    assert examine(exercises.find("demo.double"), double, hidden).passed


def test_warnings_of_the_learners_code_are_not_hidden():
    def learner(x):
        warnings.warn("careful", stacklevel=1)
        return 2 * x

    with pytest.warns(UserWarning, match="careful"):
        found(learner)


def test_an_exercise_is_well_formed():
    whole = exercises.find("demo.double")
    with pytest.raises(TypeError, match="tuples"):
        dataclasses.replace(whole, names="double")
    with pytest.raises(ValueError, match="one reference for each"):
        dataclasses.replace(whole, names=("a", "b"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        whole.points = 9
    assert isinstance(whole, Exercise)


def test_the_registry_finds_by_id_and_by_lesson():
    assert [exercise.id for exercise in exercises.of_lesson("97")] == ["demo.double", "demo.pair"]
    assert exercises.of_lesson("00") == ()
    assert len(exercises.all_exercises()) == 7
    for id in ("demo.duble", "nothing.here", "", None):
        with pytest.raises(UnknownName, match=r"no exercise.*\n.*demo\.double"):
            exercises.find(id)
    with pytest.raises(UnknownName, match=r"did you mean 'demo\.double'"):
        exercises.find("demo.duble")


def test_the_registry_refuses_wrong_ids(demo, monkeypatch):
    stranger = dataclasses.replace(exercises.find("demo.double"), id="other.double")
    for wrong in ((stranger,), demo.EXERCISES[:1] * 2):
        monkeypatch.setattr(demo, "EXERCISES", wrong)
        with pytest.raises(ValueError, match=r"demo/exercises\.py"):
            exercises.all_exercises()
