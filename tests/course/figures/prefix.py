"""Lesson 04: what its prose says and no output of it shows."""

from figures import record, select

SMOLLM2 = [row["accuracy"] for row in select(record("rates"), model="smollm2", group="defaults",
                                             method="prefix")]
PROMPTS = [row["accuracy"] for row in select(record("rates"), model="smollm2", group="defaults",
                                             method="prompt")]
HALVES = [row["put_back"]["K"] - row["put_back"]["V"] for row in select(record("prefix"),
                                                                        group="parts")]

FIGURES = {
    "is 3 to 9 points better": (min(HALVES), max(HALVES)),
    "11,520 numbers into 230,400": (20 * 576, 20 * 30 * 2 * 192),
    "had 68 to 85 % of": (min(SMOLLM2), max(SMOLLM2)),
    "and prompts 78 to 84 %": (min(PROMPTS), max(PROMPTS)),
    "1 to 70 billion parameters": "sizes, not results",
    "LLaMA-Adapter, 7 billion": "the paper's model",
}
