"""Further cases of lesson 06, for the grader alone: one axis, one feature, factors of zero."""

import torch

from peft_teach.course.checks.judge import draw


def linears() -> list[dict]:
    """Inputs of one and four axes, layers in half precision and of one output, a factor of zero."""
    cases = []
    for seed, side, n_in, n_out, bias, dtype, batch in (
            (61, "output", 7, 3, True, torch.float32, ()),
            (62, "input", 5, 1, True, torch.float32, (2, 3, 2)),
            (63, "input", 6, 6, False, torch.bfloat16, (4,)),
            (64, "output", 4, 8, True, torch.float16, (3,))):
        l = 1 + draw(seed + 30, n_out if side == "output" else n_in)
        l[0] = 0
        l = l.to(dtype).float()     # so that who casts l to the base's dtype loses nothing
        cases.append({"n_in": n_in, "n_out": n_out, "side": side,
                      "W": draw(seed, n_out, n_in, dtype=dtype),
                      "b": draw(seed + 10, n_out, dtype=dtype) if bias else None,
                      "x": draw(seed + 20, *batch, n_in, dtype=dtype), "l": l})
    return cases


def merges() -> list[dict]:
    """Those; and scaled layers in scaled layers, twice."""
    case = {"n_in": 4, "n_out": 3, "side": "input", "W": draw(81, 3, 4), "b": draw(82, 3),
            "l": draw(83, 4), "inner": [("output", draw(84, 3)), ("output", draw(85, 3))]}
    return [*({**each, "inner": []} for each in linears()), case]


def nearest() -> list[dict]:
    """Weights and changes that are small, one row, one column, and no change at all."""
    return [{"W": 0.01 * draw(71, 4, 6), "delta": 0.001 * draw(72, 4, 6)},
            {"W": draw(73, 1, 5), "delta": draw(74, 1, 5)},
            {"W": draw(75, 5, 1), "delta": draw(76, 5, 1)},
            {"W": draw(77, 3, 4), "delta": torch.zeros(3, 4)}]


CASES = {"ia3.layer": linears, "ia3.merge": merges, "ia3.nearest": nearest}
