"""Name: what the site's pages say of it."""

from peft_teach.course.publish.methods import FROZEN, TRAINED

TITLE = "Name"
LESSON = None
EQUATION = r"$y + g \odot y$"
COMPUTES = "`y + g ⊙ y`"
SETTINGS = "query and value"
WHEN = "say what it is the first choice for"
EQUALS = "say what its oracle is"
DRAWING = ((TRAINED, 0, 0, 0.5, 3, "g"), (FROZEN, 1.2, 0, 3, 3, "W"))
