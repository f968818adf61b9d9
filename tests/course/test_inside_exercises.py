"""The checks of lesson 00, proven: the reference passes, each wrong answer hears its own name."""

import math

import pytest
import torch

import peft_teach as pt
from peft_teach.course.exercise import NOT_ATTEMPTED, PASSED, WRONG, examine
from peft_teach.course.lessons import find, of_lesson

IDS = ("inside.linear", "inside.block", "inside.ledger", "inside.activations")


def test_the_lesson_has_these_exercises():
    assert tuple(e.id for e in of_lesson("00")) == IDS


@pytest.mark.parametrize("id", IDS)
def test_the_reference_passes(id):
    exercise = find(id)
    for seed in range(6):
        assert examine(exercise, exercise.resolve(), exercise.cases(seed)).state == PASSED


@pytest.mark.parametrize("id", IDS)
def test_the_stub_is_not_attempted(id):
    def stub(*args):
        raise pt.NotAttempted(id)

    assert examine(find(id), stub).state == NOT_ATTEMPTED


# ── wrong answers, by the name of the mistake ────────────────────────────────────────────────

LINEARS = {
    "no_return": [lambda i, o: None],
    "not_whole": [lambda i, o: float(i * o + o), lambda i, o: torch.tensor(i * o + o)],
    "added": [lambda i, o: i + o],
    "no_bias": [lambda i, o: i * o],
    "bias_of_inputs": [lambda i, o: i * o + i],
    "two_biases": [lambda i, o: i * o + i + o],
    "one_bias": [lambda i, o: i * o + 1],
    "bias_only": [lambda i, o: o],
}


def block(projections=4, bias=1, norms=2, ffn=lambda d, f: d * f + f + f * d + d,
          head=lambda d, h: d):
    """A count of a block with one thing changed."""
    def count(d, f, h):
        width = head(d, h)
        return ((projections - 3) * (d * d + bias * d) + 3 * (d * width + bias * width)
                + ffn(d, f) + norms * 2 * d)
    return count


