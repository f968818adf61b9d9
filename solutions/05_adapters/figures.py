"""Lesson 05: what its prose says and no output of it shows."""

import math

from figures import record

from peft_teach.course.lessons.adapters import pictures

ADAPTERS, COSTS = record("adapters"), record("ladder")["costs"]
CHANGED = pictures.changed(ADAPTERS)
HERE, APART, RARE = pictures.answers_that_differ(ADAPTERS)
ORDERS = math.factorial(5) ** 2    # of five places in two seeds, beside those of the first

assert (round(HERE), round(APART), round(RARE * ORDERS)) == (100, 116, 9)
FIGURES = {
    "begins at 1 %": "tried once, Pfeiffer's place, seed 0: by a hook on A, rates 0.001 and 0.003",
    "that is 8 %": 0.01**2 * (64**0.5 + 384**0.5) ** 2,
    "by up to 28 points": max(a - b for a, b in zip(CHANGED["Pfeiffer, 0.003, σ = 0.01"],
                                                   CHANGED["from σ = 0.1"])),
    "of 1,000 answers": ADAPTERS["setting"]["tests"], "in all 14,400 ways": ORDERS,
    "a file of 1.2 MB, in place of 91": "ladder.json, costs",
    "21 to 30 %": "Hu et al. 2021, Table 1",
}
