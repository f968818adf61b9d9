"""Lesson 09: what it claims and what its prose judges, by the record."""

from statistics import mean, stdev

import torch
from claim_checks import Claim, of, percent
from quote_checks import record, select

from peft_teach.course import protocol
from peft_teach.course.lessons.dora import recorded, reference
from peft_teach.course.verdicts import MARGIN, POINT, SAME, UNSURE, WORSE, of_runs, verdict

RECORD, LADDER = record("dora"), record("ladder")
CORRELATED = recorded.correlations(RECORD)
POOLED = [(place, seed) for place in ("query", "value") for seed in (0, 1)]


def ruled(other, rank):
    """The verdict on DoRA and another method at one rank, ten seeds in pairs, on labels."""
    return of_runs(*(of("dora", group="pairs", method=method, rank=rank)
                     for method in ("dora", other)))


def rated(other, score="r2"):
    """The verdict on DoRA 8 and another rung, by seed and sentence, on ratings."""
    for method in ("dora 8", other):
        of("ladder", "r2", group="final", method=method)
    scores = protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER), score)
    return verdict(*protocol.shared(scores, "dora 8", other), MARGIN if score == "r2" else POINT)


def validated(method, rank, lr):
    row, = select(RECORD, group="rates", method=method, rank=rank, lr=lr)
    return row["validation"]


def too_high(method):
    """R² on validation sentences of a rung at twice its best rate."""
    row, = select(LADDER, group="rates", method=method, lr=0.0064)
    return row["validation"]


def best(rank):
    """The rates at which the pairs of a rank ran: one, if all methods chose the same."""
    return {row["lr"] for row in select(RECORD, group="pairs", rank=rank)}


def pooled(name, size="as trained"):
    """The correlations of an update's dots: of the queries, two seeds, and of the values."""
    return [CORRELATED.loc[(name, size), column] for column in POOLED]


def places(method):
    """The recorded dots of an update: of queries and values, of two seeds."""
    for (name, _), cloud in recorded.clouds_of(RECORD).items():
        if name == method:
            yield from recorded.by_place(cloud["dots"]).values()


def without(name, block=5):
    """As `pooled`, without one block."""
    method = next(key for key, told in recorded.NAMES.items() if told == name)
    found = [recorded.by_place([dot for dot in cloud["dots"] if dot["block"] != block])
             for (of, _), cloud in recorded.clouds_of(RECORD).items() if of == method]
    return [dots[place].dd.corr(dots[place].dm) for place in ("query", "value") for dots in found]


def moved(name):
    """By how much the last block changes a correlation at most."""
    return max(abs(a - b) for a, b in zip(pooled(name), without(name)))


def over_rows(method):
    """The correlation over the rows of a matrix at the last look, as the mean of a place."""
    return [mean(dots.over_rows) for dots in last(method)]


def last(method):
    return [place[place.step == place.step.max()] for place in places(method)]


def told(values):
    return " to ".join(f"{value:+.2f}" for value in sorted({min(values), max(values)})).replace(
        "-", "−")


def interval(found, scale=1, digits=3):
    return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(
        *(scale * each for each in (found.difference, found.low, found.high)), d=digits).replace(
        "-", "−")


def two_routes():
    """Whether a DoRA with rows of unequal lengths and the scaled LoRA it becomes are one matrix."""
    draw = torch.Generator().manual_seed(0)
    W, A, B, m = (torch.randn(size, generator=draw) for size in ((5, 7), (2, 7), (5, 2), (5,)))
    V, g = W + 3 * B @ A, reference.to_gain(m, W, A, B, 3)
    dora = m[:, None] * V / V.norm(dim=1, keepdim=True)
    return bool(torch.allclose(dora, g[:, None] * V, atol=1e-5) and torch.allclose(
        reference.to_dora(g, W, A, B, 3), m, atol=1e-5))


RULED = [ruled(other, rank) for other in ("lora", "gain") for rank in (2, 32)]
SIGN, R2, FULL = rated("lora 8", "accuracy"), rated("lora 8"), rated("full")
RANDOM, LORA, DORA, TRUE = map(pooled, ("random", "LoRA", "DoRA", "full fine-tuning"))
BLOWN, SHRUNK = (pooled(name, "at the other's norm") for name in ("full fine-tuning", "random"))
STEADY = {method: of("ladder", "r2", group="final", method=method)
          for method in ("dora 8", "lora 8")}

