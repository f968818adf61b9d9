"""The random subspace of lesson 02, against a dense P and against the model itself."""

import copy

import pytest
import torch
from exact import assert_equal

import peft_teach as pt
from peft_teach.course.lessons.change.subspace import Subspace, hashes, project


@pytest.fixture
def classifier(tiny, inputs):
    """Return a tiny classifier and a batch with labels."""
    model = tiny("bert")
    return model, inputs(model)


def dense(h, sign, d):
    """P as Li et al. write it, a full (D, d) matrix in float64."""
    P = torch.zeros(len(h), d, dtype=torch.float64)
    P[torch.arange(len(h)), h] = sign.double() * (d / len(h)) ** 0.5
    return P


def test_the_projection_is_that_of_a_dense_P_and_so_is_its_gradient():
    D, d = 500, 7
    h, sign = hashes(D, d, seed=3)
    generator = torch.Generator().manual_seed(0)
    theta0, g = torch.randn(2, D, generator=generator)
    z = torch.randn(d, generator=generator, requires_grad=True)
    P = dense(h, sign, d)
    theta = project(theta0, z, h, sign)
    assert not torch.equal(theta, theta0)
    assert torch.allclose(theta.double(), theta0.double() + P @ z.detach().double(), atol=1e-6)
    theta.backward(g)
    assert torch.allclose(z.grad.double(), P.T @ g.double(), atol=1e-5)


def test_columns_have_length_one_and_are_orthogonal():
    h, sign = hashes(200_000, 10, seed=0)
    assert set(sign.tolist()) == {-1.0, 1.0}
    assert abs(sign.mean()) < 0.01
    assert sorted(set(h.tolist())) == list(range(10))
    P = dense(h, sign, 10)
    assert torch.allclose(P.T @ P, torch.eye(10, dtype=torch.float64), atol=0.05)


def test_a_seed_gives_one_P_and_another_seed_another():
    for one, again in zip(hashes(1000, 8, 1), hashes(1000, 8, 1)):
        assert_equal(one, again)
    assert not torch.equal(hashes(1000, 8, 1)[0], hashes(1000, 8, 2)[0])


def test_it_starts_as_the_model_and_trains_z_and_the_head_alone(classifier):
    model, batch = classifier
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        expected = model(**batch).logits
    subspace = Subspace(model, d=5)
    with torch.no_grad():
        assert_equal(subspace(**batch).logits, expected)
    list(pt.train(subspace, [batch] * 3, groups=subspace.groups(1.0, 0.1)))
    heads = pt.models.head(model)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (name not in heads), name
    with torch.no_grad():
        moved = subspace(**batch).logits
        assert not torch.allclose(moved, expected)
        assert torch.allclose(subspace.plain()(**batch).logits, moved, atol=1e-6)
    assert not any(module.training for module in subspace.train().plain().modules())
    assert all(p.requires_grad == (n in heads) for n, p in model.named_parameters())


def test_every_weight_moves_by_its_own_number(classifier):
    model, _ = classifier
    subspace = Subspace(copy.deepcopy(model), d=3, seed=1)
    with torch.no_grad():
        subspace.z.copy_(torch.tensor([1.0, 10.0, 100.0]))
    row = torch.cat([(w - model.get_parameter(n)).flatten() for n, w in subspace.weights().items()])
    size = row.abs() / (3 / subspace.D) ** 0.5
    assert torch.allclose(size, 10.0 ** subspace.h, rtol=1e-2)
    assert_equal(row.sign(), subspace.sign)
    assert sum(p.numel() for p in model.base_model.parameters()) == subspace.D


def test_the_rate_of_z_gives_one_first_step_of_a_given_length(classifier):
    model, batch = classifier
    subspace = Subspace(model, d=64)
    next(pt.train(subspace, [batch] * 3, groups=subspace.groups(0.5, 0.1)))
    assert subspace.z.norm().item() == pytest.approx(0.5, rel=1e-2)


@pytest.mark.parametrize("d", [0, -1, 10**9])
def test_impossible_dimensions_are_refused_before_anything_changes(classifier, d):
    model, _ = classifier
    with pytest.raises(pt.errors.BadConfig, match=f"d is {d}"):
        Subspace(model, d)
    assert all(p.requires_grad for p in model.parameters())
