"""Lesson 01: what its pictures compute, and what only its checks do."""

import itertools
import math

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

import peft_teach as pt
from peft_teach.course.checks.stand_ins import Output, TinyClassifier
from peft_teach.course.lessons import find
from peft_teach.course.lessons.full import exercises, sick

full = pt.course.pictures("full")


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
    assert heads.accuracy(heads.train("mean", 0.03, times=30), "mean") == 1
    assert heads.spread("pooler") < 0.2 < heads.spread("mean")
    scaled = torch.cat([b["features"] for b in heads._batches("test", "mean", scaled=True)])
    assert torch.allclose(scaled.std(0), torch.ones(384), atol=1e-4)
    assert heads.run({"reads": "mean", "features": "standardized", "steps": 2500}) == 1


def test_some_gradients_are_larger_than_one_and_some_smaller():
    """Else clipping, or clipping too often, would not show."""
    for seed in range(8):
        norms = []
        for case in find("full.step").cases(seed):
            model = exercises._start(case)
            model(**case["batches"][0]).loss.backward()
            norms.append(torch.cat([p.grad.flatten() for p in model.parameters()
                                    if p.grad is not None]).norm().item())
        assert norms[0] > 1 > norms[1], norms


@pytest.mark.parametrize("loss", [torch.tensor(0.5), None])
def test_an_output_is_read_as_those_of_transformers(loss):
    from transformers.modeling_outputs import SequenceClassifierOutput

    def answer(made, ask):
        try:
            return repr(ask(made(loss=loss, logits=torch.zeros(3, 2))))
        except (KeyError, IndexError) as error:
            return type(error)

    for ask in (list, lambda out: out.loss, lambda out: out.logits, lambda out: out["loss"],
                lambda out: out["logits"], lambda out: out.get("loss"), lambda out: out[0],
                lambda out: out[-1], lambda out: out[2], lambda out: out[:2], lambda out: out[1:],
                lambda out: out.to_tuple(), lambda out: "loss" in out):
        assert answer(Output, ask) == answer(SequenceClassifierOutput, ask)


def test_an_output_is_set_as_those_of_transformers():
    """By attribute or by key: the other sees it, and so does the place."""
    from transformers.modeling_outputs import CausalLMOutput

    for made in (Output, CausalLMOutput):
        first, second = torch.zeros(2), torch.ones(2)
        out = made(logits=torch.zeros(3))
        out["logits"] = first
        assert out.logits is out[0] is first
        out.logits = second
        assert out["logits"] is out[0] is second


def test_each_training_that_went_wrong_shows_its_symptom():
    """On features of two classes that a line can nearly tell apart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (100, 16), generator=generator)
    features = torch.randn(100, 16, 6, generator=generator)
    features[:, :, 0] += 2 * labels - 1
    batches = [{"features": x, "labels": y} for x, y in zip(features, labels)]

    def trained(change):
        head = TinyClassifier(seed=1)
        seen = sick.train(change, head, batches, 0.1)
        return seen, find("full.accuracy").resolve()(head, batches)

    healthy, right = trained(None)
    assert right > 0.8
    never_cleared, right_1 = trained(1)
    assert never_cleared.moved > healthy.moved
    assert right_1 > 0.6
    assert trained(3)[1] < 0.65
    assert 0 < trained(6)[0].moved < healthy.moved / 10


def test_the_law_holds_for_what_the_lesson_itself_builds():
    """What `audit` puts it to: training by the course's step, of what its head_only freezes."""
    pieces = {name: find(f"full.{name}").resolve() for name in ("step", "head_only")}
    law = find("full.frozen_stays")
    train, model = law.arguments(pieces)
    head = model.classifier.weight.detach().clone()
    law.resolve()(train, model)
    assert not torch.equal(head, model.classifier.weight)


def test_the_ruler_s_marks_cover_no_name():
    figure = full.draw_ruler(full.ruler(*map(pt.course.records.load, ("full", "ladder")), {
        "counting words": 0.7031}))
    FigureCanvasAgg(figure).draw()
    ax, = figure.axes
    name, = (text.get_window_extent() for text in ax.texts if text.get_text() == "labels, % right")
    diamond, = (line for line in ax.lines if line.get_marker() == "D")
    assert name.x1 + 10 < diamond.get_window_extent().x0
