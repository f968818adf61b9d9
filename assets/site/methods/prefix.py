"""Prefix: what the site's pages say of it."""

from peft_teach.course.publish.methods import FROZEN, TRAINED

TITLE = "prefix"
LESSON = "04_prefix"
EQUATION = "attention over $[K_P; K], [V_P; V]$"
COMPUTES = "`attention(Q, [K ; XWₖ], [V ; XWᵥ])`"
SETTINGS = "length {length}"
WHEN = "the same, with more to say to every layer"
EQUALS = "peft; the model on real words"
IN_PEFT = ("`PrefixTuningConfig(num_virtual_tokens=20)`",
           "`pt.prefix.Config(length=20)`; `prefix_projection` is `projection`, the MLP's size")
DRAWING = (
    *((TRAINED, 0.7 + i * 0.9, y, 0.7, 1, name) for y, name in ((0, "v"), (1.5, "k"))
      for i in range(2)),
    *((FROZEN, 2.5 + i * 0.9, y, 0.7, 1, name) for y, name in ((0, "V"), (1.5, "K"))
      for i in range(3)))
