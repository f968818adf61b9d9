"""Lesson 06: what its prose says and no output of it shows."""

from figures import record

FULL = next(row for row in record("ia3")["runs"] if row["group"] == "full")
REACHED = [each["gains"] for each in FULL["reach"].values()]

FIGURES = {
    "4,000 of the sentences": "a setting of the run",
    "the whole change gives 82.0 %, no change at all 58.8 %": (FULL["uncut"], FULL["none"]),
}
