"""Lesson 09: answers and pictures beside closed forms, the library, Student's t, the record."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.lessons.dora import picture_of_clouds as clouds
from peft_teach.course.lessons.dora import recorded, reference
from peft_teach.course.lessons.dora.live import GainLinear
from peft_teach.course.verdicts import T95

dora, record = pt.course.pictures("dora"), records.load("dora")
BATCH = {"input_ids": torch.arange(5, 29).view(4, 6), "labels": torch.tensor([0, 1, 0, 1])}


@pytest.fixture
def trained(tiny):
    """A tiny model with a DoRA that has moved."""
    model = pt.dora.inject(tiny("bert"), pt.dora.Config(rank=2, alpha=6))
    for layer in pt.adapters(model).values():
        torch.nn.init.normal_(layer.B, std=0.3)
        layer.m.data *= 0.5 + torch.rand_like(layer.m)
    return model


def test_a_constant_norm_changes_no_gradient_of_m_and_that_of_a_and_b(trained):
    gap = dora.gradient_gap(pt.dora.DoRALinear, trained, BATCH).iloc[0]
    assert gap.m < 1e-5
    assert min(gap.A, gap.B) > 1e-3


def test_dora_becomes_lora_with_a_gain_and_a_wrong_gain_shows(trained):
    right = dora.converted(trained, BATCH, reference.to_gain, reference.to_dora)
    wrong = dora.converted(trained, BATCH, lambda m, W, *V: m / W.norm(dim=1), lambda g, *V: g)
    assert right["logits off by at most"].max() < 1e-5 < wrong["logits off by at most"].min() / 100
    assert set(right["trained numbers"]) == {pt.account.parameters(trained).adapter}


def test_chance_and_pythagoras_are_equal_where_the_lesson_says():
    chance, pythagoras = clouds.LAWS.values()
    assert chance(clouds.CROSSING) == pytest.approx(pythagoras(clouds.CROSSING))
    assert round(clouds.CROSSING, 3) == 0.081
    for size, change in clouds.random_rows():
        assert change == pytest.approx(chance(size) + pythagoras(size), rel=0.4)


def test_clouds_are_the_records_and_have_no_name_before_a_guess():
    explorer = dora.explore_clouds(record, pt.widgets.Guess("Which?", tuple(dora.HIDDEN.values())))
    assert not {*recorded.NAMES.values()} & {ax.get_title() for ax in explorer.figure.axes}
    dots = [(dot["dd"], dot["dm"]) for dot in record["clouds"]["lora 0"]["dots"]
            if dot["place"] == "query"]
    r = torch.corrcoef(torch.tensor(dots).T)[0, 1].item()
    table = dora.correlations(record)
    assert table.loc[("LoRA", "as trained"), ("query", 0)] == round(r, 2)
    assert clouds.clouds(record, "as trained", True).correlations("LoRA")[0] == f"query: {r:+.2f}"


def test_the_verdicts_are_the_referees_on_pairs_of_one_seed():
    asked = []
    table = dora.verdicts(record, lambda *pairs: asked.append(pairs) or (0.9, 1.1, "better"))
    rows = {(row["method"], row["rank"], row["seed"]): 100 * row["accuracy"]
            for row in record["runs"] if row["group"] == "pairs"}
    one, other = ([rows[method, 2, seed] for seed in range(1, 11)] for method in ("dora", "lora"))
    assert asked[0] == (pytest.approx(one), pytest.approx(other), 1.0)
    assert table.difference.iloc[0] == pytest.approx((sum(one) - sum(other)) / 10, abs=0.006)
    assert table["pairs"].tolist() == [10] * 4


def test_dora_and_lora_with_the_converted_gain_are_one_function_with_one_gradient_of_a_and_b():
    torch.manual_seed(0)
    base, x = nn.Linear(7, 5).requires_grad_(False), torch.randn(4, 7)
    dora, gain = pt.dora.DoRALinear(base, 2, 6.0), GainLinear(base, 2, 6.0)
    with torch.no_grad():
        for p in (dora.A, dora.B, dora.m):
            p.normal_()
        gain.A.copy_(dora.A)
        gain.B.copy_(dora.B)
        rest = base.weight, dora.A, dora.B, dora.scale
        gain.g.copy_(reference.to_gain(dora.m, *rest))
        torch.testing.assert_close(reference.to_dora(gain.g, *rest), dora.m)
    torch.testing.assert_close(dora(x), gain(x))
    for layer in (dora, gain):
        layer(x).square().sum().backward()
    torch.testing.assert_close(dora.A.grad, gain.A.grad)
    torch.testing.assert_close(dora.B.grad, gain.B.grad)


def test_the_law_holds_of_the_librarys_layer():
    torch.manual_seed(0)
    reference.dora_holds(pt.dora.DoRALinear)


def test_the_table_is_students():
    """With t = √(n − 1) tan θ, the density is cosine to the power n − 2."""
    angle = np.linspace(0, math.pi / 2, 200_001)
    for n, t in T95.items():
        share = np.cumsum(np.cos(angle)**(n - 2))
        found = math.sqrt(n - 1) * math.tan(np.interp(0.95, share / share[-1], angle))
        assert found == pytest.approx(t, abs=2e-3 if n == 2 else 6e-4), n
