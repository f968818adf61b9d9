"""Lesson 10: what is shipped, judged by a made-up record of three seeds and 400 sentences."""

import pytest
import torch

from peft_teach.course import records
from peft_teach.course.exercise import examine
from peft_teach.course.lessons.ladder import exercises, measure
from peft_teach.course.lessons.ladder.rungs import RUNGS

# What is added to each guess, in seeds 2, 3 and 4.
WORSE = {"full": (0, 0, 0), "lora all": (0.05, 0.05, 0.05), "lora 8": (1.2, 1.2, 1.2),
         "prompt": (4, 4, 0.8)}


@pytest.fixture
def made_up(monkeypatch):
    """Full is best, LoRA everywhere hardly worse, rank 8 clearly; a prompt fails with two seeds.

    Only the head and rank 8 are small, rank 8 is quick, and LoRA everywhere forgets half.
    """
    draw = torch.Generator().manual_seed(0)
    rating, runs = 2 * torch.randn(400, generator=draw), []
    for method in RUNGS:
        for seed in (2, 3, 4):
            noise = torch.randn(400, generator=draw)
            more = WORSE.get(method, (2, 2, 2))[seed - 2]
            guess = rating + noise + more * torch.randn(400, generator=draw)
            runs.append({"group": "final", "method": method, "seed": seed, "parameters": 1,
                         "r2": measure.r2(guess, rating), "answers": measure.pack(guess)})
    costs = {method: {"file_bytes": 3_000 if method in ("head", "lora 8") else 10**6,
                      "step": {"full": 1.0, "lora 8": 0.59}.get(method, 0.7)} for method in RUNGS}
    kept = {"full": 0.7, "lora all": 0.4, "lora 8": 0.75}
    forgetting = [{"method": method, "seed": seed, "f": f, "neighbours": 0.8 if f == 0 else last}
                  for method, last in kept.items() for seed in (2, 3) for f in (0.0, 0.5, 1.0)]
    record = {"runs": runs, "costs": costs, "forgetting": forgetting,
              "ratings": {"movies": measure.pack(rating)}}
    monkeypatch.setattr(records, "load", lambda name: record)


PICKS = {"file": "LoRA 8", "time": "lora 8", "any": "LoRA  everywhere", "keep": "full"}


@pytest.mark.parametrize(("changes", "mistake", "told"), [
    ({}, None, ""),
    ({"any": "full fine-tuning"}, None, ""),
    ({"file": "full"}, "over", "file: full fine-tuning has 1,000.00 (file, kB); allowed is "
                               "at most 100."),
    ({"time": "full"}, "over", "has 1.00"),
    ({"keep": "lora everywhere"}, "over", "has 0.50 (of the base's neighbours)"),
    ({"keep": "prompt"}, "over", "was not measured"),
    ({"any": "lora 8"}, "worse", "Another one is better by 0."),
    ({"keep": "lora 8"}, "worse", "keep: LoRA 8 has an R² of 0."),
    ({"any": "prompt"}, "worse", "Another one is better with every seed."),
])
def test_a_choice_is_within_its_budget_and_not_clearly_worse(made_up, changes, mistake, told):
    result = examine(exercises.SHIP, PICKS | changes)
    assert (result.passed, result.mistake) == (mistake is None, mistake), result
    assert told in result.message
