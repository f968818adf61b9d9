"""No figure in a lesson's prose is older than what it was measured by.

Measured is a figure with a unit of `UNITS` ("79.4 %", "12 of 20 MB") or written with a comma or a
point ("147,456", "0.42"), outside of code, formulas, links and headings. Each is to be found, as it
is rounded there, in the outputs of the lesson's own solution notebook, in words that `claims.py`
proves, or in its table in `quoted`, which says how to add a row. For a share, points, bytes or
seconds that `claims.py` types no output counts: a claim is made of the record.
"""

import ast
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import claim_checks
import lesson_files
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from quote_checks import record

import peft_teach as pt
from peft_teach.course.lessons import of_lesson
from peft_teach.course.publish.source import first_line

ROOT = Path(__file__).parents[2]
LESSONS = {of_lesson(path.name[:2])[0].id.partition(".")[0]: path
           for path in sorted((ROOT / "solutions").glob("*/[0-9][0-9]_*.ipynb"))}
CLAIMING = [lesson for lesson in sorted(LESSONS)
            if (lesson_files.homes()[lesson] / "claims.py").is_file()]
COLUMNS = ("claim", "seen", "tried")    # of its table, those that are made of the record

UNITS = {
    "%": ("share", 1e-2), "percent": ("share", 1e-2), "points": ("points", 1e-2),
    "point": ("points", 1e-2), "kB": ("bytes", 1e3), "MB": ("bytes", 1e6), "GB": ("bytes", 1e9),
    "ms": ("seconds", 1e-3), "s": ("seconds", 1), "seconds": ("seconds", 1),
    "million": ("count", 1e6), "billion": ("count", 1e9), "times": ("ratio", 1),
}
NUMBER = r"(?<![\w.,])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|[.,]\d)"
UNIT = rf"\s?(?P<unit>{'|'.join(sorted(UNITS, key=len, reverse=True))})(?!\w)"
BETWEEN = r"(?:,? (?:and|or|to|of|of its|against|beside|instead of|±) | ?[,±–/] ?)"
LIST = re.compile(rf"{NUMBER}(?:{BETWEEN}{NUMBER})*(?:{UNIT})?")    # "62, 70 and 56 %"
LEFT_OUT = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|!?\[[^\]]*\]\([^)]*\)|https?://\S+|</?\w[^>]*>|\*"
    r"|^#+ [^\n]*|§+ ?[\d.]+(?: and [\d.]+)?", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Figure:
    """A number in a text: where it stands, and what it says, in plain units."""

    text: str
    start: int
    kind: str
    value: float
    half: float    # of its last digit

    def says(self, value: float) -> bool:
        """Whether it is this value, rounded."""
        return abs(self.value - value) <= self.half * (1 + 1e-6)


def figures(text: str, measured: bool = True) -> Iterator[Figure]:
    """The measured figures of a text, or all of its numbers."""
    for found in LIST.finditer(text):
        *before, last = re.finditer(NUMBER, found[0])
        for number in (*before, last):
            digits, _, decimals = number[0].partition(".")
            shares = len(digits) < 4 and found["unit"] not in ("million", "billion")
            unit = found["unit"] if number is last or shares else None    # "in 2021, 12 %"
            if unit or "," in digits or decimals or not measured:
                kind, factor = UNITS.get(unit, ("count", 1))
                yield Figure(f"{number[0]} {unit or ''}".strip(), found.start() + number.start(),
                             kind, factor * float(number[0].replace(",", "")),
                             factor * 0.5 * 10**-len(decimals))


def problems(notebook: Any, table: Mapping[str, Any], proved: Sequence[str] = (),
             typed: Sequence[str] = ()) -> Iterator[str]:
    """What is to be mended in a lesson or its table: the cell, the figure, what to do.

    `proved` are words that a function holds to the record, `typed` what its claims' own text says.
    """
    texts = [text for cell in notebook.cells for output in cell.get("outputs", ()) for text in (
        output.get("text"), output.get("data", {}).get("text/plain")) if text]    # no captions
    shown = [each for text in texts for each in figures(text, measured=False)]
    unused = set(table)
    cells = [(f"cell {number} ({first_line(cell.source)!r})", cell.source, shown)
             for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "markdown"]
    counts = [each for each in shown if each.kind == "count"]
    cells += [(f"claims.py ({text!r})", text, counts) for text in typed]
    for where, source, beside in cells:
        text = " ".join(LEFT_OUT.sub(" ", source).split())
        told = [*figures(text)]
        covered = [each for words in proved for place in re.finditer(re.escape(words), text)
                   for each in told if place.start() <= each.start < place.end()]
        for words, values in table.items():
            for place in re.finditer(re.escape(words), text):
                inside = [each for each in told if place.start() <= each.start < place.end()]
                unused.discard(words)
                covered += inside
                yield from (f"{where}: {each}" for each in differences(words, inside, values))
        yield from (f"{where}: {each.text!r} is in no output: correct it, print it, or give it a "
                    "row." for each in told if each not in covered
                    and not any(each.kind == s.kind and each.says(s.value) for s in beside))
    yield from (f"{words!r} stands in no cell: delete the row." for words in sorted(unused))


