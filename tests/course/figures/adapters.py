"""Lesson 05: what its prose says and no output of it shows."""

from figures import record

FIGURES = {
    "2,000 film sentences": record("adapters")["setting"]["train_examples"],
    "same 300,000 parameters": record("adapters")["setting"]["budget"],
}
