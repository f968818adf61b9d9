"""Which statements are an answer, what counts as one, and what its feedback tells."""

import sys
import time

import pytest
from cheats import CHEATS, SIGNS
from grading_corpus import marked
from honest import CHECK, COUNT, HONEST, RIGHT, STUB, a_right

from peft_teach.course.checks.examination import OF_THE_COURSE, WRONG, Result
from peft_teach.course.grade import Limits, feedback, job, report, run
from peft_teach.course.grade.plain import to_bytes
from peft_teach.course.grade.row import Row
from peft_teach.course.grade.run import NOTE_ANOTHER, mark
from peft_teach.course.grade.runner import Ended
from peft_teach.course.grade.suspicion import suspicious
from peft_teach.course.lessons import find, of_lesson
from peft_teach.course.reading.cells import Code
from peft_teach.course.reading.definitions import definitions
from peft_teach.course.reading.notebook import Cell

FURTHER = [{"n_in": 5001, "n_out": 3202, "rank": 2053}]

# ── of several answers, which one ────────────────────────────────────────────────────────────

LINEAR, BLOCK = "inside.linear", "inside.block"
LINEAR_CHECK = f"linear_count = pt.check({LINEAR!r}, linear_count)"
USES = """def block_count(d_model, d_ff, heads, kv_heads):
    shapes = [(d_model, d_model), (d_model, d_model // heads * kv_heads), (d_model, d_ff)]
    square, narrow, wide = (linear_count(*shape) for shape in shapes)
    return 2 * square + 2 * narrow + wide + linear_count(d_ff, d_model) + 4 * d_model
"""


MISTAKE = "def linear_count(n_in, n_out):\n    return n_in + n_out"


@pytest.mark.parametrize(("above", "below", "state"), [
    (a_right(LINEAR), MISTAKE, "passed"), (a_right(LINEAR), f"{MISTAKE}\n{LINEAR_CHECK}", "passed"),
    (MISTAKE, "", "wrong")])
def test_an_answer_uses_what_passed_or_else_the_reference(above, below, state):
    """Not a mistake that was made for its card."""
    cells = (above, LINEAR_CHECK, below, USES, f"pt.check({BLOCK!r}, block_count)")
    code = Code([Cell(number, text) for number, text in enumerate(cells, 1)])
    given = [mark(job.runner(Limits(), job.FORKS), code, find(id)) for id in (LINEAR, BLOCK)]
    assert [each.state for each in given] == [state, "passed"]


def test_what_is_mended_below_its_check_for_cases_that_the_check_has_not():
    by_heart = COUNT.format("int(torch.tensor(float(rank * (n_in + n_out))))")
    given = marked(by_heart, CHECK, RIGHT, further=FURTHER)
    assert given.points == 1
    assert NOTE_ANOTHER in given.notes


def test_no_other_reading_is_tried_after_one_that_took_all_its_time(monkeypatch):
    tried, slow = [], Result(WRONG, run._why("time", Limits()), reason="time")
    monkeypatch.setattr(run, "_outcome", lambda runner, exercise, plan, further: (
        tried.append(plan), run._Outcome(plan, slow))[1])
    given = marked(RIGHT, CHECK, COUNT.format(2), CHECK)
    assert (given.message, given.reason) == (slow.message, slow.reason)
    assert len(tried) == 1


class Timed:
    """A runner whose answers are wrong, each after so many seconds, or given too few."""

    limits = Limits()

    def __init__(self, seconds):
        self.seconds, self.given = seconds, []

    def run(self, exercise, plan, cases, clock):
        self.given.append(clock)
        took = min(clock, self.seconds)
        if took == clock:
            return Ended(b"", "time", took)
        return Ended(to_bytes({"outputs": 0}), "exit", took)


