"""The exercises of lesson 10: an interval, a sweep, neighbours, many tasks in a batch, a choice."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ... import protocol, records
from ...checks.adapter_judge import frozen_linear
from ...checks.exercise import VALUE, Exercise, Verdict
from ...checks.judge import (
    close,
    difference,
    drawing,
    named,
    number,
    recognised,
    rejected,
    report,
    scalar,
)
from ...checks.observe import detached
from ...verdicts import MARGIN, T95, interval
from .forgetting import neighbours

# ── ladder.interval ──────────────────────────────────────────────────────────────────────────

EXPERIMENTS = 24      # a case
WIDEST = 1.6          # times the exact interval; that of few seeds is wider by Student's t alone
ALMOST = 0.3          # of a width: resampling twice does not give the same ends
LESS_OFTEN = 0.04     # than the reference may one hold the truth; with 5 seeds, 1.96 does by 0.07
NORMAL = 1.96


def interval_cases(seed: int) -> list[dict]:
    """Return experiments in which nothing varies, sentences alone, seeds alone, and both."""
    return [experiments(10_000 + 10 * seed + i, *each) for i, each in enumerate((
        ("nothing", 2, 3, 0.0, (0.0, 0.0, 0.0)), ("sentences", 8, 200, 0.1, (0.0, 0.5, 0.1)),
        ("seeds", 5, 40, -0.2, (0.3, 0.0, 0.1)),
        ("seeds and sentences", 10, 60, 0.2, (0.13, 0.25, 0.2))))]


def experiments(seed: int, varies: str, seeds: int, sentences: int, truth: float,
                spread: tuple[float, float, float]) -> dict:
    """Return squared errors a and b, (experiments, seeds, sentences), `truth` apart on average.

    `spread` is the deviation of the difference over seeds, over sentences, and what is left. Both
    share what is hard about a sentence and bad about a seed.
    """
    draw = drawing(seed)
    shapes = [(EXPERIMENTS, *each) for each in ((seeds, 1), (1, sentences), (seeds, sentences))]
    b = 6 + draw(*shapes[0]) + 2 * draw(*shapes[1]).abs() + 0.5 * draw(*shapes[2])
    gap = truth + sum(size * draw(*shape) for size, shape in zip(spread, shapes))
    variance = sum(size**2 / math.prod(shape[1:]) for size, shape in zip(spread, shapes))
    return {"varies": varies, "a": b + gap, "b": b, "error": variance**0.5}


def run_interval(interval: Callable, case: dict) -> dict[str, Any]:
    """Ask for every experiment's interval, and for the last with a and b exchanged."""
    def ends(a: Tensor, b: Tensor) -> Any:
        given = interval(a.clone(), b.clone())
        several = isinstance(given, list | tuple | Tensor | np.ndarray) and np.ndim(given)
        return [*map(scalar, given)] if several else named(given)

    pairs = [*zip(case["a"], case["b"]), (case["b"][-1], case["a"][-1])]
    return {"found": [ends(*pair) for pair in pairs]}


def judge_interval(case: dict, seen: Mapping) -> Verdict:
    """Ask for the properties; then how often such intervals hold the truth, and their width."""
    for given in seen["found"]:
        if given == "None":
            return rejected("no_return")
        if not isinstance(given, list) or len(given) != 2 or not all(
                number(end) is not None and math.isfinite(number(end)) for end in given):
            return Verdict(False, f"It gave {given}; expected low and high, two numbers.")
    low, high = torch.tensor([[*map(number, pair)] for pair in seen["found"]]).double().T
    means = (case["a"] - case["b"]).double().mean(dim=(1, 2))           # (experiments,)
    means = torch.cat([means, -means[-1:]])                             # the last one, exchanged
    for mean, start, end in zip(means, low, high):
        told = f"The mean of a − b is {mean:.3f}; it gave {start:.3f} to {end:.3f}."
        if not start - 1e-4 <= mean <= end + 1e-4:
            return Verdict(False, told)
        if not case["error"] and end - start > 1e-3:
            return rejected("unpaired", f"{told} Yet a − b is 0 for every seed and sentence.")
    verdict = _coverage(case, (low - means)[:-1], (high - means)[:-1])
    off = max(abs(low[-1] + high[-2]), abs(high[-1] + low[-2]))
    if verdict.passed and off > ALMOST * (high[-1] - low[-1]) + 1e-4:
        return Verdict(False, f"{told} With a and b exchanged it gave {low[-2]:.3f} to "
                              f"{high[-2]:.3f}; expected the same ends, negated.")
    return verdict


