"""Lesson 03: what its prose says and no output of it shows."""

from figures import record
from peft_teach.course.records import standard_error

SNAPPED = {row["t"]: row["accuracy"] for row in record("prompt")["snapped"]["text"]}

STARTS = {start: [row["accuracy"] for row in record("prompt")["runs"] if row["group"] == "soft"
                  and row["setting"]["start"] == start] for start in ("text", "labels")}
AHEAD = sorted(a - b for a, b in zip(STARTS["text"], STARTS["labels"]))    # by seed
BOUND = {row["setting"]["text"]: row for row in record("prefix")["runs"] if row["group"] == "bound"}
SAME = BOUND[record("prompt")["setting"]["start"]]

FIGURES = {
    "some 4 points": 2 * standard_error(0.8, 470),
    "of labels by 3 to 4 points": (AHEAD[0], AHEAD[-1]),
    "from 76 to 85 %": (SAME["plain"], SAME["accuracy"]),
    "enough for 88 %": SNAPPED[0.8],
}