def test_all_answers_to_an_exercise_share_its_time_and_all_exercises_the_notebooks():
    slow = Timed(30.0)
    cells = [text for number in range(5) for text in (COUNT.format(number), CHECK)]
    given = mark(slow, Code([Cell(n, text) for n, text in enumerate(cells, 1)]), find("lora.count"))
    assert slow.given == [61.0, 31.0, 1.0]
    assert run.NOTE_SPENT in given.notes
    code, asleep = Code([Cell(1, RIGHT)]), Timed(1e9)
    marks = [mark(asleep, code, find("lora.count")) for _ in of_lesson("07")]
    whole = 20 * len(marks) + 61
    assert sum(asleep.given) <= whole + 5 * len(marks)
    assert asleep.given[0] == 61.0
    assert asleep.given[-1] == 5.0    # what is right needs less, so it keeps its points
    assert run.NOTE_CUT.format(5) in marks[-1].notes
    assert run.NOTE_CUT.format(5) not in marks[0].notes


def test_what_decides_stands_on_both_pages_and_suspicion_on_one():
    """Neither a copy that counts, nor a name whose line does not run, is for one side alone."""
    given = marked("best = pt.evaluate(model, batches)", RIGHT,
                   COUNT.format("best") + "\n    getattr(torch, 'x').system = 1", CHECK)
    said = ("2 definitions of lora_count, the last counts",
            "needs best, whose line trains, loads or shows something, which does not run here")
    row = Row("anna", "07", "", (vars(given),), given.flags)
    page, = feedback.pages([row]).values()
    table = report.grades([row])
    for note in said:
        assert note in page
        assert f"lora.count: {note}" in table
    assert "look at its system" in table
    assert "look at" not in page


# ── which statements run ─────────────────────────────────────────────────────────────────────


def plan(*cells: str, id: str = "lora.count"):
    return definitions(Code([Cell(n, text) for n, text in enumerate(cells, 1)]), find(id))


def statements(*cells: str, id: str = "lora.count") -> list[tuple[str, int]]:
    return list(plan(*cells, id=id).statements)


RAW, MARKDOWN = (Cell(2, RIGHT, kind) for kind in ("Raw", "Markdown"))
FENCE = Cell(2, f"~~~ python\n{RIGHT}\n~~~\n", "Markdown")
WRITTEN = Cell(2, f"%%writefile -a src/mine.py\n{RIGHT}")


@pytest.mark.parametrize(("cells", "files", "where"), [
    ((RAW,), {}, ("cell 2", 0)), ((MARKDOWN,), {}, ("cell 2", 0)), ((FENCE,), {}, ("cell 2", 0)),
    ((STUB, RAW), {}, ("cell 2", 0)), ((RAW, RIGHT), {}, ("cell 9", 0)),
    ((MARKDOWN, COUNT.format(1)), {}, ("cell 9", 0)), ((WRITTEN,), {}, ("cell 2", 0)),
    ((WRITTEN, "from mine import *"), {}, ("cell 2", 0)),
    ((WRITTEN, "%run src/mine.py"), {}, ("cell 2", 0)),
    ((WRITTEN, "import mine as m\nlora_count = m.lora_count"), {}, ("cell 2", 0)),
    (("from mine import lora_count",), {"mine": RIGHT}, ("mine.py", 0)),
    (("from mine import best as lora_count",), {"mine": RIGHT.replace("lora_count", "best")},
     ("cell 9, import 0", 0)),
    (("from mine import lora_count",), {"mine": "from other import *", "other": RIGHT},
     ("other.py", 0)),
    (("import math\n" + RIGHT,), {"math": COUNT.format(1)}, ("cell 9", 1)),
    ((RIGHT,), {"mine": COUNT.format(1)}, ("cell 9", 0)),
    ((f"%%writefile __main__.py\n{RIGHT}",), {}, ("cell 9", 0)),
    ((Cell(2, "size = 0"), "from __main__ import size\n" + RIGHT.replace("* (", "* (size + ")),
     {"__main__": "size = 1"}, ("cell 9", 1))])
