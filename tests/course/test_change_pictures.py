"""Lesson 02: the numbers in its pictures are those of the record."""

import numpy as np
import pytest
import torch

import peft_teach as pt
from peft_teach.course import records

change = pt.course.pictures("change")


@pytest.fixture(scope="module")
def record():
    return records.load("change")


def test_subspaces_over_their_whole_grid(record):
    """What reaches a goal reaches it; a higher goal needs as many parameters or more."""
    for measure in ("accuracy", "gain"):
        found = [change.subspaces(record, share, measure) for share in range(0, 101, 5)]
        for each in (each for each in found if each.reached):
            assert np.mean(each.points[each.reached]) >= each.goal
            assert f"d = {each.reached:,}" in each.told
        needed = [each.reached or np.inf for each in found if each.goal > each.head]
        assert needed == sorted(needed)
    assert change.subspaces(record, 50, "accuracy").told.endswith("d = 0")


def test_what_is_kept_of_an_update_is_a_share_of_its_numbers():
    delta = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    for rule in ("random", "largest"):
        assert int((change.kept(delta, rule, 1 / 64) != 0).sum()) == 64
    assert change.kept(delta, "largest", 1 / 64).abs().max() == delta.abs().max()
    assert int(torch.linalg.matrix_rank(change.kept(delta, "strongest", 1 / 64))) == 4


@pytest.mark.parametrize("lr", [1e-4, 3e-4])
def test_the_cut_shows_what_is_recorded(record, lr):
    found = change.cut(record, torch.randn(384, 384), "random", 1 / 32, lr)
    rows = [row for row in record["parts"] if row["lr"] == lr and row["rest"] == "trained"]
    for rule in change.RULES:
        points = found.points(rule)
        assert sorted(points) == sorted(change.SHARES)
        for share, accuracies in points.items():
            assert accuracies == [row["accuracy"] for row in rows if (
                (row["rule"], row["share"], row["scaled"]) == (rule, share, rule != "strongest")
                or (share < 1 / 256 and rule == "strongest" and row["rule"] == "none"))]
    said = f"{np.mean(found.points('random')[1 / 32]):.1%}"
    assert said in change.draw_cut(found).axes[1].get_title()


def test_the_ruler_begins_at_the_head_that_validation_chooses(record):
    chosen, = records.select(record, group="converged", penalty=1e-3)
    assert chosen["validation"] == max(
        row["validation"] for row in records.select(record, group="converged"))
    assert change.ends(record)[0] == change.converged(record)["accuracy"] == chosen["accuracy"]
