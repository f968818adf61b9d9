"""Lesson 02: what it claims and what its prose judges, by the record."""

from statistics import mean

import torch
from claim_checks import Claim, of, percent
from quote_checks import record

from peft_teach.course import protocol
from peft_teach.course.records import head_on_the_mean, standard_error
from peft_teach.course.verdicts import BETTER, POINT, of_runs, verdict
from peft_teach.spectra import energy_rank

CHANGE, LADDER = record("change"), record("ladder")


def parts(rule, share=1 / 32, scaled=False, rest="trained", lr=1e-4):
    """Mean accuracy with a part of full fine-tuning's update, over the seeds."""
    return mean(row["accuracy"] for row in CHANGE["parts"] if (
        row["rule"], row["share"], row["scaled"], row["rest"], row["lr"])
        == (rule, share, scaled, rest, lr))


def size(lr):
    """How long the updates are beside W, in percent, on average."""
    return f"{100 * mean(row['size'] for row in CHANGE['parts'] if row['lr'] == lr):.1f}"


def restored(k):
    """Of what the matrices bring, the share that k directions of each restore, run by run."""
    return sorted((kept[str(k)] - kept["0"]) / (kept["384"] - kept["0"])
                  for kept in (run["kept"] for run in CHANGE["truncated"].values()))


def between(shares):
    return f"{100 * shares[0]:.0f} to {100 * shares[-1]:.0f} %"


def head():
    """The head on the pooler, solved: the zero of the gain."""
    return of("change", group="converged", pool="cls", penalty=0.0)[0]


def full():
    return mean(of("change", group="short", method="full", pretrained=None))


def subspace(d):
    return of("change", group="subspace", d=d)


def gains(d):
    """The share of the gain of random subspaces, seed by seed, in order."""
    return sorted((found - head()) / (full() - head()) for found in subspace(d))


def unclear(one, other):
    """Whether three seeds leave open which number of dimensions is ahead."""
    found = of_runs(subspace(one), subspace(other))
    return found.low < 0 < found.high


def directions(block):
    """How many directions hold 90 % of the energy of a block's updates, on average."""
    return mean(energy_rank(torch.tensor(sigma)) for name, sigma in CHANGE["spectra"]["short 0"]
                .items() if f"layer.{block}." in name)


def rank_one(score="r2", **margin):
    """LoRA of rank 1 beside BitFit, on the course's protocol."""
    for method in ("lora 1", "bitfit"):
        of("ladder", score, group="final", method=method)
    found = protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER), score)
    return verdict(*protocol.shared(found, "lora 1", "bitfit"), **margin)


def parameters(method):
    return of("ladder", "parameters", group="final", method=method)[0]


WHOLE, NOTHING = parts("all", 1.0), parts("none", 0.0)
WITHOUT = [100 * (run["dropped"]["1"] - run["kept"]["0"]) / (run["kept"]["384"] - run["kept"]["0"])
           for run in CHANGE["truncated"].values()]
R2, SIGN = rank_one(), rank_one("accuracy", margin=POINT)

