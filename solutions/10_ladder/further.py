"""Further cases of lesson 10, for the grader alone: other sizes, broken runs, twins, more axes."""

import torch

from peft_teach.course.checks.judge import draw


def interval() -> list[dict]:
    """Few sentences, equal methods and many sentences, a difference far below zero."""
    cases = []
    for seed, varies, seeds, sentences, truth, over_seeds, over_sentences in (
            (101, "seeds and sentences", 9, 12, 0.3, 0.5, 0.5), (102, "sentences", 3, 600, 0.0, 0.0, 0.4),
            (103, "seeds", 10, 25, -4.0, 0.9, 0.0)):
        shared = draw(seed, 12, seeds, sentences) + 3 * draw(seed + 10, 12, 1, sentences)
        gap = (over_seeds * draw(seed + 20, 12, seeds, 1)
               + over_sentences * draw(seed + 30, 12, 1, sentences))
        cases.append({"varies": varies, "a": shared + truth + gap, "b": shared,
                      "error": (over_seeds**2 / seeds + over_sentences**2 / sentences)**0.5})
    return cases


def sweep() -> list[dict]:
    """Scores far below zero, one rate, two rates, two alike at the top."""
    rates = [0.003, 0.01, 0.03, 0.1, 0.3]
    return [{"rates": rates, "scores": [-5.0, -3.0, -4.0, None, None], "first": 0.1},
            {"rates": [0.5], "scores": [0.1], "first": 0.5},
            {"rates": [0.5, 1.0], "scores": [-0.2, -0.1], "first": 0.5},
            {"rates": rates, "scores": [None, 0.1, 0.6, 0.6, 0.4], "first": 0.01}]


def neighbours() -> list[dict]:
    """Twins of one direction, one document for all, numbers of documents that are far apart."""
    x, twins = draw(121, 12, 5), torch.arange(12) // 3
    twice = torch.cat([x, 3 * x])
    return [{"vectors": twice, "documents": torch.cat([twins, twins])},
            {"vectors": draw(122, 7, 3), "documents": torch.full((7,), 4)},
            {"vectors": draw(123, 40, 6), "documents": torch.arange(40) % 13 * 1000}]


def batch() -> list[dict]:
    """Four axes, all rows plain, one output of one task."""
    cases = []
    for seed, n_in, n_out, ranks, who, shape in (
            (111, 6, 4, (2, 3), (1, -1, 0), (3, 2, 5)), (112, 5, 7, (1, 4), (-1, -1), (2, 3)),
            (113, 9, 1, (2,), (0, -1, 0, 0), (4,))):
        cases.append({"n_in": n_in, "n_out": n_out, "W": draw(seed, n_out, n_in),
                      "b": draw(seed + 10, n_out),
                      "A": [draw(seed + 20 + i, r, n_in) for i, r in enumerate(ranks)],
                      "B": [draw(seed + 30 + i, n_out, r) for i, r in enumerate(ranks)],
                      "scales": [3.0 - i for i in range(len(ranks))],
                      "x": draw(seed + 40, *shape, n_in), "who": torch.tensor(who),
                      "then": torch.tensor(who).flip(0)})
    return cases


CASES = {"ladder.interval": interval, "ladder.sweep": sweep, "ladder.neighbours": neighbours,
         "ladder.batch": batch}
