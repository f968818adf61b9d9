"""What all judges say in the same words: of counts, of sizes that do not fit, of reports."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from peft_teach.course.checks.examination import OBJECTIONS, examine, judge_case
from peft_teach.course.checks.exercise import Exercise, Verdict
from peft_teach.course.checks.judge import (
    changed,
    close,
    difference,
    factor,
    judged_count,
    named,
    not_a_tensor,
    number,
    plain,
    stages,
    whole,
)
from peft_teach.course.grade.plain import from_bytes, to_bytes
from peft_teach.course.lessons import find


def count(found):
    return judged_count(found, 32, "count(6, 10)", {"doubled": 64, "halved": (8, 16)}, "Yes.")


@pytest.mark.parametrize(("dtype", "rough"), [
    (torch.float16, True), (torch.bfloat16, True), (torch.float32, False), (torch.float64, False)])
def test_only_what_has_16_bits_may_be_rough(dtype, rough):
    right = torch.ones(3, dtype=dtype)
    assert close(right + 0.02, right) is rough


@pytest.mark.parametrize("right", [32, np.int64(32), np.int32(32), np.uint8(32)])
def test_whatever_is_integral_is_a_whole_number(right):
    assert count(right).passed
    assert type(whole(right)) is int
    assert count(from_bytes(to_bytes(right))).passed    # as the grader's judge meets it


@pytest.mark.parametrize("odd", [32.0, np.float64(32), True, np.True_, "32", [32], math.nan,
                                 torch.tensor([32, 32]), object()])
def test_all_else_is_not(odd):
    assert whole(odd) is None
    verdict = count(odd)
    assert (verdict.passed, verdict.mistake) == (False, "not_whole")
    assert "expected 32" in verdict.message
    assert "not an int" in verdict.message    # the first failure shows no more than this


def test_a_tensor_of_one_number_is_told_how_to_become_one():
    verdict = count(torch.tensor(32))
    assert (verdict.passed, verdict.mistake) == (False, "not_whole")
    assert ".item()" in verdict.message


@pytest.mark.parametrize(("found", "mistake"), [
    (64, "doubled"), (np.int64(8), "halved"), (16, "halved"), (33, None), (None, "no_return")])
def test_the_usual_counts_have_names(found, mistake):
    verdict = count(found)
    assert (verdict.passed, verdict.mistake) == (False, mistake)


def test_a_mistake_is_named_behind_what_was_found():
    result = examine(find("lora.count"), lambda n_in, n_out, rank: n_in * n_out)
    assert result.found == "lora_count(6, 10, 2) gave 60; expected 32."
    assert result.message == f"{result.found} {find('lora.count').mistakes['whole_matrix']}"


def test_a_number_of_numpys_becomes_pythons_own():
    for value, kind in ((np.int64(3), int), (np.float32(0.5), float), (np.True_, bool), (3, int)):
        assert type(plain(value)) is kind
        assert plain(value) == value
    kept = [3]
    assert plain(kept) is kept


def test_what_was_given_is_said_in_words():
    assert [named(value) for value in (None, 3, [3], object(), np.uint8(3), torch.zeros(2, 3))] == [
        "None", "an int", "a list", "an object", "a uint8", "a tensor of shape (2, 3)"]


@pytest.mark.parametrize("slip", [
    lambda x: x @ x, lambda x: x.numpy() @ x.numpy(), lambda x: x + torch.zeros(5),
    lambda x: x.numpy() + np.zeros(5), lambda x: x.view(7), lambda x: torch.cat([x, x[0]]),
    lambda x: torch.stack([x, x[0]]), lambda x: torch.einsum("ij,jk->ik", x, x),
    lambda x: torch.bmm(x[None], x[None]), lambda x: np.dot(x.numpy(), x.numpy()),
    lambda x: x.expand(5, 7), lambda x: x.new_zeros(5).copy_(x), lambda x: torch.nn.Linear(7, 2)(x),
    lambda x: np.reshape(x.numpy(), 7), lambda x: np.concatenate([x.numpy(), x[0].numpy()])])
def test_shapes_that_do_not_fit_are_told_in_any_exercise(slip):
    """The first failure gives torch's or NumPy's own words, the second says what to do."""
    exercise = Exercise(
        id="demo.slip", names=("slip",), points=1, minutes=1, difficulty=1,
        reference="peft_teach.course.checks.judge:plain", cases=lambda seed: [torch.zeros(2, 3)],
        run=lambda slip, x: slip(x), judge=lambda x, y: Verdict(True), mistakes={}, hints=())
    result = examine(exercise, slip)
    assert result.found.startswith("Your code raised ")
    assert ": " in result.found
    assert result.message == f"{result.found} {OBJECTIONS['misfit'][1]}"
    assert result.mistake is None


# ── what an exercise declares of its reports ─────────────────────────────────────────────────

MADE, CALLED = {"name": str}, {"found": Any, "moved": dict[str, bool]}


@pytest.mark.parametrize(("seen", "fits"), [
    ({"name": "a"}, True), ({"name": "a", "found": None, "moved": {}}, True),
    ({"name": "a", "found": object(), "moved": {"A": True}}, True), ({}, False), (None, False),
    ({"name": 1}, False), ({"name": "a", "found": 1}, False), ({"name": "a", "more": 1}, False),
    ({"name": "a", "found": 1, "moved": {"A": 1}}, False)])
def test_a_report_ends_after_a_stage_and_what_the_learner_gave_is_anything(seen, fits):
    exercise = dataclasses.replace(find("lora.count"), returns=stages(MADE, CALLED),
                                   judge=lambda case, seen: Verdict(True))
    result = judge_case(exercise, None, seen, 0)
    assert result.passed == fits
    assert fits or "not the check's report" in result.message


def test_what_was_given_in_place_of_a_tensor_is_named():
    assert not_a_tensor(None).mistake == "no_return"
    assert not_a_tensor([1]).message == "It gave a list; expected a tensor."
    assert not_a_tensor(torch.zeros(2)) is None


def test_two_numbers_are_shown_where_tensors_are_furthest_apart():
    right = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    for found, told in (
            (right + torch.tensor([[0.5, 0.0], [2.0, 0.0]]), "y[1, 0] is 5; expected 3."),
            (right.index_fill(1, torch.tensor([1]), math.nan), "y[0, 1] is nan; expected 2."),
            (right[0], "y is (2,); expected (2, 2)."), ([1], "y is no tensor; expected (2, 2).")):
        assert difference("y", found, right) == told
    assert difference("y", torch.tensor(2.0), torch.tensor(1.0)) == "y is 2; expected 1."
    assert difference("y", right[:0], right[:0]) == "y is empty."


def test_a_factor_is_told_where_it_is_one_everywhere_and_not_one():
    base, added = torch.ones(3), torch.tensor([1.0, -2.0, 3.0])
    assert factor(base + 4 * added, base, base + added) == (
        "What is added is 4 times the expected, everywhere.")
    for found in (base + added, base + added.square(), base[:2], None):
        assert factor(found, base, base + added) == ""
    one = torch.ones(1)    # of which torch warns that it has no spread
    assert factor(4 * one, 0 * one, one) == "What is added is 4 times the expected, everywhere."


def test_what_was_changed_is_named():
    before = {"x": torch.zeros(2), "y": torch.ones(2)}
    assert changed(before, before) == ""
    assert changed(before, {"x": torch.zeros(2)}) == "y"
    assert changed(before, before | {"x": torch.ones(2)}) == "x"
    assert changed(before, before | {"z": torch.ones(2)}) == "z"


def test_a_number_is_none_of_what_looks_like_one():
    assert [number(value) for value in (3, 0.5, np.float32(0.5), True, "3", None)] == [
        3, 0.5, 0.5, None, None, None]