def test_an_answer_that_stands_elsewhere_is_read_if_nothing_else_answers(cells, files, where):
    cells = [each if isinstance(each, Cell) else Cell(9, each) for each in cells]
    code = Code([*cells, Cell(10, CHECK)], [*files.items()])
    assert definitions(code, find("lora.count")).statements[-1] == where
    given = mark(job.runner(Limits(), job.FORKS), code, find("lora.count"))
    assert given.points == (COUNT.format(1) not in [cell.source for cell in cells])


@pytest.mark.parametrize(("cells", "says"), [
    ((Cell(1, f"It is\n\n{RIGHT}", "Markdown"),), "a Markdown cell, which no kernel runs"),
    (("from my_peft import lora_count",), "comes from my_peft.py, which was not handed in"),
    ((STUB, "from helpers import lora_count"), "comes from helpers.py, which was not handed in"),
    (("from __main__ import lora_count",), "There is no definition of lora_count"),
    (("import my_peft\npt.check('lora.count', my_peft.lora_count)",), "Write it anew")])
def test_the_true_reason_is_said_where_it_cannot_be_read(cells, says):
    code = Code([each if isinstance(each, Cell) else Cell(1, each) for each in cells])
    given = mark(job.runner(Limits(), job.FORKS), code, find("lora.count"))
    assert (given.points, says in given.message) == (0, True), given


@pytest.mark.parametrize("before", [
    "from my_peft import linear_count", "import my_peft\nlinear_count = my_peft.linear_count",
    "from peft_teach.course import records\n"
    "linear_count = lambda *_: len(records.load('lora').runs)",
    "linear_count = lambda *_: len(pt.course.records.load('lora')['runs'])"])
def test_pieces_of_earlier_lessons_and_records_are_there(before):
    given = marked(before, COUNT.format("0 * linear_count(1, 2) + rank * (n_in + n_out)"))
    assert (given.points, given.flags) == (1, ()), given


def test_what_is_cut_short_says_so():
    long = [Cell(n, f"x{n} = '{'x' * 90_000}'") for n in range(3)]
    told = definitions(Code([*long, Cell(7, RIGHT)]), find("lora.count"))
    assert "too much code" in told.missing
    told = definitions(Code([Cell(7, RIGHT), *long]), find("lora.count"))
    assert "from cell 2 on it is not" in told.notes[-1]
    tried = [text for n in range(9) for text in (COUNT.format(n), CHECK)]
    assert run.NOTE_MOST in marked(*tried).notes
    assert run.NOTE_MOST not in marked(*tried[:12]).notes    # six
    asleep = Timed(1e9)
    given = mark(asleep, Code([Cell(1, COUNT.format(1)), Cell(2, CHECK), Cell(3, COUNT.format(2))]),
                 find("lora.count"))
    assert len(asleep.given) == 1
    assert run.NOTE_SPENT in given.notes


def test_the_last_definition_that_is_no_stub():
    assert statements(COUNT.format(1), COUNT.format(2), STUB)[-1] == ("cell 2", 0)
    assert statements(STUB, STUB)[-1] == ("cell 2", 0)
    assert statements("lora_count = lambda *s: 1", "x = 1")[-1] == ("cell 1", 0)
    assert statements(COUNT.format(1), 'lora_count = pt.check("lora.count", lora_count)',
                      "lora_count = lora_count(1, 2, 3)")[-1] == ("cell 1", 0)


def test_of_two_the_one_before_its_use():
    assert ("cell 1", 0) in statements("X = 1", COUNT.format("X"), "X = 2")
    assert ("cell 2", 0) in statements("X = 1", "X = X + 1", COUNT.format("X"))
    assert ("cell 1", 0) in statements("X = 1", "X = X + 1", COUNT.format("X"))


