"""A run of the reader's own: the recorded run again, and nobody's random numbers but its own."""

import asyncio
import inspect
import random
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import peft_teach as pt
from peft_teach import widgets
from peft_teach.course import records
from peft_teach.course.desk import predict
from peft_teach.course.desk.own_run import own_run, with_own_random
from peft_teach.errors import BadConfig

CONFIG = pt.lora.Config(rank=2, alpha=4, targets=("value",))


@pytest.fixture(autouse=True)
def whole_runs(monkeypatch):
    monkeypatch.setenv("PEFT_TEACH_BUDGET", "cpu")


@pytest.fixture(scope="module")
def movies():
    whole = pt.data.load("movies")
    return replace(whole, train=whole.train[:48], test=whole.test[:80])


def begin(movies):
    return own_run(lambda model: pt.lora.inject(model, CONFIG), 3e-3, movies, train_examples=48)


def finish(steps):
    """Return all that a generator yields, and what it returns."""
    yielded = []
    while True:
        try:
            yielded.append(next(steps))
        except StopIteration as end:
            return yielded, end.value


def test_it_is_the_run_that_a_record_would_hold(movies):
    yielded, found = finish(begin(movies))

    pt.seed(0)                                        # as in assets/records/lora.py
    model, tokenizer = pt.models.load("minilm", labels=2)
    model = pt.lora.inject(model, CONFIG)
    steps = list(pt.train(model, pt.data.batches(movies.train, tokenizer, seed=0), 3e-3))
    test = pt.evaluate(model, pt.data.batches(movies.test, tokenizer, 64, shuffle=False))

    assert found.accuracy == pytest.approx(test.accuracy)
    assert (found.tests, found.steps) == (80, 3)
    assert found.parameters == 2 * 6 * 768
    assert [p.text for p in yielded[:3]] == [
        f"step {s.index + 1} of 3, loss {s.loss:.2f}" for s in steps]
    assert [p.done for p in yielded] == [1, 2, 3, 4, 5]
    assert {p.total for p in yielded} == {5}


def draw() -> tuple:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_random_numbers_are_its_own_and_the_readers_stay():
    def steps():
        for _ in range(3):
            yield draw()

    pt.seed(5)
    alone = [draw() for _ in range(3)]
    pt.seed(5)
    apart, between = with_own_random(steps(), seed=9), []
    own = []
    for step in apart:
        own.append(step)
        between.append(draw())
    pt.seed(9)
    assert own == [draw() for _ in range(3)]
    assert between == alone
    stopped = steps()
    apart = with_own_random(stopped, seed=9)
    next(apart)
    apart.close()
    assert inspect.getgeneratorstate(stopped) == inspect.GEN_CLOSED


# ── the buttons ──────────────────────────────────────────────────────────────────────────────


class Long:
    """Something long that tells when it is closed."""

    def __init__(self, steps=3, fails=None, loss=None):
        self.steps, self.fails, self.loss, self.done, self.closed = steps, fails, loss, 0, False

    def __call__(self):
        try:
            for i in range(self.steps):
                self.done += 1
                yield widgets.Progress(i + 1, self.steps, f"at {i + 1}", self.loss)
            if self.fails:
                raise self.fails
            return "the result"
        finally:
            self.closed = True


async def settle(run):
    async with asyncio.timeout(10):
        while run.task:
            await asyncio.sleep(0.002)


def test_between_its_steps_other_things_happen():
    async def in_a_notebook():
        long, ended, seen = Long(), [], []
        run = widgets.Run("Go", long, ended.append)
        run.start_button.click()
        assert long.done == 0                         # nothing yet: the click has ended first
        while run.task:
            seen.append(long.done)
            await asyncio.sleep(0)
        assert {1, 2, 3} <= set(seen)
        assert ended == ["the result"]

    asyncio.run(in_a_notebook())


def test_the_line_says_how_much_time_is_left_by_the_pace_so_far(monkeypatch):
    clock, lines = iter(range(0, 10_000, 2)), []    # two seconds go by whenever somebody looks
    monkeypatch.setattr(widgets.time, "perf_counter", lambda: next(clock))
    run = widgets.Run("Go", Long(12), lambda result: None)
    run.line.observe(lambda change: lines.append(change["new"]), "value")
    run.start_button.click()
    assert "it begins" in lines[0]
    assert "left" not in lines[0]
    left = [line.rpartition("at ")[2] for line in lines[1:13]]
    assert not any("left" in line for line in left[:9])    # the first steps say too little
    assert left[9:] == ["10, about 4 s left</div>", "11, about 2 s left</div>", "12</div>"]


