"""Lesson 11: what its prose says and no output of it shows."""

from peft_teach.course.lessons.chat.exercises import APART
from peft_teach.course.lessons.chat.recorded import LOSS_MARGIN, NEEDS

QUOTED = {
    "0.2 less of , this customer accepts 0.1": "the task",
    "0.07 of style, 0.04 of loss, 0.07 of": tuple(chance for _, chance in NEEDS.values()),
    "less than 0.05": LOSS_MARGIN,
    "more than chance (95 %)": "a setting",
    "135 million": "the model's name",
    "65 billion": "Zhou et al. 2023, abstract",
    "1,000 good": "Zhou et al. 2023, abstract",
    "at least 90 % of all": APART,
    "3 to 7 billion": "Lin et al. 2023, its models",
    "1 to 70 billion": "the sources of the recipe",
    "about 1,000 answers": "Zhou et al. 2023, abstract",
}
