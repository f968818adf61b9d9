"""The exercises of lesson 07: count, layer, law of the start, case, merge, pairs, and a puzzle."""

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .... import methods
from ....core import Adapter
from ... import mutants, records, work
from ...adapter_judge import MISTAKES, Method, frozen_linear
from ...exercise import VALUE, Exercise, Verdict
from ...judge import (
    NO_RETURN,
    close,
    difference,
    judged_count,
    named,
    plain,
    rejected,
    strange,
)
from ...observe import loss
from . import recorded, versions

HERE = "peft_teach.course.lessons.lora.exercises"

# ── lora.count ───────────────────────────────────────────────────────────────────────────────


def count_cases(seed: int) -> list[dict]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [(6, 10, 2), (384, 1536, 8), (5, 5, 1)]
    sizes += [tuple(torch.randint(1, 200, (3,), generator=generator).tolist()) for _ in range(3)]
    return [{"n_in": n_in, "n_out": n_out, "rank": rank} for n_in, n_out, rank in sizes]


def run_count(lora_count, case: dict):
    return lora_count(case["n_in"], case["n_out"], case["rank"])


def judge_count(case: dict, found) -> Verdict:
    n_in, n_out, rank = case["n_in"], case["n_out"], case["rank"]
    right = rank * (n_in + n_out)
    wrong = {"whole_matrix": n_in * n_out, "only_A": rank * n_in, "only_B": rank * n_out,
             "square_only": 2 * rank * n_in, "multiplied": rank * n_in * n_out,
             "with_base": n_in * n_out + right, "product": rank * n_in * n_out * rank,
             "no_brackets": (rank * n_in + n_out, n_in + rank * n_out)}
    return judged_count(found, right, f"lora_count({n_in}, {n_out}, {rank})", wrong,
                        "A and B, each by its shape.")


COUNT_MISTAKES = {
    "no_return": NO_RETURN,
    "not_whole": "A number of parameters is a whole number: an int.",
    "whole_matrix": "That is all of W. LoRA trains A and B instead of it.",
    "only_A": "That is A alone, and B is trained too.",
    "only_B": "That is B alone, and A is trained too.",
    "square_only": "That is right only where n_in = n_out. How long is a column of B?",
    "multiplied": "All three numbers are multiplied. Neither matrix has both n_in and n_out in its "
                  "shape.",
    "product": "The two matrices stand beside each other: add their sizes, in place of multiplying "
               "them.",
    "no_brackets": "One of the two matrices was counted as if it had a single row or column.",
    "with_base": "W is frozen, so it does not count as trained.",
}

COUNT = Exercise(
    id="lora.count", lesson="07", names=("lora_count",), points=1, minutes=4, difficulty=1,
    reference="peft_teach.methods.lora:count",
    cases=count_cases, run=run_count, judge=judge_count, mistakes=COUNT_MISTAKES,
    hints=("The products in the equation must fit. What does that say of the shapes of A and B?",
           "The last dimension of x is n_in. After A it is rank, and after B it is n_out.",
           "Draw both for n_in = 3, n_out = 2 and rank 1, and count the entries."))


# ── lora.layer ───────────────────────────────────────────────────────────────────────────────


