"""Lesson 06: what its prose says and no output of it shows."""

from figures import record, select
from peft_teach.course import records

FULL, = select(record("ia3"), group="full")
FAR = [share for run in select(record("ia3"), group="many") for place in run["moved"].values()
       for share in place]
HEAD, ALL = records.ends()

FIGURES = {
    "2,563 of them for testing": record("ia3")["setting"]["test_examples"],
    "on 4,000 of the sentences": "a setting of the run",
    "reaches 71 %. Full fine-tuning reaches 82 %": (HEAD, ALL),
    "from 64.0 to 82.7 %": "in the table of the desk",
    "0.06 % of the parameters": 13_824 / 22_713_216,
    "the gains moved theirs by 13 to 25 %": (min(FAR), max(FAR)),
    "T0 with 3 or 11 billion parameters": "the paper's models",
    "batch 8, 1,000 steps": "the paper's recipe",
    "At 7 billion parameters": "a size, not a result",
}
