"""Lesson 05: what its prose says and no output of it shows."""

from figures import record

FIGURES = {
    "1,920 film sentences": "a setting of the runs: 120 steps of 16",
    "1,000 test sentences": record("rates")["setting"]["tests"]["minilm"],
}
