"""Head alone: what the site's pages say of it."""

TITLE = "head alone"
LESSON = "01_full"
EQUATION = "the last layer"
WHEN = "the base knows the task already"
