"""Lesson 03: what its prose says and no output of it shows."""

from quote_checks import mean, record, select

BACK = {(row["setting"]["start"], row["setting"]["t"]): row["accuracy"]
        for row in select(record("prompt"), group="back")}
TRAINED = mean(row["accuracy"] for row in select(record("prompt"), group="all", method="prompt"))

QUOTED = {
    "within 0.03": "a bet",
    "come within 0.1": "a setting",
    "rate of 0.02": record("prompt")["setting"]["lr"],
    "Adafactor, 0.3": "Lester et al. 2021, §3",
    "solved, has an of 0.318": record("ladder")["exact"]["r2"],
    "one of 49,152 tokens": "the size of its vocabulary",
    "5,760": 10 * 576,
    "four orders: 85 % against 78 %": (TRAINED, BACK["text", 1.0]),
    "bring the old 78 % again": BACK["text", 1.0],
    "fall to 78 % at": BACK["random", 1.0],
    "At 11 billion parameters": "Lester et al. 2021, figures 1 and 3: T5 XXL",
    "1 to 70 billion parameters": "a size, not a result",
    "30,000 steps": "Lester et al. 2021, §3",
}
