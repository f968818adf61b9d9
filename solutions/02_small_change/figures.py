"""Lesson 02: what its prose says and no output of it shows."""

from figures import mean, record, select

CHANGE = record("change")
HEAD = max(select(CHANGE, group="converged"), key=lambda row: row["validation"])["accuracy"]
FULL = mean(row["accuracy"] for row in select(CHANGE, group="short", method="full",
                                              pretrained=None))

FIGURES = {
    "22.7 million numbers": "counted in lesson 00",
    "throw 97 % of it": 31 / 32,
    "moved: 9 million": (30_522 - 7_044) * 384,    # tokens in the vocabulary, in the sentences
    "2,000 sentences from": "a setting",
    "31 times the sum": "1/s - 1 for a 32nd",
    "90 % of its energy": "a definition",
    "ask for 90 % of full": "Li et al. 2018; Aghajanyan et al. 2020",
    "1,024 directions reach it": "the picture beside it",
    "already has 86 % of that": HEAD / FULL,
    "one of 1,536 in each block": "counted in lesson 00",
    "trains 9,216 parameters": "the table below it",
    "90 to 99 % can go": "Yu et al. 2023",
    "high at 7 billion, too": "Biderman et al. 2024",
    "1 to 70 billion": "a recipe's range",
    "90 % or more": "Yu et al. 2023",
    "dropping 99 %": "Deng et al. 2024",
    "misleads at 7 billion": "a size",
}
