"""A student and a lesson: what was marked, by the checks and by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..lessons import marked
from .handed import TO_MARK
from .overrides import Override


@dataclass(frozen=True)
class Row:
    """A student and a lesson: one line of grades.csv, one section of the student's page."""

    student: str
    lesson: str                          # "" if unknown
    path: str
    marks: tuple[dict[str, Any], ...]    # as `run.Mark` has them
    flags: tuple[str, ...]
    hand: tuple[Override, ...] = ()      # what the instructor says of it, which comes last
    late: bool = False                   # as the platform says
    deduction: float = 0.0               # percent of the points, if it is late
    known_as: str = ""                   # on the board of the class
    returns: str = ""                    # the name under which the platform takes the page back

    def given(self, id: str) -> float | None:
        """The points for an exercise, or for a lesson; by hand, or else by the checks."""
        marks = {mark["exercise"]: mark["points"] for mark in self.marks}
        marks |= {line.exercise: line.points for line in self.hand if line.points is not None}
        return marks.get(id)

    def waits(self, mark: Mapping[str, Any]) -> bool:
        """Whether a person has yet to mark what the student wrote."""
        return mark["state"] == TO_MARK and not any(
            line.points is not None and line.exercise in (mark["exercise"], self.lesson)
            for line in self.hand)

    def points(self, optional: bool = False) -> tuple[float, int]:
        """The points given and their maximum, of the optional exercises or of all others."""
        there = {e.id: e.points for e in marked(self.lesson) if e.optional == optional}
        total = sum(self.given(id) or 0 for id in there)
        if not optional:
            if self.late:
                total = round(total * (1 - self.deduction / 100), 2)
            by_hand = self.given(self.lesson)
            total = total if by_hand is None else by_hand
        return total, sum(there.values())


def ordered(rows: Sequence[Row]) -> list[Row]:
    """The rows as the table has them, by student."""
    return sorted(rows, key=lambda row: (row.student.casefold(), row.student, row.lesson, row.path))
