"""Blind marking: no page names a student, until the marks are final.

    peft-teach grade … --blind      pseudonyms everywhere, and nothing for the platform
    peft-teach grade … without it   the same marks, under names

A line of overrides.csv may name a student by the pseudonym, or as a blind export does: it holds
for whoever that turns out to be. What students write into their own work is theirs: of a page that
they wrote only their name is taken out.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import leaderboard
from .overrides import Override
from .row import Row
from .similarity import handed_in
from .students import Submission

STUDENT = "student"    # and the tail of a pseudonym
SHORTEST = 3           # letters of a part of a name that is taken out


def resolved(by_hand: Sequence[Override], submissions: Sequence[Submission],
             students: Sequence[str], out: Path) -> list[Override]:
    """The lines of overrides.csv under the students' names, whatever they call them."""
    known = set(students)
    aliases: dict[str, set[str]] = {}
    for each in submissions:
        aliases.setdefault(each.label.student, set()).add(each.student)
    if (out / leaderboard.KEY).exists():
        for student, pseudonym in leaderboard.pseudonyms(students, out, STUDENT).items():
            aliases.setdefault(pseudonym, set()).add(student)
    named = {alias: next(iter(who)) for alias, who in aliases.items()
             if len(who) == 1 and alias not in known}
    return [replace(each, student=named.get(each.student, each.student)) for each in by_hand]


def masked(rows: Sequence[Row], submissions: Sequence[Submission], out: Path) -> list[Row]:
    """The rows under pseudonyms, in whose texts nobody of the class is named."""
    names = leaderboard.pseudonyms([row.student for row in rows], out, STUDENT)
    works = leaderboard.pseudonyms([handed_in(row) for row in rows if row.path], out, "work")
    words = {student: {student} for student in names}
    for each in submissions:
        words.setdefault(each.student, set()).add(each.label.student)
    ids = '|'.join({each.label.id for each in submissions if each.label.id}) or '(?!)'
    numbers = re.compile(rf"(?<=_)({ids})(?=_)")
    anybody = {word.casefold(): names[student] for student in names for word in words[student]}
    in_class = _pattern(anybody)    # to which İ is an i, unlike to casefold
    own = {student: _pattern({*theirs, *_parts(student)}) for student, theirs in words.items()}

    def said(text: str, student: str) -> str:
        text = numbers.sub("…", own[student].sub(names[student], text))
        return in_class.sub(lambda found: anybody.get(found[0].casefold(), "…"), text)

    return [replace(
        row, student=names[row.student], path=works[handed_in(row)] if row.path else "",
        flags=tuple(said(flag, row.student) for flag in row.flags),
        hand=tuple(replace(each, student=names[row.student]) for each in row.hand),
        marks=tuple(_unnamed(mark, own[row.student]) for mark in row.marks), returns="")
        for row in rows]


def _unnamed(mark: dict[str, Any], name: re.Pattern) -> dict[str, Any]:
    """A mark; of a page that a student wrote, without their name in it."""
    if not mark.get("page"):
        return mark
    return mark | {"message": name.sub("…", mark["message"]), "page": [
        part | {"text": name.sub("…", part["text"])} for part in mark["page"]]}


def _parts(name: str) -> list[str]:
    return [part for part in re.findall(r"[^\W\d_]+", name) if len(part) >= SHORTEST]


def _pattern(words: Iterable[str]) -> re.Pattern:
    """Any of these words, where no letter or digit stands beside it."""
    longest = sorted(set(words), key=len, reverse=True)
    return re.compile(rf"(?i)(?<![^\W_])({'|'.join(map(re.escape, longest))})(?![^\W_])")
