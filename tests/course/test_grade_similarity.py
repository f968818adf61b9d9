"""Copies are found under other names and layouts; what many wrote, or had to write, is not."""

import ast
import inspect
import random
import time
from dataclasses import replace

import answers

from peft_teach.course.checks.exercise import CODE
from peft_teach.course.grade import handed, report
from peft_teach.course.grade.row import Row
from peft_teach.course.grade.similarity import of_bytes, shape, similar, text
from peft_teach.course.lessons import all_exercises, find, of_lesson
from peft_teach.course.reading.cells import Code
from peft_teach.course.reading.definitions import definitions
from peft_teach.course.reading.notebook import Cell

CODED = [exercise for exercise in of_lesson("04") if exercise.answer == CODE]


def test_what_a_version_is_made_of_keeps_its_source():
    """A law takes the names off its versions; a reference among them could not be read again."""
    for exercise in all_exercises():
        for each in exercise.one_by_one(exercise.resolve()) if exercise.answer == CODE else ():
            assert inspect.getsource(each), exercise.id


def row(student: str, lesson: str = "04", **cells: str) -> Row:
    """A student's answers: prefix_share="def …"."""
    marks = []
    for name, cell in cells.items():
        exercise = find(name.replace("_", ".", 1))
        plan = definitions(Code([Cell(1, cell)]), exercise)
        marks.append({"exercise": exercise.id, "text": text(plan), "shape": shape(plan, exercise)})
    return Row(student, lesson, f"{student}.ipynb", tuple(marks), ())


def style(number: int) -> dict[str, str]:
    """A right answer to each exercise of lesson 04, of one of the styles that they have.

    The first is the lesson's own solution, which is no copy of anyone's.
    """
    given = {}
    for exercise in CODED:
        styles = [*answers.right(exercise.id).values()]
        given[exercise.id.replace(".", "_")] = answers.cell(styles[number % len(styles)])
    return given


