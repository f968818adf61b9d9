"""Lesson 02: the numbers in its pictures are those of the record."""

import itertools

import numpy as np
import pytest
import torch

import peft_teach as pt
from peft_teach.course import records

change = pt.course.pictures("change")


@pytest.fixture(scope="module")
def record():
    return records.load("change")


def test_a_hashed_matrix_has_one_entry_a_weight():
    ax = change.draw_hashing([0, 2, 2, 1], [1.0, -1.0, 1.0, -1.0], 3).axes[0]
    assert [(p.get_x(), p.get_y()) for p in ax.patches] == [(0, 0), (1, 2), (2, 2), (3, 1)]
    assert [t.get_text() for t in ax.texts] == ["+", "−", "+", "−"]


def test_the_energy_shows_where_the_share_is_reached():
    figure = change.draw_energy({"one": [3.0, 0.0], "four": [1.0, 1.0, 1.0, 1.0]})
    marks = [line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert marks == [1, 4]
    assert figure.get_label().endswith("one 1; four 4")


def test_subspaces_over_their_whole_grid(record):
    for share, measure, starts in itertools.product(
            range(50, 101, 5), ("accuracy", "gain"), ("pretrained", "random", "both")):
        found = change.subspaces(record, share, measure, starts, guess=64)
        assert set(found.points) <= {"pretrained", "random"}
        assert found.head < found.full
        if found.reached:
            values = found.points["pretrained"][found.reached]
            assert np.mean(values) >= found.goal
            assert f"d = {found.reached:,}" in found.told
        change.draw_subspaces(found)


def test_a_higher_goal_needs_as_many_numbers_or_more(record):
    found = [change.subspaces(record, share, "accuracy", "both").reached or np.inf
             for share in range(85, 101, 5)]
    assert found == sorted(found)
    assert change.subspaces(record, 50, "accuracy", "both").told.endswith("d = 0")


def test_the_cut_over_its_whole_grid(record):
    kept = [int(k) for k in record["truncated"]["update 0"]["kept"]]
    for place, block, k in itertools.product(change.MODULES, range(6), kept):
        found = change.cut(record, 0.68, place, block, k)
        assert found.sigma == sorted(found.sigma, reverse=True)
        assert found.ninety == pt.spectra.energy_rank(torch.tensor(found.sigma))
        assert (found.energy >= 0.9) == (k >= found.ninety)
        for kind, seeds in found.seeds.items():
            assert all(len(values) == 2 for values in seeds.values())
            assert {n: pytest.approx(np.mean(v)) for n, v in seeds.items()} == found.means[kind]
    assert found.means["kept"][384] > found.means["kept"][0]
    assert change.draw_cut(found).axes[0].get_xlim()[0] < 0    # the tall values are off the axis
