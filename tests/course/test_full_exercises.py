"""The checks of lesson 01, proven: the reference passes, and each wrong answer hears its own name.

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
from peft_teach.course.lessons.full import exercises as full

IDS = ("full.accuracy", "full.step", "full.head_only")


def test_the_lesson_has_these_exercises():
    assert tuple(e.id for e in of_lesson("01")) == IDS


@pytest.mark.parametrize("id", IDS)
def test_the_reference_passes(id):
    exercise = find(id)
    for seed in range(8):
        result = examine(exercise, exercise.resolve(), exercise.cases(seed))
        assert result.state == PASSED, result


@pytest.mark.parametrize("id", IDS)
def test_the_stub_is_not_attempted(id):
    def stub(*args):
        raise pt.NotAttempted(id)

    assert examine(find(id), stub).state == NOT_ATTEMPTED


@pytest.mark.parametrize("id", IDS)
def test_each_mistake_has_a_message_and_a_wrong_answer_below(id):
    exercise = find(id)
    assert all(exercise.mistakes.values())
    assert len(set(exercise.mistakes.values())) == len(exercise.mistakes)
    proven = {"full.accuracy": ACCURACIES, "full.step": STEPS, "full.head_only": HEADS}[id]
    assert set(proven) == set(exercise.mistakes)
    assert len(proven) >= 4
    assert len(exercise.hints) == 3


def assert_caught(id, wrong, mistake):
    for seed in range(4):
        result = examine(find(id), wrong, find(id).cases(seed))
        assert (result.state, result.mistake) == (WRONG, mistake), (seed, result)
        assert find(id).mistakes[mistake] in result.message


# ── full.accuracy ────────────────────────────────────────────────────────────────────────────


def measure(answer=lambda out: out.logits.argmax(-1), end=lambda right, n, batches: right / n,
            evaluate=True, grad=False):
    """A right answer in its own words; each wrong one changes one thing."""
    def accuracy(model, batches):
        if evaluate:
            model.eval()
        with torch.set_grad_enabled(grad):
            hits = [answer(model(**b)) == b["labels"] for b in batches]
        return end(torch.cat(hits).sum().item(), sum(map(len, hits)), hits)
    return accuracy


def _trains(model, batches):
    found = measure()(model, batches)
    full.step(model, batches[0], torch.optim.SGD(model.parameters(), lr=0.1))
    model.eval()
    return found


def _loss(model, batches):
    model.eval()
    with torch.no_grad():
        losses = [model(**b).loss.item() for b in batches]
    return sum(losses) / len(losses)


ACCURACIES = {
    "no_return": lambda model, batches: None,
    "tensor": measure(end=lambda right, n, hits: torch.tensor(right / n)),
    "trained": _trains,
    "mean_of_batches": measure(end=lambda right, n, hits: sum(
        h.double().mean().item() for h in hits) / len(hits)),
    "count": measure(end=lambda right, n, hits: right),
    "percent": measure(end=lambda right, n, hits: 100 * right / n),
    "by_batches": measure(end=lambda right, n, hits: right / len(hits)),
    "all_as_large": measure(end=lambda right, n, hits: right / (len(hits) * len(hits[0]))),
    "one_answer": measure(answer=lambda out: out.logits.argmax()),
    "none_right": measure(answer=lambda out: out.logits.max(-1).values),
    "errors": measure(end=lambda right, n, hits: 1 - right / n),
    "threshold": measure(answer=lambda out: (out.logits[:, 1] > 0).long()),
    "first_batch": measure(end=lambda right, n, hits: hits[0].double().mean().item()),
    "last_batch": measure(end=lambda right, n, hits: hits[-1].double().mean().item()),
    "loss": _loss,
    "training_mode": measure(evaluate=False),
    "graph": measure(grad=True),
}


@pytest.mark.parametrize("mistake", ACCURACIES)
def test_wrong_accuracies(mistake):
    assert_caught("full.accuracy", ACCURACIES[mistake], mistake)


@pytest.mark.parametrize(("wrong", "mistake"), [
    (measure(answer=lambda out: (out.logits[:, 1] > 0.5).long()), "threshold"),
    (measure(end=lambda right, n, hits: right // n), "none_right")])
def test_other_wrong_accuracies(wrong, mistake):
    assert_caught("full.accuracy", wrong, mistake)


@pytest.mark.parametrize("right", [
    measure(), measure(answer=lambda out: out.logits.softmax(-1).argmax(-1)),
    lambda model, batches: pt.evaluate(model, batches).accuracy])
def test_other_right_accuracies(right):
    assert examine(find("full.accuracy"), right).state == PASSED


@pytest.mark.parametrize("odd", ["0.5", [0.5], True, math.nan, math.inf, object(), 0.123])
def test_odd_accuracies_are_judged(odd):
    assert examine(find("full.accuracy"), lambda model, batches: odd).state == WRONG


# ── full.step ────────────────────────────────────────────────────────────────────────────────


def training(order="train forward backward clip step zero", give=lambda model, batch, loss:
             loss.item(), clip=nn.utils.clip_grad_norm_, sign=1):
    """A training step as a list of what it does, in this order."""
    def step(model, batch, optimizer):
        loss = None
        for word in order.split():
            if word == "train":
                model.train()
            elif word == "eval":
                model.eval()
            elif word == "forward":
                loss = model(**batch).loss
            elif word == "backward":
                (sign * loss).backward()
            elif word == "clip":
                clip(model.parameters(), 1.0)
            elif word == "step":
                optimizer.step()
            elif word == "zero":
                optimizer.zero_grad()
            elif word == "model_zero":
                model.zero_grad()
        return give(model, batch, loss)
    return step


def _by_hand(model, batch, optimizer):
    loss = training("train forward backward clip")(model, batch, optimizer)
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= 0.1 * p.grad
    optimizer.zero_grad()
    return loss


def _each(parameters, limit):
    for p in parameters:
        nn.utils.clip_grad_norm_(p, limit)


def _always(parameters, limit):
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    for g in gradients:
        g *= limit / norm


STEPS = {
    "no_forward": lambda model, batch, optimizer: 0.5,
    "eval_mode": training("forward backward clip step zero"),
    "no_backward": training("train forward clip step zero"),
    "no_step": training("train forward backward clip zero"),
    "zero_between": training("train forward backward zero clip step"),
    "step_without_gradients": training("train step forward backward clip zero"),
    "by_hand": _by_hand,
    "no_zero_grad": training("train forward backward clip step"),
    "step_first": training("train step zero forward backward clip"),
    "no_clip": training("train forward backward step zero"),
    "clip_value": training(clip=nn.utils.clip_grad_value_),
    "clip_each": training(clip=_each),
    "always_clipped": training(clip=_always),
    "uphill": training(sign=-1, give=lambda model, batch, loss: loss.item()),
    "step_twice": training("train forward backward clip step step zero"),
    "no_return": training(give=lambda model, batch, loss: None),
    "graph_kept": training(give=lambda model, batch, loss: loss),
    "not_a_number": training(give=lambda model, batch, loss: loss.detach()),
    "loss_after": training(give=lambda model, batch, loss: model(**batch).loss.item()),
}


@pytest.mark.parametrize("mistake", STEPS)
def test_wrong_steps(mistake):
    assert_caught("full.step", STEPS[mistake], mistake)


@pytest.mark.parametrize("order", [
    "train zero forward backward clip step", "zero train forward backward clip step zero",
    "train forward model_zero backward clip step", "train forward backward clip step model_zero"])
def test_other_right_orders(order):
    assert examine(find("full.step"), training(order)).state == PASSED


@pytest.mark.parametrize(("order", "mistake"), [
    ("train zero forward step backward clip", "step_without_gradients"),
    ("train forward step backward clip zero", "step_without_gradients"),
    ("train forward backward clip zero step", "zero_between"),
    ("eval forward backward clip step zero", "eval_mode"),
    ("train forward clip backward step zero", "no_clip"),
    ("train forward backward step clip zero", "no_clip"),     # clipped late is not clipped
    ("train zero step forward backward", "step_without_gradients")])
def test_other_wrong_orders(order, mistake):
    result = examine(find("full.step"), training(order))
    assert (result.state, result.mistake) == (WRONG, mistake), result


@pytest.mark.parametrize("odd", ["0.5", [0.5], True, math.nan, object(), 0.123])
def test_odd_losses_are_judged(odd):
    step = training(give=lambda model, batch, loss: odd)
    assert examine(find("full.step"), step).state == WRONG


def test_some_gradients_are_larger_than_one_and_some_smaller():
    """Else clipping, or clipping too often, would not show."""
    for seed in range(8):
        norms = []
        for case in find("full.step").cases(seed):
            model = full._start(case)
            model(**case["batches"][0]).loss.backward()
            norms.append(torch.cat([p.grad.flatten() for p in model.parameters()
                                    if p.grad is not None]).norm().item())
        assert norms[0] > 1 > norms[1], norms


# ── full.head_only ───────────────────────────────────────────────────────────────────────────


def _choose(chosen, count=lambda model: sum(p.numel() for p in model.parameters()
                                            if p.requires_grad)):
    def head_only(model):
        for name, p in model.named_parameters():
            p.requires_grad_(bool(chosen(name)))
        return count(model)
    return head_only


def _freeze_only(model):
    for name, p in model.named_parameters():
        if not name.startswith("classifier"):
            p.requires_grad = False
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _on_module(model):
    model.bert.requires_grad = False
    model.classifier.requires_grad = True
    return sum(p.numel() for p in model.classifier.parameters())


def _misspelled(model):
    for name, p in model.named_parameters():
        p.require_grad = _head(name)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _over_names(model):
    model.requires_grad_(False)
    for p in pt.models.head(model):
        p.requires_grad = True
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _changed(model):
    nn.init.zeros_(model.classifier.weight)
    return _choose(_head)(model)


def _head(name):
    return name.startswith("classifier")


HEADS = {
    "changed": _changed,
    "on_module": _on_module,
    "misspelled": _misspelled,
    "names_alone": _over_names,
    "inverted": _choose(lambda name: not _head(name)),
    "nothing": _choose(lambda name: False),
    "not_switched_on": _freeze_only,
    "everything": _choose(lambda name: True),
    "half_a_head": _choose(lambda name: name == "classifier.weight"),
    "pooler": _choose(lambda name: _head(name) or "pooler" in name),
    "no_return": _choose(_head, count=lambda model: None),
    "counts_tensors": _choose(_head, count=lambda model: sum(
        p.requires_grad for p in model.parameters())),
    "counts_all": _choose(_head, count=lambda model: sum(p.numel() for p in model.parameters())),
    "counts_frozen": _choose(_head, count=lambda model: sum(
        p.numel() for p in model.parameters() if not p.requires_grad)),
    "counts_rows": _choose(_head, count=lambda model: sum(
        len(p) for p in model.parameters() if p.requires_grad)),
    "hard_coded": _choose(_head, count=lambda model: 770),
}


@pytest.mark.parametrize("mistake", HEADS)
def test_wrong_heads(mistake):
    assert_caught("full.head_only", HEADS[mistake], mistake)


def test_a_method_called_on_a_name_is_the_same_mistake_and_other_crashes_are_not():
    def method(model):
        return [p.requires_grad_(True) for p in pt.models.head(model)]

    def other(model):
        return model.headless

    assert_caught("full.head_only", method, "names_alone")
    result = examine(find("full.head_only"), other)
    assert result.mistake is None
    assert "headless" in result.traceback


def _by_module(model):
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)
    return sum(p.numel() for p in model.classifier.parameters())


def test_freezing_by_module_is_right_too():
    assert examine(find("full.head_only"), _by_module).state == PASSED


@pytest.mark.parametrize("odd", ["14", 14.0, True, torch.tensor(14), math.nan, object()])
def test_odd_counts_are_judged(odd):
    assert examine(find("full.head_only"), _choose(_head, lambda model: odd)).state == WRONG
