"""Lesson 02: the numbers in its pictures are those of the record."""

import dataclasses
import itertools

import numpy as np
import pytest

import peft_teach as pt
from peft_teach.course import records, work
from peft_teach.widgets import Guess

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
    """What reaches a goal reaches it; a higher goal needs as many parameters or more."""
    for measure in ("accuracy", "gain"):
        found = [change.subspaces(record, share, measure, guess=64) for share in range(0, 101, 5)]
        full, head, short_head = (accuracy for accuracy, _ in found[0].levels.values())
        assert short_head < head < full
        for each in (each for each in found if each.reached):
            assert np.mean(each.points[each.reached]) >= each.goal
            assert f"d = {each.reached:,}" in each.told
        needed = [each.reached or np.inf for each in found if each.goal > head]
        assert needed == sorted(needed)
    assert change.subspaces(record, 50, "accuracy").told.endswith("d = 0")


def test_a_run_of_ones_own_stands_in_both_pictures(record, monkeypatch):
    monkeypatch.setattr(work, "_here", {})
    movies = pt.data.load("movies")
    movies = dataclasses.replace(movies, test=movies.test[:20])
    explorer = change.explore_subspaces(record, Guess("d?", (16,)), movies, train_examples=32)
    *_, chosen, run, _ = explorer.box.children
    chosen.value = 512
    assert [512, 512] in [list(line.get_xdata()) for line in explorer.figure.axes[0].lines]
    start, _, line = run.children[0].children
    start.click()
    (d, accuracy), = explorer.data.own
    assert d == 512
    assert "512" in line.value
    name, parameters, share = change.own_points(record)[0]
    assert (name, parameters) == ("d = 512", 512 + 770)
    head, full = change.ends(record)
    assert share == pytest.approx((accuracy - head) / (full - head))
    change.keep_own("d = 512", 512 + 770, accuracy, d=512)
    assert len(change.own_points(record)) == 1    # the same once more


def test_a_recorded_run_is_what_the_button_trains(record):
    assert record["setting"]["subspace_examples"] == change.FEWER
    for row in records.select(record, group="subspace"):
        assert (row["step"], row["lr"], row["examples"]) == (change.STEP, change.HEAD, change.FEWER)


def test_the_three_kinds_are_counted_as_the_model_has_them(record):
    kinds = change.three_kinds(record, records.load("lora"), cut=0.8)
    model = pt.outlines.outline("minilm")
    head = sum(model.get_parameter(name).numel() for name in pt.models.head(model))
    whole = sum(p.numel() for p in model.parameters())
    eight = head + 8 * sum(sum(model.get_submodule(name).weight.shape) for place in change.MODULES
                           for name in pt.models.find(model, place))
    counted = dict(zip(kinds.way, kinds.parameters))
    assert counted | {"head only, to its end": head, "full fine-tuning": whole,
                      "BitFit": pt.bitfit.count(6, 384, 1536) + head, "k = 8 of each ΔW": eight,
                      "subspace, d = 1,024": 1024 + head} == counted
    assert sorted(kinds.groupby(["way", "sentences"]).size()) == [1, 1, 1] + 7 * [3]
    gains = kinds.groupby(["way", "sentences"]).gain.mean()
    assert gains["head only, to its end"].tolist() == [0, 0]
    assert gains["full fine-tuning"].tolist() == pytest.approx([1, 1])
    figure = change.draw_kinds(kinds, [("BitFit", 26_882, 0.5), ("d = 512", 1282, 0.3)])
    assert "your BitFit: 26,882 parameters, 50%" in figure.get_label()
    for ax, own in zip(figure.axes, ("your BitFit", "your d = 512")):
        assert [t.get_text() for t in ax.texts if t.get_text().startswith("your")] == [own]


def test_the_cut_of_every_matrix(record):
    for place, block in itertools.product(change.MODULES, range(6)):
        found = change.cut(record, 0.68, place, block, 8)
        assert found.sigma == sorted(found.sigma, reverse=True)
        assert all(len(values) == 2 for seeds in found.seeds.values() for values in seeds.values())
    figure, energy = change.draw_cut(found), np.square(found.sigma)
    ninety = int(np.argmax(np.cumsum(energy) >= 0.9 * energy.sum())) + 1
    kept = np.mean(found.seeds["kept"][8])
    assert f"90 % of its energy in {ninety} of {len(energy)} directions; 8 directions hold " \
        f"{energy[:8].sum() / energy.sum():.0%}. k = 8: {kept:.1%}" in figure.get_label()
    assert np.mean(found.seeds["kept"][384]) > kept
    assert figure.axes[0].get_xlim()[0] < 0    # the tall values are off the axis


def test_the_ruler_of_the_short_runs_begins_at_the_head_that_validation_chooses(record):
    rows = records.select(record, group="converged")
    assert sorted(row["penalty"] for row in rows) == [0.0, 1e-4, 1e-3, 1e-2, 1e-1]
    chosen = change.converged(record)
    assert chosen["validation"] == max(row["validation"] for row in rows)
    assert change.ends(record)[0] == chosen["accuracy"]
