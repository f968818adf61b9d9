"""Lesson 10: what its frames and pictures say is what closed forms and made-up records say."""

import base64
import itertools

import pandas
import pytest
import safetensors.torch
import torch

import peft_teach as pt
from peft_teach.course.lessons.dora.exercises import referee_interval
from peft_teach.course.lessons.ladder import measure, recorded, rungs
from peft_teach.course.lessons.ladder import picture_of_costs as costs
from peft_teach.course.lessons.ladder import picture_of_places as places

ladder = pt.course.pictures("ladder")
NOISE = {"full": 0.4, "lora all": 0.42, "lora 1": 0.6, "head": 0.9}
STEP = {"full": 1.0, "lora all": 0.8, "lora 1": 0.5, "head": 0.2}
SHARE = "at most 60% of full's"
TRAINED = {"full": 10**7, "lora all": 10**5, "lora 1": 10**4, "head": 0}


@pytest.fixture(scope="module")
def record():
    """A record that is made up: four methods whose errors are known, and one that ran once."""
    torch.manual_seed(0)
    rating = (1.5 * torch.randn(400)).clamp(-3, 3)
    noise, runs = torch.randn(400), []
    for method, seed in (*itertools.product(NOISE, range(2, 6)), ("full", 6), ("mask", 2)):
        guess = rating + NOISE.get(method, 2) * (noise + 0.1 * torch.randn(400))
        runs.append({"group": "final", "method": method, "seed": seed, "answers":
                     measure.pack(guess), "parameters": TRAINED.get(method, 1),
                     "r2": round(measure.r2(guess, rating), 4)})
    knob = [{"method": method, "seed": seed, "f": f, "r2": slope * f, "neighbours": 0.8 - 0.4 * f,
             "without_top": 0.7} for method, slope in (("full", 0.6), ("lora 1", 0.4))
            for seed in (2, 3) for f in (0.0, 0.5, 1.0)]
    adapter = {"a.b.A": torch.ones(2, 3), "a.b.B": torch.ones(4, 2),
               "classifier.bias": torch.ones(1)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded, "ratings", lambda: rating)
        yield {"runs": runs, "forgetting": knob, "costs": {
            method: {"file_bytes": 4 * TRAINED[method] + 2000, "step": STEP[method],
                     "memory_bytes": 10**8 * STEP[method]} for method in NOISE},
               "adapters": {"movies": base64.b64encode(safetensors.torch.save(adapter)).decode()}}


def test_an_interval_is_students_over_seeds_and_normal_over_sentences():
    """What varies with both at once is counted twice: a little too wide, never too narrow."""
    torch.manual_seed(0)
    chance, sentences, zero = torch.randn(5, 900), torch.randn(1, 900), torch.zeros(5, 900)
    low, high = measure.interval(chance, zero)
    exact = referee_interval(chance.mean(1).tolist(), [0.0] * 5)
    assert 1 < (high - low) / (exact[1] - exact[0]) < 1.4
    low, high = measure.interval(sentences + zero, zero)
    assert (high - low) / 2 == pytest.approx(1.96 * sentences.std().item() / 30, rel=1e-3)


def test_quality_is_the_r2_of_the_rows_and_its_interval_holds_it(record):
    found = ladder.costs(record)
    rows = pandas.DataFrame([row for row in record["runs"] if row["group"] == "final"])
    told = rows[rows.method != "mask"].groupby("method").r2.mean().rename(rungs.NAMES)
    assert found["R²"].to_dict() == pytest.approx(told.to_dict(), abs=5e-3)
    assert ((found.low < found["R²"]) & (found["R²"] < found.high)).all()
    assert found["trained parameters"]["the head alone"] == 385
    assert found["of the base's neighbours"]["LoRA 1"] == pytest.approx(0.5)
    assert ladder.leaderboard(record)["R²"].is_monotonic_decreasing


def test_rulers_see_the_worse_method_further_behind_and_the_sign_where_people_had_one(record):
    found = ladder.rulers(record)
    assert list(found.index) == ["LoRA everywhere", "LoRA 1", "the head alone"]
    assert found["the rating"].is_monotonic_increasing
    assert (found["the rating"] > found["the sign"]).all()
    difference = recorded.errors(record)["lora 1"][2] - recorded.errors(record)["full"][2]
    assert found["the rating"]["LoRA 1"] == pytest.approx(
        difference.mean() / (difference.var() / 400).sqrt())
    wrong = recorded.errors(record, "the sign")["full"][2]
    assert 1 - wrong.mean().item() == pytest.approx(measure.sign_accuracy(
        measure.unpack(record["runs"][0]["answers"]), recorded.ratings()))


