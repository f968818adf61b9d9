"""The exercises of lesson 00: a layer, a block, the ledger, and how activations grow."""

import math
from types import NoneType

import torch

from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, judged_count, named, plain, rejected, strange


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
    reference="peft_teach.course.lessons.inside.exercises:linear_count",
    cases=linear_cases, run=run_linear, judge=judge_linear, mistakes=LINEAR_MISTAKES,
    hints=("Two tensors: the weight, of shape (n_out, n_in), and the bias, of shape (n_out,). "
           "How many numbers has each?",
           "A tensor of shape (a, b) holds a · b numbers.",
           "Multiply the two sizes for the weight, then add n_out for the bias."))


# ── inside.block ─────────────────────────────────────────────────────────────────────────────


def block_count(d_model: int, d_ff: int, heads: int) -> int:
    """Return how many numbers a block of BERT holds. The number of heads makes no difference."""
    attention = 4 * (d_model * d_model + d_model)             # query, key, value, attention_out
    feed_forward = d_model * d_ff + d_ff + d_ff * d_model + d_model
    norms = 2 * (d_model + d_model)
    return attention + feed_forward + norms


def block_cases(seed: int) -> list[dict]:
    sizes = [(12, 20, 3), (384, 1536, 12)]    # the small one first: there no two mistakes agree
    sizes += [(heads * width, d_ff, heads) for heads, width, d_ff in zip(
        _draw(seed, 2, 9, 3), _draw(seed + 50, 5, 40, 3), _draw(seed + 90, 301, 900, 3))]
    return [{"d_model": d_model, "d_ff": d_ff, "heads": heads} for d_model, d_ff, heads in sizes]


def run_block(block_count, case: dict):
    return block_count(case["d_model"], case["d_ff"], case["heads"])


