"""Lesson 10: its frames, pictures and choices say what closed forms and made-up records say."""

import base64
import itertools

import pandas
import pytest
import safetensors.torch
import torch
from exact import assert_equal

import peft_teach as pt
from peft_teach.course import protocol, records
from peft_teach.course.checks.examination import examine
from peft_teach.course.lessons.ladder import exercises, forgetting, recorded, rungs
from peft_teach.course.lessons.ladder import picture_of_costs as costs
from peft_teach.course.lessons.ladder import picture_of_places as places
from peft_teach.course.verdicts import interval, of_runs

ladder = pt.course.pictures("ladder")
NOISE = {"full": 0.4, "lora all": 0.4, "lora 1": 0.6, "head": 0.9}
STEP = {"full": 1.0, "lora all": 0.8, "lora 1": 0.5, "head": 0.2}
TRAINED = {"full": 10**7, "lora all": 10**5, "lora 1": 10**4, "head": 0}


@pytest.fixture(scope="module")
def record():
    """A record that is made up: four methods whose errors are known, and one bad run."""
    torch.manual_seed(0)
    rating = (1.5 * torch.randn(400)).clamp(-3, 3)
    noise, runs = torch.randn(400), []
    for method, seed in (*itertools.product(NOISE, range(2, 6)), ("full", 6)):
        guess = rating + (1 + (seed == 6)) * NOISE[method] * (noise + 0.1 * torch.randn(400))
        runs.append({"group": "final", "method": method, "seed": seed, "answers":
                     protocol.pack(guess), "parameters": TRAINED[method],
                     "r2": round(protocol.r2(guess, rating), 4)})
    knob = [{"method": method, "seed": seed, "f": f, "r2": r2 * f, "neighbours": 0.8 - lost * f,
             "without_top": 0.7} for method, r2, lost in (("full", 0.6, 0.2), ("lora 1", 0.4, 0.4))
            for seed in (2, 3) for f in (0.0, 0.5, 1.0)]
    adapter = {"a.b.A": torch.ones(2, 3), "a.b.B": torch.ones(4, 2),
               "classifier.bias": torch.ones(1)}
    return {"runs": runs, "forgetting": knob, "ratings": {"movies": protocol.pack(rating)},
            "costs": {method: {"file_bytes": 4 * TRAINED[method] + 2000, "step": STEP[method],
                               "memory_bytes": 10**8 * STEP[method]} for method in NOISE},
            "adapters": {"movies": base64.b64encode(safetensors.torch.save(adapter)).decode()}}


def test_an_interval_is_students_over_seeds_and_normal_over_sentences():
    zero, seeds, sentences = torch.zeros(5, 900), torch.randn(5, 1), torch.randn(1, 900)
    exact = of_runs(seeds[:, 0].tolist(), [0.0] * 5)
    assert interval(seeds + zero, zero) == pytest.approx((exact.low, exact.high), rel=1e-3)
    low, high = interval(sentences + zero, zero)
    assert (high - low) / 2 == pytest.approx(1.96 * sentences.std().item() / 30, rel=1e-3)


def test_quality_is_the_r2_of_the_rows_and_its_interval_holds_it(record):
    found = protocol.quality(record)
    runs = pandas.DataFrame(record["runs"])
    told = runs.groupby("method").r2.mean().rename(protocol.NAMES)
    assert found["R²"].to_dict() == pytest.approx(told.to_dict(), abs=5e-3)
    assert ((found.low < found["R²"]) & (found["R²"] < found.high)).all()


def test_a_bill_has_means_over_the_seeds_that_all_have_and_costs(record):
    found = ladder.bill(record)
    runs = pandas.DataFrame(record["runs"]).query("seed < 6")
    told = runs.groupby("method").r2.mean().rename(protocol.NAMES)
    assert found["R²"].to_dict() == pytest.approx(told.to_dict(), abs=5e-3)
    assert found["R²"].is_monotonic_decreasing
    assert found["trained parameters"]["head only"] == 385
    assert found["of the base's neighbours"]["LoRA 1"] == pytest.approx(0.5)
    assert found["file, kB"]["LoRA 1"] == 42


