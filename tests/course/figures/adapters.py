"""Lesson 05: what its prose says and no output of it shows."""

from figures import record

FIGURES = {
    "1,920 film sentences": "a setting of the runs: 120 steps of 16",
    "it said 1.04, 1.40 and 2.64 times": "three runs of that cell on a busy machine",
    "1,000 test sentences": record("rates")["setting"]["tests"]["minilm"],
}
