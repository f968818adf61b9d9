"""Further cases of lesson 02, for the grader alone: exact shares, lost rank, names hit twice."""

import torch

from peft_teach.course.checks.judge import draw


def energy() -> list[dict]:
    """Shares that a partial sum meets exactly; one value; all of the energy; two of a kind."""
    pairs = ((((4.0, 4.0, 4.0, 4.0), 0.25), ((4.0, 2.0, 2.0, 0.0), 1.0)),
             (((3.0,), 0.25), ((2.0, 1.0, 1.0, 1.0, 1.0), 0.5)),
             (((1.0,) * 16, 0.75), ((1.0, 1.0), 0.5)))
    return [{"sigmas": [torch.tensor(sigma) for sigma, _ in pair],
             "shares": [share for _, share in pair]} for pair in pairs]


def truncate() -> list[dict]:
    """One row, one column, a matrix of lower rank than is kept, zeros, one that is transposed."""
    low = draw(31, 9, 2) @ draw(32, 2, 6)
    return [{"delta": draw(33, 1, 8), "k": 1}, {"delta": draw(34, 8, 1), "k": 1},
            {"delta": low, "k": 4}, {"delta": torch.zeros(5, 4), "k": 2},
            {"delta": draw(35, 4, 9).T, "k": 3}]


def project() -> list[dict]:
    """Columns that no weight reads, the last among them; one column; more columns than weights."""
    cases = []
    for seed, D, d, used in ((41, 30, 8, 5), (42, 25, 1, 1), (43, 6, 10, 9)):
        generator = torch.Generator().manual_seed(seed)
        h = torch.randint(used, (D,), generator=generator)
        sign = 1.0 - 2.0 * torch.randint(2, (D,), generator=generator).float()
        cases.append({"theta0": draw(seed + 1, D), "z": draw(seed + 2, d), "h": h, "sign": sign,
                      "g": draw(seed + 3, D)})
    return cases


def bitfit() -> list[dict]:
    """Inputs of one, two and four axes; a LayerNorm and a layer in half precision; one output."""
    cases = []
    for seed, kind, n_in, n_out, dtype, batch in (
            (51, "Linear", 7, 3, torch.float32, ()), (52, "LayerNorm", 6, 6, torch.bfloat16, (4,)),
            (53, "Linear", 4, 1, torch.float32, (2, 3, 2)),
            (54, "Linear", 5, 8, torch.float16, (3,))):
        weight = (n_out, n_in) if kind == "Linear" else (n_in,)
        cases.append({"kind": kind, "n_in": n_in, "n_out": n_out, "dtype": dtype,
                      "W": draw(seed, *weight, dtype=dtype),
                      "bias": draw(seed + 10, n_out, dtype=dtype),
                      "x": draw(seed + 20, *batch, n_in, dtype=dtype),
                      "b": draw(seed + 30, n_out)})
    return cases


def small() -> list[dict]:
    """The smallest size with small parameters, all parameters equal, halves that are opposite."""
    half = 0.5 + draw(60, 4).abs()
    return [{"n": 2, "a": 0.5 + draw(2, 1).abs(), "b": 0.01 + draw(3, 4).abs(),
             "c": -0.2 - draw(4, 2).abs()}, {"n": 6, "a": torch.ones(1), "b": torch.ones(12), "c": torch.ones(6)},
            {"n": 4, "a": -torch.ones(1), "b": torch.cat([half, -half]), "c": half}]


def inject() -> list[dict]:
    """A module that two targets name; one with a dot; another head; one module; three deep."""
    twice = {f"layers.{b}.attn.{name}": ("Linear", 4) for b in range(3)
             for name in ("q_proj", "o_proj")}
    return [
        {"modules": {"embed": ("Linear", 4), **twice, "score": ("Linear", 4)},
         "targets": ("q_proj", "attn.q_proj"), "unknown": [("self.q_proj",)]},
        {"modules": {"a.self.dense": ("Linear", 5), "a.output.dense": ("Linear", 5),
                     "a.output.norm": ("LayerNorm", 5), "classifier": ("Linear", 5)},
         "targets": ("output.dense",), "unknown": [("dense", "norms")]},
        {"modules": {"only": ("LayerNorm", 3)}, "targets": ("only",), "unknown": [("onl",)]},
        {"modules": {"block.self.dense": ("Linear", 4), "block.out.dense": ("Linear", 4),
                     "block.out.norm": ("LayerNorm", 4), "classifier": ("Linear", 4)},
         "targets": ("dense", "out", "block"), "own": ("gain", "shift"), "unknown": []}]


CASES = {"change.energy": energy, "change.truncate": truncate, "change.project": project,
         "change.bitfit": bitfit, "change.small": small, "change.inject": inject}
