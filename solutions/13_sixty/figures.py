"""Lesson 13: what its prose says and no output of it shows."""

from peft_teach.course.lessons.sixty import recorded

FIELD = recorded.field()

FIGURES = {
    "tested on 1,319 problems": recorded.PROBLEMS,
    "is 60 times as large": FIELD.bytes["randlora-default"] / FIELD.bytes[recorded.LORA],
    "solves 47.8 %": FIELD.accuracy[recorded.LORA],
    "with 95 % confidence": "of the interval, by its definition",
    "moves IA³ by 8.7 points": FIELD.accuracy["ia3-lr_0.001"] - FIELD.accuracy["ia3-default"],
    "stands there 24 times": 384 / 16,
    "MiSS solves 48.7 %, OFT 49.1 %, LoRA 47.8 %, RoAd 38.5 %, VeRA 35.4 %": tuple(
        FIELD.accuracy[run] for run in (
            "miss-default", "oft-rank32", recorded.LORA, "road-lr_0.001", "vera-default")),
    "For 1 to 70 billion": "the sources of the recipe: lesson 10",
}
