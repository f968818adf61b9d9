"""Further cases of lesson 08, for the grader alone: other distributions, sizes and shapes."""

import math

import torch

from peft_teach.course.checks.judge import draw
from peft_teach.course.lessons.qlora import dice as rounding
from peft_teach.course.lessons.qlora import exercises
from peft_teach.nf4 import LEVELS

# Another table: small floating-point numbers, with a small one in place of the second zero.
FP4 = torch.tensor([-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.25, 0.5, 1, 1.5, 2, 3, 4, 6]) / 6


def distributions() -> list[dict]:
    """Heavier tails, and a unit in which all values are tiny."""
    return [{"distribution": name} for name in ("logistic", "Cauchy", "tiny normal")]


def matrices() -> list[dict]:
    """Tiny weights, a longer block, another table on a wide row."""
    return [exercises.quantize_case(1e-12 * draw(8001, 6, 32), LEVELS, 64),
            exercises.quantize_case(draw(8002, 8, 80), LEVELS, 128),
            exercises.quantize_case(draw(8003, 1, 512) * math.pi, FP4, 64)]


def layers() -> list[dict]:
    """One input vector, no bias on more axes, another table."""
    return [exercises.layer_case(8004, *each) for each in (
        (160, 32, True, None, ()), (64, 96, False, None, (2, 1, 3)), (192, 64, True, FP4, (4,)))]


def dice() -> list[dict]:
    """A vector, a block of three axes, another table."""
    return [rounding.dice_case(draw(8005, 6400), LEVELS, 8),
            rounding.dice_case(draw(8006, 4, 32, 40), LEVELS, 9),
            rounding.dice_case(draw(8007, 100, 64), FP4, 10)]


CASES = {"qlora.levels": distributions, "qlora.quantize": matrices, "qlora.layer": layers,
         "qlora.dice": dice}
