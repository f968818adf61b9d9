"""Lesson 09: what its prose says and no output of it shows."""

from quote_checks import record

from peft_teach.course import protocol
from peft_teach.methods import dora, lora

RECORD, LIU = record("dora"), "Liu et al. 2024"


QUOTED = {
    "0.001 apart, and all below 0.1": "the task",
    "a correlation of −0.62), LoRA's rise (+0.83), and DoRA's fall a little (−0.31)": f"{LIU}, Figure 2",
    "LoRA +0.83, DoRA −0.31, full fine-tuning −0.62": f"{LIU}, Figure 2",
    "rank 8 at 0.0064": "a rate of the search",
    "2,716 of them": protocol.TESTS,
    "(2,563 where": RECORD.runs.tests.max(),
    "4,608 lengths": 12 * (dora.count(384, 384, 8) - lora.count(384, 384, 8)),
    "or 5 %": 384**-0.5,
    "95 % interval": "Student's t",
    "1 to 70 billion": "the sources of the recipe",
    "within 1 to 2 %": "Lee et al. 2026, abstract",
    "7 billion": "the size of LLaMA-7B",
    "78.4 % for DoRA on LLaMA-7B and 74.7 %": f"{LIU}, Table 1",
    "Their README has 76.3 %": "README of NVlabs/DoRA, commonsense_reasoning, rank 32",
}
