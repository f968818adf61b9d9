"""Exercises of lesson 00 in which a block is computed: attention, the whole block, four matrices.

References are written for reading; each usual mistake is a variation of one, computed on the same
case, so that it can be told from the others by its numbers.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, close, difference, named, rejected, strange

HERE = "peft_teach.course.lessons.inside.blocks"
PLACES = ("query", "key", "value", "attention_out")
EPS = 1e-12    # of MiniLM's norms
LARGE = 6.5    # of queries and keys: their scores reach a hundred, and exp(89) is infinite
LOW = -120.0   # of all scores: to fill in −15 or −100 would lift what is shut above what is read
LAYOUT = ("heads_mixed", "interleaved", "not_joined")

NOT_A_TENSOR = "Return one tensor: the output, and nothing beside it."
INPUT_CHANGED = ("Somebody else still needs what was given: make new tensors, and write into none "
                 "that you were given.")
NOT_A_NUMBER = ("0 · −∞ is nan, and so is a softmax over scores that are all −∞. Over which "
                "dimension does it run, and is there a row of which nothing is left?")


def _randn(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


# ── inside.attention ─────────────────────────────────────────────────────────────────────────


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Return what each query reads: (batch, queries, d).

    q (batch, queries, d); k, v (batch, keys, d); mask (batch, queries, keys), true where a query
    may read a key. Each head has its own d / heads neighbouring entries. Vaswani et al. 2017,
    arXiv 1706.03762, §3.2.
    """
    q, k, v = (_split(x, heads) for x in (q, k, v))
    scores = q @ k.mT / q.shape[-1]**0.5
    scores = scores.masked_fill(~mask.bool()[:, None], -math.inf)
    return _joined(scores.softmax(-1) @ v)


def _split(x: Tensor, heads: int) -> Tensor:
    """(batch, tokens, d) to (batch, heads, tokens, d / heads)"""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """(batch, heads, tokens, width) to (batch, tokens, heads · width)"""
    return x.transpose(1, 2).flatten(2)


def attention_cases(seed: int) -> list[dict]:
    """Sizes, and how the mask is made; the smallest first, then those of MiniLM."""
    sizes = ({"batch": 1, "queries": 2, "keys": 3, "d": 6, "heads": 2, "causal": False},
             {"batch": 2, "queries": 7, "keys": 7, "d": 384, "heads": 12, "causal": True},
             {"batch": 2, "queries": 5, "keys": 9, "d": 384, "heads": 12, "causal": False},
             {"batch": 3, "queries": 4, "keys": 6, "d": 40, "heads": 5, "causal": True},
             {"batch": 1, "queries": 4, "keys": 9, "d": 384, "heads": 12, "causal": False,
              "size": LARGE},
             {"batch": 2, "queries": 4, "keys": 7, "d": 384, "heads": 12, "causal": True,
              "about": LOW})
    return [{"size": 1.0, "about": 0.0, **size, "seed": 10 * seed + i}
            for i, size in enumerate(sizes)]


def attention_inputs(case: Mapping[str, Any]) -> dict[str, Tensor]:
    """Make q, k, v and the mask of a case; every query may read one key at least."""
    randn = _randn(case["seed"])
    queries, keys = case["queries"], case["keys"]
    made = {name: randn(case["batch"], count, case["d"])
            for name, count in (("q", queries), ("k", keys), ("v", keys))}
    made["q"], made["k"] = made["q"] * case["size"], made["k"] * case["size"]
    if case["about"]:      # the first entry of each head: a constant in all scores
        width = case["d"] // case["heads"]
        each = (-case["about"] * width**0.5)**0.5
        made["q"][..., ::width], made["k"][..., ::width] = each, -each
    real = torch.arange(keys) < keys - 1 - torch.arange(case["batch"])[:, None] % 2
    mask = real[:, None].expand(-1, queries, -1)
    if case["causal"]:     # a query stands at the place of its key, the last at the last
        mask = mask & torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    return made | {"mask": mask.clone()}


