"""Lesson 05: its picture shows where the library's adapters stand; sealed layers are theirs."""

import pandas
import pytest
import torch

import peft_teach as pt
from peft_teach.course.lessons.adapters import sealed

adapters = pt.course.pictures("adapters")


@pytest.mark.parametrize(("place", "modules", "wires"), [
    ("houlsby", 12, [("o₁", "o₁"), ("o₂", "o₂")]), ("post_attention", 6, [("o₁", "o₁")]),
    ("pfeiffer", 6, [("sum", "sum")]), ("bapna", 6, [("y", "y")]), ("parallel", 6, [("r", "sum")]),
    ("ends", 2, [("x", "x"), ("y", "y")])])
def test_the_wires_are_those_of_the_librarys_modules(place, modules, wires):
    found = adapters.block(place)
    assert [(kind.reads, kind.adds) for kind in found.stands] == wires
    assert found.modules == modules


def test_a_larger_start_is_further_away_and_the_model_stays_as_it_was():
    for place in adapters.PLACES:
        found = [adapters.deviation(place, 64, sigma) for sigma in (0.001, 0.03, 0.3)]
        assert found == sorted({*found})
    assert 0 < adapters.deviation("parallel", 64, 0.01) < 0.05    # with s = 1, as in the race
    assert not pt.adapters(adapters._probe()[0])


@pytest.mark.parametrize("place", adapters.PLACES)
def test_a_sealed_layer_is_what_its_formula_says(place):
    """Of BERT's modules with the library's adapters, and of the exercise: the same is the same."""
    d, generator = 384, torch.Generator().manual_seed(0)
    x, o1, o2, shift = torch.randn(4, d, generator=generator)

    def told(ask):
        """What stays the same, and whether the end is normed."""
        y = ask(x, o1, o2)
        moved = sealed.norm(x + o1) - sealed.norm(x + shift + o1)
        others = (ask(x + shift, o1 - shift, o2), ask(x, o1, o2 + 1),
                  ask(x + shift, o1, o2 + moved))
        return [torch.allclose(y, sealed.norm(y), atol=1e-3),
                *(torch.allclose(y, other, atol=1e-3) for other in others)]

    A, B = sealed.drawn(d, generator), sealed.drawn(d, generator)
    assert told(adapters.seal(place)) == told(sealed.Sealed(sealed.layer(place, A, B), d))


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


def test_best_is_only_who_is_ahead_with_each_seed():
    def race(*high):
        return pandas.DataFrame({"name": ["a"] * 2 + ["b"] * 2,
                                 "accuracy": [0.70, 0.72, *high]})

    assert adapters.best(race(0.73, 0.75)) == "b"
    assert adapters.best(race(0.71, 0.75)) == "none: the seeds cannot tell"


def test_a_wider_feed_forward_part_takes_a_parallel_adapter_up():
    def merged(up, down, A, s, scale=1.0):
        first, second = torch.nn.Linear(384, 1600), torch.nn.Linear(1600, 384)
        first.weight.copy_(torch.cat([up.weight, A.W_down]))
        first.bias.copy_(torch.cat([up.bias, A.b_down]))
        second.weight.copy_(torch.cat([down.weight, scale * s * A.W_up], 1))
        second.bias.copy_(down.bias + scale * s * A.b_up)
        return first, second

    def off(merge):
        moved, left, adapters_left = map(float, adapters.merge_parallel(merge).iloc[:, 0])
        assert moved > 1
        assert adapters_left == 0
        return left

    assert off(merged) < 1e-4
    assert off(lambda *given: merged(*given, scale=0.25)) > 0.1
