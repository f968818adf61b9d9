"""Lesson 13: what its prose says and no output of it shows."""

from peft_teach.course.lessons.sixty import recorded

FIELD = recorded.field()
BEFORE = recorded.again(FIELD)

FIGURES = {
    "tested on 1,319 problems": recorded.PROBLEMS,
    "solves 47.8 %": FIELD.accuracy[recorded.LORA],
    "with 95 % confidence": "of the interval, by its definition",
    "3.2 points less": FIELD.accuracy[recorded.LILY] - FIELD.accuracy[recorded.MLP],
    "3.5 points or more": (BEFORE.loc["lora-rank64-rslora"] - BEFORE.loc[recorded.LORA]).min(),
    "within 3.8 points of LoRA": recorded.half(FIELD.accuracy[recorded.LORA], of=2),
    "stands there 24 times": 384 / 16,
    "OFT solves 49.1 %, MiSS 48.7 %, VeRA 35.4 %, LoRA 47.8 %": tuple(
        FIELD.accuracy[run] for run in (
            "oft-rank32", "miss-default", "vera-default", recorded.LORA)),
    "For 1 to 70 billion": "the sources of the recipe: lesson 10",
}
