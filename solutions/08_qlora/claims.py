"""Lesson 08: what it claims and what its prose judges, by the record."""

from statistics import mean

from claims import Claim, percent
from figures import record, select

from peft_teach.course import protocol
from peft_teach.course.lessons.qlora.picture_of_memory import memory
from peft_teach.course.lessons.qlora.recorded import compared
from peft_teach.course.verdicts import MARGIN, POINT, SAME, verdict

QLORA, LADDER = record("qlora"), record("ladder")
FORMATS = QLORA["formats"]
WEIGHTS, UNIFORM = "the model's weights", "uniform numbers"


def in_pairs(score="r2", **margin):
    """The verdict on QLoRA beside LoRA on the exact base, by seed and sentence."""
    found = protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER), score)
    return verdict(*protocol.shared(found, "qlora all", "lora all"), **margin)


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


def span(shares, digits=0):
    """The least and the largest of some shares: "40 to 48 %"."""
    low, high = (f"{100 * share:.{digits}f}" for share in (min(shares), max(shares)))
    return f"{low} to {high} %" if low != high else f"{low} %"


def repaired(*parts):
    """Rank 8's share of the error over that of noise, mean of the matrices whose names have these."""
    return mean(row["share"] / row["noise"] for name, row in QLORA["repair"].items()
                if all(part in name for part in parts))


def started(lr, field="accuracy", **wanted):
    return {row["start"]: row[field] for row in select(QLORA, group="starts", lr=lr, **wanted)}


R2, SIGN = in_pairs(), in_pairs("accuracy", margin=POINT)
NEAREST, DICE, EXACT = "nearest level", "stochastic", "exact W, nearest level"
KEPT = {way: merged("kept", way) for way in ("nearest", "dice", "exact base, nearest")}
NOISE = compared(QLORA, "nearest, and shuffled noise", "nearest, old maxima")
TOTAL = memory(512).total
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
               "seeds each, all 2,716 test sentences".replace("-", "−"),
          tried=f"By the accuracy of the sign: {100 * SIGN.difference:.1f} points "
                f"({100 * SIGN.low:.1f} to {100 * SIGN.high:.1f}), margin 1. Each at its own "
                "searched rate".replace("-", "−"),
          holds={"are the same": lambda: R2.word == SAME,
                 "By the accuracy of the sign": lambda: SIGN.word == SAME}),
    Claim("Rounding Ŵ + ΔW to the nearest level takes more than half of these updates back. "
          "Stochastic rounding keeps them, and so does rounding W + ΔW.",
          seen=f"kept {span(KEPT['nearest'])}; stochastic {span(KEPT['dice'])}; W + ΔW "
               f"{span(KEPT['exact base, nearest'], 1)}: three adapters of rank 8, trained on labels. "
               "The run above, on ratings, kept 17 %: R² 0.114 in place of 0.527",
          tried=f"With old maxima: {span(merged('kept', 'nearest', 'old'))}. As much noise on the "
                f"nearest levels: the same accuracy, {100 * NOISE.difference:.1f} points "
                f"({100 * NOISE.low:.1f} to {100 * NOISE.high:.1f})".replace("-", "−"),
          holds={"takes more than half of these updates back": lambda: max(
                     KEPT["nearest"] + merged("kept", "nearest", "old")) < 0.5,
                 "Stochastic rounding keeps them": lambda: min(KEPT["dice"]) > 0.99,
                 "so does rounding W + ΔW": lambda: min(KEPT["exact base, nearest"]) > 0.99,
                 "the same accuracy": lambda: NOISE.word == SAME}),
    Claim("From block to block, the error of the nearest levels adds up; that of stochastic "
          "rounding grows slowly.",
          seen=f"after the first block {span(errors(NEAREST, FIRST))} of the hidden states' norm and "
               f"{span(errors(DICE, FIRST))}; after the last {span(errors(NEAREST, LAST))} and "
               f"{span(errors(DICE, LAST))}: the same three adapters",
          tried="another error that knows nothing of the update, that of W + ΔW rounded to the "
                f"nearest levels: {span(errors(EXACT, FIRST))}, then {span(errors(EXACT, LAST))}",
          holds={"the error of the nearest levels adds up": lambda: min(
                     errors(NEAREST, LAST)) > 9 * max(errors(NEAREST, FIRST)),
                 "grows slowly": lambda: max(errors(DICE, LAST)) < 3 * min(errors(DICE, FIRST)),
                 "that of W + ΔW rounded": lambda: max(errors(EXACT, LAST)) < 3 * min(
                     errors(EXACT, FIRST))}),
)

JUDGED = {
    "neighbouring levels are the same probability apart": "the task",
    "Most weights lie near zero": "a bell, in the picture above it",
    "if four bits cost anything here": lambda: R2.word == SAME and R2.low > -MARGIN,
    "The same:": lambda: R2.word == SAME,
    "Most of is gone, and most of with it": "the run above it: 17 % kept, R² 0.527 and 0.114",
    "how sure are you that it is better": "the question",
    "After the first block, stochastic rounding is further off. But its errors are independent, and "
    "they grow slowly.": lambda: min(errors(DICE, FIRST)) > max(errors(NEAREST, FIRST)) and max(
        errors(DICE, LAST)) < 3 * min(errors(DICE, FIRST)),
    "The noise changes nothing: the two are the same.": lambda: NOISE.word == SAME,
    "It ends lower with each of the three adapters": lambda: all(
        shrunk < near for shrunk, near in zip(merged("accuracy", "shrunk", "none"),
                                              merged("accuracy", "nearest", "old"))),
    "your card is just too small": lambda: 48 < TOTAL["QLoRA"] < 48.5
        and TOTAL["QLoRA, Llama 2's words"] < 48,
    "In most matrices rank 8 repairs the error hardly better than white noise. It finds more in , "
    "above all in the last blocks, in , and in most matrices of the first block": lambda: sorted(
        row["share"] / row["noise"] for row in QLORA["repair"].values())[18] < 1.2 and repaired(
        "layer.5.output") > 4 and repaired("attention.output") > 1.2 and repaired("layer.0.") > 1.3,
    "the weighted repair is by far the best": lambda: (lambda found: found["weighted"] < 0.8 * min(
        error for start, error in found.items() if start != "weighted"))(
            started(0.00025, "hidden_error")),
}
