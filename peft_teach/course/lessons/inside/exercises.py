"""The exercises of lesson 00: one head, all heads, a block, an order; and those of `counting`."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...checks import judge
from ...checks.exercise import Exercise, Verdict
from ...checks.judge import (
    close,
    difference,
    drawing,
    not_a_tensor,
    recognised,
    rejected,
    report,
)
from ...checks.observe import detached
from .counting import BLOCK, LEDGER, LINEAR

PLACES = ("query", "key", "value", "attention_out")
EPS = 1e-12    # of MiniLM's norms
LARGE = 6.5    # of queries and keys: their scores reach a hundred, and exp(89) is infinite
FAR = 1e12     # times as large, a key that may not be read outweighs what is added to its score
LOW = -2.0**17    # of all scores: to fill in −10,000 would lift what is shut above what is read


# ── inside.head ──────────────────────────────────────────────────────────────────────────────


def one_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return what each token of a sentence reads; all are (tokens, width)."""
    return torch.softmax(q @ k.T / q.shape[1]**0.5, dim=1) @ v


def head_cases(seed: int) -> list[dict]:
    return [{"tokens": tokens, "width": width, "seed": 300 + 10 * seed + i}
            for i, (tokens, width) in enumerate(((3, 4), (16, 32), (6, 6)))]


def head_inputs(case: Mapping[str, Any]) -> dict[str, Tensor]:
    draw = drawing(case["seed"])
    return {name: draw(case["tokens"], case["width"]) for name in "qkv"}


def run_head(one_head: Callable, case: dict) -> dict[str, Any]:
    given = head_inputs(case)
    found = detached(one_head(**given))
    return {"found": found, "changed": judge.changed(head_inputs(case), given)}


def judge_head(case: dict, seen: Mapping[str, Any]) -> Verdict:
    if odd := _unusable(seen):
        return odd
    inputs, found = head_inputs(case), seen["found"]
    right = one_head(**inputs)
    if close(found, right, 1e-4):
        return Verdict(True, "Scores, shares that sum to 1, and a sum of values.")
    q, k, v = inputs.values()
    scores = q @ k.T / case["width"]**0.5
    mistake = recognised(
        {"no_scale": (q @ k.T).softmax(1) @ v, "other_axis": scores.softmax(0) @ v,
         "transposed": scores.T.softmax(1) @ v, "no_softmax": scores @ v},
        lambda output: close(found, output, 1e-4))
    told = PROPERTIES.get(mistake, "") + difference("the output", found, right)
    return Verdict(False, f"With q, k and v of shape {tuple(q.shape)}: {told}", mistake)


SHARES = "what one token reads must have shares that sum to 1; "
NEIGHBOURS = "head 0 must read and give the first d / heads entries alone, and so on; "
PROPERTIES = {"no_scale": "the scores of a head of width w must be q · k / √w; ",
              "other_axis": SHARES, "no_softmax": SHARES,
              "transposed": "row i must be what token i reads; ",
              "mask_inverted": "a query must read where the mask is true, and there alone; ",
              "interleaved": NEIGHBOURS, "heads_mixed": NEIGHBOURS}
NO_SCALE = ("The scores are divided by the square root of a head's width: not by that of d, and "
            "before the softmax.")
HEAD_MISTAKES = {
    "no_scale": NO_SCALE,
    "other_axis": "The shares of one reader, one row, sum to 1. Here each column does.",
    "transposed": "Row i of the scores belongs to the token that reads: its query, and every key.",
    "no_softmax": "The scores are not shares yet: they may be negative, and do not sum to 1.",
}

HEAD = Exercise(
    id="inside.head", names=("one_head",), points=2, minutes=6, difficulty=1,
    cases=head_cases, run=run_head, judge=judge_head, mistakes=HEAD_MISTAKES,
    returns=report(found=Any, changed=str),
    hints=("For one reader the scores are `k @ q[i]`. What changes if all readers score at once?",
           "Two products of matrices: (tokens, width) times (width, tokens), and then?",
           "Print the shares. Which axis must sum to 1: that of the readers, or of what is read?"))


