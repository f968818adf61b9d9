"""Lesson 13: what its prose says and no output of it shows."""

from figures import record

from peft_teach.course.lessons.sixty import recorded

FIELD = recorded.field()

FIGURES = {
    "Apache-2.0": "a licence",
    "from 0.002 to 0.005 IA³ hardly": "peft's pull request 3337",
    "0.0001 is far too low": "peft's pull request 3337",
    "Llama 3.2 3B": "a name",
    "to Lily there are 4.8": 100 * (FIELD.accuracy.max() - FIELD.accuracy[recorded.LORA]),
    "correlate by 0.7": recorded.alike(record("ladder")),
    "tested on 1,319 problems": recorded.PROBLEMS,
    "file has 835 MB, for 9.5 million numbers": (FIELD.bytes.iloc[0], FIELD.trained.iloc[0]),
    "solves 47.8 %": FIELD.accuracy[recorded.LORA],
    "it is 3.2 points ahead": FIELD.accuracy.iloc[0] - FIELD.accuracy["lora-rank10-target-mlp"],
    "come within 1 to 2 %": "cited: Lee et al. 2026, the abstract",
    "with 95 % confidence": "of the interval, by its definition",
    "move IA³ by 6 to 9 points": tuple(recorded.gaps("IA³").sort_values().iloc[[0, -1]]),
    "stands there 24 times": 384 / 16,
    "OFT (49.1 %) is too near LoRA (47.8 %) to tell": tuple(
        FIELD.accuracy[run] for run in ("oft-rank32", recorded.LORA)),
    "For 1 to 70 billion": "the sources of the recipe: lesson 10",
}
