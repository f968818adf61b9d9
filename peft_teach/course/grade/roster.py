"""The list of a course as its platform exports it: who is missing, and marks in its own form.

    Canvas    Grades, Export: Student, ID, SIS Login ID, Section, and a column for an assignment
              People, a group set, Download: name, canvas_user_id, login_id, group_name
    Moodle    the assignment's grading worksheet: Identifier, Full name, Grade, Feedback comments
              Participants or Grades, as CSV: First name, Last name, Email address, Groups

Canvas writes these words in English whatever its language is, Moodle in that of the site: what is
no English there is read by the columns' places.

Marks go back in the rows that came from there, so ids and dates are the platform's own. Only those
who have a mark are written: what the platform has of others stays.
"""

import csv
import html
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import PeftTeachError
from . import csv_file
from .students import FOREIGN, STRAY, Submission

_NAME = ("student", "full name", "name")
_NAMES = (("first name", "last name"), ("first name", "surname"), ("firstname", "lastname"))
_IDS = ("identifier", "id", "canvas_user_id")                 # those in the names of an export
_LOGINS = ("sis login id", "sis user id", "id number", "email address", "login_id", "user_id",
           "username")
_GROUP = ("group", "groups", "group_name")
_KNOWN = {*_NAME, *_IDS}.union(*_NAMES)
LMS_FILES = ("canvas-import.csv", "moodle-import.csv")
STRANGER = "not in the roster"
_LATE = re.compile(r"(?i)\blate\b|verspätet|überfällig|en retard|retraso|in ritardo|te laat")
_TEST = {"student, test", "test student"}                     # the one whom Canvas adds


@dataclass(frozen=True)
class Person:
    """Somebody in the list. `keys` are other words for them: logins, addresses, their name."""

    name: str
    id: str
    address: str
    keys: frozenset[str]
    groups: frozenset[str]
    late: bool
    row: tuple[str, ...]

    def is_also(self, other: "Person") -> bool:
        """By what both lists have: an id, or else an address, or else the name."""
        if self.id and other.id:
            return self.id == other.id
        if self.address and other.address:
            return self.address == other.address
        return _key(self.name) in other.keys


class Roster:
    """The people in one or more exported lists of one course."""

    def __init__(self, paths: Iterable[Path | str]):
        self.tables = sorted((_Table(Path(path)) for path in paths), key=lambda t: not t.marks)
        people: dict[str, Person] = {}
        for table in self.tables:
            before, there = list(people.items()), table.people()
            found = [[label for label, known in before if known.is_also(each)] for each in there]
            apart = before and before[0][1].id and not any(found)    # nobody is in both
            for number, (person, labels) in enumerate(zip(there, found)):
                if len(labels) > 1 or (not person.id and (
                        found.count(labels) > 1 if labels else apart)):
                    raise PeftTeachError(
                        f"{table.path} does not say who {person.name} is in {self.tables[0].path}.",
                        expected="the same address, or a name that only one has, in both",
                        hint="export both with addresses, or name one alone with --roster")
                label = next(iter(labels), person.id or f"{table.path}, {number}")
                known = people.get(label)
                if table is not self.tables[0]:
                    person = replace(person, row=())
                people[label] = person if known is None else replace(
                    known, keys=known.keys | person.keys, groups=known.groups | person.groups)
        names = [person.name for person in people.values()]
        self.people = [replace(person, name=f"{person.name} ({label})")
                       if names.count(person.name) > 1 else person
                       for label, person in people.items()]
        self._by_id = {person.id: person for person in self.people if person.id}
        self._by_key, self._by_group = defaultdict(list), defaultdict(list)
        for person in self.people:
            for key in person.keys:
                self._by_key[key].append(person)
            for group in person.groups:
                self._by_group[group].append(person)

    def named(self, submissions: Sequence[Submission]) -> list[Submission]:
        """The submissions under the names of the list; that of a group once for each member."""
        if not self.tables:
            return list(submissions)
        found = []
        for each in submissions:
            people = self._whose(each)
            if isinstance(people, str):
                found.append(replace(each, flags=(*each.flags, people)))
            else:
                found += [replace(each, student=person.name, late=each.late or person.late)
                          for person in people]
        return found

    def _whose(self, submission: Submission) -> list[Person] | str:
        """Those who handed it in, or why that is not known."""
        if {STRAY, FOREIGN} & set(submission.flags):    # anybody may have named them so
            return STRANGER
        who = _key(submission.student.removesuffix(f"({submission.label.id})"))
        person = self._by_id.get(submission.label.id)
        if who in self._by_group and not (person and who in person.keys):
            return self._by_group[who]
        if person:
            return [person]
        people = self._by_key.get(who, [])
        if len(people) > 1:
            return f"{len(people)} in the roster have this name"
        return people or STRANGER

    def missing(self, students: Iterable[str]) -> list[str]:
        """The people of the list who are not among these."""
        there = set(students)
        return [person.name for person in self.people
                if person.name not in there and person.name.lower() not in _TEST]

    def written(self, totals: Mapping[tuple[str, str], tuple[float, float, str]],
                column: str | None) -> tuple[dict[str, str], list[str]]:
        """Files for the platform, by name, and what to know of them.

        `totals` has points, their maximum and a comment by (student, lesson). `column` is the name
        of the assignment, where the lesson's own number or name does not say it.
        """
        if not self.tables:
            return {}, []
        if self.tables[0].marks:
            return self.tables[0].filled(
                {person.row: person.name for person in self.people if person.row}, totals, column)
        return {}, ["The roster has no column for marks, so no file was written for the platform: "
                    "name Canvas' export of all grades, or Moodle's grading worksheet."]