# ── inside.attention ─────────────────────────────────────────────────────────────────────────


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Return what each query reads: (batch, queries, d).

    q (batch, queries, d); k, v (batch, keys, d); mask (batch, queries, keys), true where a query
    may read a key. Each head has its own d / heads entries. Vaswani et al. 2017, 1706.03762, §3.2.
    """
    q, k, v = (_split(x, heads) for x in (q, k, v))
    return _joined(_weights(q, k, mask, q.shape[-1]) @ v)


def _weights(q: Tensor, k: Tensor, mask: Tensor, square: float) -> Tensor:
    """(batch, heads, queries, keys); the scores are divided by the root of `square`"""
    return (q @ k.mT / square**0.5).masked_fill(~mask.bool()[:, None], -math.inf).softmax(-1)


def _split(x: Tensor, heads: int) -> Tensor:
    """(batch, tokens, d) to (batch, heads, tokens, d / heads)"""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """(batch, heads, tokens, width) to (batch, tokens, heads · width)"""
    return x.transpose(1, 2).flatten(2)


def attention_cases(seed: int) -> list[dict]:
    """Sizes, and how the mask is made: heads alone first, then a mask, then MiniLM's sizes."""
    sizes = ((1, 2, 3, 6, 2, None, 1.0, 0.0), (1, 2, 3, 6, 2, False, 1.0, 0.0),
             (2, 7, 7, 384, 12, True, 1.0, 0.0), (2, 5, 9, 384, 12, False, 1.0, 0.0),
             (3, 4, 6, 40, 5, True, 1.0, 0.0), (1, 4, 9, 384, 12, False, LARGE, 0.0),
             (2, 4, 7, 32, 2, True, 1.0, LOW))    # a head 16 wide: its root is 4, and exact
    names = ("batch", "queries", "keys", "d", "heads", "causal", "size", "about")
    return [dict(zip(names, each)) | {"seed": 10 * seed + i} for i, each in enumerate(sizes)]


def attention_inputs(case: Mapping[str, Any]) -> dict[str, Tensor]:
    """Make q, k, v and the mask of a case, all true where `causal` is None.

    Every query may read one key at least.
    """
    draw = drawing(case["seed"])
    queries, keys = case["queries"], case["keys"]
    made = {name: draw(case["batch"], count, case["d"])
            for name, count in (("q", queries), ("k", keys), ("v", keys))}
    made["q"], made["k"] = made["q"] * case["size"], made["k"] * case["size"]
    if case["about"]:      # the first entry of each head: a constant in all scores
        width = case["d"] // case["heads"]
        made["q"], made["k"] = (made[name].mul(2).round() / 2 for name in "qk")    # exact sums
        made["q"][..., ::width], made["k"][..., ::width] = 1024, case["about"] * width**0.5 / 1024
    if case["causal"] is None:
        return made | {"mask": torch.ones(case["batch"], queries, keys, dtype=torch.bool)}
    real = torch.arange(keys) < keys - 1 - torch.arange(case["batch"])[:, None] % 2
    mask = real[:, None].expand(-1, queries, -1)
    if case["causal"]:     # a query stands at the place of its key, the last at the last
        mask = mask & torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    return made | {"mask": mask.clone()}


def _first_alone(mask: Tensor) -> Tensor:
    """Return a mask with which every query may read the first key, and no other."""
    alone = torch.zeros_like(mask)
    alone[..., 0] = True
    return alone


def run_attention(attention: Callable, case: dict) -> dict[str, Any]:
    given, before = attention_inputs(case), attention_inputs(case)
    for name in "qkv":    # no leaves, so that what writes into them is told as that
        given[name] = given[name].requires_grad_().clone()
    found = attention(**given, heads=case["heads"])
    seen = {"found": detached(found), "changed": judge.changed(before, given)}
    if not isinstance(found, Tensor):
        return seen
    with torch.no_grad():
        unread = ~before["mask"].any(1)                       # keys that no query may read
        ones = attention(**before | {"v": torch.ones_like(before["v"])}, heads=case["heads"])
        first = attention(**before | {"mask": _first_alone(before["mask"])}, heads=case["heads"])
        other = attention_inputs(case)
        other["k"][unread] *= 1.1 if case["about"] else 0.9    # no score above those read
        other["v"][unread] = -500.0
        of_others = detached(attention(**other, heads=case["heads"]))
        other["k"][unread] *= FAR
        return seen | {"trains": found.requires_grad, "of_ones": detached(ones),
                       "of_first": detached(first), "of_others": of_others,
                       "of_far": detached(attention(**other, heads=case["heads"]))}


