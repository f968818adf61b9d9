"""Lesson 05: what its prose says and no output of it shows."""

import itertools
from statistics import mean

from figures import record, select

RUNS = select(record("adapters"), group="alike")
INSIDE = [row for row in RUNS if row["setting"]["place"] != "ends"]
MEANS = {place: mean(row["accuracy"] for row in RUNS if row["setting"]["place"] == place)
         for place in ("houlsby", "post_attention", "pfeiffer", "bapna", "parallel", "ends")}


def changed(equal):
    """Mean number of answers in which two runs inside the blocks differ that have this equal."""
    other = "seed" if equal == "place" else "place"
    return mean(sum(a != b for a, b in zip(one["answers"], two["answers"], strict=True))
                for one, two in itertools.combinations(INSIDE, 2)
                if one["setting"][equal] == two["setting"][equal]
                and one["setting"][other] != two["setting"][other])


FIGURES = {
    "that is 8 %": 0.01**2 * (64**0.5 + 384**0.5) ** 2,
    "lie between 77.6 and 79.1 %": (MEANS["pfeiffer"], MEANS["bapna"]),
    "98 of the 1,000 answers change": (changed("seed"), record("adapters")["setting"]["tests"]),
    "and 100 change": changed("place"),
    "report 21 to 30 %": "Hu et al. 2021, Table 1",
    "300 sentences": "a setting of the cell",
}
