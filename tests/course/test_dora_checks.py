"""Lesson 09: the reference answers beside the library's DoRA, LoRA with a gain, and Student's t."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import peft_teach as pt
from peft_teach.course.lessons.dora import exercises
from peft_teach.course.lessons.dora.gain import GainLinear
from peft_teach.course.verdict import T95


def test_dora_and_lora_with_the_converted_gain_are_one_function_with_one_gradient_of_a_and_b():
    torch.manual_seed(0)
    base, x = nn.Linear(7, 5).requires_grad_(False), torch.randn(4, 7)
    dora, gain = pt.dora.DoRALinear(base, 2, 6.0), GainLinear(base, 2, 6.0)
    with torch.no_grad():
        for p in (dora.A, dora.B, dora.m):
            p.normal_()
        gain.A.copy_(dora.A)
        gain.B.copy_(dora.B)
        rest = base.weight, dora.A, dora.B, dora.scale
        gain.g.copy_(exercises.to_gain(dora.m, *rest))
        torch.testing.assert_close(exercises.to_dora(gain.g, *rest), dora.m)
    torch.testing.assert_close(dora(x), gain(x))
    for layer in (dora, gain):
        layer(x).square().sum().backward()
    torch.testing.assert_close(dora.A.grad, gain.A.grad)
    torch.testing.assert_close(dora.B.grad, gain.B.grad)


def test_the_law_holds_of_the_librarys_layer():
    torch.manual_seed(0)
    exercises.dora_holds(pt.dora.DoRALinear)


def test_the_table_is_students():
    """With t = √(n − 1) tan θ, the density is cosine to the power n − 2."""
    angle = np.linspace(0, math.pi / 2, 200_001)
    for n, t in T95.items():
        share = np.cumsum(np.cos(angle)**(n - 2))
        found = math.sqrt(n - 1) * math.tan(np.interp(0.95, share / share[-1], angle))
        assert found == pytest.approx(t, abs=2e-3 if n == 2 else 6e-4), n