def judge_attention(case: dict, seen: Mapping[str, Any]) -> Verdict:
    found = seen["found"]
    if odd := _unusable(seen):
        return odd
    inputs, heads = attention_inputs(case), case["heads"]
    right, mistake = attention(**inputs, heads=heads), None
    if not close(found, right, 1e-3):
        turned = attention(**inputs | {"mask": ~_first_alone(inputs["mask"])}, heads=heads)
        mistake = "mask_inverted" if close(seen["of_first"], turned) else recognised(
            _attentions(**inputs, heads=heads), lambda output: close(found, output))
    told = (f"With q of shape {tuple(inputs['q'].shape)}, k and v of {tuple(inputs['k'].shape)} "
            f"and {heads} heads: {_property(seen, right, mistake)}")
    keeps_out = close(seen["of_others"], found, 1e-4)    # keys that no query may read
    if (case["about"] or close(found, right, 1e-2)) and not keeps_out:
        return rejected("leak", told)
    if not close(found, right, 1e-3):
        if found.isnan().any() and (case["size"] > 1 or case["about"]):
            return rejected("overflow", told)
        return Verdict(False, told, mistake)
    if not close(seen["of_ones"], torch.ones_like(right)):
        return Verdict(False, told)
    if not close(seen["of_far"], found, 1e-4):
        return Verdict(False, told, None if seen["of_far"].isnan().any() else "added")
    if not seen["trains"]:
        return Verdict(False, "Its output has no gradient to pass back to q, k and v: lesson 04 "
                              "trains through it.")
    return Verdict(True, "Each head reads the values that fit its query, and no others.")


def _unusable(seen: Mapping[str, Any]) -> Verdict | None:
    told = f"After the call, {seen['changed']} is not what it was before: make new tensors."
    return not_a_tensor(seen["found"]) or (Verdict(False, told) if seen["changed"] else None)


def _property(seen: Mapping[str, Any], right: Tensor, mistake: str | None) -> str:
    """Say what does not hold, as plainly as can be."""
    found, ones = seen["found"], torch.ones_like(right)
    if found.shape != right.shape:
        return difference("the output", found, right)
    if mistake in PROPERTIES:
        return PROPERTIES[mistake] + difference("the output", found, right)
    if not close(seen["of_ones"], ones, 1e-4):
        return ("if all values are 1, each query must read 1, a mean of ones; "
                f"{difference('the output', seen['of_ones'], ones)}")
    for name in ("of_others", "of_far"):
        if not close(seen[name], found, 1e-4):
            return ("if a key and a value change that no query may read, the output must stay; "
                    f"{difference('the output', seen[name], found)}")
    return difference("the output", found, right)


def _attentions(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, heads: int
                ) -> dict[str, Any]:
    """Return what the usual mistakes give."""
    width, every = q.shape[-1] // heads, torch.ones_like(mask)
    Q, K, V = (_split(x, heads) for x in (q, k, v))
    mixed = [x.reshape(len(x), heads, -1, width) for x in (q, k, v)]
    together = _weights(*mixed[:2], mask, width) @ mixed[2]
    every_nth = [x.unflatten(-1, (width, heads)).movedim(-1, 1) for x in (q, k, v)]
    interleaved = _weights(*every_nth[:2], mask, width) @ every_nth[2]
    return {"no_scale": tuple(_joined(_weights(Q, K, mask, square) @ V)
                              for square in (1, q.shape[-1])),
            "mask_after": _joined(_weights(Q, K, every, width) * mask[:, None] @ V),
            "heads_mixed": (_joined(together), together.reshape(q.shape),
                            (_weights(Q, K, mask, width) @ V).reshape(q.shape)),
            "interleaved": (interleaved.movedim(1, -1).flatten(2), _joined(interleaved))}


