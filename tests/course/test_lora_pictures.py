"""Lesson 07: the numbers in its pictures are those of the record and of the closed form."""

import itertools

import pytest

import peft_teach as pt
from peft_teach.course import records

lora = pt.course.pictures("lora")
SHAPES = {"query": (384, 384), "value": (384, 384), "ffn_in": (1536, 384)}


@pytest.fixture(scope="module")
def record():
    return records.load("lora")


@pytest.fixture(scope="module")
def measured(record):
    return lora.measured(record, depth=6)


def test_areas_are_drawn_to_scale():
    figure = lora.draw_to_scale(100, 200, 4)
    W, B, A = (p for p in figure.axes[0].patches)
    assert [p.get_width() * p.get_height() for p in (W, B, A)] == [100 * 200, 100 * 4, 200 * 4]
    assert figure.get_label().startswith("W, 100 × 200")


def test_budget_over_its_whole_grid(measured):
    subsets = [c for n in range(4) for c in itertools.combinations(SHAPES, n)]
    blocks = [(a, b) for a in range(6) for b in range(a, 6)]
    for rank, places, span in itertools.product((1, 8, 192), subsets, blocks):
        found = lora.budget(SHAPES, 22_713_986, measured, rank, places, span)
        count = span[1] - span[0] + 1
        assert found.parameters == rank * count * sum(sum(SHAPES[p]) for p in places)
        assert found.share == found.parameters / 22_713_986
        if places and all(SHAPES[p][0] == SHAPES[p][1] for p in places):
            assert found.by_rank[192] == found.whole_matrices  # the break-even of a square one


def test_a_recorded_setting_is_found_with_its_accuracy(record, measured):
    found = lora.budget(SHAPES, 1, measured, 8, ("value", "query"), (0, 5), guess=4)
    mean, spread = records.accuracy(records.select(record, group="ranks", rank=8))
    assert found.chosen in measured.points
    assert found.chosen.mean == pytest.approx(mean)
    assert found.chosen.spread == pytest.approx(spread)
    assert found.guess_parameters == 4 * 12 * 768


def test_the_budget_shows_its_count():
    widget = lora.EXAMPLES["budget"]()
    for name, values in {"rank": (1, 64, 384), "places": ((), ("ffn_out",), lora.PLACES),
                         "blocks": ((0, 0), (2, 4), (5, 5))}.items():
        for value in values:
            widget.controls[name].value = value
            assert f"{widget.data.parameters:,}" in widget.picture.value


def test_spectra_over_their_whole_grid(record):
    spectra = record["spectra"]
    ranks = [r for r in spectra if r.isdigit()]
    for place, block, rank in itertools.product(("query", "value"), range(6), ranks):
        found = lora.spectra(spectra, place, block, (rank,))
        assert len(found.sigma[rank]) <= int(rank)
        for sigma in found.sigma.values():
            assert sigma == sorted(sigma, reverse=True)
        for name, shared in found.overlap.items():
            assert 0 <= shared["in"] <= 1
            assert 0 <= shared["out"] <= 1
            assert found.chance[name] < 0.05
