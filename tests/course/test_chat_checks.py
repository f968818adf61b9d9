"""Lesson 11: the voice is marked as its score says, and what ships, by a made-up curve."""

import re

import pandas
import pytest

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.check.exercise import examine
from peft_teach.course.lessons.chat import exercises, recorded

CURVE = pandas.DataFrame({
    "style": [0.05, 0.45, 0.75, 0.97, 0.99], "voice": [3.5, 2.6, 2.30, 2.28, 2.9],
    "forgotten": [0.0, 0.05, 0.10, 0.11, 0.60]}, index=[0, 9, 18, 36, 108])
PICKS = {"stage": 108, "stranger": 36, "desk": 36}


def test_every_answer_of_the_voice_has_all_marks_and_plain_ones_have_hardly_any():
    voice = pt.data.voice()
    for _, answer in voice.train + voice.validation:
        assert all(re.search(mark, answer) for mark in exercises.MARKS.values()), answer
        assert exercises.style(answer) == 1, answer
    assert max(exercises.style(answer) for _, answer in voice.others["chat"]) <= 0.25


@pytest.mark.parametrize(("changes", "mistake", "told"), [
    ({}, None, ""),
    ({"stage": 36, "stranger": 18}, None, ""),    # as good, as far as chance can tell
    ({"stage": 18}, "worse", "stage: step 18 has 0.75 (style); there is one with 0.99."),
    ({"stranger": 108}, "worse", "stranger: step 108 has 2.90 (voice); there is one with 2.28."),
    ({"desk": 108}, "price", "desk: step 108 has 0.69 (style - forgotten / 2); there is one with "),
    ({"desk": 10}, None, "there is no checkpoint 10; there are 0, 9, 18, 36, 108."),
    ({"desk": "the last"}, None, "there is no checkpoint None"),
])
def test_a_checkpoint_is_not_clearly_worse(monkeypatch, changes, mistake, told):
    monkeypatch.setattr(records, "load", lambda name: {})
    monkeypatch.setattr(recorded, "curve", lambda record: CURVE)
    result = examine(exercises.CHOOSE, PICKS | changes)
    assert (result.passed, result.mistake) == (not told, mistake), result
    assert told in result.message