ATTENTION_MISTAKES = {
    "overflow": "Scores here reach a hundred and more, to either side, and in float32 exp(89) is "
                "infinite and exp(−104) is 0. torch's softmax takes the largest score away first.",
    "no_scale": NO_SCALE,
    "leak": "A finite score leaves some weight: where the others lie near −130,000, −10,000 is the "
            "largest of all. Which score has the weight 0, whatever the others are?",
    "added": "A number added to a score leaves the score in: a key that is a million million times "
             "as large outweighs it. Put another score in its place: which one has the weight 0?",
    "mask_inverted": "The mask is the wrong way round: it is true where a query may read.",
    "mask_after": "After the softmax it is too late: the weights that are left no longer sum to 1.",
    "heads_mixed": "A view as (batch, heads, tokens, width) does not cut the vectors, it gives a "
                   "head whole tokens: cut the last dimension, then move the heads to the front. "
                   "Move them back before you join them.",
    "interleaved": "Each head has neighbouring entries: head 0 the first d / heads of them, and "
                   "not one of every `heads`.",
}

ATTENTION = Exercise(
    id="inside.attention", names=("attention",), points=3, minutes=14, difficulty=3,
    cases=attention_cases, run=run_attention,
    judge=judge_attention, mistakes=ATTENTION_MISTAKES,
    returns=judge.stages({"found": Any, "changed": str},
                         {"trains": bool, "of_ones": Any, "of_first": Tensor, "of_others": Any,
                          "of_far": Any}),
    hints=("Your one head, once for each piece of the entries. The sentences are a dimension in "
           "front: `.mT` exchanges the last two of a tensor.",
           "A loop over the heads is fine. What stands in `q[:, :, :width]`? What in the next one? "
           "torch.cat puts pieces side by side.",
           "What must a score be, so that exp(score) is 0? `masked_fill` writes it where a bool is "
           "true; the mask is true where it must not."))


# ── inside.transformer ───────────────────────────────────────────────────────────────────────


def torch_block(weights: Mapping[str, Tensor], heads: int, eps: float = EPS
                ) -> nn.TransformerEncoderLayer:
    """Make torch's own block of BERT from weights by place: "query.weight".

    Devlin et al. 2018, arXiv 1810.04805; the norm comes last, as in Vaswani et al. 2017, §3.1.
    """
    d_ff, d = weights["ffn_in.weight"].shape
    block = nn.TransformerEncoderLayer(d, heads, d_ff, 0.0, "gelu", eps, batch_first=True,
                                       device="meta")
    names = {"attention_out": "self_attn.out_proj", "ffn_in": "linear1", "ffn_out": "linear2",
             "attention_norm": "norm1", "ffn_norm": "norm2"}
    state = {}
    for kind in ("weight", "bias"):
        state |= {f"{name}.{kind}": weights[f"{place}.{kind}"] for place, name in names.items()}
        state[f"self_attn.in_proj_{kind}"] = torch.cat([weights[f"{place}.{kind}"]
                                                        for place in PLACES[:3]])
    block.load_state_dict(state, assign=True)
    return block


def transformer_cases(seed: int) -> list[dict]:
    """Sizes; the smallest first, then MiniLM's."""
    sizes = ((1, 3, 6, 10, 2), (2, 5, 384, 1536, 12), (3, 4, 30, 18, 5))
    return [dict(zip(("batch", "tokens", "d", "d_ff", "heads"), each))
            | {"seed": 100 + 10 * seed + i} for i, each in enumerate(sizes)]


def transformer_inputs(case: Mapping[str, Any]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Make x, mask and weights; sums have a small variance, as MiniLM's, so that eps matters."""
    draw, d, d_ff = drawing(case["seed"]), case["d"], case["d_ff"]
    shapes = dict.fromkeys(PLACES, (d, d)) | {"ffn_in": (d_ff, d), "ffn_out": (d, d_ff)}
    weights = {}
    for place, (n_out, n_in) in shapes.items():    # x is small: softmax and GELU shall matter, too
        size = 10 if place in ("query", "key", "ffn_in") else 1
        weights[f"{place}.weight"] = size * draw(n_out, n_in) / n_in**0.5
        weights[f"{place}.bias"] = 0.1 * draw(n_out)
    for place in ("attention_norm", "ffn_norm"):
        weights[f"{place}.weight"] = 0.1 + 0.02 * draw(d)
        weights[f"{place}.bias"] = 0.02 * draw(d)
    mask = torch.ones(case["batch"], case["tokens"], dtype=torch.long)
    mask[0, -1] = 0
    mask[-1, -2:] = 0
    return 0.1 * draw(case["batch"], case["tokens"], d), mask, weights


def run_transformer(transformer_block: Callable, case: dict) -> dict[str, Any]:
    (x, mask, weights), before = transformer_inputs(case), transformer_inputs(case)
    masks = []     # that the attention was given

    def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor) -> Tensor:
        masks.append(mask)
        return attention(q, k, v, heads, mask)

    found = transformer_block(x, mask, weights, case["heads"], attend)
    return {"found": detached(found), "masks": masks, "changed": judge.changed(
        {"x": before[0], "mask": before[1], **before[2]}, {"x": x, "mask": mask, **weights})}


