"""LoRA: what the site's pages say of it."""

from peft_teach.course.publish.methods import FROZEN, TRAINED

TITLE = "LoRA"
LESSON = "07_lora"
EQUATION = r"$y + s\,(xA^\top)B^\top$"
COMPUTES = "`x Wᵀ + s (x Aᵀ) Bᵀ`"
SETTINGS = "rank {rank}, query and value"
WHEN = "the first thing to try"
EQUALS = "peft"
IN_PEFT = ("`LoraConfig(r=8)`", "`pt.lora.Config(rank=8)`")
DRAWING = (
    (FROZEN, 0, 0, 3, 3, "W"), (TRAINED, 3.5, 0, 0.5, 3, "B"), (TRAINED, 4.2, 2.5, 3, 0.5, "A"))
