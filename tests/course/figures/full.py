"""Figures of lesson 01."""

from figures import record, select
from peft_teach import data

_MOVIES = data.load("movies")
_PENALIZED = [run["accuracy"] for run in select(record("full"), group="converged", pool="cls")]

FIGURES = {
    "10,041 sentences": sum(map(len, (_MOVIES.train, _MOVIES.validation, _MOVIES.test))),
    "from 70.4 to 72.0 %": (min(_PENALIZED), max(_PENALIZED)),
}
