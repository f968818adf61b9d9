"""Lesson 05: what its prose says and no output of it shows."""

from statistics import mean

from figures import record


def _of_smollm2(method: str) -> float:
    return mean(row["accuracy"] for row in record("rates")["runs"] if row["group"] == "defaults"
                and (row["model"], row["method"]) == ("smollm2", method))


FIGURES = {
    "1,920 film sentences": "a setting of the runs: 120 steps of 16",
    "1,920 sentences": "a setting of the runs: 120 steps of 16",
    "2.2 million parameters": next(
        row["ours"]["parameters"] for row in record("benchmark")["runs"]
        if (row["model"], row["method"]) == ("smollm2", "bottleneck")),
    "had 82.3 % after 40 steps": _of_smollm2("bottleneck"),
    "(untrained: 82.0 %)": record("rates")["without_training"]["zero_shot"],
    "LoRA 88.7 %: three seeds": _of_smollm2("lora"),
    "within 300,000 parameters": record("adapters")["setting"]["budget"],
    "1,000 test sentences": record("adapters")["setting"]["tests"],
}
