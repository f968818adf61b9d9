"""Lesson 06: what its prose says and no output of it shows."""

from figures import record
from peft_teach.methods.ia3 import count

FULL = next(row for row in record("ia3")["runs"] if row["group"] == "full")

FIGURES = {
    "10,041 sentences": "what is left of Hutto & Gilbert's reviews with |rating| > 0.5",
    "4,000 sentences": "a setting of the run",
    "3 billion parameters": "T0-3B, by its name",
    "63.4 %, beside 63.0 %": (FULL["gains"], FULL["none"]),
    "1,536": "the width of MiniLM's feed-forward layer",
    "on BERT-base 64,512 in place of the paper's 55,296": (
        count(12, 768, 768, 3072) + 12 * 768, count(12, 768, 768, 3072)),
}
