"""Lesson 04: what its prose says and no output of it shows."""

from figures import record
from peft_teach.course import records

TESTS = record("rates")["setting"]["tests"]
RUNS = record("prefix")["runs"]
PLAIN = next(row for row in RUNS if row["group"] == "rate")

FIGURES = {
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "on 1,920 sentences": "a setting",
    "1,000 test sentences": TESTS["minilm"],
    "on 4,000 sentences": "a setting of the ruler: records.ends",
    "one standard error, 1.4 points": records.standard_error(PLAIN["accuracy"], TESTS["minilm"]),
}
