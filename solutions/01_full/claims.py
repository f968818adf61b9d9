"""Lesson 01: what it claims and what its prose judges, by the record."""

from statistics import mean

from claim_checks import Claim, of, percent
from quote_checks import record, select

from peft_teach.course.records import standard_error
from peft_teach.course.verdicts import POINT

FULL, TESTS = record("full"), 2563


def read(pool, steps=2500, standardized=False):
    """The head after so many steps at the rate that validation chose, mean of three seeds."""
    return mean(of("full", group="read", pool=pool, steps=steps, standardized=standardized))


def solved(pool, penalty=None):
    """The solved head, with this penalty or with the one that validation chooses."""
    runs = [run for run in select(FULL, group="converged", pool=pool)
            if penalty is None or run["penalty"] == penalty]
    return max(runs, key=lambda run: run["validation"])["accuracy"]


def everything():
    return mean(of("lora", group="methods", method="full"))


def counting():
    return select(FULL, group="counting")[0]["accuracy"]


def reads(what):
    return of("full", group="reads", pool=what)[0]


POOLERS = sorted(run["accuracy"] for run in select(FULL, group="poolers"))
ERROR = 100 * standard_error(0.77, TESTS)

CLAIMS = (
    Claim("A head gains more by reading the mean in place of the pooler than from ten times the "
          "steps or from standardized features.",
          seen=f"After 2,500 steps: mean {percent(read('mean'))}, pooler "
               f"{percent(read('cls'))}, three seeds. Solved: "
               f"{percent(solved('mean', 0))} and {percent(solved('cls', 0))}; with the penalty "
               f"that validation chooses {percent(solved('mean'))} and {percent(solved('cls'))}",
          tried=f"250 steps on the pooler: {percent(read('cls', 250))}. Standardized, 2,500: "
                f"{percent(read('cls', standardized=True))}. Four random poolers and none: "
                f"{100 * POOLERS[0]:.1f} to {percent(POOLERS[-1])}. Another pretrained network: nothing yet.",
          holds={"gains more by reading the mean in place of the pooler than from ten times":
                 lambda: read("mean") - read("cls") > read("cls") - read("cls", 250)
                 and solved("mean") - solved("cls") > read("cls") - read("cls", 250),
                 "or from standardized features": lambda: (
                     read("cls", standardized=True) - read("cls") < solved("mean") - solved("cls"))}),
    Claim("On these reviews, our frozen network (MiniLM) and this count of words are within about a "
          "point of each other.",
          seen=f"{percent(read('mean'))} and {percent(counting())}; standard error of each "
               f"{ERROR:.1f} points",
          tried="The head at the best of nine rates, with ten times the steps; solved, with a "
                f"penalty that validation chooses: {percent(solved('mean'))}. Nothing was searched for "
                "the count.",
          holds={"are within about a point of each other": lambda: all(
              abs(head - counting()) < POINT for head in (read("mean"), solved("mean")))}),
    Claim("Full fine-tuning, at the rate that validation chose, beats both.",
          seen=f"{percent(everything())}, mean of three seeds",
          tried="The head at the best of nine rates, with ten times the steps. A tenth of the rate "
                "brings full fine-tuning to "
                f"{percent(of('lora', group='rates', method='full', lr=1e-5)[0])} (one seed).",
          holds={"beats both": lambda: everything() - max(
              read("mean"), solved("mean"), counting()) > 0.04}),
)

JUDGED = {
    "Until 2018 most language tasks": "history",
    "You double the batch. What grows": "counted in lesson 00",
    "the one that counts is the best on validation sentences": "how the rate is chosen",
    "only as good as what you read of it": lambda: read("mean") - read("cls") > 0.06,
    "As much as on the last block": lambda: abs(
        reads("all tokens, before the first block") - reads("all tokens, last block")) < POINT,
    "says more one block earlier": lambda: reads("[CLS], one block earlier") - reads(
        "[CLS], last block") > 0.02,
    "We draw the better one": lambda: solved("mean") > solved("cls"),
    "The loss stays at 0.69, as does that of full fine-tuning at ten times": lambda: all(
        round(mean(run["losses"][-20:]), 2) == 0.69
        for run in (*select(FULL, group="curves", method="scratch"),
                    *select(record("lora"), method="full", lr=1e-3, seed=0))),
    "the head cheap and worse": lambda: everything() - max(read("mean"), solved("mean")) > 0.04,
}