def _coverage(case: dict, below: Tensor, above: Tensor) -> Verdict:
    """Ask how often intervals with these ends, around the mean, hold the true difference."""
    error, half = case["error"], (above - below) / 2
    if not error:
        return Verdict(True, "Paired.")
    holds = (torch.special.ndtr(above / error) - torch.special.ndtr(below / error)).mean()
    told = (f"Where {case['varies']} vary and nothing else, about {100 * holds:.0f} of 100 such "
            "intervals would hold the true difference")
    right = torch.tensor([(high - low) / 2 for low, high in map(interval, case["a"], case["b"])])
    if holds < torch.special.ndtr(right / error).mul(2).sub(1).mean() - LESS_OFTEN:
        return Verdict(False, f"{told}; expected 95.", recognised(
            _usual_halves(case), lambda usual: (half / usual - 1).abs().mean() < 0.12))
    times = (half / (NORMAL * error)).mean()
    if times > WIDEST:
        return Verdict(False, f"{told}, and they are {times:.1f} times as wide as they need be.",
                       "deviation" if times > 2.5 else None)
    return Verdict(True, f"{told}.")


def _usual_halves(case: dict) -> dict[str, tuple[Tensor, ...]]:
    """Return half the widths that the usual mistakes give, by experiment."""
    d = (case["a"] - case["b"]).double()
    _, seeds, sentences = d.shape
    seed, sentence = d.mean(2).var(1) / seeds, d.mean(1).var(1) / sentences
    alone = () if case["varies"] == "seeds" else (T95[seeds], NORMAL)    # there it is no mistake
    return {"normal": (NORMAL * (seed + sentence).sqrt(),),
            "sentences_alone": (NORMAL * sentence.sqrt(),),
            "seeds_alone": tuple(t * seed.sqrt() for t in alone),
            "pooled": (NORMAL * d.flatten(1).std(1) / (seeds * sentences)**0.5,)}


INTERVAL = Exercise(
    id="ladder.interval", names=("interval",), points=3, minutes=15, difficulty=3,
    cases=interval_cases, run=run_interval,
    judge=judge_interval, returns=report(found=list[Any]),
    mistakes={
        "unpaired": "That is what two separate intervals give. The same sentence and seed stand "
                    "behind both errors of a pair: of what do you need the interval?",
        "normal": "1.96 standard errors are too few where few seeds tell how far seeds spread: "
                  "`T95`.",
        "sentences_alone": "That asks what other sentences would change. Other seeds would change "
                           "something, too.",
        "seeds_alone": "That asks what other seeds would change. Other sentences would change "
                       "something, too.",
        "pooled": "That counts every pair of a seed and a sentence as drawn by itself. All errors "
                  "of a seed share their luck, and so do all errors on a sentence.",
        "deviation": "That is how single seeds or sentences spread. How well is their mean known?",
    },
    hints=("Take a − b first: one table, seeds by sentences. What would be left of it if all seeds "
           "agreed? If all sentences did?",
           "The mean of each row is what one seed says, the mean of each column what one sentence "
           "says. How well do rows alone know the overall mean, and how well do columns?",
           "Two independent errors add in squares, each times its own factor: `T95` of the seeds, "
           "and 1.96 of so many sentences."))


# ── ladder.sweep ─────────────────────────────────────────────────────────────────────────────

RATES = [1e-4 * 2**k for k in range(9)]


