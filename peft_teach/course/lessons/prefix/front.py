"""Lesson 04, keys and values in front: how many they are, and what a frozen model is given."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ...exercise import Exercise, Verdict
from ...judge import NO_RETURN, close, named, plain, rejected, strange, whole

HERE = "peft_teach.course.lessons.prefix.front"

# ── prefix.count ─────────────────────────────────────────────────────────────────────────────


def prefix_counts(length: int, layers: int, d_kv: int, d_model: int, hidden: int
                  ) -> tuple[int, int]:
    """Return how many parameters train with the MLP of Li & Liang, and how many are kept.

    Arguments are the prefix's length, the layers, the width of a key, the width of the model, and
    that of the MLP's hidden layer. Li & Liang 2021, arXiv 2101.00190, §4.3.
    """
    made = 2 * layers * d_kv                       # by the MLP, for each vector of E
    trained = length * d_model + (d_model * hidden + hidden) + (hidden * made + made)
    return trained, length * made


def count_cases(seed: int) -> list[dict]:
    """Sizes: small, MiniLM, BERT-base, SmolLM2, where keys are narrower, and a drawn one."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(3, 90, (5,), generator=generator).tolist()
    sizes = [(2, 3, 5, 7, 11), (20, 6, 384, 384, 512), (20, 12, 768, 768, 768),
             (10, 30, 192, 576, 512), drawn]
    return [dict(zip(("length", "layers", "d_kv", "d_model", "hidden"), each)) for each in sizes]


def run_count(prefix_counts: Callable, case: dict) -> dict[str, Any]:
    found = prefix_counts(*case.values())
    if isinstance(found, tuple | list) and len(found) == 2:
        return {"gave": "two", "found": [plain(each) if isinstance(plain(each), int | float)
                                         else named(each) for each in found]}
    return {"gave": named(found), "found": []}


def judge_count(case: dict, seen) -> Verdict:
    if odd := strange(seen, "gave", "found", gave=str, found=list):
        return odd
    if seen["gave"] == "None":
        return rejected("no_return")
    call = f"prefix_counts({', '.join(map(str, case.values()))})"
    if len(seen["found"]) != 2 or any(whole(each) is None for each in seen["found"]):
        gave = seen["found"] or seen["gave"]
        return rejected("not_two", f"{call} gave {gave}.")
    right, found = prefix_counts(**case), tuple(seen["found"])
    if found == right:
        return Verdict(True, "The MLP is the larger part by far, and is thrown away.")
    told = f"{call} gave {found}; expected {right}."
    for mistake, slip in _count_slips(**case):
        if found == slip:
            return rejected(mistake, told)
    if found[1] == right[1]:
        return rejected("trained", told)
    if found[0] == right[0]:
        return rejected("kept", told)
    return Verdict(False, told)


