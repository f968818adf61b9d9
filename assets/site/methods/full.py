"""Full: what the site's pages say of it."""

TITLE = "full"
LESSON = "01_full"
EQUATION = "$W$ itself"
COMPUTES = "every weight, or the head alone"
WHEN = "one task, memory enough, much to learn"
