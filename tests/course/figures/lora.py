"""Lesson 07: what its prose says and no output of it shows."""

from figures import record, select

SLOW, = select(record("lora"), group="rates", method="lora", lr=1e-4)
FAST, = select(record("lora"), group="rates", method="full", lr=3e-3)

FIGURES = {
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "LoRA reaches 57.0 %": SLOW["accuracy"],
    "ends at 49.5 %": FAST["accuracy"],
}
