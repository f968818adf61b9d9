"""Lesson 01: what its prose says and no output of it shows."""

from quote_checks import record, select

from peft_teach import data

MOVIES = data.load("movies")

POOLERS = [run["accuracy"] for run in select(record("full"), group="poolers")]

QUOTED = {
    "10,041 sentences": sum(map(len, (MOVIES.train, MOVIES.validation, MOVIES.test))),
    "4,000 sentences": record("full")["setting"]["train_examples"],
    "is 100 times as": "changes of the exercise's list",
    "70.9 to 72.0 %": (min(POOLERS), max(POOLERS)),
    "bring only 74.4 %": select(record("full"), group="longer")[0]["accuracy"],
    "78.7 % of film reviews each": "cited: Reimers and Gurevych 2019, Table 5",
    "112 GB at 7 billion": (7e9 * 16, 7e9),
}
