"""Lesson 06: what its prose says and no output of it shows."""

import torch
from quote_checks import mean, record, select

import peft_teach as pt
from peft_teach.course import protocol

FULL, = select(record("ia3"), group="full")
REACH = [*FULL["reach"].values()]
DESK = record("ia3")["desk"]
RIGHT = {turned: mean(a == b for a, b in zip(said, DESK["truth"]))
         for turned, said in DESK["answers"].items()}
MODEL, _ = pt.models.load("minilm", labels=1)
SHAPES = [MODEL.get_submodule(name).weight.shape for name in FULL["reach"]]
ENTRIES = torch.cat([MODEL.get_submodule(name).weight.flatten() for name in pt.models.find(
    MODEL, ("key", "value", "ffn_out"))]).detach()

QUOTED = {
    "within 0.05": "a bet",
    "2,716 of them": protocol.TESTS,
    "(2,563 where": record("ia3")["setting"]["test_examples"],
    "comparison at 3 billion": "the model of peft's comparison",
    "gets 31 % right at a rate of 1e-4 and 40 %": "peft's comparison, its runs of IA³",
    "Llama of 3 billion": "the model of peft's comparison",
    "18 times smaller": 1 / ENTRIES.square().mean().sqrt().item(),
    "needs 18 times the rate": 1 / ENTRIES.square().mean().sqrt().item(),
    "from 64.0 to 82.7 %": (RIGHT["0.0 all"], RIGHT["1.0 all"]),
    "5.7 to 70.3 %": (min(each["rank1"] for each in REACH), max(each["rank1"] for each in REACH)),
    "accuracy of 82.0 %": FULL["uncut"],
    "58.8 % is left": FULL["none"],
    "41,472 numbers for 27,648": (sum(map(sum, SHAPES)), sum(map(max, SHAPES))),
    "brings 3 points": FULL["outputs"] - FULL["none"],
    "trained scaling vectors reach 80 %": mean(
        row["accuracy"] for row in select(record("ia3"), group="many")),
    "T0 with 3 or 11 billion parameters": "the paper's models",
    "batch 8, 1,000 steps": "the paper's recipe",
}
