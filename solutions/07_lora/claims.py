"""Lesson 07: what it claims and what its prose judges, by the record."""

import itertools
import math
from statistics import mean

import torch
from claim_checks import Claim, of, percent, spread
from quote_checks import record, select

from peft_teach.course import protocol
from peft_teach.course.lessons.lora.recorded import LEARNS, first_size
from peft_teach.course.records import ends, gain, head_on_the_mean
from peft_teach.course.verdicts import MARGIN, WORSE, verdict
from peft_teach.spectra import energy_rank

LORA, LADDER = record("lora"), record("ladder")


def ranks(rank):
    return of("lora", group="ranks", rank=rank)


def scaled(**setting):
    return of("lora", group="scale", **setting)


def full():
    return of("lora", group="methods", method="full")


def rated_gap():
    """By how much full fine-tuning is ahead of rank 1 where both learn the ratings."""
    full, one = ([of("ladder", group="final", method=method, seed=seed)[0] for seed in range(2, 7)]
                 for method in ("full", "lora 1"))
    return mean(full) - mean(one)


def r2(method):
    return of("ladder", "r2", group="final", method=method)


def share(zero):
    """LoRA 8's share of full fine-tuning's gain over a solved head, in R² of ratings."""
    head = LADDER[zero]["r2"]
    return (mean(r2("lora 8")) - head) / (mean(r2("full")) - head)


def in_pairs(one, other):
    """The verdict on two methods' runs, by seed and sentence."""
    scores = protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER))
    return verdict(*protocol.shared(scores, one, other))


def directions(run):
    """How many directions hold 90 % of the energy, in the mean of a recorded run's matrices."""
    return mean(energy_rank(torch.tensor(each["sigma"])) for each in LORA["spectra"][run].values())


def traded(**setting):
    """The losses of the runs with eight times the rate of B, seed by seed."""
    return [row["losses"] for row in select(LORA, group="traded", **setting)]


def agree(one, other):
    """For how many steps the losses of two runs agree, as recorded: to three digits."""
    return len([*itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other))])


def learned(rank):
    """The share of the coins at each rank's best rate, other coins; None: the matrices."""
    rows = [row for row in select(record("ladder"), group="heart", seed=1)
            if row.get("rank") == rank]
    return mean(row["training"] for row in rows)


ALPHA, B_ALONE = traded(alpha=128), traded(plus=8)
FAST = [row["losses"] for row in select(LORA, group="rates", method="lora", lr=1e-2)]
STEPS = [agree(*each) for each in zip(ALPHA, B_ALONE)]

PAIRED = in_pairs("lora 8", "full")

CLAIMS = (
    Claim("LoRA 8 brings most of what full fine-tuning gains over the head on the pooler, and is worse.",
          seen=f"R² {mean(r2('lora 8')):.3f} and {mean(r2('full')):.3f}, ten seeds each; the head "
               f"on the pooler {LADDER['exact']['r2']:.3f}: {100 * share('exact'):.0f} % of the gain",
          tried=f"In pairs {PAIRED.difference:.3f} ({PAIRED.low:.3f} to {PAIRED.high:.3f}), margin "
                f"{MARGIN}. From the head on the mean of all tokens ("
                f"{LADDER['exact_mean']['r2']:.3f}): {100 * share('exact_mean'):.0f} %".replace("-", "−"),
          holds={"brings most of what full fine-tuning gains": lambda: share("exact") > share("exact_mean") > 0.5,
                 "and is worse": lambda: PAIRED.word == WORSE}),
    Claim("On these reviews rank 1 comes within four points of full fine-tuning.",
          seen=f"{spread(ranks(1))} at a rate of 0.003 (mean and standard deviation of three seeds, "
               f"as below); full fine-tuning {percent(mean(full()), '')}, head on the pooler "
               f"{percent(ends()[0], '')}",
          tried="Trained on the ratings, each at its best rate: "
                f"{100 * rated_gap():.1f} points (lesson 10's record). Coins learned by heart want "
                "more rank (Further)",
          holds={"rank 1 comes within four points": lambda: 0 < mean(full()) - mean(ranks(1)) < .04,
                 "Trained on the ratings": lambda: 0 < rated_gap() < 0.04,
                 "want more rank": lambda: learned(1) < learned(4) < learned(16) < learned(64)}),
    Claim("Rank 64 failed because of α at a rate of 0.003, not because of its rank or of the size "
          "of its first ΔW alone.",
          seen=spread(ranks(64)),
          tried=f"α = 16: {spread(of('lora', group='variants', rank=64, alpha=16), '')}. A rate of "
                f"0.001: {spread(scaled(rank=64, alpha=128), '')}. Rank 8 with that α: fails, "
                f"{spread(scaled(rank=8, alpha=128, lr=3e-3), '')}. Rank 1 with a first ΔW as "
                f"large: learns, {spread(scaled(rank=1, alpha=16), '')}",
          holds={"Rank 64 failed": lambda: mean(ranks(64)) < LEARNS,
                 "because of α": lambda: mean(
                     of("lora", group="variants", rank=64, alpha=16)) >= LEARNS,
                 "at a rate of 0.003": lambda: mean(
                     scaled(rank=64, alpha=128, lr=1e-3)) >= LEARNS,
                 "Rank 8 with that α: fails": lambda: mean(
                     scaled(rank=8, alpha=128, lr=3e-3)) < LEARNS,
                 "Rank 1 with a first ΔW as large: learns": lambda: math.isclose(
                     first_size(1, 16), first_size(64, 128)) and mean(
                     scaled(rank=1, alpha=16)) >= LEARNS}),
    Claim("Under Adam, 8 times the α is 8 times the rate for B alone, up to clipping.",
          seen="rank 8: the losses agree, to three digits, for the first {}, {} and {} steps, {} of "
               "them warm-up; the runs end at {} and {}".format(
                   *STEPS, round(0.1 * len(ALPHA[0])),
                   spread(of("lora", group="traded", alpha=128), ""),
                   spread(of("lora", group="traded", plus=8))),
          tried="losses that part at once. With the large rate for A and the head, too, they part "
                f"by step {max(agree(*each) for each in zip(ALPHA, FAST)) + 1}",
          holds={"8 times the α is 8 times the rate for B alone": lambda: min(STEPS) > 25}),
)

JUDGED = {
    "brings nearly half of the gain without LoRA": lambda:
        0.4 < gain(head_on_the_mean(record("full"))) < 0.5,
    "brought most of the gain": lambda: share("exact") > 0.5,
    "Is that as good as full fine-tuning": "the question",
    "Worse, and clearly so": lambda: PAIRED.word == WORSE and PAIRED.high < -MARGIN,
    "they are most of the bill": "peft#1514, beside it",
    "grows like , and": "one line of algebra, above it",
    "times the rate of B is the same": "arithmetic of the three settings",
    "Most of the energy lies in fewer": lambda: directions("8") < 8 < 24 < directions("full"),
    "Each rank has its own best rate": "how the runs were made",
    "full fine-tuning of the two matrices most": lambda:
        learned(1) < learned(4) < learned(16) < learned(64) < learned(None),
}
