"""Lesson 07: the numbers in its pictures are those of the records and of the closed form."""

import itertools
import math
from statistics import mean

import pytest
import torch

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.lessons.lora import picture_of_rank as rank
from peft_teach.course.lessons.lora import picture_of_updates as updates
from peft_teach.course.lessons.lora import recorded

lora = pt.course.pictures("lora")
SUMS = dict(zip(rank.PLACES, (768, 768, 768, 768, 1920, 1920)))    # n_in + n_out in MiniLM
TOTAL = 22_713_986


@pytest.fixture(scope="module")
def record():
    return records.load("lora")


@pytest.fixture(scope="module")
def of_full():
    return records.load("change")


@pytest.fixture(scope="module")
def measured(record):
    return rank.measured(record)


def test_areas_are_drawn_to_scale():
    figure = lora.draw_to_scale(100, 200, 4)
    W, B, A = (p for p in figure.axes[0].patches)
    assert [p.get_width() * p.get_height() for p in (W, B, A)] == [100 * 200, 100 * 4, 200 * 4]
    assert figure.get_label().startswith("W, 100 × 200")


# ── rank against parameters ──────────────────────────────────────────────────────────────────


def test_counts_over_their_whole_grid(measured, monkeypatch):
    monkeypatch.setattr(rank, "training_ledger", lambda *setting: None)    # the next test's
    subsets = [c for n in range(4) for c in itertools.combinations(rank.PLACES, n)]
    blocks = [c for n in range(7) for c in itertools.combinations(range(6), n)]
    for r, places, layers in itertools.product((1, 8, 192), subsets, blocks[::13]):
        found = rank.budget(measured, r, places, layers)
        assert found.parameters == r * len(layers) * sum(SUMS[p] for p in places)
        assert found.parameters == found.by_rank[r]
        assert found.share == found.parameters / TOTAL
        assert found.file_bytes == 4 * found.parameters
        if places and layers and set(places) <= set(rank.PLACES[:4]):
            assert found.by_rank[192] == found.whole_matrices  # the break-even of a square one
        assert (found.nearest is None) == (not places or not layers)
    assert found.others["all places"][8] == 8 * 6 * sum(SUMS.values())


@pytest.mark.parametrize(("r", "places", "layers"), [
    (8, ("query", "value"), range(6)), (3, ("ffn_in", "key"), (2, 4)),
    (1, ("attention_out",), (5,)),
])
def test_the_memory_is_that_of_a_model_that_is_adapted(r, places, layers):
    model = pt.models.load("minilm", labels=2)[0]
    model = pt.lora.inject(model, pt.lora.Config(r, targets=places, layers=tuple(layers)))
    held = rank.training_ledger(r, places, tuple(layers))
    loaded = pt.account.ledger(model, batch_size=16, tokens=32)
    assert held.gradients_bytes == loaded.gradients_bytes
    assert held.optimizer_bytes == loaded.optimizer_bytes
    assert held.weights_bytes == pytest.approx(loaded.weights_bytes, rel=1e-3)
    assert held.activations_bytes == pytest.approx(loaded.activations_bytes, rel=0.02)


def test_a_recorded_setting_is_found_with_its_seeds(record, measured):
    found = rank.budget(measured, 8, ("value", "query"), range(6))
    rows = records.select(record, group="ranks", rank=8)
    assert found.is_recorded
    assert found.nearest in measured.points
    assert found.nearest.accuracies == tuple(row["accuracy"] for row in rows)
    assert found.nearest.mean == pytest.approx(records.accuracy(rows)[0])
    assert "recorded: rank 8, query, value: 80.8% (80.0% to " in found.told


@pytest.mark.parametrize(("r", "places", "layers", "name"), [
    (7, ("query", "value"), range(6), "rank 8, query, value"),
    (7, ("query", "value"), (3, 4, 5), "rank 8, query, value, blocks 3, 4, 5"),
    (4, rank.PLACES, range(6), "rank 2, all places"),
    (1, ("ffn_out",), range(6), "rank 3, feed-forward"),
    (2, ("ffn_in", "ffn_out"), range(6), "rank 3, feed-forward"),
])
def test_the_nearest_run_shares_matrices_first_and_rank_then(measured, r, places, layers, name):
    found = rank.budget(measured, r, places, layers)
    assert found.nearest.name == name
    assert not found.is_recorded
    assert found.told.startswith("nearest recorded: ")


