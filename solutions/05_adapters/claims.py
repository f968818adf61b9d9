"""Lesson 05: what it claims and what its prose judges, by the record."""

from itertools import combinations
from statistics import mean

from claim_checks import Claim, percent
from quote_checks import record

from peft_teach.course.lessons.adapters import pictures
from peft_teach.course.verdicts import POINT, UNSURE, verdict

ADAPTERS = record("adapters")
RACE, CHANGED = pictures.race(ADAPTERS), pictures.changed(ADAPTERS)
INSIDE = {name: mean(runs) for name, runs in RACE.items() if name != "the two ends"}
HERE, APART, RARE = pictures.answers_that_differ(ADAPTERS)
FIRST = pictures.against_first(ADAPTERS)


def scores(*setting, **more):
    return pictures.scores(pictures.runs(ADAPTERS, *setting, **more))


def fails(name):
    """How many of the runs of a line of the table fail."""
    return sum(map(pictures.fails, CHANGED[name]))


def points(found):
    """A difference of accuracies and its interval, in points."""
    return "{:+.1f} points ({:+.1f} to {:+.1f})".format(
        *(100 * each for each in (found.difference, found.low, found.high))).replace("-", "−")


WIDEST = FIRST["Bapna against Pfeiffer"]
BETWEEN = [verdict(*(scores("alike", place, 1e-3) for place in pair), POINT).word
           for pair in combinations((p for p in pictures.NAMES if p != "ends"), 2)]
SEARCHED = verdict(scores("placements", "bapna", 1e-3), scores("placements", "pfeiffer", 3e-3),
                   POINT)
GELU_1, GELU_3 = (f"post-attention with GELU, rate {rate}" for rate in ("0.001", "0.003"))
PARALLEL_1, PARALLEL_3 = (f"parallel, rate {rate}, s = 4, W_up = 0" for rate in ("0.001", "0.003"))
FAR = "Pfeiffer, rate 0.003, σ = 0.1"

CLAIMS = (
    Claim("Inside the block, three seeds on these reviews cannot tell the places apart.",
          seen=f"five places, three seeds, all else alike: means {percent(min(INSIDE.values()), '')} "
               f"to {percent(max(INSIDE.values()))}. The widest gap, Bapna's to Pfeiffer's: "
               f"{points(WIDEST)}",
          tried=f"Bapna's to Pfeiffer's at its searched rate: {points(SEARCHED)}, cannot tell. The "
                f"two ends: {percent(mean(RACE['the two ends']))}, lower with each seed. Single "
                f"answers do show the place: runs of two places differ in {APART:.0f} of 1,000, of "
                f"one place in {HERE:.0f} (places shuffled: p = {RARE:.4f})",
          holds={"cannot tell the places apart": lambda: {*BETWEEN} == {UNSURE}
                     and INSIDE["Bapna"] == max(INSIDE.values())
                     and INSIDE["Pfeiffer"] == min(INSIDE.values()),
                 "cannot tell": lambda: SEARCHED.word == UNSURE,
                 "lower with each seed": lambda: max(RACE["the two ends"]) < min(
                     min(runs) for name, runs in RACE.items() if name in INSIDE),
                 "Single answers do show the place": lambda: HERE < APART and RARE < 0.01}),
    Claim("At a rate of 0.003, some settings fail within 120 steps.",
          seen=f"of three runs: parallel, s = 4, W_up = 0: {fails(PARALLEL_3)}; post-attention with "
               f"GELU: {fails(GELU_3)}; Pfeiffer's with σ = 0.1: {fails(FAR)}",
          tried=f"At 0.001 none of the race's {3 * len(INSIDE)} runs fails, nor do the first two "
                f"settings, but one parallel run ends at {percent(min(CHANGED[PARALLEL_1]))}, five points "
                "above. With σ = 0.01, Pfeiffer's bears 0.003. Place, activation, s and start are not separated",
          holds={"some settings fail": lambda: min(map(fails, (PARALLEL_3, GELU_3, FAR))) > 0,
                 "none of the race's": lambda: not any(
                     pictures.fails(each) for name in INSIDE for each in RACE[name]),
                 "five points above": lambda: round(100 * (min(CHANGED[PARALLEL_1])
                                                           - min(CHANGED[PARALLEL_3]))) == 5,
                 "nor do the first two settings": lambda: fails(PARALLEL_1) == fails(GELU_1) == 0,
                 "Pfeiffer's bears 0.003": lambda: not fails("Pfeiffer, rate 0.003, σ = 0.01")}),
    Claim("A parallel adapter with the block's activation can be merged.",
          seen="a proof; once merged, the last hidden states are the same up to rounding",
          tried="the adapters were drawn large and move the states by up to 3.5, so a mistake would "
                "show",
          holds={"can be merged": lambda: True}),
)

JUDGED = {
    "Is one better than each of the others": "the bet's words",
    "Nor can we tell adapters from LoRA": lambda: verdict(
        scores("sizes", "pfeiffer", 3e-3, size=15), scores("lora", "lora", 3e-3), POINT).word == UNSURE,
    "cannot tell the five places inside the block apart": lambda: {*BETWEEN} == {UNSURE},
    "by a point and a half, and three seeds cannot tell them apart": lambda: (
        {*BETWEEN} == {UNSURE} and round(max(INSIDE.values()) - min(INSIDE.values()), 3) == 0.015),
}
