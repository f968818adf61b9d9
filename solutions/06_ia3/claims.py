"""Lesson 06: what it claims and what its prose judges, by the record."""

import itertools
import math
import random

from claim_checks import Claim, of, percent
from quote_checks import record, select

from peft_teach.course import protocol
from peft_teach.course.verdicts import BETTER, POINT, UNSURE, of_runs, verdict

LADDER, (FULL,) = record("ladder"), select(record("ia3"), group="full")
REACH = [*FULL["reach"].values()]


def pairs(other):
    """R² of IA³ and of another rung, by seed and sentence."""
    for method in ("ia3", other):
        of("ladder", "r2", group="final", method=method)
    scores = protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER), "r2")
    return protocol.shared(scores, "ia3", other)


def one_left_out(other):
    """How often the verdict is open without one of the seeds."""
    a, b = pairs(other)
    rest = [[j for j in range(len(a)) if j != i] for i in range(len(a))]
    return [verdict(a[kept], b[kept]).word for kept in rest].count(UNSURE)


def interval(found):
    low = f"{found.low:.{4 if abs(found.low) < 0.001 else 3}f}"
    return f"{found.difference:.3f} ({low} to {found.high:.3f})".replace("-", "−")


def barely(found):
    return found.word == BETTER and found.low < 0.001


def wider(found):
    """Where an interval begins if two are asked at once, at most: few seeds widen it more."""
    return found.difference - 2.241 / 1.96 * (found.difference - found.low)


def searched(method):
    """R² on validation sentences by rate."""
    return {row["lr"]: row["validation"] for row in select(LADDER, group="rates", method=method)}


def nobody_leads(shots):
    """Whether three draws leave open which of IA³, LoRA and the threshold is ahead, in pairs."""
    frozen, = select(record("ia3"), group="frozen")
    runs = [of("ia3", group="few", method=method, shots=shots) for method in ("ia3", "lora")]
    runs += [[row["accuracy"] for row in frozen["thresholds"] if row["shots"] == shots]]
    return all(of_runs(*pair).word == UNSURE for pair in itertools.combinations(runs, 2))


def unsure(part):
    """Whether the desk loses no more than chance could, with a part of it switched off."""
    desk = record("ia3")["desk"]
    on, off = ([float(a == b) for a, b in zip(desk["answers"][key], desk["truth"])]
               for key in ("1.0 all", f"0.0 {part}"))
    return verdict(on, off, 0).word == UNSURE


def keeps_cross_ratios():
    """Whether factors on rows and columns of random matrices leave the cross ratio, seen apart."""
    draw = random.Random(0)
    for _ in range(20):
        a, b, c, d, *factors = (draw.uniform(0.5, 2) for _ in range(8))
        l, m, n, o = factors
        if not math.isclose(a * d / (b * c), (l * a * n) * (m * d * o) / (l * b * o * m * c * n)):
            return False
    return 2 * 2 / (1 * 1) != 1 * 1 / (2 * 2)    # W, and the swapped one


ONE, EIGHT = (verdict(*pairs(other)) for other in ("lora 1", "lora 8"))
RATES, BEST = searched("ia3"), {row["method"]: row["lr"] for row in protocol.finals(LADDER)}
NEXT = [RATES[BEST["ia3"] * by] for by in (0.5, 1, 2)]

CLAIMS = (
    Claim("Nonzero factors on rows and columns keep every cross ratio of a matrix. So they cannot "
          "make the swap above; LoRA of rank 1 can.",
          seen="a proof",
          tried="IA³ and LoRA of rank 1, trained on the swap: LoRA learns it, IA³ does not",
          holds={"keep every cross ratio": keeps_cross_ratios}),
    Claim("We cannot tell IA³ from LoRA of rank 1, nor from rank 8. *An observation.*",
          seen=f"R² {interval(ONE)} and {interval(EIGHT)} above theirs: five seeds each, all "
               f"{protocol.TESTS:,} test sentences",
          tried="Each at its best rate of a search with one seed. Asked alone, barely ahead of rank 1; "
                "with one seed left out, four times of five we cannot tell",
          holds={"We cannot tell IA³ from LoRA of rank 1, nor from rank 8": lambda:
                     wider(ONE) < 0 and EIGHT.word == UNSURE,
                 "barely ahead of rank 1": lambda: barely(ONE),
                 "Each at its best rate of a search with one seed": lambda: all(
                     max(searched(method), key=searched(method).get) == BEST[method]
                     for method in ("ia3", "lora 1", "lora 8")),
                 "four times of five we cannot tell": lambda: one_left_out("lora 1") == 4}),
    Claim("Factors want a far larger rate than full fine-tuning.",
          seen=f"best rates {BEST['ia3']:g}, and {BEST['full']:g} for full fine-tuning",
          tried=f"IA³ at half and at twice its best rate: R² on validation {NEXT[0]:.3f} and "
                f"{NEXT[2]:.3f}, for {NEXT[1]:.3f} (one seed)",
          holds={"a far larger rate": lambda: BEST["ia3"] > 200 * BEST["full"],
                 "its best rate": lambda: max(NEXT) == NEXT[1]}),
    Claim("The change that full fine-tuning makes to a weight is not one that scaling on one side "
          "can make.",
          seen=f"One run: scaling reaches at most {100 * max(each['gains'] for each in REACH):.1f} % "
               "of the energy of any matrix's change. With its nearest scaling the accuracy is "
               f"{percent(FULL['gains'])}, with no change {percent(FULL['none'])}",
          tried=f"The nearest scaling, enlarged to full size: {percent(FULL['scaled'])}; fitted to "
                f"what each matrix gives: {percent(FULL['outputs'])}. The nearest change of rank 1 keeps "
                f"{percent(FULL['rank1'])}",
          holds={"is not one that scaling on one side can make": lambda:
                     FULL["gains"] - FULL["none"] < POINT,
                 "enlarged to full size": lambda: FULL["scaled"] - FULL["none"] < POINT,
                 "fitted to what each matrix gives": lambda: 0.01 < FULL["outputs"] - FULL["none"] < 0.05,
                 "keeps": lambda: FULL["rank1"] - FULL["none"] > 0.1}),
)

JUDGED = {
    "Full fine-tuning learns best at 0.0001, LoRA of rank 8 on query and value (lesson 07) at 0.0032": lambda: [
        max(searched(method), key=searched(method).get) for method in ("full", "lora 8")
    ] == [0.0001, 0.0032],
    "Is it as good as LoRA": "the question",
    "each at its method's best rate": "how the runs were made",
    "is Better and Cheaper": "a title",
    "Asked alone, IA³ is barely better than LoRA of rank 1": lambda: barely(ONE),
    "then we cannot tell, as against rank 8, with five times the parameters": lambda:
        wider(ONE) < 0 and EIGHT.word == UNSURE,
    "keeps most of what was learned": lambda: (FULL["rank1"] - FULL["none"]) / (
        FULL["uncut"] - FULL["none"]) > 0.6,
    "we cannot tell the cost of the values": lambda: all(unsure(part) for part in ("key", "value", *"012345")),
    "Which part costs most": "the question",
    "With so few sentences we cannot tell which of the three leads": lambda: all(
        nobody_leads(shots) for shots in (16, 64)),
}