def differences(words: str, inside: list[Figure], given: Any) -> Iterator[str]:
    """How the figures in a row's words differ from its values."""
    values = given if isinstance(given, tuple) else (given,)
    if not inside or (len(inside) != len(values) and not isinstance(given, str)):
        yield f"{words!r} holds {len(inside)} figures: a value for each."
    elif not isinstance(given, str):
        yield from (f"{each.text!r} in {words!r} is {value:.6g} now: mend the text."
                    for each, value in zip(inside, values) if not each.says(value))


def table_of(lesson: str) -> Path:
    return lesson_files.homes()[lesson] / "quoted.py"


def rows_of(lesson: str) -> dict[str, Any]:
    """The table of a lesson; empty where each of its figures is in an output."""
    return lesson_files.module(lesson, "quoted").QUOTED if table_of(lesson).is_file() else {}


def typed_in(source: str) -> Iterator[str]:
    """What a `claims.py` types in its claims, and makes of no record: column by column."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Claim":
            named = [each.value for each in node.keywords if each.arg in COLUMNS]
            for column in node.args + named:
                yield " · ".join(part.value for part in ast.walk(column)
                                 if isinstance(part, ast.Constant) and isinstance(part.value, str))


def leave_out(notebook: Any, pinned: Sequence[claim_checks.Claim]) -> None:
    """Take out what is made of the record as a whole: the cells of claims."""
    for cell in notebook.cells:
        for claim in pinned:
            for name in COLUMNS:
                cell.source = cell.source.replace(f"| {getattr(claim, name)} |", "| |")


@pytest.mark.parametrize("lesson", sorted(LESSONS))
def test_every_figure_in_the_prose_is_measured(lesson):
    table = rows_of(lesson)
    notebook = nbformat.read(LESSONS[lesson], as_version=4)
    proved, typed = [], []
    if lesson in CLAIMING:
        pinned = lesson_files.module(lesson, "claims")
        leave_out(notebook, pinned.CLAIMS)
        said = [pinned.JUDGED, *(claim.holds for claim in pinned.CLAIMS)]
        proved = [words for each in said for words, holds in each.items() if callable(holds)]
        typed = [*typed_in(Path(pinned.__file__).read_text("utf-8"))]
    found = [*problems(notebook, table, proved, typed)]
    assert not found, "\n".join(["", *found, f"(rows: {table_of(lesson).relative_to(ROOT)})"])


def test_no_value_in_a_table_is_typed():
    for lesson in filter(rows_of, LESSONS):
        rows = table_of(lesson).read_text("utf-8")
        typed = re.findall(r'": [-(]*\d[\d.e, )]*$', rows, re.MULTILINE)
        assert not typed, f"quoted.py of {lesson}: say what gives the value: {typed}"


# ── what a lesson claims ─────────────────────────────────────────────────────────────────────

def table_problems(notebook: Any, pinned: Sequence[claim_checks.Claim]) -> Iterator[str]:
    """In what a lesson's table of claims is not what its record says, row by row."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for cell in notebook.cells if "What this lesson claims" in cell.source
            for line in cell.source.partition("What this lesson claims")[2].splitlines()
            if line.startswith("|")][2:]
    if len(rows) != len(pinned):
        yield f"The table has {len(rows)} rows, and claims.py {len(pinned)}."
    for row, claim in zip(rows, pinned):
        for name, told in zip(COLUMNS, row):
            if told != getattr(claim, name):
                yield (f"{claim.claim!r}, {name}:\n  the lesson says {told!r}\n"
                       f"  the record says {getattr(claim, name)!r}")
        for words in claim.holds:
            if words not in " | ".join(row):
                yield f"{claim.claim!r}: {words!r} does not stand in its row."
        yield from (f"{claim.claim!r}: {each}" for each in untrue(claim.holds))
        if not claim.holds:
            yield f"{claim.claim!r} is asked nothing: it needs a function in `holds`."


