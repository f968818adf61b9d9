"""Lesson 05: where the library's adapters stand, the sealed blocks, what only its checks do."""

import ast

import answers
import pytest
import torch
from torch import nn

import peft_teach as pt
from peft_teach.course.checks.examination import WRONG, examine
from peft_teach.course.grade.suspicion import suspicious
from peft_teach.course.lessons import find
from peft_teach.course.lessons.adapters import mutants, sealed, start
from peft_teach.course.publish.authored import but, define
from peft_teach.course.verdicts import Comparison

adapters = pt.course.pictures("adapters")


def test_each_place_has_so_many_adapters():
    assert {place: adapters.modules(place) for place in adapters.PLACES} == {
        "houlsby": 12, "post_attention": 6, "pfeiffer": 6, "bapna": 6, "parallel": 6, "ends": 2}


def test_a_larger_start_is_further_away_and_the_model_stays_as_it_was():
    for place in adapters.PLACES:
        found = [adapters.deviation(place, 64, sigma) for sigma in (0.001, 0.03, 0.3)]
        assert found == sorted({*found})
    assert 0 < adapters.deviation("parallel", 64, 0.01) < 0.05    # with s = 1, as in the race
    assert not pt.adapters(adapters._probe()[0])


@pytest.mark.parametrize("place", ["pfeiffer", "parallel"])
def test_the_readers_placements_are_the_librarys(place):
    """The course's answers, as a reader's, give what `pt.bottleneck` gives with equal weights."""
    Bottleneck, (Pfeiffer, Parallel), inject = (
        pt.course.lessons.find(id).resolve()
        for id in ("adapters.bottleneck", "adapters.placements", "change.inject"))
    own, tokenizer = pt.models.load("minilm", labels=2)
    other, _ = pt.models.load("minilm", labels=2)
    make = {"pfeiffer": lambda base: Pfeiffer(base, Bottleneck(384, 8)),
            "parallel": lambda base: Parallel(base, Bottleneck(384, 8), 4.0)}[place]
    targets = {"pfeiffer": "output.LayerNorm", "parallel": "output"}[place]
    own = inject(own, tuple(f"{block}.{targets}" for block in range(6)), make)
    config = {"pfeiffer": pt.bottleneck.PFEIFFER, "parallel": pt.bottleneck.PARALLEL}[place]
    other = pt.bottleneck.inject(other, pt.bottleneck.Config(
        size=8, scale=config.scale, activation="relu", reads=config.reads))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for mine, theirs in zip(pt.adapters(own).values(), pt.adapters(other).values(),
                                strict=True):
            for name, p in theirs.A.named_parameters():
                p.copy_(0.1 * torch.randn(p.shape, generator=generator))
                mine.A.get_parameter(name).copy_(p)
    batch = tokenizer(["A quiet film.", "Two hours."], padding=True, return_tensors="pt")
    with torch.no_grad():
        a, b = own.eval().bert(**batch)[0], other.eval().bert(**batch)[0]
        plain = pt.models.load("minilm", labels=2)[0].eval().bert(**batch)[0]
    assert torch.allclose(a, b, atol=1e-5)
    assert (a - plain).abs().max() > 0.1


def test_best_is_only_who_is_better_than_each_other_by_the_verdict():
    def told(*words):
        return {f"a against {other}": Comparison(word, 0.1, 0, 0.2, 0.01, "")
                for other, word in zip("bc", words)}

    assert adapters.best(told("better", "better")) == "a"
    assert adapters.best(told("better", "cannot tell")) == adapters.NONE


def test_a_score_is_that_of_the_recorded_run():
    """Its mean is the accuracy; of "one_rate", seed 0 stands among the runs of the search."""
    record = pt.course.records.load("adapters")
    for group, place, first in (("alike", "bapna", "alike"),
                                ("one_rate", "parallel", "placements")):
        setting = group, place, 1e-3
        rows = adapters.runs(record, *setting)
        assert [(row["group"], row["setting"]["seed"]) for row in rows] == [
            (first, 0), (group, 1), (group, 2)]
        assert adapters.scores(rows).mean(1).tolist() == pytest.approx(
            adapters.accuracies(record, *setting), abs=1e-6)


