"""The exercises of lesson 00 in which something is counted: a layer, the ledger, a block."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ...checks.exercise import Exercise, Verdict
from ...checks.judge import judged_count, recognised, rejected, whole


def _draw(seed: int, low: int, high: int, count: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (count,), generator=generator).tolist()


def _called(function: Callable, case: dict) -> Any:
    return function(*case.values())


NOT_WHOLE = "A number of parameters is a whole number: an int."

# ── inside.linear ────────────────────────────────────────────────────────────────────────────


def linear_cases(seed: int) -> list[dict]:
    """Return layers' sizes."""
    sizes = [(6, 10), (384, 1536), *zip(_draw(seed, 11, 100, 3), _draw(seed + 50, 101, 200, 3))]
    return [{"n_in": n_in, "n_out": n_out} for n_in, n_out in sizes]


def run_linear(linear_count, case: dict):
    return linear_count(case["n_in"], case["n_out"])


def judge_linear(case: dict, found) -> Verdict:
    n_in, n_out = case["n_in"], case["n_out"]
    wrong = {"added": n_in + n_out, "no_bias": n_in * n_out, "bias_of_inputs": n_in * n_out + n_in}
    right = sum(p.numel() for p in nn.Linear(n_in, n_out, device="meta").parameters())
    return judged_count(found, right, f"linear_count({n_in}, {n_out})", wrong,
                        "A weight for each pair of input and output, and a bias for each output.")


LINEAR_MISTAKES = {
    "not_whole": NOT_WHOLE,
    "added": "A table of n_out rows and n_in columns holds more than its two sides: how many cells "
             "has it?",
    "no_bias": "That is the weight alone. The layer has a bias, too.",
    "bias_of_inputs": "The bias is added to the output, so it has one number for each output.",
}

LINEAR = Exercise(
    id="inside.linear", names=("linear_count",), points=1, minutes=3, difficulty=1,
    cases=linear_cases, run=run_linear, judge=judge_linear, mistakes=LINEAR_MISTAKES,
    hints=("Take the smallest one, two inputs, one output: y = w₁x₁ + w₂x₂ + b.",
           "How many parameters does one output need? How many outputs are there?",
           "Draw it for three inputs and two outputs: a line for each weight, a dot for each "
           "constant. Count lines and dots, then say it in n_in and n_out."))


# ── inside.ledger ────────────────────────────────────────────────────────────────────────────


def ledger(total: int, trained: int, bytes_each: int = 4, moments: int = 2) -> dict[str, int]:
    """Return the bytes that training holds for a model of `total` numbers, `trained` of them."""
    return {"weights": total * bytes_each, "gradients": trained * bytes_each,
            "optimizer": moments * trained * bytes_each}


def ledger_cases(seed: int) -> list[dict]:
    """Return models' numbers, and what is held of each."""
    trained = _draw(seed, 10, 90, 4)
    return [{"total": 1000 + 7 * t, "trained": t, "bytes_each": size, "moments": moments}
            for t, (size, moments) in zip(trained, ((4, 2), (2, 2), (4, 1), (2, 0)))]


def judge_ledger(case: dict, found) -> Verdict:
    if found is None:
        return rejected("no_return")
    right = ledger(**case)
    fits = isinstance(found, dict) and found.keys() == right.keys()
    sizes = {part: whole(found[part]) for part in right} if fits else {}
    if sizes == right:
        return Verdict(True, "Every number is held once; each trained one has a gradient and its "
                             "moments besides.")
    total, trained, size, moments = case.values()
    slips = {"always_two": ledger(total, trained, size, 2),
             "always_four": ledger(total, trained, 4, moments),
             "moments_float32": right | {"optimizer": 4 * moments * trained},
             "all_train": ledger(total, total, size, moments),
             "trained_twice": ledger(total + trained, trained, size, moments),
             "trained_only": ledger(trained, trained, size, moments)}
    return Verdict(False, f"ledger({total}, {trained}, bytes_each={size}, moments={moments}) gave "
                          f"{found!r:.200}; expected {right}.",
                   recognised(slips, lambda slip: slip == sizes))


