"""What only the checks of lesson 02 do."""

import answers
import pytest
import torch

import peft_teach as pt
from peft_teach.course.exercise import WRONG, examine
from peft_teach.course.lessons import find
from peft_teach.course.lessons.change import exercises as change

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
    assert exact == [([2.0] * 4, 0.5), ([2.0] * 4, 1.0)]


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