def test_the_rank_explorer_shows_its_count():
    widget = lora.EXAMPLES["rank"]()
    for name, value in (("rank", 384), ("places", ("ffn_out",)), ("layers", (2, 4)),
                        ("places", ())):
        widget.controls[name].value = value
        assert f"{widget.data.parameters:,} trained parameters" in widget.picture.value
    assert "nothing is adapted: the head alone" in widget.picture.value


# ── singular values ──────────────────────────────────────────────────────────────────────────


def test_updates_over_their_whole_grid(record, of_full):
    cuts = lora.cuts_recorded(record, of_full)
    spectra = record["spectra"]
    ranks = [r for r in spectra if r.isdigit()]
    for place, block, r in itertools.product(("query", "value"), range(6), ranks):
        found = updates.updates(spectra, cuts, 0.68, place, block, (r,), "full", 4)
        assert set(found.updates) == {r, "full"}
        assert len(found.updates[r].sigma) <= int(r)
        for update in found.updates.values():
            assert list(update.sigma) == sorted(update.sigma, reverse=True)
            assert len(update.after) == len(update.known) <= 32
        for name, shared in found.overlap.items():
            assert 0 <= shared["in"] <= 1
            assert 0 <= shared["out"] <= 1
            assert "and full" in name or "2 seeds" in name
        assert found.chance == 8 / 384
        assert len(found.overlap) == 2 + (int(r) >= 8)    # of eight directions, all of them


def test_what_the_lesson_says_of_intruders_is_in_the_record(record):
    new = {name: [[cosine < updates.INTRUDER for cosine in row["known"]]
                  for row in record["spectra"][name].values()] for name in ("8", "full")}
    assert all(map(any, new["8"]))
    assert sum(first for first, *_ in new["8"]) == 9
    assert not any(map(any, new["full"]))
    assert [len(rows) for rows in new.values()] == [12, 12]
    assert (record["cut"]["8"]["1"], record["cut"]["8"]["8"]) == (0.7936, 0.8002)


def test_the_larger_the_update_the_more_intruders_and_rank_64_in_between(record):
    found = {}
    for name in ("1", "2", "4", "8", "16", "64"):
        rows = record["spectra"][name].values()
        found[name] = (mean(math.hypot(*row["sigma"]) for row in rows),
                       sum(cosine < updates.INTRUDER for row in rows for cosine in row["known"]))
    by_size = sorted(found, key=lambda name: found[name][0])
    assert by_size == ["1", "2", "4", "64", "8", "16"]
    assert by_size == sorted(found, key=lambda name: found[name][1])


def test_two_seeds_of_lora_share_less_than_lora_and_full_do(record):
    shared = {name: [mean(row["overlap"][side] for row in record["spectra"][name].values())
                     for side in ("in", "out")] for name in ("8", "64", "8 again", "full again")}
    assert max(shared["8 again"]) < min(*shared["8"], *shared["64"])
    assert max(*shared["8"], *shared["64"]) < min(shared["full again"])
    assert [round(o, 2) for o in shared["8 again"]] == [0.06, 0.08]


def test_a_cut_at_the_rank_leaves_the_whole_accuracy(record, of_full):
    for name, left in lora.cuts_recorded(record, of_full).items():
        if name == "full":
            assert left[384] > 0.8
            continue
        run = next(row for row in record["runs"] if row["seed"] == 0 and row["method"] == "lora"
                   and row["group"] in ("ranks", "variants") and row["rank"] == int(name)
                   and not row.get("rank_stabilized") and not row.get("plus")
                   and (row["rank"] < 64 or row["alpha"] == 16) and not row.get("dropout"))
        assert left[max(left)] == pytest.approx(run["accuracy"], abs=0.004)
        assert max(left) == int(name)
        assert left[0] < left[max(left)]