CLAIMS = (
    Claim("Of a small update, a random 32nd is enough, if it is rescaled.",
          seen=f"{percent(parts('random', scaled=True))} with a 32nd of the 36 updates, each about "
               f"{size(1e-4)} % as long as its W; {percent(WHOLE)} with all: mean of three seeds; "
               f"1,000 sentences, standard error of a run {100 * standard_error(0.8, 1000):.1f} points",
          tried=f"Not rescaled: {percent(parts('random'))}. With no change of these matrices: "
                f"{percent(NOTHING)}. At 1/1,024, and at 1/256 of updates of {size(3e-4)} and "
                f"{size(6e-4)} %, the largest entries beat random ones.",
          holds={"a random 32nd is enough": lambda: WHOLE - parts("random", scaled=True) < POINT,
                 "if it is rescaled": lambda: WHOLE - parts("random") > 0.1,
                 "the largest entries beat random ones": lambda: all(
                     parts("largest", share, True, lr=lr) - parts("random", share, True, lr=lr)
                     > POINT for share, lr in ((1 / 1024, 1e-4), (1 / 256, 3e-4), (1 / 256, 6e-4)))
                 }),
    Claim("In the early blocks the update is not of low rank. Yet one direction of each matrix "
          "restores most of what the matrices learned, and eight nearly all of it.",
          seen=f"One restores {between(restored(1))}, two {between(restored(2))}, eight "
               f"{between(restored(8))}: three recorded runs, 2,563 sentences for testing. The rank: "
               "the table of directions.",
          tried="Without its strongest direction the update still restores "
                f"{WITHOUT[0]:.0f}, {WITHOUT[1]:.0f} and {WITHOUT[2]:.0f} %. "
                f"With eight and no other change at all: "
                f"{percent(parts('strongest', rest='undone'))}.",
          holds={"In the early blocks the update is not of low rank": lambda: min(
                     directions(0), directions(1)) > 100,
                 "one direction of each matrix restores most": lambda: restored(1)[0] > 0.7,
                 "eight nearly all of it": lambda: restored(8)[0] > 0.95
                     and WHOLE - parts("all but the strongest", scaled=True) > 0.1}),
    Claim("A few thousand random dimensions bring half of the gain. A head that reads the mean of "
          "all tokens brings as much without them.",
          seen=f"4,096 bring {100 * mean(gains(4096)):.0f} %: mean of three seeds, from "
               f"{100 * gains(4096)[0]:.0f} to {100 * gains(4096)[-1]:.0f} %. The gain begins at "
               "the head on the pooler.",
          tried=f"4,096 reach {percent(mean(subspace(4096)))}; the head on the mean "
                f"{percent(head_on_the_mean(CHANGE))}, from the same 2,000 sentences (solved, with a penalty). "
                f"The step was chosen at 1,024 alone: with shorter ones, 16,384 reach "
                f"{percent(of('change', group='steps', d=16384)[0])} for "
                f"{percent(of('change', group='subspace', d=16384, seed=0)[0])} (one seed).",
          holds={"bring half of the gain": lambda: mean(gains(1024)) < 0.5 <= mean(gains(4096)),
                 "brings as much without them": lambda: head_on_the_mean(CHANGE) > mean(subspace(4096))}),
    Claim("LoRA of rank 1 is better than BitFit, with about a third of its parameters.",
          seen=f"R² better by {R2.difference:.3f} ({R2.low:.3f} to {R2.high:.3f}): five seeds "
               f"each, all 2,716 test sentences; {parameters('lora 1'):,} and "
               f"{parameters('bitfit'):,} parameters",
          tried=f"By the accuracy of the sign: better by {100 * SIGN.difference:.1f} points "
                f"({100 * SIGN.low:.1f} to {100 * SIGN.high:.1f}). Each at its own searched rate; "
                "the head's is shared.",
          holds={"LoRA of rank 1 is better than BitFit": lambda: rank_one().word == BETTER,
                 "better by": lambda: rank_one("accuracy", margin=POINT).word == BETTER,
                 "about a third of its parameters": lambda:
                     0.3 < parameters("lora 1") / parameters("bitfit") < 0.4}),
)

JUDGED = {
    "Surely most of that movement is waste": "the guess that the lesson begins with",
    "Where are most of MiniLM's parameters": "counted in lesson 00",
    "restores most of what undoing the matrices loses": lambda: restored(1)[0] > 0.7,
    "Which rule is ahead at 1/32": "a question",
    "random entries are worth nothing, and the largest still help": lambda: (
        parts("random", 1 / 1024, True) < NOTHING + POINT
        < parts("largest", 1 / 1024, True) - 0.1),
    "few random entries are worse than no update": lambda: all(
        parts("random", share, True, lr=6e-4) < parts("none", 0.0, lr=6e-4)
        for share in (1 / 256, 1 / 1024)),
    "we cannot tell 4,096 from 1,024": lambda: unclear(4096, 1024),
    "brings as much as 4,096 dimensions": lambda: head_on_the_mean(CHANGE) > mean(subspace(4096)),
    "Better methods choose": "what the next lessons are about",
    "its size is the same number": "of a matrix",
    "A third of the parameters, and better": lambda: rank_one().word == BETTER,
    "better or worse": "the words of a verdict",
    "Else: cannot tell": "the words of a verdict",
}
