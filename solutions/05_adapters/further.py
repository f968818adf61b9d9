"""Further cases of lesson 05, for the grader alone: other widths, tokens of any axes, tight sums."""


from peft_teach.course.checks.judge import draw


def size() -> list[dict]:
    """Narrow models, where a bias weighs much; no budget; one module that costs all of it."""
    return [{"inputs": [(23, 1, 1), (24, 2, 2)]},
            {"inputs": [(2_000_000, 128, 48), (0, 8, 3)]},
            {"inputs": [(1_050_112, 512, 1)]}]


def bottleneck() -> list[dict]:
    """A token alone, very many, and four axes."""
    return [{"d_model": d, "size": m, "u": draw(seed, *batch, d), "W_down": draw(seed + 1, m, d),
             "b_down": draw(seed + 2, m), "W_up": draw(seed + 3, d, m),
             "b_up": draw(seed + 4, d)}
            for seed, d, m, batch in ((10, 7, 3, ()), (20, 4, 1, (2000,)), (30, 5, 9, (2, 1, 3)))]


def placements() -> list[dict]:
    """A scale below one, one token, a bottleneck of one."""
    cases = []
    for seed, d, m, d_ff, batch, scale in ((50, 5, 3, 7, (3,), 0.25), (60, 12, 4, 8, (1, 1), 4.0),
                                           (70, 10, 1, 4, (2, 2), 1.0)):
        cases.append({
            "d": d, "m": m, "d_ff": d_ff, "scale": scale,
            "norm": (1 + draw(seed, d) / 4, draw(seed + 1, d)),
            "dense": (draw(seed + 2, d, d_ff) / d_ff**0.5, draw(seed + 3, d)),
            "x": draw(seed + 4, *batch, d), "h": draw(seed + 5, *batch, d_ff),
            "r": draw(seed + 6, *batch, d), "A.W_down": draw(seed + 7, m, d) / d**0.5,
            "A.b_down": draw(seed + 8, m), "A.W_up": draw(seed + 9, d, m),
            "A.b_up": draw(seed + 10, d)})
    return cases


def sealed() -> list[dict]:
    """Other widths, a narrow one among them."""
    return [{"d": 6, "seed": 901}, {"d": 24, "seed": 902}, {"d": 64, "seed": 903}]


CASES = {"adapters.size": size, "adapters.bottleneck": bottleneck,
         "adapters.placements": placements, "adapters.sealed": sealed}
