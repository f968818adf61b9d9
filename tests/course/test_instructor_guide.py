"""The instructor guide says what is so: names of mistakes, commands, and the code that it shows."""

import json
import math
import re
import shlex

from grading_corpus import ROOT, lessons

from peft_teach.course.cli import _parser
from peft_teach.course.grade import Limits
from peft_teach.course.grade.entries import LARGEST_NOTEBOOK
from peft_teach.course.grade.runner import Runner
from peft_teach.course.grade.similarity import FEW, LEAST, MANY, SHARE, WINDOW
from peft_teach.course.lessons import find, of_lesson, parts
from peft_teach.course.reading.notebook import MOST_CELLS, MOST_CHARACTERS, MOST_VALUES

GUIDE = (ROOT / "solutions/README.md").read_text(encoding="utf-8")
WORDS = " ".join(GUIDE.split())    # wherever its lines break
PAGES = {path.parent.name: path.read_text(encoding="utf-8")
         for path in sorted((ROOT / "solutions").glob("*/guide.md"))}
ROWS = {name: re.findall(r"^\| `([a-z]\w*\.\w+)` \| ([^|]+) \| [^|]+\?? \|$", page, re.MULTILINE)
        for name, page in PAGES.items()}
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def test_every_exercise_has_its_row():
    assert {name: {id for id, _ in rows} for name, rows in ROWS.items()} == {
        lesson.name: {e.id for e in of_lesson(lesson.name[:2])} for lesson in lessons().values()}


def test_the_mistakes_are_named_as_their_checks_name_them():
    for lesson, id, mistakes in ((name, *row) for name, rows in ROWS.items() for row in rows):
        names, file = re.findall(r"`(\w+)`", mistakes), f"solutions/{lesson}/guide.md"
        assert len(names) >= 2, f"{file}: {id} names fewer than two mistakes"
        unknown = set(names) - set(find(id).mistakes)
        assert not unknown, f"{file}: {id} has no mistakes {sorted(unknown)}"


def test_students_see_the_table_by_which_their_page_is_marked():
    table, = re.findall(r"^\| part \|.*?\n(?!\|)", PAGES["14_capstone"], re.DOTALL | re.MULTILINE)
    source = (ROOT / "solutions/14_capstone/lesson.py").read_text(encoding="utf-8")
    assert table in re.sub("^# ", "", source, flags=re.MULTILINE)
    rubric, = (part.rubric for part in parts("14") if part.rubric)    # beside it, when it is marked
    assert [tuple(cell.strip() for cell in row.replace("**", "").strip("|\n").split("|"))
            for row in table.splitlines()[2:]] == [*rubric]


def test_the_code_it_shows_is_the_courses_own():
    sources = [(ROOT / path).read_text(encoding="utf-8") for path in (
        "peft_teach/course/lessons/inside/counting.py", "solutions/00_inside/lesson.py",
        "solutions/00_inside/further.py")]
    parts = [part for block in BLOCKS for part in block.strip().split("\n\n\n")]
    assert parts
    assert [part for part in parts if not any(part in source for source in sources)] == []


def test_its_commands_exist():
    commands = [line.split("#")[0] for line in GUIDE.splitlines()
                if line.startswith("peft-teach ")]
    commands += re.findall(r"`(peft-teach (?:build|grade)[^`]+)`", GUIDE.replace("\n", " "))
    assert len(commands) >= 4
    for command in commands:
        _parser().parse_args(shlex.split(command)[1:])


def test_its_numbers_are_the_graders():
    limits = Limits()
    assert f"use {limits.seconds:g} seconds of a core" in WORDS
    assert f"write {limits.file_bytes // 2**20} MB" in WORDS
    assert f"at most {limits.output_bytes // 2**20} MB" in WORDS
    assert limits.memory_bytes == 2**30    # "1 GB"
    assert f"may have {LARGEST_NOTEBOOK // 2**20} MB, {MOST_CELLS} cells" in WORDS
    assert f"at least {LEAST} such pieces have {SHARE * 10:g} of ten".replace("9", "nine") in WORDS
    assert f"{WINDOW} lines at a time".replace("3", "three") in WORDS
    assert (MANY, FEW) == (0.1, 5)
    assert "more than a tenth of the class, and more than five, have" in WORDS
    assert "a million characters of code" in WORDS
    assert MOST_CHARACTERS == 10**6
    assert "three million values" in WORDS
    assert MOST_VALUES == 3 * 10**6
    assert Runner(limits).limits == limits


def test_the_rate_is_the_recorded_one():
    rows = json.loads((ROOT / "assets/records/grading.json").read_text())["runs"]
    rates = [row["a_minute"] for row in rows]
    assert min(rates) >= 20
    assert f"between {min(rates)} and {max(rates)} notebooks" in WORDS
    others = [60 * row["jobs"] / row["whole_notebook_seconds"] for row in rows]
    assert f"at most {math.ceil(max(others))} (" in WORDS


def test_the_plans_are_of_the_lessons_as_they_are():
    plans = GUIDE[GUIDE.index("## Plans"):GUIDE.index("## Give out")]
    texts = {lesson.name[:2]: "\n".join(cell.source for cell in lesson.student.cells)
             for lesson in lessons().values()}
    day = re.findall(r"^\| (\d\d) \| (.+) \| (\d+) \|$", plans, re.MULTILINE)
    assert [lesson for lesson, *_ in day] == ["00", "01", "02", "07", "08", "10", "12"]
    assert 300 <= sum(int(minutes) for *_, minutes in day) <= 330    # of 390: some 70 are left
    for lesson, what, minutes in day:
        whole = int(re.search(r"about (\d+) minutes", texts[lesson])[1])
        asked = [int(n) for n in re.findall(r"\d", what.partition("*")[0]) if "without" not in what]
        needed = sum(int(re.search(rf"Exercise {n} .*about (\d+) minutes", texts[lesson])[1])
                     for n in asked)
        assert needed < int(minutes) <= whole
        for heading in re.findall(r"\*([A-Z][^*]+)\*", what):
            assert re.search(rf"^## (\d · )?{heading}$", texts[lesson], re.MULTILINE), heading
    headings = re.findall(r"\*([A-Z][^*|]+)\*[ ,;:]", plans.partition("**A day**,")[0])
    assert len(headings) == 4
    for heading in headings:
        assert f"## {heading}\n" in texts["07"]
    numbers = re.findall(r"exercises (\d) (?:to|and) (\d)", plans.partition("**A day**")[0])
    assert [int(number) for pair in numbers for number in pair] == [1, 3, 5, 6]
    last = re.search(r"exercise (\d), in pairs", plans)[1]
    assert f"### Exercise {last} " in texts["07"]
