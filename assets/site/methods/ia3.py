"""IA³: what the site's pages say of it."""

from peft_teach.course.publish.methods import FROZEN, TRAINED

TITLE = "IA³"
LESSON = "06_ia3"
EQUATION = r"$l \odot y$"
COMPUTES = "`l ⊙ y` for keys, values, feed-forward"
WHEN = "few examples, smallest files"
EQUALS = "peft"
IN_PEFT = ("`IA3Config()`",
           "`pt.ia3.Config()`; on a BERT, peft scales `attention.output.dense`, too")
DRAWING = ((TRAINED, 0, 0, 0.5, 3, "l"), (FROZEN, 1.2, 0, 3, 3, "W"))