def run_attention(attention: Callable, case: dict) -> dict[str, Any]:
    given = attention_inputs(case)
    before = {name: tensor.clone() for name, tensor in given.items()}
    for name in "qkv":    # no leaves, so that what writes into them is told as that
        given[name] = given[name].requires_grad_().clone()
    found = attention(**given, heads=case["heads"])
    seen = {"gave": named(found), "found": None, "of_ones": None, "moved": 0.0,
            "intact": all(torch.equal(given[name], before[name]) for name in given)}
    if not isinstance(found, Tensor):
        return seen
    seen |= {"found": found.detach().clone(), "trains": found.requires_grad}
    with torch.no_grad():
        unread = ~before["mask"].any(1)                       # keys that no query may read
        q, k, v = (before[name].clone() for name in "qkv")
        ones = attention(q, k, torch.ones_like(v), case["heads"], before["mask"].clone())
        k[unread], v[unread] = 0.9 * k[unread], -500.0
        other = attention(q, k, v, case["heads"], before["mask"].clone())
        if isinstance(ones, Tensor):
            seen["of_ones"] = ones.clone()
        if isinstance(other, Tensor) and other.shape == found.shape:
            seen["moved"] = float((other - found).abs().max()) if other.numel() else 0.0
    return seen


def judge_attention(case: dict, seen) -> Verdict:
    if odd := strange(seen, "gave", "found", "of_ones", "moved", "intact", gave=str,
                      found=(Tensor, NoneType), of_ones=(Tensor, NoneType), moved=float,
                      intact=bool, trains=bool):
        return odd
    if seen["gave"] == "None":
        return rejected("no_return")
    found = seen["found"]
    if found is None or "trains" not in seen:
        return rejected("not_a_tensor", f"It gave {seen['gave']}.")
    if not seen["intact"]:
        return rejected("input_changed", "After the call, one of its inputs is not what it was.")
    inputs = attention_inputs(case)
    right = attention(**inputs, heads=case["heads"])
    call = (f"With q of shape {tuple(inputs['q'].shape)}, k and v of {tuple(inputs['k'].shape)} "
            f"and {case['heads']} heads:")
    usual = case["size"] == 1 and not case["about"]
    if (case["about"] or close(found, right, 1e-2)) and not seen["moved"] < 1e-4:
        return rejected("leak", f"{call} {_property(seen, right)}")
    if close(found, right, 1e-5 if usual else 1e-3):
        if not seen["trains"]:
            return rejected("no_gradient", "Its output has no gradient to pass back to q, k and v.")
        if not close(seen["of_ones"], torch.ones_like(right)) or not 0 <= seen["moved"] < 1e-4:
            return Verdict(False, f"{call} right for one v, and not for another.")
        return Verdict(True, "Each head reads the values that fit its query, and no others.")
    for mistake, output in _attentions(**inputs, heads=case["heads"]):
        if close(found, output):
            told = _layout(seen, right) if mistake in LAYOUT else _property(seen, right)
            return rejected(mistake, f"{call} {told}")
    if found.shape != right.shape:
        return rejected("shape", f"{call} its output has shape {tuple(found.shape)}; expected "
                                 f"{tuple(right.shape)}.")
    if found.isnan().any():
        return rejected("nan" if usual else "overflow",
                        f"{call} {int(found.isnan().sum())} entries are nan.")
    return Verdict(False, f"{call} {_property(seen, right)}")


def _layout(seen: Mapping[str, Any], right: Tensor) -> str:
    return ("a head's entries must stay with their token and their head; "
            f"{difference('the output', seen['found'], right)}")


def _property(seen: Mapping[str, Any], right: Tensor) -> str:
    """Say what does not hold, as plainly as can be."""
    ones = seen["of_ones"]
    if isinstance(ones, Tensor) and ones.shape == right.shape:
        far = ones.flatten()[(ones - 1).abs().nan_to_num(math.inf).argmax()].item()
        if not abs(far - 1) < 1e-4:
            return (f"if all values are 1, each query must read 1, a mean of ones; it reads "
                    f"{far:.4g}.")
    if not seen["moved"] < 1e-4:
        return (f"the output moves by {seen['moved']:.3g} when a key and a value change that no "
                "query may read.")
    return difference("the output", seen["found"], right)