def test_a_pair_is_judged_once_and_its_mirror_is_the_opposite(record):
    asked = []
    found = ladder.verdicts(record, lambda a, b: asked.append(a.shape) or interval(a, b))
    assert asked == [(4, 400)] * 6
    for (one, other), row in found.iterrows():
        assert found.loc[(other, one)].low == -row.high
        assert (row.low + row.high) / 2 == pytest.approx(row.difference)
    r2 = protocol.means(record)
    gaps = recorded.gaps(record)
    assert [*gaps.index] == [*r2.index]
    assert (gaps.loc["full fine-tuning"] == 0).all()
    told = found.loc[("LoRA 1", "full fine-tuning")]
    assert gaps.loc["LoRA 1"].tolist() == pytest.approx([told.difference, told.low, told.high])
    assert found.difference["LoRA 1", "head only"] == pytest.approx(
        r2["LoRA 1"] - r2["head only"], abs=1e-5)
    assert found.verdict["full fine-tuning", "LoRA 1"] == "better"
    assert found.verdict["LoRA 1", "full fine-tuning"] == "worse"


@pytest.mark.parametrize("runs", [1, 5])
def test_places_jump_between_equals_and_stand_where_one_is_better(runs):
    torch.manual_seed(0)
    found = {"third": torch.full((5, 500), 3.0), "last": torch.full((5, 500), 4.0)}
    seen = places.places(found | {name: 1 + torch.randn(5, 500) for name in ("a", "b")}, runs, 1)
    assert seen.places["last"] == [4] * places.SHOWN
    assert all(sorted(column) == [1, 2, 3, 4] for column in zip(*seen.places.values()))
    assert len(seen.at(1)) == 2


def test_what_is_kept_is_read_at_one_quality(record):
    found = ladder.forgetting(record)    # 0.4, which LoRA reaches at 1 and full at 2/3
    assert found.f["full fine-tuning"] == pytest.approx(2 / 3)
    assert found["neighbours kept"].to_dict() == pytest.approx(
        {"the base": 0.8, "full fine-tuning": 0.8 - 0.4 / 3, "LoRA 1": 0.4})


def test_a_method_is_filled_where_nothing_as_cheap_is_better():
    cost = pandas.Series({"a": 1, "b": 2, "c": 2, "d": 3})
    verdict = pandas.Series("cannot tell", itertools.permutations("abcd", 2))
    verdict["b", "c"] = verdict["d", "a"] = "better"    # d costs more than a
    verdict["a", "d"] = "the same"
    assert costs.unbeaten(cost, verdict) == ["a", "b", "d"]


def test_recorded_adapters_come_as_matrices_without_the_head(record):
    A, B, scale = ladder.adapters(record)["movies"].pop("a.b")
    assert (A.shape, B.shape, scale) == ((2, 3), (4, 2), 8.0)


PICKS = {"file": "LoRA 1", "time": "lora 1", "any": "LoRA  everywhere", "keep": "full"}


@pytest.mark.parametrize(("changes", "mistake", "told"), [
    ({}, None, ""),
    ({"any": "full fine-tuning"}, None, ""),
    ({"file": "full"}, "over", "file: full fine-tuning has 40,002.00 (file, kB); allowed is at "
                               "most 100."),
    ({"time": "full"}, "over", "has 1.00"),
    ({"keep": "lora 1"}, "over", "has 0.50 (of the base's neighbours)"),
    ({"keep": "lora everywhere"}, "over", "was not measured"),
    ({"any": "lora 1"}, "worse", "Another one is better by 0."),
    ({"keep": "head only"}, "worse", "keep: head only has an R² of 0."),
])
def test_a_choice_is_within_its_budget_and_no_other_there_is_better(record, monkeypatch, changes,
                                                                    mistake, told):
    monkeypatch.setattr(records, "load", lambda name: record)
    result = examine(exercises.SHIP, PICKS | changes)
    assert (result.passed, result.mistake) == (mistake is None, mistake), result
    assert told in result.message


def test_a_choice_within_the_margin_is_right_though_another_is_better(record, monkeypatch):
    r2 = ladder.bill(record)["R²"]
    gap = r2.iloc[0] - r2["LoRA 1"]
    for margin, right in ((gap + 1e-3, True), (gap - 1e-3, False)):
        monkeypatch.setattr(recorded, "MARGIN", margin)
        told = recorded.surpassed(record, recorded.prices(record), "any", "lora 1")
        assert (told == "") == right


def test_a_step_is_told_relative_to_fulls_own(record):
    slow = {**record, "costs": {method: {**cost, "step": 3 * cost["step"]}
                                for method, cost in record["costs"].items()}}
    pandas.testing.assert_frame_equal(recorded.prices(slow), recorded.prices(record))


def test_a_mask_trains_its_entries_and_leaves_all_others():
    base = torch.nn.Linear(6, 5).requires_grad_(False)
    layer, x = rungs.Masked(base, 7), torch.randn(3, 6)
    assert_equal(layer(x), base(x))
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
