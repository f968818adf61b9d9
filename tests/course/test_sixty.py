"""Lesson 13: the field's table, the layers of its record, and its pictures."""

import numpy as np
import pandas
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
    assert len(FIELD) == 63
    assert FIELD.method.nunique() == 37 + 1                 # full fine-tuning is one of them
    assert FIELD.accuracy.is_monotonic_decreasing
    assert FIELD.decay.value_counts().to_dict() == {0.1: 38, 0.01: 21, 0: 3, 1e-5: 1}
    assert recorded.repeated().shape == (29, 2)


def test_a_difference_moves_by_what_two_runs_fell_apart(monkeypatch):
    monkeypatch.setattr(recorded, "again", lambda: pandas.DataFrame(
        {recorded.JANUARY: [0.7, 0.6, 0.6, None], recorded.JULY: [0.6, 0.5, 0.4, 0.5]}))
    assert recorded.moved() == pytest.approx(0.1)           # 0, 0.1, 0.1: a fall of all is none


def test_pairs_are_runs_of_one_method_with_other_settings():
    for name, (one, other) in recorded.PAIRS.items():
        a, b = FIELD.loc[one], FIELD.loc[other]
        assert (a.method, a.trained) == (b.method, b.trained), name
    assert recorded.pairs().iloc[0].tolist() == [6.2, 6.7, 6.1, 8.7]


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
    assert "around a line 1.8 points below" in sixty.draw_monday().get_label()
    both = recorded.two_ladders(records.load("ladder"), records.load("sixty"))
    assert both.there[["MiSS 16", "DoRA 8", "LoRA 8"]].tolist() == [0.4867, 0.4693, 0.5133]
    assert "a random mask: 0.52 here, 51.0% there" in sixty.draw_two_ladders(both).get_label()


def test_each_method_of_the_record_stands_beside_lora_8_at_the_same_seeds():
    record, ladder = records.load("sixty"), records.load("ladder")
    found = recorded.compared(record, ladder)
    assert {*found.index} == TRAINED.keys() - {"LoRA 8"}
    for seeds, t, column in ((range(2, 7), 2.776, "minus LoRA 8, five seeds"),
                             (range(2, 12), 2.262, "10 seeds")):
        lora = {row["seed"]: row["r2"] for row in ladder["runs"] if row["seed"] in seeds
                and (row["group"], row["method"]) == ("final", "lora 8")}
        assert len(lora) == len(seeds)
        for method, told in found[column].items():
            gaps = np.array([
                row["r2"] - lora[row["seed"]] for row in record["runs"] if row["seed"] in lora
                and (row["group"], row["method"]) == ("final", method)])
            ends = gaps.mean() + t * gaps.std(ddof=1) / len(seeds)**0.5 * np.array([-1, 1])
            assert f"{gaps.mean():+.3f} ({ends[0]:+.3f} to {ends[1]:+.3f})" in told
    assert found.rate["OFT 32"] == 3.2e-3                   # matrices, and vectors that multiply:
    assert {*found.rate[["RoAd", "VeRA 256"]]} == {2.56e-2}    # what exercise 3 starts from