def test_a_run_that_gives_one_answer_fails():
    said = adapters.changed(pt.course.records.load("adapters"))
    assert {round(each, 2) for runs in said.values() for each in runs if adapters.fails(each)
            } == {0.52}
    assert not adapters.fails(0.569)
    swapped = adapters.swapped(pt.course.records.load("adapters"))
    assert swapped.loc["one answer to all"].tolist() == [    # disliked films, liked tweets
        f"{sum(example.label == label for example in pt.data.load(task).test[:300]) / 300:.1%}"
        for task, label in (("movies", 0), ("tweets", 1))]


def test_places_that_leave_no_trace_are_shuffled_without_effect():
    """Each place has an answer of its own; then none has, and each way to shuffle is as good."""
    def record(answers):
        return {"runs": [{"group": "alike", "answers": answers[place] + "0" * 5, "setting": {
            "place": place, "lr": 1e-3, "seed": seed}} for place in adapters.PLACES
            for seed in range(3)]}

    own = {place: f"{1 << i:05b}" for i, place in enumerate(adapters.PLACES[:5])} | {"ends": "0"}
    assert adapters.answers_that_differ(record(own)) == (0, 2, 1 / 14_400)
    alike = dict.fromkeys(adapters.PLACES, "00001")
    assert adapters.answers_that_differ(record(alike)) == (0, 0, 1)


def test_a_wider_feed_forward_part_takes_a_parallel_adapter_up():
    def merged(W1, W2, A, s, scale=1.0):
        first, second = torch.nn.Linear(384, 1600), torch.nn.Linear(1600, 384)
        first.weight.copy_(torch.cat([W1.weight, A.W_down]))
        first.bias.copy_(torch.cat([W1.bias, A.b_down]))
        second.weight.copy_(torch.cat([W2.weight, scale * s * A.W_up], 1))
        second.bias.copy_(W2.bias + scale * s * A.b_up)
        return first, second

    def off(merge):
        moved, left, adapters_left = map(float, adapters.merge_parallel(merge).iloc[:, 0])
        assert moved > 1
        assert adapters_left == 0
        return left

    assert off(merged) < 1e-4
    assert off(lambda *given: merged(*given, scale=0.25)) > 0.1


LOOKS_INSIDE = but(
    answers.file("adapters").PLACEMENTS, answers.file("adapters").BESIDE,
    "self.base.LayerNorm(self.base.dense(h) + r + self.scale * self.A(r))")


def test_an_adapter_that_reaches_into_its_base_is_told_so():
    """It would leave out what BERT does between the two, the dropout."""
    exercise = find("adapters.placements")
    result = examine(exercise, define(exercise.id, LOOKS_INSIDE), exercise.cases(0))
    assert result.state == WRONG
    assert "is inside of the base" in result.traceback


def test_starts_that_only_a_search_uphill_tells_from_near_ones():
    """Neither 10,000 random u nor one feature at a time comes to the bound."""
    torch.manual_seed(0)
    random = nn.functional.normalize(torch.randn(10_000, mutants.WIDTH))
    features = torch.cat([torch.eye(mutants.WIDTH), -torch.eye(mutants.WIDTH)])
    for name in ("is loud in one direction, made of all features",
                 "draws both matrices from N(0, 0.02²)"):
        A = mutants.BROKEN[name]()
        with torch.no_grad():
            assert A(torch.cat([random, features])).norm(dim=-1).max() <= start.BOUND
        longest = torch.linalg.svdvals(torch.autograd.functional.jacobian(A, A.W_down[0]))
        assert longest.max() > start.BOUND


@pytest.mark.parametrize("place", sealed.PLACES)
def test_a_probe_that_no_norm_can_take_is_refused(place):
    """Zeros are a natural first probe, and would give nan, which is unequal to everything."""
    generator = torch.Generator().manual_seed(0)
    ask = sealed.Sealed(sealed.block(place, *(sealed.drawn(8, generator) for _ in "AB")), 8)
    x, o2 = torch.randn(2, 8, generator=generator)
    if place in ("pfeiffer", "parallel", "bapna"):
        with pytest.raises(ValueError, match="divides by their spread"):
            ask(x, -x, o2)
    assert ask(x, o2, x).isfinite().all()


def test_an_answer_that_opens_the_seal_is_shown_to_the_instructor():
    """What a process holds can be read in it; who reads it is seen to do so."""
    sealed_block = sealed.Sealed(sealed.block("pfeiffer", None, None), 8)
    opened = "sealed_block._call.__closure__"
    assert "pfeiffer" in [cell.cell_contents for cell in sealed_block._call.__closure__]
    assert suspicious([ast.parse(opened)]) == {"__closure__"}
