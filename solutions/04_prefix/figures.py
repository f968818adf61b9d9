"""Lesson 04: what its prose says and no output of it shows."""

from figures import record, select

SMOLLM2 = [row["accuracy"] for row in record("prefix")["runs"]
           if row["group"] == "start" and row["setting"]["model"] == "smollm2"]
HALVES = [row["put_back"]["K"] - row["put_back"]["V"] for row in select(record("prefix"),
                                                                        group="parts")]

FIGURES = {
    "by 3 to 9 points": (min(HALVES), max(HALVES)),
    "11,520 numbers into 230,400": (20 * 576, 20 * 30 * 2 * 192),
    "prefixes reached 87 to 89 %": (min(SMOLLM2), max(SMOLLM2)),
    "model reaches 85 %": max(row["accuracy"] for row in select(record("prefix"), group="bound")),
    "LLaMA-Adapter, 7 billion": "the paper's model",
}
