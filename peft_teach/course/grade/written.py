"""A page that a student wrote, as a person marks it: its parts, and the outputs that it cites.

Where a part begins is told by its heading, in whatever dress; the lesson's own table and example,
which have the same words, stand behind "|" and ">". A page typed into a cell of code is read, too,
and one without any of the headings is read as one part.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..checks.exercise import Part
from ..reading.notebook import Notebook
from .entries import clean

LONGEST_PAGE = 10_000    # characters; 400 words have a quarter of them
LEAST_WORDS = 12         # in a page without headings; less is a remark
MOST_RUNS, LONGEST_RUN = 12, 1_500    # outputs beside a part, and characters of one
AROUND = 3               # lines above and below those that are cited
WHOLE = "The page"       # the heading of a page that has none
_NUMBER = re.compile(r"\d+(?:[.,]\d+)+|\d{3,}")    # what could stand anywhere cites nothing
_DOTS = re.compile(r"[\s:.…*_#-]*")


class Page(NamedTuple):
    """What stands under each heading, "" for nothing, and whether anything stands there."""

    parts: dict[str, str]

    @property
    def written(self) -> bool:
        return any(self.parts.values())

    def __str__(self) -> str:
        return "\n\n".join(f"{heading}: {text or '…'}" for heading, text in self.parts.items())


def read(part: Part, notebook: Notebook) -> Page:
    """The page in a notebook, as text that is safe to show once it is escaped."""
    headings = [heading for heading, *_ in part.rubric]
    found = dict.fromkeys(headings, "")
    comments = (re.sub(r"(?m)^# ?", "", cell.source) for cell in notebook.cells if not cell.kind)
    for text in (notebook.text, *comments):
        for heading, said in _by_heading(headings, _above(text, part.ends)).items():
            found[heading] = found[heading] or said
    if any(found.values()):
        return Page(found)
    rest = _above(notebook.text, part.ends).rpartition("\n|")[2].partition("\n")[2]
    rest = "" if _headings(headings).search(rest) else _shown(rest)
    return Page({WHOLE: rest}) if len(rest.split()) >= LEAST_WORDS else Page(
        dict.fromkeys(headings, ""))


def _above(text: str, ends: Sequence[str]) -> str:
    for end in ends:
        text = text.partition(end)[0]
    return text


def _headings(headings: Sequence[str]) -> re.Pattern:
    words = "|".join(re.sub(r"\\? ", r"\\s+", re.escape(each)) for each in headings)
    return re.compile(rf"(?im)^[-+#*_\d.)(:\"' \t]*({words})[*_:.\"']*")


def _by_heading(headings: Sequence[str], text: str) -> dict[str, str]:
    """What stands under each heading; where one comes again, the last that is more than dots."""
    found = dict.fromkeys(headings, "")
    known = {_flat(heading): heading for heading in headings}
    at = [*_headings(headings).finditer(text)]
    for this, end in zip(at, [*(each.start() for each in at[1:]), len(text)]):
        said = text[this.end():end]
        said = re.split(r"(?m)^#{1,3} ", said)[0]    # the next section
        if not _DOTS.fullmatch(said):
            found[known[_flat(this[1])]] = _shown(said)
    return found


def _flat(heading: str) -> str:
    return " ".join(heading.split()).casefold()


def _shown(text: str) -> str:
    text = text.strip(" \n\t*:")
    cut = f"\n… (the first {LONGEST_PAGE:,} characters)" if len(text) > LONGEST_PAGE else ""
    return "\n".join(map(clean, text[:LONGEST_PAGE].splitlines())) + cut


def _numbers(text: str) -> dict[str, str]:
    """The numbers of a text that could cite something, as they are compared, and as written."""
    return {each.replace(",", "."): each for each in _NUMBER.findall(text)}


def runs(said: str, outputs: Sequence[tuple[int, str]]) -> tuple[list[tuple[int, str]], list[str]]:
    """The outputs that a text cites, by their cells: those with its numbers; and the numbers that
    stand in no output."""
    cited, there = _numbers(said), set()
    shown = []
    for cell, text in outputs:
        found = _numbers(text).keys()
        there |= found
        if found & cited.keys():
            shown.append((cell, _cited_lines(text, cited)))
    return shown[:MOST_RUNS], [each for key, each in cited.items() if key not in there]


def _cited_lines(text: str, cited: Mapping[str, str]) -> str:
    """The lines of an output that a text cites, with some around them."""
    lines = text.split("\n")
    at = [index for index, line in enumerate(lines) if _numbers(line).keys() & cited.keys()]
    first, last = max(at[0] - AROUND, 0), at[-1] + AROUND + 1
    shown = (clean(line.expandtabs(4)) for line in lines[first:last])
    return "\n".join(shown)[:LONGEST_RUN]


def marked_up(text: str, said: str) -> Iterator[tuple[str, bool]]:
    """An output in pieces, each with whether it is a number that the text cites."""
    cited, end = _numbers(said), 0
    for number in _NUMBER.finditer(text):
        yield text[end:number.start()], False
        yield number[0], number[0].replace(",", ".") in cited
        end = number.end()
    yield text[end:], False


def beside(page: Mapping[str, str], outputs: Sequence[tuple[int, str]]) -> list[dict]:
    """For each part what it cites, as plain data for the report of a mark."""
    found = []
    for heading, said in page.items():
        shown, missing = runs(said, outputs)
        found.append({"heading": heading, "text": said, "runs": shown, "missing": missing})
    return found
