"""The exercises of lesson 00: a layer, a block (in `blocks`), its count, the ledger, a law."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from ...check.exercise import Exercise, Verdict
from ...check.judge import (
    NO_RETURN,
    judged_count,
    named,
    number,
    recognised,
    rejected,
    report,
    whole,
)
from .blocks import ATTENTION, ORDER_OF_FOUR, TRANSFORMER

HERE = "peft_teach.course.lessons.inside.exercises"


def _draw(seed: int, low: int, high: int, count: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (count,), generator=generator).tolist()


NOT_WHOLE = "A number of parameters is a whole number: an int."

# ── inside.linear ────────────────────────────────────────────────────────────────────────────


def linear_count(n_in: int, n_out: int) -> int:
    """Return how many numbers an `nn.Linear(n_in, n_out)` holds: its weight and its bias."""
    return n_in * n_out + n_out


def linear_cases(seed: int) -> list[dict]:
    sizes = [(6, 10), (384, 1536), *zip(_draw(seed, 11, 100, 3), _draw(seed + 50, 101, 200, 3))]
    return [{"n_in": n_in, "n_out": n_out} for n_in, n_out in sizes]


def run_linear(linear_count, case: dict):
    return linear_count(case["n_in"], case["n_out"])


def judge_linear(case: dict, found) -> Verdict:
    n_in, n_out = case["n_in"], case["n_out"]
    wrong = {"added": n_in + n_out, "no_bias": n_in * n_out, "bias_of_inputs": n_in * n_out + n_in}
    return judged_count(found, linear_count(n_in, n_out), f"linear_count({n_in}, {n_out})", wrong,
                        "A weight for each pair of input and output, and a bias for each output.")


LINEAR_MISTAKES = {
    "no_return": NO_RETURN,
    "not_whole": NOT_WHOLE,
    "added": "A table of n_out rows and n_in columns holds more than its two sides: how many cells "
             "has it?",
    "no_bias": "That is the weight alone. The layer has a bias, too.",
    "bias_of_inputs": "The bias is added to the output, so it has one number for each output.",
}

LINEAR = Exercise(
    id="inside.linear", lesson="00", names=("linear_count",), points=1, minutes=3, difficulty=1,
    cases=linear_cases, run=run_linear, judge=judge_linear, mistakes=LINEAR_MISTAKES,
    hints=("Take the smallest one, two inputs, one output: y = w₁x₁ + w₂x₂ + b.",
           "How many parameters does one output need? How many outputs are there?",
           "Draw it for three inputs and two outputs: a line for each weight, a dot for each "
           "constant. Count lines and dots, then say it in n_in and n_out."))


# ── inside.block ─────────────────────────────────────────────────────────────────────────────


def block_count(d_model: int, d_ff: int, heads: int, kv_heads: int) -> int:
    """Return how many parameters a block holds whose query heads share keys and values.

    Ainslie et al. 2023, arXiv 2305.13245. With kv_heads = heads it is a block of BERT.
    """
    shared = d_model // heads * kv_heads                      # the width of key and value
    attention = 2 * (d_model * d_model + d_model) + 2 * (d_model * shared + shared)
    feed_forward = d_model * d_ff + d_ff + d_ff * d_model + d_model
    norms = 2 * (d_model + d_model)
    return attention + feed_forward + norms


def block_cases(seed: int) -> list[dict]:
    # The small one first: there no two mistakes agree. Then MiniLM, and a block as SmolLM2's.
    sizes = [(32, 67, 8, 3), (384, 1536, 12, 12), (576, 1536, 9, 3)]
    sizes += [(groups * shared * width, d_ff, groups * shared, shared)
              for groups, shared, width, d_ff in zip(
                  _draw(seed, 2, 5, 3), _draw(seed + 20, 2, 4, 3), _draw(seed + 50, 5, 40, 3),
                  _draw(seed + 90, 501, 900, 3))]
    return [dict(zip(("d_model", "d_ff", "heads", "kv_heads"), each)) for each in sizes]


def run_block(block_count, case: dict):
    return block_count(case["d_model"], case["d_ff"], case["heads"], case["kv_heads"])


def judge_block(case: dict, found) -> Verdict:
    sizes = (case["d_model"], case["d_ff"], case["heads"], case["kv_heads"])
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
    "no_return": NO_RETURN,
    "not_whole": NOT_WHOLE,
    "half_norms": "2 · d_model are missing. There are two norms, and each has a weight and a bias.",
    "all_as_wide": "That is right where kv_heads equals heads. Here several query heads share a "
                   "key head: how many outputs has `key`?",
    "wide_biases": "A bias is as long as the output: those of `key` and `value` are as long as "
                   "kv_heads heads are wide.",
    "kv_heads_as_width": "kv_heads is a number of heads, and each of them is d_model / heads wide.",
}

BLOCK = Exercise(
    id="inside.block", lesson="00", names=("block_count",), points=2, minutes=7, difficulty=2,
    cases=block_cases, run=run_block, judge=judge_block, mistakes=BLOCK_MISTAKES,
    hints=("Go through your own block: which layers did it call, and how wide is what each gives?",
           "A head is d_model / heads wide, whether it is of a query or of a key. How wide are "
           "kv_heads of them, side by side?",
           "Compare with block 0, printed part by part: `for n, p in block.named_parameters()`. "
           "Which of its shapes would be smaller if four of its heads shared a key?"))


# ── inside.ledger ────────────────────────────────────────────────────────────────────────────


def ledger(total: int, trained: int, bytes_each: int = 4, moments: int = 2) -> dict[str, int]:
    """Return the bytes that training holds for a model of `total` numbers, `trained` of them."""
    return {"weights": total * bytes_each, "gradients": trained * bytes_each,
            "optimizer": moments * trained * bytes_each}


def ledger_cases(seed: int) -> list[dict]:
    trained = _draw(seed, 10, 90, 4)
    return [{"total": 1000 + 7 * t, "trained": t, "bytes_each": size, "moments": moments}
            for t, (size, moments) in zip(trained, ((4, 2), (2, 2), (4, 1), (2, 0)))]


def run_ledger(ledger, case: dict):
    return ledger(case["total"], case["trained"], case["bytes_each"], case["moments"])


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
             "trained_only": ledger(trained, trained, size, moments)}
    return Verdict(False, f"ledger({total}, {trained}, bytes_each={size}, moments={moments}) gave "
                          f"{found!r:.200}; expected {right}.",
                   recognised(slips, lambda slip: slip == sizes))


LEDGER_MISTAKES = {
    "no_return": NO_RETURN,
    "always_four": "That is right for float32. bytes_each says how many bytes a number takes.",
    "always_two": "Two moments is right for AdamW. Other optimizers keep one or none: use "
                  "`moments`.",
    "moments_float32": "The moments take as many bytes a number as the parameter itself: torch's "
                       "AdamW keeps them in its dtype.",
    "all_train": "Gradients and moments are there for the trained numbers only. That is the point!",
    "trained_only": "The frozen weights are needed for the forward pass, so they are in memory: "
                    "count `total`.",
}

LEDGER = Exercise(
    id="inside.ledger", lesson="00", names=("ledger",), points=2, minutes=7, difficulty=1,
    cases=ledger_cases, run=run_ledger, judge=judge_ledger, mistakes=LEDGER_MISTAKES,
    hints=("Which parameters have a weight in memory? Which have a gradient? For which does the "
           "optimizer remember something?",
           "Take two rows that differ in one thing, and their difference. Of what is it a "
           "multiple: of all parameters, or of the trained ones?",
           "Plain SGD remembers nothing, so its row is weights and gradients. What does each "
           "other optimizer add to it, counted in copies of what trains?"))


# ── inside.activations ───────────────────────────────────────────────────────────────────────


def activation_bytes(batch: int, tokens: int, measured: dict[int, int]) -> float:
    """Predict the bytes of a batch from those of one sentence at two lengths.

    bytes = batch · (a tokens + b tokens²), so bytes / tokens of one sentence is a straight line.
    """
    (t1, bytes1), (t2, bytes2) = measured.items()
    b = (bytes2 / t2 - bytes1 / t1) / (t2 - t1)
    a = bytes1 / t1 - b * t1
    return batch * (a * tokens + b * tokens**2)


def activations_cases(seed: int) -> list[dict]:
    law = zip(_draw(seed, 1000, 9000, 4), _draw(seed + 50, 10, 90, 4))
    asked = ((4, 300, (32, 128)), (16, 512, (20, 52)), (1, 64, (128, 16)), (3, 10, (16, 64)))
    # Of a token a quarter of a byte more and of a pair a half, so that no `//` is without harm.
    return [{"batch": batch, "tokens": tokens,
             "measured": [[t, a * t + b * t * t + t // 4 + t * t // 2] for t in lengths]}
            for (a, b), (batch, tokens, lengths) in zip(law, asked)]


def run_activations(activation_bytes, case: dict) -> dict[str, Any]:
    measured = dict(case["measured"])
    found = activation_bytes(case["batch"], case["tokens"], measured)
    return {"found": found, "intact": measured == dict(case["measured"])}


def judge_activations(case: dict, seen: Mapping[str, Any]) -> Verdict:
    measured = dict(case["measured"])
    right = activation_bytes(case["batch"], case["tokens"], measured)
    call, found = f"activation_bytes({case['batch']}, {case['tokens']}, {measured})", seen["found"]
    if found is None:
        return rejected("no_return")
    if not seen["intact"]:
        return Verdict(False, f"After {call}, measured is not what it was before.")
    if (found := number(found)) is None:
        return Verdict(False, f"{call} gave {named(seen['found'])}; expected a number of bytes.")

    def is_right(value: float) -> bool:
        return math.isclose(found, value, rel_tol=1e-6, abs_tol=1)

    if is_right(right):
        return Verdict(True, "A part that grows with the tokens, a part that grows with their "
                             "pairs, and both times the batch.")
    return Verdict(False, f"{call} gave {found}; expected {right:.0f}.", recognised(
        _activations(case["batch"], case["tokens"], measured), is_right))


def _activations(batch: int, tokens: int, measured: dict[int, int]) -> dict[str, float]:
    """Return what the usual mistakes give."""
    (t1, bytes1), (t2, bytes2) = measured.items()
    slope = (bytes2 - bytes1) / (t2 - t1)
    return {"proportional": batch * bytes1 / t1 * tokens,
            "straight_line": batch * (bytes1 + slope * (tokens - t1)),
            "no_batch": activation_bytes(1, tokens, measured),
            "not_divided": batch * ((bytes1 / t1 - slope * t1) * tokens + slope * tokens**2)}


ACTIVATIONS_MISTAKES = {
    "no_return": NO_RETURN,
    "proportional": "That takes the bytes to be proportional to the tokens. They grow faster: "
                    "there is a part with tokens².",
    "straight_line": "That is a straight line through the two measurements. What lies on a line "
                     "is not the bytes, but the bytes divided by the tokens.",
    "no_batch": "The measurements are of one sentence. A batch holds `batch` of them.",
    "not_divided": "Your b is the slope of the bytes. They do not lie on a line: divide each by "
                   "its tokens before you take the slope.",
}

ACTIVATIONS = Exercise(
    id="inside.activations", lesson="00", names=("activation_bytes",), points=2, minutes=12,
    difficulty=3, optional=True, cases=activations_cases, run=run_activations,
    judge=judge_activations, mistakes=ACTIVATIONS_MISTAKES, returns=report(found=Any, intact=bool),
    hints=("Divide the law for one sentence by its tokens: bytes / tokens = a + b · tokens. What "
           "kind of curve is that?",
           "A straight line through two points (t, bytes / t). Which of the two unknowns is its "
           "slope, which its height at t = 0?",
           "Try it by hand with a = 10, b = 3 and the lengths 2 and 4: 32 and 88 bytes. Does "
           "your way give 10 and 3 back?"))

EXERCISES = (LINEAR, ATTENTION, TRANSFORMER, ORDER_OF_FOUR, BLOCK, LEDGER, ACTIVATIONS)