def sweep_cases(seed: int) -> list[dict]:
    """Return scores with a peak, at an edge, with two peaks, all the same, and with broken runs.

    `None` is the score of a run that broke.
    """
    draw = drawing(10_100 + seed)

    def peak(*at: int, height: float = 0.5) -> list[float]:
        noise = 0.01 * draw(len(RATES)).tanh()
        return [height - 0.05 * min(abs(i - each) for each in at) + noise[i].item()
                for i in range(len(RATES))]

    cases = [(peak(4)[:3], 1), (peak(5), 3), (peak(0), 2), (peak(8), 7), (peak(2, 7), 4),
             (peak(4, height=-0.3), 2), (peak(6)[:6] + [None] * 3, 4), ([0.25] * 9, 4),
             (peak(2)[:5] + [None] * 4, 5)]
    return [{"rates": RATES[:len(scores)], "scores": scores, "first": RATES[first]}
            for scores, first in cases]


def run_sweep(sweep: Callable, case: dict) -> dict[str, Any]:
    """Sweep, noting what is asked for. Who asks without end is stopped."""
    rates, asked = case["rates"], []
    scores = [math.nan if score is None else score for score in case["scores"]]

    def score(rate: Any) -> float:
        asked.append(rate := scalar(rate))
        if len(asked) > 3 * len(rates):
            raise RuntimeError(f"{len(asked)} runs for {len(rates)} rates")
        known = number(rate) is not None and rate in rates
        return scores[rates.index(rate)] if known else math.nan

    best = sweep(score, tuple(rates), case["first"])
    return {"asked": asked, "best": scalar(best), "type": named(best)}


def judge_sweep(case: dict, seen: Mapping) -> Verdict:
    """Go through what was asked for: was each needed by then, and is the best between two tried?"""
    rates, best = case["rates"], seen["best"]
    place = {rate: f"number {i}" for i, rate in enumerate(rates, start=1)}
    scores = {rate: -math.inf if score is None else score
              for rate, score in zip(rates, case["scores"])}
    listed = ", ".join("nan" if score is None else f"{score:.3f}" for score in case["scores"])
    told = f"The scores in order of the rates are {listed}; first is {place[case['first']]}."
    tried, needed, top = {}, {case["first"]}, -math.inf
    for rate in seen["asked"]:
        if number(rate) is None or rate not in place:
            return Verdict(False, f"{told} It asked for {rate!r}, which is none of the rates.")
        asked = f"{told} It asked for {place[rate]}"
        if rate in tried:
            return rejected("twice", f"{asked} twice.")
        if rate not in needed:
            broke = any(tried.get(each) == -math.inf for each in beside(rates, rate))
            return rejected("nan_wins" if broke else "not_needed",
                            f"{asked}, which was neither the first nor beside the best so far.")
        tried[rate] = scores[rate]
        top = max(tried.values())
        needed.update(*(beside(rates, each) for each in tried if tried[each] == top))
    if best is None:
        return rejected("no_return")
    if number(best) is None or best not in place:
        return Verdict(False, f"{told} It gave {best if number(best) else seen['type']}, which is "
                              "none of the rates.")
    told = f"{told} It gave {place[best]}"
    if tried.get(best) != top:
        return Verdict(False, f"{told}; the best that it tried was {top:.3f}.",
                       "nan_wins" if tried.get(best) == -math.inf else None)
    if not any(tried.keys() >= beside(rates, rate) for rate in tried if tried[rate] == top):
        untried = min(beside(rates, best) - tried.keys())
        return rejected("stopped", f"{told}, and never tried {place[untried]}, beside it.")
    return Verdict(True, f"{len(tried)} runs of {len(rates)}.")


def beside(rates: list[float], rate: float) -> set[float]:
    """Return the rates next to one."""
    i = rates.index(rate)
    return {*rates[max(0, i - 1):i], *rates[i + 1:i + 2]}