def _attentions(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, heads: int
                ) -> Iterator[tuple[str, Tensor]]:
    """Give what the usual mistakes give."""
    batch, queries, d = q.shape
    width, shut = d // heads, ~mask[:, None]

    def mixed(x: Tensor) -> Tensor:
        return x.reshape(batch, heads, -1, width)

    def interleaved(x: Tensor) -> Tensor:
        return x.unflatten(-1, (width, heads)).movedim(-1, 1)

    def weights(q, k, scale=width**0.5, dim=-1, shut=shut):
        return (q @ k.mT / scale).masked_fill(shut, -1e9).softmax(dim)

    Q, K, V = (_split(x, heads) for x in (q, k, v))
    scores = Q @ K.mT / width**0.5
    right = weights(Q, K)
    yield "no_scale", _joined(weights(Q, K, 1) @ V)
    yield "scale_of_d", _joined(weights(Q, K, d**0.5) @ V)
    yield "scale_not_root", _joined(weights(Q, K, width) @ V)
    for scale in (d**0.5, width**0.5, 1):
        yield "one_head", (weights(q, k, scale, shut=shut[:, 0]) @ v)
    yield "over_queries", _joined(weights(Q, K, dim=-2) @ V)
    yield "over_queries", _joined(scores.softmax(-2).masked_fill(shut, 0) @ V)
    yield "no_mask", _joined(scores.softmax(-1) @ V)
    yield "mask_inverted", _joined(weights(Q, K, shut=~shut) @ V)
    yield "scores_to_zero", _joined(scores.masked_fill(shut, 0).softmax(-1) @ V)
    yield "mask_after", _joined(scores.softmax(-1).masked_fill(shut, 0) @ V)
    yield "no_softmax", _joined(scores.masked_fill(shut, 0) @ V)
    yield "values_forgotten", _joined(right @ K)
    together = weights(mixed(q), mixed(k)) @ mixed(v)
    yield "heads_mixed", together.reshape(batch, queries, d)
    yield "heads_mixed", _joined(together)
    apart = weights(interleaved(q), interleaved(k)) @ interleaved(v)
    yield "interleaved", apart.movedim(1, -1).flatten(2)
    yield "interleaved", _joined(apart)
    yield "not_joined", (right @ V).reshape(batch, queries, d)
    yield "heads_apart", right @ V
    yield "heads_apart", (right @ V).transpose(1, 2)
    yield "weights_alone", right
    yield "heads_averaged", (right @ V).mean(1)


ATTENTION_MISTAKES = {
    "no_return": NO_RETURN,
    "not_a_tensor": NOT_A_TENSOR,
    "input_changed": INPUT_CHANGED,
    "no_gradient": "Lesson 04 trains through it: compute with torch, and without detach, .data or "
                   "no_grad.",
    "nan": NOT_A_NUMBER,
    "overflow": "Scores here reach a hundred and more, to either side, and in float32 exp(89) is "
                "infinite and exp(−104) is 0. torch's softmax takes the largest score away first.",
    "shape": "The output has a row for each query, d entries wide: the heads side by side again.",
    "misfit": "There may be more keys than queries: take the number of each from its own tensor.",
    "no_scale": "The scores are divided by the square root of a head's width, before the softmax.",
    "scale_of_d": "The root is of the width of a head, d / heads, which is what is summed over in "
                  "a score.",
    "scale_not_root": "Divide by the square root of the head's width, not by the width.",
    "one_head": "That is one head as wide as the model. Each head has a score, a softmax and a "
                "value of its own.",
    "over_queries": "The softmax runs over the keys: what one query reads sums to 1.",
    "no_mask": "The mask is not used: what a query may not read has weight 0.",
    "mask_inverted": "The mask is true where a query *may* read.",
    "leak": "A finite score leaves some weight: −15 or −100 in the place of a shut key is the "
            "largest of all where the others lie near −120. Which score has the weight 0, whatever "
            "the others are?",
    "scores_to_zero": "A score of 0 is not a weight of 0: exp(0) is 1. Which score has the weight "
                      "0?",
    "mask_after": "After the softmax it is too late: the weights that are left no longer sum to 1.",
    "no_softmax": "The weights are a softmax of the scores.",
    "values_forgotten": "What is read are the values; keys only say where.",
    "heads_mixed": "A view as (batch, heads, tokens, width) does not cut the vectors, it gives a "
                   "head whole tokens: cut the last dimension, then move the heads to the front.",
    "interleaved": "Head 0 has the first d / heads entries, side by side; yours takes every "
                   "heads-th one.",
    "not_joined": "Before you make one row of the heads again, each token must have its heads side "
                  "by side: which dimension must come back to the third place?",
    "heads_apart": "The heads are apart still: put what they read side by side, as one row of d.",
    "weights_alone": "Those are the weights. Read the values with them.",
    "heads_averaged": "The heads are put side by side, not averaged.",
}

