"""Lesson 05: what its prose says and no output of it shows."""

import itertools
from statistics import mean, stdev

from figures import record, select

RUNS = select(record("adapters"), group="alike")
TESTS = record("adapters")["setting"]["tests"]


def accuracies(place):
    """Of three seeds, in the race where the place alone differs."""
    return [row["accuracy"] for row in RUNS if row["setting"]["place"] == place]


def changed(equal):
    """Mean number of answers in which two runs inside the blocks differ that have this equal."""
    inside = [row for row in RUNS if row["setting"]["place"] != "ends"]
    other = "seed" if equal == "place" else "place"
    return mean(sum(a != b for a, b in zip(one["answers"], two["answers"], strict=True))
                for one, two in itertools.combinations(inside, 2)
                if one["setting"][equal] == two["setting"][equal]
                and one["setting"][other] != two["setting"][other])


assert (round(changed("seed")), round(changed("place"))) == (98, 100)
FIGURES = {
    "that is 8 %": 0.01**2 * (64**0.5 + 384**0.5) ** 2,
    "lie between 77.6 and 79.1 %": (mean(accuracies("pfeiffer")), mean(accuracies("bapna"))),
    "98 of the 1,000 answers": TESTS,
    "another place changes 98 answers of 1,000": TESTS,
    "78.5 ± 1.1 %": (mean(accuracies("parallel")), stdev(accuracies("parallel"))),
    "report 21 to 30 %": "Hu et al. 2021, Table 1",
}
