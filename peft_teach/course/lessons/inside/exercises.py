"""The exercises of lesson 00: a layer, a block (in `blocks`), its count, the ledger, a law."""

import math
from types import NoneType

import torch

from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, judged_count, named, plain, rejected, strange
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
    wrong = {"added": n_in + n_out, "no_bias": n_in * n_out, "bias_of_inputs": n_in * n_out + n_in,
             "two_biases": n_in * n_out + n_in + n_out, "one_bias": n_in * n_out + 1,
             "bias_only": n_out}
    return judged_count(found, linear_count(n_in, n_out), f"linear_count({n_in}, {n_out})", wrong,
                        "A weight for each pair of input and output, and a bias for each output.")


LINEAR_MISTAKES = {
    "no_return": NO_RETURN,
    "not_whole": NOT_WHOLE,
    "added": "A table of n_out rows and n_in columns holds more than its two sides: how many cells "
             "has it?",
    "no_bias": "That is the weight alone. The layer has a bias, too.",
    "bias_of_inputs": "The bias is added to the output, so it has one number for each output.",
    "two_biases": "There is one bias, with a number for each output. The inputs get none.",
    "one_bias": "The bias is not one number: each output has its own.",
    "bias_only": "That is the bias alone. The weight is missing.",
}

LINEAR = Exercise(
    id="inside.linear", lesson="00", names=("linear_count",), points=1, minutes=3, difficulty=1,
    reference=f"{HERE}:linear_count",
    cases=linear_cases, run=run_linear, judge=judge_linear, mistakes=LINEAR_MISTAKES,
    hints=("Take the smallest one: two inputs, one output. y = w₁x₁ + w₂x₂ + b has three "
           "parameters.",
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


def block_slips(d: int, f: int, heads: int, kv_heads: int) -> dict[str, int | tuple[int, ...]]:
    """Return what the usual mistakes give."""
    right = block_count(d, f, heads, kv_heads)
    width = d // heads
    kv = width * kv_heads
    full, shared = d * d + d, d * kv + kv                     # a layer of each width
    feed_forward = d * f + f + f * d + d
    return {
        "matrices_only": 2 * d * d + 2 * d * kv + 2 * d * f,
        "no_norms": right - 4 * d,
        "no_attention_biases": right - 2 * d - 2 * kv,
        "no_brackets": (right - d - kv, right - d, right - kv, right - d - 2 * kv,
                        right - 2 * d - kv),
        "half_norms": right - 2 * d,
        "no_biases": right - 3 * d - 2 * kv - f,
        "all_as_wide": right - 2 * shared + 2 * full,
        "one_key_value": right - shared,
        "wide_biases": (right + 2 * (d - kv), right + d - kv),
        "all_shared": right - 2 * full + 2 * shared,
        "only_query_wide": (right - full + shared, right - full + kv * d + d),
        "kv_heads_as_width": right - 2 * shared + 2 * (d * kv_heads + kv_heads),
        "one_head_wide": right - 2 * shared + 2 * (d * width + width),
        "ffn_bias": right - f + d,
        "ffn_out_bias": right - d + f,
        "attention_out_missing": right - full,
        "ffn_out_missing": right - (f * d + d),
        "four_d": right - feed_forward + 8 * d * d + 5 * d,
        "no_ffn": right - feed_forward,
        "no_attention": right - 2 * full - 2 * shared,
        "times_heads": tuple(right + (heads - 1) * n * full for n in (1, 2)),
    }


BLOCK_MISTAKES = {
    "no_return": NO_RETURN,
    "not_whole": NOT_WHOLE,
    "matrices_only": "Those are the six matrices alone. Each has a bias, and there are two norms.",
    "no_norms": "4 · d_model are missing: the two norms, a weight and a bias each.",
    "no_attention_biases": "The biases of the four attention layers are missing. Each is as long "
                           "as its layer's output.",
    "no_brackets": "A bias of the attention is missing, or several: where two layers have one "
                   "shape, put weight and bias in brackets before you multiply by two.",
    "half_norms": "2 · d_model are missing. There are two norms, and each has a weight and a bias.",
    "no_biases": "The biases of the six linear layers are missing.",
    "all_as_wide": "That is right where kv_heads equals heads. Here several query heads share a "
                   "key head: how many outputs has `key`?",
    "one_key_value": "`key` and `value` are two layers, of one shape.",
    "wide_biases": "A bias is as long as the output: those of `key` and `value` are as long as "
                   "kv_heads heads are wide.",
    "all_shared": "Only `key` and `value` are shared: `query` and `attention_out` are as wide as "
                  "the model.",
    "only_query_wide": "`attention_out` mixes what all heads read: d_model inputs, d_model "
                       "outputs.",
    "kv_heads_as_width": "kv_heads is a number of heads, and each of them is d_model / heads wide.",
    "one_head_wide": "Those are keys and values of one head. There are kv_heads of them.",
    "ffn_bias": "A bias is as long as the output: ffn_in has d_ff of them.",
    "ffn_out_bias": "A bias is as long as the output: ffn_out narrows to d_model again.",
    "attention_out_missing": "One layer as wide as the model is missing: there is `query`, and "
                             "there is `attention_out`.",
    "ffn_out_missing": "The feed-forward part has two layers: ffn_in widens, ffn_out narrows.",
    "four_d": "d_ff is not always 4 · d_model: use the number that is given.",
    "no_ffn": "The feed-forward part is missing: ffn_in and ffn_out.",
    "no_attention": "The attention is missing: query, key, value, attention_out.",
    "times_heads": "The heads share one layer: each reads its own d_model / heads outputs of it. "
                   "Look at the shapes in the model.",
}

BLOCK = Exercise(
    id="inside.block", lesson="00", names=("block_count",), points=2, minutes=7, difficulty=2,
    reference=f"{HERE}:block_count",
    cases=block_cases, run=run_block, judge=judge_block, mistakes=BLOCK_MISTAKES,
    hints=("Go through your own block: which layers did it call, and how wide is what each gives?",
           "A head is d_model / heads wide, whether it is of a query or of a key. How wide are "
           "kv_heads of them, side by side?",
           "Compare with block 0, printed part by part: `for n, p in block.named_parameters()`. "
           "Which of its shapes would be smaller if four of its heads shared a key?"))


# ── inside.ledger ────────────────────────────────────────────────────────────────────────────

PARTS = ("weights", "gradients", "optimizer")


def ledger(total: int, trained: int, bytes_each: int = 4, moments: int = 2) -> dict[str, int]:
    """Return the bytes that training holds for a model of `total` numbers, `trained` of them."""
    return {"weights": total * bytes_each, "gradients": trained * bytes_each,
            "optimizer": moments * trained * bytes_each}


def ledger_cases(seed: int) -> list[dict]:
    trained = _draw(seed, 10, 90, 4)
    return [{"total": 1000 + 7 * t, "trained": t, "bytes_each": size, "moments": moments}
            for t, (size, moments) in zip(trained, ((4, 2), (2, 2), (4, 1), (2, 0)))]


def run_ledger(ledger, case: dict) -> dict:
    found = ledger(case["total"], case["trained"], case["bytes_each"], case["moments"])
    if not isinstance(found, dict):
        return {"gave": named(found)}
    return {"found": {str(key): value if isinstance(value, int | float) else repr(value)
                      for key, value in zip(found, map(plain, found.values()))}}


def judge_ledger(case: dict, seen) -> Verdict:
    if odd := strange(seen, gave=str, found=dict):
        return odd
    if seen.get("gave") == "None":
        return rejected("no_return")
    if "gave" in seen:
        return rejected("not_a_dict", f"It gave {seen['gave']}.")
    found = seen["found"]
    if set(found) != set(PARTS):
        return rejected("keys", f"Its keys are {', '.join(found) or 'none'}.")
    told = (f"ledger({case['total']}, {case['trained']}, bytes_each={case['bytes_each']}, "
            f"moments={case['moments']}) gave {found}; expected {ledger(**case)}.")
    for part, value in found.items():
        if type(value) is not int:
            return rejected("not_whole", f"{told} {part.capitalize()}: {value} is not an int.")
    if found == ledger(**case):
        return Verdict(True, "Every number is held once; each trained one has a gradient and its "
                             "moments besides.")
    for mistake, values in _ledgers(**case).items():
        if tuple(found[part] for part in PARTS) == values:
            return rejected(mistake, told)
    return Verdict(False, told)


def _ledgers(total: int, trained: int, bytes_each: int, moments: int) -> dict[str, tuple]:
    """Return what the usual mistakes give: weights, gradients, optimizer."""
    weights, gradients = total * bytes_each, trained * bytes_each
    return {
        "always_two": (weights, gradients, 2 * gradients),
        "numbers": (total, trained, moments * trained),
        "always_four": (4 * total, 4 * trained, 4 * moments * trained),
        "moments_float32": (weights, gradients, 4 * moments * trained),
        "all_train": (weights, weights, moments * weights),
        "gradients_of_all": (weights, weights, moments * gradients),
        "optimizer_of_all": (weights, gradients, moments * weights),
        "one_moment": (weights, gradients, gradients),
        "with_gradients": (weights, gradients, (moments + 1) * gradients),
        "frozen_only": (weights - gradients, gradients, moments * gradients),
        "trained_twice": (weights + gradients, gradients, moments * gradients),
        "trained_only": (gradients, gradients, moments * gradients),
    }


LEDGER_MISTAKES = {
    "no_return": NO_RETURN,
    "not_a_dict": 'Return a dict: {"weights": …, "gradients": …, "optimizer": …}.',
    "keys": 'The keys are "weights", "gradients" and "optimizer".',
    "not_whole": "Bytes are whole numbers: multiply, and do not divide into MB.",
    "numbers": "Those are numbers, not bytes: each takes bytes_each.",
    "always_four": "That is right for float32. bytes_each says how many bytes a number takes.",
    "moments_float32": "The moments take as many bytes a number as the parameter itself: torch's "
                       "AdamW keeps them in its dtype.",
    "all_train": "Gradients and moments are there for the trained numbers only. That is the point!",
    "gradients_of_all": "A frozen number gets no gradient: count the trained ones.",
    "optimizer_of_all": "The optimizer keeps nothing for a frozen number: count the trained ones.",
    "one_moment": "AdamW keeps two moments for each trained number, and other optimizers another "
                  "count: `moments` says how many.",
    "always_two": "Two moments is right for AdamW. Other optimizers keep one or none: use "
                  "`moments`.",
    "with_gradients": "The gradients have a line of their own: do not count them as optimizer, "
                      "too.",
    "frozen_only": "The weights are all of them, the trained ones too.",
    "trained_twice": "The trained numbers are among the `total` already: do not add them again.",
    "trained_only": "The frozen weights are needed for the forward pass, so they are in memory: "
                    "count `total`.",
}

LEDGER = Exercise(
    id="inside.ledger", lesson="00", names=("ledger",), points=2, minutes=7, difficulty=1,
    reference=f"{HERE}:ledger",
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


def run_activations(activation_bytes, case: dict) -> dict:
    measured = dict(map(tuple, case["measured"]))
    given = measured.copy()
    try:
        found = plain(activation_bytes(case["batch"], case["tokens"], measured))
    except KeyError as error:
        asked = error.args[0] if error.args else None
        if isinstance(asked, int) and asked not in given:
            return {"asked": asked}
        raise
    return {"found": found if found is None or isinstance(found, int | float) else repr(found),
            "intact": measured == given}


def judge_activations(case: dict, seen) -> Verdict:
    if odd := strange(seen, asked=int, found=(int, float, bool, str, NoneType), intact=bool):
        return odd
    measured = dict(map(tuple, case["measured"]))
    right = activation_bytes(case["batch"], case["tokens"], measured)
    call = f"activation_bytes({case['batch']}, {case['tokens']}, {measured})"
    if "asked" in seen:
        return rejected("fixed_lengths", f"{call} asked for measured[{seen['asked']}].")
    found = seen["found"]
    if found is None:
        return rejected("no_return")
    told = f"{call} gave {found}; expected {right:.0f}."
    if not seen["intact"]:
        return rejected("input_changed", f"After {call}, measured is not what it was before.")
    if isinstance(found, bool) or not isinstance(found, int | float):
        return rejected("not_a_number", told)
    if math.isclose(found, right, rel_tol=1e-6, abs_tol=1):
        return Verdict(True, "A part that grows with the tokens, a part that grows with their "
                             "pairs, and both times the batch.")
    for mistake, values in _activations(case["batch"], case["tokens"], measured).items():
        if any(math.isclose(found, value, rel_tol=1e-6, abs_tol=1) for value in values):
            return rejected(mistake, told)
    return Verdict(False, told)


def _activations(batch: int, tokens: int, measured: dict[int, int]) -> dict[str, tuple]:
    """Return what the usual mistakes give; some have several forms."""
    (t1, bytes1), (t2, bytes2) = sorted(measured.items())
    b = (bytes2 / t2 - bytes1 / t1) / (t2 - t1)
    a = bytes1 / t1 - b * t1
    right = batch * (a * tokens + b * tokens**2)
    slope = (bytes2 - bytes1) / (t2 - t1)
    by_squares = (bytes2 - bytes1) / (t2 * t2 - t1 * t1)
    whole = (bytes2 // t2 - bytes1 // t1) // (t2 - t1)
    a_of = {b: ((bytes1 - b * t1) / t1, bytes1 - b * t1, (bytes1 - b * t1 * t1) / t1,
                (bytes2 - b * t2 * t2) / t2) for b in (slope, by_squares)}
    return {
        "proportional": (batch * bytes1 / t1 * tokens, batch * bytes2 / t2 * tokens),
        "straight_line": (batch * (bytes1 + slope * (tokens - t1)), batch * slope * tokens),
        "squares_only": (batch * bytes1 * (tokens / t1)**2, batch * bytes2 * (tokens / t2)**2),
        "no_batch": (right / batch,),
        "batch_squared": (right * batch, a * batch * tokens + b * (batch * tokens)**2),
        "batch_once": (batch * a * tokens + b * tokens**2, a * tokens + batch * b * tokens**2),
        "swapped": (batch * (b * tokens + a * tokens**2),),
        "no_pairs": (batch * a * tokens,),
        "pairs_alone": (batch * b * tokens**2,),
        "b_not_squared": (batch * (a + b) * tokens,),
        "times_tokens_missing": (batch * (a + b * tokens),),
        "not_divided": tuple(batch * (x * tokens + slope * tokens**2) for x in a_of[slope]),
        "whole_division": tuple(
            batch * ((y - x * t) * tokens + x * tokens**2)
            for x in (whole, b // 1, b) for t, size in ((t1, bytes1), (t2, bytes2))
            for y in (size // t, size / t, (size - x * t * t) // t + x * t)
            if (x, y) != (b, size / t)),
        "by_squares": tuple(batch * (x * tokens + by_squares * tokens**2)
                            for x in a_of[by_squares]),
    }


ACTIVATIONS_MISTAKES = {
    "no_return": NO_RETURN,
    "input_changed": "Somebody else still needs that dict, and pop takes out of it what it gives: "
                     "read it with items().",
    "not_a_number": "Return one number of bytes: a float or an int. Of a tensor with one number, "
                    ".item() is that.",
    "proportional": "That takes the bytes to be proportional to the tokens. They grow faster: "
                    "there is a part with tokens².",
    "straight_line": "That is a straight line through the two measurements. What lies on a line "
                     "is not the bytes, but the bytes divided by the tokens.",
    "squares_only": "That takes all of the bytes to grow with tokens². Only a part of them does: "
                    "find a and b.",
    "no_batch": "The measurements are of one sentence. A batch holds `batch` of them.",
    "batch_squared": "The batch counts once: sentences do not look at each other, only tokens of "
                     "the same sentence do.",
    "batch_once": "The batch multiplies both parts: put brackets around the sum.",
    "swapped": "a and b are swapped: a goes with tokens, b with tokens².",
    "no_pairs": "The part with tokens² is missing.",
    "pairs_alone": "The part with tokens, a · tokens, is missing.",
    "b_not_squared": "b goes with tokens², not with tokens.",
    "times_tokens_missing": "a + b · tokens is the bytes of a sentence divided by its tokens. "
                            "Multiply by the tokens, to get the bytes back.",
    "not_divided": "Your b is the slope of the bytes. They do not lie on a line: divide each by "
                   "its tokens before you take the slope.",
    "by_squares": "Your b is the growth of the bytes over that of tokens². But a · tokens has "
                  "grown as well: divide the bytes by their tokens before you take differences.",
    "whole_division": "// throws the remainder away, and a and b are no whole numbers: divide "
                      "with /.",
    "fixed_lengths": "The two lengths are not always 32 and 128. Take them, and their bytes, from "
                     "measured.items().",
}

ACTIVATIONS = Exercise(
    id="inside.activations", lesson="00", names=("activation_bytes",), points=2, minutes=12,
    difficulty=3, optional=True, reference=f"{HERE}:activation_bytes",
    cases=activations_cases, run=run_activations, judge=judge_activations,
    mistakes=ACTIVATIONS_MISTAKES,
    hints=("Two unknowns, a and b, and two measurements. Divide the law for one sentence by its "
           "tokens: bytes / tokens = a + b · tokens. What kind of curve is that?",
           "A straight line through two points (t, bytes / t). Which of the two unknowns is its "
           "slope, which its height at t = 0?",
           "Try it by hand with a = 10, b = 3 and the lengths 2 and 4: 32 and 88 bytes. Does "
           "your way give 10 and 3 back?"))

EXERCISES = (LINEAR, ATTENTION, TRANSFORMER, ORDER_OF_FOUR, BLOCK, LEDGER, ACTIVATIONS)
