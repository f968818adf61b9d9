"""Lesson 01: the numbers in its pictures are those of the records; heads and counts are as told."""

import itertools
import math

import pytest
import torch

import peft_teach as pt
from peft_teach.course import records

full = pt.course.pictures("full")
BEST = {"scratch": 1e-4, "head": 1e-1, "full": 1e-4}
OWN = {"full": [0.7, 0.6, 0.5]}


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


def test_learning_draws_every_step_and_says_the_accuracy(runs):
    shown = full.learning(runs, OWN, **BEST)
    ax, = full.draw_learning(shown).axes
    assert {run["method"]: run["lr"] for run in shown.runs} == BEST
    for line, run in zip(ax.lines, shown.runs):
        assert len(line.get_xdata()) == len(run["losses"]) == 250
        assert f"{run['accuracy']:.1%}" in line.get_label()
    assert list(ax.lines[3].get_xdata()) == [1, 2, 3]
    assert "yours, full fine-tuning, 3 steps" in ax.figure.get_label()


def test_counting_answers_what_is_likelier():
    likely = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])    # of three words, by class
    model = full.Counting((likely[1] / likely[0]).log())
    for ids in itertools.product(range(3), repeat=4):
        logits = model(input_ids=torch.tensor([ids]), attention_mask=None).logits[0]
        no, yes = (math.prod(float(row[word]) for word in ids) for row in likely)
        assert math.isclose(logits.softmax(0)[1], yes / (no + yes), rel_tol=1e-4)


def test_heads_read_their_place_standardized_or_not():
    """A place that holds the labels is learned, one of noise is not; scaled it has deviation 1."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (64,), generator=generator)
    noise, other = torch.randn(2, 64, 384, generator=generator)
    batches = [{"at": at, "labels": labels[at]} for at in torch.arange(64).split(16)]

    def read(batch):
        holds = noise.clone()
        holds[:, 0] = 5.0 * labels
        return {"mean": holds[batch["at"]], "pooler": 0.1 * other[batch["at"]]}

    def training(head, batches, lr, total):
        return pt.train(head, batches, lr)

    def accuracy(head, batches):
        return pt.evaluate(head, batches).accuracy

    parts = dict.fromkeys(("train", "test", "validation"), batches)
    heads = full.Heads(training, accuracy, read, parts)
    head, losses = heads.train("mean", 0.03, times=30)
    assert heads.accuracy(head, "mean") == 1
    assert len(losses) == 30 * len(batches)
    assert heads.spread("pooler") < 0.2 < heads.spread("mean")
    scaled = torch.cat([b["features"] for b in heads._batches("test", "mean", scaled=True)])
    assert torch.allclose(scaled.std(0), torch.ones(384), atol=1e-4)
    assert heads.run({"reads": "mean", "features": "standardized", "steps": 2500}) == 1
