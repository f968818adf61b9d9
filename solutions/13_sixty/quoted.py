"""Lesson 13: what its prose says and no output of it shows."""

from peft_teach.course.lessons.sixty import recorded

FIELD = recorded.field()

QUOTED = {
    "Apache-2.0": "a licence",
    "Llama 3.2 3B": "a name",
    "from 0.002 to 0.005 its accuracy": "peft's pull request 3337",
    "moved alike, to 0.0001": "the tolerance of the claim's own function",
    "tested on 1,319 problems": "peft's, in the head of field.csv",
    "LoRA of rank 32 (47.8 %)": FIELD.accuracy[recorded.LORA],
    "is 4.8 points ahead of": FIELD.accuracy.max() - FIELD.accuracy[recorded.LORA],
    "move IA³ by 6 to 9 points": tuple(recorded.gaps(next(iter(recorded.PAIRS))).sort_values().iloc[[0, -1]]),
    "comes within 1 to 2 %": "cited: Lee et al. 2026, the abstract",
    "For 95 % of the pairs": "the quantile that `recorded.moved` takes",
    "95 % of the differences": "the same",
    "stands there 24 times": 384 / 16,
    "For 1 to 70 billion": "the sources of the recipe: lesson 10",
}