def test_stop_ends_it_and_keeps_nothing():
    async def in_a_notebook():
        long, ended, begun = Long(1000), [], []

        def start():
            begun.append(long())    # held, so that it ends only where it is closed
            return begun[-1]

        run = widgets.Run("Go", start, ended.append)
        run.start_button.click()
        run.start_button.click()                      # it runs already
        while long.done < 5:
            await asyncio.sleep(0)
        run.stop_button.click()
        await settle(run)
        assert long.closed
        assert long.done < 10
        assert ended == []
        assert re.fullmatch(r"Stopped at at \d\. Nothing of it is kept\.", run.line.value)
        run.start_button.click()                      # and it can begin again
        run.stop_button.click()                       # or be stopped before it has
        await settle(run)
        assert [inspect.getgeneratorstate(steps) for steps in begun] == [inspect.GEN_CLOSED] * 2

    asyncio.run(in_a_notebook())


def test_a_training_shows_its_loss_until_it_has_ended():
    run, curves = widgets.Run("Go", Long(loss=0.5), lambda result: None), []
    run.curve.observe(lambda change: curves.append(change["new"]), "value")
    run.start_button.click()
    assert "this run: 0.50" in curves[0]
    assert curves[-1] == ""


@pytest.mark.parametrize(("error", "told"), [
    (ValueError("no <luck>"), "<b>ValueError</b>: no &lt;luck&gt;"),
    (BadConfig("Nothing is ticked.", expected="a place"), "Nothing is ticked.")])
def test_what_fails_is_shown_and_without_a_loop_it_runs_to_its_end(error, told):
    run = widgets.Run("Go", Long(fails=error), lambda result: None)
    run.start_button.click()
    assert run.line.value == told
    ended = []
    widgets.Run("Go", Long(), ended.append).start_button.click()
    assert ended == ["the result"]


# ── in the picture ───────────────────────────────────────────────────────────────────────────


def explorer(movies):
    from peft_teach.course.lessons.lora.picture_of_rank import RankExplorer

    guess = widgets.Guess("Which rank?", (1, 8), "lora.rank")
    return RankExplorer(records.load("lora"), guess, movies, train_examples=16)


def test_accuracies_are_seen_after_a_commitment_which_stands(reader_folder, movies):
    first = explorer(movies)
    assert not first.data.is_open
    assert "recorded" not in first.picture.value
    first.guess.buttons.value = 8
    assert first.data.is_open
    assert first.data.guess == 8
    assert "recorded: 80.8%" in first.figure.get_label()
    first.guess.buttons.value = 1
    assert first.guess.value == 8
    later = explorer(movies)                          # in another kernel, say
    assert (later.guess.value, later.data.is_open) == (8, True)


def test_accuracies_are_seen_with_the_result_by_who_does_not_bet(reader_folder, movies):
    first = explorer(movies)
    predict.compare("lora.rank", 4)
    assert (first.guess.value, first.data.is_open) == (None, True)
    assert "recorded: 80.8%" in first.picture.value
    assert explorer(movies).data.is_open    # and after it


def test_a_run_of_ones_own_stands_in_the_picture_later_too(reader_folder, movies):
    first = explorer(movies)
    first.controls["rank"].value = 2
    first.controls["places"].value = ("value",)
    first.controls["layers"].value = (5,)
    first.run.start_button.click()
    (name, (parameters, accuracy)), = first.data.own.items()
    assert name == "rank 2, value, block 5"
    assert parameters == first.data.chosen.parameters == 2 * 768
    assert 0 <= accuracy <= 1
    assert "80 test sentences" in first.run.line.value
    later = explorer(movies)
    assert later.data.own == {name: (parameters, accuracy)}
    later.guess.buttons.value = 1
    assert f"your own run, {name}: {accuracy:.1%}" in later.figure.get_label()


def test_at_smoke_the_button_takes_a_few_steps_and_keeps_nothing(reader_folder, monkeypatch):
    from peft_teach.course.lessons.lora.picture_of_rank import explore_rank

    monkeypatch.setenv("PEFT_TEACH_BUDGET", "smoke")
    picture = explore_rank(records.load("lora"), widgets.Guess("Which rank?", (1, 8)))
    yielded, (chosen, found) = finish(picture.run.start())
    assert (len(yielded), found.steps, found.tests) == (3, 2, 8)
    picture.run.ended((chosen, found))
    assert picture.data.own == {}
