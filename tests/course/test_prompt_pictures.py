"""Lesson 03: the numbers in its picture are those of the record."""

import itertools

import pytest

import peft_teach as pt
from peft_teach.course import records

prompt = pt.course.pictures("prompt")


@pytest.fixture(scope="module")
def record():
    return records.load("prompt")


def test_the_way_over_all_its_stops(record):
    for start, (label, t) in itertools.product(record["way"], prompt.stops(record).items()):
        found = prompt.way(record, start, label)
        last = record["way"][start]["looks"][-1]
        assert len(found.words) == len(found.distance) == record["setting"]["length"]
        assert 0 <= found.changed <= len(found.words)
        if t == 1:
            assert max(found.distance) == 0
        if label == f"step {last['step']}":
            assert found.distance == last["distance"]
            rows = records.select(record, group="soft", setting={
                "model": "smollm2", "start": start, "seed": 0})
            assert found.accuracy == rows[0]["accuracy"]
        assert found.told.startswith(label)


def test_each_stop_that_was_tested_is_a_point_and_no_other(record):
    for start, rows in record["snapped"].items():
        found = prompt.way(record, start, "step 0")
        labels = [found.stops[i] for i, _ in found.curves[start]]
        assert {f"t = {row['t']:g}" for row in rows if row["t"]} <= set(labels)
        assert ("step 0" in labels) == (start == "text")    # an instruction, or never tested
        line = next(line for line in prompt.draw_way(found).axes[0].lines
                    if line.get_label() == prompt.NAMES[start])
        drawn = line.get_ydata()    # at every stop; where none is measured, no line leads through
        assert len(drawn) == len(found.stops)
        assert [(i, y) for i, y in enumerate(drawn) if y == y] == found.curves[start]


def test_words_at_an_axis_are_in_print():
    assert prompt._shown(" film") == "“ film”"
    assert prompt._shown("\n") == r"“\n”"
    assert prompt._shown("$") == r"“\$”"
    assert prompt._shown("\ufffd") == "part of a character"
