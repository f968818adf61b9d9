"""A run of the reader's own, comparable with the recorded ones: same sentences, same steps.

    for progress in own_run(lambda model: pt.lora.inject(model, config), lr=3e-3, data=movies): ...

A generator, so that a page stays responsive between its steps (`widgets.Run`). It has a model and
random numbers of its own: whenever it pauses or ends, the reader's random state is as it was.

This one learns labels, positive or negative, as the records do with which some lessons explore.
What `pt.board` keeps learns ratings (`protocol`), and shares all but the task with it.
"""

import random
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ... import data, evaluation, models, training
from ...training import Step
from ...widgets import Progress
from .budget import budget

Each = TypeVar("Each")      # what a generator yields
Found = TypeVar("Found")    # what it returns


@dataclass(frozen=True)
class OwnRun:
    """The result of such a run, under the names of the columns in `records`."""

    accuracy: float
    tests: int
    parameters: int    # that trained, without the head's
    steps: int


def own_run(adapt: Callable[[nn.Module], nn.Module], lr: float, data: data.Dataset,
            train_examples: int = 4000, name: str = "",
            ) -> Generator[Progress, None, OwnRun]:
    """Train MiniLM as `adapt` leaves it, once over the first sentences, and test it.

    Yields a `Progress` after each step and each batch of tests, which begins with the run's `name`;
    returns an `OwnRun`. With the settings of a recorded run it reproduces that run; with
    PEFT_TEACH_BUDGET=smoke, it takes a few steps and sentences.
    """
    return with_own_random(_run(adapt, lr, data, train_examples, name), 0)


def _run(adapt, lr, dataset, train_examples, name) -> Generator[Progress, None, OwnRun]:
    few = budget()
    if not few.claims:
        train_examples = few.train_examples
        dataset = replace(dataset, test=dataset.test[:few.test_examples])
    model, tokenizer = models.load("minilm", labels=2)
    in_head = sum(model.get_parameter(name).numel() for name in models.head(model))
    model = adapt(model)
    batches = data.batches(dataset.train[:train_examples], tokenizer, seed=0)
    tests = data.batches(dataset.test, tokenizer, 64, shuffle=False)
    _, found = yield from one_by_one(training.train(model, batches, lr), len(batches), tests,
                                     lambda batch: evaluation.evaluate(model, [batch]), name)
    right = sum(round(each.accuracy * each.examples) for each in found)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return OwnRun(right / len(dataset.test), len(dataset.test), trained - in_head, len(batches))


def one_by_one(steps: Iterable[Step], count: int, tests: Sequence[dict[str, Tensor]],
               test: Callable[[dict[str, Tensor]], object], name: str = "",
               ) -> Generator[Progress, None, tuple[list[Step], list]]:
    """Take the steps of a training, `count` of them, then test each batch of `tests`.

    Yields a `Progress` after each; returns the steps, and what `test` returned.
    """
    total, named, done, found = count + len(tests), f"{name}: " if name else "", [], []
    for step in steps:
        done.append(step)
        yield Progress(len(done), total, f"{named}step {len(done)} of {count}, "
                                         f"loss {step.loss:.2f}", step.loss)
    for batch in tests:
        found.append(test(batch))
        yield Progress(count + len(found), total,
                       f"{named}test batch {len(found)} of {len(tests)}")
    return done, found


@contextmanager
def own_random(seed: int) -> Iterator[None]:
    """Within this block random numbers start from `seed`; then the reader's are as they were."""
    outside = _random_states()
    training.seed(seed)
    try:
        yield
    finally:
        _set_random_states(outside)


def with_own_random(steps: Generator[Each, None, Found], seed: int
                    ) -> Generator[Each, None, Found]:
    """Iterate over a generator with a random state of its own, which starts from `seed`."""
    outside = _random_states()
    training.seed(seed)
    inside = _random_states()
    _set_random_states(outside)
    try:
        while True:
            outside = _random_states()
            _set_random_states(inside)
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            finally:
                inside = _random_states()
                _set_random_states(outside)
            yield step
    finally:
        steps.close()


def _random_states() -> tuple:
    return (random.getstate(), np.random.get_state(), torch.get_rng_state(),
            torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])


def _set_random_states(states: tuple) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    if states[3]:
        torch.cuda.set_rng_state_all(states[3])
