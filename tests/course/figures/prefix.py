"""Lesson 04: what its prose says and no output of it shows."""

from figures import record

TESTS = record("rates")["setting"]["tests"]

FIGURES = {
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "on 1,920 sentences": "a setting",
    "\"Prefix tuning trains 0.1 %\"": "what is said of it: Li & Liang 2021, of what is kept",
    "\"0.1 % trained\"": "what is said of it: Li & Liang 2021, of what is kept",
    "the first 1,000 test sentences": "a setting",
    "1,000 test sentences on MiniLM": TESTS["minilm"],
}
