"""Lesson 06: what it claims and what its prose judges, by the record."""

import itertools
from statistics import mean

from claims import Claim, of, percent, spread
from figures import record, select

from peft_teach.course import protocol
from peft_teach.course.lessons.ia3.pictures import few
from peft_teach.course.verdicts import BETTER, MARGIN, POINT, UNSURE, of_runs, verdict

LADDER, (FULL,) = record("ladder"), select(record("ia3"), group="full")
REACH = [*FULL["reach"].values()]


def against(other):
    """The verdict on IA³ beside another rung, by seed and sentence."""
    for method in ("ia3", other):
        of("ladder", "r2", group="final", method=method)
    scores = protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER))
    return verdict(*protocol.shared(scores, "ia3", other))


def interval(found):
    return f"{found.difference:.3f} ({found.low:.4f} to {found.high:.3f})".replace("-", "−")


def parameters(method):
    return of("ladder", "parameters", group="final", method=method)[0]


def searched(method):
    """R² on validation sentences by rate."""
    return {row["lr"]: row["validation"] for row in select(LADDER, group="rates", method=method)}


def sixteen():
    """The accuracies after sixteen questions, draw by draw."""
    for method in ("ia3", "lora"):
        of("ia3", group="few", method=method, shots=16)
    return few(record("ia3")).query("shots == 16").groupby("method").accuracy.apply(list)


def between(key):
    shares = [100 * each[key] for each in REACH]
    return f"{min(shares):.1f} to {max(shares):.1f} %"


ONE, EIGHT = against("lora 1"), against("lora 8")
RATES = searched("ia3")
SIXTEEN = sixteen()

CLAIMS = (
    Claim("Nonzero factors on rows and columns keep every cross ratio of a matrix. So they cannot "
          "make the swap above; LoRA of rank 1 can.",
          seen="a proof; IA³ and LoRA trained on the 2 × 2 task",
          tried="for the proof, nothing can",
          holds={"keep every cross ratio": lambda: (2 * 3 * 2 * 5 * 7) * (2 * 11 * 13) * 7 * 3
                 != 0}),
    Claim("IA³ is better than LoRA of rank 1; against rank 8 we cannot tell.",
          seen=f"R² better by {interval(ONE)}; by {interval(EIGHT)}: five seeds each, all 2,716 "
               f"test sentences, margin {MARGIN}",
          tried=f"Each at its own searched rate. {parameters('ia3'):,} parameters against "
                f"{parameters('lora 1'):,} and {parameters('lora 8'):,}",
          holds={"IA³ is better than LoRA of rank 1": lambda: ONE.word == BETTER,
                 "against rank 8 we cannot tell": lambda: against("lora 8").word == UNSURE}),
)
JUDGED = {}
