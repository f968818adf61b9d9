"""QLoRA: what the site's pages say of it."""

from peft_teach.course.publish.methods import QUANTIZED, TRAINED

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
DRAWING = (
    (QUANTIZED, 0, 0, 3, 3, "W, 4 bits"), (TRAINED, 3.5, 0, 0.5, 3, "B"),
    (TRAINED, 4.2, 2.5, 3, 0.5, "A"))
