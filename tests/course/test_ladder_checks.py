"""Lesson 10: what is shipped, judged by a made-up record of three seeds and 400 sentences."""

import pytest
import torch

from peft_teach.course import records
from peft_teach.course.exercise import examine
from peft_teach.course.lessons.ladder import exercises, measure

# What is added to each guess, in seeds 2, 3 and 4; the file, the step, the neighbours left.
METHODS = {"full": ((0, 0, 0), 10**6, 1, 0.7), "lora all": ((0.05, 0.05, 0.05), 10**6, 0.7, 0.4),
           "lora 8": ((1.2, 1.2, 1.2), 3000, 0.59, 0.75), "head": ((2, 2, 2), 3000, 0.7, 0),
           "prompt": ((4, 4, 0.8), 10**6, 0.7, None)}


@pytest.fixture
def made_up(monkeypatch):
    """Full is best, LoRA everywhere hardly worse, rank 8 clearly; a prompt fails with two seeds."""
    draw = torch.Generator().manual_seed(0)
    rating, runs = 2 * torch.randn(400, generator=draw), []
    for method, (more, *_) in METHODS.items():
        for seed in (2, 3, 4):
            noise, other = torch.randn(2, 400, generator=draw)
            runs.append({"group": "final", "method": method, "seed": seed, "parameters": 1,
                         "answers": measure.pack(rating + noise + more[seed - 2] * other)})
    record = {"runs": runs, "ratings": {"movies": measure.pack(rating)}, "costs": {
        method: {"file_bytes": size, "step": step} for method, (_, size, step, _)
        in METHODS.items()}, "forgetting": [
            {"method": method, "seed": 2, "f": f, "neighbours": kept} for method, (*_, left)
            in METHODS.items() for f, kept in ((0.0, 0.8), (1.0, left))]}
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