def linear_cases(seed: int) -> list[dict]:
    """Return layers that differ in shape, bias and dtype, with inputs, A and B.

    The smallest comes first. Two are as wide as the lesson's model, so that the size of the random
    matrix shows; in one of them n_in and n_out are those of its largest matrices.
    """
    generator = torch.Generator().manual_seed(1000 + seed)

    def draw(*shape: int, dtype=torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    cases = []
    for n_in, n_out, rank, alpha, bias, dtype, batch in (
            (4, 3, 2, 6.0, True, torch.float32, (2,)),
            (5, 9, 4, 10.0, False, torch.float32, (3, 2)),
            (384, 96, 8, 16.0, True, torch.float32, (2, 3)),
            (1536, 384, 8, 16.0, True, torch.float32, (2, 3)),
            (8, 8, 4, 8.0, True, torch.bfloat16, (3, 2))):
        cases.append({"n_in": n_in, "n_out": n_out, "rank": rank, "alpha": alpha,
                      "W": draw(n_out, n_in, dtype=dtype) / n_in**0.5,
                      "b": draw(n_out, dtype=dtype) if bias else None,
                      "x": draw(*batch, n_in, dtype=dtype),
                      "A": draw(rank, n_in) / n_in**0.5, "B": draw(n_out, rank)})
    return cases


def _scale(case: dict) -> float:
    return case["alpha"] / case["rank"]


def _correction(case: dict) -> Tensor:
    """The correction without its scale: (…, n_out), float32."""
    return case["x"].float() @ case["A"].T @ case["B"].T


def corrected(base: nn.Linear, case: dict) -> Tensor:
    """Return LoRA's output."""
    y = base(case["x"])
    return (y + _scale(case) * _correction(case)).to(y.dtype)


def usual_outputs(base: nn.Linear, case: dict) -> dict[str, Tensor]:
    """Return what the usual mistakes give."""
    rank, alpha, s, u = case["rank"], case["alpha"], _scale(case), _correction(case)
    y, bias = base(case["x"]), 0 if base.bias is None else base.bias
    return {"branch_missing": y, "no_scale": y + u, "alpha_only": y + alpha * u,
            "whole_division": y + alpha // rank * u,
            "scaled_twice": y + s * s * u, "scale_upside_down": y + rank / alpha * u,
            "root_of_rank": y + alpha / math.sqrt(rank) * u, "base_missing": s * u,
            "bias_missing": y - bias + s * u, "bias_twice": y + bias + s * u,
            "all_scaled": s * (y + u), "subtracted": y - s * u}


def usual_shapes(right: dict) -> dict[str, dict]:
    """Return the shapes of the usual mistakes."""
    return {"swapped": {"A": right["B"], "B": right["A"]},
            "transposed": {name: shape[::-1] for name, shape in right.items()}}


# One of the two matrices starts at zero, and what passes through the other stays as large as it
# was. The root mean square of what comes out, for random inputs of size 1, may lie between these:
# PyTorch's usual uniform start of a layer gives 0.58; a constant deviation of 0.02, which no width
# changes, gives 0.39 in the lesson's model, and 1/√n_out in place of 1/√n_in gives 2 where a matrix
# is four times as wide as high.
SIZE = (0.45, 1.8)
# A single small matrix says little of how it was drawn, so that many of these are made.
DRAWS, SMALL = 50, ((4, 3, 1), (16, 8, 4), (64, 64, 64))    # n_in, n_out, rank
ENOUGH = 100    # different entries, from which on their mean and size say how they were drawn
WATCHED = 1000  # entries of a matrix from which on it is told from what the products make
NEARLY = 1e-5   # entries up to this were meant to be zero
STEP = 1e-4     # far below what a bfloat16 weight can be moved by


def random_beside_zero(method: Method, case: dict, seen: dict) -> Verdict | None:
    """Is one of A and B zero, and the other random and of a size that keeps what passes?"""
    A, B = seen["start_own"]["A"], seen["start_own"]["B"]
    told = f"(n_in = {case['n_in']}, n_out = {case['n_out']}, rank {case['rank']})"
    if not A.any() and not B.any():
        return rejected("both_zero", "After two training steps neither A nor B has moved.")
    if A.any() and B.any():
        name, most = min((("A", A.abs().max()), ("B", B.abs().max())), key=lambda each: each[1])
        if most < NEARLY:
            return rejected("nearly_zero", f"{name} starts with entries of up to {most:.2g}.")
        y, base = seen["start"].float(), method.base_output(case).float()
        return rejected("both_random", "As it is made, before any training, the output differs "
                                       f"from the base's by up to {(y - base).abs().max():.2g}.")
    name, M, side = ("A", A, "x Aᵀ") if A.any() else ("B", B, "what B makes of it")
    rows = M if name == "A" else M.T
    if len(rows) > 1 and torch.equal(rows, rows[:1].expand_as(rows)):
        return rejected("alike", f"All {'rows' if name == 'A' else 'columns'} of {name} start with "
                                 "the same entries.")
    passed = M.float().square().sum(1).mean().sqrt().item()    # what random inputs of size 1 become
    if M.numel() > 100 and not SIZE[0] < passed < SIZE[1]:
        return rejected(f"{name}_size", f"What goes in has entries of about 1; {side} starts with "
                                        f"entries of about {passed:.2g} {told}.")
    if 8 * len(rows) <= rows.shape[1]:    # so many entries of few rows are far from parallel
        sigma = torch.linalg.svdvals(rows.float())
        if sigma[-1] < 0.1 * sigma[0]:
            return rejected("alike", f"The {len(rows)} {'rows' if name == 'A' else 'columns'} of "
                                     f"{name} start along few directions: their singular values "
                                     f"go from {sigma[0]:.2g} down to {sigma[-1]:.2g}.")
    if not rows.any(1).all():
        part, other = ("row", "B") if name == "A" else ("column", "A")
        return rejected("idle", f"A {part} of {name} starts at zero, and so does all of {other}.")
    for drawn in seen["draws"]:
        passed, mean, deviation, entries = drawn[name]
        if entries < ENOUGH:    # all layers start alike: a seed of their own
            continue
        sizes = "n_in = {}, n_out = {}, rank {}".format(*drawn["sizes"])
        if not SIZE[0] < passed < SIZE[1]:
            return rejected(f"{name}_size", f"What goes in has entries of about 1; {side} starts "
                                            f"with entries of about {passed:.2g} ({sizes}; {DRAWS} "
                                            "layers).")
        if abs(mean) > deviation / 2:
            return rejected("one_sign", f"The entries of {name} start with a mean of {mean:.2g} "
                                        f"and a deviation of {deviation:.2g} ({sizes}; {DRAWS} "
                                        "layers).")
    if not seen["to_the_bit"] and method.close(seen["start"], method.base_output(case)):
        return rejected("start_near", "As it is made, before any training, the output is near "
                                         "the base's, but not the same to the bit.")
    still = [name for name in method.own if seen["dtypes"].get(name) != "torch.float32"
             and not seen[f"moved_{name}"]]
    if still:
        return rejected("small_steps", f"On a {case['W'].dtype} base, after two training steps of "
                                 f"{STEP:g}, most entries of {still[0]} are what they were.")
    if seen["built"]:
        return rejected("matrix_built", f"A call of the layer built a matrix of {case['n_out']} × "
                                        f"{case['n_in']}.")
    if seen["halved"]:
        return rejected("halved", f"On a {case['W'].dtype} base, a product with A or B is computed "
                                  f"in {case['W'].dtype}.")
    return None


PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv")    # what matrix products come down to


class _Watch(TorchDispatchMode):
    """Notices when a tensor of at least `size` entries is made that is none of the base's.

    And a product of matrices in half precision that the base has no part in.
    """

    def __init__(self, size: int, base: nn.Module):
        super().__init__()
        self.size, self.built, self.halved = size, False, False
        self.known = {p.untyped_storage().data_ptr() for p in base.parameters()}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            if isinstance(each, Tensor) and each.numel() >= self.size:
                self.built |= self._is_new(each)
        if function.overloadpacket.__name__ in PRODUCTS:
            factors = [each for each in args if isinstance(each, Tensor)]
            self.halved |= all(map(self._is_new, factors)) and any(
                each.dtype in (torch.float16, torch.bfloat16) for each in factors)
        return out

    def _is_new(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() not in self.known


def _drawn(LoRALinear: Any, n_in: int, n_out: int, rank: int) -> dict[str, list]:
    """What many layers of one size start with: of A's rows and B's columns, what passes them.

    Each as the root mean square of what random inputs of size 1 become, the mean and standard
    deviation of the entries, and how many were drawn.
    """
    base = nn.Linear(n_in, n_out).requires_grad_(False)
    made = [LoRALinear(base, rank, 2.0 * rank) for _ in range(DRAWS)]
    found: dict[str, list] = {"sizes": [n_in, n_out, rank]}
    for name in LORA.own:
        M = torch.stack([getattr(layer, name).detach().float() for layer in made])
        passed = M.square().sum(-1).mean().sqrt()    # (draws, rows, columns)
        drawn = M.numel() if not torch.equal(M[0], M[1]) else M[0].numel()
        found[name] = [passed.item(), M.mean().item(), M.std().item(), drawn]
    return found


def run_layer(LoRALinear: Any, case: dict) -> dict[str, Any]:
    """Observe the layer as any adapter; then see it start, take two steps and be called."""
    seen = LORA.run(LoRALinear, case)
    if "again" not in seen:
        return seen
    base, x = frozen_linear(case), case["x"]
    layer = LoRALinear(base, case["rank"], case["alpha"])
    own, y = layer.own_parameters(), base(x)
    seen["to_the_bit"] = torch.equal(layer(x), y)
    seen["draws"] = [_drawn(LoRALinear, *sizes) for sizes in SMALL]
    before = {name: p.detach().clone() for name, p in own.items()}
    for _ in range(2):
        out = layer(x)
        if out.requires_grad:
            loss(out).backward()
        with torch.no_grad():
            for p in own.values():
                p -= STEP * (0 if p.grad is None else p.grad.sign())
                p.grad = None
    for name in LORA.own:
        seen[f"moved_{name}"] = (own[name] != before[name]).float().mean().item() > 0.5
    tokens = x.numel() // case["n_in"]
    entries = case["n_in"] * case["n_out"]
    with torch.no_grad(), _Watch(entries, base) as watch:
        for mode in (True, False):
            layer.train(mode)(x)
    seen["built"] = (watch.built and entries >= WATCHED
                     and tokens < min(case["n_in"], case["n_out"]))
    seen["halved"] = watch.halved
    return seen


LORA = Method(
    name="LoRALinear", base=frozen_linear, arguments=("rank", "alpha"), own=("A", "B"),
    equation=corrected, formula="base(x) + s (x Aᵀ) Bᵀ", usual=usual_outputs,
    usual_shapes=usual_shapes, starts=(random_beside_zero,),
    attributes=lambda case: {"scale": _scale(case)},
    praise="Starts as the base, the right correction, and both matrices learn.")

LAYER_MISTAKES = MISTAKES | {
    "swapped": "A and B are swapped: A meets the input, B makes the output.",
    "transposed": "Both are transposed. Shapes are (n_out, n_in) throughout, as in nn.Linear.",
    "misfit": "Two shapes do not fit. x is (…, n_in) and A is (rank, n_in), so A is transposed "
              "where x meets it; so is B, (n_out, rank), where it meets what came out of A.",
    "A_size": "Behind each entry of x Aᵀ is a sum of n_in random terms. How large is such a sum, "
              "against one of its terms?",
    "B_size": "Behind each entry of the output is a sum of rank random terms. How large is such a "
              "sum, against one of its terms?",
    "both_zero": "A and B both start at zero, and each gradient has the other matrix as a factor: "
                 "they stay at zero.",
    "nearly_zero": "Nearly zero is not zero: the output has to be the base's to the bit.",
    "one_sign": "Entries that are all of one sign, or nearly, make directions that are nearly one: "
                "draw around zero.",
    "idle": "Where both are zero, neither gets a gradient: this direction never learns.",
    "both_random": "A and B both start with random entries. Which start makes their product zero?",
    "small_steps": "In 16 bits a step that is small beside the entry is rounded away: parameters "
                   "are float32, whatever the base.",
    "start_near": "The same sum in another order is rounded elsewhere: let the base compute its "
                  "own output.",
    "alike": "They get the same gradients, so they would stay alike: the rank would be one.",
    "matrix_built": "That is what LoRA saves: go through the rank numbers in between, so that A "
                    "and B never meet.",
    "halved": "Then what a small step changed is rounded away before it reaches the output: take "
              "x.float(), and leave A and B as they are.",
    "branch_missing": "The output is the base's alone: does forward use A and B?",
    "no_scale": "The correction is not scaled: s is alpha / rank.",
    "alpha_only": "It is multiplied by alpha, not by alpha / rank.",
    "whole_division": "alpha // rank leaves out what is behind the point: divide with /.",
    "scaled_twice": "alpha / rank is applied twice.",
    "scale_upside_down": "The scale is upside down: it is alpha / rank.",
    "root_of_rank": "That is alpha / √rank, the rank-stabilised variant. Here it is alpha / rank.",
    "base_missing": "Only the correction comes out. The base's output is missing.",
    "bias_missing": "The bias of the base is lost: calling the base brings it along.",
    "bias_twice": "The bias is added twice: what the base gives has it already.",
    "all_scaled": "The base's output is scaled as well: only the correction is.",
    "subtracted": "The correction is subtracted.",
    "no_scale_attribute": "Keep alpha / rank as self.scale: merging needs it later.",
}

LAYER = Exercise(
    id="lora.layer", lesson="07", names=("LoRALinear",), points=3, minutes=14, difficulty=2,
    reference="peft_teach.methods.lora:LoRALinear",
    cases=linear_cases, run=run_layer, judge=LORA.judge,
    returns=LORA.returns(draws=list[dict], **dict.fromkeys(
        ("to_the_bit", "moved_A", "moved_B", "built", "halved"), bool)), mistakes=LAYER_MISTAKES,
    hints=("Shapes first: which of the two matrices meets x, and with which side? Test your layer "
           "on nn.Linear(4, 3), rank 2, before you run the check.",
           "A sum of n independent random terms is about √n times as large as one of them: that "
           "decides how large the entries of the random matrix are.",
           "Three things decide about half precision: which dtype your parameters have, where the "
           "input becomes float32, and where the result becomes what the base gives."))


# ── lora.start ───────────────────────────────────────────────────────────────────────────────


def start_holds(make) -> None:
    """The start is the base's to the bit; then A and B both learn, and the base stays."""
    base = nn.Linear(6, 4).requires_grad_(False)
    layer, x = make(base, 2, 4.0), torch.randn(8, 6)
    assert torch.equal(layer(x), base(x)), "the start is not the base's"
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimizer = torch.optim.Adam([p for p in layer.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(x) - 1).square().mean().backward()
        optimizer.step()
    for name, p in layer.named_parameters():
        moved = not torch.equal(p, before[name])
        assert moved == (name in ("A", "B")), f"{name} {'moved' if moved else 'did not move'}"


LAW = mutants.Law(versions.RIGHT, versions.BROKEN)


def judge_start(case: dict, answers: Any) -> Verdict:
    verdict = LAW.judge(case, answers)
    if verdict.mistake == "let_through" and mutants.survivors(answers, versions.BROKEN) == [
            versions.DEAD]:
        return rejected("decayed", verdict.message)
    return verdict


START = Exercise(
    id="lora.start", lesson="07", names=("start_holds",), points=2, minutes=9, difficulty=2,
    reference=f"{HERE}:start_holds", cases=lambda seed: [{"seed": seed}],
    run=LAW.run, judge=judge_start, returns=LAW.returns, mistakes=mutants.MISTAKES | {
        "decayed": "The loss never reaches its A and B: their gradients are zero. Did something "
                   "else move them in your test, as AdamW's weight decay does?",
        "objects_to_all": "It objects to every layer, so it tells nothing apart. After how many "
                          "steps can both matrices have moved, and is your base frozen?"},
    hints=("Two properties at the start, two after some training. Any optimizer serves that leaves "
           "a parameter alone whose gradient is zero; a few steps are enough.",
           "How many steps does each of the two allowed starts need until both matrices have "
           "moved? An honest layer must not be accused after fewer.",
           "\"To the bit\" is stricter than \"close\". And what of the parameters that must not "
           "move: can your test see it if one of them does? Beware of an optimizer with weight "
           "decay: it moves a parameter whose gradient is zero."),
    arguments=lambda pieces: (pieces["LoRALinear"],))


# ── lora.case ────────────────────────────────────────────────────────────────────────────────

CLEARS = ({"rank": 64, "alpha": 128, "lr": 3e-3}, {"rank": 1, "alpha": 16, "lr": 3e-3})
CONVICTS = ({"rank": 1, "alpha": 16, "lr": 3e-3}, {"rank": 1, "alpha": 128, "lr": 3e-3})
ASKED = 8           # the rank at which the lesson has the reader ask before
SAME_SIZE = 1.1     # two sizes of a first update are called equal within this factor


def run_case(pairs: Any, case: Any) -> list:
    """Hand on the two pairs with Python's own numbers."""
    return [[{key: plain(value) for key, value in setting.items()}
             if isinstance(setting, Mapping) else None for setting in pair]
            if isinstance(pair, Sequence) and not isinstance(pair, str) else None
            for pair in pairs]


def judge_case(_: Any, found: Any) -> Verdict:
    """Look both pairs up in the record: recorded, decided, controlled."""
    if not isinstance(found, list) or len(found) != 2:
        return Verdict(False, f"What came back is {named(found)}, not the check's report.")
    told = []
    for name, pair in zip(("clears", "convicts"), found):
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_setting, pair)):
            return rejected("not_settings", f"{name} is not two dicts with exactly rank, alpha and "
                                            "lr, three numbers above zero.")
        pair = [setting | {"rank": int(setting["rank"])} for setting in pair]    # 8.0 is 8
        rows = [recorded.runs(**setting) for setting in pair]
        for setting, runs in zip(pair, rows):
            told_of = f"In {name}: {recorded.words(**setting)}"
            if not runs:
                return rejected("not_recorded", f"{told_of} is not in the record.")
            if len(runs) == 1:
                return rejected("one_seed", f"{told_of} was run with one seed only.")
        ends = [recorded.ends(runs) for runs in rows]
        told.append(f"{name}: " + " and ".join(f"{records.accuracy(runs)[0]:.1%}" for runs in rows))
        if sorted(ends) != ["fails", "learns"]:
            return rejected("same_outcome", f"In {name} the two end at " + " and at ".join(
                f"{records.accuracy(runs)[0]:.1%}" for runs in rows) + ".")
        if verdict := (_same_size if name == "clears" else _alpha_alone)(*pair):
            return verdict
    return Verdict(True, "; ".join(told) + ". The size is cleared, and alpha alone is enough to "
                                           "make a run fail.")


def _is_setting(setting: Any) -> bool:
    return isinstance(setting, dict) and setting.keys() == {"rank", "alpha", "lr"} and all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
        for value in setting.values()) and setting["rank"] == int(setting["rank"])