ATTENTION = Exercise(
    id="inside.attention", lesson="00", names=("attention",), points=3, minutes=12, difficulty=3,
    reference=f"{HERE}:attention", cases=attention_cases, run=run_attention,
    judge=judge_attention, mistakes=ATTENTION_MISTAKES,
    hints=("The example has four steps: scores, what may be read, softmax, read. Write them for "
           "one head first, and for all queries at once: which product of two matrices holds all "
           "scores?",
           "A loop over the heads is fine. What stands in `q[:, :, :width]`? What in the next one? "
           "torch.cat puts pieces side by side.",
           "What must a score be, so that exp(score) is 0? `masked_fill` writes it where a bool is "
           "true; the mask is true where it must not."))


# ── inside.transformer ───────────────────────────────────────────────────────────────────────


def transformer_block(x: Tensor, mask: Tensor, weights: Mapping[str, Tensor], heads: int,
                      attention: Callable = attention) -> Tensor:
    """Return what a block of BERT makes of x (batch, tokens, d).

    mask (batch, tokens) is 1 for words and 0 for padding; weights are by place: "query.weight".
    Devlin et al. 2018, arXiv 1810.04805; the norm comes last, as in Vaswani et al. 2017, §3.1.
    """
    def linear(place: str, x: Tensor) -> Tensor:
        return x @ weights[f"{place}.weight"].T + weights[f"{place}.bias"]

    def norm(place: str, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], weights[f"{place}.weight"],
                                     weights[f"{place}.bias"], eps=EPS)

    may_read = mask.bool()[:, None].expand(-1, x.shape[1], -1)
    read = attention(linear("query", x), linear("key", x), linear("value", x), heads, may_read)
    x = norm("attention_norm", x + linear("attention_out", read))
    return norm("ffn_norm", x + linear("ffn_out", functional.gelu(linear("ffn_in", x))))


def transformer_cases(seed: int) -> list[dict]:
    """Sizes; the smallest first, then MiniLM's."""
    sizes = ({"batch": 1, "tokens": 3, "d": 6, "d_ff": 10, "heads": 2},
             {"batch": 2, "tokens": 5, "d": 384, "d_ff": 1536, "heads": 12},
             {"batch": 3, "tokens": 4, "d": 30, "d_ff": 18, "heads": 5})
    return [{**size, "seed": 100 + 10 * seed + i} for i, size in enumerate(sizes)]