def judge_block(case: dict, found) -> Verdict:
    d, f, h = case["d_model"], case["d_ff"], case["heads"]
    right = block_count(d, f, h)
    projection, feed_forward = d * d + d, d * f + f + f * d + d
    narrow = (d // h) ** 2 + d // h          # a square layer as wide as one head
    wrong = {
        "matrices_only": 4 * d * d + 2 * d * f,
        "no_norms": right - 4 * d,
        "no_brackets": right - 3 * d,
        "half_norms": right - 2 * d,
        "no_biases": right - 5 * d - f,
        "ffn_bias": right - f + d,
        "ffn_out_bias": right - d + f,
        "attention_out_missing": right - projection,
        "one_projection": right - 3 * projection,
        "ffn_out_missing": right - (f * d + d),
        "four_d": right - feed_forward + 8 * d * d + 5 * d,
        "square_ffn": right - feed_forward + 2 * projection,
        "no_ffn": right - feed_forward,
        "no_attention": right - 4 * projection,
        "times_heads": tuple(right + (h - 1) * n * size      # of query, key and value, or of all
                             for n in (3, 4) for size in (projection, d * d)),
        "narrow_heads": tuple(right - n * projection + times * n * narrow
                              for n in (3, 4) for times in (1, h)),
        "one_head": right - 3 * projection + 3 * (d * (d // h) + d // h),
    }
    return judged_count(found, right, f"block_count({d}, {f}, {h})", wrong,
                        "Four projections, two layers of the feed-forward part, two norms; and the "
                        "number of heads makes no difference.")


BLOCK_MISTAKES = {
    "no_return": NO_RETURN,
    "not_whole": NOT_WHOLE,
    "matrices_only": "Those are the matrices alone. Each of the six has a bias, and there are two "
                     "norms.",
    "no_norms": "4 · d_model are missing. That is what the two norms hold, a weight and a bias "
                "each. It is also what the four biases of the attention hold. Which did you leave "
                "out?",
    "no_brackets": "3 · d_model are missing. Each of the four attention layers has a bias: put "
                   "weight and bias in brackets before you multiply by four.",
    "half_norms": "2 · d_model are missing. There are two norms, and each has a weight and a bias.",
    "no_biases": "The biases of the six linear layers are missing.",
    "ffn_bias": "A bias is as long as the output: ffn_in has d_ff of them.",
    "ffn_out_bias": "A bias is as long as the output: ffn_out narrows to d_model again, so its "
                    "bias has d_model numbers.",
    "attention_out_missing": "One d_model × d_model layer is missing: the attention has query, "
                             "key, value, and attention_out.",
    "one_projection": "The attention has four layers of one shape: query, key, value, "
                      "attention_out. You counted one.",
    "ffn_out_missing": "The feed-forward part has two layers: ffn_in widens, ffn_out narrows.",
    "four_d": "d_ff is not always 4 · d_model: use the number that is given.",
    "square_ffn": "The feed-forward layers are not square: from d_model to d_ff, and back.",
    "no_ffn": "The feed-forward part is missing: ffn_in and ffn_out.",
    "no_attention": "The attention is missing: query, key, value, attention_out.",
    "times_heads": "The heads share the projections: each reads its own d_model / heads outputs of "
                   "one d_model × d_model layer. Look at the shapes above.",
    "narrow_heads": "A head is d_model / heads wide, but it reads all d_model inputs: its query is "
                    "not square. Together the heads' queries are one d_model × d_model layer.",
    "one_head": "Those are query, key and value of one head. One layer serves all of the heads.",
}

BLOCK = Exercise(
    id="inside.block", lesson="00", names=("block_count",), points=2, minutes=8, difficulty=1,
    reference="peft_teach.course.lessons.inside.exercises:block_count",
    cases=block_cases, run=run_block, judge=judge_block, mistakes=BLOCK_MISTAKES,
    hints=("Go down the list of shapes above. Which sizes are d_model, which are d_ff? "
           "Is there any that depends on the heads?",
           "Six linear layers, each with a weight and a bias: four d_model × d_model; one from "
           "d_model to d_ff, and one back. Then two norms.",
           "Attention: 4 · (d_model² + d_model). Feed-forward: 2 · d_model · d_ff, and biases of "
           "d_ff and d_model. Norms: 2 · 2 · d_model."))


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
    if not all(type(value) is int for value in found.values()):
        return rejected("not_whole", told)
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
    reference="peft_teach.course.lessons.inside.exercises:ledger",
    cases=ledger_cases, run=run_ledger, judge=judge_ledger, mistakes=LEDGER_MISTAKES,
    hints=("Which numbers have a weight in memory? Which have a gradient? Which have moments?",
           "All numbers have a weight; only the trained ones have a gradient and moments. Then "
           "turn numbers into bytes.",
           "weights: total · bytes_each. gradients: trained · bytes_each. optimizer: moments times "
           "the gradients."))


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
    asked = ((4, 300, (32, 128)), (16, 512, (20, 50)), (1, 64, (128, 16)), (3, 10, (16, 64)))
    # Half a token's length more than the law gives, so that nothing divides without a remainder.
    return [{"batch": batch, "tokens": tokens,
             "measured": [[t, a * t + b * t * t + t // 2 + i] for i, t in enumerate(lengths)]}
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
            for x in (whole, b // 1) for t, size in ((t1, bytes1), (t2, bytes2))
            for y in (size // t, size / t)),
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
    id="inside.activations", lesson="00", names=("activation_bytes",), points=3, minutes=12,
    difficulty=2, reference="peft_teach.course.lessons.inside.exercises:activation_bytes",
    cases=activations_cases, run=run_activations, judge=judge_activations,
    mistakes=ACTIVATIONS_MISTAKES,
    hints=("Two unknowns, a and b, and two measurements. Divide the law for one sentence by its "
           "tokens: bytes / tokens = a + b · tokens. What kind of curve is that?",
           "A straight line through two points (t, bytes / t). Its slope is b; take "
           "(t1, bytes1), (t2, bytes2) = measured.items().",
           "b = (bytes2 / t2 - bytes1 / t1) / (t2 - t1), then a = bytes1 / t1 - b * t1, and put "
           "both into the law, at the batch and the tokens that are asked for."))

EXERCISES = (LINEAR, BLOCK, LEDGER, ACTIVATIONS)
