"""Lesson 04: what it claims and what its prose judges, by the record."""

from statistics import mean

import torch
from claims import Claim, of, percent, spread
from figures import record, select

from peft_teach.course.checks.stand_ins import TinyDecoder
from peft_teach.course.lessons.prefix.pictures import beside, results
from peft_teach.course.verdicts import BETTER, POINT, UNSURE, of_runs

PREFIX, LADDER = record("prefix"), record("ladder")
SIGNS = beside("accuracy", POINT)
PROMPT, CLS, ALL = beside().values()


def arrived(method, group="final"):
    """The share of six messages that arrives, or of the last alone, seed by seed."""
    return of("messages", "share", group=group, method=method)


def kept_in_front():
    """Whether what stands in front has the same keys and values, whatever is read behind it."""
    texts = torch.arange(18).view(2, 9).index_fill(1, torch.arange(3), 7)    # the first 3 agree
    pairs = TinyDecoder()(texts, torch.arange(9), None)[1]
    return all(torch.allclose(x[0, :, :3], x[1, :, :3]) for pair in pairs for x in pair)


def ratio_stays():
    """Whether a prefix leaves the ratios of the words' weights."""
    words, front = torch.randn(5, generator=torch.Generator().manual_seed(0)), torch.ones(3)
    mixed = torch.cat([front, words]).softmax(0)[3:]
    return torch.allclose(mixed / mixed.sum(), words.softmax(0))


def last_layer(gate):
    """λ of the last layer, or g λ, before and after training, run by run."""
    return [(row["shares"]["before"][-1], row["shares"]["after"][-1])
            for row in PREFIX["runs"] if "shares" in row and (row["group"] == "gate") == gate]


def halves(half):
    return [row["put_back"][half] for row in select(PREFIX, group="parts")]


def rated(method):
    for each in ("prefix", method):    # both at searched rates
        of("ladder", "r2", group="final", method=each)
    return mean(of("ladder", "r2", group="final", method=method))


def apart(found, digits=3):
    return f"{found.difference:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})".replace(
        "-", "−")


RESULTS, VERDICTS = (results(PREFIX).set_index("beside")[name] for name in ("ahead by", "verdict"))
HALVES = of_runs(halves("K"), halves("V"))
QUIETER = [after < before for before, after in last_layer(gate=False)]
NEGATIVE = [after < 0 for _, after in last_layer(gate=True)]

CLAIMS = (
    Claim("In a model that reads left to right every soft prompt is a prefix. In MiniLM that holds "
          "only in layer 0.",
          seen="a proof from the mask; the same keys in 30 of 30 layers of SmolLM2, in 1 of 6 of "
               "MiniLM",
          tried="nothing can refute the proof; MiniLM's keys were compared under two sentences",
          holds={"is a prefix": kept_in_front}),
    Claim("Given a layer's inputs, a prefix cannot change how the words divide attention among "
          "themselves.",
          seen="a proof in one line: all weights are multiplied by 1 − λ",
          tried="nothing can refute the proof; it is about one layer, and the layers above get "
                "changed inputs",
          holds={"cannot change": ratio_stays}),
    Claim("A prefix can say something of its own in every layer, and a prompt of its size cannot.",
          seen=f"of six messages, {spread(arrived('prefix'))} by a prefix of one vector and "
               f"{spread(arrived('prompt'))} by a prompt of twelve: five seeds",
          tried=f"Each had the best of its rates, and 100 steps; more were not tried. Asked for the "
                f"last layer's message alone, the prompt brings {percent(mean(arrived('prompt', 'last')))}"
                f", the prefix {percent(mean(arrived('prefix', 'last')))} (at the same rates, three seeds)",
          holds={"a prompt of its size cannot": lambda: min(arrived("prefix")) > 0.3
                 and max(arrived("prompt")) < 0.1,
                 "Each had the best of its rates": lambda: max(
                     of("messages", "validation", group="rates", method="prompt")) < 0.1}),
    Claim("On MiniLM a prefix of 20 is better than a prompt of 20, and than a head on the same "
          "`[CLS]`. From a head on all tokens we cannot tell it.",
          seen=f"R² {rated('prefix'):.3f}, {rated('prompt'):.3f}, {LADDER['exact']['r2']:.3f} and "
               f"{LADDER['exact_mean']['r2']:.3f}; five seeds, both heads solved",
          tried=f"In pairs, ahead by {apart(PROMPT)}, {apart(CLS)} and {apart(ALL)}. By signs the "
                "same three verdicts",
          holds={"is better than a prompt": lambda: rated("prompt") and PROMPT.word == BETTER,
                 "than a head on the same `[CLS]`": lambda: CLS.word == BETTER,
                 "we cannot tell": lambda: ALL.word == UNSURE,
                 "the same three verdicts": lambda: [each.word for each in SIGNS.values()]
                     == [BETTER, BETTER, UNSURE]}),
    Claim("In the last layer training makes the prefix quieter; with a gate, its mean share is "
          "negative. *An observation.*",
          seen=f"λ fell in {sum(QUIETER)} of {len(QUIETER)} runs without a gate, at four lengths; "
               f"with a gate, g λ ended below zero in {sum(NEGATIVE)} of {len(NEGATIVE)}",
          tried="another start and another rate, one of each, without a gate; one model only",
          holds={"makes the prefix quieter": lambda: all(QUIETER),
                 "its mean share is negative": lambda: all(NEGATIVE)}),
)

JUDGED = {
    "In which layers did it grow": "a question",
    "at the best of its learning rates": "how the runs were made",
    "The prefix is better than the prompt, and than a head on the same": lambda:
        PROMPT.word == CLS.word == BETTER,
    "From a head on all tokens we cannot tell it": lambda: ALL.word == UNSURE,
    "The gate brings a point, leaving out the dropout more": lambda:
        RESULTS["without"] < RESULTS["with dropout"] and {BETTER} == {
            VERDICTS["without"], VERDICTS["with dropout"]},
    "what we cannot tell from a trained prefix": lambda:
        VERDICTS["a bound, nothing trained"] == UNSURE,
        "by the verdict we cannot tell": lambda: HALVES.word == UNSURE
        and all(kept > lost for kept, lost in zip(halves("K"), halves("V"))),
}
