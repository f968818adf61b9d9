"""What a lesson marks besides its exercises: a folder that is handed in, a page to be read."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .exercise import CODE

LIKENESS = "likeness"    # under which a folder's is found, as the rest is under an id


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