CLAIMS = (
    Claim("On these reviews, DoRA, LoRA and scaled LoRA are the same within a point of accuracy.",
          seen="Ranks 2 and 32, ten seeds in pairs: the intervals lie between "
               f"{100 * min(each.low for each in RULED):.2f} and "
               f"{100 * max(each.high for each in RULED):.2f} points. DoRA 8 and LoRA 8, new "
               f"sentences counted in: {interval(SIGN, 100, 1)}; by R² {interval(R2)}, we cannot "
               "tell".replace("-", "−"),
          tried="The margin stood before the first run. Rates were searched with one seed: all "
                f"three methods chose {best(2).pop():g} at rank 2 and {best(32).pop():g} at rank 32. "
                f"There was something to win: full fine-tuning is better by {-FULL.difference:.3f} "
                f"({-FULL.high:.3f} to {-FULL.low:.3f}) R²",
          holds={"are the same": lambda: {each.word for each in (*RULED, SIGN)} == {SAME},
                 "we cannot tell": lambda: R2.word == UNSURE,
                 "all three methods chose": lambda: len(best(2)) == len(best(32)) == 1,
                 "full fine-tuning is better": lambda: FULL.word == WORSE}),
    Claim("DoRA and scaled LoRA represent the same functions.",
          seen="a proof in one line: g = m / ‖V‖, for any V without a row of zeros; your trained "
               "model, converted there and back",
          tried="negative m, rows of unequal lengths, oblong matrices (exercise 4)",
          holds={"represent the same functions": two_routes}),
    Claim("Over matrices, noise draws LoRA's rising line: both measures tell how much was added.",
          seen="random numbers of LoRA's size correlate, pooled, as LoRA does: "
               f"{told(RANDOM[:2])} (queries) and {told(RANDOM[2:])} (values), two seeds, "
               "each method at one rate, not searched",
          tried=f"full fine-tuning at LoRA's size rises, too: {told(BLOWN[:2])} and "
                f"{told(BLOWN[2:])}. Noise at full fine-tuning's size correlates as it does, to "
                f"within {max(abs(a - b) for a, b in zip(SHRUNK, TRUE)):.2f}. Without the last "
                "block, the farthest out, LoRA and random numbers correlate as with it, to "
                f"within {max(moved(name) for name in ('LoRA', 'random')):.2f}. DoRA's cloud is flat by "
                f"that block alone: {told(DORA)} with it, {told(without('DoRA'))} without it. Over "
                "the rows of one matrix, LoRA is not noise: "
                f"{told(over_rows('lora'))} against {told(over_rows('random'))}",
          holds={"noise draws LoRA's rising line": lambda: all(
                     abs(a - b) < 0.02 for a, b in zip(RANDOM, LORA)),
                 "rises, too": lambda: min(BLOWN) > 0.9,
                 "correlates as it does": lambda: all(
                     abs(a - b) < 0.08 for a, b in zip(SHRUNK, TRUE)),
                 "DoRA's cloud is flat by that block alone": lambda: max(DORA) < 0.2 < min(
                     without("DoRA")),
                 "LoRA is not noise": lambda: min(over_rows("lora")) > max(
                     over_rows("random")) + 0.1}),
    Claim("At a rate that is too high, DoRA can lose less than LoRA. An observation.",
          seen="on validation sentences, one seed: rank 32 at 0.006 "
               f"{percent(validated('dora', 32, 6e-3), '')} against "
               f"{percent(validated('lora', 32, 6e-3))}; rank 8 at 0.0064 (ratings) R² "
               f"{too_high('dora 8'):.3f} against {too_high('lora 8'):.3f}",
          tried="rank 2 at 0.006: "
                f"{percent(validated('dora', 2, 6e-3), '')} against "
                f"{percent(validated('lora', 2, 6e-3))}. Over ten seeds at its own rate, DoRA 8 "
                f"scatters more than LoRA 8: a standard deviation of "
                f"{stdev(STEADY['dora 8']):.3f} R² against {stdev(STEADY['lora 8']):.3f}, with one "
                f"seed at {min(STEADY['dora 8']):.3f}",
          holds={"DoRA can lose less than LoRA": lambda: (
              validated("dora", 32, 6e-3) - validated("lora", 32, 6e-3) > 0.02
              and too_high("dora 8") - too_high("lora 8") > 0.05),
              "DoRA 8 scatters more than LoRA 8": lambda: (
                  stdev(STEADY["dora 8"]) > 1.5 * stdev(STEADY["lora 8"]))}),
)

JUDGED = {
    "One run cannot tell": "of runs in general",
    "Scaled LoRA lets the row grow": "arithmetic: nothing divides by its length",
    "Commit to": "the question",
    "Yin et al. saw DoRA ahead": "Yin et al. 2025, and SKDDJ/PeRL, scripts/openr1/7b",
    "if none reaches the margin": "the rule",
    "DoRA is the same as LoRA, and as scaled LoRA, at either rank": lambda: {
        each.word for each in RULED} == {SAME},
    "No interval reaches half a point": lambda: max(
        max(-each.low, each.high) for each in RULED) < 0.005,
    "DoRA and LoRA are the same. By": lambda: SIGN.word == SAME,
    "we cannot tell, but only just": lambda: R2.word == UNSURE and -0.022 < R2.low < -MARGIN,
    "is ahead of DoRA, so on the ratings there was something to win": lambda: FULL.word == WORSE,
    "DoRA's dots do not, because of one block: leave the last out, and they rise": lambda: (
        max(DORA) < 0.2 < min(without("DoRA"))),
    "so do random numbers of its size": lambda: min(SHRUNK) > 0.3,
}
