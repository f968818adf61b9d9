"""Further cases of lesson 07, for the grader alone: other dtypes, ranks and inputs."""

import torch

from peft_teach.course.checks.adapter_judge import linear_cases


def count() -> list[dict]:
    """Rank above both sides, sides of one; more than float32 holds exactly, but can be built."""
    sizes = ((3, 2, 7), (1, 1, 1), (1, 900, 4), (5001, 3202, 2053))
    return [{"n_in": n_in, "n_out": n_out, "rank": rank} for n_in, n_out, rank in sizes]


def linear() -> list[dict]:
    """Half precision of both kinds without a bias, one input vector, rank 1, a wide layer."""
    return linear_cases(6007, (
        (5, 3, 1, 3.0, True, torch.float32, ()),
        (9, 7, 3, 4.5, False, torch.float16, (4, 2)),
        (6, 6, 2, 1.0, False, torch.bfloat16, (5,)),
        (3, 11, 3, 12.0, True, torch.float32, (2, 1, 4)),
        (96, 24, 4, 32.0, True, torch.float16, (3,))))


CASES = {"lora.count": count, "lora.layer": linear, "lora.merge": linear}