@pytest.mark.parametrize("line", [
    "X = pt.train(model, batches)", "X, _ = pt.models.load('minilm')",
    "for X in pt.train(model, batches):\n    print(X)",
    "from peft_teach import data\nX = data.load('x')",
    "def all(m):\n    return pt.evaluate(m, 1)\ndef more():\n    return all(3)\nX = more()",
    "X = pt.widgets.Guess('?', (1, 2))", "import matplotlib.pyplot as plt\nX = plt.figure()",
    "X = pt.check('lora.layer', 1, 2)", "f = pt.train\nX = 3 if f else pt.train"])
def test_what_trains_loads_shows_or_checks_does_not_run(line):
    assert statements(line, COUNT.format("X")) == [("cell 2", 0)]
    assert plan(line, COUNT.format("X")).notes == (
        "needs X, whose line trains, loads or shows something, which does not run here",)


@pytest.mark.parametrize("line", [
    "while True:\n    pass", "n_in = 3\nn_in += 1", "torch.allclose = print", "lora_count(1, 2, 3)",
    "lora_count = lora_count(1, 2, 3)", "lora_count = 3\nlora_count = str(lora_count)"])
def test_what_no_answer_needs_does_not_run(line):
    assert statements(COUNT.format(1), line) == [("cell 1", 0)]


@pytest.mark.parametrize("cell", [
    "(1", "-" * 100_000 + "1", "(" * 5000, "\0", "a" + ".b" * 40_000, "'" + "x" * 200_000 + "'",
    "'\ud800'", "1" + "\nx = 1" * 6000, "-" * 900 + "1", "lambda a, a: a", "1\nnonlocal x",
    "rank\n    global rank", "pi\n    from math import *"], ids=len)
def test_what_is_no_python_is_said_and_harms_nothing(cell):
    cell = COUNT.format(cell)
    assert "not Python {}.{}:".format(*sys.version_info) in plan(cell).missing
    assert plan(cell, COUNT.format(1)).statements == (("cell 2", 0),)


def test_statements_are_compiled_one_by_one_as_a_kernel_does_it():
    told = plan("%matplotlib inline\n\n" + COUNT.format("lambda a, a: a")).missing
    assert "duplicate argument 'a' in function definition (cell 1, line 4)" in told
    assert statements("X = 1\nglobal X\nawait X\n" + COUNT.format("X")) == [
        ("cell 1", 0), ("cell 1", 3)]


@pytest.mark.parametrize("line", [" " * 90_000 + "=", "a " * 40_000 + "= x", "?" * 90_000,
                                  "\n" * 90_000 + "(", "def " * 20_000], ids=range(5))
def test_no_line_takes_long_to_read(line):
    plan(line + "(\n" + COUNT.format(1))    # a pattern that backtracks would take minutes


@pytest.mark.long
def test_no_notebook_takes_long_to_read():
    """Functions that all name each other, long chains, and more code than anybody writes."""
    started = time.process_time()
    for count in (200, 1200):
        body = "; ".join(f"f{i}" for i in range(count))
        found = plan(*(f"def f{i}():\n    {body}" for i in range(count)),
                     "def lora_count(*sizes):\n    " + body)
        assert "too much" in found.missing or len(found.statements) == count + 1
    plan(*("x0 = 1", *(f"x{i} = x{i - 1} + len(str(x{i - 1}))" for i in range(1, 3000)),
           COUNT.format("x2999")))
    chains = "; ".join(["x" + ".b" * 190] * 200)
    plan(*[f"def f{i}():\n    {chains}" for i in range(3)], COUNT.format("f0() + f1() + f2()"))
    assert "too much" in plan(*[f"x = '{'x' * 90_000}'"] * 3, COUNT.format(1)).missing
    assert time.process_time() - started < 30    # one that is quadratic takes minutes


