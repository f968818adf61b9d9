"""Lesson 03: the numbers in its pictures are those of the record."""

import math
from types import SimpleNamespace

import pytest
import torch

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.desk import reviews as reading

prompt = pt.course.pictures("prompt")


@pytest.fixture(scope="module")
def record():
    return records.load("prompt")


@pytest.fixture(scope="module")
def reviews():
    return reading.short(pt.data.load("movies").test)


def test_each_place_of_the_way_is_one_that_was_tested(record):
    for row in records.select(record, group="back"):
        start, t = row["setting"]["start"], row["setting"]["t"]
        found = prompt.way(record, t)
        assert found.curves[start][t] == row["accuracy"]
        far = [math.hypot(*tip) for tip in found.tips[start]]
        assert far == pytest.approx([(1 - t) * d for d in record["planes"][start]["far"]])
    assert far == pytest.approx([0] * 10)    # t = 1: at the words


def test_a_bound_parts_the_reviews_as_was_recorded(record, reviews):
    recorded = {t: records.select(record, group="back", setting={
        "model": "smollm2", "start": "text", "t": t, "tests": 470})[0]["accuracy"] for t in (0, 1)}
    for front, t in prompt.FRONTS.items():
        found = prompt.parted(record, reviews, front, 0.0)
        assert found.accuracy == pytest.approx(recorded[t], abs=5e-3)    # margins are rounded
        assert len(found.liked) == len(found.others) == 235


def test_answers_are_compared_review_by_review(record, reviews):
    said = prompt.answers(record, reviews)
    scores = prompt.scores(said)
    assert scores["ahead of the words"]["the words"] == 0
    bound, = records.select(record, group="all", setting={
        "model": "smollm2", "text": record["setting"]["start"], "tests": 470, "bound": "best"})
    assert scores.right["the words, another bound"] == f"{bound['accuracy']:.1%}"
    said["no instruction"], said["the words"] = said.liked, ~said.liked
    assert prompt.scores(said)["ahead of the words"]["no instruction"] == round(470 ** 0.5, 1)


def test_what_the_two_words_leave_is_all_other_words():
    class Says(torch.nn.Linear):
        def forward(self, input_ids):
            return SimpleNamespace(logits=torch.tensor([[[9.0, 0, 0], [0.1, 0.2, 0.7]]]).log())

    def tokenizer(text, **_):
        return {"input_ids": torch.tensor([[2, 2]]) if isinstance(text, list)
                else [reading.WORDS.index(text)]}

    before = prompt.read(Says(1, 1), tokenizer, "")
    told = prompt.read(Says(1, 1), tokenizer, "", before)
    assert told.to_numpy().tolist() == [["10%", "20%", "70%"]] * 2
