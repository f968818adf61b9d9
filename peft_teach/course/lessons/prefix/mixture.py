"""Attention to a prefix as a mixture of two: lesson 04's exercises on λ, its share, and a gate.

    attention(q, [Kₚ ; K], [Vₚ ; V]) = (1 − λ) attention(q, K, V) + λ attention(q, Kₚ, Vₚ)

λ is a number for each head and query: the prefix's part of the softmax's sum.

Source: He et al. 2022, *Towards a Unified View of Parameter-Efficient Transfer Learning*, arXiv
2110.04366, §3.1.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...checks.exercise import Exercise, Verdict
from ...checks.judge import close, difference, recognised, rejected, report
from ...checks.observe import TRIED, tried

LARGE = 8.0    # of queries and keys: their scores reach a hundred, and exp(89) is infinite


def prefix_share(q: Tensor, k: Tensor, K: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Return λ, (batch, heads, queries): how much of each query's attention the prefix K takes.

    q (batch, queries, d); k (batch, keys, d), the words' keys; K (batch, length, d); mask (batch,
    queries, keys), true where a query may read a word. All of the prefix may be read. λ is what is
    read where the prefix has the values 1 and the words 0.
    """
    q, k, K = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, K))
    values = torch.cat([torch.ones_like(K), torch.zeros_like(k)], 2)
    may_read = nn.functional.pad(mask.bool(), (K.shape[2], 0), value=True)[:, None]
    return nn.functional.scaled_dot_product_attention(
        q, torch.cat([K, k], 2), values, may_read)[..., 0]


def gated(words: Tensor, read: Tensor, share: Tensor, g: Tensor) -> Tensor:
    """Return the mixture of two attentions in which the prefix's has the share g λ.

    words, read (batch, queries, d): what the heads read of the words, and of the prefix; share
    (batch, heads, queries); g (heads,). Zhang et al. 2023, arXiv 2303.16199, have a gate that
    starts at zero, too.
    """
    parts = (read - words).unflatten(-1, (len(g), -1))            # (batch, queries, heads, width)
    return words + torch.einsum("h,bhq,bqhw->bqhw", g, share, parts).flatten(2)


@contextmanager
def seen(model: nn.Module) -> Iterator[list[dict[str, Tensor]]]:
    """Within this block a BERT's last queries, keys, values and attention outputs are kept.

    Gives a list of a dict for each layer: "query", "key", "value" of the words, (batch, seq, d_kv),
    and "read", what the attention gave, before `attention_out`.
    """
    attentions = [module for module in model.modules() if "query" in module._modules]
    kept: list[dict[str, Tensor]] = [{} for _ in attentions]

    def keep(layer: dict, name: str) -> Callable:
        return lambda module, inputs, output: layer.update({
            name: (output[0] if isinstance(output, tuple) else output).detach()})

    with ExitStack() as hooks:
        for layer, module in zip(kept, attentions):
            parts = {name: getattr(module, name) for name in ("query", "key", "value")}
            for name, part in (parts | {"read": module}).items():
                hooks.callback(part.register_forward_hook(keep(layer, name)).remove)
        yield kept


# ── prefix.share ─────────────────────────────────────────────────────────────────────────────


