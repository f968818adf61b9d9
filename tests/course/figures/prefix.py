"""Lesson 04: what its prose says and no output of it shows."""

from figures import record
from peft_teach.course import records

TESTS = record("rates")["setting"]["tests"]
RUNS = record("prefix")["runs"]


def accuracies(group, lr):
    """By seed, of a prefix of 20 or of no prefix; in no group both have the same rate."""
    return [row["accuracy"] for row in RUNS
            if row["group"] == group and row["setting"].get("lr") == lr]


def gaps(one, other):
    """The smallest and the largest, seed by seed."""
    found = [a - b for a, b in zip(one, other, strict=True)]
    return min(found), max(found)


PLAIN, HEAD, FROZEN = (accuracies(group, 0.03) for group in ("rate", "head", "frozen"))
HEADS = [row["accuracy"] for row in RUNS if row["group"] in ("head", "head_rates")]
PROMPTS = [row["accuracy"] for row in records.select(
    record("rates"), group="defaults", model="minilm", method="prompt")]
OF_ALL_TOKENS = [row["accuracy"] for row in records.select(
    record("full"), group="read", pool="mean", standardized=False, steps=250)]

FIGURES = {
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "on 1,920 sentences": "a setting",
    "1,000 test sentences": TESTS["minilm"],
    "a standard error of 1.4 points": records.standard_error(PLAIN[0], TESTS["minilm"]),
    "in each seed, 71 to 72 %": (min(PLAIN), max(PLAIN)),
    "the head has 62 to 67 %": (min(HEADS), max(HEADS)),
    "against 60 to 63 %": (min(PROMPTS), max(PROMPTS)),
    "by 4 to 7 points": gaps(PLAIN, accuracies("head_rates", 0.1)),
    "by 5 to 9 points": gaps(accuracies("still", 0.03), accuracies("still", 0.1)),
    "takes 0.8 to 5.6 points": gaps(HEAD, FROZEN),
    "have 76 to 77 % after": (min(OF_ALL_TOKENS), max(OF_ALL_TOKENS)),
}
