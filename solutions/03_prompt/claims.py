"""Lesson 03: what it claims and what its prose judges, by the record."""

from functools import cache
from statistics import mean

import numpy as np
import torch
from claim_checks import Claim, of, percent
from quote_checks import record, select

from peft_teach import data
from peft_teach.course import protocol
from peft_teach.course.desk.reviews import short
from peft_teach.course.verdicts import BETTER, POINT, UNSURE, verdict

PROMPT, LADDER = record("prompt"), record("ladder")
START = PROMPT["setting"]["start"]
WRITTEN = [row["setting"]["text"] for row in select(PROMPT, group="written")]


@cache
def liked(tests):
    """Whether the reviews that a run answers were liked, in the record's order."""
    few = sorted(short(data.load("movies").test)[:tests], key=lambda review: len(review.text))
    return np.array([review.label == 1 for review in few])


def said(**wanted):
    """The answers of runs, (runs, reviews): True for positive."""
    rows = np.array([[digit == "1" for digit in answers]
                     for answers in of("prompt", "answers", **wanted)])
    return rows


def right(answers):
    return torch.tensor(answers == liked(answers.shape[1]), dtype=torch.float64)


def instruction(text, **more):
    """What an instruction answers on all reviews, its threshold moved or not."""
    runs = [row for row in select(PROMPT, group="all", method="none")
            if row["setting"]["text"] == text and ("bound" in row["setting"]) == bool(more)]
    of("prompt", "answers", group="all", method="none")    # it is compared
    return np.array([[digit == "1" for digit in row["answers"]] for row in runs])


def vectors():
    """What the prompts from words answer on all reviews, a row for each order."""
    return said(group="all", method="prompt")


def beside(text, **more):
    own = right(vectors())
    return verdict(own, right(instruction(text, **more)).expand_as(own), POINT)


def back(start, t, field="accuracy"):
    return of("prompt", field, group="back", setting={
        "model": "smollm2", "start": start, "t": t, "tests": 470})[0]


def gaps(t):
    return np.array(back("text", t, "margins"))


def ranked(gap):
    where = liked(470)
    return (gap[where][:, None] > gap[~where]).mean()


def placed(gap):
    """A score a review whose mean is `ranked`, and varies as it does: DeLong et al. 1988."""
    where = liked(470)
    ahead = gap[where][:, None] > gap[~where]
    found = np.empty(470)
    found[where], found[~where] = ahead.mean(1), ahead.mean(0)
    return 2 * found - ahead.mean()


def ladder():
    return [row["r2"] for row in protocol.finals(LADDER) if row["method"] == "prompt"]


def points(found):
    return f"{100 * found.low:.1f} to {100 * found.high:.1f}".replace("-", "−")


ACCURACY = sorted(right(vectors()).mean(1).tolist())
BEST = max(WRITTEN, key=lambda text: right(instruction(text)).mean().item())
RANKED = sorted(row["ranked"] for row in select(PROMPT, group="all", method="prompt"))
ITS_WORDS, ITS_BEST, NOTHING = beside(START), beside(BEST), beside("")
MOVED, BARE = beside(START, moved=True), beside("", moved=True)
FASTER, = select(PROMPT, group="faster")
ORDER = verdict(*(torch.tensor(placed(gaps(t))) for t in (0.0, 1.0)), POINT)
AGREE = sorted((vectors() == instruction(START, moved=True)).mean(1).tolist())

