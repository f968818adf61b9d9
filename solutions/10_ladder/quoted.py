"""Lesson 10: what its prose says and no output of it shows."""

from quote_checks import record, select

from peft_teach.course.lessons.ladder import recorded

LIMIT = {name: limit for name, (_, limit) in recorded.BUDGETS.items()}


def rate(method):
    """Return the rate that a method chose, on validation sentences."""
    return max(select(record("ladder"), group="rates", method=method),
               key=lambda row: row["validation"])["lr"]


QUOTED = {
    "Llama 3.2 3B": "a name",
    "2,716 of them": record("ladder")["setting"]["rated_examples"],
    "a 95 % interval for": "a setting",
    "at most 1.6 times": "a setting of the check",
    "4 times as large": rate("mask") / rate("lora 8"),
    "wants 32 times full": rate("lora 8") / rate("full"),
    "wants 8 times": rate("lora all") / rate("full"),
    "all runs above 45 %": "peft's MetaMathQA comparison, commit 5d602fdbf",
    "at most 100 kB": 1e3 * LIMIT["file"],
    "at most 65 %": LIMIT["time"],
    "at least 55 % of the base's": LIMIT["keep"],
    "1 to 70 billion": "the sources of the recipe",
    "7 billion": "a size",
    "11 billion": "Lialin et al. 2023, abstract",
}
