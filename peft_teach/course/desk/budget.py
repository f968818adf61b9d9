"""How much a lesson may compute: a few steps in tests, minutes on a CPU, more on a GPU.

And on how many threads: where others use the cores, torch's threads wait for each other.
"""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from ...errors import unknown
from . import work
from .card import Card, show

CGROUP = Path("/sys/fs/cgroup/cpu.max")    # what a container may use, in microseconds a period


@dataclass(frozen=True)
class Budget:
    """The size of a lesson's live training."""

    name: str
    train_examples: int
    test_examples: int
    seeds: tuple[int, ...] = (0, 1, 2)
    claims: bool = True  # is the training long enough to claim anything of the accuracy?


BUDGETS = {budget.name: budget for budget in (
    Budget("smoke", train_examples=32, test_examples=8, seeds=(0,), claims=False),
    Budget("cpu", train_examples=4000, test_examples=2000),
    Budget("gpu", train_examples=6000, test_examples=2000),
)}


def budget() -> Budget:
    """The budget that PEFT_TEACH_BUDGET names, otherwise the one for this machine's hardware.

    A lesson asks for it first; so here torch also gets its threads, unless OMP_NUM_THREADS says
    how many.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        _choose_threads()
    name = os.environ.get("PEFT_TEACH_BUDGET")
    if not name:
        import torch

        name = "gpu" if torch.cuda.is_available() else "cpu"
    if name not in BUDGETS:
        raise unknown("budget", name, BUDGETS)
    if not BUDGETS[name].claims:
        _warn(name)
    return BUDGETS[name]


@functools.cache
def _warn(name: str) -> None:
    """Say once a kernel that what is computed is too little to mean anything."""
    show(Card(f"The budget is {name}: the numbers that come mean nothing", paragraphs=(
        "A few steps on a few sentences, to see that everything runs. What the text says of a "
        "result is said of whole runs; without PEFT_TEACH_BUDGET they are made.",)))


@functools.cache    # later calls would count this kernel's own training as load
def _choose_threads() -> None:
    """Give torch as many threads as there are idle cores; where these are fewer, say so."""
    import torch

    own = torch.get_num_threads()
    cores = _cores()
    idle = max(1, min(own, int(cores), round(cores - _load())))
    if idle < own:
        torch.set_num_threads(idle)
        if work.is_reader_here():
            print(f"torch uses {idle} of {own} threads, as no more cores are free; "
                  "OMP_NUM_THREADS, set before Jupyter starts, would decide instead.")


def _load() -> float:
    """How many cores are busy, over the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _cores() -> float:
    """How many cores this process may use, which in a container may be less than one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, _, period = CGROUP.read_text().partition(" ") if CGROUP.is_file() else ("max", "", "")
    return cores or 1 if quota == "max" else min(cores or 1, int(quota) / int(period))
