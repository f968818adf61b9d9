"""Lesson 09: what its prose says and no output of it shows."""

from figures import mean, record, stdev
from peft_teach.course.lessons.dora.exercises import T95
from peft_teach.course.lessons.dora.recorded import MARGIN, differences
from peft_teach.methods import dora, lora

RUNS = record("dora").runs
GAPS = [[(x - y) / 100 for x, y in zip(a, b)] for a, b in differences(record("dora")).values()]
HALF = [T95[len(gaps)] * stdev(gaps) / len(gaps) ** 0.5 for gaps in GAPS]
SEARCH = RUNS.query("group == 'rates' and lr == 0.006").pivot(
    index="rank", columns="method", values="accuracy")
LIU = "Liu et al. 2024"

FIGURES = {
    "2,563 of them": RUNS.tests.max(),
    "4,608 more": 12 * (dora.count(384, 384, 8) - lora.count(384, 384, 8)),
    "length along it: 5 %": 384**-0.5,
    "predicts 5 %": 384**-0.5,
    "about 0.7 points": 2.262 / 10**0.5 * MARGIN / 100,
    "95 % interval": "Student's t",
    "−0.1 and +0.2 points": max(map(mean, GAPS)),
    "±0.3 points or better": max(HALF),
    "for 0.2 points of accuracy": f"{LIU}, Table 7",
    "LLaMA-7B for 0.2 points": f"{LIU}, Table 7",
    "78.4 % for DoRA; for LoRA 74.7 %": f"{LIU}, Table 1",
    "or 76.3 % (their README)": "README of NVlabs/DoRA, commonsense_reasoning, rank 32",
    "79.0 % for DoRA, 78.7 % with a gain, 75.9 %": tuple(SEARCH.loc[32, ["dora", "gain", "lora"]]),
    "74.9 %, 73.4 % and 74.7 %": tuple(SEARCH.loc[2, ["dora", "gain", "lora"]]),
    "1 to 70 billion": "the sources of the recipe",
    "within 1 to 2 %": "Lee et al. 2026, abstract",
    "7 billion": "the size of LLaMA-7B",
    "78.4 % for DoRA on LLaMA-7B and 74.7 %": f"{LIU}, Table 1",
    "Their README has 76.3 %": "README of NVlabs/DoRA, commonsense_reasoning, rank 32",
    "found 78.2 % for DoRA": "NVlabs/DoRA#14",
    "72.5 in place of 77.9 %": "NVlabs/DoRA#14, and the README",
    "in place of 77.5 %": "README of NVlabs/DoRA",
}
