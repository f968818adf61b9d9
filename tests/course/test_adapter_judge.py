"""The questions that every adapter is asked, tried on methods of four kinds beside the lessons'.

One that multiplies, one whose base takes two inputs, one that starts only near its base, and one
that stands before the tokens and so does not start as its base at all.
"""

import dataclasses

import answers
import pytest
import torch
from torch import nn

import peft_teach as pt
from peft_teach.course.checks import adapter_judge
from peft_teach.course.checks.adapter_judge import MISTAKES, QUESTIONS, Method
from peft_teach.course.checks.examination import examine
from peft_teach.course.checks.exercise import Exercise, Verdict
from peft_teach.course.checks.judge import rejected
from peft_teach.course.checks.observe import observe, tried
from peft_teach.course.lessons import find
from peft_teach.course.publish.authored import define


def exercise(method, cases, **mistakes):
    """An exercise that asks for the method's adapter."""
    return Exercise(
        id="test.adapter", names=(method.name,), points=1, minutes=1, difficulty=1,
        reference="math:pi", cases=lambda seed: cases, run=method.run, judge=method.judge,
        returns=method.returns(),
        mistakes=MISTAKES | mistakes, hints=("", "", ""))


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


# ── a scale, as in IA3: it multiplies, and starts at one ─────────────────────────────────────


def frozen_linear(case):
    base = nn.Linear(*case["W"].T.shape, dtype=case["W"].dtype)
    with torch.no_grad():
        base.weight.copy_(case["W"])
        base.bias.fill_(0.5)
    return base.requires_grad_(False)


def ones(method, case, seen) -> Verdict | None:
    if not (seen["start_own"]["l"] == 1).all():
        return rejected("not_one", "l does not start at one.")
    return None


SCALE = exercise(Method(
    name="Scaled", base=frozen_linear, own=("l",), formula="l ⊙ base(x)", praise="Scales.",
    equation=lambda base, case: (base(case["x"]) * case["l"]).to(case["x"].dtype),
    usual=lambda base, case: {"added": base(case["x"]) + case["l"]}, starts=(ones,)),
    [{"W": draw(3, 2).to(dtype), "x": draw(4, 2, seed=1).to(dtype), "l": draw(3, seed=2)}
     for dtype in (torch.float32, torch.bfloat16)],
    not_one="At one, nothing changes.", added="l is added. It is multiplied.")


