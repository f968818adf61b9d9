"""Lesson 10: what it claims and what its prose judges, by the record."""

from itertools import combinations

import pandas
import torch
from claim_checks import Claim, of
from quote_checks import record, select

from peft_teach.course import protocol
from peft_teach.course.lessons.ladder import recorded
from peft_teach.course.verdicts import BETTER, MARGIN, POINT, SAME, UNSURE, WORSE, of_runs, verdict

LADDER = record("ladder")
KEYS = {name: key for key, name in protocol.NAMES.items()}
R2, SIGN = (protocol.scores(protocol.finals(LADDER), protocol.rated(LADDER), score)
            for score in ("r2", "accuracy"))
TOP = ("lora all", "qlora all", "mask")                # the same
LORAS = ("lora all", "qlora all", "dora 8", "lora 8", "lora 1")
PAIRS = [*combinations(R2, 2)]
T78, Z78 = {5: 9.666, 10: 5.105}, 3.414    # by seeds, and of many sentences: 99.94 %


def told(one, other, scores=R2, margin=MARGIN):
    """The verdict on two methods, by seed and sentence."""
    return verdict(*protocol.shared(scores, one, other), margin=margin)


def at_once(pair):
    """Whether one of two methods is better if all pairs are asked at once."""
    d = torch.sub(*protocol.shared(R2, *pair)).double()
    half = (T78[len(d)]**2 * d.mean(1).var() / len(d) + Z78**2 * d.mean(0).var() / d.shape[1]).sqrt()
    return abs(d.mean()) > half


def words(ones, others=None):
    """The verdicts on all pairs, of one group or of two."""
    pairs = combinations(ones, 2) if others is None else ((a, b) for a in ones for b in others)
    return [told(*pair).word for pair in pairs]


def gap(found, sign="+"):
    """A difference and its interval as a lesson writes them."""
    return "{:{}.3f} ({:.3f} to {:.3f})".format(found.difference, sign, found.low,
                                                found.high).replace("-", "−")


def r2(method):
    """R² of a method's runs, by seed."""
    rows = select(LADDER, group="final", method=method)
    of("ladder", group="final", method=method)
    return {row["seed"]: row["r2"] for row in rows}


def searched(method):
    """Validation R² by rate, of the search of a method."""
    return {row["lr"]: row["validation"] for row in select(LADDER, group="rates", method=method)}


def best(method):
    """The rate that a search chose."""
    found = searched(method)
    return max(found, key=found.get)


def halved():
    """The mask beside LoRA 8 at half of its rate."""
    slow = {row["seed"]: row["r2"] for row in select(LADDER, group="half", method="lora 8")}
    return of_runs([r2("mask")[seed] for seed in slow], [*slow.values()], MARGIN)


def left(key=recorded.KEPT[0], seeds=(2, 3)):
    """What is left of the base's neighbours at one R², by method, the fewest first."""
    rows = [row for row in LADDER["forgetting"] if row["seed"] in seeds]
    return recorded.forgetting({"forgetting": rows})[key].drop("the base").sort_values()


def lost(f=0.75):
    """By method, the neighbours and R² between a part of the way and its end."""
    rows = recorded.curves(LADDER).pivot_table(["R²", recorded.KEPT[0]], "method", "f")
    return {name: rows[name][f] - rows[name][1.0] for name in ("R²", recorded.KEPT[0])}


def leads():
    """By how much full fine-tuning is ahead of the next best, by task and seed."""
    found = pandas.DataFrame(select(LADDER, group="domains")).pivot_table(
        "r2", ["domain", "seed"], "method")
    assert len(found.columns) == 6
    return dict(found.full - found.drop(columns="full").max(axis=1))


def shipped(budget):
    """The best method within a limit of exercise 5, and those within it that are wrong."""
    prices, r2 = recorded.prices(LADDER), protocol.means(LADDER)
    allowed = [KEYS[name] for name in r2.index if not recorded.over(prices, budget, KEYS[name])]
    return allowed[0], [key for key in allowed
                        if recorded.surpassed(LADDER, prices, budget, key)]


def tasks():
    """R² by adapter and task, means of two seeds."""
    return pandas.DataFrame(LADDER["tasks"]).pivot_table("r2", "adapter", "task")