def _same_size(one: Mapping, other: Mapping) -> Verdict | None:
    sizes = [recorded.first_size(**setting) for setting in (one, other)]
    if max(sizes) > SAME_SIZE * min(sizes):
        return rejected("other_size", "In clears, the first ‖ΔW‖ of one is "
                                      f"{max(sizes) / min(sizes):.3g} times that of the other.")
    return None


def _alpha_alone(one: Mapping, other: Mapping) -> Verdict | None:
    differing = [key for key in one if not math.isclose(one[key], other[key], rel_tol=0.01)]
    if differing != ["alpha"]:
        return rejected("not_controlled", f"In convicts the two differ in {_and(differing)}.")
    highest = max(one["rank"], other["rank"])
    if highest >= ASKED:
        return rejected("rank_suspected" if highest > ASKED else "asked_already",
                        f"In convicts the one that fails has rank {highest}.")
    return None


def _and(names: Sequence[str]) -> str:
    return " and ".join(names) or "nothing"


CASE = Exercise(
    id="lora.case", lesson="07", names=("clears", "convicts"), points=2, minutes=9, difficulty=3,
    answer=VALUE, reference=(f"{HERE}:CLEARS", f"{HERE}:CONVICTS"),
    cases=lambda seed: [{"record": "lora"}], run=run_case, judge=judge_case,
    mistakes={
        "not_settings": "Each of the two is a pair of dicts with rank, alpha and lr.",
        "not_recorded": "The list above has the settings that were trained.",
        "one_seed": "Runs of this task differ by up to twenty points between seeds where they "
                    "fail: take a setting with three.",
        "same_outcome": "One of the two must learn (78 % or more) and the other fail (74 % or "
                        "less): otherwise nothing is decided.",
        "other_size": "Then the size could still be to blame. It goes with alpha · lr / √rank.",
        "not_controlled": "Alpha is on trial, so it alone may differ: of two things that differ, "
                          "either could have done it.",
        "rank_suspected": "There, somebody will say that it was the rank. Show it below rank 8.",
        "asked_already": "Of rank 8 the lesson has asked already. If you are right, it holds at "
                         "another rank, too: predict it, then ask.",
    },
    hints=("For each explanation, ask what it forbids. Equal sizes with different ends: that is "
           "what \"it is the size\" forbids.",
           "The size of the first update goes with alpha · lr / √rank. Which settings of the list "
           "have that of rank 64 with alpha 128?",
           "For the second pair, stay at one rank below 8. Where does the list have two values of "
           "alpha?"))


