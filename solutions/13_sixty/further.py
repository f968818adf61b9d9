"""Further cases of lesson 13, for the grader alone."""

import torch

from peft_teach.course.checks.judge import draw


def road() -> list[dict]:
    """Inputs of one and four axes, half precision without a bias, angles beyond a full turn."""
    return [{"n_in": n_in, "n_out": n_out, "W": draw(seed, n_out, n_in, dtype=dtype) / n_in**0.5,
             "b": draw(seed + 1, n_out, dtype=dtype) if bias else None,
             "x": draw(seed + 2, *batch, n_in, dtype=dtype), "theta": 5 * draw(seed + 3, n_out // 2),
             "alpha": 0.5 + draw(seed + 4, n_out // 2).abs()}
            for seed, n_in, n_out, bias, dtype, batch in (
                (910, 5, 6, True, torch.float32, ()),
                (920, 7, 4, False, torch.float16, (3,)),
                (930, 3, 10, True, torch.float32, (2, 1, 3)))]


def mine() -> list[dict]:
    """Layers that are higher or wider than the visible ones."""
    return [{"n_in": n_in, "n_out": n_out, "W": draw(seed, n_out, n_in) / n_in**0.5,
             "b": draw(seed + 1, n_out), "x": draw(seed + 2, 2, 16, n_in),
             "target": draw(seed + 3, 2, 16, n_out)}
            for seed, n_in, n_out in ((940, 144, 48), (950, 96, 144), (960, 48, 192))]


CASES = {"sixty.road": road, "sixty.mine": mine}