def untrue(said: Mapping[str, Any]) -> Iterator[str]:
    """What of these words is not true of the record, or compares what was not searched alike."""
    for words, holds in said.items():
        if not isinstance(holds, str):
            with claim_checks.asked() as pairs:
                if not holds():
                    yield f"{words!r} is not true of the record."
                yield from (f"{words!r} compares methods, and {each}."
                            for each in claim_checks.unfair(pairs))


def prose(cell: Any) -> str:
    """What a reader reads of a cell, folds among it; of code, the captions of its pictures."""
    if cell.cell_type == "markdown":
        return cell.source
    pages = " ".join(output.get("data", {}).get("text/html", "")
                     for output in cell.get("outputs", ()))
    captions = re.findall(r"<figcaption.*?>(.*?)</figcaption>", pages, re.DOTALL)
    return html.unescape(" ".join(captions))


def judging_problems(notebook: Any, judged: Mapping[str, Any]) -> Iterator[str]:
    """The sentences that judge and have no row, and the rows that are wrong or for nothing."""
    unused = set(judged)
    for number, cell in enumerate(notebook.cells, 1):
        text = re.sub(r"^\|.*$", "", prose(cell), flags=re.MULTILINE)    # tables
        text = " ".join(LEFT_OUT.sub(" ", text).split())
        covered = [(place.start(), place.end()) for words in judged
                   for place in re.finditer(re.escape(words), text) if not unused.discard(words)]
        for hit in claim_checks.WORDS.finditer(text):
            if not any(start <= hit.start() < end for start, end in covered):
                around = text[max(0, hit.start() - 70):hit.end() + 50]
                yield (f"cell {number} ({first_line(cell.source)!r}): {hit[0]!r} judges: a row in "
                       f"JUDGED for …{around}…")
    yield from (f"{words!r} stands in no cell: delete the row." for words in sorted(unused))
    yield from untrue(judged)


@pytest.mark.parametrize("lesson", CLAIMING)
def test_what_a_lesson_claims_and_judges_is_true_of_its_record(lesson):
    pinned = lesson_files.module(lesson, "claims")
    notebook = nbformat.read(LESSONS[lesson], as_version=4)
    found = [*table_problems(notebook, pinned.CLAIMS), *judging_problems(notebook, pinned.JUDGED)]
    assert not found, "\n".join(["", *found, f"(rows: {pinned.__file__})"])


@pytest.mark.parametrize("name", sorted(
    file.stem for file in claim_checks.RECORDS.glob("*.py") if claim_checks.rates(file.stem)))
def test_each_methods_rate_was_found_as_the_records_script_says(name):
    assert [*claim_checks.rate_problems(name, record(name)["runs"], claim_checks.rates(name))] == []


def comparing() -> Iterator[str]:
    """The records whose runs are of several methods."""
    for file in sorted(claim_checks.RECORDS.glob("*.py")):
        runs = record(file.stem).get("runs") if file.with_suffix(".json").is_file() else None
        if isinstance(runs, list) and len({row.get("method") for row in runs}) > 1:
            yield file.stem


def test_a_record_of_several_methods_says_how_each_rate_was_found():
    lacking = {name for name in comparing() if not claim_checks.rates(name)}
    assert lacking <= {*claim_checks.NOT_DECLARED}, (
        f"{sorted(lacking - {*claim_checks.NOT_DECLARED})}: SEARCHED in assets/records/NAME.py")
    assert {"ladder", "lora", "change"}.isdisjoint(lacking)


# ── the tests themselves ─────────────────────────────────────────────────────────────────────

TEXT = """## Ten points: 9 %
**Rank 1** ends at 79.4 %, from `3 %` and $4\\%$; of 770 or 22.7 million
parameters 6,144 to 9,216 train, 12 of 20 MB, [6 points](https://a.b/7%20ms) or 2.5 points less.
The loss fell from 0.42 to 0.36 (§4.2), as proved, by 0.06."""
PROVED = ["0.36", "as proved, by 0.06"]
TABLE = {"ends at 79.4 %": 0.79386, "6,144": "a setting", "12 of 20": (11.8e6, 20.3e6)}


