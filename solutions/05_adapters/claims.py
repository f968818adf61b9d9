"""Lesson 05: what it claims and what its prose judges, by the record."""

from statistics import mean

from claims import Claim, of, percent
from figures import record

from peft_teach.course import protocol
from peft_teach.course.lessons.adapters import pictures
from peft_teach.course.verdicts import POINT, UNSURE, verdict

ADAPTERS, LADDER = record("adapters"), record("ladder")
RACE, CHANGED = pictures.race(ADAPTERS), pictures.changed(ADAPTERS)
INSIDE = {name: mean(runs) for name, runs in RACE.items() if name != "the two ends"}
HERE, APART, RARE = pictures.answers_that_differ(ADAPTERS)
FIRST = pictures.against_first(ADAPTERS)


def accuracies(*setting, **more):
    return pictures.accuracies(ADAPTERS, *setting, **more)


def scores(*setting, **more):
    return pictures.scores(pictures.runs(ADAPTERS, *setting, **more))


def fails(name):
    """How many of the runs of a line of the table fail."""
    return sum(map(pictures.fails, CHANGED[name]))


def sized(size):
    """Pfeiffer's at its searched rate, in another size."""
    return ("placements" if size == 64 else "sizes", "pfeiffer", 3e-3), (
        {} if size == 64 else {"size": size})


def of_size(size):
    setting, more = sized(size)
    return mean(accuracies(*setting, **more))


def by_size(one, other):
    found = [scores(*setting, **more) for setting, more in map(sized, (one, other))]
    return verdict(*found, POINT)


def rated(other):
    """The bottleneck beside another method, on the course's protocol."""
    for method in ("bottleneck", other):
        of("ladder", "r2", group="final", method=method)
    found = protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER))
    return verdict(*protocol.shared(found, "bottleneck", other))


def points(found):
    """A difference of accuracies and its interval, in points."""
    return "{:+.1f} points ({:+.1f} to {:+.1f})".format(
        *(100 * each for each in (found.difference, found.low, found.high))).replace("-", "−")


WIDEST = FIRST["Bapna against Pfeiffer"]
SEARCHED = verdict(scores("placements", "bapna", 1e-3), scores("placements", "pfeiffer", 3e-3),
                   POINT)
LORA = rated("lora 8")

CLAIMS = (
    Claim("Inside the block, the accuracy on these reviews cannot tell the places apart.",
          seen=f"five places, three seeds, all else alike: means {percent(min(INSIDE.values()), '')} "
               f"to {percent(max(INSIDE.values()))}. The widest gap, Bapna's to Pfeiffer's: "
               f"{points(WIDEST)}",
          tried=f"Pfeiffer's at its searched rate: {points(SEARCHED)}, cannot tell. The two ends, "
                f"with as many parameters: {percent(mean(RACE['the two ends']))}, lower with each "
                f"seed. Single answers do show the place: {APART:.0f} of 1,000 differ against "
                f"{HERE:.0f}, p = {RARE:.4f}",
          holds={"cannot tell the places apart": lambda: all(
                     each.word == UNSURE for each in FIRST.values())
                     and INSIDE["Bapna"] == max(INSIDE.values())
                     and INSIDE["Pfeiffer"] == min(INSIDE.values()),
                 "cannot tell": lambda: SEARCHED.word == UNSURE,
                 "lower with each seed": lambda: max(RACE["the two ends"]) < min(
                     min(runs) for name, runs in RACE.items() if name in INSIDE),
                 "Single answers do show the place": lambda: HERE < APART and RARE < 0.01}),
    Claim("The rate and the start decide whether such a run learns.",
          seen=f"at three times the rate, {fails('at a rate of 0.003')} of three runs of the "
               f"published parallel adapter fail, and {fails('at 0.003')} of post-attention; from "
               f"σ = 0.1, {fails('from σ = 0.1')} of three of Pfeiffer's",
          tried=f"With equal starts, at a rate of 0.001, none of {3 * len(INSIDE)} runs fails. The "
                "far start has not been tried at a smaller rate; and Pfeiffer's place bears 0.003, "
                "so places may differ in the rate that they bear",
          holds={"decide whether such a run learns": lambda: not any(
                     pictures.fails(each) for name in INSIDE for each in RACE[name]),
                 "Pfeiffer's place bears 0.003": lambda: not fails("Pfeiffer, 0.003, σ = 0.01"),
                 "fail": lambda: fails("at a rate of 0.003") > fails("s = 4, W_up = 0")
                     and fails("at 0.003") > fails("post-attention, rate 0.001")
                     and fails("from σ = 0.1") > fails("Pfeiffer, 0.003, σ = 0.01")}),
    Claim("Of sizes from 15 to 256, these runs cannot tell which is ahead.",
          seen=f"Pfeiffer's place, three seeds: {percent(of_size(15), '')}, "
               f"{percent(of_size(64), '')} and {percent(of_size(256))} with 15, 64 and 256. 64 "
               f"against 15: {points(by_size(64, 15))}; against 256: {points(by_size(64, 256))}",
          tried=f"Size 1: {percent(of_size(1))}. LoRA 8, with a quarter of the numbers of size 64: "
                f"cannot tell, R² {LORA.difference:+.3f} ({LORA.low:+.3f} to {LORA.high:+.3f}), "
                "five seeds".replace("-", "−"),
          holds={"cannot tell which is ahead": lambda: {
                     by_size(64, 15).word, by_size(64, 256).word, by_size(15, 256).word} == {UNSURE},
                 "LoRA 8, with a quarter of the numbers of size 64: cannot tell": lambda:
                     rated("lora 8").word == UNSURE}),
    Claim("A parallel adapter with the block's activation can be merged.",
          seen="a proof; once merged, the last hidden states are the same up to rounding",
          tried="the adapters were drawn large and move the states by up to 3.5, so a mistake would "
                "show",
          holds={"can be merged": lambda: True}),
)

JUDGED = {
    "Bet on one if it is better than each other one": "the bet's words",
    "Three seeds cannot tell the places apart": lambda: all(
        each.word == UNSURE for each in FIRST.values()),
}