CLAIMS = (
    Claim("A trained prompt is better than the words that it started as. Beside our best "
          "instruction we cannot tell.",
          seen=f"{percent(mean(ACCURACY))}, four orders of the same 256 reviews, from "
               f"{percent(ACCURACY[0], '')} to {percent(ACCURACY[-1])}; 470 test reviews. Beside "
               f"its words better by {points(ITS_WORDS)} points, beside our best {points(ITS_BEST)}",
          tried=f"No words at all: better by {points(NOTHING)} points. A prompt from random "
                f"numbers, {percent(back('random', 0.0))}: cannot tell it from no instruction (one "
                "seed). On 277 validation reviews we cannot tell three rates apart; this is the "
                "middle one.",
          holds={"is better than the words that it started as": lambda: ITS_WORDS.word == BETTER,
                 "Beside our best instruction we cannot tell": lambda: ITS_BEST.word == UNSURE,
                 "Beside its words better by": lambda: ITS_WORDS.word == BETTER,
                 "No words at all: better": lambda: NOTHING.word == BETTER,
                 "cannot tell it from no instruction": lambda: verdict(
                     right(said(group="back", setting={"model": "smollm2", "start": "random",
                                                       "t": 0.0, "tests": 470})),
                     right(instruction("")), POINT).word == UNSURE}),
    Claim("We cannot tell the trained prompt from its words with one threshold, and see no better "
          "ranking.",
          seen=f"The words with a threshold: {percent(right(instruction(START, moved=True)).mean())}"
               f"; the vectors beside it {points(MOVED)} points, cannot tell. "
               f"{100 * AGREE[0]:.0f} to {100 * AGREE[-1]:.0f} % of the answers are the same.",
          tried=f"Ranking: the words have {percent(ranked(gaps(1.0)))} of pairs right, the "
                f"vectors {percent(RANKED[0], '')} to {percent(RANKED[-1])} (seed 0: "
                f"{points(ORDER)} points). A threshold without the instruction: the "
                f"vectors are {points(BARE)} points from it, cannot tell. At three times the rate "
                f"{percent(FASTER['accuracy'])} are right, and {percent(FASTER['ranked'])} of pairs "
                "(one seed).",
          holds={"cannot tell the trained prompt from its words": lambda: MOVED.word == UNSURE,
                 "see no better ranking": lambda: ORDER.word != BETTER
                     and RANKED[-1] < ranked(gaps(1.0)) + POINT,
                 "points, cannot tell": lambda: MOVED.word == UNSURE,
                 "points from it, cannot tell": lambda: BARE.word == UNSURE,
                 "of the answers are the same": lambda: AGREE[0] > 0.85}),
    Claim("What a prompt from random numbers learned is not in its nearest words, by distance.",
          seen=f"put back to these, it falls from {percent(back('random', 0.0), '')} to "
               f"{percent(back('random', 1.0))} (one seed)",
          tried=f"A prompt from words falls from {percent(back('text', 0.0), '')} to "
                f"{percent(back('text', 1.0))}, which proves nothing: a random move three times as "
                "long would leave its nearest words, too",
          holds={"not in its nearest words": lambda: verdict(*(right(said(
              group="back", setting={"model": "smollm2", "start": "random", "t": t, "tests": 470}))
              for t in (0.0, 1.0)), POINT).word == BETTER}),
)

JUDGED = {
    "Prompts in words do much worse": "Lester et al. 2021, figure 1",
    "None of the three is better than no instruction": lambda: all(
        verdict(right(instruction(text)), right(instruction("")), POINT).word != BETTER
        for text in WRITTEN if text),
    "no small step leads": "of tokens",
    "Will the vectors do better": "the question",
    "Beside our best instruction we cannot tell": lambda: ITS_BEST.word == UNSURE,
    "Better, mean of four orders": lambda: ITS_WORDS.word == BETTER,
    "Perhaps they make a better instruction": "the question",
    "the best threshold on the 256 training reviews": "how a threshold was chosen",
    "5,760 trained numbers we cannot tell": lambda: MOVED.word == UNSURE,
    "we cannot tell.": "what no run asked",
    "The ranking stayed within a point": lambda: ORDER.word != BETTER
        and RANKED[-1] < ranked(gaps(1.0)) + POINT,
    "moved about as far as its nearest other word is": lambda: abs(
        mean(PROMPT["planes"]["text"]["far"]) / mean(PROMPT["planes"]["text"]["other"]) - 1) < 0.05,
    "A fifth of the move brings most of the gain in accuracy": lambda: back("text", 0.8) - back(
        "text", 1.0) > 0.5 * (back("text", 0.0) - back("text", 1.0)),
    "one seed, which learned": lambda: max(
        row["validation"] for row in select(LADDER, group="rates", method="prompt")) > 0.3,
    "Four of five seeds learned next to nothing": lambda: sum(r2 < 0.05 for r2 in ladder()) == 4,
}
