"""Lesson 04: what its prose says and no output of it shows."""

from statistics import mean

from figures import record
from peft_teach.course import records

TESTS = record("rates")["setting"]["tests"]
RUNS = record("prefix")["runs"]
ONE = next(row for row in RUNS if row["setting"]["length"] == 1)
PLAIN = next(row for row in RUNS if row["group"] == "rate")

FIGURES = {
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "on 1,920 sentences": "a setting",
    "1,000 test sentences": TESTS["minilm"],
    "with 2 % of the attention": mean(ONE["shares"]["after"]),
    "1.4 points on MiniLM": records.standard_error(PLAIN["accuracy"], TESTS["minilm"]),
}
