"""Figures of lesson 01."""

from figures import mean, record, select
from peft_teach import data, outlines
from peft_teach.course.records import gain

_MOVIES = data.load("movies")
_PENALIZED = [run["accuracy"] for run in select(record("full"), group="converged", pool="cls")]
_MEAN = mean(run["accuracy"] for run in select(record("full"), group="read", pool="mean",
                                                 steps=2500, standardized=False))

FIGURES = {
    "10,041 sentences": sum(map(len, (_MOVIES.train, _MOVIES.validation, _MOVIES.test))),
    "from 70.4 to 72.0 %": (min(_PENALIZED), max(_PENALIZED)),
    "steps 51 %": gain(_MEAN),
    "4,000 sentences": record("full")["setting"]["train_examples"],
    "is 100 times as": "changes of the exercise's list",
    "One 91 MB file": 4 * sum(outlines.counts("minilm").values()),
}
