"""Lesson 13: what its prose says and no output of it shows."""

from peft_teach.course.lessons.sixty import recorded

FIGURES = {
    "tested on 1,319 problems": recorded.PROBLEMS,
    "solves 47.8 %": recorded.field().accuracy[recorded.LORA],
    "with 95 % confidence": "of the interval, by its definition",
    "stands there 24 times": 384 / 16,
    "OFT solves 49.1 %, MiSS 48.7 %, VeRA 35.4 %, LoRA 47.8 %": tuple(
        recorded.field().accuracy[run] for run in (
            "oft-rank32", "miss-default", "vera-default", recorded.LORA)),
    "For 1 to 70 billion": "the sources of the recipe: lesson 10",
}
