"""The checks of lesson 07, proven: the reference passes, and each wrong answer hears its own name.

Every wrong answer here is one that people write. A check that accepts one of them, or calls it by
another's name, fails.
"""

import math

import pytest
import torch
from torch import nn

import peft_teach as pt
from peft_teach.course.exercise import NOT_ATTEMPTED, PASSED, WRONG, examine
from peft_teach.course.lessons import find, of_lesson

IDS = ("lora.count", "lora.layer", "lora.merge", "lora.forty_kb")


def test_the_lesson_has_these_exercises():
    assert tuple(e.id for e in of_lesson("07")) == IDS


@pytest.mark.parametrize("id", IDS)
def test_the_reference_passes(id):
    exercise = find(id)
    for seed in (0, 1, 2):
        assert examine(exercise, exercise.resolve(), exercise.cases(seed)).state == PASSED


@pytest.mark.parametrize("id", IDS)
def test_the_stub_is_not_attempted(id):
    class Stub(pt.Adapter):
        def __init__(self, base, rank=8, alpha=16.0):
            super().__init__(base)
            raise pt.NotAttempted(id)

    def stub(*args):
        raise pt.NotAttempted(id)

    result = examine(find(id), Stub if id == "lora.layer" else stub)
    assert result.state == NOT_ATTEMPTED


@pytest.mark.parametrize("id", IDS)
def test_each_mistake_has_a_message_and_a_wrong_answer_below(id):
    exercise = find(id)
    assert all(exercise.mistakes.values())
    assert len(set(exercise.mistakes.values())) == len(exercise.mistakes)
    proven = {"lora.count": COUNTS, "lora.layer": LAYERS, "lora.merge": MERGES,
              "lora.forty_kb": CHOICES}[id]
    assert set(proven) == set(exercise.mistakes)
    assert len(proven) >= 4
    assert len(exercise.hints) == 3


def assert_caught(id, wrong, mistake):
    result = examine(find(id), wrong)
    assert (result.state, result.mistake) == (WRONG, mistake), result
    assert find(id).mistakes[mistake] in result.message


# ── lora.count ───────────────────────────────────────────────────────────────────────────────

COUNTS = {
    "no_return": lambda n_in, n_out, r: None,
    "not_whole": lambda n_in, n_out, r: float(r * (n_in + n_out)),
    "whole_matrix": lambda n_in, n_out, r: n_in * n_out,
    "only_A": lambda n_in, n_out, r: r * n_in,
    "only_B": lambda n_in, n_out, r: r * n_out,
    "square_only": lambda n_in, n_out, r: 2 * r * n_in,
    "multiplied": lambda n_in, n_out, r: r * n_in * n_out,
    "with_base": lambda n_in, n_out, r: n_in * n_out + r * (n_in + n_out),
}


@pytest.mark.parametrize("mistake", COUNTS)
def test_wrong_counts(mistake):
    assert_caught("lora.count", COUNTS[mistake], mistake)


@pytest.mark.parametrize("odd", ["12", torch.tensor(32), [32], True, math.nan, object()])
def test_odd_counts_are_judged(odd):
    assert examine(find("lora.count"), lambda *sizes: odd).state == WRONG


# ── lora.layer ───────────────────────────────────────────────────────────────────────────────


class Right(pt.Adapter):
    """A right answer in its own words; each wrong one changes one thing."""

    start_A = staticmethod(lambda rank, n_in: torch.randn(rank, n_in) / n_in**0.5)
    start_B = staticmethod(torch.zeros)

    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base)
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        self.A = nn.Parameter(self.start_A(rank, base.in_features))
        self.B = nn.Parameter(self.start_B(base.out_features, rank))

    def correction(self, x):
        return x.float() @ self.A.T @ self.B.T

    def forward(self, x):
        y = self.base(x)
        return y + (self.factor() * self.correction(x)).to(y.dtype)

    def factor(self):
        return self.scale


def layer(**changes):
    """A copy of `Right` with other attributes or methods."""
    return type("LoRALinear", (Right,), changes)


def _more_parameters(self, base, rank=8, alpha=16.0):
    Right.__init__(self, base, rank, alpha)
    self.W = nn.Parameter(base.weight.detach().clone())


def _half(self, base, rank=8, alpha=16.0):
    Right.__init__(self, base, rank, alpha)
    self.to(base.weight.dtype)


def _base_lost(self, base, rank=8, alpha=16.0):
    Right.__init__(self, base, rank, alpha)
    self.base = nn.Linear(base.in_features, base.out_features)


def _into_the_weight(self, x):
    with torch.no_grad():
        self.base.weight += (self.scale * self.B @ self.A).to(self.base.weight.dtype)
    return self.base(x)


def _shapes(a, b):
    def init(self, base, rank=8, alpha=16.0):
        pt.Adapter.__init__(self, base)
        sizes = {"r": rank, "i": base.in_features, "o": base.out_features}
        self.A = nn.Parameter(torch.randn(*(sizes[c] for c in a)))
        self.B = nn.Parameter(torch.zeros(*(sizes[c] for c in b)))
    return init


