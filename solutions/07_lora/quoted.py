"""Lesson 07: what its prose says and no output of it shows."""

from quote_checks import record

from peft_teach import outlines
from peft_teach.course import protocol
from peft_teach.course.lessons.lora.recorded import LEARNS

TOTAL = sum(outlines.counts("minilm").values())
COINS = next(row["examples"] for row in record("ladder")["runs"] if row["group"] == "heart")
RUNS = record("lora").runs
TESTED = RUNS.tests.max()

QUOTED = {
    "(0.5 to 1.8)": "the bounds of the check",
    "transformers 5.23": "a version",
    "(2,563 where": TESTED,
    "2,716 of them": protocol.TESTS,
    "78 % or more": LEARNS,
    "4,000 sentences": "a setting of the runs",
    "1 to 70 billion": "the sources of the recipe",
    "13 billion": "Dettmers et al. 2023: 2e-4 for 7 and 13 billion, 1e-4 above",
    "four models of 91 MB": 4 * TOTAL,
    "2,048 sentences": COINS,
    "learns: 81.3 %": RUNS.query("group == 'scale' and rank == 64 and lr == 0.001").accuracy.mean(),
}
