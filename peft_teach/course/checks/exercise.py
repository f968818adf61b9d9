"""What is marked: exercises, which `examination` tries, and what a lesson marks besides them."""

import copy
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ...errors import PeftTeachError

CODE, VALUE = KINDS = ("code", "value")
COMMON_MISTAKES = {    # of every exercise
    "no_return": "It gave None. Is a `return` missing?",
    "no_bias": "The bias is missing.",
}


@dataclass(frozen=True)
class Verdict:
    """What `judge` says of one case.

    `message` is what was found: the property that does not hold, on this case. What usually causes
    it is said by the exercise's text for the mistake, which `message` does not repeat.
    """

    passed: bool
    message: str = ""
    mistake: str | None = None


class Pieces(Protocol):
    """Pieces by their names: a reader's own, or the course's."""

    def __getitem__(self, name: str, /) -> Any: ...


@dataclass(frozen=True, eq=False)
class Exercise:
    """One thing that the learner writes: what it is worth, how it is tried and how it is judged."""

    id: str                                 # "lora.layer": before the dot, the folder it is in
    names: tuple[str, ...]                  # what the learner defines
    points: int
    minutes: int
    difficulty: int
    cases: Callable[[int], Sequence[Any]]   # cases(seed) -> plain data: sizes, dtypes, weights
    run: Callable[[Any, Any], Any]          # run(obj, case) -> plain tensors and numbers
    judge: Callable[[Any, Any], Verdict]    # judge(case, outputs), which accepts any outputs
    mistakes: Mapping[str, str]             # name -> message: wrong outcomes that judge recognises
    hints: tuple[str, ...]                  # three, each saying more than the one before
    # Where the library has the answer: "module:attribute.path", one for each name. Elsewhere the
    # build cuts it from the lesson's solution cell, into `reference.py` of the lesson's folder.
    reference: str | tuple[str, ...] = ()
    # What `run` gives, as a type: `judge.report` makes one. It is validated before `judge` sees it,
    # since the grader's outputs come from a process that the learner's code may have changed.
    returns: Any = Any
    # "code": functions and classes, a test that the learner writes among them; "value": plain data,
    # such as a number, a table, a setting, or two of them.
    answer: str = CODE
    optional: bool = False                  # for those who want more: no lesson counts on it
    # Whether a passing answer is saved to my_peft.py. Always False for values.
    kept: bool = True
    # For a test that the learner writes: what `audit` calls it with, from pieces by their names.
    arguments: Callable[[Pieces], Sequence[Any]] | None = None
    # What the lesson gives the learner and the check needs, too: cut from its cell as an answer is.
    given: tuple[str, ...] = ()
    # What else in the library answers it, named as in `reference`: running it earns no points.
    equivalents: tuple[str, ...] = ()

    def __post_init__(self):
        if not isinstance(self.names, tuple) or not isinstance(self.hints, tuple):
            raise TypeError(f"{self.id}: names and hints are tuples of strings")
        if self.answer not in KINDS:
            raise ValueError(f"{self.id}: the answer is {self.answer!r}, not one of {KINDS}")
        object.__setattr__(self, "kept", self.kept and self.answer != VALUE)
        if len(self.references) != len(self.names):
            raise ValueError(f"{self.id}: one reference for each of {self.names}")

    @property
    def lesson(self) -> str:
        """The number of the lesson, "07", which its folder has."""
        return resolved(f"peft_teach.course.lessons.{self.id.partition('.')[0]}:LESSON")

    @property
    def references(self) -> tuple[str, ...]:
        """Where the reference of each name is: "module:attribute.path"."""
        if not self.reference:
            return tuple(cut(self.id.partition(".")[0], name) for name in self.names)
        return (self.reference,) if isinstance(self.reference, str) else tuple(self.reference)

    def explained(self, mistake: str) -> str:
        """What is said of a mistake that `judge` recognised."""
        return {**COMMON_MISTAKES, **self.mistakes}[mistake]

    def resolve(self) -> Any:
        """The reference: an object for one name, a tuple of them for several. Imports it now.

        A value is a copy, so that what a lesson does to it stays in the lesson.
        """
        found = [resolved(path) for path in self.references]
        return self.as_one(copy.deepcopy(found) if self.answer == VALUE else found)

    def as_one(self, objects: Sequence[Any]) -> Any:
        """The form in which `run` and the learner meet the objects: alone, or as a tuple."""
        return objects[0] if len(self.names) == 1 else tuple(objects)

    def one_by_one(self, obj: Any) -> tuple[Any, ...]:
        """The objects one by one, in the order of `names`."""
        return (obj,) if len(self.names) == 1 else tuple(obj)


def cut(lesson: str, name: str) -> str:
    """Where a name is that the build cuts from the cells of a lesson, given by its folder."""
    return f"peft_teach.course.lessons.{lesson}.reference:{name}"


def resolved(path: str) -> Any:
    """What stands at "module:attribute.path", imported now."""
    module, _, attributes = path.partition(":")
    try:
        obj = importlib.import_module(module)
        for name in attributes.split("."):
            obj = getattr(obj, name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise PeftTeachError(f"{module} does not have {attributes}: {error}.",
                             hint="peft-teach build, if it is cut from a lesson") from error
    return obj


# ── besides exercises: a folder that is handed in, a page to be read ─────────────────────────

LIKENESS = "likeness"    # the key of a folder's fingerprint among its findings


@dataclass(frozen=True)
class Measured:
    """A gain over a yardstick on the same sentences, as shares, with its 95 % interval."""

    size_bytes: int
    gain: float
    low: float
    high: float
    accuracy: float
    sentences: int

    def __str__(self) -> str:
        return (f"{100 * self.gain:+.1f} points over the head on the mean ({100 * self.low:+.1f} "
                f"to {100 * self.high:+.1f}), {self.accuracy:.1%} of {self.sentences:,} sentences.")

    plain = asdict


@dataclass(frozen=True)
class Part:
    """One thing that is marked. Without `examine` a person marks it, in overrides.csv.

    As with an exercise, what reads a stranger's file and what decides are apart. `examine(folder,
    sentences)` gives plain data, in the confined process in which answers run; it may raise any
    error, whose text is the reason. `judge(found, sentences)` decides, in the grader's own process,
    whether it passes, says why, and gives what was measured.
    """

    id: str
    lesson: str
    points: int
    examine: Callable[[Path, Any], Any] | None = None
    judge: Callable[[Any, Any], tuple[bool, str, Measured | None]] | None = None
    # Further cases for an exercise, made from the folder: the exercise's id, and cases(folder).
    further: tuple[str, Callable[[Path], list[Any]]] | None = None
    # What each layer's change looks like, as texts "layer=signs" that near copies have in common.
    likeness: Callable[[Path], list[str]] | None = None
    sample: Callable[[Path], Any] | None = None    # writes a folder that passes
    # Of a page: its parts, by their headings in the notebook, with what earns one point each and
    # what makes the whole part zero; and what stands below the page.
    rubric: tuple[tuple[str, str, str], ...] = ()
    ends: tuple[str, ...] = ()
    optional: bool = False
    answer: str = CODE