def _unbiased(self, x):
    y = nn.functional.linear(x, self.base.weight)
    return y + (self.scale * self.correction(x)).to(y.dtype)


def _bias_twice(self, x):
    y = Right.forward(self, x)
    return y if self.base.bias is None else y + self.base.bias


class NotAnAdapter(nn.Module):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__()
        self.base = base


def _plain_tensor(self, base, rank=8, alpha=16.0):
    Right.__init__(self, base, rank, alpha)
    B = self.B.detach()
    del self.B
    self.B = B


LAYERS = {
    "names": layer(__init__=_plain_tensor),
    "no_return": layer(forward=lambda self, x: None),
    "A_size": layer(start_A=staticmethod(torch.randn)),
    "A_alike": layer(start_A=staticmethod(lambda rank, n_in: torch.randn(1, n_in).expand(
        rank, n_in).clone() / n_in**0.5)),
    "training_only": layer(factor=lambda self: self.scale if self.training else 0.0),
    "input_cut": layer(forward=lambda self, x: Right.forward(self, x.detach())),
    "not_adapter": NotAnAdapter,
    "base_lost": layer(__init__=_base_lost),
    "swapped": layer(__init__=_shapes("or", "ri")),
    "transposed": layer(__init__=_shapes("ir", "ro")),
    "more_parameters": layer(__init__=_more_parameters),
    "shapes": layer(__init__=_shapes("rr", "rr")),
    "base_changed": layer(forward=_into_the_weight),
    "both_zero": layer(start_A=staticmethod(torch.zeros)),
    "A_zero": layer(start_A=staticmethod(torch.zeros), start_B=staticmethod(torch.randn)),
    "B_not_zero": layer(start_B=staticmethod(torch.randn)),
    "dtype": layer(__init__=_half, correction=lambda self, x: x @ self.A.T @ self.B.T),
    "branch_missing": layer(factor=lambda self: 0.0),
    "no_scale": layer(factor=lambda self: 1.0),
    "alpha_only": layer(factor=lambda self: self.alpha),
    "scaled_twice": layer(factor=lambda self: self.scale**2),
    "scale_upside_down": layer(factor=lambda self: self.rank / self.alpha),
    "root_of_rank": layer(factor=lambda self: self.alpha / math.sqrt(self.rank)),
    "base_missing": layer(forward=lambda self, x: (self.scale * self.correction(x)).to(x.dtype)),
    "bias_missing": layer(forward=_unbiased),
    "bias_twice": layer(forward=_bias_twice),
    "all_scaled": layer(forward=lambda self, x: (
        self.scale * (self.base(x) + self.correction(x))).to(x.dtype)),
    "subtracted": layer(factor=lambda self: -self.scale),
    "start_differs": layer(forward=lambda self, x: Right.forward(self, x) + (
        0 if self.B.any() else 1)),
    "no_gradient": layer(correction=lambda self, x: x.float() @ self.A.detach().T @ self.B.T),
    "no_scale_attribute": layer(factor=lambda self: self.alpha / self.rank,
                                __init__=lambda self, base, rank=8, alpha=16.0: (
                                    Right.__init__(self, base, rank, alpha),
                                    delattr(self, "scale"), None)[-1]),
}


def _kaiming(rank, n_in):
    return nn.init.kaiming_uniform_(torch.empty(rank, n_in), a=math.sqrt(5))


@pytest.mark.parametrize("right", [
    Right,
    layer(start_A=staticmethod(_kaiming)),
    layer(correction=lambda self, x: torch.einsum("...i,ri,or->...o", x.float(), self.A, self.B)),
    layer(correction=lambda self, x: nn.functional.linear(
        nn.functional.linear(x.float(), self.A), self.B)),
    layer(forward=lambda self, x: self.base(x).add_(
        (self.scale * self.correction(x)).to(x.dtype))),
    layer(__init__=lambda self, base, rank=8, alpha=16.0: (
        Right.__init__(self, base, rank, alpha), delattr(self, "scale"),
        self.register_buffer("scale", torch.tensor(alpha / rank)), None)[-1]),
    pt.lora.LoRALinear,
], ids=["plain", "kaiming", "einsum", "F.linear", "in place", "scale as a buffer", "reference"])
def test_right_layers_pass(right):
    result = examine(find("lora.layer"), right)
    assert result.state == PASSED, result


@pytest.mark.parametrize("mistake", LAYERS)
def test_wrong_layers(mistake):
    assert_caught("lora.layer", LAYERS[mistake], mistake)


def test_an_unknown_factor_is_told():
    result = examine(find("lora.layer"), layer(factor=lambda self: 0.3 * self.scale))
    assert "0.3 times the expected one, everywhere" in result.message


@pytest.mark.parametrize("odd", [None, 3, "y", object(), torch.zeros(2),
                                 torch.zeros(3, 2, 4).int()])
def test_odd_outputs_of_a_layer_are_judged(odd):
    assert examine(find("lora.layer"), layer(forward=lambda self, x: odd)).state == WRONG


