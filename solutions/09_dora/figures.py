"""Lesson 09: what its prose says and no output of it shows."""

from figures import record

from peft_teach.course.lessons.dora.recorded import MARGIN
from peft_teach.methods import dora, lora

RUNS = record("dora").runs
LIU = "Liu et al. 2024"

FIGURES = {
    "2,563 of them": RUNS.tests.max(),
    "4,608 more": 12 * (dora.count(384, 384, 8) - lora.count(384, 384, 8)),
    "length along the row: 5 %": 384**-0.5,
    "predicts 5 %": 384**-0.5,
    "about 0.7 points": 2.262 / 10**0.5 * MARGIN / 100,
    "95 % interval": "Student's t",
    "LLaMA-7B for 0.2 points": f"{LIU}, Table 7",
    "1 to 70 billion": "the sources of the recipe",
    "within 1 to 2 %": "Lee et al. 2026, abstract",
    "7 billion": "the size of LLaMA-7B",
    "78.4 % for DoRA on LLaMA-7B and 74.7 %": f"{LIU}, Table 1",
    "Their README has 76.3 %": "README of NVlabs/DoRA, commonsense_reasoning, rank 32",
}
