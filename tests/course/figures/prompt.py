"""Lesson 03: what its prose says and no output of it shows."""

from figures import record

SNAPPED = {row["t"]: row["accuracy"] for row in record("prompt")["snapped"]["text"]}

STARTS = {start: [row["accuracy"] for row in record("prompt")["runs"] if row["group"] == "soft"
                  and row["setting"]["start"] == start] for start in ("text", "labels")}
AHEAD = sorted(a - b for a, b in zip(STARTS["text"], STARTS["labels"]))    # by seed

FIGURES = {
    "of labels by 3 to 4 points": (AHEAD[0], AHEAD[-1]),
    "enough for 88 %": SNAPPED[0.8],
}
