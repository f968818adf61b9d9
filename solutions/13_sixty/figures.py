"""Lesson 13: what its prose says and no output of it shows."""

from peft_teach.course.lessons.sixty import recorded

FIGURES = {
    "tested on 1,319 problems": recorded.PROBLEMS,
    "solves 47.8 %": recorded.field().accuracy[recorded.LORA],
    "with 95 % confidence": "of the interval, by its definition",
    "comes first at 3 billion": "Llama-3.2-3B: the table's head",
    "stands there 24 times": 384 / 16,
    "S has 6,144 entries": 16 * 384,
    "For 1 to 70 billion": "the sources of the recipe: lesson 10",
}
