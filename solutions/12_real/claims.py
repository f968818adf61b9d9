"""Lesson 12: what it claims and what its prose judges, by the record and by its own checks."""

from claim_checks import Claim
from quote_checks import record

from peft_teach.course.lessons.real import exercises, pictures, reference
from peft_teach.course.lessons.real.peft_side import REFUSED, SILENT, WARNED

REAL = record("real")
SAID = {row["file"]: row for row in REAL["complaints"]}
SIX = [*SAID][1:7]
OFF = sorted(row["off"] for name, row in SAID.items() if name != "yours" and row["off"])
FRESH = pictures.noticed(reference.believes)["two fresh models"]


def says(answer, *files):
    return all(SAID[name]["peft"] == answer for name in files)


def silent():
    return sum(SAID[name]["peft"] == SILENT for name in SIX)


def names_each_fault():
    """Whether the course's diagnosis passes every case of exercise 2."""
    one = exercises.DIAGNOSE
    return all(one.judge(case, one.run(reference.diagnose, case)).passed
               for case in one.cases(0))


CLAIMS = (
    Claim("peft gives the logits of your LoRA.",
          seen="record: MiniLM with random A, B and head, α = 8, 32 sentences, peft "
               f"{REAL['versions']['peft']}: the largest difference is below 1e-5 of the largest "
               "logit",
          tried=f"The false files that load differ by {OFF[0]:.2f} to {OFF[-1]:.2f} of it.",
          holds={"gives the logits": lambda: SAID["yours"]["off"] < 1e-5 < 1e-2 < OFF[0]}),
    Claim("`from_pretrained` loads three of six false files without a word, and a fourth if no "
          "setting names the head.",
          seen=f"peft {REAL['versions']['peft']}, MiniLM: the table of *What is in a file?*",
          tried="peft can object: `from_pretrained` warns of a misspelled name, and refuses a "
                "wrong rank and a missing head that is named.",
          holds={"three of six": lambda: silent() == 3,
                 "a fourth": lambda: says(SILENT, "the head left out, and not named"),
                 "warns of a misspelled name": lambda: says(WARNED, "one name misspelled"),
                 "refuses a wrong rank and a missing head": lambda: says(
                     REFUSED, "r is not the rank", "the head left out")}),
    Claim("One knob names these three faults.",
          seen="MiniLM: a file with each",
          tried="Small updates, large logits, two faults at once, and rank 1, where √r is 1: the "
                "check of exercise 2.",
          holds={"names these three faults": names_each_fault}),
    Claim("A comparison of two fresh models misses seven of nine false ways through a file.",
          seen="small models of width 6, the table after exercise 4",
          tried="It notices rounding to half precision, and answers that are 2 % louder.",
          holds={"misses seven of nine": lambda: [*FRESH].count("–") == 7 == len(FRESH) - 2,
                 "It notices rounding": lambda: [*FRESH.index[FRESH != "–"]] == [
                     "rounds every tensor to half precision", "gives every answer a little louder"]}),
)

JUDGED = {"where the two models are the same": "what exercise 2 asks"}
