"""Lesson 02: what its prose says and no output of it shows."""

from figures import mean, record, select
from peft_teach.course.records import standard_error

THIRD, = select(record("change"), group="rates", lr=1e-3)
BEST, = select(record("change"), group="bitfit", seed=0)

HEAD = max(select(record("change"), group="converged"),
           key=lambda row: row["validation"])["accuracy"]
FULL = mean(row["accuracy"] for row in select(record("change"), group="short", method="full",
                                              pretrained=None))
SEEDS = sorted((row["accuracy"] - HEAD) / (FULL - HEAD)
               for row in select(record("change"), group="subspace", d=4096))

AS_LONG = mean(row["accuracy"] for row in select(record("change"), group="short", method="head"))
THOUSAND = mean(row["accuracy"] for row in select(record("change"), group="subspace", d=1024))

UPDATES = [spectra for run, spectra in record("change")["spectra"].items() if run[:6] == "update"]
FOUR = mean(sum(s * s for s in sigma[:4]) / sum(s * s for s in sigma)
            for spectra in UPDATES for sigma in spectra.values())

EIGHT = 8 * 6 * (4 * (384 + 384) + 2 * (384 + 1536))    # six blocks: four matrices, and two wide

FIGURES = {
    "331,776": EIGHT,
    "from 38 to 67 %": (SEEDS[0], SEEDS[-1]),
    "4,000 sentences": "a setting of the runs",
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "or 51 % against": (THOUSAND - AS_LONG) / (FULL - AS_LONG),
    "with 45 % of the energy": FOUR,
    "ends at 77.3 %": BEST["accuracy"],
    "at a third of the rate at 73.2 %": THIRD["accuracy"],
    "on 1,000 test sentences": "a setting",
    "some 11 points": standard_error(0.8, 1000) / (FULL - HEAD),
}
