"""Lesson 05: what its checks ask beyond the answers of answers/adapters.py."""

import ast

import answers
import pytest
import torch
from torch import nn

from peft_teach.course.check.exercise import WRONG, examine
from peft_teach.course.lessons import find
from peft_teach.course.lessons.adapters import mutants, sealed, start
from peft_teach.course.reading.suspicion import suspicious

LOOKS_INSIDE = answers.but(
    answers.file("adapters").PLACEMENTS, answers.file("adapters").BESIDE,
    "self.base.LayerNorm(self.base.dense(h) + r + self.scale * self.A(r))")


def test_an_adapter_that_reaches_into_its_base_is_told_so():
    """It would leave out what BERT does between the two, the dropout."""
    exercise = find("adapters.placements")
    result = examine(exercise, answers.define(exercise.id, LOOKS_INSIDE), exercise.cases(0))
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
    ask = sealed.Sealed(sealed.layer(place, *(sealed.drawn(8, generator) for _ in "AB")), 8)
    x, o2 = torch.randn(2, 8, generator=generator)
    if place in ("pfeiffer", "parallel", "bapna"):
        with pytest.raises(ValueError, match="divides by their spread"):
            ask(x, -x, o2)
    assert ask(x, o2, x).isfinite().all()


def test_an_answer_that_opens_the_seal_is_shown_to_the_instructor():
    """What a process holds can be read in it; who reads it is seen to do so."""
    sealed_layer = sealed.Sealed(sealed.layer("pfeiffer", None, None), 8)
    opened = "sealed_layer._call.__closure__"
    assert "pfeiffer" in [cell.cell_contents for cell in sealed_layer._call.__closure__]
    assert suspicious([ast.parse(opened)]) == {"__closure__"}