def share_cases(seed: int) -> list[dict]:
    """Sizes; the smallest first, then MiniLM's, causal, and scores whose exp is infinite."""
    sizes = ({"batch": 1, "queries": 4, "keys": 3, "length": 2, "d": 6, "heads": 2, "pad": 1},
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
    return tried(lambda q, k, K, mask: prefix_share(q, k, K, case["heads"], mask),
                 share_inputs(case))


def judge_share(case: dict, seen: dict) -> Verdict:
    found, inputs, heads = seen["found"], share_inputs(case), case["heads"]
    if found is None:
        return rejected("no_return")
    if not seen["intact"]:
        return Verdict(False, "Afterwards an input is not what it was before.")
    call = f"With {case['keys']} words, {case['length']} vectors in front and {heads} heads:"
    with torch.enable_grad():
        right = run_share(prefix_share, case)
    tolerance = 1e-4 * case["size"]
    if not close(found, right["found"], tolerance):
        if isinstance(found, Tensor) and found.isnan().any():
            return rejected("overflow", f"{call} λ is a share, however large the scores are; "
                                        f"{int(found.isnan().sum())} of {found.numel()} are nan.")
        return Verdict(False, f"{call} {difference('λ', found, right['found'])}", recognised(
            _share_slips(**inputs, heads=heads), lambda slip: close(found, slip, tolerance)))
    for name, slope in right["slopes"].items():
        found = seen["slopes"].get(name)    # large scores leave none, and 1 / exp leaves nan
        if found is None or (case["size"] == 1 and not close(found, slope, tolerance)):
            return rejected("no_gradient",
                            f"{call} {difference(f'the gradient of {name}', found, slope)}")
    return Verdict(True)


def _share_slips(q: Tensor, k: Tensor, K: Tensor, mask: Tensor, heads: int
                 ) -> dict[str, Tensor]:
    right, width = prefix_share(q, k, K, heads, mask), q.shape[-1] // heads
    return {"words_share": 1 - right, "ratio": right.logit().exp(),
            "no_scale": prefix_share(width**0.5 * q, k, K, heads, mask),
            "no_mask": prefix_share(q, k, K, heads, torch.ones_like(mask))}


SHARE_MISTAKES = {
    "no_gradient": "λ is to be differentiated by K, and by q and k, which the layers below have "
                   "made: no detach, no no_grad.",
    "overflow": "The scores reach a hundred here, and exp of 89 is infinite in float32. "
                "torch.logsumexp takes the largest away first; and of two logarithms only the "
                "difference is needed.",
    "words_share": "That is 1 − λ, the share of the words.",
    "ratio": "That is λ / (1 − λ): the prefix's sum over that of the words. λ is its part of both.",
    "no_scale": "The scores are divided by the square root of a head's width, as in attention.",
    "no_mask": "A word that may not be read has no part in the sum.",
}

SHARE = Exercise(
    id="prefix.share", names=("prefix_share",), points=3, minutes=13, difficulty=3,
    cases=share_cases, run=run_share, judge=judge_share,
    returns=TRIED, mistakes=SHARE_MISTAKES,
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
    """Try it with all gates at 0, all at 1, and as they are drawn."""
    given = gate_inputs(case)
    gates = {"shut": given["g"] * 0, "open": given["g"] * 0 + 1, "drawn": given["g"]}
    return {name: tried(gated, given | {"g": g}) for name, g in gates.items()}


def judge_gate(case: dict, seen: dict) -> Verdict:
    inputs, found = gate_inputs(case), {name: each["found"] for name, each in seen.items()}
    with torch.enable_grad():
        right = run_gate(gated, case)
    if found["drawn"] is None:
        return rejected("no_return")
    if not all(each["intact"] for each in seen.values()):
        return Verdict(False, "Afterwards an input is not what it was before.")
    call, shut = f"With {case['heads']} heads of {case['width']} entries", found["shut"]
    wrong = [name for name in right if not close(found[name], right[name]["found"])]
    mistake = recognised(_gate_slips(**inputs) if wrong else {},
                         lambda slip: close(found["drawn"], slip))
    if mistake is None and isinstance(shut, Tensor) and shut.shape == inputs["words"].shape and (
            not torch.equal(shut, inputs["words"])):
        return rejected("not_silent", f"{call} and all gates at 0, the output is not what was read "
                                      "of the words, to the bit.")
    if wrong == ["drawn"] and (acts := _acting(found["drawn"], **inputs)):
        return Verdict(False, f"{call}: each head has a gate of its own. The gates "
                              f"{_listed(inputs['g'])} act as {acts}.", mistake)
    if wrong:
        gates = {"shut": "all gates at 0", "open": "all gates at 1"}.get(
            wrong[0], f"gates from {inputs['g'].min():.2f} to {inputs['g'].max():.2f}")
        return Verdict(False, f"{call} and {gates}: " + difference(
            "the output", found[wrong[0]], right[wrong[0]]["found"]), mistake)
    if not seen["shut"]["slopes"].get("g", inputs["g"] * 0).any():
        return rejected("no_slope", f"{call} and all gates at 0, they have no gradient.")
    for name, of in (("shut", "g"), *(("drawn", of) for of in inputs)):
        if not close(seen[name]["slopes"].get(of), right[name]["slopes"][of], 1e-4):
            return Verdict(False, f"{call} and the gates {name}: " + difference(
                f"the gradient of {of}", seen[name]["slopes"].get(of), right[name]["slopes"][of]))
    return Verdict(True)


def _acting(found: Tensor, words: Tensor, read: Tensor, share: Tensor, g: Tensor) -> str | None:
    """Return the gates that would give this output, if some would."""
    if not isinstance(found, Tensor) or found.shape != words.shape:
        return None
    whole, seen = ((x - words).unflatten(-1, (len(g), -1)).movedim(2, 0).flatten(1)
                   for x in (gated(words, read, share, torch.ones_like(g)), found))
    acts = (seen * whole).sum(1) / whole.square().sum(1)
    return _listed(acts) if close(found, gated(words, read, share, acts)) else None


def _listed(gates: Tensor) -> str:
    told = [f"{gate:.2f}" for gate in gates[:4].tolist()]
    return ", ".join(told + ["…"] * (len(gates) > 4))


def _gate_slips(words: Tensor, read: Tensor, share: Tensor, g: Tensor
                ) -> dict[str, Tensor | tuple[Tensor, ...]]:
    silent = torch.zeros_like(read)
    taken, left = gated(silent, read, share, g), gated(words, silent, share, torch.ones_like(g))
    tiled = (g[:, None] * share).transpose(1, 2).repeat(1, 1, words.shape[-1] // len(g))
    return {"added": words + taken, "words_kept_less": left + taken,
            "above_zero": tuple(gated(words, read, share, above)
                                for above in (g.clamp(min=0), g.abs())),
            "heads_averaged": gated(words, read, share, g.mean().expand_as(g)),
            "heads_interleaved": words + tiled * (read - words)}


GATE_MISTAKES = {
    "added": "What the prefix takes, the words lose: the two shares sum to 1, whatever g is.",
    "words_kept_less": "With the gate at 0 the words have the share 1 − λ still, so the prefix "
                       "is felt though nothing of it is read. The two shares sum to 1.",
    "above_zero": "A gate may fall below 0, and many do in training. Then g λ is a share below 0: "
                  "it is not cut off.",
    "heads_averaged": "A mean over the gates opens all heads alike; g keeps its axis of heads.",
    "heads_interleaved": "A head has neighbouring entries: repeat each head's number, not the row "
                         "of all heads.",
    "not_silent": "Is there a term besides the words that is not multiplied by the gate?",
    "no_slope": "A gate that starts at 0 and has no gradient there never opens.",
}

GATE = Exercise(
    id="prefix.gate", names=("gated",), points=2, minutes=6, difficulty=2,
    cases=gate_cases, run=run_gate, judge=judge_gate,
    returns=report(shut=TRIED, open=TRIED, drawn=TRIED), mistakes=GATE_MISTAKES,
    hints=("Begin with the mixture for one head and one query, and put g λ where λ stands.",
           "λ is (batch, heads, queries); the entries of a head lie side by side in the last axis "
           "of what was read. Cut that axis into heads, or stretch λ to it.",
           "To the bit: is the first term exactly the words if the second is exactly zero?"))
