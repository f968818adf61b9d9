"""Head alone: what the site's pages say of it."""

from peft_teach.course.publish.methods import FROZEN, TRAINED

TITLE = "head alone"
LESSON = "01_full"
EQUATION = "the last layer"
WHEN = "the base knows the task already"
DRAWING = ((FROZEN, 0, 0, 3, 3, "W"), (TRAINED, 4, 0, 1.6, 3, "head"))
