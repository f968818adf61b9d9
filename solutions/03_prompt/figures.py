"""Lesson 03: what its prose says and no output of it shows."""

from figures import mean, record, select

BACK = {(row["setting"]["start"], row["setting"]["t"]): row["accuracy"]
        for row in select(record("prompt"), group="back")}
RANKED = sorted(row["ranked"] for row in select(record("prompt"), group="all")
                if "seed" in row["setting"])
WORDS, = select(record("prompt"), group="all", setting={
    "model": "smollm2", "text": record("prompt")["setting"]["start"], "tests": 470})
NONE, = select(record("prompt"), group="all", setting={
    "model": "smollm2", "text": "", "tests": 470, "bound": "best"})
HEAD = mean(row["accuracy"] for row in select(record("prefix"), group="head"))
TWENTY = mean(row["accuracy"] for row in select(record("rates"), group="defaults", method="prompt")
              if row["setting"]["model"] == "minilm")

FIGURES = {
    "134.5 million parameters": "SmolLM2-135M; tests/library/test_models.py counts them",
    "any of 49,152 tokens": "the size of its vocabulary",
    "5,760": 10 * 576,
    "At 11 billion parameters": "Lester et al. 2021, figures 1 and 3: T5 XXL",
    "at 11 billion": "Lester et al. 2021, figures 1 and 3: T5 XXL",
    "in 93.1 % of pairs, the vectors in 93.0 to 93.9 %": (WORDS["ranked"], RANKED[0], RANKED[-1]),
    "without the instruction: 82.8 %": NONE["accuracy"],
    "from 83.4 to 78.3 %": (BACK["random", 0.0], BACK["random", 1.0]),
    "the head gets 66 % alone, and 61 %": (HEAD, TWENTY),
    "1 to 70 billion parameters": "a size, not a result",
    "30,000 steps": "Lester et al. 2021, §3",
}
