"""Lesson 02: the numbers in its pictures are those of the record; what only its checks do."""

import copy

import answers
import numpy as np
import pytest
import torch
from exact import assert_equal

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.checks.examination import WRONG, examine
from peft_teach.course.lessons import find
from peft_teach.course.lessons.change import injecting, mutants
from peft_teach.course.lessons.change.injecting import Scale, Tiny
from peft_teach.course.publish.authored import define

change = pt.course.pictures("change")


def test_what_is_kept_of_an_update_is_a_share_of_its_numbers():
    delta = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    for rule in ("random", "largest"):
        assert int((change.kept(delta, rule, 1 / 64) != 0).sum()) == 64
    assert change.kept(delta, "largest", 1 / 64).abs().max() == delta.abs().max()
    assert int(torch.linalg.matrix_rank(change.kept(delta, "strongest", 1 / 64))) == 4


def test_the_cut_shows_what_is_recorded_of_larger_updates():
    """Of the small ones it is drawn."""
    record, lr = records.load("change"), 3e-4
    found = change.cut(record, torch.randn(384, 384), "random", 1 / 32, lr)
    rows = [row for row in record["parts"] if row["lr"] == lr and row["rest"] == "trained"]
    for rule in change.RULES:
        points = found.points(rule)
        none = change.SHARES[:rule == "strongest"]    # no direction is left
        assert sorted([*points, *none]) == sorted(change.SHARES)
        for share, accuracies in points.items():
            assert accuracies == [row["accuracy"] for row in rows if (
                (row["rule"], row["share"], row["scaled"]) == (rule, share, rule != "strongest"))]
    said = f"{np.mean(found.points('random')[1 / 32]):.1%}"
    assert said in change.draw_cut(found).get_suptitle()


def test_a_wrong_count_is_named_only_if_every_input_agrees():
    result = examine(find("change.energy"), lambda sigma, share: 13)    # of the first, one less
    assert (result.state, result.mistake) == (WRONG, None)
    assert "expected" in result.message


def test_what_inject_put_on_is_counted_silenced_saved_and_taken_off(tiny, inputs, tmp_path):
    plain, batch = tiny("bert"), inputs(tiny("bert"))
    targets = ("query", "LayerNorm")
    model = injecting.inject(tiny("bert"), targets, pt.bitfit.BiasAdapter)
    own = sum(adapter.b.numel() for adapter in pt.adapters(model).values())
    assert pt.account.parameters(model).adapter == own
    assert sum(p.numel() for p in pt.adapter_parameters(model).values()) == own
    with torch.no_grad():
        for adapter in pt.adapters(model).values():
            adapter.b.normal_()
        expected, there = plain(**batch).logits, model(**batch).logits
        assert not torch.allclose(there, expected)
        with pt.disabled(model):
            assert_equal(model(**batch).logits, expected)
        saved = pt.save(model, tmp_path / "mine")
        loaded = pt.load(tiny("bert"), saved, make=pt.bitfit.BiasAdapter)
        assert_equal(loaded(**batch).logits, there)
        assert torch.allclose(pt.merge(copy.deepcopy(model))(**batch).logits, there, atol=1e-4)
        assert_equal(pt.remove(model)(**batch).logits, expected)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("style", answers.right("change.inject"))
def test_right_injections_train_on_a_real_model(style, tiny):
    inject = define("change.inject", answers.right("change.inject")[style])
    model = inject(tiny("bert"), ("query", "dense"), pt.bitfit.BiasAdapter)
    batch = {"input_ids": torch.tensor([[1, 2, 3]]), "labels": torch.tensor([1])}
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    list(pt.train(model, [batch] * 3, lr=0.1))
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n, p in model.named_parameters() if p.requires_grad}
    assert any(n.endswith("pooler.dense.b") for n in moved)


@pytest.mark.parametrize("version", mutants.RIGHT | mutants.BROKEN)
def test_the_check_of_an_injection_knows_the_versions_of_its_law(version):
    result = examine(find("change.inject"), (mutants.RIGHT | mutants.BROKEN)[version])
    assert result.passed == (version in mutants.RIGHT)


def test_the_law_of_a_reader_finds_a_bug_of_a_reader():
    law = define("change.holds", answers.right("change.holds")["counted"])
    for mistake in ("own_frozen", "part_of_name", "not_in_place"):
        broken = define("change.inject", answers.wrong("change.inject")[mistake][0])
        with pytest.raises(Exception):  # noqa: B017, PT011 (a test may reject by any)
            law(broken, Tiny, Scale)


def test_a_list_of_all_weights_is_a_loop_in_a_single_operation():
    def project(theta0, z, h, sign):
        pieces, scale = z.unbind(), (len(z) / len(theta0)) ** 0.5
        return theta0 + scale * sign * torch.stack([pieces[j] for j in h.tolist()])

    assert examine(find("change.project"), project).mistake == "loop"