# ── lora.merge ───────────────────────────────────────────────────────────────────────────────


def merge(weight, bias=lambda layer: layer.base.bias, dtype=lambda layer: layer.base.weight.dtype):
    """A merge that takes its weight, bias and dtype from these functions of the layer."""
    def merged(layer):
        with torch.no_grad():
            W, b = weight(layer), bias(layer)
            linear = nn.Linear(W.shape[1], W.shape[0], bias=b is not None, dtype=dtype(layer))
            linear.weight.copy_(W)
            if b is not None:
                linear.bias.copy_(b)
        return linear
    return merged


def delta(layer):
    return layer.scale * layer.B @ layer.A


def _in_place(layer):
    with torch.no_grad():
        layer.base.weight += delta(layer).to(layer.base.weight.dtype)
    return layer.base


def _shares_the_bias(layer):
    linear = MERGE_RIGHT(layer)
    linear.bias = layer.base.bias
    return linear


MERGE_RIGHT = merge(lambda a: a.base.weight.float() + delta(a))
MERGES = {
    "no_return": lambda layer: None,
    "shared": _shares_the_bias,
    "summed_in_half": merge(lambda a: a.base.weight + delta(a).to(a.base.weight.dtype)),
    "not_linear": lambda layer: layer,
    "base_changed": _in_place,
    "transposed": merge(lambda a: (a.base.weight.float() + delta(a)).T, bias=lambda a: None),
    "dtype": merge(lambda a: a.base.weight.float() + delta(a), dtype=lambda a: torch.float32),
    "nothing_added": merge(lambda a: a.base.weight),
    "no_scale": merge(lambda a: a.base.weight.float() + a.B @ a.A),
    "scaled_twice": merge(lambda a: a.base.weight.float() + a.scale * delta(a)),
    "delta_only": merge(delta),
    "subtracted": merge(lambda a: a.base.weight.float() - delta(a)),
    "twice": merge(lambda a: a.base.weight.float() + 2 * delta(a)),
    "bias_lost": merge(lambda a: a.base.weight.float() + delta(a), bias=lambda a: None),
    "bias_invented": merge(lambda a: a.base.weight.float() + delta(a),
                           bias=lambda a: torch.zeros(a.base.out_features)
                           if a.base.bias is None else a.base.bias),
    "bias_changed": merge(lambda a: a.base.weight.float() + delta(a),
                          bias=lambda a: None if a.base.bias is None else a.base.bias * a.scale),
}


@pytest.mark.parametrize("mistake", MERGES)
def test_wrong_merges(mistake):
    assert_caught("lora.merge", MERGES[mistake], mistake)


def test_a_right_merge_passes():
    assert examine(find("lora.merge"), MERGE_RIGHT).state == PASSED


# ── lora.forty_kb ────────────────────────────────────────────────────────────────────────────

Config = pt.lora.Config
CHOICES = {
    "no_return": lambda: None,
    "unknown_place": lambda: Config(rank=1, targets=("query", "atention_out")),
    "unknown_block": lambda: Config(rank=1, layers=(5, 6)),
    "not_a_config": lambda: {"rank": 1},
    "too_large": lambda: Config(rank=8),
    "not_recorded": lambda: Config(rank=1, targets=("key",)),
    "other_scale": lambda: Config(rank=1),
    "weaker": lambda: Config(rank=1, alpha=2, targets=("ffn_out",), layers=(1, 2, 3, 4, 5)),
    "too_few_blocks": lambda: Config(rank=6, alpha=12, targets=("query", "value"), layers=(5,)),
}


@pytest.mark.parametrize("mistake", CHOICES)
def test_wrong_choices(mistake):
    assert_caught("lora.forty_kb", CHOICES[mistake], mistake)


def test_a_choice_may_name_its_targets_in_any_order_and_form():
    best = find("lora.forty_kb").resolve()()
    for layers in (best.layers, range(6), [5, 4, 3, 2, 1, 0]):
        again = Config(rank=best.rank, alpha=best.alpha, targets=list(best.targets)[::-1],
                       layers=layers)
        assert examine(find("lora.forty_kb"), lambda again=again: again).state == PASSED


# ── the check line run twice ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("id", IDS)
def test_after_a_failure_the_check_line_run_twice_is_still_not_passed(id, capsys):
    wrong = {"lora.count": COUNTS["only_A"], "lora.layer": LAYERS["no_scale"],
             "lora.merge": MERGES["no_scale"], "lora.forty_kb": CHOICES["too_large"]}[id]
    given = pt.check(id, wrong)
    assert given is find(id).resolve()
    capsys.readouterr()
    assert pt.check(id, given) is given
    assert "reference" in (said := capsys.readouterr().out)
    assert "passed" not in said
    pt.progress("07")
    assert f"0 of {find(id).points}" in capsys.readouterr().out
    pt.course.learner._kernel.records.pop(id)


def test_a_call_in_place_of_the_function_is_told():
    result = examine(find("lora.count"), 6144)
    assert "pass lora_count, without brackets" in result.message
