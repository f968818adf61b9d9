"""Lesson 04: what its prose says and no output of it shows."""

from quote_checks import mean, record, select

import peft_teach as pt

METHODS = {row["method"]: row["parameters"] for row in record("messages")["runs"]}
STILL, USUAL = (mean(row["accuracy"] for row in select(record("prefix"), group=group, method="prefix")
                     if row["setting"]["lr"] == 0.03) for group in ("still", "rate"))

QUOTED = {
    "within 0.1": "a bet",
    "transformers 5.24": "a version",
    "11,520 numbers become 230,400": (pt.prompt.count(20, 576), pt.prefix.count(20, 30, 192)),
    "one vector has 4,608 numbers": METHODS["prefix"],
    "74.0 % for 71.4 %": (STILL, USUAL),
    "LLaMA-Adapter, 7 billion": "the paper's model",
}