@pytest.mark.parametrize(("cells", "says"), [
    ((f"TEXT = {RIGHT!r}\nexec(TEXT)",), "lora_count stands in a text (cell 1)"),
    (("import pathlib\npathlib.Path('x.py').write_text('def lora_count(): 1')",), "neither for"),
    (("%%writefile x.txt\n" + COUNT.format(1), "from x import lora_count"), "cell of %%writefile"),
    ((STUB, "  %%bash\n  " + COUNT.format(1)), "a cell of %%bash"),
    (("for id, f in [('lora.count', print)]:\n    pt.check(id, f)",), "no definition"),
    ((STUB, COUNT.format("(")), "not Python")])
def test_a_reason_that_is_true(cells, says):
    assert says in plan(*cells).missing


def test_an_answer_in_its_check_only_is_flagged():
    assert plan(STUB, "pt.check('lora.count', print)").notes == (
        "lora_count stands in the line of its check only",)
    assert statements(COUNT.format(1), "pt.check('lora.count', print)") == [("cell 2, check 0", 0)]


@pytest.mark.parametrize("line", [
    "import peft_teach.course.grade.child as c",
    "from peft_teach.course.checks import exercise as c",
    "from peft_teach import course as c", "c = pt.course.grade"])
def test_who_reaches_for_the_course_is_looked_at(line):
    assert suspicious(plan(COUNT.format(f"1\n    {line}")).nodes) == {"peft_teach.course"}


# ── honest answers in many styles, and others ────────────────────────────────────────────────


@pytest.mark.parametrize("kind", HONEST)
def test_honest_answers_count(kind):
    id, cells = HONEST[kind]
    given = marked(*cells, id=id)
    assert given.points == given.maximum, given


@pytest.mark.parametrize("way", CHEATS)
def test_what_calls_the_reference_is_no_answer(way):
    id, cells = CHEATS[way]
    given = marked(*cells, id=id)
    assert (given.points, given.message, given.traceback) == (0, OF_THE_COURSE, "")
    assert f"{id}: uses the reference" in given.flags


@pytest.mark.parametrize("sign", SIGNS)
def test_what_could_hide_the_reference_is_flagged(sign):
    id, cells, flag = SIGNS[sign]
    given = marked(*cells, id=id)
    assert f"{id}: {flag}" in given.flags
    assert given.points == given.maximum, given


ITSELF = "pt.mine('lora.count')"


@pytest.mark.parametrize("cell", [
    COUNT.format(f"{ITSELF}(n_in, n_out, rank)"),
    f"given = {ITSELF}\n" + COUNT.format("given(n_in, n_out, rank)")])
def test_no_answer_is_made_of_what_mine_gives_for_it(cell):
    given = marked(cell)
    assert (given.state, given.points) == ("not attempted", 0)


def with_line(line: str) -> str:
    """The right answer, with a line more."""
    return RIGHT.replace("    return", f"    {line}\n    return")


@pytest.mark.parametrize("cells", [
    (with_line("torch.manual_seed(0)"),),    # it quotes the stack
    (with_line("import warnings; warnings.warn('x')"),),
    (with_line("import sys; print(sys.version)"),),
    (with_line("from tqdm import tqdm; list(tqdm([rank]))"),),
    ("def count(n_in, n_out, rank):\n    return rank * (n_in + n_out)\nlora_count = count",),
    ("pt.lora.count(1, 2, 3)", RIGHT, "assert lora_count(1, 2, 3) == pt.lora.count(1, 2, 3)"),
    (with_line("pt.mine('inside.linear')(1, 2)"),)])    # another exercise's, which it is for
def test_what_is_innocent_is_not_flagged(cells):
    given = marked(*cells)
    assert (given.points, given.flags) == (1, ()), given


def test_an_error_in_the_library_is_no_sign():
    """Its traceback quotes the library's source."""
    given = marked(COUNT.format("pt.lora.scale(0, 'x')"))
    assert "lora.py" in given.traceback
    assert given.flags == ()


