"""Lesson 02: what it claims and what its prose judges, by the record."""

from statistics import mean

import torch
from claims import Claim, of, percent
from figures import record, select

from peft_teach.course.records import standard_error
from peft_teach.spectra import energy_rank

CHANGE = record("change")
POINT = 0.01


def parts(rule, share=1 / 32, scaled=False, rest="trained", lr=1e-4):
    """Mean accuracy with a part of full fine-tuning's update, over the seeds."""
    return mean(row["accuracy"] for row in CHANGE["parts"] if (
        row["rule"], row["share"], row["scaled"], row["rest"], row["lr"])
        == (rule, share, scaled, rest, lr))


def head():
    """The head alone, solved, with the penalty that validation chooses."""
    of("change", group="converged")
    return max(select(CHANGE, group="converged"), key=lambda row: row["validation"])["accuracy"]


def full():
    return mean(of("change", group="short", method="full", pretrained=None))


def gains(d):
    """The share of the gain of random directions, seed by seed, in order."""
    return sorted((found - head()) / (full() - head())
                  for found in of("change", group="subspace", d=d))


def directions(block):
    """How many directions hold 90 % of the energy of a block's updates, on average."""
    return mean(energy_rank(torch.tensor(sigma)) for name, sigma in CHANGE["spectra"]["short 0"]
                .items() if f"layer.{block}." in name)


def fewer(method):
    return mean(of("change", group="fewer", method=method))


def short_steps():
    return mean(of("change", group="steps", d=16384))


WHOLE, NOTHING = parts("all", 1.0), parts("none", 0.0)

CLAIMS = (
    Claim("Of a small update, a random 32nd is enough, if it is rescaled.",
          seen=f"{percent(parts('random', scaled=True))} with a 32nd of the 36 matrices, "
               f"{percent(WHOLE)} with all: mean of three seeds; 1,000 sentences, standard error "
               f"of a run {100 * standard_error(0.8, 1000):.1f} points",
          tried=f"Not rescaled: {percent(parts('random'))}. With no change of these matrices: "
                f"{percent(NOTHING)}. At 1/1,024, and at 1/256 of larger updates, the largest "
                "entries beat random ones.",
          holds={"a random 32nd is enough": lambda: WHOLE - parts("random", scaled=True) < POINT,
                 "if it is rescaled": lambda: WHOLE - parts("random") > 0.1,
                 "the largest entries beat random ones": lambda: all(
                     parts("largest", share, True, lr=lr) - parts("random", share, True, lr=lr)
                     > POINT for share, lr in ((1 / 1024, 1e-4), (1 / 256, 3e-4), (1 / 256, 6e-4)))
                 }),
    Claim("In the early blocks the update is not of low rank; in the last it nearly is. Eight "
          "directions of each matrix are enough.",
          seen=f"The rank: the table of directions. The accuracy: {percent(parts('strongest'))} "
               f"with eight, {percent(WHOLE)} with all; the same runs.",
          tried="With eight and no other change at all: "
                f"{percent(parts('strongest', rest='undone'))}. Without the eight: "
                f"{percent(parts('all but the strongest'))}, rescaled "
                f"{percent(parts('all but the strongest', scaled=True))}.",
          holds={"In the early blocks the update is not of low rank": lambda: min(
                     directions(0), directions(1)) > 100,
                 "in the last it nearly is": lambda: directions(5) < 30,
                 "Eight directions of each matrix are enough": lambda:
                     WHOLE - parts("strongest") < POINT
                     and WHOLE - parts("all but the strongest", scaled=True) > 0.1}),
    Claim("A few thousand random directions bring half of the gain.",
          seen=f"4,096 bring {100 * mean(gains(4096)):.0f} %: mean of three seeds, from "
               f"{100 * gains(4096)[0]:.0f} to {100 * gains(4096)[-1]:.0f} %",
          tried="The gain is measured from the head alone, trained to its end.",
          holds={"bring half of the gain": lambda: mean(gains(1024)) < 0.5 <= mean(gains(4096))}),
    Claim("The rank does not order the ways to train little.",
          seen="the table above: one pass of 2,000 sentences, two or three seeds each",
          tried=f"BitFit reaches {percent(mean(of('change', group='bitfit')))} with 4,000 sentences."
                f" With shorter steps, 16,384 directions reach {percent(short_steps())} (one seed)."
                " The ranks stay out of order; then the number of parameters may order the gains.",
          holds={"The rank does not order": lambda:    # BitFit 0, LoRA 1, directions and full: all
                     fewer("bitfit") < fewer("lora") > mean(of("change", group="subspace",
                                                               d=16384)),
                 "The ranks stay out of order": lambda: short_steps() < fewer("lora") < full(),
                 "the number of parameters may order the gains": lambda:
                     fewer("lora") < mean(of("change", group="bitfit")) < full()}),
)

JUDGED = {
    "Surely most of that movement is waste": "the guess that the lesson begins with",
    "Where are most of MiniLM's parameters": "counted in lesson 00",
    "Which rule is ahead at 1/32": "a question",
    "Make the change larger, and random entries are worse than no change": lambda: all(
        parts("random", share, True, lr=6e-4) < parts("none", 0.0, lr=6e-4)
        for share in (1 / 256, 1 / 1024)),
    "has lost most of its terms": "31 of 32 of them",
    "Most of the sample is noise": "31 parts of 32 of its energy, by the variance above",
    "Better methods choose": "what the next lessons are about",
    "its size is the same number": "of a matrix",
}
