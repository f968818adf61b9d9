"""What only the checks of lesson 02 do."""

import copy

import answers
import pytest
import torch

import peft_teach as pt
from peft_teach.course.exercise import WRONG, examine
from peft_teach.course.lessons import find
from peft_teach.course.lessons.change import exercises as change
from peft_teach.course.lessons.change import injecting, versions
from peft_teach.course.lessons.change.tiny import Scale, Tiny

# ── change.energy ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wrong", [lambda s, share: 1 + int(len(s) > 30), lambda s, share: 8,
                                   lambda s, share: int(share * 10)])
def test_a_wrong_count_is_named_only_if_every_input_agrees(wrong):
    result = examine(find("change.energy"), wrong)
    assert (result.state, result.mistake) == (WRONG, None)
    assert "expected" in result.message


def test_the_inputs_tell_all_wrong_counts_apart():
    for seed in range(4):
        (case,) = change.energy_cases(seed)
        inputs = list(zip(case["sigmas"], case["shares"]))
        usual = list(zip(*(change.wrong_energies(*given) for given in inputs)))
        names = {tuple(value for _, value in found): found[0][0] for found in usual}
        assert set(names.values()) == set(change.ENERGY_MISTAKES) - {
            "no_return", "not_whole", "tensor", "input_changed"}
        assert tuple(pt.spectra.energy_rank(*given) for given in inputs) not in names
        for found in usual:
            assert names[tuple(value for _, value in found)] == found[0][0]


def test_two_inputs_meet_their_share_exactly():
    (case,) = change.energy_cases(0)
    exact = [(sigma.tolist(), share) for sigma, share in zip(case["sigmas"], case["shares"])
             if share * sum(s * s for s in sigma.tolist()) in sigma.square().cumsum(0).tolist()]
    assert exact == [([2.0] * 4, 0.25), ([2.0] * 4, 1.0)]


# ── change.truncate ──────────────────────────────────────────────────────────────────────────


def test_an_error_that_is_not_about_shapes_keeps_its_traceback():
    result = examine(find("change.truncate"), lambda delta, k: delta.no_such_name)
    assert (result.state, result.mistake) == (WRONG, None)
    assert "no_such_name" in result.traceback
    result = examine(find("change.truncate"), lambda delta, k: delta.view(-1, 1000))
    assert "view" in result.traceback


def test_what_is_not_a_tensor_gets_its_article():
    assert "it gave an int." in examine(find("change.truncate"), lambda delta, k: 0).message
    assert "it gave a list." in examine(find("change.truncate"), lambda delta, k: []).message


# ── change.project ───────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore:Sparse (CSR tensor|invariant checks):UserWarning")
@pytest.mark.parametrize("style", answers.right("change.project"))
def test_right_projections_move_a_model(style, tiny):
    right = answers.define("change.project", answers.right("change.project")[style])
    model = tiny("bert")
    moved = pt.subspace.Subspace(model, d=5, project=right)
    with torch.no_grad():
        moved.z += 1
    other = pt.subspace.Subspace(model, d=5)
    assert not torch.equal(moved.theta(), other.theta())
    with torch.no_grad():
        other.z += 1
    assert torch.allclose(moved.theta(), other.theta(), atol=1e-6)


# ── change.inject and its law ────────────────────────────────────────────────────────────────


def test_inject_is_attach_on_a_real_model(tiny):
    one, other = tiny("bert"), tiny("bert")
    places = ("query", "value")
    one = injecting.inject(one, places, pt.bitfit.BiasAdapter)
    other = pt.attach(other, places, pt.bitfit.BiasAdapter)
    assert list(pt.adapters(one)) == list(pt.adapters(other))
    assert [(n, p.requires_grad) for n, p in one.named_parameters()] == [
        (n, p.requires_grad) for n, p in other.named_parameters()]


def test_what_inject_put_on_is_counted_silenced_saved_and_taken_off(tiny, inputs, tmp_path):
    plain, batch = tiny("bert"), inputs(tiny("bert"))
    targets = ("query", "LayerNorm")
    model = injecting.inject(tiny("bert"), targets, pt.bitfit.BiasAdapter)
    own = sum(p.numel() for adapter in pt.adapters(model).values() for p in [adapter.b])
    assert pt.account.parameters(model).adapter == own
    assert sum(p.numel() for p in pt.adapter_parameters(model).values()) == own
    with torch.no_grad():
        for adapter in pt.adapters(model).values():
            adapter.b.normal_()
        expected, there = plain(**batch).logits, model(**batch).logits
        assert not torch.allclose(there, expected)
        with pt.disabled(model):
            assert torch.equal(model(**batch).logits, expected)
        saved = pt.save(model, tmp_path / "mine")
        loaded = pt.load(tiny("bert"), saved, make=pt.bitfit.BiasAdapter)
        assert torch.equal(loaded(**batch).logits, there)
        assert torch.allclose(pt.merge(copy.deepcopy(model))(**batch).logits, there, atol=1e-4)
        assert torch.equal(pt.remove(model)(**batch).logits, expected)
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


@pytest.mark.parametrize("version", versions.RIGHT)
def test_right_versions_pass_the_check_of_an_injection(version):
    assert examine(find("change.inject"), versions.RIGHT[version]).state == "passed"


@pytest.mark.parametrize("version", versions.BROKEN)
def test_broken_versions_do_not(version):
    assert examine(find("change.inject"), versions.BROKEN[version]).state == WRONG


def test_the_right_versions_raise_what_their_names_say():
    for error, names in zip((KeyError, ValueError), versions.BY_ERROR):
        for name in names:
            with pytest.raises(error):
                versions.RIGHT[name](Tiny(), ("nothing",), Scale)
    assert set.union(*versions.BY_ERROR) == set(versions.RIGHT)


def test_the_law_of_a_reader_finds_a_bug_of_a_reader():
    law = answers.define("change.holds", answers.right("change.holds")["counted"])
    for mistake in ("own_frozen", "part_of_name", "not_in_place", "twice", "skipped"):
        broken = answers.define("change.inject", answers.wrong("change.inject")[mistake][0])
        with pytest.raises(Exception):  # noqa: B017, PT011 (a test may object by any)
            law(broken, Tiny, Scale)
