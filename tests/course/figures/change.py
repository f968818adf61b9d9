"""Lesson 02: what its prose says and no output of it shows."""

from figures import record, select

THIRD, = select(record("change"), group="rates", lr=1e-3)

FIGURES = {
    "4,000 sentences": "a setting of the runs",
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "ends at 73.2 %": THIRD["accuracy"],
}
