"""Name: what the site's pages say of it."""

TITLE = "Name"
LESSON = None
EQUATION = r"$y + g \odot y$"
COMPUTES = "`y + g ⊙ y`"
SETTINGS = "query and value"
WHEN = "say what it is the first choice for"
EQUALS = "say what its oracle is"