# ── lora.merge ───────────────────────────────────────────────────────────────────────────────


def merged(layer: Adapter) -> nn.Linear:
    """Return a plain linear layer with weight W + s B A, of any layer with base, A, B and scale."""
    base = layer.base
    linear = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None,
                       dtype=base.weight.dtype, device=base.weight.device)
    with torch.no_grad():
        linear.weight.copy_(base.weight.float() + layer.scale * layer.B @ layer.A)
        if base.bias is not None:
            linear.bias.copy_(base.bias)
    return linear


class _Bare(Adapter):
    """A finished layer that has what the task names, and no method that would do it."""

    def __init__(self, case: Mapping):
        super().__init__(frozen_linear(case))
        self.scale = _scale(case)
        self.A, self.B = (nn.Parameter(case[name].clone()) for name in ("A", "B"))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return (y + self.scale * x.float() @ self.A.T @ self.B.T).to(y.dtype)


def _changed(layer: nn.Module, before: Mapping[str, Any]) -> str:
    """Name the first thing of a layer that is not what it was, or none."""
    after = _state(layer)
    return next((name for name in (*before, *after) if not (
        name in before and name in after and _alike(before[name], after[name]))), "")


def _state(layer: nn.Module) -> dict[str, Any]:
    """What a finished layer is, but the weight of its base, which is asked for alone."""
    base = layer.base
    state = {"layer.scale": layer.scale, "layer.training": layer.training,
             "layer.base.training": base.training, "layer.base.in_features": base.in_features,
             "layer.base.out_features": base.out_features}
    for name, p in layer.named_parameters():
        state[f"layer.{name}.requires_grad"] = p.requires_grad
        if name != "base.weight":
            state[f"layer.{name}"] = p.detach().clone()
    return state


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


