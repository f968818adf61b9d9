"""Lesson 13: what its prose says and no output of it shows."""

from peft_teach.course.lessons.sixty import recorded

FIELD = recorded.field()

FIGURES = {
    "tested on 1,319 problems": recorded.PROBLEMS,
    "Lily's file is 23 times as large": FIELD.bytes[FIELD.index[0]] / FIELD.bytes[recorded.LORA],
    "holds its random matrices, 60 times": FIELD.bytes["randlora-default"] / FIELD.bytes[recorded.LORA],
    "solves 47.8 %": FIELD.accuracy[recorded.LORA],
    "solved 47.8 to 49.1 %, SHiRA, lesson 10's random mask, 50.7 to 52.8 %":
        "cited: peft's git history, as in lesson 10's figures.py",
    "leads by 3.2 points": FIELD.accuracy.iloc[0] - FIELD.accuracy["lora-rank10-target-mlp"],
    "come within 1 to 2 %": "cited: Lee et al. 2026, the abstract",
    "with 95 % confidence": "of the interval, by its definition",
    "moves IA³ by 8.7 points": FIELD.accuracy["ia3-lr_0.001"] - FIELD.accuracy["ia3-default"],
    "stands there 24 times": 384 / 16,
    "MiSS (48.7 %) and OFT (49.1 %) are too near LoRA (47.8 %) to tell": tuple(
        FIELD.accuracy[run] for run in (
            "miss-default", "oft-rank32", recorded.LORA)),
    "For 1 to 70 billion": "the sources of the recipe: lesson 10",
}
