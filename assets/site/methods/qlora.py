"""QLoRA: what the site's pages say of it."""

TITLE = "QLoRA"
LESSON = "08_qlora"
EQUATION = "LoRA on $W$ in 4 bits"
COMPUTES = "LoRA or DoRA on a base in 4 bits"
SETTINGS = "rank {rank}, every matrix"
WHEN = "the base does not fit otherwise"
MERGES = "into plain layers"
EQUALS = "peft on bitsandbytes"
IN_PEFT = ("`prepare_model_for_kbit_training(model)`",
           "`model = pt.qlora.inject(model)`, which makes the 4 bits itself")
