"""Full: what the site's pages say of it."""

from peft_teach.course.publish.methods import TRAINED

TITLE = "full"
LESSON = "01_full"
EQUATION = "$W$ itself"
COMPUTES = "every weight, or the head alone"
WHEN = "one task, memory enough, much to learn"
DRAWING = ((TRAINED, 0, 0, 3, 3, "W"), (TRAINED, 4, 0, 1.6, 3, "head"))