class _Elsewhere(TorchDispatchMode):
    """Lets "meta", a device without numbers, be read from the CPU, as a GPU can be: it holds zeros.

    So a base can lie on another device where there is no GPU.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, aten = kwargs or {}, torch.ops.aten
        if function is aten._local_scalar_dense.default and args[0].is_meta:
            return 0.0
        if function is aten.copy_.default and args[1].is_meta and not args[0].is_meta:
            return args[0].zero_()
        to = kwargs.get("device")
        if function is aten._to_copy.default and args[0].is_meta and to and to.type != "meta":
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=to)
        return function(*args, **kwargs)


def _at_home(merged, case: dict) -> bool:
    """Whether what is merged lies where the base does, which is not where torch makes tensors."""
    layer = _Bare(case).to("meta")
    try:
        with torch.device("cpu"), _Elsewhere():
            return all(p.is_meta for p in merged(layer).parameters())
    except RuntimeError as error:    # two devices meet, but in `p.data = …`, which a GPU allows
        return "incompatible tensor type" in str(error)


def _is_plain(linear: nn.Linear, x: Tensor) -> bool:
    """Whether a layer gives x Wᵀ + b, and nothing hangs on it that changes that."""
    try:
        return bool(torch.equal(linear(x), nn.functional.linear(x, linear.weight, linear.bias)))
    except RuntimeError:
        return True    # shapes or dtypes that do not fit: the judge names them by the weight


def run_merge(merged, case: dict) -> dict[str, Any]:
    """Merge a finished layer twice; report what came out, and whether the layer changed."""
    layer = _Bare(case)
    before = _state(layer)
    linear = merged(layer)
    seen = {"type": named(linear), "is_linear": type(linear) is nn.Linear,
            "is_base": linear is layer.base, "changed": _changed(layer, before)}
    if not seen["is_linear"]:
        return seen
    seen["features"] = [linear.in_features, linear.out_features]
    again = merged(layer)
    own = {p.data_ptr() for p in linear.parameters()}
    return seen | {"shared": not own.isdisjoint(p.data_ptr() for p in layer.parameters()),
                   "is_plain": _is_plain(linear, case["x"]),
                   "weight": linear.weight.detach().clone(), "again": again.weight.detach().clone(),
                   "bias": None if linear.bias is None else linear.bias.detach().clone(),
                   "W_after": layer.base.weight.detach().clone(),
                   "at_home": _at_home(merged, case)}


def judge_merge(case: dict, seen) -> Verdict:
    if odd := strange(seen, "type", "is_linear", "changed", type=str, is_linear=bool,
                      is_base=bool, changed=str, features=list, shared=bool, weight=Tensor,
                      again=Tensor, bias=(Tensor, NoneType), W_after=Tensor, at_home=bool,
                      is_plain=bool):
        return odd
    W, b = case["W"], case["b"]
    if seen["type"] == "None":
        return rejected("no_return")
    if not seen["is_linear"]:
        return rejected("not_linear", f"merged(layer) returned {seen['type']}.")
    if seen["is_base"] or not torch.equal(seen["W_after"], W):
        return rejected("base_changed", "After merged(layer), layer.base.weight is not what it was."
                        if not seen["is_base"] else "merged(layer) returned layer.base.")
    if seen["changed"]:
        return rejected("layer_changed", f"After merged(layer), {seen['changed']} is not what it "
                                         "was.")
    if tuple(seen["weight"].shape) != tuple(W.shape):
        return rejected("transposed", f"The weight is {tuple(seen['weight'].shape)}; expected "
                                      f"{tuple(W.shape)}.")
    if seen["features"] != [W.shape[1], W.shape[0]]:
        return rejected("sizes_swapped", "in_features and out_features of what came out are "
                                         f"{seen['features']}; expected {[*W.shape[::-1]]}.")
    if seen["weight"].dtype != W.dtype:
        return rejected("dtype", f"The base is {W.dtype}, the merged weight "
                                 f"{seen['weight'].dtype}.")
    s, delta = _scale(case), case["B"] @ case["A"]    # (n_out, n_in)
    right = (W.double() + s * case["B"].double() @ case["A"].double()).to(W.dtype)
    if not close(seen["weight"], right):
        told = f"It is not W + s B A. {difference('The weight', seen['weight'], right)}"
        for mistake, weight in {"nothing_added": W, "no_scale": W + delta,
                                "scaled_twice": W + s * s * delta, "delta_only": s * delta,
                                "subtracted": W - s * delta,
                                "twice": W + 2 * s * delta}.items():
            if close(seen["weight"], weight.to(W.dtype)):
                return rejected(mistake, told)
        return Verdict(False, told)
    if W.dtype != torch.float32 and (off := (seen["weight"] != right).float().mean()) > 0.05:
        return rejected("summed_in_half", f"In {W.dtype}, {off:.0%} of the numbers are not those "
                                          "next to W + s B A.")
    if (seen["bias"] is None) != (b is None):
        return (rejected("bias_lost", "The base has a bias, the merged layer has none.")
                if b is not None else
                rejected("bias_invented", "The base has no bias, the merged layer has one."))
    if b is not None and not torch.equal(seen["bias"], b):
        return rejected("bias_changed", difference("The bias", seen["bias"], b))
    if not seen["is_plain"]:
        return rejected("not_linear", "Called, it gives something else than x Wᵀ + b.")
    if not torch.equal(seen["weight"], seen["again"]):
        return rejected("base_changed", "Merged a second time, the weight is another.")
    if seen["shared"]:
        return rejected("shared", "A parameter of the merged layer is the base's own.")
    if not seen["at_home"]:
        return rejected("device", "With the base on another device than the CPU, the merged layer "
                                  "is not where the base is.")
    return Verdict(True, "One plain layer, the same outputs, and the adapter is untouched.")


MERGE_MISTAKES = {
    "not_linear": "A new, plain nn.Linear is wanted: nothing of the adapter should remain.",
    "base_changed": "The layer's own base was changed. Merging twice, or going on with training "
                    "after it, must not add the correction again.",
    "layer_changed": "`layer` itself was changed: A, B, scale, bias, or what of it trains.",
    "sizes_swapped": "nn.Linear(n_in, n_out) takes the inputs first, though its weight is "
                     "(n_out, n_in).",
    "transposed": "The correction has the shape of W as it is: no transpose is needed.",
    "dtype": "The merged layer has the dtype of the base.",
    "device": "nn.Linear makes its parameters on the CPU unless it is told where; a base may lie "
              "on a GPU.",
    "misfit": "B is (n_out, rank) and A is (rank, n_in). In which order do they make a matrix of "
              "the shape of W?",
    "no_return": NO_RETURN,
    "summed_in_half": "Near, but rounded more than once: the sum belongs to float32.",
    "shared": "The new layer holds a parameter of the old one, so training one would change the "
              "other.",
    "nothing_added": "That is W alone.",
    "no_scale": "The scale is missing.",
    "scaled_twice": "The scale is applied twice.",
    "delta_only": "That is the correction alone.",
    "subtracted": "The correction is subtracted.",
    "twice": "The correction is added twice.",
    "bias_lost": "The outputs need the same bias as before.",
    "bias_invented": "nn.Linear makes a bias unless it is told not to.",
    "bias_changed": "The bias does not change: LoRA corrects the weight only.",
}

MERGE = Exercise(
    id="lora.merge", lesson="07", names=("merged",), points=2, minutes=9, difficulty=2,
    reference=f"{HERE}:merged",
    equivalents=("peft_teach.methods.lora:LoRALinear.merged",),
    cases=linear_cases, run=run_merge, judge=judge_merge, mistakes=MERGE_MISTAKES,
    hints=("Take x out of the equation's two products. What stands in the bracket?",
           "Check your function as the check does: on a layer with random A and B, compare the two "
           "outputs, and look at the layer's own weight afterwards.",
           "In bfloat16, two roundings are one too many: which of your sums and products are not "
           "in float32?"))


# ── lora.pairs ───────────────────────────────────────────────────────────────────────────────

SURE = 2         # standard errors of a difference, beyond which it is called one
POINT = 0.01     # and at least this much, about one standard error of a test
BETTER, WORSE, NONE = WORDS = ("better", "worse", "no difference seen")

class Ours(list):
    """Our own list, so that it is never taken for an answer of the reader's."""