SWEEP = Exercise(
    id="ladder.sweep", names=("sweep",), points=2, minutes=9, difficulty=2,
    cases=sweep_cases, run=run_sweep, judge=judge_sweep,
    returns=report(asked=list[Any], best=Any, type=str),
    mistakes={
        "not_needed": "Each call is a training. Ask only for what stands beside the best so far.",
        "stopped": "A best rate with an untried neighbour may be beaten by it: go on.",
        "twice": "Each call is a training: keep what you were told.",
        "nan_wins": "nan is the score of a run that broke. It compares as neither larger nor "
                    "smaller, and argmax takes it for the largest.",
    },
    hints=("You know a few scores. Which rates would you have to know before you would call the "
           "best of them the best?",
           "Keep what you know in a dict. Find the best in it, then its untried neighbours. When "
           "is there nothing left to ask?",
           "At either end a rate has one neighbour. What do rates[-1] and rates[len(rates)] "
           "give?"))


# ── ladder.neighbours ────────────────────────────────────────────────────────────────────────


def neighbours_cases(seed: int) -> list[dict]:
    """Return vectors of any length, of documents that are partly one sentence; the fewest first."""
    return [told_apart(10_300 + 100 * seed + i, *each) for i, each in enumerate((
        (8, 2, 4, 0), (30, 4, 9, 0), (120, 8, 50, 40)))] + [far_apart()]


def far_apart() -> dict:
    """Return three sentences at 0, 120 and 230 degrees: every cosine of two is negative."""
    angle = torch.tensor([0.0, 120.0, 230.0]).deg2rad()
    return {"vectors": torch.stack([angle.cos(), angle.sin()], 1),
            "documents": torch.tensor([0, 0, 1])}


def told_apart(seed: int, n: int, width: int, documents: int, offset: int) -> dict:
    """Return the first case, from this seed on, in which no two mistakes give the same number."""
    for trial in range(1000):
        generator = torch.Generator().manual_seed(1000 * seed + trial)
        of = torch.randint(documents, (n,), generator=generator)
        middle = torch.randn(documents, width, generator=generator)
        x = middle[of] + 0.7 * torch.randn(n, width, generator=generator)
        case = {"vectors": x * torch.rand(n, 1, generator=generator).mul(2).exp(),
                "documents": offset + 7 * of}
        shares = [neighbours(*case.values()), *(share for each in _usual_shares(case).values()
                                                for share in each)]
        if len({round(share, 4) for share in shares}) == len(shares):
            return case
    raise ValueError(f"no case of {n} sentences tells all mistakes apart")


def run_neighbours(neighbours: Callable, case: dict) -> dict[str, Any]:
    """Ask for the share."""
    found = neighbours(case["vectors"].clone(), case["documents"].clone())
    return {"found": scalar(found), "type": named(found)}


def judge_neighbours(case: dict, seen: Mapping) -> Verdict:
    """Compare the share with the right one, then with the usual ones."""
    found, n = number(seen["found"]), len(case["vectors"])
    right = neighbours(**case)
    told = f"Of {n} sentences of {len(case['documents'].unique())} documents"
    if seen["found"] is None:
        return rejected("no_return")
    if found is None:
        return Verdict(False, f"{told} it gave {seen['type']}; expected one number, the share.")
    if not abs(found - right) < 1e-4:
        return Verdict(False, f"{told} it gave {found:.4f}; expected {right:.4f}.", recognised(
            _usual_shares(case), lambda usual: abs(found - usual) < 1e-4))
    return Verdict(True, f"{told}, {right:.0%} have their neighbour at home.")


def _usual_shares(case: dict) -> dict[str, tuple[float, ...]]:
    """What the usual mistakes give."""
    x, of = case["vectors"], case["documents"]
    unit = F.normalize(x, dim=1)
    asked = (of[:, None] == of).sum(dim=1) > 1

    def share(like: Tensor, asked: Tensor) -> float:
        return (of[like.fill_diagonal_(-math.inf).argmax(1)] == of)[asked].float().mean().item()

    everyone = torch.ones_like(asked)
    return {"itself": (1.0,), "lengths": (share(x @ x.T, asked), share(-torch.cdist(x, x), asked)),
            "all_asked": (share(unit @ unit.T, everyone),),
            "left_out": (neighbours(x[asked], of[asked]),)}


