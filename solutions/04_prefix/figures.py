"""Lesson 04: what its prose says and no output of it shows."""

from figures import record

import peft_teach as pt

METHODS = {row["method"]: row["parameters"] for row in record("messages")["runs"]}

FIGURES = {
    "11,520 numbers become 230,400": (pt.prompt.count(20, 576), pt.prefix.count(20, 30, 192)),
    "one vector has 4,608 numbers": METHODS["prefix"],
    "LLaMA-Adapter, 7 billion": "the paper's model",
}