def transformer_inputs(case: Mapping[str, Any]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Make x, mask and weights; sums have a small variance, as MiniLM's, so that eps is felt."""
    randn, d, d_ff = _randn(case["seed"]), case["d"], case["d_ff"]
    shapes = dict.fromkeys(PLACES, (d, d)) | {"ffn_in": (d_ff, d), "ffn_out": (d, d_ff)}
    weights = {}
    for place, (n_out, n_in) in shapes.items():
        weights[f"{place}.weight"] = randn(n_out, n_in) / n_in**0.5
        weights[f"{place}.bias"] = 0.1 * randn(n_out)
    for place in ("attention_norm", "ffn_norm"):
        weights[f"{place}.weight"] = 0.1 + 0.02 * randn(d)
        weights[f"{place}.bias"] = 0.02 * randn(d)
    for place in ("query", "key", "ffn_in"):    # x is small: softmax and GELU shall be felt, too
        weights[f"{place}.weight"] *= 10
    mask = torch.ones(case["batch"], case["tokens"], dtype=torch.long)
    mask[0, -1] = 0
    mask[-1, -2:] = 0
    return 0.1 * randn(case["batch"], case["tokens"], d), mask, weights


def run_transformer(transformer_block: Callable, case: dict) -> dict[str, Any]:
    x, mask, weights = transformer_inputs(case)
    given = {"x": x.clone(), "mask": mask.clone(), **{n: w.clone() for n, w in weights.items()}}
    own = {name: given[name] for name in weights}
    asked = ""     # what kind of mask the attention was given, at first

    def asked_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor) -> Tensor:
        nonlocal asked
        asked = asked or str(getattr(mask, "dtype", named(mask)))
        return attention(q, k, v, heads, mask)

    found = transformer_block(given["x"], given["mask"], own, case["heads"], asked_attention)
    before = {"x": x, "mask": mask, **weights}
    intact = own.keys() == weights.keys() and all(
        torch.equal(given[name], before[name]) and own.get(name, given[name]) is given[name]
        for name in given)
    return {"gave": named(found), "intact": intact, "asked": asked,
            "found": found.detach().clone() if isinstance(found, Tensor) else None}


def judge_transformer(case: dict, seen) -> Verdict:
    if odd := strange(seen, "gave", "found", "intact", "asked", gave=str, asked=str,
                      found=(Tensor, NoneType), intact=bool):
        return odd
    if seen["gave"] == "None":
        return rejected("no_return")
    found = seen["found"]
    if found is None:
        return rejected("not_a_tensor", f"It gave {seen['gave']}.")
    if not seen["intact"]:
        return rejected("input_changed", "After the call, one of its inputs is not what it was.")
    x, mask, weights = transformer_inputs(case)
    right = transformer_block(x, mask, weights, case["heads"])
    call = f"With x of shape {tuple(x.shape)} and {case['heads']} heads:"
    if close(found, right, 2e-6):
        if not seen["asked"]:
            return rejected("own_attention", "The `attention` that it was given was never called.")
        if seen["asked"] != "torch.bool":
            return rejected("mask_not_bool", f"It gave attention a mask of {seen['asked']}.")
        return Verdict(True, "Read, add, normalize; widen, bend, narrow, add, normalize.")
    if found.shape != right.shape:
        return rejected("shape", f"{call} its output has shape {tuple(found.shape)}; expected "
                                 f"{tuple(right.shape)}.")
    if torch.equal(found.isnan(), (mask == 0)[..., None].expand_as(found)) and found.isnan().any():
        return rejected("padded_queries", f"{call} what comes out for a padded token is nan.")
    if found.isnan().any():
        return rejected("nan", f"{call} {int(found.isnan().sum())} entries are nan.")
    told = f"{call} {_normed(found, weights) or difference('the output', found, right)}"
    for mistake, slips in BLOCK_SLIPS:
        if close(found, _block(x, mask, weights, case["heads"], **slips), 2e-6):
            return rejected(mistake, told)
    return Verdict(False, told)


def _normed(found: Tensor, weights: Mapping[str, Tensor]) -> str:
    """Say it if the last step was not the second norm."""
    plain = (found - weights["ffn_norm.bias"]) / weights["ffn_norm.weight"]
    mean, variance = plain.mean(-1).abs().max().item(), plain.var(-1, unbiased=False)
    far = variance.flatten()[(variance - 1).abs().argmax()].item()
    if mean < 1e-3 and abs(far - 1) < 1e-3:
        return ""
    return ("the last step is a norm, so (output − bias) / weight of ffn_norm has mean 0 and "
            f"variance 1 in each token; one has variance {far:.4g}.")