SUM = "what goes into a half must also come out of it, in a sum; "
BEND = "between ffn_in and ffn_out each number z must become z · Φ(z), Φ by erf; "
LINEAR_LAYER = "a linear layer must give x Wᵀ + b; "
BLOCK_PROPERTIES = {"no_residual": SUM, "residual_of_start": SUM, "no_gelu": BEND,
                    "other_gelu": BEND, "norm_first": "each norm must read a sum; ",
                    "eps": "a norm must add 1e-12 to the variance; ",
                    "no_bias": LINEAR_LAYER, "not_transposed": LINEAR_LAYER}


def judge_transformer(case: dict, seen: Mapping[str, Any]) -> Verdict:
    found = seen["found"]
    if odd := _unusable(seen):
        return odd
    x, mask, weights = transformer_inputs(case)
    right = torch_block(weights, case["heads"])(x, src_key_padding_mask=mask == 0)
    call = f"With x of shape {tuple(x.shape)} and {case['heads']} heads:"
    if not close(found, right, 2e-6):
        padded = (mask == 0)[..., None].expand_as(right)
        if torch.equal(found.isnan(), padded):
            return rejected("padded_queries", f"{call} what comes out for a padded token is nan.")
        mistake = recognised(_blocks(x, mask, weights, case["heads"]),
                             lambda output: close(found, output, 2e-6))
        told = BLOCK_PROPERTIES.get(mistake, "") + difference("the output", found, right)
        return Verdict(False, f"{call} {told}", mistake)
    if not seen["masks"]:
        return Verdict(False, "The `attention` that it was given was never called.")
    if seen["masks"][0].dtype != torch.bool:
        return Verdict(False, f"It gave attention a mask of {seen['masks'][0].dtype}; an attention "
                              "like yours was promised true where a query may read, and false.")
    return Verdict(True, "Read, add, normalize; widen, bend, narrow, add, normalize.")


def _blocks(x: Tensor, mask: Tensor, weights: Mapping[str, Tensor], heads: int
            ) -> dict[str, Any]:
    """Return what the usual mistakes give."""
    square = {f"{place}.weight": weights[f"{place}.weight"].T for place in PLACES}
    block, shut = torch_block(weights, heads), mask == 0
    mixed = block.self_attn(x, x, x, key_padding_mask=shut)[0]
    y, bare = block.norm1(x + mixed), block.norm1(mixed)
    normed = x + bare
    layers = (*PLACES, "ffn_in", "ffn_out")

    def no_bias(*places: str) -> Tensor:
        none = {f"{place}.bias": torch.zeros_like(weights[f"{place}.bias"]) for place in places}
        return torch_block({**weights, **none}, heads)(x, src_key_padding_mask=shut)

    def ffn(y: Tensor, bend: Callable = functional.gelu) -> Tensor:
        return block.linear2(bend(block.linear1(y)))

    tanh = partial(functional.gelu, approximate="tanh")
    return {"residual_of_start": block.norm2(x + ffn(y)),
            "no_residual": (block.norm2(ffn(y)), block.norm2(bare + ffn(bare)),
                            block.norm2(ffn(bare))),
            "norm_first": normed + block.norm2(ffn(normed)),
            "no_gelu": block.norm2(y + ffn(y, nn.Identity())),
            "other_gelu": tuple(block.norm2(y + ffn(y, bend)) for bend in (tanh, functional.relu)),
            "no_bias": (no_bias(*layers), no_bias(*PLACES), *map(no_bias, layers)),
            "eps": torch_block(weights, heads, 1e-5)(x, src_key_padding_mask=shut),
            "not_transposed": torch_block({**weights, **square}, heads)(
                x, src_key_padding_mask=shut)}