def lesson_of(text):
    output = new_output("stream", text="22713986 parameters\n9,216 train, 2.47 points\n0.417\n")
    return new_notebook(cells=[new_markdown_cell(text), new_code_cell("…", outputs=[output])])


def test_a_lesson_whose_figures_are_measured_has_no_problems():
    assert list(problems(lesson_of(TEXT), TABLE, PROVED)) == []


@pytest.mark.parametrize(("old", "new", "says"), [
    ("9,216", "9,217", "cell 1 ('## Ten points: 9 %'): '9,217' is in no output"),
    ("22.7 million", "22.8 million", "'22.8 million' is in no output"),
    ("2.5 points", "2.5 %", "'2.5 %' is in no output"),
    ("6,144 to", "6,145 to", "'6,145' is in no output"),
    ("6,144 to", "6,145 to", "'6,144' stands in no cell: delete the row"),
    ("79.4 %", "79.5 %", "'ends at 79.4 %' stands in no cell"),
    ("or 2.5", "in 300 ms or 2.5", "'300 ms' is in no output"),
    ("0.42 to", "0.43 to", "'0.43' is in no output"),
    ("as proved, by", "by", "'0.06' is in no output"),
])
def test_a_figure_that_changed_is_a_problem(old, new, says):
    assert TEXT.count(old) == 1
    assert any(says in each for each in problems(lesson_of(TEXT.replace(old, new)), TABLE, PROVED))


@pytest.mark.parametrize(("tried", "asks"), [
    ('f"At rank 0: {percent(ZERO)}"', []), ('"On 9,216 of them"', []), ('"By 12 of 20 MB"', []),
    ('"In the run above: 2.5 points"', ["2.5 points"]), ('f"{ZERO}, above 69 %"', ["69 %"]),
])
def test_what_a_claim_types_is_in_no_output_of_the_day(tried, asks):
    typed = [*typed_in(f'CLAIMS = (Claim("Rank 1.", seen=percent(ONE), tried={tried}, holds=1),)')]
    found = problems(lesson_of(TEXT), TABLE, PROVED, typed)
    assert [each.split("): ")[1] for each in found] == [
        f"{figure!r} is in no output: correct it, print it, or give it a row." for figure in asks]


@pytest.mark.parametrize(("words", "values", "says"), [
    ("ends at 79.4 %", 0.7951, "'79.4 %' in 'ends at 79.4 %' is 0.7951 now: mend the text"),
    ("12 of 20", (11.8e6, 21e6), "'20 MB' in '12 of 20' is 2.1e+07 now"),
    ("12 of 20", 11.8e6, "'12 of 20' holds 2 figures: a value for each"),
    ("Rank 1", 1, "'Rank 1' holds 0 figures"),
])
def test_a_row_that_says_something_else_is_a_problem(words, values, says):
    assert any(says in each for each in problems(lesson_of(TEXT), {**TABLE, words: values}))


TABLE_OF_CLAIMS = """**What this lesson claims**

| claim | seen here | what was tried | at larger scale |
|---|---|---|---|
| Rank 1 is enough. | 80.1 % | At rank 0: 71.3 % | larger (A et al.) |

It is clearly ahead, and the best of all."""
CLAIM = claim_checks.Claim("Rank 1 is enough.", "80.1 %", "At rank 0: 71.3 %",
                     {"is enough": lambda: True, "At rank 0": lambda: True})
JUDGED = {"It is clearly ahead": lambda: True, "the best of all": "a way of speaking"}


def problems_of(text=TABLE_OF_CLAIMS, claim=CLAIM, judged=JUDGED):
    notebook = new_notebook(cells=[new_markdown_cell(text)])
    return [*table_problems(notebook, (claim,)), *judging_problems(notebook, judged)]


def test_a_lesson_that_claims_what_its_record_says_has_no_problems():
    assert problems_of() == []