def test_a_pair_is_judged_once_and_its_mirror_is_the_opposite(record):
    asked = []
    found = ladder.verdicts(record, lambda a, b: asked.append(a.shape) or measure.interval(a, b))
    assert asked == [(4, 400)] * 6
    for (one, other), row in found.iterrows():
        assert found.loc[(other, one)].low == -row.high
        assert (row.low + row.high) / 2 == pytest.approx(row.difference)
    r2 = ladder.costs(record)["R²"]
    assert found.difference["LoRA 1", "the head alone"] == pytest.approx(
        r2["LoRA 1"] - r2["the head alone"], abs=1e-5)
    assert found.verdict["full fine-tuning", "LoRA 1"] == "better"
    assert found.verdict["LoRA 1", "full fine-tuning"] == "worse"
    for ends, verdict in (((-0.01, 0.01), "the same"), ((0.01, 0.03), "better"),
                          ((0.01, 0.015), "the same"), ((-0.01, 0.03), "could not tell")):
        assert recorded.verdict(*ends, recorded.MARGIN) == verdict


@pytest.mark.parametrize("runs", [1, 5])
def test_places_jump_between_equals_and_stand_where_one_is_better(runs):
    torch.manual_seed(0)
    found = {"third": torch.full((5, 500), 3.0), "last": torch.full((5, 500), 4.0)}
    seen = places.places(found | {name: 1 + torch.randn(5, 500) for name in ("a", "b")}, runs, 1)
    assert seen.places["last"] == [4] * places.SHOWN
    assert all(sorted(column) == [1, 2, 3, 4] for column in zip(*seen.places.values()))
    assert seen.winners == 2
    assert 0 < seen.moved < 1


def test_what_is_kept_is_read_at_one_quality(record):
    found = ladder.forgetting(record)    # 0.4, which LoRA reaches at 1 and full at 2/3
    assert found.f["full fine-tuning"] == pytest.approx(2 / 3)
    assert found["neighbours kept"].to_dict() == pytest.approx(
        {"the base": 0.8, "full fine-tuning": 0.8 - 0.8 / 3, "LoRA 1": 0.4})


def test_a_method_is_filled_where_nothing_as_cheap_is_better():
    table = pandas.DataFrame({"cost": [1, 2, 2, 3], "R²": [0.3, 0.5, 0.4, 0.45]}, list("abcd"))
    assert costs.unbeaten(table) == ["a", "b"]


@pytest.mark.parametrize(("limits", "filled", "told"), [
    (("any", "any", 1), 4, "Take LoRA everywhere"),    # full is better by less than 0.02
    (("any", SHARE, 1), 2, "Take LoRA 1"), ((SHARE, "any", 1), 2, "Take LoRA 1"),
    (("any", "any", 10_000), 2, "Take LoRA 1"), (("any", "any", 10**6), 0, "No method is")])
def test_the_chooser_takes_the_smallest_of_the_best(record, limits, filled, told):
    found = ladder.chooser(record).compute(*limits)
    assert len(found.filled) == filled
    assert told in found.told


def test_recorded_adapters_come_as_matrices_without_the_head(record):
    A, B, scale = ladder.adapters(record)["movies"].pop("a.b")
    assert (A.shape, B.shape, scale) == ((2, 3), (4, 2), 8.0)


def test_claims_are_settled_by_what_the_library_does(record, tiny):
    table = ladder.settle(record)
    assert table.reset_index().map(len).max().max() <= 50    # more, and pandas cuts it
    found = table.found
    assert "13,824" in found["IA³ trains about 0.05 %"]
    assert found["A Bapna adapter stands after attention"] == "0"
    pt.merge(pt.ia3.inject(tiny("bert")))
    with pytest.raises(pt.errors.NotMergeable):
        pt.merge(pt.bottleneck.inject(tiny("bert"), pt.bottleneck.PFEIFFER))


def test_a_record_without_runs_is_no_error():
    for name in ("leaderboard", "rulers", "costs", "forgetting", "tasks", "adapters"):
        assert len(getattr(ladder, name)({"runs": []})) == 0
