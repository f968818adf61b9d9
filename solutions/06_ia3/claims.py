"""Lesson 06: what it claims and what its prose judges, by the record."""

import itertools
import math
import random
from statistics import mean

from claims import Claim, of, percent
from figures import record, select

from peft_teach.course import protocol
from peft_teach.course.verdicts import BETTER, MARGIN, POINT, UNSURE, of_runs, verdict

LADDER, (FULL,) = record("ladder"), select(record("ia3"), group="full")
REACH = [*FULL["reach"].values()]


def against(other, score="r2", margin=MARGIN):
    """The verdict on IA³ beside another rung, by seed and sentence."""
    for method in ("ia3", other):
        of("ladder", score, group="final", method=method)
    scores = protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER), score)
    return verdict(*protocol.shared(scores, "ia3", other), margin)


def interval(found):
    low = f"{found.low:.{4 if abs(found.low) < 0.001 else 3}f}"
    return f"{found.difference:.3f} ({low} to {found.high:.3f})".replace("-", "−")


def parameters(method):
    return of("ladder", "parameters", group="final", method=method)[0]


def searched(method):
    """R² on validation sentences by rate."""
    return {row["lr"]: row["validation"] for row in select(LADDER, group="rates", method=method)}


def nobody_leads(shots):
    """Whether three draws leave open which of IA³, LoRA and the threshold is ahead, in pairs."""
    frozen, = select(record("ia3"), group="frozen")
    runs = [of("ia3", group="few", method=method, shots=shots) for method in ("ia3", "lora")]
    runs += [[row["accuracy"] for row in frozen["thresholds"] if row["shots"] == shots]]
    return all(of_runs(*pair).word == UNSURE for pair in itertools.combinations(runs, 2))


def between(key):
    shares = [100 * each[key] for each in REACH]
    return f"{min(shares):.1f} to {max(shares):.1f} %"


def keeps_cross_ratios():
    """Whether factors on rows and columns of random matrices leave the cross ratio, seen apart."""
    draw = random.Random(0)
    for _ in range(20):
        a, b, c, d, *factors = (draw.uniform(0.5, 2) for _ in range(8))
        l, m, n, o = factors
        if not math.isclose(a * d / (b * c), (l * a * n) * (m * d * o) / (l * b * o * m * c * n)):
            return False
    return 2 * 2 / (1 * 1) != 1 * 1 / (2 * 2)    # W, and the swapped one


def travels():
    """How far factors went at a rate of 0.01, and matrices in full fine-tuning: shares of size."""
    gains = [share for run in select(record("ia3"), group="many")
             for place in run["moved"].values() for share in place]
    return gains, [each["relative"] for each in REACH]


ONE, EIGHT = against("lora 1"), against("lora 8")
GAINS, ENTRIES = travels()
RATES, BEST = searched("ia3"), {row["method"]: row["lr"] for row in protocol.finals(LADDER)}
NEXT = [RATES[BEST["ia3"] * by] for by in (0.5, 1, 2)]

CLAIMS = (
    Claim("Nonzero factors on rows and columns keep every cross ratio of a matrix. So they cannot "
          "make the swap above; LoRA of rank 1 can.",
          seen="a proof; IA³ and LoRA trained on the 2 × 2 task",
          tried="for the proof, nothing can",
          holds={"keep every cross ratio": keeps_cross_ratios}),
    Claim("IA³ is better than LoRA of rank 1; against rank 8 we cannot tell.",
          seen=f"R² better by {interval(ONE)}; by {interval(EIGHT)}: five seeds each, all 2,716 "
               "test sentences",
          tried=f"Each at its own searched rate, in pairs, margin {MARGIN}. "
                f"{parameters('ia3'):,} parameters against {parameters('lora 1'):,} and "
                f"{parameters('lora 8'):,}. By the accuracy of the sign, the same two verdicts",
          holds={"IA³ is better than LoRA of rank 1": lambda: against("lora 1").word == BETTER,
                 "against rank 8 we cannot tell": lambda: against("lora 8").word == UNSURE,
                 "the same two verdicts": lambda: [against(other, "accuracy", POINT).word
                                                   for other in ("lora 1", "lora 8")]
                 == [BETTER, UNSURE]}),
    Claim("Factors want a far larger rate than the entries of a matrix: they travel about ten "
          "times as far, as a share of their size.",
          seen=f"best rates {BEST['ia3']:g} and {BEST['full']:g}. Factors moved by "
               f"{100 * min(GAINS):.0f} to {100 * max(GAINS):.0f} %, three seeds at a rate of "
               f"0.01; matrices by {100 * min(ENTRIES):.1f} to {100 * max(ENTRIES):.1f} % of their "
               "norm, one run of full fine-tuning",
          tried=f"IA³ at half and at twice its best rate: R² on validation {NEXT[0]:.3f} and "
                f"{NEXT[2]:.3f}, for {NEXT[1]:.3f} (one seed)",
          holds={"a far larger rate": lambda: BEST["ia3"] > 200 * BEST["full"]
                 and max(NEXT) == NEXT[1],
                 "about ten times as far": lambda: 8 < mean(GAINS) / mean(ENTRIES) < 12}),
    Claim("The change that full fine-tuning makes to a weight is not one that scaling on one side "
          "can make.",
          seen=f"One run: in each matrix, scaling reaches {between('gains')} of the change's energy "
               f"(of a random change: {100 / 384:.1f}). With its nearest scaling the accuracy is "
               f"{percent(FULL['gains'])}, with no change {percent(FULL['none'])}",
          tried=f"The nearest scaling, enlarged to full size: {percent(FULL['scaled'])}. The "
                f"nearest change of rank 1 keeps {percent(FULL['rank1'])}, the whole change has "
                f"{percent(FULL['uncut'])}. Fitted to the outputs for real sentences, scaling "
                f"reaches {between('outputs')} (of a random change: {between('noise')}), and the "
                f"accuracy is {percent(FULL['outputs'])}",
          holds={"is not one that scaling on one side can make": lambda: max(
                     each["gains"] for each in REACH) < 0.006
                     and FULL["gains"] - FULL["none"] < POINT,
                 "Fitted to the outputs for real sentences": lambda: mean(
                     each["outputs"] for each in REACH) > 2 * mean(each["noise"] for each in REACH)
                     and 0.01 < FULL["outputs"] - FULL["none"] < 0.05,
                 "enlarged to full size": lambda: FULL["scaled"] - FULL["none"] < POINT,
                 "keeps": lambda: FULL["rank1"] - FULL["none"] > 0.1}),
)

JUDGED = {
    "Full fine-tuning learns best at 0.0001, LoRA of rank 8 (lesson 07) at 0.0032": lambda: [
        max(searched(method), key=searched(method).get) for method in ("full", "lora 8")
    ] == [0.0001, 0.0032],
    "Is it as good as LoRA": "the question",
    "each at its method's best rate": "how the runs were made",
    "is Better and Cheaper": "a title",
    "Better than LoRA of rank 1": lambda: ONE.word == BETTER and 0 < ONE.low < 0.001,
    "Against rank 8 we cannot tell": lambda: EIGHT.word == UNSURE,
    "keeps most of what was learned": lambda: (FULL["rank1"] - FULL["none"]) / (
        FULL["uncut"] - FULL["none"]) > 0.6,
    "We could not tell whether": "what was not asked",
    "With sixteen sentences we cannot tell which of the three leads": lambda: nobody_leads(16),
}
