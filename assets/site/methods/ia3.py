"""IA³: what the site's pages say of it."""

TITLE = "IA³"
LESSON = "06_ia3"
EQUATION = r"$l \odot y$"
COMPUTES = "`l ⊙ y` for keys, values, feed-forward"
WHEN = "few examples, smallest files"
EQUALS = "peft"
IN_PEFT = ("`IA3Config()`",
           "`pt.ia3.Config()`; on a BERT, peft scales `attention.output.dense`, too")