def added(how):
    """What two adapters in one bring, of what each brings at home."""
    found = tasks()
    return [found.loc[f"movies + products, {how}", task] / found.loc[task, task]
            for task in ("movies", "products")]


def ratio():
    """What each search of LoRA everywhere chose, by its rates: seeds and ranks."""
    found = pandas.DataFrame(select(LADDER, group="ratio", method="lora all"))
    return [dict(zip(rows.lr, rows.validation)) for _, rows in found.groupby(["seed", "rank"])]


FULL, MASK, HALVED = told("full", "lora all"), told("mask", "lora 8"), halved()
KEPT = left()

CLAIMS = (
    Claim("Full fine-tuning is better than the twelve others. LoRA everywhere, QLoRA everywhere and "
          "a random mask are the same.",
          seen=f"R² of full fine-tuning less that of LoRA everywhere: {gap(FULL)}; the mask's less "
               f"that of LoRA everywhere: {gap(told('mask', 'lora all'))}; ten seeds each",
          tried=f"the margin, {MARGIN}, stood before the first run; each method searched its rate "
                "by one rule. Judged by right signs, the mask against QLoRA everywhere: cannot tell",
          holds={"Full fine-tuning is better than the twelve others": lambda: {BETTER} == {*words(
                     ["full"], R2.keys() - {"full"})},
                 "are the same": lambda: {SAME} == {*words(TOP)},
                 "the mask against QLoRA everywhere: cannot tell": lambda: told(
                     "mask", "qlora all", SIGN, POINT).word == UNSURE
                     and told("lora all", "mask", SIGN, POINT).word == SAME
                     and told("lora all", "qlora all", SIGN, POINT).word == SAME}),
    Claim("A random mask is better than LoRA 8, with as many parameters and "
          f"{best('mask') / best('lora 8'):.0f} times the rate.",
          seen=f"{gap(MASK)}, ten seeds, ahead with every one",
          tried=f"LoRA 8 at half of its rate: {gap(HALVED)}, ten seeds, on these sentences "
                f"alone. At LoRA's rate the mask falls behind: {searched('mask')[best('lora 8')]:.3f} to "
                f"{max(searched('lora 8').values()):.3f} on validation",
          holds={"A random mask is better than LoRA 8": lambda: MASK.word == BETTER,
                 "ahead with every one": lambda: all(
                     value > r2("lora 8")[seed] for seed, value in r2("mask").items()),
                 "LoRA 8 at half of its rate": lambda: HALVED.word == BETTER,
                 "as many parameters": lambda: len({*of(
                     "ladder", "parameters", group="final", method="mask"), *of(
                     "ladder", "parameters", group="final", method="lora 8")}) == 1}),
    Claim("Few trained parameters do not mean little forgetting: BitFit and IA³ keep the fewest "
          "neighbours. An observation.",
          seen=f"at one R², BitFit {KEPT['BitFit']:.2f}, IA³ {KEPT['IA³']:.2f}, LoRA 8 "
               f"{KEPT['LoRA 8']:.2f}, full fine-tuning {KEPT['full fine-tuning']:.2f}; two seeds, "
               "both alike",
          tried="the strongest direction left out: both stay last",
          holds={"BitFit and IA³ keep the fewest": lambda: {*KEPT.index[:2]} == {"BitFit", "IA³"},
                 "both alike": lambda: all({*left(seeds=(seed,)).index[:2]} == {"BitFit", "IA³"}
                                           for seed in (2, 3)),
                 "both stay last": lambda: {*left(recorded.KEPT[1]).index[:2]} == {"BitFit", "IA³"}}),
    Claim("Full fine-tuning comes first on three other tasks, too, at the rates found on films. An "
          "observation.",
          seen="first of six methods with both seeds, on tweets and news by less than the margin",
          tried="nothing yet: no rate was searched there",
          holds={"first of six methods with both seeds": lambda: len(leads()) == 6
                     and min(leads().values()) > 0,
                 "on tweets and news by less than the margin": lambda: all(
                     (lead < MARGIN) == (task != "products") for (task, _), lead in leads().items())
                 }),
)

