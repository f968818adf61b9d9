"""Lesson 07: the numbers in its pictures are those of the records and of the closed form."""

import itertools
import math

import pytest
import torch

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.lessons.lora import picture_of_rank as rank
from peft_teach.course.lessons.lora import picture_of_updates as updates
from peft_teach.course.lessons.lora import pictures as lora
from peft_teach.course.lessons.lora import recorded

SUMS = dict(zip(rank.PLACES, (768, 768, 768, 768, 1920, 1920)))    # n_in + n_out in MiniLM
TOTAL = 22_713_986


@pytest.fixture(scope="module")
def record():
    return records.load("lora")


@pytest.fixture(scope="module")
def measured(record):
    return rank.measured(record)


# ── the idea ─────────────────────────────────────────────────────────────────────────────────


def test_areas_are_drawn_to_scale():
    boxes = [[p.get_width() * p.get_height() for p in ax.patches]
             for ax in lora.draw_bet(100, 200, 4).axes]
    assert boxes == [[100 * 200, 100 * 200], [100 * 200, 200 * 4, 100 * 4]]


def test_pushes_line_up_to_r_and_scatter_to_its_root():
    for r in (1, 2, 8, 64):
        found = lora.pushes(r)
        for points in found.chains.values():
            steps = [math.dist(a, b) for a, b in itertools.pairwise(points)]
            assert steps == pytest.approx([1] * r)
        assert found.lengths == pytest.approx({"line up": r, "scatter": math.sqrt(r)})
        assert [math.hypot(*p) for p in found.chains["scatter"]] == pytest.approx(
            [math.sqrt(k) for k in range(r + 1)])


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
        if places and layers and set(places) <= set(rank.PLACES[:4]):
            assert found.by_rank[192] == found.whole_matrices  # the break-even of a square one
        assert (found.nearest is None) == (not places or not layers)


@pytest.mark.parametrize(("r", "places", "layers"), [
    (8, ("query", "value"), range(6)), (3, ("ffn_in", "key"), (2, 4))])
def test_the_memory_is_that_of_a_model_that_is_adapted(r, places, layers):
    model = pt.models.load("minilm", labels=2)[0]
    model = pt.lora.inject(model, pt.lora.Config(r, targets=places, layers=tuple(layers)))
    held = rank.training_ledger(r, places, tuple(layers))
    loaded = pt.account.ledger(model, batch_size=16, tokens=32)
    assert held.gradients_bytes == loaded.gradients_bytes
    assert held.optimizer_bytes == loaded.optimizer_bytes
    assert held.weights_bytes == pytest.approx(loaded.weights_bytes, rel=1e-3)
    assert held.activations_bytes == pytest.approx(loaded.activations_bytes, rel=0.02)


@pytest.mark.parametrize(("r", "places", "layers", "name", "recorded"), [
    (8, ("value", "query"), range(6), "rank 8, query, value", True),
    (7, ("query", "value"), (3, 4, 5), "rank 8, query, value, blocks 3, 4, 5", False),
    (4, rank.PLACES, range(6), "rank 2, all places", False),
    (1, ("ffn_out",), range(6), "rank 3, feed-forward", False),
])
def test_the_nearest_run_shares_matrices_first_and_rank_then(measured, r, places, layers, name,
                                                             recorded):
    found = rank.budget(measured, r, places, layers)
    assert (found.nearest.name, found.is_recorded) == (name, recorded)
    assert found.told.startswith("recorded: " if recorded else "nearest recorded: ")


def test_the_rank_explorer_shows_its_count_and_a_training_as_it_goes_on(tiny):
    widget = lora.EXAMPLES["rank"]()
    for name, value in (("rank", 384), ("layers", (2, 4)), ("places", ())):
        widget.controls[name].value = value
        assert f"{widget.data.parameters:,} trained parameters" in widget.picture.value
    assert "nothing is adapted: the head alone" in widget.picture.value
    model = pt.lora.inject(tiny("bert"), pt.lora.Config(rank=2))
    batch = {"input_ids": torch.randint(5, 50, (4, 6)), "labels": torch.tensor([0, 1, 0, 1])}
    seen = []
    follow = widget._follow
    widget._follow = lambda *asked: (follow(*asked), seen.append(widget.data.own[-1].accuracy))
    widget.watch(pt.train(model, [batch] * 6, lr=1e-2), 6, model, [batch])
    assert len(seen) == 1 + 6 + 1
    assert widget.data.own[-1].parameters == pt.account.parameters(model).adapter
    assert seen[-1] == pt.evaluate(model, [batch]).accuracy
    assert f"your training: {seen[-1]:.1%}" in widget.figure.get_label()


# ── singular values ──────────────────────────────────────────────────────────────────────────


def test_updates_of_every_matrix(record):
    for place, block in itertools.product(("query", "value"), range(6)):
        found = updates.updates(record, place, block, ("1", "64"))
        assert {run: len(sigma) for run, sigma in found.updates.items()} == {
            "1": 1, "64": 64, "full": len(found.updates["full"])}
        for sigma in (*found.updates.values(), found.weight):
            assert list(sigma) == sorted(sigma, reverse=True)


def test_what_the_lesson_says_of_sizes_and_intruders_is_in_the_record(record):
    found = lora.sizes(record, ("1", "2", "4", "8", "16", "64", "full"))
    assert found.intruders["full fine-tuning"] == 0
    ranks = found.drop("full fine-tuning").sort_values("size")
    assert [*ranks.index] == [f"LoRA, rank {r}" for r in (1, 2, 4, 64, 8, 16)]
    assert ranks.intruders.is_monotonic_increasing


