"""How much a lesson may compute: a few steps in tests, minutes on a CPU, more on a GPU."""

import os
from dataclasses import dataclass

from ..errors import unknown


@dataclass(frozen=True)
class Budget:
    """The size of a lesson's live training."""

    name: str
    train_examples: int
    test_examples: int
    seeds: tuple[int, ...] = (0, 1, 2)
    batch_size: int = 16
    claims: bool = True  # is the training long enough to claim anything of the accuracy?


BUDGETS = {budget.name: budget for budget in (
    Budget("smoke", train_examples=32, test_examples=16, seeds=(0,), claims=False),
    Budget("cpu", train_examples=4000, test_examples=2000),
    Budget("gpu", train_examples=6000, test_examples=2000),
)}


def budget() -> Budget:
    """The budget that PEFT_TEACH_BUDGET names, otherwise the one for this machine's hardware."""
    name = os.environ.get("PEFT_TEACH_BUDGET")
    if not name:
        import torch

        name = "gpu" if torch.cuda.is_available() else "cpu"
    if name not in BUDGETS:
        raise unknown("budget", name, BUDGETS)
    return BUDGETS[name]