VERDICTS = Ours((BETTER, NONE, WORSE))    # of the record, as `verdicts` finds them
COMMITTED = "lora.pairs"    # the name of the prediction, the first of which stands


def verdicts() -> list[str]:
    """Return what the record says of each pair."""
    return [verdict(*difference_of(pair)) for pair in recorded.pairs()]


def difference_of(pair: Sequence[Sequence[dict]]) -> tuple[float, float]:
    """Return by how much the runs of the one are better than those of the other, and its error."""
    (one, spread), (other, other_spread) = map(records.accuracy, pair)
    error = math.sqrt(spread**2 / len(pair[0]) + other_spread**2 / len(pair[1]))
    return one - other, error


def verdict(gap: float, error: float) -> str:
    """Return what a difference of two means is called."""
    if abs(gap) <= max(POINT, SURE * error):
        return NONE
    return BETTER if gap > 0 else WORSE


def accepted(gap: float, error: float) -> set[str]:
    """Return what may be said of a difference: two things where the seeds leave it open."""
    return {verdict(gap + shift, error) for shift in (-error, 0, error)}


def run_pairs(verdicts: Any, case: Any) -> dict[str, Any]:
    """Hand on what stands committed, and what is said now where nothing does."""
    now, stands = said(verdicts), work.committed(COMMITTED)
    if stands is None or now["said"] == stands:
        return now | {"stands": False}
    return said(stands) | {"stands": True}


