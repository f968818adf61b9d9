"""Lesson 11: what its prose says and no output of it shows."""

from peft_teach.course import records
from peft_teach.course.lessons.chat.exercises import APART
from peft_teach.course.lessons.chat.recorded import rows

RECORD = records.load("chat")
BEFORE, = {row["films"].count("1") / len(row["films"]) for row in rows(
    RECORD, group="main", method="lora", passes=0)}

FIGURES = {
    "chance would bring (95 %)": "a setting",
    "85 %": BEFORE,
    "135 million": "the model's name",
    "65 billion": "Zhou et al. 2023, abstract",
    "1,000 good": "Zhou et al. 2023, abstract",
    "at least 90 % of all": APART,
    "1 to 70 billion": "the sources of the recipe",
    "to 1,000 answers": "Zhou et al. 2023, abstract",
}
