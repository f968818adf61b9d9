"""Attention to a prefix as a mixture of two attentions, and λ, the share of the prefix.

    attention(q, [Kₚ ; K], [Vₚ ; V]) = (1 − λ) attention(q, K, V) + λ attention(q, Kₚ, Vₚ)

He et al. 2022, *Towards a Unified View of Parameter-Efficient Transfer Learning*, arXiv 2110.04366,
§3.1. λ is a number for each head and query: how much of the softmax's sum is the prefix's.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, close, difference, named, rejected, strange

HERE = "peft_teach.course.lessons.prefix.mixing"
LARGE = 8.0    # of queries and keys: their scores reach a hundred, and exp(89) is infinite


def prefix_share(q: Tensor, k: Tensor, K: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Return λ, (batch, heads, queries): how much of each query's attention the prefix K takes.

    q (batch, queries, d); k (batch, keys, d), the words' keys; K (batch, length, d); mask (batch,
    queries, keys), true where a query may read a word. All of the prefix may be read.
    """
    q, k, K = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, K))
    scale = q.shape[-1]**0.5
    words = (q @ k.mT / scale).masked_fill(~mask.bool()[:, None], -math.inf)
    return (torch.logsumexp(q @ K.mT / scale, -1) - torch.logsumexp(words, -1)).sigmoid()


