"""Prefix: what the site's pages say of it."""

TITLE = "prefix"
LESSON = "04_prefix"
EQUATION = "attention over $[K_P; K], [V_P; V]$"
COMPUTES = "`attention(Q, [K ; XWₖ], [V ; XWᵥ])`"
SETTINGS = "length {length}"
WHEN = "the same, with more to say to every layer"
EQUALS = "peft; the model on real words"
IN_PEFT = ("`PrefixTuningConfig(num_virtual_tokens=20)`",
           "`pt.prefix.Config(length=20)`; `prefix_projection` is `projection`, the MLP's size")
