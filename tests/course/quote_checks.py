"""Figures in the lessons' prose that no output beside it shows: a table a lesson, in its folder.

    from quote_checks import mean, record, select

    FULL = mean(run["accuracy"] for run in select(record("lora"), group="methods", method="full"))

    QUOTED = {
        "ends at 83.8 %": FULL,                        words of the lesson: what gives the figure
        "from 62 to 70 and 56 %": (start, up, down),   several figures: a value each, in order
        "74 % on GLUE": "Hu et al. 2021, table 2",     a text: who measured it,
        "all 4,000 sentences": "a setting",            or why nobody did
    }

The words stand in one cell of the lesson, as a reader sees them; the shorter they are, the more
places they speak for. A value is computed here, from a record or the library, and in plain units:
a share for a percentage or for points, bytes, seconds, a count, a ratio. `test_quoted` compares
it with the figure as rounded in the text. Nothing is searched for in a record.
"""

from functools import cache
from statistics import mean, stdev

from peft_teach.course.records import accuracy, load, select

record = cache(load)

__all__ = ["accuracy", "mean", "record", "select", "stdev"]