class Scaled(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.l = nn.Parameter(torch.ones(base.out_features))

    def forward(self, x):
        y = self.base(x)
        return y * self.l.to(y.dtype)


def scaled(join, start=torch.ones):
    """A `Scaled` that joins or starts otherwise."""
    class Other(Scaled):
        def __init__(self, base):
            super().__init__(base)
            self.l = nn.Parameter(start(base.out_features))

        def forward(self, x):
            return join(self.base(x), self.l)

    return Other


@pytest.mark.parametrize(("adapter", "says"), [
    (Scaled, "passed"),
    (scaled(lambda y, l: (y * l).to(y.dtype)), "passed"),
    (scaled(lambda y, l: y.mul_(l.to(y.dtype))), "passed"),
    (scaled(lambda y, l: y + l), "added"),
    (scaled(lambda y, l: y * l), "dtype"),
    (scaled(lambda y, l: y * l.detach()), "no_gradient"),
    (scaled(lambda y, l: y.detach() * l), "input_cut"),
    (scaled(lambda y, l: (y * l).to(y.dtype), torch.zeros), "not_one"),
    (scaled(lambda y, l: (y * l).to(y.dtype), lambda n: torch.ones(1)), "shapes"),
])
def test_a_method_that_multiplies(adapter, says):
    assert found(SCALE, adapter) == says


# ── beside a base of two inputs; a start that is only near ───────────────────────────────────


class AddAndNorm(nn.Module):
    """What BERT's output layers are: called with the hidden state and the residual."""

    def __init__(self, W):
        super().__init__()
        self.W = nn.Parameter(W.clone(), requires_grad=False)

    def forward(self, h, r):
        return nn.functional.layer_norm(h @ self.W + r, r.shape[-1:])


def beside(base, case):
    h, r = case["h"], case["r"]
    return base(h, r + torch.relu(r @ case["down"].T) @ case["up"].T)


PARALLEL = Method(
    name="Parallel", base=lambda case: AddAndNorm(case["W"]), own=("down", "up"),
    arguments=("size",), inputs=("h", "r"), equation=beside, praise="Beside.",
    formula="base(h, r + up(relu(down(r))))", start_bound=0.05)
PARALLEL_CASES = [{"W": draw(6, 4), "h": draw(2, 6), "r": draw(2, 4, seed=1), "size": 3,
                   "down": draw(3, 4, seed=2), "up": draw(4, 3, seed=3)}]


class Parallel(pt.Adapter):
    std = 1e-2

    def __init__(self, base, size):
        super().__init__(base)
        self.down = nn.Parameter(self.std * torch.randn(size, 4))
        self.up = nn.Parameter(self.std * torch.randn(4, size))

    def branch(self, r):
        return torch.relu(r @ self.down.T) @ self.up.T

    def forward(self, h, r):
        return self.base(h, r + self.branch(r))


def parallel(**changes):
    return type("Parallel", (Parallel,), changes)


@pytest.mark.parametrize(("adapter", "says"), [
    (Parallel, "passed"),
    (parallel(std=1.0), "start_differs"),
    (parallel(branch=lambda self, r: Parallel.branch(self, r.detach())), "input_cut"),
    (parallel(forward=lambda self, h, r: self.base(h.detach(), r + self.branch(r))), "input_cut"),
    (parallel(forward=lambda self, h, r: self.base(h, r.add_(self.branch(r)))), "input_changed"),
])
def test_a_base_of_two_inputs(adapter, says):
    assert found(exercise(PARALLEL, PARALLEL_CASES), adapter) == says


def test_the_bound_of_a_near_start_is_the_methods():
    exact = dataclasses.replace(PARALLEL, start_bound=0.0)
    assert found(exercise(exact, PARALLEL_CASES), Parallel) == "start_differs"
    assert found(exercise(exact, PARALLEL_CASES), parallel(std=0.0)) == "passed"


# ── before the tokens: another start, and an input that has no gradient ──────────────────────


class Mixer(nn.Module):
    """A backbone in small: each token becomes the mean of all that are not masked."""

    def forward(self, x, mask):
        weights = mask / mask.sum(1, keepdim=True)
        return x + torch.einsum("bt,btd->bd", weights, x)[:, None]


def before(base, case):
    x, mask, p = case["x"], case["mask"], case["p"]
    p = p.expand(len(x), -1, -1)
    mask = torch.cat([torch.ones(p.shape[:2], dtype=mask.dtype), mask], 1)
    return base(torch.cat([p, x], 1), mask)[:, p.shape[1]:]


PROMPT = Method(name="Prompt", base=lambda case: Mixer(), own=("p",), arguments=("length",),
                inputs=("x", "mask"), equation=before, formula="base([p; x])", praise="Before.")
PROMPT_CASES = [{"x": draw(2, 3, 4), "mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
                 "p": draw(2, 4, seed=1), "length": 2}]


class Prompt(pt.Adapter):
    def __init__(self, base, length):
        super().__init__(base)
        self.p = nn.Parameter(torch.randn(length, 4))

    def forward(self, x, mask):
        return before(self.base, {"x": x, "mask": mask, "p": self.p})


class Unmasked(Prompt):
    def forward(self, x, mask):
        p = self.p.expand(len(x), -1, -1)
        mask = torch.cat([torch.zeros(p.shape[:2], dtype=mask.dtype), mask], 1)
        return self.base(torch.cat([p, x], 1), mask)[:, p.shape[1]:]


def leave_out(monkeypatch, question):
    monkeypatch.setattr(adapter_judge, "QUESTIONS", [q for q in QUESTIONS if q != question])


def test_a_method_that_does_not_start_as_its_base(monkeypatch):
    assert found(exercise(PROMPT, PROMPT_CASES), Prompt) == "start_differs"
    leave_out(monkeypatch, adapter_judge.starts_as_its_base)
    assert found(exercise(PROMPT, PROMPT_CASES), Prompt) == "passed"
    assert "is not base([p; x])" in found(exercise(PROMPT, PROMPT_CASES), Unmasked)


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
    leave_out(monkeypatch, question)
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
