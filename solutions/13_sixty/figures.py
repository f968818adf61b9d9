"""Lesson 13: what its prose says and no output of it shows."""

from peft_teach.course.lessons.sixty import recorded

FIELD = recorded.field()

FIGURES = {
    "tested on 1,319 problems": recorded.PROBLEMS,
    "holds its random matrices, is 60 times": FIELD.bytes["randlora-default"] / FIELD.bytes[recorded.LORA],
    "solves 47.8 %": FIELD.accuracy[recorded.LORA],
    "Its two runs solve 54.9 and 52.6 %": tuple(recorded.again().loc[FIELD.index[0]].dropna()),
    "come within 1 to 2 %": "cited: Lee et al. 2026, the abstract",
    "with 95 % confidence": "of the interval, by its definition",
    "move IA³ by 6 to 9 points": tuple(recorded.gaps("IA³").sort_values().iloc[[0, -1]]),
    "stands there 24 times": 384 / 16,
    "MiSS (48.7 %) and OFT (49.1 %) are too near LoRA (47.8 %) to tell": tuple(
        FIELD.accuracy[run] for run in (
            "miss-default", "oft-rank32", recorded.LORA)),
    "For 1 to 70 billion": "the sources of the recipe: lesson 10",
}
