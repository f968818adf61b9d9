"""Lesson 01: the numbers in its pictures are those of the records and of the ledger."""

import itertools

import pytest

import peft_teach as pt
from peft_teach.course import records

full = pt.course.pictures("full")
BEST = {"scratch": 1e-4, "head": 1e-1, "full": 1e-4}
LEVELS = {"always the same answer": 0.495, "counting words": 0.76}
OWN = {"full": ([0.7, 0.6, 0.5], 0.8)}


@pytest.fixture(scope="module")
def runs():
    return full.ways_recorded(records.load("full"), records.load("lora"))


def test_the_ways_are_solid_where_they_train():
    figure = full.draw_ways(22_713_216, 770)
    boxes = figure.axes[0].patches
    assert [box.get_linestyle() for box in boxes] == ["-", "-", "-", "-", "--", "-"]
    assert "stays frozen" in figure.get_label()
    said = [text.get_text() for text in figure.axes[0].texts]
    assert sum(text.endswith("\ntrained") for text in said) == 5
    assert sum(text.endswith("\nfrozen") for text in said) == 1


def test_learning_shows_the_ways_that_are_chosen(runs):
    for methods in itertools.chain.from_iterable(
            itertools.combinations(BEST, n) for n in range(4)):
        shown = full.learning(runs, LEVELS, methods, {"head": 0.6}, OWN, **BEST)
        assert [line["method"] for line in shown.lines.values()] == list(methods)
        assert bool(shown.guesses) == ("head" in methods)
        assert bool(shown.own) == ("full" in methods)


def test_learning_draws_the_curve_and_the_last_accuracy(runs):
    shown = full.learning(runs, LEVELS, ("full",), None, OWN, **BEST)
    left, right = full.draw_learning(shown).axes
    line, = shown.lines.values()
    assert len(left.lines[0].get_xdata()) == len(line["losses"]) == 250
    assert list(right.lines[0].get_ydata()) == [accuracy for _, accuracy in line["curve"]]
    assert list(right.lines[1].get_ydata()) == [line["accuracy"]]
    assert set(LEVELS) <= {each.get_label() for each in right.lines}
    own, = (each for each in right.lines if each.get_label() == "yours, full fine-tuning")
    assert (list(own.get_xdata()), list(own.get_ydata())) == ([3], [0.8])
    assert "yours, full fine-tuning, 3 steps: 80.0%" in right.figure.get_label()
    assert "counting words: 76.0%" in right.figure.get_label()
