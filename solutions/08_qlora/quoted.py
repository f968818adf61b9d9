"""Lesson 08: what its prose says and no output of it shows."""

from quote_checks import record

from peft_teach import nf4
from peft_teach.course import protocol
from peft_teach.course.lessons.qlora.picture_of_memory import SHAPES, WORDS, memory, sizes

RUNS = record("qlora").runs
BITS = 4 + 32 / 64
DOUBLE = 4 + 8 / 64 + 32 / (64 * nf4.SECOND_BLOCK)

QUOTED = {
    "4.5 bits": BITS,
    "model of 70 billion": "a size of the plan",
    "70 billion parameters": "a size of the plan",
    "2,716 of them": protocol.TESTS,
    "(2,563 where": RUNS.tests.max(),
    "128,256 words": WORDS["Llama 3"],
    "70.6 billion": sum(sizes(SHAPES[-1], WORDS["Llama 3"])[:2]),
    "edge: 48.2 GB": 1e9 * memory(512).total["QLoRA"],
    "holds 51.5 GB": 48 * 2**30,
    "4.2 GB less": 2 * WORDS["Llama 3"] * SHAPES[-1][0] * 2,
    "140 GB in 16 bits": 70e9 * 2,
    "48 GB": "a card",
    "it saves 3 GB": 70e9 * (BITS - DOUBLE) / 8,
    "7 billion": "a size of the plan",
}
