"""Lesson 04: what its prose says and no output of it shows."""

from figures import record
from peft_teach.course import records

TESTS = record("rates")["setting"]["tests"]
RUNS = record("prefix")["runs"]


def accuracies(group, lr):
    """By seed, of a prefix of 20 or of no prefix."""
    return [row["accuracy"] for row in RUNS
            if row["group"] == group and row["setting"].get("lr") == lr]


PLAIN, HEAD, FROZEN = (accuracies(group, 0.03) for group in ("rate", "head", "frozen"))
AHEAD = [a - b for a, b in zip(PLAIN, accuracies("head_rates", 0.1))]
COST = [a - b for a, b in zip(HEAD, FROZEN)]
BY_CLS = [row["accuracy"] for row in records.select(
    record("full"), group="read", pool="cls", standardized=False, steps=250)]

FIGURES = {
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "on 1,920 sentences": "a setting",
    "1,000 test sentences": TESTS["minilm"],
    "one standard error, 1.4 points": records.standard_error(PLAIN[0], TESTS["minilm"]),
    "by 4 to 7 points": (min(AHEAD), max(AHEAD)),
    "have 68 to 69 %": (min(BY_CLS), max(BY_CLS)),
    "takes 0.8 to 5.6 points": (min(COST), max(COST)),
}