class _Table:
    """One exported file, as rows of text."""

    def __init__(self, path: Path):
        self.path = path
        rows = csv_file.read(path, "a CSV file in UTF-8, as Canvas or Moodle exports it")
        self.separator = rows.dialect.delimiter
        self.head, *self.rows = [*rows] or [[]]
        self.columns = {name.strip().lower(): index for index, name in enumerate(self.head)}
        # Moodle's worksheet in another language, in which only "ID" may be known
        is_foreign = self._worksheet() is not None and "maximum grade" not in self.columns
        if is_foreign or not _KNOWN & set(self.columns):
            self.columns = self._by_place()
        if not _KNOWN & set(self.columns):
            raise PeftTeachError(
                f"{path} is not a course list: its columns are {', '.join(self.head[:6])}.",
                expected="Canvas' export of grades or of groups, or Moodle's grading worksheet or "
                "participants, as CSV, as they were exported")
        self.canvas = "section" in self.columns and "id" in self.columns
        self.marks = self.canvas or {"identifier", "grade", "maximum grade"} <= set(self.columns)

    def _cells(self, index: int) -> list[str]:
        return [row[index].strip() for row in self.rows if index < len(row)]

    def _worksheet(self) -> int | None:
        """The column of the maximum in Moodle's worksheet, None for any other list.

        Its first has a word and a number for each, "Participant 12"; the maximum is the same
        number for all, and behind it stands in words whether the grade can be changed.
        """
        whose = [re.fullmatch(r"(\D+?)\s*\d+", cell) for cell in self._cells(0)]
        if not whose or None in whose or len({each[1] for each in whose}) > 1:
            return None
        return next((index for index in range(2, len(self.head) - 1)
                     if len(set(self._cells(index))) == 1 and _number(self._cells(index)[0]) > 0
                     and not any(map(_number, self._cells(index + 1)))), None)

    def _by_place(self) -> dict[str, int]:
        """The columns by their English names, told from where they stand and what is in them."""
        email = next((index for index in range(len(self.head))
                      if any("@" in cell for cell in self._cells(index))), None)
        most = self._worksheet()
        if most is None:
            if not email:
                return {}
            names = {"first name": 0, "last name": 1} if email > 1 else {"full name": 0}
            group = {"groups": email + 1} if email + 1 < len(self.head) else {}
            return names | {"email address": email} | group
        found = {"identifier": 0, "grade": most - 1, "maximum grade": most}
        names = self._cells(1)
        blind = most == 3 or (email is None and len(set(names)) < len(names))
        found |= {"status": 1} if blind else {"full name": 1}
        if email is not None and email < most:
            found["email address"] = email
        if not blind:    # behind the name and what else tells who it is
            found["status"] = max(1, email if email is not None and email < most else 1) + 1
        last = len(self.head) - 1
        if last > most + 1 and not any(re.search(r"^-$|\d{4}", cell) for cell in self._cells(last)):
            found["feedback comments"] = last
        return found

    def people(self) -> list[Person]:
        """Those who have a name or a number; not the rows about points and hidden grades."""
        found = []
        for row in self.rows:
            row = tuple(row) + ("",) * (len(self.head) - len(row))
            cell = {name: row[index].strip() for name, index in self.columns.items()}
            names = [cell[name] for name in _NAME if cell.get(name)] or [
                " ".join((cell[first], cell[last])) for first, last in _NAMES
                if {first, last} <= set(cell)]
            numbers = (re.search(r"\d+$", cell.get(column, "")) for column in _IDS)
            id = next((number[0] for number in numbers if number), "")
            name = next(iter(names), "") or cell.get("identifier", "")
            if not name or "points possible" in name.lower():
                continue
            last, _, first = name.partition(", ") if ", " in name else name.partition(" ")
            words = [cell[column] for column in _LOGINS if cell.get(column)]
            words += [word.partition("@")[0] for word in words if "@" in word]
            groups = (group for column in _GROUP for group in cell.get(column, "").split(","))
            found.append(Person(
                name, id, next((word.casefold() for word in words if "@" in word), ""),
                frozenset(map(_key, (name, f"{first} {last}", *words))),
                frozenset(filter(None, map(_key, groups))),
                bool(_LATE.search(cell.get("status", ""))), row))
        return found

    def filled(self, names: Mapping[tuple[str, ...], str], totals: Mapping, column: str | None
               ) -> tuple[dict[str, str], list[str]]:
        """As `Roster.written`: the rows of those who have a mark, with the marks in them."""
        lessons = sorted({lesson for _, lesson in totals})
        chosen, notes = {}, []
        for lesson in lessons:
            columns = self._columns_of(lesson, column, alone=len(lessons) == 1)
            if len(columns) == 1:
                chosen[lesson] = columns[0]
                notes.append(f"Marks of lesson {lesson} for the platform are in its column "
                             f"{self.head[columns[0]]!r}.")
            else:
                notes.append(f"Marks of lesson {lesson} are in no file for the platform: "
                             f"{len(columns)} columns of {self.path.name} could be its, of "
                             f"{', '.join(self._assignments())}. Grade one lesson, with --lesson, "
                             "and name its column, with --column.")
        return ({}, notes) if not chosen else self._rows(names, totals, chosen, notes)

    def _rows(self, names: Mapping, totals: Mapping, chosen: Mapping[str, int], notes: list[str]
              ) -> tuple[dict[str, str], list[str]]:
        """The file with the marks of these lessons in these columns."""
        kept = (*range(self.columns["section"] + 1), *chosen.values()) if self.canvas else (
            range(len(self.head)))
        text = io.StringIO()
        table = csv.writer(text, delimiter=self.separator, lineterminator="\n")
        table.writerow([self.head[index] for index in kept])
        possible = next((row for row in self.rows if row and "Points Possible" in row[0]), None)
        if possible and self.canvas:
            table.writerow([possible[index] for index in kept])
        for row, name in names.items():
            cells, some = list(row), False
            for lesson, index in chosen.items():
                points, maximum, comment = totals.get((name, lesson), (None, 0, ""))
                if points is None or cells[index].strip().upper() in ("EX", "N/A"):
                    continue
                most = _number(possible[index] if self.canvas and possible else
                               "" if self.canvas else cells[self.columns["maximum grade"]])
                scaled = points if not most or not maximum else points * most / maximum
                cells[index], some = f"{round(scaled, 2):g}", True
                if most and scaled > most:
                    notes.append(f"{name} has more than the {most:g} points of the platform, "
                                 "which may leave such a mark out.")
                if most and maximum and most != maximum:
                    notes.append(f"Lesson {lesson} has {maximum:g} points, the platform {most:g}: "
                                 "in its file they are scaled.")
                if comment and (where := self.columns.get("feedback comments")) is not None:
                    cells[where] = html.escape(comment)
            if some:
                table.writerow([cells[index] for index in kept])
        return {LMS_FILES[not self.canvas]: text.getvalue()}, list(dict.fromkeys(notes))

    def _assignments(self) -> list[str]:
        if not self.canvas:
            return ["Grade"]
        return [name for name in self.head[self.columns["section"] + 1:]
                if re.search(r"\(\d+\)\s*$", name)]

    def _columns_of(self, lesson: str, column: str | None, alone: bool) -> list[int]:
        """The columns that may be a lesson's."""
        if not self.canvas:
            return [self.columns["grade"]] if alone else []
        names = self._assignments()
        if column and alone:
            fits = [name for name in names if column in (name, _title(name))]
        else:
            fits = [name for name in names if re.search(
                rf"(?i)(?<!\d){lesson}(?!\d)|lesson {int(lesson)}(?!\d)", _title(name))]
            fits = names if alone and len(names) == 1 else fits
        return [self.head.index(name) for name in fits]


def _title(name: str) -> str:
    """The name of an assignment without the number that Canvas puts behind it."""
    return re.sub(r"\s*\(\d+\)\s*$", "", name)


def _number(text: str) -> float:
    """A number as a platform writes it, "10.00" or "10,00"; 0 for anything else."""
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        return 0.0


def _key(text: str) -> str:
    """A name as an export's files have it: lower case, nothing but letters and digits."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())
