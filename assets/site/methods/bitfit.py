"""BitFit: what the site's pages say of it."""

TITLE = "BitFit"
LESSON = "02_small_change"
EQUATION = r"$xW^\top + b + \delta b$"
COMPUTES = "`base(x) + b`"
WHEN = "the simplest change; models with biases"
EQUALS = "training the biases"
