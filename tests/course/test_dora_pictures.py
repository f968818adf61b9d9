"""Lesson 09: what its pictures compute is what closed forms, the library and its record say."""

import pytest
import torch

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.lessons.dora import live, recorded
from peft_teach.course.lessons.dora import picture_of_clouds as clouds
from peft_teach.course.lessons.dora.picture_of_ladder import RUNGS

dora = pt.course.pictures("dora")


@pytest.fixture(scope="module")
def record():
    return records.load("dora")


@pytest.fixture
def trained(tiny):
    """A tiny model with a DoRA that has moved."""
    model = pt.dora.inject(tiny("bert"), pt.dora.Config(rank=2, alpha=6))
    for layer in pt.adapters(model).values():
        torch.nn.init.normal_(layer.B, std=0.3)
        layer.m.data *= 0.5 + torch.rand_like(layer.m)
    return model


def length(layer_or_W, A=None, B=None, s=None):
    return (layer_or_W + s * B @ A).norm(dim=1)


def test_a_constant_norm_changes_no_gradient_of_m_and_that_of_a_and_b(trained):
    batch = {"input_ids": torch.randint(5, 90, (4, 6)), "labels": torch.tensor([0, 1, 0, 1])}
    gap = dora.gradient_gap(pt.dora.DoRALinear, trained, batch).iloc[0]
    assert gap.m < 1e-5
    assert min(gap.A, gap.B) > 1e-3
    layer = next(iter(pt.adapters(trained).values()))
    x = torch.randn(3, layer.base.in_features)
    assert torch.allclose(live.ThroughNorm(layer)(x), layer(x), atol=1e-5)


def test_dora_becomes_lora_with_a_gain_and_a_wrong_gain_shows(trained):
    right = dora.converted(trained, lambda m, *V: m / length(*V), lambda g, *V: g * length(*V))
    wrong = dora.converted(trained, lambda m, W, *V: m / W.norm(dim=1), lambda g, *V: g)
    assert right["logits off by at most"].max() < 1e-5 < wrong["logits off by at most"].min() / 100
    assert set(right["trained numbers"]) == {pt.account.parameters(trained).adapter}


def test_chance_and_pythagoras_are_equal_where_the_lesson_says():
    chance, pythagoras = clouds.LAWS.values()
    assert chance(clouds.CROSSING) == pytest.approx(pythagoras(clouds.CROSSING))
    assert round(clouds.CROSSING, 3) == 0.081
    for size, change in clouds.random_rows():
        assert change == pytest.approx(chance(size) + pythagoras(size), rel=0.4)


def test_noise_never_falls():
    for size in (0.01, 0.1, 0.5):
        for row in (0.25, 2.0):
            found = clouds.noise(size, row)
            assert found.slope > 0.9 * row
            assert found.correlation > 0.9


def test_clouds_are_the_records_and_have_no_name_before_a_guess(record):
    explorer = dora.explore_clouds(record, pt.widgets.Guess("Which?", tuple(dora.HIDDEN)))
    assert not {*recorded.NAMES.values()} & {ax.get_title() for ax in explorer.figure.axes}
    table = dora.correlations(record)
    for name, cloud in clouds.clouds(record, "as trained", 0, True).clouds.items():
        assert cloud.correlation["query"] == pytest.approx(
            table.loc[(name, "as trained"), ("pooled, query", 0)], abs=0.006)


def test_pairs_are_whole_and_of_one_seed():
    rows = [{"group": "pairs", "method": method, "rank": 2, "seed": seed, "lr": 1e-3,
             "accuracy": 0.8 + 0.01 * (method == "dora") + 0.001 * seed}
            for seed in (1, 2, 3) for method in ("dora", "lora", "gain")][:-1]
    asked = []
    table = dora.verdicts({"runs": rows}, lambda a, b, margin: asked.append((a, b, margin)) or (
        0.9, 1.1, "better"))
    assert table["pairs"].tolist() == [2, 2]    # seed 3 lacks a run
    assert table["difference"].tolist() == [1, 1]
    assert len(dora.verdicts({"runs": []}, None)["verdict"]) == 0
    assert asked[0] == (pytest.approx([81.1, 81.2]), pytest.approx([80.1, 80.2]), 1.0)


def test_the_ladder_counts_and_merges_as_the_library_does(tiny):
    table = dora.ladder(tiny("bert"))
    assert table.trained["prompt, 10 vectors"] == pt.prompt.count(10, 32)
    assert table.trained["DoRA, rank 8"] == 4 * pt.dora.count(32, 32, 8)
    for rung in RUNGS[1:]:
        model = rung.inject(tiny("bert"))
        if "cannot" in rung.merges:
            with pytest.raises(pt.errors.NotMergeable):
                pt.merge(model)
        else:
            pt.merge(model)