TRANSFORMER_MISTAKES = {
    "padded_queries": "A padded query reads, too; otherwise its softmax is over nothing. The mask "
                      "says which tokens may be read, by every query of its sentence.",
    "residual_of_start": "The second sum adds what went into the feed-forward part, which is the "
                         "output of the first norm, not the block's own x.",
    "no_residual": "A line goes around each half, and ends in a sum: what came into the half is "
                   "added to what the half gives. One of these two sums is missing, or both.",
    "norm_first": "Here a norm comes before a sum. In this block each sum comes first, and a norm "
                  "brings the sum to a common size.",
    "no_gelu": "Between ffn_in and ffn_out stands a GELU: without it, two linear layers are one.",
    "other_gelu": "BERT's GELU is x times the normal distribution function, from erf: torch's "
                  "default. `approximate=\"tanh\"` is another function, and so is a ReLU.",
    "eps": "torch adds 1e-5 to the variance by default; MiniLM's norms were made with 1e-12.",
    "not_transposed": "A weight has the shape (n_out, n_in). With a square one nothing complains, "
                      "but x @ W is not what a linear layer does.",
}

TRANSFORMER = Exercise(
    id="inside.transformer", names=("transformer_block",), points=3, minutes=15,
    difficulty=2, cases=transformer_cases,
    run=run_transformer, judge=judge_transformer, mistakes=TRANSFORMER_MISTAKES,
    returns=judge.report(found=Any, masks=list[Tensor], changed=str),
    hints=("Follow the picture of the block with a finger, from the words to the right: eight grey "
           "boxes, two lines around. Where do these arrive, before or after a norm?",
           "Two helpers make it short: one applies the linear layer of a place, one the norm.",
           "The mask has a row for each sentence, attention wants one for each query, and every "
           "query of a sentence may read the same keys. Print the shapes."))


# ── inside.order ─────────────────────────────────────────────────────────────────────────────

LETTERS = "abcd"
ORDER = "cadb"     # query, key, value, attention_out
BLOCK_OF_THE_PUZZLE = 3


def judge_order(case: dict, found) -> Verdict:
    letters = _letters(found)
    if sorted(letters) != sorted(LETTERS):
        return rejected("not_an_order", f"It is {found!r:.100}.")
    if letters == ORDER:
        return Verdict(True, "One order of twenty-four gives the block's output.")
    told = f"With the order {letters} your block's output is not the model's."
    return rejected("query_for_key" if letters == ORDER[1::-1] + ORDER[2:] else "other", told)


def _letters(found: Any) -> str:
    """Read an order given as a text, as four letters, or as a letter for each place."""
    if isinstance(found, Mapping):
        found = [found.get(place) for place in PLACES]
    if isinstance(found, str):
        return found.strip().lower()
    if isinstance(found, list | tuple) and all(isinstance(each, str) for each in found):
        return "".join(found)
    return ""


ORDER_MISTAKES = {
    "not_an_order": "Give the letters of query, key, value and attention_out in this order, such "
                    'as "abcd": each of the four, once.',
    "query_for_key": "Two of the four are right. The other two seem to be interchangeable: each "
                     "score is a product of the two. Which way does the softmax run?",
    "other": "There are twenty-four orders. Try them all, and print how far each is from the "
             "model's output.",
}

ORDER_OF_FOUR = Exercise(
    id="inside.order", names=("order",), points=2, minutes=7, difficulty=2,
    optional=True, answer="value", cases=lambda seed: [{"letters": LETTERS}],
    run=lambda order, case: order, judge=judge_order, mistakes=ORDER_MISTAKES,
    hints=("You have a function that needs the four in the right places, and an output to compare "
           "with. How many orders are there?",
           "`itertools.permutations` gives them all. Put an order's pieces into a copy of `rest`, "
           "under the names of the places, and run your block.",
           "Print the largest difference to `target` for each order, and sort. How far apart are "
           "the two smallest?"))


EXERCISES = (LINEAR, HEAD, ATTENTION, TRANSFORMER, LEDGER, BLOCK, ORDER_OF_FOUR)