NEIGHBOURS = Exercise(
    id="ladder.neighbours", names=("neighbours",), points=2, minutes=7, difficulty=2,
    cases=neighbours_cases,
    run=run_neighbours, judge=judge_neighbours,
    returns=report(found=Any, type=str),
    mistakes={
        "itself": "The vector that is most like a sentence's is its own. Its neighbour is another "
                  "sentence.",
        "lengths": "That depends on how long the vectors are: the cosine does not.",
        "all_asked": "A sentence that is alone in its document cannot have a neighbour there: do "
                     "not ask it.",
        "left_out": "A sentence that is alone in its document is not asked, but it may still be "
                    "somebody's neighbour.",
    },
    hints=("How alike all pairs are is one table, n by n. Which of its entries must not win?",
           "The place of the largest entry of each row is a sentence. Of which document?",
           "Whom do you ask? Count, for each sentence, how many share its document."))


# ── ladder.batch ─────────────────────────────────────────────────────────────────────────────


def batch_cases(seed: int) -> list[dict]:
    """Return layers with the adapters of some tasks and two batches each; the smallest first."""
    return [batch_case(10_200 + 10 * seed + i, *each) for i, each in enumerate((
        (2, 3, (2, 1), (0, -1), (2,)), (6, 5, (1, 3, 2), (2, -1, 0, 0, 1, 2), (6,)),
        (8, 8, (4, 4), (1, -1, 0, 1), (4, 3)), (384, 96, (8, 1, 2, 4), (3, 0, -1, 2, 1), (5, 7))))]


def batch_case(seed: int, n_in: int, n_out: int, ranks: tuple[int, ...], who: tuple[int, ...],
               batch: tuple[int, ...]) -> dict:
    """Return a layer, adapters of these ranks, an x (*batch, n_in), and who is who in two calls."""
    draw = drawing(seed)
    return {"n_in": n_in, "n_out": n_out, "W": draw(n_out, n_in) / n_in**0.5, "b": draw(n_out),
            "A": [draw(rank, n_in) / n_in**0.5 for rank in ranks],
            "B": [draw(n_out, rank) for rank in ranks],
            "scales": [0.5 + 1.5 * i for i in range(len(ranks))], "x": draw(*batch, n_in),
            "who": torch.tensor(who), "then": torch.tensor(who[1:] + who[:1])}


def run_batch(Many: Any, case: dict) -> dict[str, Any]:
    """Make one, call it for two batches, and count the calls of the base."""
    base, calls = frozen_linear(case), []
    base.register_forward_hook(lambda *_: calls.append(1))
    many = Many(base, [*zip(case["A"], case["B"], case["scales"])])
    trains = [name for name, p in many.named_parameters() if p.requires_grad]
    buffers = [*many.state_dict().keys() - dict(many.named_parameters())]
    found = []
    for who in (case["who"], case["then"]):
        many.who = who.clone()
        found.append(detached(many(case["x"].clone())))
    return {"trains": trains, "buffers": buffers, "found": found, "calls": len(calls)}


def judge_batch(case: dict, seen: Mapping) -> Verdict:
    """Ask how it is made, then compare both calls with one call for each row."""
    if seen["trains"]:
        return Verdict(False, f"{seen['trains'][0]} has requires_grad = True; expected: no "
                              "parameter that trains.")
    if seen["buffers"]:
        return Verdict(False, f"A file would have to keep its buffer {seen['buffers'][0]}; a "
                              "plain list, or persistent=False, would do.")
    for found, who in zip(seen["found"], (case["who"], case["then"])):
        if found is None:
            return rejected("no_return")
        if not close(found, right := _by_row(case, who), 1e-4):
            told = f"With who = {who.tolist()}, {difference('many(x)', found, right)}"
            return Verdict(False, told, recognised(_usual_batches(case, who),
                                                   partial(close, found, tolerance=1e-4)))
    if seen["calls"] != 2:
        return rejected("base_calls", f"The outputs are right. In two calls it called its base "
                                      f"{seen['calls']} times; expected 2.")
    return Verdict(True, "Each row by its own adapter, and the base once for all.")


