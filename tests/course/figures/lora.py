"""Lesson 07: what its prose says and no output of it shows."""

from figures import record, select
from peft_teach import outlines
from peft_teach.course.lessons.lora.exercises import SIZE

TOTAL = sum(outlines.counts("minilm").values())
ONE_BLOCK = select(record("lora"), group="layers", layers=[5])[0]["parameters"]
LIMIT = 40e3    # bytes

FIGURES = {
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "22.7 million": TOTAL,
    "4,000 film reviews": "a setting of the runs",
    "as with 1,536": "the inputs of the widest matrix, ffn_out",
    "between half and 1.8 times": SIZE[1],
    "is 0.054 %": ONE_BLOCK / TOTAL,
    "here 16 times": select(record("lora"), group="variants", lr=1e-3)[0]["plus"],
    "adapters of 40 kB": LIMIT,
    "10,000 parameters": LIMIT / 4,
}
