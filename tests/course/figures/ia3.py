"""Lesson 06: what its prose says and no output of it shows."""

from figures import record, select
from peft_teach.methods.ia3 import count

FULL = next(row for row in record("ia3")["runs"] if row["group"] == "full")
SIXTEEN, = select(record("ia3"), group="few", method="ia3", shots=16, seed=0)
FASTER = {row["method"]: row["accuracy"] for row in select(record("rates"), group="search")}

FIGURES = {
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "4,000 sentences": "a setting of the run",
    "3 billion parameters": "T0-3B, by its name",
    "63.4 %, beside 63.0 %": (FULL["gains"], FULL["none"]),
    "gives 63.4 %, too": FULL["shrunk"],
    "give 63.0 %, that change itself 76.2 %": (FULL["scaled"], FULL["uncut"]),
    "86.0 % on 200": SIXTEEN["accuracy"],
    "79.8 % with IA³ and 79.1 % with LoRA": (FASTER["ia3"], FASTER["lora"]),
    "1,536": "the width of MiniLM's feed-forward layer",
    "on BERT-base 64,512 in place of the paper's 55,296": (
        count(12, 768, 768, 3072) + 12 * 768, count(12, 768, 768, 3072)),
}
