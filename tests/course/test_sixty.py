"""Lesson 13: the field's table, the layers of its record, and its pictures."""

import math

import pytest
import torch

import peft_teach as pt
from peft_teach.course import protocol, records
from peft_teach.course.lessons.sixty import layers, recorded
from peft_teach.course.lessons.sixty import pictures as sixty

FIELD = recorded.field()
# What each method of the record trains on MiniLM, by hand: 12 matrices of 384 × 384.
TRAINED = {"LoRA 8": 12 * 8 * 768, "VeRA 256": 12 * (256 + 384), "OFT 32": 12 * 12 * 32 * 31 // 2,
           "MiSS 16": 12 * 16 * 384, "PiSSA 8": 12 * 8 * 768, "RoAd": 12 * 384}


def test_the_fields_table_says_what_the_lesson_says():
    lora, gap = FIELD.accuracy["lora-rank32"], 1.96 * math.sqrt(2 * 0.4784 * 0.5216 / 1319)
    assert recorded.half(lora) == pytest.approx(gap, abs=1e-4)
    assert recorded.half(lora, 0.75) == pytest.approx(gap / 2, abs=1e-4)
    assert len(FIELD) == 63
    assert FIELD.method.nunique() == 37 + 1                 # full fine-tuning is one of them
    assert FIELD.accuracy.is_monotonic_decreasing
    assert FIELD.decay.value_counts().to_dict() == {0.1: 38, 0.01: 21, 0: 3, 1e-5: 1}
    assert (FIELD.accuracy > lora).sum() == 14
    assert FIELD.index[FIELD.accuracy > lora + gap].tolist() == ["lily-rank140-mlp-a2-b2-s8.0"]


def test_pairs_are_runs_of_one_method_and_differ_in_what_is_said():
    for name, (one, other, what) in recorded.PAIRS.items():
        a, b = FIELD.loc[one], FIELD.loc[other]
        assert a.method == b.method, name
        assert (a.rate != b.rate) == (a.decay != b.decay) == ("rate and decay" in what), name
        assert a.trained == b.trained, name
    assert recorded.pairs().loc["IA³"].tolist() == ["rate and decay", 6.2, 6.7, 6.1, 8.7]
    assert recorded.pairs().loc["prompt, other start"].tolist()[1:] == ["", "", 10.4, 10.9]


@pytest.mark.parametrize("method", TRAINED)
def test_a_method_of_the_record_starts_as_the_base_and_trains_as_many_numbers(method):
    model = pt.models.load("minilm", labels=1)[0]
    batch = {"input_ids": torch.tensor([[101, 2023, 2003, 102]])}
    before = model(**batch).logits
    model = layers.put_on(method, model)
    torch.testing.assert_close(model(**batch).logits, before, rtol=1e-5, atol=1e-5)
    assert protocol.trained(model) == TRAINED[method]
    rows = [row for row in records.load("sixty")["runs"] if row["method"] == method]
    assert {row["parameters"] for row in rows} <= {TRAINED[method]}


def test_the_pictures_tell_their_numbers_in_words():
    assert "14 runs are above it, 1 by more than 3.8%" in sixty.draw_monday(FIELD).get_label()
    both = recorded.two_ladders(records.load("ladder"))
    assert both.there.idxmax() == "a random mask"
    assert "a random mask 0.52 and 51.0%" in sixty.draw_two_ladders(both).get_label()


def test_each_method_of_the_record_and_the_mask_stand_beside_lora_at_the_same_seeds():
    sixty, ladder = records.load("sixty"), records.load("ladder")
    words = recorded.compared(sixty, ladder)
    names = {"mask": "a random mask", "lora 8": "LoRA 8", "lora 1": "LoRA 1"}
    beside = [row | {"method": names[row["method"]]} for row in ladder["runs"]
              if row["group"] == "final" and row["method"] in names and row["seed"] < 7]
    both = {"runs": sixty["runs"] + beside}
    ours = {method: records.select(both, group="final", method=method) for method in words.index}
    assert {len(rows) for rows in ours.values()} == {5}
    for lora, rung in (("LoRA 8", "lora 8"), ("LoRA 1", "lora 1")):
        theirs = {row["seed"]: row for row in records.select(ladder, group="final", method=rung)}
        assert words[f"minus {lora}"][lora] == ""
        for method, told in words[f"minus {lora}"].drop(lora).items():
            gaps = [row["r2"] - theirs[row["seed"]]["r2"] for row in ours[method]]
            assert float(told.split()[-4]) == pytest.approx(sum(gaps) / len(gaps), abs=1.1e-3)
    assert words.rate["OFT 32"] == 3.2e-3                   # matrices, and vectors that multiply:
    assert {*words.rate[["RoAd", "VeRA 256"]]} == {2.56e-2}    # what exercise 3 starts from
    assert words["minus LoRA 8"]["OFT 32"] == "cannot tell: +0.022 (-0.006 to +0.051)"
