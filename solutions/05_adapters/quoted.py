"""Lesson 05: what its prose says and no output of it shows."""

from quote_checks import mean, record, select

from peft_teach.course.lessons.adapters import pictures

ADAPTERS = record("adapters")
LORA = mean(row["accuracy"] for row in select(ADAPTERS, group="lora"))


def size(wanted: int) -> float:
    """The mean accuracy of Pfeiffer's adapters of this size, at the rate of their search."""
    if wanted == 64:
        return mean(pictures.accuracies(ADAPTERS, "placements", "pfeiffer", 3e-3))
    return mean(pictures.accuracies(ADAPTERS, "sizes", "pfeiffer", 3e-3, size=wanted))


QUOTED = {
    "of 1,000, of one place": "a setting of the record",
    "end at 79.1 %, LoRA at 79.4 %": (size(15), LORA),
    "79.1, 78.8 and 78.2 % at sizes": (size(15), size(64), size(256)),
    "that is 8 %": 0.01**2 * (64**0.5 + 384**0.5) ** 2,
    "a file of 1.2 MB instead of 91 MB": "ladder.json, costs",
    "21 to 30 %": "Hu et al. 2021, Table 1",
}