LEDGER_MISTAKES = {
    "always_four": "That is right for float32. bytes_each says how many bytes a number takes.",
    "always_two": "Two moments is right for AdamW. Other optimizers keep one or none: use "
                  "`moments`.",
    "moments_float32": "The moments take as many bytes a number as the parameter itself: torch's "
                       "AdamW keeps them in its dtype.",
    "all_train": "Gradients and moments are there for the trained numbers only. That is the point!",
    "trained_twice": "`total` counts the trained ones, too: each weight is there once.",
    "trained_only": "The frozen weights are needed for the forward pass, so they are in memory: "
                    "count `total`.",
}

LEDGER = Exercise(
    id="inside.ledger", names=("ledger",), points=2, minutes=7, difficulty=1,
    cases=ledger_cases, run=_called, judge=judge_ledger, mistakes=LEDGER_MISTAKES,
    hints=("Which parameters have a weight in memory? Which have a gradient? For which does the "
           "optimizer remember something?",
           "Take two rows that differ in one thing, and their difference. Of what is it a "
           "multiple: of all parameters, or of the trained ones?",
           "Plain SGD remembers nothing, so its row is weights and gradients. What does each "
           "other optimizer add to it, counted in copies of what trains?"))


# ── inside.block ─────────────────────────────────────────────────────────────────────────────


def block_count(d: int, f: int, heads: int, kv_heads: int) -> int:
    """Return how many parameters a block holds whose query heads share keys and values.

    Ainslie et al. 2023, arXiv 2305.13245. With kv_heads = heads it is a block of BERT.
    """
    kv = d // heads * kv_heads
    with torch.device("meta"):    # which takes no memory
        layers = [*(nn.Linear(d, n_out) for n_out in (d, kv, kv, d, f)), nn.Linear(f, d),
                  nn.LayerNorm(d), nn.LayerNorm(d)]
    return sum(p.numel() for layer in layers for p in layer.parameters())


def block_cases(seed: int) -> list[dict]:
    """Return blocks' sizes, the small one first, in which no two mistakes agree."""
    sizes = [(32, 67, 8, 3), (384, 1536, 12, 12), (576, 1536, 9, 3)]
    sizes += [(groups * shared * width, d_ff, groups * shared, shared)
              for groups, shared, width, d_ff in zip(
                  _draw(seed, 2, 5, 3), _draw(seed + 20, 2, 4, 3), _draw(seed + 50, 5, 40, 3),
                  _draw(seed + 90, 501, 900, 3))]
    return [dict(zip(("d_model", "d_ff", "heads", "kv_heads"), each)) for each in sizes]


def judge_block(case: dict, found) -> Verdict:
    sizes = tuple(case.values())
    return judged_count(found, block_count(*sizes), f"block_count{sizes}", block_slips(*sizes),
                        "Two layers as wide as the model, two as wide as the shared heads, two of "
                        "the feed-forward part, and two norms.")


def block_slips(d: int, f: int, heads: int, kv_heads: int) -> dict[str, int]:
    """Return what the usual mistakes give."""
    right, kv = block_count(d, f, heads, kv_heads), d // heads * kv_heads
    return {"half_norms": right - 2 * d,
            "all_as_wide": block_count(d, f, heads, heads),
            "wide_biases": right + 2 * (d - kv),
            "kv_heads_as_width": right - 2 * (d + 1) * (kv - kv_heads)}


BLOCK_MISTAKES = {
    "not_whole": NOT_WHOLE,
    "half_norms": "2 · d_model are missing. There are two norms, and each has a weight and a bias.",
    "all_as_wide": "That is right where kv_heads equals heads. Here several query heads share a "
                   "key head: how many outputs has `key`?",
    "wide_biases": "A bias is as long as the output: those of `key` and `value` are as long as "
                   "kv_heads heads are wide.",
    "kv_heads_as_width": "kv_heads is a number of heads, and each of them is d_model / heads wide.",
}

BLOCK = Exercise(
    id="inside.block", names=("block_count",), points=2, minutes=7, difficulty=2,
    optional=True, cases=block_cases, run=_called, judge=judge_block, mistakes=BLOCK_MISTAKES,
    hints=("Go through your own block: which layers did it call, and how wide is what each gives?",
           "A head is d_model / heads wide, whether it is of a query or of a key. How wide are "
           "kv_heads of them, side by side?",
           "Compare with block 0, printed part by part: `for n, p in block.named_parameters()`. "
           "Which of its shapes would be smaller if four of its heads shared a key?"))
