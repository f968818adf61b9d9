"""Lesson 03: what its prose says and no output of it shows."""

from figures import record

SNAPPED = {row["t"]: row["accuracy"] for row in record("prompt")["snapped"]["text"]}

FIGURES = {
    "enough for 88 %": SNAPPED[0.8],
}