JUDGED = {
    "Is LoRA 8 as good as full fine-tuning": "the question",
    "So where methods lie close, the first is usually worse than the table says": "a rule, simulated "
        "above it",
    "The more runs they tried, the better was the best of them": "Dodge et al. 2020",
    "Best on top": "how it is drawn",
    "Is the method of the row better than that of the column": "the question",
    "Full fine-tuning is better than all others": lambda: {BETTER} == {*words(
        ["full"], R2.keys() - {"full"})},
    "LoRA everywhere, QLoRA everywhere and the mask are the same": lambda: {SAME} == {*words(TOP)},
    "we cannot tell the bottleneck from those three": lambda: {UNSURE} == {*words(["bottleneck"], TOP)},
    "78 pairs at once need wider intervals, and of the 59 in which one is better, 23 are left": lambda: [
        len(PAIRS), sum(told(*pair).word in (BETTER, WORSE) for pair in PAIRS),
        sum(map(at_once, PAIRS))] == [78, 59, 23],
    "BitFit is worse than every LoRA, and we cannot tell it from the prefix, nor head only from "
    "the prompt": lambda: {WORSE} == {*words(["bitfit"], LORAS)} and {UNSURE} == {
        told("bitfit", "prefix").word, told("head", "prompt").word},
    "Your colleague was right about the first": lambda: protocol.means(LADDER).idxmax()
        == protocol.NAMES["full"],
    "Three of the twelve share the first place": lambda: {*TOP} == {
        method for method in R2 if method == "lora all" or told(method, "lora all").word == SAME}
        and protocol.means(LADDER).index[1] == protocol.NAMES["lora all"],
    "The prompt trains the fewest numbers but for head only, and only full fine-tuning needs more "
    "memory and a longer step": lambda: [
        [*recorded.prices(LADDER)[column].sort_values().index].index(protocol.NAMES["prompt"])
        for column in map(recorded.COSTS.get, ("trained", "memory_bytes", "step"))] == [1, 11, 11],
    "even head only, without a backward pass through the blocks, takes a quarter": lambda:
        0.225 < recorded.prices(LADDER)[recorded.COSTS["step"]][protocol.NAMES["head"]] < 0.275,
    "your best gets better": "a rule",
    "both neighbours of the best rate so far": "the task",
    "Return the best rate": "the task",
    "a rate that is or was the best so far": "the task",
    "a head is not solved": lambda: max(r2("head").values()) < protocol.zeros(
        LADDER)["pooler"],
    "More is better": "what a score means",
    "which is worse than any number": "the task",
    "it falls behind LoRA 8's 0.545": lambda: searched("mask")[best("lora 8")] < 0.51 and round(
        max(searched("lora 8").values()), 3) == 0.545,
    "At its own, 4 times as large, it draws level, and on the test sentences it is ahead of LoRA 8 "
    "with every seed": lambda: abs(max(searched("mask").values()) - max(searched(
        "lora 8").values())) < 0.005 and all(value > r2("lora 8")[seed]
                                             for seed, value in r2("mask").items()),
    "LoRA 1 trains fewest of all, and keeps the second most": lambda: KEPT.index[-2] == "LoRA 1"
        and recorded.prices(LADDER)["trained parameters"][[*KEPT.index]].idxmin() == "LoRA 1",
    "full fine-tuning keeps fewer than each LoRA": lambda: KEPT["full fine-tuning"] < min(
        KEPT[name] for name in KEPT.index if "LoRA" in name or "DoRA" in name),
    "Servers do the same with thousands": "Chen et al. 2023; Sheng et al. 2023",
    "rates news worse than a constant": lambda: tasks().loc["movies", "news"] < 0,
    "all eight lose many neighbours": lambda: lost()[recorded.KEPT[0]].min() > 0.07,
    "some gain hardly any": lambda: (lost()["R²"] > -0.02).sum() >= 3,
    "Away from home every adapter loses": lambda: all(
        tasks()[task].drop(task).max() < tasks().loc[task, task] for task in tasks()),
    "Added, two adapters do worse on both tasks than each does at home": lambda: max(added("added")) < 0.75,
    "they keep nearly all of products, and most of films": lambda: (
        added("averaged")[1] > 0.97 and 0.9 < added("averaged")[0] < 0.97),
    "Four users ask for the best": "the task",
    "no other method within that limit is better by more than the margin": lambda: all(
        {BETTER} == {*words([first], wrong)} for first, wrong in map(shipped, recorded.BUDGETS)),
    "Does the best rate depend": "the question",
    "twice the best rate breaks four of the six": lambda: sum(
        found[2 * max(found, key=found.get)] < 0.1 for found in ratio()) == 4,
}