def _narrow(times):
    """Query, key, value (and attention_out) as wide as a head, once or for each head."""
    return lambda d, f, h: (block()(d, f, h) - 4 * (d * d + d)
                            + (h if times else 1) * 4 * ((d // h) * (d // h) + d // h))


BLOCKS = {
    "no_return": [lambda d, f, h: None],
    "not_whole": [lambda d, f, h: block()(d, f, h) / 1],
    "matrices_only": [block(bias=0, norms=0, ffn=lambda d, f: 2 * d * f)],
    "no_norms": [block(norms=0)],
    "half_norms": [block(norms=1)],
    "no_biases": [block(bias=0, ffn=lambda d, f: 2 * d * f)],
    "ffn_bias": [block(ffn=lambda d, f: 2 * (d * f + d))],
    "ffn_out_bias": [block(ffn=lambda d, f: 2 * (d * f + f))],
    "attention_out_missing": [block(projections=3)],
    "one_projection": [block(projections=1)],
    "ffn_out_missing": [block(ffn=lambda d, f: d * f + f)],
    "four_d": [block(ffn=lambda d, f: 8 * d * d + 5 * d)],
    "square_ffn": [block(ffn=lambda d, f: 2 * (d * d + d))],
    "no_ffn": [block(ffn=lambda d, f: 0)],
    "no_attention": [lambda d, f, h: block()(d, f, h) - 4 * (d * d + d)],
    "times_heads": [block(head=lambda d, h: h * d),
                    lambda d, f, h: block()(d, f, h) + (h - 1) * 4 * (d * d + d),
                    lambda d, f, h: block()(d, f, h) + (h - 1) * 4 * d * d],
    "narrow_heads": [_narrow(False), _narrow(True)],
    "one_head": [block(head=lambda d, h: d // h)],
}


def ledger(weights=lambda n, t, b, m: n * b, gradients=lambda n, t, b, m: t * b,
           optimizer=lambda n, t, b, m: m * t * b):
    """A ledger with one line changed."""
    def of(total, trained, bytes_each=4, moments=2):
        values = (total, trained, bytes_each, moments)
        return {"weights": weights(*values), "gradients": gradients(*values),
                "optimizer": optimizer(*values)}
    return of


LEDGERS = {
    "no_return": [lambda *a: None],
    "not_a_dict": [lambda *a: tuple(ledger()(*a).values()), lambda *a: 12],
    "keys": [lambda *a: {"weights": 1}, lambda *a: {}, lambda *a: ledger()(*a) | {"sum": 1}],
    "not_whole": [ledger(weights=lambda n, t, b, m: n * b / 1e6),
                  ledger(weights=lambda n, t, b, m: torch.tensor(n * b))],
    "numbers": [lambda n, t, b, m: ledger()(n, t, 1, m)],
    "always_four": [lambda n, t, b, m: ledger()(n, t, 4, m)],
    "moments_float32": [ledger(optimizer=lambda n, t, b, m: m * t * 4)],
    "all_train": [lambda n, t, b, m: ledger()(n, n, b, m)],
    "gradients_of_all": [ledger(gradients=lambda n, t, b, m: n * b)],
    "optimizer_of_all": [ledger(optimizer=lambda n, t, b, m: m * n * b)],
    "one_moment": [ledger(optimizer=lambda n, t, b, m: t * b)],
    "always_two": [ledger(optimizer=lambda n, t, b, m: 2 * t * b)],
    "with_gradients": [ledger(optimizer=lambda n, t, b, m: (m + 1) * t * b)],
    "frozen_only": [ledger(weights=lambda n, t, b, m: (n - t) * b)],
    "trained_twice": [ledger(weights=lambda n, t, b, m: (n + t) * b)],
    "trained_only": [ledger(weights=lambda n, t, b, m: t * b)],
}


def law(predict):
    """An answer from (batch, tokens, a, b), with a and b solved for in another way than ours."""
    def answer(batch, tokens, measured):
        lengths = torch.tensor([[t, t * t] for t in measured], dtype=torch.float64)
        bytes_ = torch.tensor(list(measured.values()), dtype=torch.float64)
        a, b = torch.linalg.solve(lengths, bytes_).tolist()
        return predict(batch, tokens, a, b)
    return answer


def _line(batch, tokens, measured):
    (t, x), (u, y) = measured.items()
    return batch * (x + (y - x) / (u - t) * (tokens - t))


def _two_points(find):
    """An answer from a and b that `find` makes of two lengths and their bytes."""
    def answer(batch, tokens, measured):
        (t, u), (x, y) = sorted(measured), [measured[t] for t in sorted(measured)]
        a, b = find(t, u, x, y)
        return batch * (a * tokens + b * tokens * tokens)
    return answer


def _slope(t, u, x, y):
    b = (y - x) / (u - t)
    return (x - b * t) / t, b


def _slope_of_squares(t, u, x, y):
    b = (y - x) / (u**2 - t**2)
    return (x - b * t**2) / t, b


def _of_32_and_128(batch, tokens, measured):
    b = (measured[128] / 128 - measured[32] / 32) / 96
    return batch * tokens * (measured[32] / 32 + b * (tokens - 32))


ACTIVATIONS = {
    "no_return": [lambda n, t, m: None],
    "not_a_number": [lambda n, t, m: [1.0], lambda n, t, m: True, lambda n, t, m: "many"],
    "proportional": [lambda n, t, m: n * t * min(m.values()) / min(m),
                     lambda n, t, m: n * t * max(m.values()) / max(m)],
    "straight_line": [_line],
    "squares_only": [lambda n, t, m: n * min(m.values()) * (t / min(m))**2],
    "no_batch": [law(lambda n, t, a, b: a * t + b * t * t)],
    "batch_squared": [law(lambda n, t, a, b: a * n * t + b * (n * t)**2),
                      law(lambda n, t, a, b: n * n * (a * t + b * t * t))],
    "batch_once": [law(lambda n, t, a, b: n * a * t + b * t * t)],
    "swapped": [law(lambda n, t, a, b: n * (b * t + a * t * t))],
    "no_pairs": [law(lambda n, t, a, b: n * a * t)],
    "pairs_alone": [law(lambda n, t, a, b: n * b * t * t)],
    "b_not_squared": [law(lambda n, t, a, b: n * (a + b) * t)],
    "times_tokens_missing": [law(lambda n, t, a, b: n * (a + b * t))],
    "not_divided": [_two_points(_slope)],
    "by_squares": [_two_points(_slope_of_squares)],
    "fixed_lengths": [_of_32_and_128],
}

WRONG_ANSWERS = {"inside.linear": LINEARS, "inside.block": BLOCKS, "inside.ledger": LEDGERS,
                 "inside.activations": ACTIVATIONS}
EACH = [(id, mistake, number) for id, answers in WRONG_ANSWERS.items()
        for mistake, given in answers.items() for number in range(len(given))]


@pytest.mark.parametrize(("id", "mistake", "number"), EACH)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_wrong_answers_hear_their_name(id, mistake, number, seed):
    exercise = find(id)
    result = examine(exercise, WRONG_ANSWERS[id][mistake][number], exercise.cases(seed))
    assert (result.state, result.mistake) == (WRONG, mistake), result
    assert exercise.mistakes[mistake] in result.message


@pytest.mark.parametrize("id", IDS)
def test_each_mistake_has_a_message_and_a_wrong_answer(id):
    exercise = find(id)
    assert set(WRONG_ANSWERS[id]) == set(exercise.mistakes)
    assert len(exercise.mistakes) >= 4
    assert all(exercise.mistakes.values())
    assert len(set(exercise.mistakes.values())) == len(exercise.mistakes)
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("odd", ["12", torch.tensor(32), [32], True, math.nan, math.inf, object(),
                                 {}, {"weights": "a", "gradients": None, "optimizer": math.nan}])
@pytest.mark.parametrize("id", IDS)
def test_odd_answers_are_judged(id, odd):
    result = examine(find(id), lambda *sizes: odd)
    assert result.state == WRONG
    assert "could not be judged" not in result.message


def test_other_key_errors_are_crashes_with_their_input():
    """Only a length that was not measured is a mistake with a name."""
    result = examine(find("inside.activations"), lambda n, t, m: {"a": 1}["b"])
    assert (result.state, result.mistake) == (WRONG, None)
    assert "KeyError: 'b'" in result.traceback
    assert "tokens=300" in result.message


def test_right_answers_in_other_words_pass():
    assert examine(find("inside.block"), block()).state == PASSED
    assert examine(find("inside.ledger"), ledger()).state == PASSED
    assert examine(find("inside.activations"), law(
        lambda n, t, a, b: n * (a * t + b * t * t))).state == PASSED
    assert examine(find("inside.activations"), law(
        lambda n, t, a, b: round(n * (a * t + b * t * t)))).state == PASSED


# ── the references against torch ─────────────────────────────────────────────────────────────


def test_a_layer_has_what_torch_holds():
    for n_in, n_out in ((3, 5), (7, 2)):
        layer = torch.nn.Linear(n_in, n_out)
        assert find("inside.linear").resolve()(n_in, n_out) == sum(
            p.numel() for p in layer.parameters())


@pytest.mark.parametrize("sizes", [(12, 20, 3), (16, 64, 2)])
def test_a_block_has_what_transformers_builds(sizes):
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertLayer

    d_model, d_ff, heads = sizes
    block = BertLayer(BertConfig(hidden_size=d_model, intermediate_size=d_ff,
                                 num_attention_heads=heads, num_hidden_layers=1))
    assert find("inside.block").resolve()(*sizes) == sum(p.numel() for p in block.parameters())


@pytest.mark.parametrize(("optimizer", "moments"), [
    (torch.optim.AdamW, 2), (lambda p: torch.optim.SGD(p, momentum=0.9), 1), (torch.optim.SGD, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_ledger_is_what_torch_holds_after_a_step(optimizer, moments, dtype):
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3)).to(dtype)
    model[0].requires_grad_(False)
    used = optimizer([p for p in model.parameters() if p.requires_grad])
    model(torch.randn(2, 6, dtype=dtype)).sum().backward()
    used.step()
    tensors = [t for state in used.state.values() for t in state.values()
               if isinstance(t, torch.Tensor) and t.dim()]
    assert find("inside.ledger").resolve()(53, 18, dtype.itemsize, moments) == {
        "weights": sum(p.nbytes for p in model.parameters()),
        "gradients": sum(p.grad.nbytes for p in model.parameters() if p.grad is not None),
        "optimizer": sum(t.nbytes for t in tensors)}


def test_the_law_predicts_a_real_model_at_a_size_never_run():
    model = pt.full.inject(pt.models.load("minilm", labels=2)[0])

    def measure(batch, tokens):
        ids = torch.ones(batch, tokens, dtype=torch.long)
        return pt.account.activations(model, {"input_ids": ids})

    predict = find("inside.activations").resolve()
    measured = {t: measure(1, t) for t in (32, 128)}
    assert predict(3, 200, measured) == pytest.approx(measure(3, 200), rel=0.01)


@pytest.mark.parametrize("id", IDS)
def test_after_a_failure_the_check_line_run_twice_is_still_not_passed(id, capsys):
    exercise = find(id)
    wrong = WRONG_ANSWERS[id]["no_return"][0]
    given = pt.check(id, wrong)
    assert given is exercise.resolve()
    capsys.readouterr()
    assert pt.check(id, given) is given
    assert "passed" not in capsys.readouterr().out
    pt.course.learner._kernel.records.pop(id)