def _block(x: Tensor, mask: Tensor, weights: Mapping[str, Tensor], heads: int, *,
           bias: bool = True, transposed: bool = True, out: bool = True, masked: bool = True,
           added: tuple[bool, bool] = (True, True), around: str = "own", pre: bool = False,
           norms: tuple[str | None, str | None] = ("attention_norm", "ffn_norm"),
           eps: float = EPS, unbiased: bool = False, affine: bool = True,
           bend: Callable[[Tensor], Tensor] = functional.gelu) -> Tensor:
    """Compute a block with a slip; without any it is the reference's."""
    def linear(place: str, x: Tensor) -> Tensor:
        W = weights[f"{place}.weight"]
        square = W.shape[0] == W.shape[1]
        y = x @ (W.T if transposed or not square else W)
        return y + weights[f"{place}.bias"] if bias else y

    def norm(place: str | None, x: Tensor) -> Tensor:
        if place is None:
            return x
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.var(-1, unbiased=unbiased, keepdim=True) + eps).sqrt()
        return x * weights[f"{place}.weight"] + weights[f"{place}.bias"] if affine else x

    may_read = mask.bool() if masked else torch.ones_like(mask).bool()
    may_read = may_read[:, None].expand(-1, x.shape[1], -1)
    start, into = x, norm(norms[0], x) if pre else x
    read = attention(linear("query", into), linear("key", into), linear("value", into), heads,
                     may_read)
    read = linear("attention_out", read) if out else read
    x = x + read if added[0] else read
    x = x if pre else norm(norms[0], x)
    into = norm(norms[1], x) if pre else x
    ffn = linear("ffn_out", bend(linear("ffn_in", into)))
    x = (start if around == "start" else x) + ffn if added[1] else ffn
    return x if pre else norm(norms[1], x)


BLOCK_SLIPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("no_first_residual", {"added": (False, True)}),
    ("no_second_residual", {"added": (True, False)}),
    ("no_residuals", {"added": (False, False)}),
    ("residual_of_start", {"around": "start"}),
    ("norm_before", {"pre": True}),
    ("no_first_norm", {"norms": (None, "ffn_norm")}),
    ("no_second_norm", {"norms": ("attention_norm", None)}),
    ("norms_swapped", {"norms": ("ffn_norm", "attention_norm")}),
    ("one_norm_twice", {"norms": ("attention_norm", "attention_norm")}),
    ("one_norm_twice", {"norms": ("ffn_norm", "ffn_norm")}),
    ("not_scaled", {"affine": False}),
    ("eps", {"eps": 1e-5}),
    ("unbiased", {"unbiased": True}),
    ("unbiased", {"unbiased": True, "eps": 0.0}),
    ("no_gelu", {"bend": lambda x: x}),
    ("gelu_tanh", {"bend": lambda x: functional.gelu(x, approximate="tanh")}),
    ("relu", {"bend": functional.relu}),
    ("no_out", {"out": False}),
    ("not_transposed", {"transposed": False}),
    ("no_biases", {"bias": False}),
    ("mask_unused", {"masked": False}),
)

TRANSFORMER_MISTAKES = {
    "no_return": NO_RETURN,
    "not_a_tensor": NOT_A_TENSOR,
    "input_changed": INPUT_CHANGED,
    "padded_queries": "A padded query reads, too. If it may read nothing, its softmax is over "
                      "nothing. The mask says which tokens may be read, by every query of its "
                      "sentence.",
    "nan": NOT_A_NUMBER,
    "shape": "A block gives as many vectors as it gets, of the same width.",
    "misfit": "A weight has the shape (n_out, n_in): x ends in n_in entries, so these meet the "
              "weight's second dimension.",
    "no_first_residual": "What was read is added to x, before the first norm.",
    "no_second_residual": "What the feed-forward part gives is added to what went into it.",
    "no_residuals": "In both halves, what went in is added to what came out.",
    "residual_of_start": "The second sum adds what went into the feed-forward part, which is the "
                         "output of the first norm, not the block's own x.",
    "norm_before": "That is the newer order, with the norms before each half. BERT normalizes the "
                   "sum.",
    "no_first_norm": "There is a norm between the two halves, too.",
    "no_second_norm": "The second sum is normalized as well.",
    "norms_swapped": "The two norms are swapped.",
    "one_norm_twice": "The two norms have weights of their own.",
    "not_scaled": "A norm has a weight and a bias, by which the normalized vector is scaled and "
                  "shifted.",
    "eps": "torch adds 1e-5 to the variance by default; MiniLM's norms were made with 1e-12.",
    "unbiased": "The variance of a norm is the mean of squares over all d entries, not over d − 1: "
                "`unbiased=False`.",
    "no_gelu": "The GELU is missing between ffn_in and ffn_out.",
    "gelu_tanh": "That GELU is the approximation by tanh. MiniLM has the exact one, torch's "
                 "default.",
    "relu": "MiniLM bends with a GELU, not a ReLU.",
    "no_out": "attention_out is missing: it mixes what the heads read.",
    "not_transposed": "A weight has the shape (n_out, n_in). With a square one nothing complains, "
                      "but x @ W is not what a linear layer does.",
    "no_biases": "Each linear layer adds its bias.",
    "mask_unused": "The padding is read as if it were words: use the mask.",
    "own_attention": "The block reads by the attention that is handed to it, whichever that is.",
    "mask_not_bool": "An attention like yours was promised true where a query may read, and false; "
                     "the tokenizer gives 1 and 0.",
}

