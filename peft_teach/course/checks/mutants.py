"""A test that the learner wrote, tested by mutants: it must reject these and accept right versions.

    LAW = Law(right, broken)
    Exercise(…, **LAW.fields)

`right` and `broken` stand in the lesson's own `mutants.py`. Each maps a description to a version;
the description completes "one that", as "unfreezes everything and trains" does. The smallest
mistake stands first, since the first survivor is named. A test meets the versions in an order drawn
from the seed and behind one wrapper, and what classes among them make shares a name, so neither
their order nor a name gives one away. A test that looks into them can still tell them apart.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...errors import NotAttempted, TrainingStopped
from .exercise import Verdict, cut, resolved
from .judge import error_text, rejected, report

TRIES = 4    # of a law, each with other random numbers: a broken version is rejected once at least

# For `mistakes` of an exercise whose answer is a test.
MISTAKES = {
    "returned_bool": "A test says no by raising, as `assert` does; its return is not read.",
    "objects_to_all": "It rejects every version, so it tells nothing apart.",
    "accused": "A law that a right version breaks is no law. What exactly must hold?",
    "let_through": "What would have shown the difference?",
}

ACCEPTED = None    # the outcome of a test that raises nothing
Outcome = bool | str | None


class _Seeded:
    """What is asked with random numbers alone."""

    @property
    def fields(self) -> dict[str, Any]:
        """What an `Exercise` takes from here."""
        return {"cases": lambda seed: [{"seed": seed}]} | {
            name: getattr(self, name) for name in ("run", "judge", "returns", "mistakes")}


@dataclass(frozen=True)
class Law(_Seeded):
    """What a learner's test must tell apart. `call(test, version)` puts one version to it."""

    right: Mapping[str, Callable]
    broken: Mapping[str, Callable]
    call: Callable[[Callable, Callable], Any] = lambda test, version: test(version)
    mistakes: ClassVar[Mapping[str, str]] = MISTAKES

    @property
    def versions(self) -> dict[str, Callable]:
        """All versions, by name."""
        return {**self.right, **self.broken}

    def run(self, test: Callable, case: Mapping[str, Any]) -> dict[str, Outcome]:
        """Put the test to every version."""
        return outcomes(lambda version: self.call(test, version), self.versions, case["seed"])

    def judge(self, case: Any, answers: Mapping[str, Outcome]) -> Verdict:
        """Score what it said of them."""
        return score(answers, self.right, self.broken)

    @property
    def returns(self) -> Any:
        """What `run` gives: an outcome for each version."""
        return report(**dict.fromkeys(self.versions, Outcome))


@dataclass(frozen=True)
class Loophole(_Seeded):
    """What a learner's broken version must do: pass the `weak` test, and break the `law`.

    Both are tests that stand in the cells of the lesson, given by its folder, and are called as a
    `Law` calls its own.
    """

    lesson: str
    weak: str
    law: str
    call: Callable[[Callable, Callable], Any] = lambda test, version: test(version)
    mistakes: ClassVar[Mapping[str, str]] = {
        "caught": "Break what the weak test does not look at.",
        "lawful": "By its letter the law allows this. What of it does the weak test never ask?",
    }
    returns: ClassVar[Any] = report(weak=Outcome, law=list[Outcome])

    @property
    def fields(self) -> dict[str, Any]:
        return super().fields | {"given": (self.weak,)}

    def run(self, version: Callable, case: Mapping[str, Any]) -> dict[str, Any]:
        """Put the version to the weak test, and to the law."""
        weak, law = (resolved(cut(self.lesson, name)) for name in (self.weak, self.law))
        return {"weak": outcome(self.call, weak, version, seed=case["seed"]),
                "law": [outcome(self.call, law, version, seed=case["seed"] + n)
                        for n in range(TRIES)]}

    def judge(self, case: Any, seen: Mapping) -> Verdict:
        """It must get past the weak test, and not past the law."""
        said = [each for each in seen["law"] if each is not ACCEPTED]
        if seen["weak"] is not ACCEPTED:
            return rejected("caught", f"{self.weak} rejects it: {seen['weak']}.")
        told = f"{self.weak} accepts it"
        if not said:
            return rejected("lawful", f"{told}, and so does a test of the whole law.")
        return Verdict(True, f"{told}. A test of the whole law does not: {said[0]}.")


def starting(kind: type, change: Callable[[Any], object]) -> type:
    """A version of a class that is changed as soon as it is made."""
    class Version(kind):
        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            change(self)

    return Version


def outcomes(test: Callable[[Any], Any], versions: Mapping[str, Callable],
             seed: int) -> dict[str, Outcome]:
    """Put a test to every version; what it said of each, by the version's name.

    None: it accepted it; a text: it raised this error; a bool: it returned that. Each version meets
    the same random numbers. `NotAttempted` and an interrupt pass through.
    """
    order = list(versions)
    random.Random(seed).shuffle(order)
    said = {name: outcome(test, _anonymous(versions[name]), seed=seed) for name in order}
    return {name: said[name] for name in versions}


def outcome(test: Callable[..., Any], *arguments: Any, seed: int = 0) -> Outcome:
    """What a test says of one version: see `outcomes`."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        returned = test(*arguments)
    except (NotAttempted, KeyboardInterrupt, TrainingStopped):
        raise
    except BaseException as error:    # what `pytest.raises` fails with is no Exception
        return error_text(error)
    return bool(returned) if _is_bool(returned) else ACCEPTED


def score(answers: Mapping[str, Outcome], right: Mapping[str, Any],
          broken: Mapping[str, Any]) -> Verdict:
    """The verdict on a test: it passes if it accepts every right version and no broken one."""
    returned = [answers[name] for name in (*right, *broken) if isinstance(answers[name], bool)]
    if returned:
        return rejected("returned_bool", f"It returned {returned[0]}.")
    wronged = [name for name in right if answers[name] is not ACCEPTED]
    missed = survivors(answers, broken)
    told = (f"It rejects {len(broken) - len(missed)} of {len(broken)} broken versions, and "
            f"{len(wronged)} of {len(right)} right ones.")
    if wronged:
        told = f"{told} Rejected though right: one that {wronged[0]} ({answers[wronged[0]]})."
        always = len(wronged) == len(right) and not missed
        return rejected("objects_to_all" if always else "accused", told)
    if missed:
        return rejected("let_through", f"{told} Accepted though broken: one that {missed[0]}.")
    return Verdict(True, told)


def survivors(answers: Mapping[str, Outcome], broken: Mapping[str, Any]) -> list[str]:
    """The broken versions that a test accepted."""
    return [name for name in broken if answers[name] is ACCEPTED]


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or (
        isinstance(value, Tensor) and value.dtype == torch.bool and value.dim() == 0)


def _anonymous(version: Callable) -> Callable:
    """One face for all versions: its name, type and text are those of every other.

    What a class makes is of a subclass, so that the class keeps its own name.
    """
    if isinstance(version, type):
        version = type("Version", (version,), {})

    def version_under_test(*arguments, **named):
        return version(*arguments, **named)

    return version_under_test
