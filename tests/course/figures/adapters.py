"""Lesson 05: what its prose says and no output of it shows."""

from figures import record

FIGURES = {
    "1,920 film sentences": "a setting of the runs: 120 steps of 16",
    "1,920 sentences": "a setting of the runs: 120 steps of 16",
    "within 300,000 parameters": record("adapters")["setting"]["budget"],
    "1,000 test sentences": record("adapters")["setting"]["tests"],
}
