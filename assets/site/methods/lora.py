"""LoRA: what the site's pages say of it."""

TITLE = "LoRA"
LESSON = "07_lora"
EQUATION = r"$y + s\,(xA^\top)B^\top$"
COMPUTES = "`x Wᵀ + s (x Aᵀ) Bᵀ`"
SETTINGS = "rank {rank}, query and value"
WHEN = "the first thing to try"
EQUALS = "peft"
IN_PEFT = ("`LoraConfig(r=8)`", "`pt.lora.Config(rank=8)`")