def test_ones_own_update_is_what_was_added(tiny):
    from peft_teach.models import find

    model = tiny("bert")
    before = {n: model.get_submodule(n).weight.clone() for n in find(model, ("query", "value"))}
    model = pt.lora.inject(model, pt.lora.Config(rank=2, alpha=4))
    with torch.no_grad():
        for layer in pt.adapters(model).values():
            layer.B.normal_(std=3.0)
    own = lora.own_updates(model)
    assert set(own) == set(before)
    for name, update in own.items():
        layer = pt.adapters(model)[name]
        delta = 2 * layer.B @ layer.A                                  # s = alpha / rank = 2
        expected = torch.linalg.svdvals(delta)[:2]
        assert torch.allclose(torch.tensor(update.sigma), expected, rtol=1e-3)
        after = torch.linalg.svdvals(before[name] + delta)
        assert torch.allclose(torch.tensor(update.after), after, rtol=1e-3, atol=1e-4)
        assert update.intruders == sum(c < updates.INTRUDER for c in update.known) >= 1


def test_a_star_stands_at_each_intruder():
    update = updates.Update("rank 2", (5.0, 1.0), (7.0, 6.0, 4.0), (0.1, 0.99, 0.59))
    found = updates.Spectra("query, block 0", {"2": update, "full": update}, (6.0, 4.0, 3.0), "2",
                            1, {"2": {0: 0.7, 1: 0.75, 2: 0.8}}, 0.68,
                            {"r 8 and full": {"in": 0.1, "out": 0.2}}, 0.02)
    assert found.told == "rank 2: cut at 1, 75.0%; intruders: 2"
    assert found.intruders == {"2": 2, "full": 2}
    figure = updates.draw_updates(found)
    text, = figure.axes[1].texts
    assert text.get_text() == "intruders of each run:\nr 2: 2,  full: 2"
    assert figure.get_label().endswith("intruders: rank 2 2, rank 2 2; overlaps: "    # so named
                                       "r 8 and full: 0.10 and 0.20.")
    stars = [line for line in figure.axes[1].lines if line.get_marker() == "*"]
    assert [(list(s.get_xdata()), list(s.get_ydata())) for s in stars] == [([1, 3], [7.0, 4.0])]
    at_k = [line.get_xdata()[0] for ax in figure.axes[::2] for line in ax.lines
            if list(line.get_ydata()) == [0, 1] and line.get_linewidth() == 1.5]
    assert at_k == [1, math.log2(1)]                  # one k for the panels


# ── the case of rank 64 ──────────────────────────────────────────────────────────────────────


def test_the_record_answers_what_it_is_asked_and_lists_no_outcome(capsys):
    lora.ask(64, 16)
    said = capsys.readouterr().out
    assert "rank 64, alpha 16, lr 0.003 (it learns)" in said
    assert said.count("%") == 4                       # a mean, and three seeds
    lora.ask(5, 5)
    assert "not recorded" in capsys.readouterr().out
    lora.list_settings()
    listed = capsys.readouterr().out
    assert "%" not in listed
    assert "45.25" in listed


def test_the_first_step_is_drawn_twice():
    figure = lora.draw_first_step({"alpha 16": {1: (0.2, 0.05), 8: (0.1, 0.06)}})
    left, right = figure.axes
    assert list(left.lines[0].get_ydata()) == [0.2, 0.1]
    assert list(right.lines[0].get_ydata()) == [0.05, 0.06]
    assert "rank 8: 0.1 and 0.06" in figure.get_label()


def test_both_explanations_show_every_setting_and_the_variants():
    figure = lora.draw_explanations()
    for ax in figure.axes:
        dots = [line for line in ax.lines if len(line.get_xdata()) == 1]
        assert len(dots) == len(recorded.settings()) + 2
    assert "LoRA+: 0.091 and 0.26, 79.0%" in figure.get_label()
    assert "rsLoRA: 0.017 and 0.14, 79.8%" in figure.get_label()


def test_of_four_starts_three_gradients_are_zero_and_one_output_moves_at_first():
    starts = lora.first_gradients(torch.nn.Linear(24, 16))
    assert [start.zero for start in starts] == ["AB", "A", "B", ""]
    assert [start.moved > 0 for start in starts] == [False, False, False, True]


def test_answers_that_training_changed():
    movies = pt.data.load("movies")
    pt.seed(0)
    model, tokenizer = pt.models.load("minilm", labels=2)
    model = pt.lora.inject(model, pt.lora.Config(rank=1, targets=("value",), layers=(5,)))
    changed = lora.changed_answers(model.eval(), movies, tokenizer, 64)
    known = dict(movies.test[:64])
    assert 0 < len(changed) < 64
    for text, label, mine, frozen in changed:
        assert known[text] == label
        assert {mine, frozen} == {0, 1}
