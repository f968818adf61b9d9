"""What only the checks of lesson 02 do."""

import copy

import answers
import pytest
import torch
from exact import assert_equal

import peft_teach as pt
from peft_teach.course.exercise import WRONG, examine
from peft_teach.course.lessons import find
from peft_teach.course.lessons.change import injecting, versions
from peft_teach.course.lessons.change.tiny import Scale, Tiny


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
    inject = answers.define("change.inject", answers.right("change.inject")[style])
    model = inject(tiny("bert"), ("query", "dense"), pt.bitfit.BiasAdapter)
    batch = {"input_ids": torch.tensor([[1, 2, 3]]), "labels": torch.tensor([1])}
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    list(pt.train(model, [batch] * 3, lr=0.1))
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n, p in model.named_parameters() if p.requires_grad}
    assert any(n.endswith("pooler.dense.b") for n in moved)


@pytest.mark.parametrize("version", versions.RIGHT | versions.BROKEN)
def test_the_check_of_an_injection_knows_the_versions_of_its_law(version):
    result = examine(find("change.inject"), (versions.RIGHT | versions.BROKEN)[version])
    assert result.passed == (version in versions.RIGHT)


def test_the_law_of_a_reader_finds_a_bug_of_a_reader():
    law = answers.define("change.holds", answers.right("change.holds")["counted"])
    for mistake in ("own_frozen", "part_of_name", "not_in_place"):
        broken = answers.define("change.inject", answers.wrong("change.inject")[mistake][0])
        with pytest.raises(Exception):  # noqa: B017, PT011 (a test may reject by any)
            law(broken, Tiny, Scale)