def _by_row(case: dict, who: Tensor, scales: list[float] | None = None) -> Tensor:
    """Return the outputs, one row after the other."""
    rows = []
    for x, k in zip(case["x"], who.tolist()):
        y = F.linear(x, case["W"], case["b"])
        if k >= 0:
            y = y + (scales or case["scales"])[k] * (x @ case["A"][k].T) @ case["B"][k].T
        rows.append(y)
    return torch.stack(rows)


def _usual_batches(case: dict, who: Tensor) -> dict[str, Any]:
    """What the usual mistakes give."""
    count, right = len(case["scales"]), _by_row(case, who)
    return {"no_scale": _by_row(case, who, [1.0] * count),
            "last_for_plain": _by_row(case, who.where(who >= 0, count - 1)),
            "unsorted": right[who.argsort(stable=True)]}


BATCH = Exercise(
    id="ladder.batch", names=("Many",), points=3, minutes=12, difficulty=3,
    cases=batch_cases, run=run_batch, judge=judge_batch,
    returns=report(trains=list[str], buffers=list[str], found=list[Any], calls=int),
    mistakes={
        "last_for_plain": "Row −1 of a list is its last: for the plain base nothing is added.",
        "no_scale": "Every adapter has a scale of its own; here it is missing.",
        "unsorted": "All rows are there, sorted by adapter. They belong where they came from.",
        "base_calls": "Let self.base(x) answer for all rows at once: it is what they share.",
    },
    hints=("Which part of y is the same computation for all rows, and which is not?",
           "For each adapter: which rows are its own, and what is added to these?",
           "A mask, self.who == k, picks rows, whatever axes follow; it can also stand on the left "
           "of an assignment. Into which tensor may you write?"))


# ── ladder.ship ──────────────────────────────────────────────────────────────────────────────

def run_ship(picks: Any, case: dict) -> dict[str, Any]:
    """Hand on what is picked, by budget; of anything else, what it is."""
    said = picks if isinstance(picks, dict) else {}
    return {"type": named(picks), "said": {str(budget)[:40]: str(method)[:40]
                                           for budget, method in said.items()}}


def judge_ship(case: dict, seen: Mapping) -> Verdict:
    """Look each pick up in the record: is it allowed, and is none there better by the margin?"""
    from . import recorded  # pandas comes with them, when a choice is judged

    said = {budget: protocol.rung(method) for budget, method in seen["said"].items()}
    if said.keys() != recorded.BUDGETS.keys():
        return Verdict(False, f"It is {seen['type']} with {[*said]}; expected a dict with a "
                              f"method for each of {', '.join(recorded.BUDGETS)}.")
    record = records.load(case["record"])
    prices = recorded.prices(record)
    for budget, method in said.items():
        if method is None:
            return Verdict(False, f"{budget}: {seen['said'][budget]!r} is not a method of the "
                                  "lesson's tables.")
        if told := recorded.over(prices, budget, method):
            return rejected("over", f"{budget}: {told}")
    for budget, method in said.items():
        if told := recorded.surpassed(record, prices, budget, method):
            return rejected("worse", f"{budget}: {told}")
    return Verdict(True, "Each within its budget, and no other there is better by more than "
                         f"{MARGIN}.")


SHIP = Exercise(
    id="ladder.ship", names=("picks",), points=2, minutes=4, difficulty=1,
    answer=VALUE, cases=lambda seed: [{"record": "ladder"}],
    run=run_ship, judge=judge_ship, returns=report(type=str, said=dict[str, str]),
    mistakes={
        "over": "Look at the costs first: what is over the budget is not to be had.",
        "worse": "Among those within this budget another one is better, by more than the margin.",
    },
    hints=("For each budget cross out what is over it. What is left, and how good is it?",
           "The first of those left need not win: what lies less than the margin below it will do.",
           "For keep, read how many neighbours are left where each method is used as trained, at "
           "f = 1."))

EXERCISES = (INTERVAL, SWEEP, NEIGHBOURS, BATCH, SHIP)
