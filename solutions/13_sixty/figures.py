"""Lesson 13: what its prose says and no output of it shows."""

from peft_teach.course.lessons.sixty import recorded

FIGURES = {
    "tested on 1,319 problems": recorded.PROBLEMS,
    "solves 47.8 %": recorded.field().accuracy[recorded.LORA],
    "with 95 % confidence": "of the interval, by its definition",
    "comes first at 3 billion": "Llama-3.2-3B: the table's head",
    "stands there 24 times": 384 / 16,
    "S has 6,144 entries": 16 * 384,
    "Lily's file has 835 MB, LoRA's 37 MB": tuple(recorded.field().bytes[run] for run in (
        "lily-rank140-mlp-a2-b2-s8.0", recorded.LORA)),
    "all runs above 45 %": "where the table is asked",
    "OFT solves 49.1 %, MiSS 48.7 %, VeRA 35.4 %, LoRA 47.8 %": tuple(
        recorded.field().accuracy[run] for run in (
            "oft-rank32", "miss-default", "vera-default", recorded.LORA)),
    "For 1 to 70 billion": "the sources of the recipe: lesson 10",
}