def test_two_seeds_of_lora_share_less_than_lora_and_full_do(record):
    found = lora.overlaps(record)
    assert lora.who_shares(found) == "more than two seeds of LoRA"
    assert found.loc["two seeds of LoRA, rank 8"].tolist() == [0.06, 0.08]
    assert found.loc["two random subspaces"].tolist() == [round(8 / 384, 2)] * 2


def test_a_cut_at_the_rank_leaves_the_whole_accuracy(record):
    found = lora.cuts(record, records.load("change"))
    runs = record.runs.query("seed == 0 and spectrum != 'none'").set_index("spectrum").accuracy
    for run, left in found.items():
        left = left.dropna()
        assert left.index[-1] == (384 if run == "full" else int(run))
        assert left.iloc[-1] == pytest.approx(runs[run], abs=0.006)
        assert left.iloc[0] < left.iloc[-1]


def test_ones_own_update_is_what_was_added(tiny):
    model = pt.lora.inject(tiny("bert"), pt.lora.Config(rank=2, alpha=4))
    for layer in pt.adapters(model).values():
        torch.nn.init.normal_(layer.B, std=3.0)
    for name, sigma in lora.own_updates(model).items():
        layer = pt.adapters(model)[name]
        expected = torch.linalg.svdvals(2 * layer.B @ layer.A)[:2]    # s = alpha / rank = 2
        assert torch.allclose(torch.tensor(sigma), expected, rtol=1e-3)


# ── the case of rank 64 ──────────────────────────────────────────────────────────────────────


def test_the_record_answers_what_it_is_asked_and_lists_no_outcome(capsys):
    lora.ask(64, 16)
    said = capsys.readouterr().out
    assert "rank 64, alpha 16, lr 0.003 (it learns)" in said
    assert said.count("%") == 4                       # a mean, and three seeds
    lora.ask(5, 5)
    assert "not recorded" in capsys.readouterr().out
    assert [*lora.settings().columns] == ["rank", "alpha", "lr", "seeds"]
    assert len(lora.settings()) == len(recorded.settings())


def test_the_first_step_is_measured_by_its_closed_form_and_drawn(tiny):
    model = pt.lora.inject(tiny("bert"), pt.lora.Config(rank=4, alpha=8))
    batch = {"input_ids": torch.randint(5, 50, (4, 6)), "labels": torch.tensor([0, 1, 0, 1])}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    with lora.moving(model, batch) as found:
        for layer in pt.adapters(model).values():
            layer.B.data.fill_(0.1)
    deltas = [(2 * layer.B @ layer.A).norm().item() for layer in pt.adapters(model).values()]
    assert found.size == pytest.approx(sum(deltas) / len(deltas), rel=1e-4)
    assert found.moved > 0
    with lora.moving(model, batch) as still:
        pass
    assert still.moved == 0
    left, right = lora.draw_first_step({"alpha 8": {4: found, 8: still}}).axes
    assert list(left.lines[0].get_ydata()) == [found.size, still.size]
    assert list(right.lines[0].get_ydata()) == [found.moved, 0]


def test_every_setting_is_drawn_by_both_explanations_and_the_record_convicts_alpha():
    for ax in lora.draw_explanations().axes:
        assert len([line for line in ax.lines if len(line.get_xdata()) == 1]) == len(
            recorded.settings())
    assert lora.culprit() == "alpha"


def test_answers_to_bets_are_computed(record):
    answers = {1 / 8: "an eighth", 1: "about", 8: "eight"}
    assert [lora.nearest(answers, ratio) for ratio in (0.2, 0.7, 5)] == [*answers.values()]
    ladder = record.runs.query("group == 'ranks'").groupby("rank")
    assert lora.ends(ladder.get_group(8)) == "it learns"
    assert lora.ends(ladder.get_group(64)) == "it fails"
    assert lora.verdict(ladder.get_group(64).accuracy, ladder.get_group(8).accuracy) == "worse"


def test_of_four_starts_three_gradients_are_zero_and_one_output_moves_at_first():
    starts = lora.first_gradients(torch.nn.Linear(24, 16))
    assert [*starts.zero] == ["AB", "A", "B", ""]
    assert [*(starts["an output moves by"] > 0)] == [False, False, False, True]


def test_answers_that_training_changed_and_outputs_that_merging_did_not():
    movies = pt.data.load("movies")
    pt.seed(0)
    model, tokenizer = pt.models.load("minilm", labels=2)
    model = pt.lora.inject(model, pt.lora.Config(rank=1, targets=("value",), layers=(5,))).eval()
    found = lora.changed_answers(model, movies, tokenizer, 64)
    assert 0 < len(found) < 64
    assert ((found.truth == found.yours) == (found[""] == "gained")).all()
    assert (found.yours != found["head alone"]).all()
    batches = pt.data.batches(movies.test[:64], tokenizer, 64, shuffle=False)
    same, = lora.compare_outputs(model, batches, {"merged": model}).itertuples()
    assert same[1:] == ("0.0e+00", "0.0e+00", 0)
    read = lora.read(model, tokenizer, "So good.")
    assert [*lora.read(model, tokenizer, "So good.", before=read).index] == [
        "before training", "after training"]


def test_the_bill_counts_what_was_saved(record, tmp_path):
    model, _ = pt.models.load("minilm", labels=2)
    model = pt.lora.inject(model, pt.lora.Config(rank=8))
    found = lora.bill(record, model, pt.save(model, tmp_path))
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert found["file of one more task, kB"].tolist() == ["90,856", f"{size / 1000:,.0f}"]