@pytest.mark.parametrize(("old", "new", "says"), [
    ("Rank 1 is", "Rank 2 is", "'Rank 1 is enough.', claim:\n  the lesson says 'Rank 2 is"),
    ("80.1 %", "80.2 %", "'Rank 1 is enough.', seen:\n  the lesson says '80.2 %'"),
    ("At rank 0", "At rank 9", "'Rank 1 is enough.': 'At rank 0' does not stand in its row"),
    ("| Rank 1", "| Another. | 1 | 2 | 3 |\n| Rank 1", "The table has 2 rows, and claims.py 1"),
    ("all.", "all. Rank 2 leads.", "'leads' judges: a row in JUDGED for …"),
    ("clearly ahead", "behind", "'It is clearly ahead' stands in no cell"),
])
def test_a_claim_that_says_something_else_is_a_problem(old, new, says):
    assert TABLE_OF_CLAIMS.count(old) == 1
    assert any(says in each for each in problems_of(TABLE_OF_CLAIMS.replace(old, new)))


@pytest.mark.parametrize(("cell", "judges"), [
    (new_markdown_cell("<details><summary>Why?</summary>\n\nRank 2 leads.\n</details>"), True),
    (new_code_cell("…", outputs=[new_output("display_data", data={
        "text/html": pt.plots.html(pt.plots.figure(1, 1)[0], "Rank 2 leads.")})]), True),
    (new_code_cell("leads = 2", outputs=[new_output("stream", text="Rank 2 leads.")]), False),
])
def test_folds_and_captions_judge_and_code_does_not(cell, judges):
    found = [*judging_problems(new_notebook(cells=[cell]), {})]
    assert len(found) == judges
    assert [*judging_problems(new_notebook(cells=[cell]), {"Rank 2 leads": lambda: True})] == (
        [] if judges else ["'Rank 2 leads' stands in no cell: delete the row."])


def test_a_claim_that_is_no_longer_true_is_a_problem():
    false = replace(CLAIM, holds={**CLAIM.holds, "is enough": lambda: False})
    assert problems_of(claim=false) == [
        "'Rank 1 is enough.': 'is enough' is not true of the record."]
    assert problems_of(judged={**JUDGED, "It is clearly ahead": lambda: 0}) == [
        "'It is clearly ahead' is not true of the record."]
    assert problems_of(claim=replace(CLAIM, holds={})) == [
        "'Rank 1 is enough.' is asked nothing: it needs a function in `holds`."]


def test_methods_are_compared_at_rates_that_were_searched(monkeypatch):
    compares = {"is enough": lambda: claim_checks.of("ladder", group="final", method="lora 8")
                > claim_checks.of("ladder", group="final", method="prompt")}
    assert [*untrue(compares)] == []
    for declared in ({**claim_checks.rates("ladder"), "lora 8": "not searched"}, None):
        monkeypatch.setattr(claim_checks, "rates", lambda name, found=declared: found)
        says = "compares methods, and the rate of 'lora 8' in ladder.json was not searched"
        assert any(says in each for each in untrue(compares))


SEARCH = {"by": "lr", "groups": ("rates",), "where": {"seed": 0}, "used": ("final",)}


def searched(*found, used):
    rows = [{"group": "rates", "method": "a", "seed": 0, "lr": lr, "validation": value}
            for lr, value in found]
    return [*rows, {"group": "final", "method": "a", "seed": 1, "lr": used}]


@pytest.mark.parametrize(("runs", "declared", "says"), [
    (searched((1, 0.1), (2, 0.3), (4, 0.2), used=2), {"a": SEARCH}, None),
    (searched((1, 0.1), (2, 0.3), used=2), {"a": SEARCH}, "'a' ends at its edge: lr 2 of [1, 2]"),
    (searched((1, 0.1), (2, 0.3), (4, 0.2), used=4), {"a": SEARCH},
     "'a' was run at lr [4], and validation chose 2"),
    ([row | {"rank": rank} for rank, lr in enumerate((2, 4)) for row in searched(
        (1, 0.1), (lr, 0.3), (8, 0.2), used=lr)], {"a": SEARCH | {"each": "rank"}}, None),
    (searched((1, 0.1), used=1), {}, "SEARCHED does not say how the rate of 'a' was found"),
    (searched((1, 0.1), used=1), {"a": "guessed"}, "the rate of 'a' is 'guessed'"),
    (searched(used=2), {"a": SEARCH}, "the search of 'a' ends at its edge"),
    (searched(used=3e-3), {"a": {"record": "dora", "used": ("final",)}},
     "dora.py does not search a rate of 'a'"),
])
def test_a_rate_that_was_not_found_as_declared_is_a_problem(runs, declared, says):
    found = [*claim_checks.rate_problems("x", runs, declared)]
    assert not found if says is None else any(says in each for each in found)
