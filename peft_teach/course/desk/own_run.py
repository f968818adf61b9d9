"""A run of the reader's own, comparable with the recorded ones: same sentences, same steps.

    for progress in own_run(lambda model: pt.lora.inject(model, config), lr=3e-3, data=movies): ...

A generator, so that a page stays responsive between its steps (`widgets.Run`). It has a model and
random numbers of its own: whenever it pauses or ends, the reader's random state is as it was.
"""

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ... import data, models, training
from ...widgets import Progress


@dataclass(frozen=True)
class OwnRun:
    """The result of such a run, under the names of the columns in `records`."""

    accuracy: float
    tests: int
    parameters: int    # that trained, without the head's
    steps: int


def own_run(adapt: Callable[[nn.Module], nn.Module], lr: float, data: data.Dataset,
            seed: int = 0, train_examples: int = 4000, name: str = "",
            ) -> Generator[Progress, None, OwnRun]:
    """Train MiniLM as `adapt` leaves it, once over the first sentences, and test it.

    Yields a `Progress` after each step and each batch of tests, which begins with the run's `name`;
    returns an `OwnRun`. With the settings of a recorded run it reproduces that run.
    """
    return with_own_random(_run(adapt, lr, data, seed, train_examples, name), seed)


def _run(adapt, lr, dataset, seed, train_examples, name,
         ) -> Generator[Progress, None, OwnRun]:
    model, tokenizer = models.load("minilm", labels=2)
    in_head = sum(model.get_parameter(name).numel() for name in models.head(model))
    model = adapt(model)
    batches = data.batches(dataset.train[:train_examples], tokenizer, seed=seed)
    tests = data.batches(dataset.test, tokenizer, 64, shuffle=False)
    total, named = len(batches) + len(tests), f"{name}: " if name else ""
    for step in training.train(model, batches, lr):
        yield Progress(step.index + 1, total, f"{named}step {step.index + 1} of {len(batches)}, "
                                              f"loss {step.loss:.2f}", step.loss)
    right = 0
    for i, batch in enumerate(tests):
        found = training.evaluate(model, [batch])
        right += round(found.accuracy * found.examples)
        yield Progress(len(batches) + i + 1, total,
                       f"{named}test batch {i + 1} of {len(tests)}")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return OwnRun(right / len(dataset.test), len(dataset.test), trained - in_head, len(batches))


def with_own_random(steps: Generator, seed: int) -> Generator:
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
