"""Lesson 10: what is shipped, by a made-up record; the mask, the knob, the direction left out."""

import pandas
import pytest
import torch

from peft_teach.course import records
from peft_teach.course.exercise import examine
from peft_teach.course.lessons.ladder import exercises, forgetting, masked, measure, recorded

# What is added to each guess, in seeds 2, 3 and 4; the file, the step, the neighbours left.
METHODS = {"full": ((0, 0, 0), 10**6, 1, 0.7), "lora all": ((0.05, 0.05, 0.05), 10**6, 0.7, 0.4),
           "lora 8": ((1.2, 1.2, 1.2), 3000, 0.59, 0.75), "head": ((2, 2, 2), 3000, 0.7, 0),
           "prompt": ((4, 4, 0.8), 10**6, 0.7, None)}


@pytest.fixture
def made_up(monkeypatch):
    """Full is best, LoRA everywhere hardly worse, rank 8 clearly; a prompt fails with two seeds."""
    draw = torch.Generator().manual_seed(0)
    rating, runs = 2 * torch.randn(400, generator=draw), []
    for method, (more, *_) in METHODS.items():
        for seed in (2, 3, 4):
            noise, other = torch.randn(2, 400, generator=draw)
            runs.append({"group": "final", "method": method, "seed": seed, "parameters": 1,
                         "answers": measure.pack(rating + noise + more[seed - 2] * other)})
    record = {"runs": runs, "ratings": {"movies": measure.pack(rating)}, "costs": {
        method: {"file_bytes": size, "step": step} for method, (_, size, step, _)
        in METHODS.items()}, "forgetting": [
            {"method": method, "seed": 2, "f": f, "neighbours": kept} for method, (*_, left)
            in METHODS.items() for f, kept in ((0.0, 0.8), (1.0, left))]}
    monkeypatch.setattr(records, "load", lambda name: record)


PICKS = {"file": "LoRA 8", "time": "lora 8", "any": "LoRA  everywhere", "keep": "full"}


@pytest.mark.parametrize(("changes", "mistake", "told"), [
    ({}, None, ""),
    ({"any": "full fine-tuning"}, None, ""),
    ({"file": "full"}, "over", "file: full fine-tuning has 1,000.00 (file, kB); allowed is "
                               "at most 100."),
    ({"time": "full"}, "over", "has 1.00"),
    ({"keep": "lora everywhere"}, "over", "has 0.50 (of the base's neighbours)"),
    ({"keep": "prompt"}, "over", "was not measured"),
    ({"any": "lora 8"}, "worse", "Another one is better by 0."),
    ({"keep": "lora 8"}, "worse", "keep: LoRA 8 has an R² of 0."),
    ({"any": "prompt"}, "worse", "Another one is better with every seed."),
])
def test_a_choice_is_within_its_budget_and_not_clearly_worse(made_up, changes, mistake, told):
    result = examine(exercises.SHIP, PICKS | changes)
    assert (result.passed, result.mistake) == (mistake is None, mistake), result
    assert told in result.message


def test_a_step_is_told_relative_to_fulls_own(made_up):
    record = records.load("ladder")
    slow = {**record, "costs": {method: {**cost, "step": 3 * cost["step"]}
                                for method, cost in record["costs"].items()}}
    pandas.testing.assert_frame_equal(recorded.prices(slow), recorded.prices(record))


def test_a_mask_trains_its_entries_and_leaves_all_others():
    base = torch.nn.Linear(6, 5).requires_grad_(False)
    layer, x = masked.Masked(base, 7), torch.randn(3, 6)
    assert torch.equal(layer(x), base(x))
    layer.M.data = torch.arange(1.0, 8)
    W = base.weight.flatten().tolist()
    for place, more in zip(layer.place.tolist(), layer.M.tolist()):
        W[place] += more
    assert torch.allclose(layer.merged().weight, torch.tensor(W).view(5, 6))
    assert torch.allclose(layer(x), layer.merged()(x), atol=1e-5)
    assert len({*layer.place.tolist()}) == 7


def test_the_knob_goes_from_before_to_after_and_beyond():
    before = {"W": torch.tensor([1.0, 2.0]), "position_ids": torch.tensor([3])}
    after = {"W": torch.tensor([3.0, 0.0]), "position_ids": torch.tensor([3])}
    found = {f: forgetting.blend(before, after, f) for f in (0, 0.5, 1, 1.5)}
    assert [made["W"].tolist() for made in found.values()] == [[1, 2], [2, 1], [3, 0], [4, -1]]
    assert all(made["position_ids"].dtype == torch.int64 for made in found.values())


def test_the_direction_in_which_vectors_differ_most_is_left_out_alone():
    spread = torch.tensor([1.0, 9.0, 2.0])
    x = torch.cat([torch.diag(spread), -torch.diag(spread)]) + 5
    found = forgetting.without_top(x)
    assert torch.allclose(found[:, [0, 2]], x[:, [0, 2]], atol=1e-4)
    assert found[:, 1].abs().max() < 1e-4
