"""`expect`: what fits passes through, what does not is named by its axis."""

import pytest
import torch

from peft_teach.errors import ShapeError
from peft_teach.shapes import expect


@pytest.mark.parametrize(("shape", "axes", "sizes"), [
    ((2, 3, 384), "batch seq d_model", {"d_model": 384}),
    ((2, 3, 384), "batch seq d_model", {}),
    ((2, 3, 384), "batch seq d_model", {"batch": 2, "seq": 3, "d_model": 384}),
    ((5,), "... n_in", {"n_in": 5}),
    ((2, 5), "... n_in", {"n_in": 5}),
    ((2, 3, 4, 5), "... n_in", {"n_in": 5}),
    ((2, 3, 4, 5), "... seq n_in", {"seq": 4, "n_in": 5}),
    ((0, 5), "... n_in", {"n_in": 5}),
    ((7,), "k", {}),
    ((2, 3), "...", {}),
    ((), "...", {}),
    ((2, 5), "batch n_in", {"n_in": 5, "n_out": 9}),    # a size of an axis that is not asked for
])
def test_what_fits_is_returned(shape, axes, sizes):
    x = torch.zeros(shape)
    assert expect(x, axes, **sizes) is x


@pytest.mark.parametrize(("shape", "axes", "sizes", "says"), [
    ((2, 3, 383), "batch seq d_model", {"d_model": 384}, "x: d_model should be 384, is 383."),
    ((4, 3, 384), "batch seq d_model", {"batch": 2, "d_model": 384}, "x: batch should be 2, is 4."),
    ((2, 383), "... n_in", {"n_in": 384}, "x: n_in should be 384, is 383."),
    ((384, 2), "... n_in", {"n_in": 384}, "x: n_in should be 384, is 2."),
    ((2, 4, 5), "... seq n_in", {"seq": 3}, "x: seq should be 3, is 4."),
    ((2, 384), "batch seq d_model", {}, "x has 2 axes, shape (2, 384)."),
    ((2, 3, 4, 384), "batch seq d_model", {}, "x has 4 axes, shape (2, 3, 4, 384)."),
    ((), "... n_in", {}, "x has 0 axes, shape ()."),
    ((5,), "... seq n_in", {"n_in": 5}, "x has 1 axes, shape (5,)."),
    ((2, 3), "k", {}, "x has 2 axes, shape (2, 3)."),
])
def test_what_does_not_fit_is_named(shape, axes, sizes, says):
    with pytest.raises(ShapeError) as error:
        expect(torch.zeros(shape), axes, **sizes)
    assert error.value.found == says
    assert f"({axes})" in error.value.expected


def test_the_tensor_has_a_name():
    with pytest.raises(ShapeError, match="mask: batch should be 2, is 3"):
        expect(torch.zeros(3, 4), "batch seq", called="mask", batch=2)


@pytest.mark.parametrize(("other", "says"), [
    (None, "a NoneType"), (3, "an int"), ([1.0, 2.0], "a list"), (list, "the class list")])
def test_what_is_no_tensor(other, says):
    with pytest.raises(ShapeError, match=f"W is {says}, not a tensor"):
        expect(other, "n_out n_in", called="W")
