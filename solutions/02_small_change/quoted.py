"""Lesson 02: what its prose says and no output of it shows."""

from quote_checks import mean, record, select

CHANGE, LADDER = record("change"), record("ladder")
HEAD = select(CHANGE, group="converged", pool="cls", penalty=0.0)[0]["accuracy"]
FULL = mean(row["accuracy"] for row in select(CHANGE, group="short", method="full",
                                              pretrained=None))

SUBSPACES = {d: mean(run["accuracy"] for run in select(CHANGE, group="subspace", d=d))
             for d in sorted({run["d"] for run in select(CHANGE, group="subspace")})}

QUOTED = {
    "within 0.03": "a bet",
    "1,000 sentences, standard": "a setting of the record",
    "2,563 sentences for": "a setting of the record",
    "16,384 reach": "a setting",
    "22.7 million numbers": "counted in lesson 00",
    "throw 97 % of it": 31 / 32,
    "2,000 sentences": "a setting",
    "At 1/1,024, random": "a share of the picture beside it",
    "we cannot tell 4,096 from 1,024": "the picture beside it",
    "as much as 4,096 dimensions": "the picture beside it",
    "ask for 90 % of full": "Li et al. 2018; Aghajanyan et al. 2020",
    "1,024 dimensions reach it": next(d for d in SUBSPACES if SUBSPACES[d] >= 0.9 * FULL),
    "already has 84 %": HEAD / FULL,
    "in place of 147,456": 384 * 384,
    "9,216 numbers in all": 6 * 2 * 768,
    "4,000 sentences, once": "a setting",
    "2,716 test sentences": LADDER["setting"]["rated_examples"],
    "90 to 99 % can go": "Yu et al. 2023",
    "high at 7 billion, too": "Biderman et al. 2024",
    "1 to 70 billion": "a recipe's range",
    "90 % or more": "Yu et al. 2023",
    "dropping 99 %": "Deng et al. 2024",
    "misleads at 7 billion": "a size",
}
