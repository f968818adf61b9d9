"""Lesson 08: what its prose says and no output of it shows."""

from figures import record

from peft_teach import nf4

RUNS = record("qlora").runs
BITS = 4 + 32 / 64
DOUBLE = 4 + 8 / 64 + 32 / (64 * nf4.SECOND_BLOCK)

FIGURES = {
    "model of 70 billion": "a size of the plan",
    "70 billion parameters": "a size of the plan",
    "65 billion": "Dettmers et al. 2023",
    "2,563 of them": RUNS.tests.max(),
    "140 GB in 16 bits": 70e9 * 2,
    "48 GB": "a card",
    "it saves 3 GB": 70e9 * (BITS - DOUBLE) / 8,
    "33 to 70 billion": "the columns of the recipe",
    "13 billion": "Dettmers et al. 2023: 2e-4 for 7 and 13 billion, 1e-4 above",
    "7 billion": "a size of the plan",
}
