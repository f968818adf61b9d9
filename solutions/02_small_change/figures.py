"""Lesson 02: what its prose says and no output of it shows."""

from figures import mean, record, select

from peft_teach.course.records import standard_error

CHANGE = record("change")
HEAD = max(select(CHANGE, group="converged"), key=lambda row: row["validation"])["accuracy"]
FULL = mean(row["accuracy"] for row in select(CHANGE, group="short", method="full",
                                              pretrained=None))
SEEDS = sorted((row["accuracy"] - HEAD) / (FULL - HEAD)
               for row in select(CHANGE, group="subspace", d=4096))
BITFIT = mean(row["accuracy"] for row in select(CHANGE, group="bitfit"))
SHORTER, = select(CHANGE, group="steps", d=16384)


def kept(rule, scaled=False, rest="trained"):
    """Mean accuracy with a 32nd of the numbers, or all, of the smallest updates."""
    return mean(row["accuracy"] for row in CHANGE["parts"] if row["lr"] == 1e-4 and (
        row["rule"], row["scaled"], row["rest"]) == (rule, scaled, rest)
        and row["share"] in (0, 1 / 32, 1))


FIGURES = {
    "22.7 million numbers": "counted in lesson 00",
    "throw 97 % of it": 31 / 32,
    "moved: 9 million": (30_522 - 7_044) * 384,    # tokens in the vocabulary, in the sentences
    "2,000 sentences from": "a setting",
    "one pass of 2,000 sentences": "a setting",
    "31 times the sum": "1/s - 1 for a 32nd",
    "90 % of its energy": "a definition",
    "ask for 90 % of full": "Li et al. 2018; Aghajanyan et al. 2020",
    "1,024 directions reach it": "the picture beside it",
    "already has 86 % of that": HEAD / FULL,
    "one of 1,536 in each block": "counted in lesson 00",
    "trains 9,216 parameters": "the table below it",
    "80.5 % with a 32nd of the 36 matrices, 80.8 %": (kept("random", True), kept("all")),
    "1,000 sentences, standard error of a run 1.3 points": (1000, standard_error(0.8, 1000)),
    "rescaled: 64.4 %. With no change of these matrices: 62.8 %": (
        kept("random"), kept("none")),
    "80.2 % with eight, 80.8 %": (kept("strongest"), kept("all")),
    "other change at all: 79.9 %": kept("strongest", rest="undone"),
    "the eight: 66.0 %, rescaled 68.3 %": (
        kept("all but the strongest"), kept("all but the strongest", True)),
    "90 to 99 % can go": "Yu et al. 2023",
    "high at 7 billion, too": "Biderman et al. 2024",
    "4,096 bring 53 %": (4096, mean(SEEDS)),
    "from 38 to 67 %": (SEEDS[0], SEEDS[-1]),
    "reaches 78.3 % with 4,000": (BITFIT, 4000),
    "16,384 directions reach 78.0 %": (16384, SHORTER["accuracy"]),
    "1 to 70 billion": "a recipe's range",
    "90 % or more": "Yu et al. 2023",
    "dropping 99 %": "Deng et al. 2024",
    "misleads at 7 billion": "a size",
}
