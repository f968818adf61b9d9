"""Lesson 01: what its prose says and no output of it shows."""

from figures import mean, record, select

from peft_teach import data

MOVIES = data.load("movies")
LONG = mean(run["accuracy"] for run in select(
    record("full"), group="read", pool="cls", steps=2500, standardized=False))
POOLERS = [run["accuracy"] for run in select(record("full"), group="poolers")]
PENALIZED = max(select(record("full"), group="converged", pool="mean"),
                key=lambda run: run["validation"])

FIGURES = {
    "10,041 sentences": sum(map(len, (MOVIES.train, MOVIES.validation, MOVIES.test))),
    "4,000 sentences": record("full")["setting"]["train_examples"],
    "is 100 times as": "changes of the exercise's list",
    "pooler 70.4 %": LONG,
    "70.9 to 72.0 %": (min(POOLERS), max(POOLERS)),
    "validation chooses (76.2 %)": PENALIZED["accuracy"],
    "three times the rate: 81.0 %": mean(run["accuracy"] for run in select(
        record("lora"), group="rates", method="full", lr=3e-4)),
    "112 GB at 7 billion": (7e9 * 16, 7e9),
}