def disguised(source: str) -> str:
    """The same code, with other names for all that is its own, other layout and a note."""
    tree = ast.parse(source)
    names = {part.id for part in ast.walk(tree)
             if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    names |= {part.arg for part in ast.walk(tree) if isinstance(part, ast.arg)}
    for part in ast.walk(tree):
        for field in ("id", "arg"):
            if getattr(part, field, None) in names and not isinstance(part, ast.keyword):
                setattr(part, field, f"my_{getattr(part, field)}")
        if isinstance(part, ast.FunctionDef):
            part.returns = None
            part.body.insert(0, ast.Expr(ast.Constant("Mine.")))
    return "# by myself\n" + ast.unparse(ast.fix_missing_locations(tree))


def test_a_copy_with_other_names_is_found_and_a_copy_of_the_bytes_is_told_from_it():
    anna, bo = row("anna", **style(1)), row("bo", **style(5))
    cy = row("cy", **{name: disguised(cell) for name, cell in style(1).items()})
    di = row("di", **style(5))
    found = {pair.students: pair for pair in similar([anna, bo, cy, di])}
    assert set(found) == {("anna", "cy"), ("bo", "di")}
    assert all(pair.share == 1 and "prefix.stepwise" in pair.exercises
               for pair in found.values())
    assert found["bo", "di"].equal == found["bo", "di"].exercises
    assert not found["anna", "cy"].equal
    assert not found["anna", "cy"].reworded
    part = {name: style(1)[name] for name in ("prefix_front", "prefix_generate")}
    both = [row(who, **part) for who in ("ed", "flo")]
    assert similar(both)[0].equal
    assert not similar([both[0], row("flo", **{name: disguised(part[name]) for name in part})])
    page = report._alike([replace(anna, student="<i>"), bo, cy, di])
    assert "&lt;i&gt; and cy" in page
    assert "<i>" not in page
    assert "100%" in page


def reworded(source: str) -> str:
    """The same code with other words, other numbers, and prints in between."""
    tree = ast.parse(source)
    for part in ast.walk(tree):
        if isinstance(part, ast.Constant) and isinstance(part.value, str | int | float):
            part.value = f"{part.value}!" if isinstance(part.value, str) else part.value
        if isinstance(part, ast.Constant) and type(part.value) in (int, float):
            part.value += 7
        if isinstance(part, ast.FunctionDef):
            part.body = [each for inner in part.body
                         for each in (ast.parse("print('here')").body[0], inner)]
    return ast.unparse(ast.fix_missing_locations(tree))


def test_a_copy_with_other_words_numbers_and_prints_is_found():
    anna, bo = row("anna", **style(4)), row("bo", **style(2))
    copied = row("cy", **{name: reworded(disguised(cell)) for name, cell in style(4).items()})
    pair, = similar([anna, bo, copied])
    assert (pair.students, pair.equal, pair.reworded) == (("anna", "cy"), (), True)
    assert "% reworded" in report._alike([anna, bo, copied])


def test_equal_adapters_are_listed():
    """Whatever their file says of them; in one line if many have the same."""
    def handed_in(student, data, path=""):
        described = f"{student}".encode()
        file = len(described).to_bytes(8, "little") + described + data
        mark = {"exercise": "capstone.file", "text": of_bytes(handed._tensors(file))}
        return Row(student, "14", path or student, (mark,), ())

    few = [handed_in(*each) for each in (("anna", b"1"), ("bo", b"1"), ("cy", b"2"))]
    pair, = similar(few)
    assert (pair.students, pair.equal) == (("anna", "bo"), ("capstone.file",))
    many = [handed_in(f"s{n}", b"3") for n in range(9)]
    found = {each.students for each in similar([*few, *many])}
    assert found == {("anna", "bo"), tuple(f"s{n}" for n in range(9))}
    assert not similar([handed_in("anna", b"1", "both"), handed_in("bo", b"1", "both")])


def test_nearly_equal_adapters_are_listed_apart_from_equal_ones():
    def handed_in(student, text, *signs):
        shape = [f"layer {number}={each:016x}" for number, each in enumerate(signs)]
        mark = {"exercise": "capstone.file", "text": text, "shape": shape}
        return Row(student, "14", student, (mark,), ())

    anna = (0, 2**64 - 1, 0x0f0f0f0f0f0f0f0f)
    rows = [handed_in("anna", "1", *anna), handed_in("bo", "2", 1, 2**64 - 2, 0),
            handed_in("cy", "3", 0, 0, 0), handed_in("di", "1", *anna), handed_in("ed", "4")]
    found = {pair.students: (pair.share, bool(pair.equal)) for pair in similar(rows)}
    assert found == {("anna", "bo"): (2 / 3, False), ("anna", "di"): (1, True),
                     ("bo", "di"): (2 / 3, False)}


def test_two_right_answers_to_a_short_exercise_are_no_copy():
    """Nor those to a whole lesson, each in another style."""
    short = {"lora_count": answers.cell(answers.right("lora.count")["one product"])}
    assert not similar([row("anna", "07", **short), row("bo", "07", **short)])
    assert not similar([row(f"student {n}", **style(n)) for n in range(5)])


def test_what_the_lesson_dictates_or_many_wrote_is_no_copy():
    same = [row(f"student {n}", **style(2)) for n in range(6)]
    assert not similar(same)
    assert len(similar(same[:5])) == 10
    theirs = disguised(inspect.getsource(find("inside.transformer").resolve()))
    mark, = row("anna", inside_transformer=theirs).marks
    assert not mark["shape"]
    group = [Row(each.student, "04", "together.ipynb", each.marks, ()) for each in same[:2]]
    assert not similar(group)


def test_a_group_is_no_copy_of_itself():
    """Canvas has its notebook once, Moodle once for each member."""
    one, two, three = (row(name, **style(1)) for name in ("Jo Meier", "Kim Lee", "Ola Nowak"))
    assert len(similar([one, two, three])) == 3
    for paths in (["tide_101_7_x.ipynb"] * 2, ["Tide-Jo Meier_201_f/x", "Tide-Kim Lee_202_f/x"]):
        members = [replace(each, path=path) for each, path in zip((one, two), paths)]
        assert [pair.students for pair in similar([*members, three])] == [
            ("Jo Meier", "Ola Nowak"), ("Kim Lee", "Ola Nowak")]


def test_a_large_class_takes_seconds():
    """500 notebooks, in which each piece is shared as widely as it counts at most."""
    draw = random.Random(0)
    rows = [Row(f"{n}", "00", f"{n}", ({"exercise": "inside.block", "text": "", "shape": {
        str(draw.randrange(1000)) for _ in range(50)}},), ()) for n in range(500)]
    started = time.process_time()
    assert not similar(rows)
    assert time.process_time() - started < 10
