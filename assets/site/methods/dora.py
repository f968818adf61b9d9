"""DoRA: what the site's pages say of it."""

TITLE = "DoRA"
LESSON = "09_dora"
EQUATION = r"$m \odot (W + sBA)/\lVert W + sBA \rVert$"
COMPUTES = "`m ⊙ (W + s B A) / ‖W + s B A‖`"
SETTINGS = "the same"
WHEN = "LoRA at small ranks falls short"
EQUALS = "peft"
IN_PEFT = ("`LoraConfig(use_dora=True)`", "`pt.dora.Config()`")
