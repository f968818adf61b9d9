"""Further cases of lesson 09, for the grader alone: one axis, one output, small rows, few pairs."""


from peft_teach.course.checks.judge import draw


def layer() -> list[dict]:
    """One input vector, one output, four axes; all of m negative."""
    cases = []
    for seed, n_in, n_out, rank, alpha, bias, batch in (
            (91, 6, 3, 1, 4.0, True, ()), (92, 5, 1, 1, 3.0, True, (2,)),
            (93, 7, 7, 3, 1.5, False, (2, 1, 3))):
        cases.append({"n_in": n_in, "n_out": n_out, "rank": rank, "alpha": alpha,
                      "W": draw(seed, n_out, n_in) / n_in**0.5,
                      "b": draw(seed + 100, n_out) if bias else None,
                      "x": draw(seed + 200, *batch, n_in),
                      "A": draw(seed + 300, rank, n_in) / n_in**0.5,
                      "B": draw(seed + 400, n_out, rank), "m": -0.5 - draw(seed + 500, n_out).abs()})
    return cases


def convert() -> list[dict]:
    """Rows that are hardly there, one output, no change at all."""
    cases = []
    for seed, n_in, n_out, rank, s, size in ((95, 8, 5, 2, 1.5, 1e-3), (96, 4, 1, 1, 7.0, 1.0),
                                             (97, 9, 9, 4, 0.0, 2.0)):
        cases.append({"m": draw(seed, n_out), "g": draw(seed + 100, n_out),
                      "W": size * draw(seed + 200, n_out, n_in),
                      "A": size * draw(seed + 300, rank, n_in), "B": draw(seed + 400, n_out, rank),
                      "s": s})
    return cases


def forge() -> list[dict]:
    """A line down to nearly zero, a steep one, eight matrices, integers as slopes."""
    cases = []
    for seed, count, slope, start in ((98, 3, -1.0, (0.004, 0.0085)), (99, 3, 8, (0.02, 0.01)),
                                      (90, 8, 0.5, (0.05, 0.02))):
        cases.append({"weights": [2 * draw(seed + i, 20, 40) / 40**0.5 for i in range(count)],
                      "slope": slope, "start": start})
    return cases


def referee() -> list[dict]:
    """Two, seven and twelve pairs; a margin without a point; differences that all are nearly one."""
    return [{"a": [81.0, 83.0], "b": [80.0, 81.0], "margin": 20},
            {"a": [82.0, 85.1, 79.9, 81.0, 83.2, 80.0, 84.0],
             "b": [80.9, 84.2, 79.1, 79.8, 82.3, 79.1, 82.9], "margin": 0.5},
            {"a": [70.0 + i % 5 for i in range(12)],
             "b": [70.4 + i % 5 + 0.1 * (i % 3) for i in range(12)], "margin": 1}]


CASES = {"dora.layer": layer, "dora.convert": convert, "dora.forge": forge, "dora.referee": referee}
