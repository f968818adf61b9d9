"""The checks of lesson 02, proven: references pass, and each wrong answer hears its own name."""

import pytest
import torch
from torch import nn

import peft_teach as pt
from peft_teach.course.exercise import NOT_ATTEMPTED, PASSED, WRONG, examine
from peft_teach.course.lessons import find

IDS = ("change.bitfit",)    # the others: test_exercises.py


@pytest.mark.parametrize("id", IDS)
def test_the_reference_passes(id):
    exercise = find(id)
    for seed in (0, 1, 2):
        assert examine(exercise, exercise.resolve(), exercise.cases(seed)).state == PASSED


@pytest.mark.parametrize("id", IDS)
def test_the_stub_is_not_attempted(id):
    class Stub(pt.Adapter):
        def __init__(self, base):
            super().__init__(base)
            raise pt.NotAttempted(id)

    def stub(*args):
        raise pt.NotAttempted(id)

    result = examine(find(id), Stub if id == "change.bitfit" else stub)
    assert result.state == NOT_ATTEMPTED


@pytest.mark.parametrize("id", IDS)
def test_each_mistake_has_a_message_and_a_wrong_answer_below(id):
    exercise = find(id)
    assert all(exercise.mistakes.values())
    assert len(set(exercise.mistakes.values())) == len(exercise.mistakes)
    proven = BIASES
    assert set(proven) == set(exercise.mistakes)
    assert len(proven) >= 4
    assert len(exercise.hints) == 3


def assert_caught(id, wrong, mistake):
    """The mistake is told by its name, whichever random cases the grader takes."""
    for seed in range(4):
        result = examine(find(id), wrong, find(id).cases(seed))
        assert (result.state, result.mistake) == (WRONG, mistake), result
        assert find(id).mistakes[mistake] in result.message


# ── change.bitfit ────────────────────────────────────────────────────────────────────────────


class Right(pt.Adapter):
    """A right answer in its own words; each wrong one changes one thing."""

    def __init__(self, base):
        super().__init__(base)
        self.b = nn.Parameter(self.start(base))

    def start(self, base):
        return torch.zeros(base.bias.shape)

    def forward(self, x):
        y = self.base(x)
        return self.join(y, self.b.to(y.dtype))

    def join(self, y, b):
        return y + b


def adapter(**changes):
    """A copy of `Right` with other attributes or methods."""
    return type("BiasAdapter", (Right,), changes)


class NotAnAdapter(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base


def _after(change):
    def init(self, base):
        Right.__init__(self, base)
        change(self, base)
    return init


def _plain_tensor(self, base):
    del self.b
    self.b = torch.zeros(base.bias.shape)


def _weight_too(self, base):
    self.W = nn.Parameter(base.weight.detach().clone())


def _other_base(self, base):
    self.base = nn.Linear(base.weight.shape[-1], base.weight.shape[0])


def _into_the_base(self, x):
    with torch.no_grad():
        self.base.bias += self.b.to(self.base.bias.dtype)
    return self.base(x) + 0 * self.b.to(x.dtype)


def _misnamed(self, base):
    self.bias = self.b
    del self.b


def _not_yet(self, x):
    raise pt.NotAttempted("change.bitfit")


def _cut(self, x):
    with torch.no_grad():
        y = self.base(x)
    return y + self.b.to(y.dtype)


BIASES = {
    "not_adapter": NotAnAdapter,
    "base_lost": adapter(__init__=_after(_other_base)),
    "base_trained": adapter(__init__=_after(lambda self, base: base.bias.requires_grad_())),
    "names": adapter(__init__=_after(_plain_tensor)),
    "misnamed": adapter(__init__=_after(_misnamed)),
    "layers_inside": adapter(__init__=_after(lambda self, base: (
        delattr(self, "b"), setattr(self, "b", nn.Linear(1, base.bias.numel()))))),
    "buffer": adapter(__init__=_after(lambda self, base: self.register_buffer(
        "size", torch.tensor(len(base.bias))))),
    "input_changed": adapter(forward=lambda self, x: self.base(x.add_(1)) + self.b.to(x.dtype)),
    "second_call": adapter(join=lambda self, y, b: (y + b, self.b.data.mul_(0.5))[0]),
    "training_only": adapter(join=lambda self, y, b: y + b if self.training else y),
    "shapes": adapter(start=lambda self, base: torch.zeros(1)),
    "more_parameters": adapter(__init__=_after(_weight_too)),
    "forward_left": adapter(forward=_not_yet),
    "no_return": adapter(forward=lambda self, x: None),
    "base_changed": adapter(forward=_into_the_base),
    "copied": adapter(start=lambda self, base: base.bias.detach().clone()),
    "b_not_zero": adapter(start=lambda self, base: torch.randn(base.bias.shape)),
    "dtype": adapter(start=lambda self, base: torch.zeros_like(base.bias)),
    "b_unused": adapter(join=lambda self, y, b: y),
    "replaced": adapter(join=lambda self, y, b: y - self.base.bias + b),
    "bias_twice": adapter(join=lambda self, y, b: y + self.base.bias + b),
    "subtracted": adapter(join=lambda self, y, b: y - b),
    "multiplied": adapter(join=lambda self, y, b: y * (1 + b)),
    "only_times": adapter(join=lambda self, y, b: y * b),
    "added_twice": adapter(join=lambda self, y, b: y + b + b),
    "before_base": adapter(forward=lambda self, x: self.base(x + self.b.to(x.dtype))),
    "only_b": adapter(join=lambda self, y, b: b.expand_as(y)),
    "start_differs": adapter(join=lambda self, y, b: y + b + (0 if b.any() else 1)),
    "no_gradient": adapter(join=lambda self, y, b: y + b.detach()),
    "input_cut": adapter(forward=_cut),
}


@pytest.mark.parametrize("mistake", BIASES)
def test_wrong_adapters(mistake):
    assert_caught("change.bitfit", BIASES[mistake], mistake)


@pytest.mark.parametrize("right", [
    Right, pt.bitfit.BiasAdapter,
    adapter(start=lambda self, base: torch.zeros_like(base.bias, dtype=torch.float32)),
    adapter(forward=lambda self, x: (self.base(x).float() + self.b).to(x.dtype)),
    adapter(forward=lambda self, x: self.base(x).add_(self.b)),
], ids=["plain", "reference", "zeros_like", "float", "in place"])
def test_right_adapters_pass(right):
    result = examine(find("change.bitfit"), right)
    assert result.state == PASSED, result


@pytest.mark.parametrize("odd", [None, 3, "y", object(), torch.zeros(2)])
def test_odd_outputs_of_an_adapter_are_judged(odd):
    result = examine(find("change.bitfit"), adapter(forward=lambda self, x: odd))
    assert result.state == WRONG
    assert "could not be judged" not in result.message


@pytest.mark.parametrize("id", IDS)
def test_after_a_failure_the_check_line_run_twice_is_still_not_passed(id, capsys):
    wrong = BIASES["replaced"]
    given = pt.check(id, wrong)
    assert given is find(id).resolve()
    capsys.readouterr()
    assert pt.check(id, given) is given
    assert "reference" in (said := capsys.readouterr().out)
    assert "passed" not in said
    pt.course.learner._kernel.records.pop(id)
