"""Lesson 04: what it claims and what its prose judges, by the record."""

from statistics import mean

import torch
from claim_checks import Claim, of, percent, spread
from quote_checks import record, select

from peft_teach.course.checks.stand_ins import TinyDecoder
from peft_teach.course.lessons.prefix.pictures import beside
from peft_teach.course.verdicts import BETTER, POINT, UNSURE

PREFIX, LADDER = record("prefix"), record("ladder")
SIGNS = beside("accuracy", POINT)
HEADS = ("the head on the pooler", "the head on the mean")
CLS, ALL = (beside()[name] for name in HEADS)
R2 = {method: of("ladder", "r2", group="final", method=method) for method in ("prefix", "prompt")}


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


def by_layer(method):
    """The mean share of each layer's message."""
    rows = of("messages", "arrived", group="final", method=method)
    return [mean(layer) for layer in zip(*rows)]


def shares(gate, layer):
    """λ of a layer, or g λ, before and after training, run by run."""
    return [(row["shares"]["before"][layer], row["shares"]["after"][layer])
            for row in PREFIX["runs"] if "shares" in row and (row["group"] == "gate") == gate
            and row["group"] != "parts"]    # those are runs of `rate` once more


def hardly():
    """How many prompts of 20 have next to no R²."""
    return sum(r2 < 0.05 for r2 in R2["prompt"])


def apart(found):
    return f"{found.difference:.2f} ({found.low:.2f} to {found.high:.2f})".replace("-", "−")


QUIETER = [after < before for before, after in shares(False, 5)]
NEGATIVE = [max(run) < 0 for run in zip(*([after for _, after in shares(True, layer)]
                                          for layer in (4, 5)))]

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
    Claim("In 100 steps a prefix brings half of six messages, one a layer. A prompt of its size brings "
          "almost nothing to layers 1 to 4.",
          seen=f"{spread(arrived('prefix'))} by a prefix of one vector; by a prompt of twelve "
               f"{percent(by_layer('prompt')[0])} in layer 0, {percent(by_layer('prompt')[5])} in layer "
               "5, below 1 % between: means of five seeds",
          tried=f"Each had the best of its rates, and 100 steps; more may bring more. Asked for the "
                f"last layer's message alone, the prompt brings {percent(mean(arrived('prompt', 'last')))}"
                f", the prefix {percent(mean(arrived('prefix', 'last')))} (at the same rates, three seeds)",
          holds={"half of six messages": lambda: min(arrived("prefix")) > 0.4
                 and max(arrived("prefix")) < 0.6,
                 "below 1 % between": lambda: max(by_layer("prompt")[1:5]) < 0.01,
                 "Each had the best of its rates": lambda: max(
                     of("messages", "validation", group="rates", method="prompt")) < 0.1}),
    Claim("On MiniLM, by the protocol, a prefix of 20 is better than the head on the pooler. From "
          "the head on the mean we cannot tell it. A prompt of 20 hardly trained.",
          seen=f"R² {mean(R2['prefix']):.3f}, {LADDER['exact']['r2']:.3f} and "
               f"{LADDER['exact_mean']['r2']:.3f}, five seeds, the heads solved, the second "
               f"with a penalty; prompts below 0.05 "
               f"with {hardly()} of 5 seeds",
          tried=f"In pairs, ahead of the heads by {apart(CLS)} and {apart(ALL)}. By signs the same "
                "two verdicts. A prompt of 240, as many numbers, was tried once, at one rate: it "
                "did not train",
          holds={"better than the head on the pooler": lambda: CLS.word == BETTER,
                 "we cannot tell": lambda: ALL.word == UNSURE,
                 "prompts below 0.05": lambda: hardly() == 4,
                 "the same two verdicts": lambda: [SIGNS[name].word for name in HEADS]
                     == [BETTER, UNSURE],
                 "it did not train": lambda: [
                     row["accuracy"] < 0.5 for row in select(PREFIX, group="prompt")] == [True]}),
    Claim("In the last layer training makes the prefix quieter; with a gate, its mean share is "
          "negative in the last two. *An observation.*",
          seen=f"λ fell in {sum(QUIETER)} of {len(QUIETER)} runs without a gate, at four lengths; "
               f"with a gate, g λ ended below zero in {sum(NEGATIVE)} of {len(NEGATIVE)}",
          tried="another start and another rate, one of each, without a gate; one model only",
          holds={"makes the prefix quieter": lambda: all(QUIETER),
                 "its mean share is negative": lambda: all(NEGATIVE)}),
)

JUDGED = {
    "In the last layer it fell in each run that we recorded": lambda: all(QUIETER),
    "ended negative with each of three seeds": lambda: NEGATIVE == [True] * 3,
    "at the best of its learning rates": "how the runs were made",
    "The prefix is better than the head on the pooler": lambda: CLS.word == BETTER,
    "Four of five prompts hardly trained": lambda: (hardly(), len(R2["prompt"])) == (4, 5),
    "From the head on the mean we cannot tell it": lambda: ALL.word == UNSURE,
}
