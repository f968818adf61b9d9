"""Lesson 09: what its prose says and no output of it shows."""

from figures import record
from peft_teach.course.lessons.dora.recorded import MARGIN
from peft_teach.methods import dora, lora

RUNS = record("dora").runs
LIU = "Liu et al. 2024"

FIGURES = {
    "2,563 of them": RUNS.tests.max(),
    "4,608 more": 12 * (dora.count(384, 384, 8) - lora.count(384, 384, 8)),
    "length there: 5 %": 384**-0.5,
    "costs 0.2 points": f"{LIU}, §4.3 and Table 7: 78.3 and 78.1",
    "predicts 5 %": 384**-0.5,
    "0.2 points of accuracy on": f"{LIU}, Table 7",
    "about 0.7 points": 2.262 / 10**0.5 * MARGIN / 100,
    "95 % interval": "Student's t",
    "1 to 70 billion": "the sources of the recipe",
    "within 1 to 2 % of": "Lee et al. 2026, abstract",
    "7 billion": "the size of LLaMA-7B",
    "78.4 % for DoRA on LLaMA-7B and 74.7 %": f"{LIU}, Table 1",
    "falls to 40.7 %, and DoRA keeps 78.0 %": f"{LIU}, §5.5: 40.74 and 77.96",
}
