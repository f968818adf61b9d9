"""What an update looks like, against closed forms and properties."""

import math

import pytest
import torch

import peft_teach as pt
from peft_teach import spectra
from peft_teach.errors import BadConfig, NotMergeable, ShapeError


def orthonormal(n: int, k: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, k, generator=generator, dtype=torch.float64)).Q.float()


def matrix(sigma, n_out: int, n_in: int, seed: int = 0) -> torch.Tensor:
    """Return a matrix with these singular values and random directions."""
    k = len(sigma)
    U, V = orthonormal(n_out, k, seed), orthonormal(n_in, k, seed + 100)
    return U * torch.tensor(sigma, dtype=torch.float32) @ V.T


SIGMA = [9.0, 4.0, 3.0, 0.5, 0.1]


def test_singular_values_are_those_it_was_made_of():
    for shape in ((12, 7), (7, 12)):
        found = spectra.singular_values(matrix(SIGMA, *shape))
        assert found.shape == (7,)
        torch.testing.assert_close(found[:5], torch.tensor(SIGMA), rtol=1e-5, atol=1e-5)
        assert found[5:].abs().max() < 1e-5
    half = spectra.singular_values(matrix(SIGMA, 12, 7).bfloat16().requires_grad_())
    assert (half.dtype, half.requires_grad) == (torch.float32, False)
    torch.testing.assert_close(half[:3], torch.tensor(SIGMA[:3]), rtol=0.02, atol=0.02)
    with pytest.raises(ShapeError, match="matrix has 1 axes"):
        spectra.singular_values(torch.ones(3))


@pytest.mark.parametrize(("share", "rank"), [
    (0.01, 1), (9 / 15 - 1e-6, 1), (9 / 15 + 1e-6, 2), (0.8, 2), (13 / 15 + 1e-6, 3),
    (14 / 15 + 1e-6, 4), (1.0, 5)])
def test_energy_rank_counts_squares(share, rank):
    sigma = torch.tensor([9.0, 4.0, 1.0, 0.5, 0.5]).sqrt()    # energies 9 4 1 ½ ½ of 15
    assert spectra.energy_rank(sigma, share) == rank


def test_energy_rank_of_little():
    assert spectra.energy_rank(torch.ones(10)) == 9
    assert spectra.energy_rank(torch.tensor([1.0, 0.0, 0.0]), 1.0) == 1
    assert spectra.energy_rank(torch.zeros(3)) == 0
    assert spectra.energy_rank(torch.zeros(0)) == 0
    for share in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(BadConfig, match="share"):
            spectra.energy_rank(torch.ones(3), share)


@pytest.mark.parametrize("rank", [0, 1, 2, 4, 5, 7])
def test_truncate_is_the_nearest_matrix(rank):
    M = matrix(SIGMA, 12, 7)
    nearest = spectra.truncate(M, rank)
    error = (M - nearest).norm().item()
    # Eckart and Young: no matrix of this rank is nearer.
    assert error == pytest.approx(math.sqrt(sum(s * s for s in SIGMA[rank:])), abs=1e-4)
    assert torch.linalg.matrix_rank(nearest, tol=1e-3) == min(rank, 5)


def test_truncate_refuses_what_cannot_be():
    for rank in (-1, 8, 1.5, None):
        with pytest.raises(BadConfig, match="0 to 7"):
            spectra.truncate(torch.ones(12, 7), rank)
    with pytest.raises(ShapeError):
        spectra.truncate(torch.ones(12), 1)


# ── overlap ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", ["in", "out"])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_a_matrix_overlaps_with_itself(side, k):
    M = matrix(SIGMA, 12, 7)
    for scale in (1.0, -1.0, 1e-3):    # neither size nor sign is direction
        assert spectra.overlap(M, scale * M, k, side) == pytest.approx(1, abs=1e-4)


def test_the_order_within_the_subspace_does_not_count():
    U, V = orthonormal(12, 3), orthonormal(7, 3)
    one = U * torch.tensor([3.0, 2.0, 1.0]) @ V.T
    other = U.flip(1) * torch.tensor([3.0, 2.0, 1.0]) @ V.flip(1).T
    assert spectra.overlap(one, other, 3) == pytest.approx(1, abs=1e-4)
    assert spectra.overlap(one, other, 1) == pytest.approx(0, abs=1e-4)    # v₁ against v₃
    assert spectra.overlap(one, other, 2) == pytest.approx(0.5, abs=1e-4)  # v₁v₂ against v₃v₂