def said(verdicts: Any) -> dict[str, Any]:
    """Return what was said, in small letters, and of what type it was."""
    if isinstance(verdicts, Mapping):
        numbered = all(isinstance(key, int) for key in verdicts)
        verdicts = [verdicts[key] for key in (sorted(verdicts) if numbered else verdicts)]
    if isinstance(verdicts, np.ndarray):
        verdicts = verdicts.tolist()
    if not isinstance(verdicts, Sequence) or isinstance(verdicts, str):
        return {"said": [], "type": named(verdicts)}
    return {"said": [" ".join(str(each)[:40].lower().split()) for each in verdicts],
            "type": named(verdicts)}


def judge_pairs(_: Any, seen: Any) -> Verdict:
    """Count what agrees with the record; name the mistake of the first that does not."""
    if odd := strange(seen, "said", "type", "stands", said=list, type=str, stands=bool):
        return odd
    pairs = recorded.pairs()
    if len(seen["said"]) != len(pairs) or not all(each in WORDS for each in seen["said"]):
        return rejected("not_verdicts", f"It is {seen['type']} with {seen['said']}.")
    right = [accepted(*difference_of(pair)) for pair in pairs]
    wrong = [i for i, each in enumerate(seen["said"]) if each not in right[i]]
    told = f"{len(pairs) - len(wrong)} of {len(pairs)} agree with the record."
    if seen["stands"]:
        told = f"What you committed first is judged: {', '.join(seen['said'])}. {told}"
    if not wrong:
        return Verdict(True, told)
    said, gap = seen["said"][wrong[0]], difference_of(pairs[wrong[0]])[0]
    mistake = "too_shy" if said == NONE else "wrong_way" if (
        (said == BETTER) != (gap > 0) and NONE not in right[wrong[0]]) else "too_sure"
    return rejected(mistake, told)


PAIRS = Exercise(
    id="lora.pairs", lesson="07", names=("verdicts",), points=2, minutes=5, difficulty=2,
    answer=VALUE, reference=f"{HERE}:VERDICTS",
    cases=lambda seed: [{"record": "lora"}], run=run_pairs, judge=judge_pairs,
    mistakes={
        "not_verdicts": "Wanted is a list of three, each \"better\", \"worse\" or \"no difference "
                        "seen\".",
        "too_sure": "In one pair you see a difference that three seeds do not show. Does it differ "
                    "in anything that the first step feels?",
        "too_shy": "In one pair there is a difference that no seed contradicts.",
        "wrong_way": "In one pair it is the other way round.",
    },
    hints=("For each pair: which of rank, alpha, rate and scale differs, and what did the lesson "
           "find about that one?",
           "Work out alpha times the rate for both of a pair, before all else. Of pair 3, first "
           "work out s: which alpha would have given it by alpha / rank?",
           "How far apart must two means be, if the seeds of one setting lie a point apart?"))


# ── lora.forty_kb ────────────────────────────────────────────────────────────────────────────

WIDTHS = dict.fromkeys(("query", "key", "value", "attention_out"), 384 + 384)    # n_in + n_out
WIDTHS |= {"ffn_in": 384 + 1536, "ffn_out": 1536 + 384}
OUTPUTS = dict.fromkeys(WIDTHS, 384) | {"ffn_in": 1536}    # what a bias would add
LIMIT = 10_000      # parameters of 4 bytes: 40 kB
GROUPS = ("ranks", "layers", "forty_kb")    # of the record, where alpha is twice the rank
CLOSE = 0.01        # a point: about one standard error of one test
KNOWN = {"rank": 1, "targets": ["query", "value"], "layers": None}    # the lesson has told it
SHIP = methods.lora.Config(rank=2, alpha=4, targets=("value",))
LEAVE = methods.lora.Config(rank=6, alpha=12, targets=("query", "value"), layers=(5,))


def candidates() -> list[list[dict]]:
    """Return the recorded LoRA runs of at most `LIMIT` parameters, by setting, but for the known.
    """
    return records.by_setting([
        row for row in records.load("lora")["runs"]
        if row["group"] in GROUPS and row["parameters"] <= LIMIT
        and any(row[name] != value for name, value in KNOWN.items())])


def run_forty_kb(choices: Any, case: dict) -> dict[str, dict[str, Any]]:
    """Hand on the two settings as plain data."""
    return {name: _as_data(config) for name, config in zip(("ship", "leave"), choices)}


