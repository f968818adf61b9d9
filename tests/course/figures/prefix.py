"""Lesson 04: what its prose says and no output of it shows."""

from figures import record

TESTS = record("rates")["setting"]["tests"]

FIGURES = {
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "on 1,920 sentences": "a setting",
    "the first 1,000 test sentences": "a setting",
    "1,000 test sentences on MiniLM": TESTS["minilm"],
}
