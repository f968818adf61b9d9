"""Lesson 08: what it claims and what its prose judges, by the record."""

from statistics import mean

import torch
from claim_checks import Claim, percent
from quote_checks import record, select

from peft_teach.course import protocol
from peft_teach.course.lessons.qlora.picture_of_memory import memory
from peft_teach.course.verdicts import MARGIN, POINT, SAME, of_runs, verdict

QLORA, LADDER = record("qlora"), record("ladder")
FORMATS = QLORA["formats"]
WEIGHTS, UNIFORM = "the model's weights", "uniform numbers"


def shared(score="r2"):
    """The scores of QLoRA and of LoRA on the exact base, (seeds, sentences) each."""
    return protocol.shared(protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER), score),
                           "qlora all", "lora all")


def ranked(column):
    """The tables by their error, the smallest first: (name, error)."""
    return sorted(((name, row[column]) for name, row in FORMATS.items()), key=lambda each: each[1])


def merged(field, rounding, maxima="new", update=True):
    """One field of a way to merge, by seed; where it was drawn, the mean of the draws."""
    rows = [row for row in QLORA["merged"] if (row["update"], row["rounding"], row["maxima"]) == (
        update, rounding, maxima)]
    return [mean(row[field] for row in rows if row["seed"] == seed) for seed in (0, 1, 2)]


def errors(way, block):
    """The errors of the hidden states after a block, by seed."""
    return [row["errors"][block - 1] for row in QLORA["blocks"] if row["way"] == way]


def near(one, other):
    """Whether two ways end within a tenth of each other after the last block, seed by seed."""
    return all(abs(a - b) < 0.1 * b for a, b in zip(errors(one, LAST), errors(other, LAST)))


def span(shares, digits=0):
    """The least and the largest of some shares: "40 to 48 %"."""
    low, high = (f"{100 * share:.{digits}f}" for share in (min(shares), max(shares)))
    return f"{low} to {high} %" if low != high else f"{low} %"


R2, SIGN = verdict(*shared()), verdict(*shared("accuracy"), margin=POINT)
BY_SEED = torch.sub(*shared()).mean(1).tolist()
NEAREST, DICE, NONE, SHRUNK = "nearest level", "stochastic", "no update", "shrunk, not rounded"
KEPT = {way: merged("kept", way) for way in ("nearest", "dice", "exact base, nearest")}
TOTAL = memory(512).total
# The error of the hidden states before training, by LoRA's start.
STARTS = {row["start"]: row["hidden_error"] for row in select(QLORA, group="starts", lr=0.00025)}
FIRST, *_, LAST = range(1, 7)

CLAIMS = (
    Claim("Of five tables, NF4 makes the smallest error on the model's weights, and evenly spaced "
          "levels on uniform numbers.",
          seen="all matrices of the blocks: {} {}, then {} {}; on uniform numbers: {} {}, then {} "
               "{}".format(*(text for column in (WEIGHTS, UNIFORM) for name, error in
                             ranked(column)[:2] for text in (
                                 name.replace("even, 16", "even levels"), percent(error)))),
          tried="all tables take the same bits, maxima included",
          holds={"NF4 makes the smallest error on the model's weights": lambda:
                     ranked(WEIGHTS)[0][0] == "NF4",
                 "evenly spaced levels on uniform numbers": lambda:
                     ranked(UNIFORM)[0][0] == "even, 16"}),
    Claim("LoRA on four bits and LoRA on the exact base are the same, by our margin.",
          seen=f"R² {R2.difference:.3f} ({R2.low:.3f} to {R2.high:.3f}), margin {MARGIN}; ten "
               f"seeds each, all {protocol.TESTS:,} test sentences".replace("-", "−"),
          tried=f"By the accuracy of the sign: {100 * SIGN.difference:.1f} points "
                f"({100 * SIGN.low:.1f} to {100 * SIGN.high:.1f}), margin 1. Each at its own "
                "searched rate".replace("-", "−"),
          holds={"are the same": lambda: R2.word == SAME,
                 "By the accuracy of the sign": lambda: SIGN.word == SAME}),
    Claim("Rounding Ŵ + ΔW to the nearest level takes more than half of these updates back. "
          "Stochastic rounding keeps them, and so does rounding W + ΔW.",
          seen=f"kept {span(KEPT['nearest'])}, and {span(KEPT['dice'] + KEPT['exact base, nearest'])} "
               "by either of the others: three adapters of rank 8, trained on labels",
          tried="With each group's largest weight kept: "
                f"{span(merged('kept', 'nearest', 'old'))}",
          holds={"takes more than half of these updates back": lambda: max(
                     KEPT["nearest"] + merged("kept", "nearest", "old")) < 0.5,
                 "Stochastic rounding keeps them": lambda: min(KEPT["dice"]) > 0.99,
                 "so does rounding W + ΔW": lambda: min(KEPT["exact base, nearest"]) > 0.99}),
    Claim("From block to block, the error of the nearest levels grows like that of a smaller update; "
          "that of stochastic rounding grows slowly.",
          seen=f"after the last block {span(errors(NEAREST, LAST))} of the hidden states' norm, "
               f"without the update {span(errors(NONE, LAST))}; stochastic "
               f"{span(errors(DICE, LAST))}: the same three adapters",
          tried="The update shrunk to the share that the nearest levels keep, and not rounded: "
                f"{span(errors(SHRUNK, LAST))}",
          holds={"grows like that of a smaller update": lambda: near(SHRUNK, NEAREST),
                 "grows slowly": lambda: max(errors(DICE, LAST)) < 3 * min(errors(DICE, FIRST))}),
)

JUDGED = {
    "neighbouring levels are the same probability apart": "the task",
    "Most weights lie near zero": "a bell, in the picture above it",
    "each error is more than twice as large": lambda: all(
        row["last hidden states"] > 2 * row[WEIGHTS] for row in FORMATS.values()),
    "The same, by our margin: with eight of ten seeds the four-bit run ends lower, and never by": lambda:
        R2.word == SAME and sum(gap < 0 for gap in BY_SEED) == 8 and min(BY_SEED) > -MARGIN,
    "Most of is gone": lambda: max(KEPT["nearest"]) < 0.5,
    "how sure are you that it is better": "the question",
    "After the first block, stochastic rounding is further off. But its errors know nothing of the "
    "update, and they grow slowly.": lambda: min(errors(DICE, FIRST)) > max(errors(NEAREST, FIRST))
        and max(errors(DICE, LAST)) < 3 * min(errors(DICE, FIRST)),
    "Without any rounding it ends nearly the same.": lambda: near(SHRUNK, NEAREST),
    "add to either base": lambda: of_runs(*(merged("accuracy", way, "none") for way in (
        "base in 32 bits", "none"))).word == SAME,
    "your card is on the edge": lambda: abs(TOTAL["QLoRA"] - 48) < 0.5,
    "the weighted repair is by far the best": lambda:
        STARTS["weighted"] < 0.8 * sorted(STARTS.values())[1],
}
