"""DoRA: what the site's pages say of it."""

from peft_teach.course.publish.methods import FROZEN, TRAINED

TITLE = "DoRA"
LESSON = "09_dora"
EQUATION = r"$m \odot (W + sBA)/\lVert W + sBA \rVert$"
COMPUTES = "`m ⊙ (W + s B A) / ‖W + s B A‖`"
SETTINGS = "the same"
WHEN = "LoRA at small ranks falls short"
EQUALS = "peft"
IN_PEFT = ("`LoraConfig(use_dora=True)`", "`pt.dora.Config()`")
DRAWING = (
    (TRAINED, 0, 0, 0.5, 3, "m"), (FROZEN, 1, 0, 3, 3, "W"), (TRAINED, 4.5, 0, 0.5, 3, "B"),
    (TRAINED, 5.2, 2.5, 3, 0.5, "A"))