def test_sides_are_told_apart():
    U, V = orthonormal(12, 6), orthonormal(20, 6)
    one, same_in, same_out = (U[:, :3] @ V[:, :3].T, U[:, 3:] @ V[:, :3].T, U[:, :3] @ V[:, 3:].T)
    assert spectra.overlap(one, same_in, 3, "in") == pytest.approx(1, abs=1e-4)
    assert spectra.overlap(one, same_in, 3, "out") == pytest.approx(0, abs=1e-4)
    assert spectra.overlap(one, same_out, 3, "in") == pytest.approx(0, abs=1e-4)
    assert spectra.overlap(one, same_out, 3, "out") == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("d", "k"), [(40, 4), (40, 20), (100, 5)])
def test_random_subspaces_overlap_by_k_of_d(d, k):
    torch.manual_seed(0)
    found = [spectra.overlap(torch.randn(d, d), torch.randn(d, d), k) for _ in range(30)]
    assert sum(found) / 30 == pytest.approx(k / d, rel=0.15)
    assert all(0 <= x <= 1 for x in found)


def test_half_a_turn_gives_the_cosine():
    angle = 0.7
    e, f = torch.eye(5)[0], torch.eye(5)[1]
    turned = math.cos(angle) * e + math.sin(angle) * f
    out = torch.ones(3)
    assert spectra.overlap(torch.outer(out, e), torch.outer(out, turned), 1) == pytest.approx(
        math.cos(angle) ** 2, abs=1e-5)


def test_overlap_refuses_what_cannot_be():
    M = torch.randn(4, 3)
    with pytest.raises(BadConfig, match="side"):
        spectra.overlap(M, M, 1, "left")
    for k in (0, 4, "1"):
        with pytest.raises(BadConfig, match="1 to 3"):
            spectra.overlap(M, M, k)
    for one, other, says in ((None, M, "matrix is"), (M, M.T.clone(), "other: in should be 3")):
        with pytest.raises(ShapeError, match=says):
            spectra.overlap(one, other, 1)


# ── updates of a model ───────────────────────────────────────────────────────────────────────


def test_update_is_after_minus_before():
    before, after = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.5, 1.0]], requires_grad=True)
    found = spectra.update(before, after)
    assert found.tolist() == [[0.5, -1.0]]
    assert not found.requires_grad
    assert spectra.update(before.bfloat16(), after.bfloat16()).dtype == torch.float32
    with pytest.raises(ShapeError, match="after: n_in should be 2, is 3"):
        spectra.update(before, torch.ones(1, 3))


def test_updates_of_lora_equal_those_of_its_merge(tiny):
    model = tiny("bert")
    names = pt.models.find(model, ("query", "key"))
    before = {n: model.get_submodule(n).weight.detach().clone() for n in names}
    model = pt.lora.inject(model, pt.lora.Config(rank=3, targets=("query",)))
    with torch.no_grad():
        for adapter in pt.adapters(model).values():
            adapter.B.normal_()
    adapted = spectra.updates(model, before)
    merged = spectra.updates(pt.merge(model), before)
    assert tuple(adapted) == tuple(merged) == names
    for n in names:
        torch.testing.assert_close(adapted[n], merged[n], rtol=1e-4, atol=1e-5)
        assert not adapted[n].requires_grad
        sigma = spectra.singular_values(adapted[n])
        assert spectra.energy_rank(sigma, 1 - 1e-9) == (3 if "query" in n else 0)


@pytest.mark.parametrize(("method", "config", "change"), [
    (pt.bitfit, pt.bitfit.Config(), 0.0),
    (pt.lora, pt.lora.Config(also_train="ffn_out"), 0.25)])
def test_updates_where_an_adapter_has_no_delta(method, config, change, tiny):
    name = "bert.encoder.layer.1.output.dense"
    model = tiny("bert")
    before = {name: model.get_submodule(name).weight.detach().clone()}
    model = method.inject(model, config)
    with torch.no_grad():
        for p in pt.adapters(model)[name].own_parameters().values():
            p += 0.25
    torch.testing.assert_close(spectra.updates(model, before)[name],
                               torch.full((32, 48), change))


def test_updates_where_no_delta_can_be(tiny):
    model = pt.bottleneck.inject(tiny("bert"), pt.bottleneck.Config(
        reads="output", targets="attention_out"))
    with pytest.raises(NotMergeable):
        spectra.updates(model, {n: torch.ones(32, 32) for n in pt.adapters(model)})


def test_updates_of_full_fine_tuning(tiny):
    model = pt.full.inject(tiny("bert"))
    name = "bert.encoder.layer.1.output.dense"
    weight = model.get_submodule(name).weight
    before = {name: weight.detach().clone()}
    with torch.no_grad():
        weight += 0.25
    torch.testing.assert_close(spectra.updates(model, before)[name], torch.full((32, 48), 0.25))
