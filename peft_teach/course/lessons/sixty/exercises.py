"""The exercises of lesson 13: an equation, five methods by their forms, one of your own."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from ....adapter import Adapter
from ....errors import NotMergeable
from ...checks import merge_judge
from ...checks.adapter_judge import MISTAKES, Method, frozen_linear, linear_case
from ...checks.exercise import VALUE, Exercise, Verdict
from ...checks.judge import drawing, named, number, rejected, report, scalar, stages
from ...checks.merge_judge import Merge

# ── sixty.road ───────────────────────────────────────────────────────────────────────────────


def road_cases(seed: int) -> list[dict]:
    """Return layers that differ in shape, bias and dtype, with inputs, angles and gains."""
    draw = drawing(13_000 + seed)
    cases = [linear_case(draw, n_in, n_out, bias, dtype, batch)
             | {"theta": draw(n_out // 2), "alpha": 0.5 + draw(n_out // 2).abs()}
            for n_in, n_out, bias, dtype, batch in (
                (4, 4, True, torch.float32, (2,)), (3, 8, True, torch.float32, (2, 3)),
                (6, 2, False, torch.float32, (3,)), (384, 384, True, torch.float32, (2, 3)),
                (8, 6, True, torch.bfloat16, (3, 2)))]
    return [*cases, cases[-1] | {"theta": torch.zeros(3), "alpha": torch.full((3,), 1.003)}]


def turned(y: Tensor, theta: Tensor, alpha: Tensor) -> Tensor:
    """Return R y: each pair (2i, 2i + 1) of features turned by theta_i and scaled by alpha_i."""
    first, second = y[..., ::2], y[..., 1::2]                         # (…, n_out / 2)
    c, s = alpha * theta.cos(), alpha * theta.sin()
    return torch.stack([c * first - s * second, s * first + c * second], -1).flatten(-2)


def road(base: nn.Module, case: Mapping) -> Tensor:
    """Return what the layer gives."""
    y = base(case["x"])
    return turned(y.float(), case["theta"], case["alpha"]).to(y.dtype)


def usual_turns(base: nn.Module, case: Mapping) -> dict[str, Tensor]:
    """Return what the usual mistakes give."""
    y, theta, alpha = base(case["x"]).float(), case["theta"], case["alpha"]
    n = len(theta)
    halves = turned(y.unflatten(-1, (2, n)).mT.flatten(-2), theta, alpha)
    found = {"turned_back": turned(y, -theta, alpha),
             "not_scaled": turned(y, theta, torch.ones_like(alpha)),
             "other_pairs": halves.unflatten(-1, (n, 2)).mT.flatten(-2)}
    if case["b"] is not None:
        b = case["b"].float()
        found["bias_spared"] = turned(y - b, theta, alpha) + b
    if case["n_in"] == case["n_out"]:
        found["inputs_turned"] = base(turned(case["x"].float(), theta, alpha).to(case["x"].dtype))
    return found


ROAD_METHOD = Method(
    name="RoAd", base=frozen_linear, own=("theta", "alpha"), equation=road,
    formula="R (x Wᵀ + b)", usual=usual_turns,
    praise="It starts as the base, turns and scales pairs, and merges with its bias.")


def merged_right(case: Mapping) -> tuple[Tensor, Tensor | None]:
    """Return the merged weight R W, and the bias R b."""
    W, b = case["W"], case["b"]
    parts = case["theta"], case["alpha"]
    return (turned(W.float().T, *parts).T.to(W.dtype),
            None if b is None else turned(b.float(), *parts).to(b.dtype))


def merged_usual(case: Mapping) -> dict[str, Tensor]:
    """Return the weights and biases that the usual mistakes give."""
    return {} if case["b"] is None else {"bias_left": case["b"]}


ROAD_MERGED = Merge(name="merged", layer=lambda case: nn.Identity(), right=merged_right,
                    formula="R W", usual=merged_usual, praise=ROAD_METHOD.praise)


def run_road(adapter: Any, case: Mapping) -> dict[str, Any]:
    """Try the class as any adapter; then fill one in, and merge it."""
    def filled(case: Mapping) -> nn.Module:
        layer = adapter(frozen_linear(case))
        with torch.no_grad():
            for name in ROAD_METHOD.own:
                getattr(layer, name).copy_(case[name])
        return layer

    seen = ROAD_METHOD.run(adapter, case)
    if "again" not in seen or seen["shapes"] != ROAD_METHOD.shapes(case):
        return seen
    return seen | {"merged": replace(ROAD_MERGED, layer=filled).run(
        lambda layer: layer.merged(), case)}


def judge_road(case: Mapping, seen: Any) -> Verdict:
    """Ask what every adapter is asked, and then what every merge is."""
    verdict = ROAD_METHOD.judge(case, seen)
    if not verdict.passed:
        return verdict
    told = "With theta = 0 and alpha = 1.003 in bfloat16, "
    if torch.equal(seen["y"], frozen_linear(case)(case["x"])):
        return rejected("coarse", f"{told}no output moves; computed in float32 most do.")
    verdict = ROAD_MERGED.judge(case, seen["merged"])
    if verdict.passed and torch.equal(seen["merged"]["weight"], case["W"]):
        return rejected("coarse", f"{told}no entry of the merged weight moves; computed in "
                                  "float32 most do.")
    return verdict


ROAD = Exercise(
    id="sixty.road", names=("RoAd",), points=3, minutes=15, difficulty=2,
    cases=road_cases, run=run_road, judge=judge_road,
    returns=ROAD_METHOD.returns(merged=ROAD_MERGED.returns),
    mistakes=MISTAKES | {name: merge_judge.MISTAKES[name]
                         for name in ("layer_changed", "bias_lost", "shared")} | {
        "start_differs": "At which angle, and at which scale, is R the identity?",
        "dtype": "Outputs and the merged layer have the dtype of the base; theta and alpha are "
                 "float32.",
        "turned_back": "Each pair turns the other way: which of the two sines has the minus?",
        "not_scaled": "The pairs are turned; alpha, which scales them, does nothing.",
        "other_pairs": "Those are other pairs: feature i with feature i + n_out / 2. In the paper "
                       "neighbours form a pair.",
        "bias_spared": "R stands in front of the whole output, and b is a part of it.",
        "inputs_turned": "R stands behind W: it turns what the layer gives.",
        "coarse": "Round the sum and not its factors: in bfloat16 1.003 is 1.",
        "bias_left": "R (x Wᵀ + b) has two terms, and R reaches both.",
    },
    hints=("Write down the two numbers that one pair becomes; then all pairs at once.",
           "h[..., ::2] and h[..., 1::2] are the first and the second of each pair.",
           "A merge puts R in front of W and of b: the rows of W are pairs, too."))

# ── sixty.places ─────────────────────────────────────────────────────────────────────────────

D = 384
# Whether it merges, the highest rank of ΔW (None: there is no ΔW), and the numbers in a file.
PLACES = {"VeRA": (True, 256, 640), "OFT": (True, 384, 5952), "MiSS": (True, 16, 6144),
          "HiRA": (True, 384, 3072), "bottleneck": (False, None, 6144)}
FIELDS = ("merges", "rank", "numbers")
# What the usual mistakes say of a method's rank or numbers.
USUAL = {
    ("VeRA", "numbers"): {"random_kept": 640 + 2 * 256 * D}, ("VeRA", "rank"): {"rank_of": D},
    ("OFT", "numbers"): {"redundant": (12 * 32 * 32, D * D, 12 * 32 * 33 // 2)},
    ("OFT", "rank"): {"rank_of": 32},
    ("MiSS", "rank"): {"rank_of": D}, ("MiSS", "numbers"): {"copies": D * D},
    ("HiRA", "rank"): {"rank_of": 4}, ("bottleneck", "rank"): {"no_matrix": 8},
}


def run_places(places: Any, case: Any) -> dict[str, Any]:
    """Hand on the table in one form: a list of three for each method."""
    said = {}
    for name, row in places.items() if isinstance(places, Mapping) else ():
        several = row[:9] if isinstance(row, list | tuple) else [row]
        said[str(name)[:40]] = [scalar(each) if isinstance(scalar(each), bool | int | float | None)
                                else named(each) for each in several]
    return {"said": said, "type": named(places)}


def judge_places(case: Any, seen: Mapping) -> Verdict:
    """Compare with what holds, one field after the other."""
    said = seen["said"]
    if set(said) != set(PLACES):
        return rejected("not_a_table", f"You gave {seen['type']} with the names "
                                       f"{', '.join(sorted(said)) or 'none'}.")
    for name, row in said.items():
        if len(row) != len(FIELDS) or not isinstance(row[0], bool) or not (
                row[1] is None or number(row[1]) is not None) or number(row[2]) is None:
            return rejected("not_a_row", f"{name}: {', '.join(map(str, row))}.")
    right = sum(tuple(said[name]) == PLACES[name] for name in PLACES)
    told = f"{right} of {len(PLACES)} rows are right."
    for at, field in enumerate(FIELDS):
        for name, row in said.items():
            if row[at] == PLACES[name][at]:
                continue
            told = f"{told} {name}, {field}: {row[at]} does not hold."
            if field == "merges":
                return rejected("merges", told)
            for mistake, numbers in USUAL.get((name, field), {}).items():
                if row[at] in (numbers if isinstance(numbers, tuple) else (numbers,)):
                    return rejected(mistake, told)
            return Verdict(False, told)
    return Verdict(True, "Five methods, from their equations alone.")


PLACED = Exercise(
    id="sixty.places", names=("places",), points=3, minutes=8, difficulty=2,
    answer=VALUE, cases=lambda seed: [{"d": D}], run=run_places, judge=judge_places,
    returns=report(said=dict[str, list[bool | int | float | str | None]], type=str),
    mistakes={
        "not_a_table": "Wanted is a dict with the five names of the table.",
        "not_a_row": "Each row is a list of three: True or False, a whole number or None, a whole "
                     "number.",
        "merges": "Is what it adds a fixed matrix times x? Then it can be added to W.",
        "random_kept": "A and B are drawn again from a seed: no file needs them.",
        "redundant": "A skew-symmetric block is known by what lies above its diagonal.",
        "copies": "The shards are copies of one another: a file needs one.",
        "rank_of": "How many rows of such a ΔW can be linearly independent? Try it: "
                   "torch.linalg.matrix_rank of one that you draw in float64.",
        "no_matrix": "Where ΔW does not exist it has no rank: None.",
    },
    hints=("Two questions first: which tensors train, and is the change a matrix times x?",
           "Ranks: a product has at most the smaller one; an entry-wise product with a full W "
           "is no longer of low rank.",
           "Draw each ΔW in a line, in float64, and ask torch.linalg.matrix_rank."))

# ── sixty.mine ───────────────────────────────────────────────────────────────────────────────

NEAR = 1e-4    # of the largest output: how far an untrained layer may be from its base
STEPS = 3


def mine_cases(seed: int) -> list[dict]:
    """Return layers with sizes that 48 divides, with and without a bias, inputs and targets."""
    draw = drawing(13_500 + seed)
    return [linear_case(draw, n_in, n_out, bias, torch.float32, (2, 16))
            | {"target": draw(2, 16, n_out)} for n_in, n_out, bias in (
                (48, 48, True), (384, 384, True), (48, 96, False))]


def run_mine(given: Any, case: Mapping) -> dict[str, Any]:
    """Make one, train it for a few steps, and merge it; report what each law asks about."""
    mine, count = given
    base, unmade = frozen_linear(case), torch.get_rng_state()
    layer, x = mine(base), case["x"]
    made = torch.get_rng_state()
    seen: dict[str, Any] = {"type": named(layer), "is_adapter": isinstance(layer, Adapter)}
    if not seen["is_adapter"] or layer.base is not base:
        return seen | {"holds_base": False}
    own = {name: p for name, p in layer.own_parameters().items() if p.requires_grad}
    frozen = {*base.modules()}
    trained = {p.data_ptr() for p in own.values()}
    said = scalar(count(case["n_in"], case["n_out"]))
    new = getattr(layer, "new", "")
    seen |= {"holds_base": True, "new": new[:600] if isinstance(new, str) else "",
             "frozen": not any(p.requires_grad for p in base.parameters()),
             "numbers": sum(p.numel() for p in own.values()),
             "count": named(said) if number(said) is None else number(said),
             "buffers": [name for name, kept in layer.state_dict().items()
                         if not name.startswith("base.") and kept.data_ptr() not in trained],
             "loose": [name for module in layer.modules() if module not in frozen
                       for name in sorted(vars(module).keys() - vars(nn.Module()).keys())
                       if any(isinstance(held, Tensor) for held in _held(vars(module)[name]))],
             "start": layer.eval()(x).detach().clone(), "asleep": sorted(own)}
    seen["dtypes"] = [f"{name} is {str(p.dtype)[6:]}" for name, p in (
        own | {"the output": seen["start"]}).items() if p.dtype != torch.float32]
    if not own:
        return seen
    layer.train()
    below = x.clone().requires_grad_()    # as from an adapter below
    awake = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in own.items()}
    for _ in _steps(own.values(), lambda: layer(below), case["target"]):
        for name, p in own.items():
            awake[name] |= False if p.grad is None else p.grad != 0
    seen["asleep"] = [name for name in sorted(own) if 2 * awake[name].sum() < own[name].numel()]
    with torch.no_grad():
        before = _random_states()
        training, y = layer(x).clone(), layer.eval()(x).clone()
        seen["draws"] = before != _random_states()
        alone = torch.stack([torch.cat([layer(x[i:i + 1, j:j + 1])[0] for j in range(x.shape[1])])
                             for i in range(len(x))])
        twin = mine(base)
        reseeds = torch.equal(made, torch.get_rng_state()) and not torch.equal(made, unmade)
        twin.load_state_dict(layer.state_dict())
        twin(x[:1])    # what it sees first must not matter
        seen |= {"after": y, "training": training, "alone": alone, "reseeds": reseeds,
                 "loaded": twin.eval()(x), "again": layer(x).clone(),
                 "base_same": _is_as_drawn(base, case),
                 "slopes": _slopes(layer, x, case["target"] @ case["W"])}
        merges, merged = callable(layer.merged), None
        try:
            merged = layer.merged() if merges else None
        except (NotMergeable, NotImplementedError):
            merges = False
        is_plain = type(merged) is nn.Linear
        return seen | {
            "merged": merged(x) if is_plain else torch.empty(0),
            "plain": named(merged) if merges and not is_plain else "",
            "shared": is_plain and not {p.data_ptr() for p in merged.parameters()}.isdisjoint(
                p.data_ptr() for p in layer.parameters()),
            "unmerged": _is_as_drawn(base, case) and _near(layer(x), y) and all(
                p.requires_grad == (name in own) for name, p in layer.named_parameters())}


def _random_states() -> tuple[bytes, str]:
    """Return what the next random numbers of torch, Python and NumPy depend on."""
    return (torch.get_rng_state().numpy().tobytes(),
            f"{random.getstate()} {numpy.random.get_state()}")


def _held(kept: Any) -> Iterable:
    """Return what a list or dict holds, or the thing itself."""
    if isinstance(kept, dict):
        return kept.values()
    return kept if isinstance(kept, list | tuple) else [kept]


def _is_as_drawn(base: nn.Module, case: Mapping) -> bool:
    return all(map(torch.equal, base.parameters(), frozen_linear(case).parameters()))


def _slopes(layer: Adapter, x: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """Return how a sum of what it adds changes along a direction of x: by autograd, and without.

    A token each; `along` is the direction, and weighs the sum.
    """
    little = 1e-3 * along / along.abs().max()
    weights = torch.randn(*x.shape[:-1], layer.base.out_features)

    def added(x: Tensor) -> Tensor:
        return (weights * (layer(x) - layer.base(x))).sum(-1)

    with torch.enable_grad():
        at = x.clone().requires_grad_()
        slope = torch.autograd.grad(added(at).sum(), at)[0]
    return (slope * little).sum(-1), (added(x + little) - added(x - little)) / 2


def _steps(own: Iterable[Tensor], forward: Callable[[], Tensor], target: Tensor) -> Iterator[None]:
    """Train for a few steps; yield after each backward pass."""
    optimizer = torch.optim.AdamW(own, lr=1e-2)
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.enable_grad():
            (forward() - target).square().mean().backward()
        yield
        optimizer.step()


def judge_mine(case: Mapping, seen: Mapping) -> Verdict:
    """Ask one law after the other, the cheapest first."""
    right = frozen_linear(case)(case["x"])
    told = f"On a layer of {case['n_in']} inputs and {case['n_out']} outputs: "
    if not seen["is_adapter"]:
        return rejected("not_adapter", f"Mine(base) made {seen['type']}, which is no pt.Adapter.")
    if not seen["holds_base"]:
        return rejected("base_lost", "Its base is not the module that it was given.")
    if not seen["frozen"]:
        return rejected("base_trained", "A parameter of the base has requires_grad = True.")
    if seen["buffers"]:
        return rejected("buffer", f"It would keep {seen['buffers'][0]} in a file, which trains "
                                  "nothing.")
    if not seen["numbers"] or "after" not in seen:
        return rejected("nothing_trains", f"{told}it has no parameter of its own that trains.")
    if seen["loose"]:
        return rejected("buffer", f"{seen['loose'][0]} is a plain tensor: it stays behind when the "
                                  "layer goes to a GPU.")
    if seen["dtypes"]:
        return rejected("dtype", f"{seen['dtypes'][0]}; expected float32.")
    if seen["count"] != seen["numbers"]:
        return rejected("miscounted", f"{told}count gives {seen['count']}, and it trains "
                                      f"{seen['numbers']:,}.")
    if not _near(seen["start"], right):
        return rejected("start_differs", f"{told}before any training its output is not the base's.")
    if not seen["base_same"]:
        return rejected("base_changed", f"{told}after {STEPS} steps the base is another one.")
    if seen["asleep"]:
        return rejected("no_gradient", f"{told}in {STEPS} steps most of {seen['asleep'][0]} "
                                       "had no gradient but zero.")
    if _near(seen["after"], right):
        return rejected("idle", f"{told}after {STEPS} steps its output is still the base's.")
    if not _near(seen["again"], seen["after"]):
        return rejected("not_the_same", told + (
            "called twice it gives two outputs." if seen["after"].isfinite().all()
            else f"after {STEPS} steps its output is not finite."))
    if seen["draws"] or not _near(seen["training"], seen["after"]):
        return rejected("not_the_same", told + (
            "a call draws random numbers." if seen["draws"]
            else "train() gives another output than eval()."))
    if not _near(seen["alone"], seen["after"]):
        return rejected("batch", f"{told}a token alone gets another output than in its batch.")
    found, slope = seen["slopes"]
    if (found - slope).norm() > slope.norm() / 5 + 1e-6 * right.norm():
        return rejected("input_cut", f"{told}the gradient of its inputs leaves a part "
                                     "out, or its output jumps.")
    if seen["reseeds"] or not _near(seen["loaded"], seen["after"]):
        return rejected("buffer", told + (
            "making one changes torch's own generator." if seen["reseeds"]
            else "a second one that loads its file gives another output."))
    if seen["plain"]:
        return rejected("not_plain", f"merged() gave {seen['plain']}; expected a new nn.Linear.")
    if not seen["unmerged"]:
        return rejected("layer_changed", f"{told}merged() changed the layer that it merges.")
    if seen["shared"]:
        return rejected("shared", f"{told}the merged layer has a parameter of the old one.")
    if len(seen["merged"]) and not _near(seen["merged"], seen["after"]):
        return rejected("merge_differs", f"{told}the merged layer gives another output.")
    if not seen["new"].strip():
        return rejected("not_said", "Its `new` says nothing.")
    how = "merges" if len(seen["merged"]) else "has no merged()"
    return Verdict(True, f"It starts as its base, leaves it frozen, learns, and {how}.")


def _near(found: Any, right: Tensor) -> bool:
    return isinstance(found, Tensor) and found.shape == right.shape and bool(
        (found - right).abs().max() <= NEAR * right.abs().max())


MINE = Exercise(
    id="sixty.mine", names=("Mine", "count"), points=3, minutes=25, difficulty=3,
    cases=mine_cases, run=run_mine, judge=judge_mine, kept=False, returns=stages(
        {"type": str, "is_adapter": bool, "holds_base": bool},
        {"new": str, "frozen": bool, "numbers": int, "buffers": list[str], "loose": list[str],
         "dtypes": list[str], "count": int | float | str, "start": Tensor, "asleep": list[str]},
        {"after": Tensor, "training": Tensor, "draws": bool, "alone": Tensor, "reseeds": bool,
         "loaded": Tensor, "base_same": bool, "again": Tensor, "slopes": tuple[Tensor, Tensor],
         "merged": Tensor, "plain": str, "shared": bool, "unmerged": bool}),
    mistakes={
        **{name: MISTAKES[name] for name in ("not_adapter", "base_lost", "base_trained",
                                             "start_differs", "base_changed", "input_cut")},
        **{name: merge_judge.MISTAKES[name] for name in ("layer_changed", "shared")},
        "buffer": "What is frozen belongs in register_buffer(…, persistent=False); what is random "
                  "is drawn by a torch.Generator with a seed of its own.",
        "nothing_trains": "What trains is an nn.Parameter, an attribute of self.",
        "dtype": "What trains is float32, as pt.attach makes it, and so is the output here.",
        "miscounted": "Every parameter that it registers outside of its base counts, and nothing "
                      "else.",
        "no_gradient": "It waits behind a zero that does not move, cancels, is detached, or no "
                       "output uses it. Lesson 07: of two factors one may start at zero.",
        "idle": "Does what trains reach the output?",
        "not_the_same": "Something is changed or drawn anew by a call. Dropout is left out here.",
        "batch": "Each token of a batch has an output of its own.",
        "not_plain": "What no weight and bias can hold does not merge: leave merged out.",
        "not_said": "self.new is set by __init__: a sentence, with the nearest method and what "
                    "differs.",
        "merge_differs": "What is added to W must be what forward adds; has the bias a share in "
                         "it? If it cannot merge, have none, nor inherit one.",
    },
    hints=("Begin with your RoAd, and change its equation.",
           "It starts as its base if what is added is a product with a zero, or what multiplies "
           "is one.",
           "Count by shapes: for a layer of 384 and 384, LoRA 8 has 6,144."))

EXERCISES = (ROAD, PLACED, MINE)
