"""Lesson 06: what its prose says and no output of it shows."""

from figures import mean, record, select

from peft_teach.course import records

FULL, = select(record("ia3"), group="full")
FAR = [share for run in select(record("ia3"), group="many") for place in run["moved"].values()
       for share in place]
HEAD, ALL = records.ends()
DESK = record("ia3")["desk"]
RIGHT = {turned: mean(a == b for a, b in zip(said, DESK["truth"]))
         for turned, said in DESK["answers"].items()}

FIGURES = {
    "2,563 of them for testing": record("ia3")["setting"]["test_examples"],
    "on 4,000 of the sentences": "a setting of the run",
    "reaches 71 %. Full fine-tuning reaches 82 %": (HEAD, ALL),
    "costs at most 4 points": max(RIGHT["1.0 all"] - RIGHT[f"0.0 {b}"] for b in range(6)),
    "from 64.0 to 82.7 %": (RIGHT["0.0 all"], RIGHT["1.0 all"]),
    "0.06 % of the parameters": 13_824 / 22_713_216,
    "the factors moved by 13 to 25 %": (min(FAR), max(FAR)),
    "T0 with 3 or 11 billion parameters": "the paper's models",
    "batch 8, 1,000 steps": "the paper's recipe",
}
