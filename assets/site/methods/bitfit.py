"""BitFit: what the site's pages say of it."""

from peft_teach.course.publish.methods import FROZEN, TRAINED

TITLE = "BitFit"
LESSON = "02_small_change"
EQUATION = r"$xW^\top + b + \delta b$"
COMPUTES = "`base(x) + b`"
WHEN = "the simplest change; models with biases"
EQUALS = "training the biases"
DRAWING = ((FROZEN, 0, 0, 3, 3, "W"), (TRAINED, 3.4, 0, 0.5, 3, "b"))
