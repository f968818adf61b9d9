"""Lesson 05: what its prose says and no output of it shows."""

import itertools
from statistics import mean

from figures import record, select

RUNS = select(record("adapters"), group="alike")


def accuracies(place):
    """Of three seeds, in the race."""
    return [row["accuracy"] for row in RUNS if row["setting"]["place"] == place]


def changed(equal):
    """Mean number of answers that change with the seed, inside the blocks, place equal or not."""
    inside = [row for row in RUNS if row["setting"]["place"] != "ends"]
    return mean(sum(a != b for a, b in zip(one["answers"], two["answers"], strict=True))
                for one, two in itertools.combinations(inside, 2)
                if one["setting"]["seed"] != two["setting"]["seed"]
                and (one["setting"]["place"] == two["setting"]["place"]) == equal)


assert (round(changed(equal=True)), round(changed(equal=False))) == (100, 116)
FIGURES = {
    "that is 8 %": 0.01**2 * (64**0.5 + 384**0.5) ** 2,
    "lie between 77.6 and 79.1 %": (mean(accuracies("pfeiffer")), mean(accuracies("bapna"))),
    "of 1,000 answers": record("adapters")["setting"]["tests"],
    "report 21 to 30 %": "Hu et al. 2021, Table 1",
}
