"""Lesson 00: what its prose says and no output of it shows."""

from peft_teach import outlines

TOTAL = sum(outlines.counts("minilm").values())
TRAINED = 12 * 8 * (384 + 384) + 770    # LoRA of rank 8 on query and value, and the head

FIGURES = {
    "within 0.1": "a bet",
    "only 0.3 %": TRAINED / TOTAL,
    "trains 0.33 %": TRAINED / TOTAL,
    "makes 1,536 numbers of its 384": outlines.SIZES["minilm"][5],
    "LoRA takes 44 %": "the first row of its claims",
    "30,522 words": outlines.SIZES["minilm"][6],
    "350 of 1,200 GB": "Hu et al. 2021, §4.2",
    "1 to 70 billion": "the sources of the table",
}