def gated(words: Tensor, read: Tensor, share: Tensor, g: Tensor) -> Tensor:
    """Return the mixture of two attentions in which the prefix's has the share g λ.

    words, read (batch, queries, d): what the heads read of the words, and of the prefix; share
    (batch, heads, queries); g (heads,). Zhang et al. 2023, arXiv 2303.16199, have a gate that
    starts at zero, too.
    """
    by_head = (g[:, None] * share).transpose(1, 2)                        # (batch, queries, heads)
    by_entry = by_head.repeat_interleave(words.shape[-1] // len(g), -1)   # (batch, queries, d)
    return words + by_entry * (read - words)


def mixed(words: Tensor, read: Tensor, share: Tensor) -> Tensor:
    """Return (1 − λ) words + λ read, entry by entry; shapes as those of `gated`."""
    return gated(words, read, share, share.new_ones(share.shape[1]))


def readable(mask: Tensor | None, batch: int, seq: int, device) -> Tensor:
    """Return transformers' mask of an attention as (batch, seq, seq), true where one may read."""
    if mask is None:
        return torch.ones(batch, seq, seq, dtype=torch.bool, device=device)
    mask = mask if mask.dtype == torch.bool else mask > -1
    return mask[:, 0, :, -seq:].expand(batch, seq, -1)


@contextmanager
def seen(model: nn.Module) -> Iterator[list[dict[str, Tensor]]]:
    """Within this block a model's last queries, keys, values and attention outputs are kept.

    Gives a list of a dict for each layer: "query", "key", "value" of the words, (batch, seq, d_kv),
    and "read", what the attention gave, before `attention_out`: of BERT and Llama.
    """
    attentions = [m for m in model.modules() if {"query", "q_proj"} & set(m._modules)]
    kept: list[dict[str, Tensor]] = [{} for _ in attentions]
    hooks = []
    for layer, module in zip(kept, attentions):
        for name, part in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
            at = getattr(module, part, None) or getattr(module, name)
            hooks.append(at.register_forward_hook(
                lambda m, i, o, layer=layer, name=name: layer.update({name: o.detach()})))
        out = getattr(module, "o_proj", None)
        if out is not None:
            hooks.append(out.register_forward_pre_hook(
                lambda m, i, layer=layer: layer.update(read=i[0].detach())))
        else:
            hooks.append(module.register_forward_hook(
                lambda m, i, o, layer=layer: layer.update(read=o[0].detach())))
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


# ── prefix.share ─────────────────────────────────────────────────────────────────────────────


def share_cases(seed: int) -> list[dict]:
    """Sizes; the smallest first, then MiniLM's, causal, and scores whose exp is infinite."""
    sizes = ({"batch": 1, "queries": 4, "keys": 3, "length": 2, "d": 6, "heads": 2, "pad": 0},
             {"batch": 2, "queries": 7, "keys": 7, "length": 20, "d": 384, "heads": 12, "pad": 3},
             {"batch": 2, "queries": 4, "keys": 4, "length": 5, "d": 40, "heads": 5, "pad": 0,
              "causal": True},
             {"batch": 1, "queries": 3, "keys": 6, "length": 4, "d": 384, "heads": 12, "pad": 1,
              "size": LARGE})
    return [{"size": 1.0, "causal": False, **size, "seed": 10 * seed + i}
            for i, size in enumerate(sizes)]


def share_inputs(case: dict) -> dict[str, Tensor]:
    """Make q, k, K and the mask of a case."""
    generator = torch.Generator().manual_seed(6000 + case["seed"])
    made = {name: case["size"] * torch.randn(case["batch"], count, case["d"], generator=generator)
            for name, count in (("q", case["queries"]), ("k", case["keys"]),
                                ("K", case["length"]))}
    mask = torch.ones(case["batch"], case["queries"], case["keys"], dtype=torch.bool)
    if case["pad"]:
        mask[0, :, -case["pad"]:] = False
    return made | {"mask": mask.tril() if case["causal"] else mask}


def run_share(prefix_share: Callable, case: dict) -> dict[str, Any]:
    given = share_inputs(case)
    before = {name: tensor.clone() for name, tensor in given.items()}
    leaves = {name: given[name].requires_grad_() for name in "qkK"}
    given |= {name: leaf.clone() for name, leaf in leaves.items()}
    found = prefix_share(given["q"], given["k"], given["K"], case["heads"], given["mask"])
    intact = all(torch.equal(given[name], before[name]) for name in given)
    if not isinstance(found, Tensor):
        return {"gave": named(found), "found": None, "intact": intact, "slopes": {}}
    seen = {"gave": named(found), "found": found.detach().clone(), "intact": intact}
    if found.requires_grad and intact:
        _backward(found)
    return seen | {"slopes": {name: leaf.grad for name, leaf in leaves.items()
                              if leaf.grad is not None}}


def _backward(out: Tensor) -> None:
    """Differentiate a sum in which every entry has another weight."""
    (out * torch.arange(out.numel()).cos().view(out.shape)).sum().backward()


def judge_share(case: dict, seen) -> Verdict:
    if odd := strange(seen, "gave", "found", "intact", "slopes", gave=str, intact=bool,
                      found=(Tensor, type(None)), slopes=dict):
        return odd
    if seen["gave"] == "None":
        return rejected("no_return")
    found, inputs = seen["found"], share_inputs(case)
    if not seen["intact"]:
        return rejected("input_changed", "Afterwards an input is not what it was before.")
    right = prefix_share(**inputs, heads=case["heads"])
    call = (f"With {case['keys']} words, {case['length']} vectors in front and {case['heads']} "
            "heads:")
    if found is None or found.shape != right.shape:
        told = f"{call} it gave {seen['gave']}; expected {tuple(right.shape)}."
        if found is not None and found.shape == right.shape[:1] + right.shape[2:]:
            return rejected("one_head", told)
        if found is not None and found.shape == right.mT.shape:
            return rejected("axes", told)
        return rejected("shape", told)
    if close(found, right, 1e-4 if case["size"] == 1 else 1e-3):
        for name, slope in _slopes_of_share(inputs, case["heads"]).items():
            if name not in seen["slopes"]:
                return rejected("no_gradient", f"{call} λ has no gradient to pass back to {name}.")
            if case["size"] == 1 and not close(seen["slopes"][name], slope, 1e-4):
                return rejected("no_gradient", f"{call} the gradient that λ passes back to {name} "
                                               "is not λ's.")
        return Verdict(True, "The prefix's part of the softmax's sum.")
    told = f"{call} {difference('λ', found, right)}"
    if found.isnan().any():
        return rejected("overflow", f"{call} {int(found.isnan().sum())} of {found.numel()} are "
                                    "nan.")
    for mistake, slip in _share_slips(**inputs, heads=case["heads"]):
        if close(found, slip, 1e-4):
            return rejected(mistake, told)
    return Verdict(False, told)


def _slopes_of_share(inputs: dict[str, Tensor], heads: int) -> dict[str, Tensor]:
    leaves = {name: inputs[name].clone().requires_grad_() for name in "Kqk"}
    with torch.enable_grad():
        _backward(prefix_share(**inputs | leaves, heads=heads))
    return {name: leaf.grad for name, leaf in leaves.items()}


def _share_slips(q: Tensor, k: Tensor, K: Tensor, mask: Tensor, heads: int
                 ) -> Iterator[tuple[str, Tensor]]:
    def scores(q: Tensor, k: Tensor, K: Tensor, scale: float, shut: Tensor):
        return q @ K.mT / scale, (q @ k.mT / scale).masked_fill(shut, -1e9)

    def ratio(prefix: Tensor, words: Tensor) -> Tensor:
        return (prefix.logsumexp(-1) - words.logsumexp(-1)).sigmoid()

    def mixed(x: Tensor) -> Tensor:
        return x.reshape(len(x), heads, -1, x.shape[-1] // heads)

    d, shut = q.shape[-1], ~mask[:, None]
    Q, keys, prefix = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, K))
    P, X = scores(Q, keys, prefix, (d // heads)**0.5, shut)
    right = ratio(P, X)
    yield "words_share", 1 - right
    yield "no_scale", ratio(*scores(Q, keys, prefix, 1, shut))
    yield "scale_of_d", ratio(*scores(Q, keys, prefix, d**0.5, shut))
    yield "no_mask", ratio(*scores(Q, keys, prefix, (d // heads)**0.5, torch.zeros_like(shut)))
    yield "ratio", (P.logsumexp(-1) - X.logsumexp(-1)).exp()
    yield "log_of_sums", P.logsumexp(-1) / (P.logsumexp(-1) + X.logsumexp(-1))
    yield "scores_summed", (P.sum(-1) - X.masked_fill(shut, 0).sum(-1)).sigmoid()
    yield "mean", (P.exp().mean(-1).log() - X.exp().mean(-1).log()).sigmoid()
    yield "strongest", (P.amax(-1) - X.amax(-1)).sigmoid()
    yield "heads_mixed", ratio(*scores(mixed(q), mixed(k), mixed(K), (d // heads)**0.5, shut))


SHARE_MISTAKES = {
    "no_return": NO_RETURN,
    "input_changed": "What was given is needed still: make new tensors.",
    "shape": "λ is a number for each sentence, head and query: (batch, heads, queries).",
    "misfit": "Words and prefix may differ in number: no score of the one has a partner in the "
              "other.",
    "one_head": "Each head has a softmax of its own, and a λ.",
    "axes": "Heads before queries: (batch, heads, queries).",
    "no_gradient": "λ is to be differentiated by K, and by q and k, which the layers below have "
                   "made: no detach, no no_grad.",
    "overflow": "The scores reach a hundred here, and exp of 89 is infinite in float32. "
                "torch.logsumexp takes the largest away first; and of two logarithms only the "
                "difference is needed.",
    "words_share": "That is 1 − λ, the share of the words.",
    "no_scale": "The scores are divided by the square root of a head's width, as in attention.",
    "scale_of_d": "The square root is of a head's width, not of d.",
    "no_mask": "A word that may not be read has no part in the sum.",
    "ratio": "That is λ / (1 − λ): the prefix's sum over that of the words. λ is its part of both.",
    "log_of_sums": "Those are logarithms: a part of their sum is no part of the sum of what they "
                   "are logarithms of.",
    "scores_summed": "The softmax adds up exp(score), not scores.",
    "mean": "The softmax adds up over all keys: a longer prefix has a larger part.",
    "strongest": "That compares the largest scores alone. All are added up.",
    "heads_mixed": "The heads are cut wrongly: cut the last axis of q, k and K, then move the "
                   "heads to the front.",
}

SHARE = Exercise(
    id="prefix.share", lesson="04", names=("prefix_share",), points=3, minutes=10, difficulty=3,
    reference=f"{HERE}:prefix_share", cases=share_cases, run=run_share, judge=judge_share,
    mistakes=SHARE_MISTAKES,
    hints=("Write the softmax over prefix and words as fractions with one denominator. Which of "
           "the terms below the line are the prefix's?",
           "With a for the logarithm of the prefix's sum and b for that of the words: λ in a and "
           "b, without an exp that could overflow? Divide above and below the line by one of the "
           "two sums.",
           "What your function of lesson 00 does with heads, scale and mask is done here twice, "
           "without the values; then torch.logsumexp over the keys."))

# ── prefix.gate ──────────────────────────────────────────────────────────────────────────────


def gate_cases(seed: int) -> list[dict]:
    """Sizes; the smallest first; MiniLM's; one where a prefix took all, and one where nothing."""
    sizes = ({"batch": 1, "queries": 3, "heads": 2, "width": 2},
             {"batch": 2, "queries": 7, "heads": 12, "width": 32},
             {"batch": 2, "queries": 3, "heads": 3, "width": 5, "edge": True})
    return [{"edge": False, "most": 0.9, **size, "seed": 10 * seed + i}
            for i, size in enumerate(sizes)]


def gate_inputs(case: dict) -> dict[str, Tensor]:
    """Make words, read, the share, and gates of both signs: every other one is negative."""
    generator = torch.Generator().manual_seed(8000 + case["seed"])
    shape = (case["batch"], case["queries"], case["heads"] * case["width"])
    share = torch.rand(case["batch"], case["heads"], case["queries"], generator=generator)
    if case["edge"]:
        share[0, 0], share[0, 1] = 1.0, 0.0
    return {"words": torch.randn(shape, generator=generator),
            "read": torch.randn(shape, generator=generator), "share": share,
            "g": (1 - 2 * (torch.arange(case["heads"]) % 2)) * case["most"] * (
                0.1 + 0.9 * torch.rand(case["heads"], generator=generator))}


def run_gate(gated: Callable, case: dict) -> dict[str, Any]:
    given = gate_inputs(case)
    own = {name: tensor.clone() for name, tensor in given.items()}
    g = own.pop("g").requires_grad_()
    found = gated(**own, g=g)
    intact = all(torch.equal(own[name], given[name]) for name in own)
    seen = {"gave": named(found), "found": None, "shut": None, "open": None, "slope": None,
            "intact": intact, "slopes": {}}
    if not isinstance(found, Tensor):
        return seen
    seen["found"] = found.detach().clone()
    zero = torch.zeros_like(g)
    for name, gate in (("shut", zero), ("open", torch.ones_like(g))):
        value = gated(**own, g=gate)
        seen[name] = value.detach().clone() if isinstance(value, Tensor) else None
    if intact:
        seen["slope"] = _slopes(gated, given | {"g": zero}).get("g")
        seen["slopes"] = _slopes(gated, given)
    return seen


def _slopes(gated: Callable, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradients of a weighted sum of the output, by input: of those that have one."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items()}
    out = gated(**leaves)
    if not isinstance(out, Tensor) or not out.requires_grad:
        return {}
    _backward(out)
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def judge_gate(case: dict, seen) -> Verdict:
    tensor = (Tensor, type(None))
    if odd := strange(seen, "gave", "found", "shut", "open", "slope", "intact", "slopes", gave=str,
                      found=tensor, shut=tensor, open=tensor, slope=tensor, intact=bool,
                      slopes=dict):
        return odd
    if seen["gave"] == "None":
        return rejected("no_return")
    if not seen["intact"]:
        return rejected("input_changed", "Afterwards an input is not what it was before.")
    inputs, found = gate_inputs(case), seen["found"]
    if found is None or found.shape != inputs["words"].shape:
        return rejected("shape", f"It gave {seen['gave']}; expected "
                                 f"{tuple(inputs['words'].shape)}.")
    call = f"With {case['heads']} heads of {case['width']} entries:"
    is_right, told = close(found, gated(**inputs)), (
        f"{call} {difference('the output', found, gated(**inputs))}")
    for mistake, slip in () if is_right else _gate_slips(**inputs):
        if close(found, slip):
            return rejected(mistake, told)
    if not isinstance(seen["shut"], Tensor) or not torch.equal(seen["shut"], inputs["words"]):
        return rejected("not_silent", f"{call} with all gates at 0, the output is not what was "
                                      "read of the words, to the bit.")
    ones = torch.ones_like(inputs["g"])
    if not close(seen["open"], gated(**{**inputs, "g": ones})):
        return rejected("not_mixture", f"{call} with all gates at 1: " + difference(
            "the output", seen["open"], gated(**{**inputs, "g": ones})))
    if not is_right:
        return rejected("not_in_step", told)
    with torch.enable_grad():
        slope = _slopes(gated, inputs | {"g": torch.zeros_like(ones)})["g"]
        slopes = _slopes(gated, inputs)
    if seen["slope"] is None or not bool((seen["slope"] != 0).any()):
        return rejected("no_slope", f"{call} with all gates at 0, they have no gradient.")
    if not close(seen["slope"], slope, 1e-4):
        return rejected("other_slope", f"{call} with all gates at 0, " + difference(
            "the gradient", seen["slope"], slope))
    for name, right in slopes.items():
        if not close(seen["slopes"].get(name), right, 1e-4):
            return rejected("cut", f"{call} the gradient that goes back to `{name}` is not that of "
                                   "the mixture.")
    return Verdict(True, "Silent at the start, and the gate has a gradient at once.")


def _gate_slips(words: Tensor, read: Tensor, share: Tensor, g: Tensor
                ) -> Iterator[tuple[str, Tensor]]:
    def entries(x: Tensor) -> Tensor:
        return x.transpose(1, 2).repeat_interleave(words.shape[-1] // len(g), -1)

    lam, gate = entries(share), entries(g[None, :, None].expand_as(share))
    yield "added", words + gate * lam * read
    yield "added", words + gate * read
    yield "words_kept_less", (1 - lam) * words + gate * lam * read
    yield "no_share", (1 - gate) * words + gate * read
    yield "swapped", (1 - gate * lam) * read + gate * lam * words
    yield "no_gate", (1 - lam) * words + lam * read
    for above in (gate.clamp(min=0), gate.abs()):
        yield "above_zero", words + above * lam * (read - words)
    tiled = (g[:, None] * share).transpose(1, 2).repeat(1, 1, words.shape[-1] // len(g))
    yield "heads_interleaved", words + tiled * (read - words)


GATE_MISTAKES = {
    "no_return": NO_RETURN,
    "input_changed": "What was read is needed still: make a new tensor.",
    "shape": "The output has the shape of what was read of the words.",
    "misfit": "λ and g have an entry for each head, the output has width entries for each: every "
              "entry of a head has the head's.",
    "added": "What the prefix takes, the words lose: the two shares sum to 1, whatever g is.",
    "words_kept_less": "With the gate at 0 the words have the share 1 − λ still, so the prefix "
                       "is felt though nothing of it is read. The two shares sum to 1.",
    "no_share": "The prefix's share is the gate times λ.",
    "swapped": "The two are swapped: g λ is the share of the prefix.",
    "no_gate": "The gate has no effect.",
    "above_zero": "A gate may fall below 0, and many do in training. Then g λ is a share below 0: "
                  "it is not cut off.",
    "heads_interleaved": "A head has neighbouring entries: repeat each head's number, not the row "
                         "of all heads.",
    "not_silent": "Is there a term besides the words that is not multiplied by the gate?",
    "not_mixture": "With the gate open it is the mixture of a prefix, (1 − λ) words + λ prefix.",
    "not_in_step": "In between, the prefix's share is g λ: half the gate, half the share.",
    "no_slope": "A gate that starts at 0 and has no gradient there never opens.",
    "other_slope": "The share is g λ, straight through 0: there each head's gate has the gradient "
                   "of this product, and no kink or root changes it.",
    "cut": "What is trained lies behind all four: the prefix's keys behind λ, its values behind "
           "what was read of it. Leave each its gradient: no detach, no no_grad.",
}

GATE = Exercise(
    id="prefix.gate", lesson="04", names=("gated",), points=2, minutes=6, difficulty=2,
    reference=f"{HERE}:gated", cases=gate_cases, run=run_gate, judge=judge_gate,
    mistakes=GATE_MISTAKES,
    hints=("Begin with the mixture for one head and one query, and put g λ where λ stands.",
           "λ is (batch, heads, queries); the entries of a head lie side by side in the last axis "
           "of what was read. Cut that axis into heads, or stretch λ to it.",
           "To the bit: is the first term exactly the words if the second is exactly zero?"))
