"""Figures of lesson 01."""

from figures import record, select

_PENALIZED = [run["accuracy"] for run in select(record("full"), group="converged", pool="cls")]

FIGURES = {
    "from 70.4 to 72.0 %": (min(_PENALIZED), max(_PENALIZED)),
}
