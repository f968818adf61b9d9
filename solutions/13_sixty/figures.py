"""Lesson 13: what its prose says and no output of it shows."""

from peft_teach.course.lessons.sixty import recorded

FIELD = recorded.field()
BEFORE = recorded.again(FIELD)

FIGURES = {
    "tested on 1,319 problems": recorded.PROBLEMS,
    "solves 47.8 %": FIELD.accuracy[recorded.LORA],
    "with 95 % confidence": "of the interval, by its definition",
    "by 3.8 points and": (BEFORE.loc[recorded.LILY] - BEFORE.loc[recorded.MLP]).max(),
    "moves IA³ by 8.7 points": FIELD.accuracy["ia3-lr_0.001"] - FIELD.accuracy["ia3-default"],
    "within 3.8 points of LoRA": recorded.half(FIELD.accuracy[recorded.LORA], of=2),
    "stands there 24 times": 384 / 16,
    "OFT solves 49.1 %, MiSS 48.7 %, RoAd 38.5 %, VeRA 35.4 %, LoRA 47.8 %": tuple(
        FIELD.accuracy[run] for run in (
            "oft-rank32", "miss-default", "road-lr_0.001", "vera-default", recorded.LORA)),
    "For 1 to 70 billion": "the sources of the recipe: lesson 10",
}