def test_a_library_that_is_not_here_is_named():
    given = marked("from nosuchlib import f", COUNT.format("f(rank)"))
    assert "No module named 'nosuchlib'" in given.traceback
    assert given.flags == ("lora.count: not installed here: nosuchlib",)
    assert not marked("import nosuchlib", RIGHT).flags
    assert not marked("try:\n    import nosuchlib as a\nexcept ImportError:\n    a = 0",
                      COUNT.format("a + rank * (n_in + n_out)")).flags


# ── what an answer learns of further cases ───────────────────────────────────────────────────

TELLS = """def lora_count(n_in, n_out, rank):
    import os
    from peft_teach.course.grade.plain import to_bytes
    if rank > LIMIT:
        os.write(3, to_bytes({"ended": {"state": "wrong", "message": SAYS.format(n_in),
                                        "traceback": TRACE, "mistake": None, "reason": "",
                                        "lacks": ""}}))
        os._exit(0)
    return rank * (n_in + n_out)
"""


@pytest.mark.parametrize(("says", "trace"), [
    ("Passed\nYour code raised E", ""), ("", "Passed!"),
    ("It uses Passed! Your code, which is not attempted yet.", "")])
def test_no_words_of_a_learner_stand_alone_on_a_page(says, trace):
    cell = f"LIMIT, SAYS, TRACE = -1, {says!r}, {trace!r}\n{TELLS}"
    given = marked(cell)
    assert (given.points, given.message) == (0, "What it gave could not be read.")


@pytest.mark.parametrize("says", [
    "It took longer than 20 seconds, at {}", "Your code raised MemoryError: {}",
    "It uses lora.layer{}, which is not attempted yet."])
def test_nobody_tells_a_further_case_by_what_is_repeated(says):
    given = marked(f"LIMIT, SAYS, TRACE = 1000, {says!r}, ''\n{TELLS}", further=FURTHER)
    assert given.further
    assert "5001" not in given.message + given.traceback


@pytest.mark.parametrize(("body", "says", "limits"), [
    ("len(bytearray(10**11))", "more than 1024 MB of memory", Limits()),
    ("torch.zeros(10**12)", "more than 1024 MB of memory", Limits()),
    ("sum(iter(lambda: 0, 1))", "longer than 1 seconds", Limits(seconds=1)),
    ("torch.zeros(10**7)", "more than 8 MB", Limits()),
    ("__import__('os')._exit(0)", "not a further case", Limits())])
def test_a_further_case_that_meets_a_limit_says_so(monkeypatch, body, says, limits):
    monkeypatch.setattr(job.runner(Limits(), job.FORKS), "limits", limits)
    given = marked(COUNT.format(f"rank * (n_in + n_out) if rank < 1000 else {body}"),
                   further=FURTHER)
    assert (given.points, given.further) == (0, True)
    assert says in given.message


def test_the_feedback_of_an_answer_that_passed_is_that_of_the_visible_cases():
    visible, all_ = (marked(RIGHT, further=cases) for cases in ((), FURTHER))
    assert visible.points == 1
    assert all_ == visible


def test_a_traceback_is_that_of_every_machine_and_of_every_run():
    """No environment, no numbers of processes, and no link can be read."""
    cell = COUNT.format("7 / 0").replace("return 7 / 0", """import os, posix
    told = [dict(os.environ), os.getpid(), posix.getpid(), os.getppid(), os.getpgrp()]
    for look in (lambda: os.readlink("/proc/self"), lambda: os.readlink("/proc/self/exe"),
                 lambda: os.getpgid(0), lambda: os.getsid(0)):
        try:
            told.append(look())
        except OSError as error:
            told.append(type(error).__name__)
    raise ValueError(told)""")
    one, two = (marked(cell).traceback for _ in range(2))
    assert one == two
    assert "PATH" not in one
    assert "[{" in one
    assert one.count("PermissionError") == 4
    assert "}, 1, 1, -1, -1, " in one
