"""Lesson 02: what its prose says and no output of it shows."""

from figures import mean, record, select

THIRD, = select(record("change"), group="rates", lr=1e-3)

HEAD = max(select(record("change"), group="converged"),
           key=lambda row: row["validation"])["accuracy"]
FULL = mean(row["accuracy"] for row in select(record("change"), group="short", method="full",
                                              pretrained=None))
SEEDS = sorted((row["accuracy"] - HEAD) / (FULL - HEAD)
               for row in select(record("change"), group="subspace", d=4096))

EIGHT = 8 * 6 * (4 * (384 + 384) + 2 * (384 + 1536))    # six blocks: four matrices, and two wide

FIGURES = {
    "331,776": EIGHT,
    "from 38 to 67 %": (SEEDS[0], SEEDS[-1]),
    "4,000 sentences": "a setting of the runs",
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "ends at 73.2 %": THIRD["accuracy"],
}