TRANSFORMER = Exercise(
    id="inside.transformer", lesson="00", names=("transformer_block",), points=3, minutes=10,
    difficulty=2, reference=f"{HERE}:transformer_block", cases=transformer_cases,
    run=run_transformer, judge=judge_transformer, mistakes=TRANSFORMER_MISTAKES,
    hints=("Follow the picture of the block with a finger, from x to the right: eight boxes, two "
           "dashed lines. Where do these arrive, before or after a norm?",
           "Two small helpers make it short: one applies the linear layer of a place, one the "
           "norm of a place.",
           "The mask has a row for each sentence, attention wants one for each query, and every "
           "query of a sentence may read the same keys. Print the shapes."))


# ── inside.order ─────────────────────────────────────────────────────────────────────────────

LETTERS = "abcd"
ORDER = "cadb"     # query, key, value, attention_out
BLOCK_OF_THE_PUZZLE = 3


def judge_order(case: dict, found) -> Verdict:
    """Look only at which letters are in their place, and say nothing of where the others are."""
    letters = _letters(found)
    if sorted(letters) != sorted(LETTERS):
        return rejected("not_an_order", f"It is {found!r:.100}.")
    if letters == ORDER:
        return Verdict(True, "One order of twenty-four gives the block's output.")
    told = f"With the order {letters} your block's output is not the model's."
    query, key, value, out = (letters.index(letter) for letter in ORDER)
    if (query, key, value, out) == (1, 0, 2, 3):
        return rejected("query_for_key", told)
    if (query, key, value, out) == (0, 1, 3, 2):
        return rejected("value_for_out", told)
    if {query, key} == {2, 3}:
        return rejected("halves", told)
    return rejected("other", told)


def _letters(found: Any) -> str:
    """Read an order given as a text, as four letters, or as a letter for each place."""
    if isinstance(found, Mapping):
        found = [found.get(place) for place in PLACES]
    if isinstance(found, str):
        return found.strip().lower()
    if isinstance(found, list | tuple) and all(isinstance(each, str) for each in found):
        return "".join(found).lower()
    return ""


ORDER_MISTAKES = {
    "not_an_order": "Give the letters of query, key, value and attention_out in this order, such "
                    'as "abcd": each of the four, once.',
    "query_for_key": "Two of the four are right. The other two seem to be interchangeable: each "
                     "score is a product of the two. Which way does the softmax run?",
    "value_for_out": "Two of the four are right. One of the others is used before the softmax's "
                     "weights are applied, head by head, and one after.",
    "halves": "What you took for the pair that makes the scores is the pair that carries the "
              "content.",
    "other": "There are twenty-four orders. Try them all, and print how far each is from the "
             "model's output.",
}

ORDER_OF_FOUR = Exercise(
    id="inside.order", lesson="00", names=("order",), points=2, minutes=7, difficulty=2,
    answer="value", reference=f"{HERE}:ORDER", cases=lambda seed: [{"letters": LETTERS}],
    run=lambda order, case: order, judge=judge_order, mistakes=ORDER_MISTAKES,
    hints=("You have a function that needs the four in the right places, and an output to compare "
           "with. How many orders are there?",
           "`itertools.permutations` gives them all. Put an order's pieces into a copy of `rest`, "
           "under the names of the places, and run your block.",
           "Print the largest difference to `target` for each order, and sort. How far apart are "
           "the two smallest?"))
