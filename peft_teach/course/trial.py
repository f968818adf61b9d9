"""A test that the learner wrote, put on trial: it must catch broken versions and spare right ones.

    run     answers = outcomes(lambda train: frozen_stays(train, model()), RIGHT | BROKEN, seed)
    judge   score(answers, RIGHT, BROKEN)

`RIGHT` and `BROKEN` stand in the lesson's own folder, each a dict from what is to be said of a
version to the version: "unfreezes everything and trains" goes on from "one that". The smallest
mistake stands first, since the first that is let through is named. A test meets the versions in an
order drawn from the seed and behind one wrapper, so neither a place nor a name gives one away.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import NotAttempted, TrainingStopped
from .exercise import Verdict
from .judge import rejected, strange

LONGEST_OBJECTION = 200    # characters of an error's text

# For `mistakes` of an exercise whose answer is a test.
MISTAKES = {
    "returned_bool": "A test says no by raising, as `assert` does; its return is not read.",
    "objects_to_all": "It objects to every version, so it tells nothing apart.",
    "accused": "A law that a right version breaks is no law. What exactly must hold?",
    "let_through": "What would have shown the difference?",
}

PASSES = None    # the outcome of a test that lets a version pass


def outcomes(test: Callable[[Any], Any], versions: Mapping[str, Callable],
             seed: int) -> dict[str, bool | str | None]:
    """Put a test to every version; what it said of each, by the version's name.

    None: it let it pass; a text: it objected, with this error; a bool: it returned that. Each
    version meets the same random numbers. `NotAttempted` and an interrupt pass through.
    """
    order = list(versions)
    random.Random(seed).shuffle(order)
    said = {name: outcome(test, _anonymous(versions[name]), seed=seed) for name in order}
    return {name: said[name] for name in versions}


def outcome(test: Callable[..., Any], *arguments: Any, seed: int = 0) -> bool | str | None:
    """What a test says of one version: see `outcomes`."""
    torch.default_generator.manual_seed(seed)
    try:
        returned = test(*arguments)
    except (NotAttempted, KeyboardInterrupt, TrainingStopped):
        raise
    except BaseException as error:    # what `pytest.raises` fails with is no Exception
        return _text(error)
    return bool(returned) if _is_bool(returned) else PASSES


def score(answers: Any, right: Mapping[str, Any], broken: Mapping[str, Any]) -> Verdict:
    """The verdict on a test by its outcomes: passed is all caught and none accused."""
    if refused := strange(answers):
        return refused
    unread = [name for name in (*right, *broken) if name not in answers
              or not isinstance(answers[name], bool | str | None)]
    if unread:
        return Verdict(False, f"There is no answer to one that {unread[0]}.")
    returned = [answers[name] for name in (*right, *broken) if isinstance(answers[name], bool)]
    if returned:
        return rejected("returned_bool", f"It returned {returned[0]}.")
    wronged, missed = accused(answers, right), let_through(answers, broken)
    caught = len(broken) - len(missed)
    told = f"Caught {caught} of {len(broken)}, accused {len(wronged)} of {len(right)}."
    if wronged:
        told = f"{told} Accused: one that {wronged[0]} ({answers[wronged[0]]})."
        always = len(wronged) == len(right) and not missed
        return rejected("objects_to_all" if always else "accused", told)
    if missed:
        return rejected("let_through", f"{told} Let through: one that {missed[0]}.")
    return Verdict(True, told)


def accused(answers: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """The right versions to which a test objected."""
    return [name for name in right if answers[name] is not PASSES]


def let_through(answers: Mapping[str, Any], broken: Mapping[str, Any]) -> list[str]:
    """The broken versions that a test let pass."""
    return [name for name in broken if answers[name] is PASSES]


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or (
        isinstance(value, Tensor) and value.dtype == torch.bool and value.dim() == 0)


def _anonymous(version: Callable) -> Callable:
    """One face for all versions: its name, type and text are those of every other."""
    def version_on_trial(*arguments, **named):
        return version(*arguments, **named)

    return version_on_trial


def _text(error: BaseException) -> str:
    """An error in one line."""
    try:
        text = str(error).strip().partition("\n")[0]
    except Exception:    # an error of the learner's own class may not print
        text = ""
    kind = type(error).__name__
    return f"{kind}: {text}"[:LONGEST_OBJECTION] if text else kind