def _as_data(config: Any) -> dict[str, Any]:
    if not isinstance(config, methods.lora.Config):
        return {"type": named(config)}
    layers = None if config.layers is None else sorted(set(config.layers), key=str)
    targets = ("query", "value") if config.targets is None else config.targets    # the default
    return {"type": "a Config", "rank": config.rank, "targets": list(targets),
            "layers": None if layers == list(range(6)) else layers, "dropout": config.dropout,
            "use_bias": bool(config.use_bias),
            "scale": methods.lora.scale(config.rank, config.alpha, config.rank_stabilized)}


def judge_forty_kb(case: dict, seen: Any) -> Verdict:
    """Look both choices up in the record: one near the best of its size, one not."""
    if odd := strange(seen, "ship", "leave", ship=dict, leave=dict):
        return odd
    for name in ("ship", "leave"):
        if verdict := _is_candidate(name, seen[name]):
            return verdict
    best = max(map(records.accuracy, candidates()))[0]
    ship, leave = (records.accuracy(_runs(seen[name]))[0] for name in ("ship", "leave"))
    told = f"ship has {ship:.1%} on average over its seeds, the best of these {best:.1%}."
    if ship < best - CLOSE:
        few = seen["ship"]["layers"] is not None and len(seen["ship"]["layers"]) < 3
        return rejected("too_few_blocks" if few else "weaker", told)
    told = f"{told} leave has {leave:.1%}."
    if leave >= best - CLOSE:
        return rejected("not_worse", told)
    return Verdict(True, told)


def _is_candidate(name: str, seen: Any) -> Verdict | None:
    """Object to what is no setting, does not fit, was not measured, or is known."""
    if odd := strange(seen, "type", type=str, rank=int, targets=list, layers=(list, NoneType),
                      dropout=(int, float), scale=(int, float), use_bias=bool):
        return odd
    if seen["type"] != "a Config":
        return rejected("not_a_config", f"{name} is {seen['type']}.")
    elsewhere = [t for t in seen["targets"] if not isinstance(t, str) or t not in WIDTHS]
    if elsewhere:
        near = get_close_matches(str(elsewhere[0])[:50], WIDTHS, n=1)
        return rejected("unknown_place", f"In {name}, {elsewhere[0]!r} is no place."
                                         + (f" Did you mean {near[0]!r}?" if near else ""))
    if not all(type(layer) is int and 0 <= layer < 6 for layer in seen["layers"] or ()):
        return rejected("unknown_block", f"In {name}, layers is {seen['layers']}.")
    blocks = 6 if seen["layers"] is None else len(seen["layers"])
    if not seen["targets"] or not blocks:
        return rejected("nowhere", f"In {name}, {'layers' if seen['targets'] else 'targets'} is "
                                   "empty.")
    size = sum(blocks * (seen["rank"] * WIDTHS[t] + seen["use_bias"] * OUTPUTS[t])
               for t in seen["targets"])
    if size > LIMIT:
        return rejected("too_large", f"{name} has {size:,} parameters, {size * 4 / 1000:.0f} kB.")
    if _is(KNOWN, seen):
        return rejected("known", f"{name} is rank 1 on query and value.")
    if not (chosen := _runs(seen)):
        return rejected("not_recorded", f"{name}, rank {seen['rank']} on "
                                        f"{', '.join(seen['targets'])} ({size:,} parameters), is "
                                        "not in the record.")
    s = chosen[0]["alpha"] / chosen[0]["rank"]
    if seen["use_bias"]:
        return rejected("with_bias", f"With use_bias, {name} has {size:,} parameters.")
    if not math.isclose(seen["scale"], s) or seen["dropout"]:
        return rejected("other_scale", f"The scale of {name} is {seen['scale']:g}, its dropout "
                                       f"{seen['dropout']:g}; measured were {s:g} and 0.")
    return None


def _runs(seen: Mapping) -> list[dict]:
    """Return the runs of a chosen setting; none where it was not measured."""
    return next((runs for runs in candidates() if _is(runs[0], seen)), [])


def _is(row: Mapping, seen: Mapping) -> bool:
    return (row["rank"], row["layers"], sorted(row["targets"])) == (
        seen["rank"], seen["layers"], sorted(seen["targets"]))


FORTY_KB = Exercise(
    id="lora.forty_kb", lesson="07", names=("ship", "leave"), points=2, minutes=10, difficulty=2,
    answer=VALUE, optional=True, reference=(f"{HERE}:SHIP", f"{HERE}:LEAVE"),
    cases=lambda seed: [{"limit": LIMIT}], run=run_forty_kb, judge=judge_forty_kb,
    mistakes={
        "unknown_place": "The places are " + ", ".join(WIDTHS) + ".",
        "unknown_block": "Blocks are numbered 0 to 5; layers=None means all of them.",
        "not_a_config": "Each of the two is a pt.lora.Config(rank=…, alpha=…, targets=…, "
                        "layers=…).",
        "too_large": "40 kB hold 10,000 parameters of four bytes, whether you ship it or not.",
        "known": "Of that one you know how it ended. Choose among the others.",
        "not_recorded": "Choose one that was measured: the table above lists them.",
        "nowhere": "Such an adapter trains nothing: name a place and a block; layers=None means "
                   "all.",
        "with_bias": "Those measured have no bias of their own: leave use_bias out.",
        "other_scale": "Another alpha is another run: give alpha as in the table, twice the rank.",
        "weaker": "Another way to spend as many parameters was measured to do better.",
        "too_few_blocks": "One or two blocks with a higher rank were measured to do worse than "
                          "many blocks with a low one.",
        "not_worse": "That is within a point of the best: nothing is wrong with it.",
    },
    hints=("All that fit cost about the same. What is different is where they spend it.",
           "The figures of *Places and blocks*: is it better to be thick in one place, or thin in "
           "many? In the last block, or in all of them?",
           "Nothing above tells of these six. Which recorded setting is nearest to each?"))

EXERCISES = (COUNT, LAYER, START, CASE, MERGE, PAIRS, FORTY_KB)