def _count_slips(length: int, layers: int, d_kv: int, d_model: int, hidden: int
                 ) -> Iterator[tuple[str, tuple[int, int]]]:
    def both(made: int, E: int, biases: bool = True, more: int = 0, kept: int | None = None):
        mlp = d_model * hidden + hidden * made + (hidden + made if biases else 0)
        return E + mlp + more, length * made if kept is None else kept

    made, E = 2 * layers * d_kv, length * d_model
    trained, kept = both(made, E)
    yield "swapped", (kept, trained)
    yield "values_missing", both(made // 2, E)
    yield "one_layer", both(2 * d_kv, E)
    yield "no_biases", both(made, E, biases=False)
    yield "no_vectors", both(made, 0)
    yield "both_trained", both(made, E, more=kept)
    yield "model_wide", both(2 * layers * d_model, E)
    yield "all_kept", (trained, trained)
    yield "all_kept", (trained, trained + kept)


COUNT_MISTAKES = {
    "no_return": NO_RETURN,
    "not_two": "Two whole numbers: what trains, and what is kept.",
    "swapped": "The two are swapped: first what trains.",
    "values_missing": "Each vector makes a key and a value.",
    "one_layer": "Every layer has keys and values of its own.",
    "no_biases": "Both linear layers of the MLP have a bias, as wide as what they give.",
    "no_vectors": "What goes into the MLP is trained, too: E.",
    "both_trained": "Keys and values are what the MLP gives: while it is there, they are no "
                    "parameters of their own.",
    "model_wide": "A key is d_kv wide, which is less than d_model where queries share keys.",
    "all_kept": "After training, keys and values are all that is needed: neither E nor the MLP.",
    "trained": "What is kept is right. What trains is E and the MLP: write down the shapes of its "
               "two linear layers.",
    "kept": "What trains is right. What is kept is what the MLP gave for each vector of E.",
}

COUNT = Exercise(
    id="prefix.count", lesson="04", names=("prefix_counts",), points=1, minutes=4, difficulty=1,
    reference=f"{HERE}:prefix_counts", cases=count_cases, run=run_count, judge=judge_count,
    mistakes=COUNT_MISTAKES,
    hints=("Begin with what is kept: one vector of the prefix, one layer. How many entries?",
           "The MLP gives, for one vector of E, all that this vector is in all layers. So how wide "
           "is its last layer?",
           "A linear layer from n to m has n · m + m parameters, lesson 00's count. E is a table "
           "besides."))

# ── prefix.front ─────────────────────────────────────────────────────────────────────────────


def prefixed(K: Tensor, V: Tensor, mask: Tensor, heads: int
             ) -> tuple[list[tuple[Tensor, Tensor]], Tensor, Tensor]:
    """Return what a frozen model is given besides its words: pairs, a mask, positions.

    K, V (layers, length, heads · width); mask (batch, seq), 1 for words, 0 for padding, on either
    side. A pair for each layer: keys and values (batch, heads, length, width). The mask is (batch,
    length + seq), the positions (batch, seq).
    """
    batch, length = len(mask), K.shape[1]

    def by_head(x: Tensor) -> Tensor:
        """(length, heads · width) to (batch, heads, length, width)"""
        return x.unflatten(-1, (heads, -1)).transpose(0, 1).expand(batch, -1, -1, -1)

    pairs = [(by_head(k), by_head(v)) for k, v in zip(K, V)]
    wide = torch.cat([mask.new_ones(batch, length), mask], 1)
    return pairs, wide, length + mask.long().cumsum(1) - 1


def front_cases(seed: int) -> list[dict]:
    """Sizes; the smallest first, then MiniLM padded on the right, SmolLM2 on the left."""
    sizes = ({"batch": 1, "seq": 3, "layers": 1, "heads": 2, "width": 3, "length": 2, "pad": 0},
             {"batch": 2, "seq": 5, "layers": 6, "heads": 12, "width": 32, "length": 20, "pad": 2},
             {"batch": 3, "seq": 6, "layers": 4, "heads": 3, "width": 64, "length": 7, "pad": -2},
             {"batch": 2, "seq": 4, "layers": 2, "heads": 4, "width": 5, "length": 1, "pad": -3})
    return [{**size, "seed": 10 * seed + i} for i, size in enumerate(sizes)]


def front_inputs(case: dict) -> dict[str, Tensor]:
    """Make K, V and the mask; `pad` tokens of the first sentence are padding, < 0 on the left."""
    generator = torch.Generator().manual_seed(4000 + case["seed"])
    shape = (case["layers"], case["length"], case["heads"] * case["width"])
    mask = torch.ones(case["batch"], case["seq"], dtype=torch.long)
    if case["pad"] > 0:
        mask[0, -case["pad"]:] = 0
    elif case["pad"] < 0:
        mask[0, :-case["pad"]] = 0
        mask[-1, :1] = 0
    return {"K": torch.randn(shape, generator=generator),
            "V": torch.randn(shape, generator=generator), "mask": mask}


def run_front(prefixed: Callable, case: dict) -> dict[str, Any]:
    given = front_inputs(case)
    K, V = (given[name].clone().requires_grad_() for name in "KV")
    mask = given["mask"].clone()
    found = prefixed(K.clone(), V.clone(), mask, case["heads"])
    seen = {"gave": named(found), "held": "", "keys": [], "values": [],
            "wide": None, "positions": None, "trains": False,
            "intact": torch.equal(mask, given["mask"])}
    if not isinstance(found, tuple | list) or len(found) != 3:
        return seen
    pairs, wide, positions = found
    seen["gave"], seen["held"] = "three", named(pairs)
    pairs = [pair for pair in (pairs if isinstance(pairs, Iterable) else ())
             if isinstance(pair, tuple | list | Tensor) and len(pair) == 2
             and all(isinstance(x, Tensor) for x in pair)]
    seen["keys"] = [pair[0].detach().clone() for pair in pairs]
    seen["values"] = [pair[1].detach().clone() for pair in pairs]
    for name, each in (("wide", wide), ("positions", positions)):
        if isinstance(each, Tensor):
            seen[name] = each.detach().clone()
    if pairs and all(x.requires_grad for pair in pairs for x in pair):
        sum((x * x).sum() for pair in pairs for x in pair).backward()
        seen["trains"] = all(p.grad is not None and bool((p.grad != 0).all()) for p in (K, V))
    return seen


def judge_front(case: dict, seen) -> Verdict:
    if odd := strange(seen, "gave", "held", "keys", "values", "wide", "positions", "intact",
                      "trains", gave=str, held=str, keys=list, values=list,
                      wide=(Tensor, type(None)), positions=(Tensor, type(None)), intact=bool,
                      trains=bool):
        return odd
    if seen["gave"] == "None":
        return rejected("no_return")
    if seen["gave"] != "three":
        return rejected("not_three", f"It gave {seen['gave']}.")
    if not seen["intact"]:
        return rejected("input_changed", "Afterwards the mask is not what it was.")
    for question in (_pairs_are_right, _mask_is_right, _positions_are_right):
        if verdict := question(case, seen):
            return verdict
    return Verdict(True, "Keys and values by head, a mask as wide as both, and positions that go "
                         "on behind the prefix.")


def _pairs_are_right(case: dict, seen: dict) -> Verdict | None:
    inputs = front_inputs(case)
    K, V, batch, heads = inputs["K"], inputs["V"], case["batch"], case["heads"]
    right, _, _ = prefixed(K, V, inputs["mask"], heads)
    keys, values = seen["keys"], seen["values"]
    if not all(isinstance(x, Tensor) for x in (*keys, *values)):
        return Verdict(False, "The check's report is not whole.")
    if len(keys) != len(right) or len(values) != len(right):
        return rejected("layers", f"For {case['layers']} layers it gave {seen['held']} "
                                  f"with {len(keys)} pairs of two tensors.")
    wanted = tuple(right[0][0].shape)
    told = (f"With K of shape {tuple(K.shape)}, {heads} heads and {batch} "
            f"sentence{'s' if batch > 1 else ''}:")
    if all(close(k, a) and close(v, b) for k, v, (a, b) in zip(keys, values, right)):
        return None if seen["trains"] else rejected(
            "no_gradient", f"{told} no gradient finds its way back to every entry of K and V.")
    if keys[0].shape != wanted or values[0].shape != wanted:
        told = f"{told} the first layer's keys are {tuple(keys[0].shape)}; expected {wanted}."
        if tuple(keys[0].shape) in (wanted[1:], (1, *wanted[1:])) and batch > 1:
            return rejected("one_sentence", told)
        if tuple(keys[0].shape) in ((batch, *K.shape[1:]), (1, *K.shape[1:]), K.shape[1:]):
            return rejected("not_by_head", told)
        return rejected("shape", told)
    if all(close(k, b) and close(v, a) for k, v, (a, b) in zip(keys, values, right)):
        return rejected("swapped", f"{told} keys stand where values should.")
    told = f"{told} a head's entries are not the neighbouring ones of each vector of K."
    for mistake, mixed in (
            ("heads_mixed", K[0].reshape(heads, case["length"], -1)),
            ("interleaved", K[0].unflatten(-1, (-1, heads)).permute(2, 0, 1))):
        if close(keys[0], mixed.expand(batch, -1, -1, -1)):
            return rejected(mistake, told)
    if len(keys) > 1 and close(keys[1], right[0][0]):
        return rejected("layers", "Layer 1 has the keys of layer 0.")
    return Verdict(False, told)


def _mask_is_right(case: dict, seen: dict) -> Verdict | None:
    mask, wide, length = front_inputs(case)["mask"], seen["wide"], case["length"]
    told = (f"With a prefix of {length} and the mask {mask[0].tolist()} of the first sentence, "
            f"the wider mask is ")
    if wide is None or wide.ndim != 2:
        return rejected("mask_shape", told + ("no tensor of two axes."))
    told += f"{wide[0].long().tolist()}."
    if wide.shape != (len(mask), length + mask.shape[1]):
        return rejected("mask_short" if wide.shape == mask.shape else "mask_shape", told)
    ones = torch.ones(len(mask), length)
    if not ((wide == 0) | (wide == 1)).all():
        return rejected("mask_kind", told)
    if torch.equal(wide.bool(), torch.cat([ones, mask], 1).bool()):
        return None
    for mistake, other in (("mask_behind", torch.cat([mask, ones], 1)),
                           ("mask_hides", torch.cat([0 * ones, mask], 1)),
                           ("mask_reads_padding", torch.ones(wide.shape))):
        if torch.equal(wide.bool(), other.bool()):
            return rejected(mistake, told)
    return Verdict(False, told)


def _positions_are_right(case: dict, seen: dict) -> Verdict | None:
    mask, positions, length = front_inputs(case)["mask"], seen["positions"], case["length"]
    told = (f"With a prefix of {length} and the mask {mask[0].tolist()} of the first sentence, "
            "the positions are ")
    if positions is None:
        return rejected("positions_shape", told + "no tensor.")
    told += f"{positions[0].tolist() if positions.ndim == 2 else positions.tolist()}."
    if positions.shape != mask.shape:
        return rejected("positions_shape", told)
    if positions.dtype not in (torch.int32, torch.int64):
        return rejected("positions_kind", told)
    words, right = mask.bool(), length + mask.cumsum(1) - 1
    if torch.equal(positions[words], right[words]):
        if (positions >= 0).all() and (positions < length + mask.shape[1]).all():
            return None
        return rejected("padding_nowhere", told)
    for mistake, other in (("from_zero", mask.cumsum(1) - 1), ("one_off", right + 1),
                           ("one_off", right - 1), ("from_zero", torch.arange(
                               mask.shape[1]).expand(mask.shape)),
                           ("twice", right + length),
                           ("padding_counted", length + torch.arange(mask.shape[1]).expand(
                               mask.shape))):
        if torch.equal(positions[words], other[words]):
            return rejected(mistake, told)
    return Verdict(False, told)


FRONT_MISTAKES = {
    "no_return": NO_RETURN,
    "not_three": "Three things: the pairs, the wider mask, the positions.",
    "input_changed": "The mask was written into: make a new one.",
    "layers": "A pair for each layer, each of its own K and V.",
    "shape": "Keys and values have four axes: (batch, heads, length, width).",
    "one_sentence": "Every sentence of the batch has the prefix in front.",
    "not_by_head": "The vectors are whole still: cut each into its heads.",
    "misfit": "Which axis is cut into heads? Print the shapes of K, of one layer of it, and of "
              "what is wanted.",
    "swapped": "Keys first, then values.",
    "heads_mixed": "A view as (heads, length, width) gives a head whole vectors, not its part of "
                   "each: cut the last axis, then move the heads to the front.",
    "interleaved": "Head 0 has the first entries of a vector, side by side; yours takes every "
                   "heads-th one.",
    "no_gradient": "K and V are to be trained: no detach, no new tensor made of their values.",
    "mask_short": "The mask must say of the prefix, too, that it may be read: it is longer than "
                  "the words.",
    "mask_shape": "The mask has two axes, (batch, length + seq).",
    "mask_kind": "A mask says 1 of what may be read, and 0 of what may not.",
    "mask_behind": "The prefix stands in front, and so do its ones.",
    "mask_hides": "A zero says that nobody may read here: the prefix would be there for nothing.",
    "mask_reads_padding": "The padding may be read now. The words' part of the mask stays as it "
                          "was.",
    "positions_shape": "A position for each token of the words, (batch, seq), none for the prefix.",
    "positions_kind": "A position is looked up in a table: a whole number, int64 or int32.",
    "from_zero": "Those are the positions without a prefix. It takes the first ones.",
    "one_off": "That is one off. The prefix takes 0 to length − 1.",
    "twice": "The length of the prefix was added twice.",
    "padding_counted": "Padding on the left was counted: a padded sentence would be read at other "
                       "positions than alone. What counts how many *words* stand before?",
    "padding_nowhere": "Padding has a position that no table has. Any from 0 to length + seq − 1 "
                       "will do.",
}

FRONT = Exercise(
    id="prefix.front", lesson="04", names=("prefixed",), points=3, minutes=10, difficulty=3,
    reference=f"{HERE}:prefixed", cases=front_cases, run=run_front, judge=judge_front,
    mistakes=FRONT_MISTAKES,
    hints=("One layer, one sentence first: a row of K is a vector for all heads, side by side. "
           "Lesson 00 cut queries in the same way.",
           "For the positions: with a mask of 0 0 1 1 1 the words are the third to the fifth "
           "token, and the first to the third word. Which function of a tensor counts up?",
           "`expand` gives every sentence of a batch the same entries without a copy, and a "
           "gradient comes back through it."))
