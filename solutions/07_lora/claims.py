"""Lesson 07: what it claims and what its prose judges, by the record."""

import itertools
import math
from statistics import mean

from claims import Claim, of, percent, spread
from figures import record, select

from peft_teach.course.lessons.lora.recorded import LEARNS, first_size, pairs
from peft_teach.course.records import BETTER, NONE, WORSE, compared, ends, gain

LORA, CHANGE = record("lora"), record("change")
COST = LORA["cost"]


def ranks(rank):
    return of("lora", group="ranks", rank=rank)


def scaled(**setting):
    return of("lora", group="scale", **setting)


def full():
    return of("lora", group="methods", method="full")


def rated_gap():
    """By how much full fine-tuning is ahead of rank 1 where both learn the ratings."""
    return mean(of("ladder", group="final", method="full")) - mean(
        of("ladder", group="final", method="lora 1"))


def traded(**setting):
    """The losses of the runs with eight times the rate of B, seed by seed."""
    return [row["losses"] for row in select(LORA, group="traded", **setting)]


def agree(one, other):
    """For how many steps the losses of two runs agree, as recorded: to three digits."""
    return len([*itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other))])


def learned(rank):
    """The share of the coins at each rank's best rate, other coins; None: the matrices."""
    rows = [row for row in select(record("ladder"), group="heart", seed=1)
            if row.get("rank") == rank]
    return mean(row["training"] for row in rows)


def by_setting(targets):
    """The accuracies of each setting on these targets in all blocks."""
    runs = LORA.runs.query("method == 'lora' and layers == 'all' and targets == @targets")
    by = ["rank", "alpha", "lr", "plus", "dropout", "rank_stabilized"]
    return [accuracies.tolist() for _, accuracies in runs.groupby(by).accuracy]


def cut(what, k):
    """Mean accuracy over two seeds when full fine-tuning's ΔW is cut."""
    return mean(found[what][str(k)] for run, found in CHANGE["truncated"].items()
                if run.startswith("update"))


def parts(rule, scaled):
    return mean(row["accuracy"] for row in CHANGE["parts"] if row["lr"] == 1e-4
                and row["share"] in (1 / 32, 1) and row["rest"] == "trained"
                and (row["rule"], row["scaled"]) == (rule, scaled))


ALPHA, B_ALONE = traded(alpha=128), traded(plus=8)
FAST = [row["losses"] for row in select(LORA, group="rates", method="lora", lr=1e-2)]
STEPS = [agree(*each) for each in zip(ALPHA, B_ALONE)]
ADDED = {name: cost["peak_mb"] - cost["loaded_mb"] for name, cost in COST.items()}

CLAIMS = (
    Claim("On these reviews rank 1 comes within four points of full fine-tuning.",
          seen=f"{spread(ranks(1))} at a rate of 0.003 (mean and standard deviation of three seeds, "
               f"as below); full fine-tuning {percent(mean(full()), '')}, head alone "
               f"{percent(ends()[0], '')}",
          tried="Trained on the ratings, each at its best rate: "
                f"{100 * rated_gap():.1f} points (lesson 10's record). Coins learned by heart want "
                "more rank (Further)",
          holds={"rank 1 comes within four points": lambda: 0 < mean(full()) - mean(ranks(1)) < .04,
                 "Trained on the ratings": lambda: 0 < rated_gap() < 0.04,
                 "want more rank": lambda: learned(1) < learned(4) < learned(16) < learned(64)}),
    Claim("Rank 64 failed because of α at a rate of 0.003, not because of its rank or of the size "
          "of its first ΔW alone.",
          seen=spread(ranks(64)),
          tried=f"α = 16: {spread(of('lora', group='variants', rank=64, alpha=16), '')}. A rate of "
                f"0.001: {spread(scaled(rank=64, alpha=128), '')}. Rank 8 with that α: fails, "
                f"{spread(scaled(rank=8, alpha=128, lr=3e-3), '')}. Rank 1 with a first ΔW as "
                f"large: learns, {spread(scaled(rank=1, alpha=16), '')}",
          holds={"Rank 64 failed": lambda: mean(ranks(64)) < LEARNS,
                 "because of α": lambda: mean(
                     of("lora", group="variants", rank=64, alpha=16)) >= LEARNS,
                 "at a rate of 0.003": lambda: mean(
                     scaled(rank=64, alpha=128, lr=1e-3)) >= LEARNS,
                 "Rank 8 with that α: fails": lambda: mean(
                     scaled(rank=8, alpha=128, lr=3e-3)) < LEARNS,
                 "Rank 1 with a first ΔW as large: learns": lambda: math.isclose(
                     first_size(1, 16), first_size(64, 128)) and mean(
                     scaled(rank=1, alpha=16)) >= LEARNS}),
    Claim("Under Adam, 8 times the α is 8 times the rate for B alone, up to clipping.",
          seen="rank 8: the losses agree, to three digits, for the first {}, {} and {} steps, {} of "
               "them warm-up; the runs end at {} and {}".format(
                   *STEPS, round(0.1 * len(ALPHA[0])),
                   spread(of("lora", group="traded", alpha=128), ""),
                   spread(of("lora", group="traded", plus=8))),
          tried="losses that part at once. With the large rate for A and the head, too, they part "
                f"by step {max(agree(*each) for each in zip(ALPHA, FAST)) + 1}",
          holds={"8 times the α is 8 times the rate for B alone": lambda: min(STEPS) > 25}),
    Claim("Full fine-tuning keeps nearly all its accuracy when each ΔW keeps its eight strongest "
          "directions.",
          seen=f"two seeds: {percent(cut('kept', 8), '')} of {percent(cut('kept', 384))}, all else "
               "as trained",
          tried="dropping these eight costs twenty points. Random entries, about as many and scaled "
                "up, do as well (lesson 02)",
          holds={"keeps nearly all its accuracy": lambda: cut("kept", 384) - cut("kept", 8) < 0.01,
                 "costs twenty points": lambda: round(
                     cut("kept", 384) - cut("dropped", 8), 2) == 0.20,
                 "do as well": lambda: parts("all", False) - parts("random", True) < 0.01}),
    Claim("LoRA adds less memory while it trains.",
          seen=f"one process each: {ADDED['lora']} against {ADDED['full']} MB",
          tried="nothing yet: an observation",
          holds={"less memory": lambda: ADDED["lora"] < ADDED["full"]}),
)

JUDGED = {
    "The mean of all tokens serves better": lambda: max(
        of("full", group="converged", pool="mean")) > max(of("full", group="converged", pool="cls")),
    "bought most of what full fine-tuning buys": lambda: gain(mean(ranks(8))) > 0.5,
    "activations are most of the bill": "peft#1514, beside it",
    "grows like , and": "one line of algebra, above it",
    "times the rate of B is the same": "arithmetic of the three settings",
    "Is the left run better than the right one, worse, or is no difference seen": "the question",
    "1, better. Rank 64 with α = 128 at 0.001 has the highest mean of all our runs": lambda:
        compared(*pairs()[0]) == BETTER and mean(pairs()[0][0]) == max(
            mean(runs) for runs in by_setting("query+value")),
    "2, no difference seen.": lambda: compared(*pairs()[1]) == NONE,
    "3, worse.": lambda: compared(*pairs()[2]) == WORSE,
    "Each rank has its own best rate": "how the runs were made",
    "full fine-tuning of the two matrices most": lambda:
        learned(1) < learned(4) < learned(16) < learned(64) < learned(None),
    "within a point of the best of them": "the task",
    "below the best": "the task",
}
