"""Answers of more kinds than code: values, and tests that the learner writes."""

# ruff: noqa: F811 (fixtures are imported, and asked for by their names)

import ast
import dataclasses
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from demo_course import LESSON_99, demo, exercises, notebook, tree, write  # noqa: F401

from peft_teach.course import require
from peft_teach.course.checks import mutants
from peft_teach.course.checks.examination import examine
from peft_teach.course.checks.exercise import Verdict
from peft_teach.course.checks.mutants import MISTAKES, TRIES, Law, Loophole, outcomes, score
from peft_teach.course.desk import learner
from peft_teach.course.grade.suspicion import suspicious
from peft_teach.course.publish.notebooks import build, make
from peft_teach.course.publish.source import stub_of
from peft_teach.course.reading.cells import Code
from peft_teach.course.reading.definitions import definitions
from peft_teach.course.reading.notebook import Cell
from peft_teach.errors import NotAttempted, PeftTeachError, TrainingStopped


def found(id, *objects):
    exercise = exercises.find(id)
    return examine(exercise, exercise.as_one(objects))


# ── values ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [8, 0.5, "query", (1, 2), [1], {"r": 8}, torch.ones(2),
                                   np.float32(1), True, 0, SimpleNamespace(rank=8)], ids=repr)
def test_any_plain_data_is_a_value(value):
    exercise = dataclasses.replace(exercises.find("kinds.rank"), judge=lambda case, x: Verdict(
        x is value))
    assert examine(exercise, value).passed


def test_none_is_not_attempted():
    assert found("kinds.rank", None).state == "not attempted"
    assert found("kinds.settings", None, None).message == ""
    half = found("kinds.settings", {"rank": 8, "lr": 1.0}, None)
    assert (half.state, half.message) == ("not attempted", "fast is None still.")


@pytest.mark.parametrize("value", [len, dict, lambda: 191])
def test_code_is_no_value_and_a_value_no_code(value):
    result = found("kinds.rank", value)
    assert result.state == "wrong"
    assert "largest_rank is of type" in result.message
    assert "without brackets" in found("kinds.law", 3).message


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"'number', not one of \('code', 'value'\)"):
        dataclasses.replace(exercises.find("kinds.rank"), answer="number")


# ── the check line of a value ────────────────────────────────────────────────────────────────


CHECK = 'largest_rank = pt.check("kinds.rank", largest_rank)'
CHECK_TWO = 'slow, fast = pt.check("kinds.settings", slow, fast)'
SAME = 'slow = {"rank": 8, "lr": 1e-3}\nfast = slow'


@pytest.mark.parametrize("first", ["largest_rank = None", "largest_rank = 192"])
def test_the_check_line_run_twice_does_not_pass(notebook, first):
    notebook(first)
    assert notebook(CHECK) in ("wrong", "not attempted")
    assert notebook.names["largest_rank"] == 191
    assert notebook(CHECK) == "reference"
    assert notebook(CHECK) == "reference"


def test_the_right_value_written_anew_passes_though_there_is_only_one_191(notebook):
    notebook("largest_rank = 192")
    notebook(CHECK)
    notebook("largest_rank = 191")
    assert notebook(CHECK) == "passed"
    assert notebook(CHECK) == "passed"


def test_outside_of_a_notebook_the_right_value_passes_after_a_wrong_one(capsys):
    assert learner.check("kinds.rank", 192) == 191
    learner.check("kinds.rank", 191)
    assert "kinds.rank: passed" in capsys.readouterr().out


def test_a_value_and_its_check_in_one_cell(notebook):
    assert notebook(f"largest_rank = 192\n{CHECK}") == "wrong"
    assert notebook(f"largest_rank = 191\n{CHECK}") == "passed"


def test_of_two_values_each_must_be_the_readers_own(notebook):
    notebook(SAME)
    assert notebook(CHECK_TWO) == "wrong"
    assert notebook(CHECK_TWO) == "reference"
    notebook('slow = {"rank": 8, "lr": 1e-3}')
    assert notebook(CHECK_TWO) == "reference"
    notebook('slow = {"rank": 8, "lr": 1e-3}\nfast = {"rank": 8, "lr": 1e-2}')
    assert notebook(CHECK_TWO) == "passed"


def test_what_a_lesson_does_to_the_reference_stays_there(notebook):
    notebook("slow = fast = None")
    notebook(CHECK_TWO)
    assert notebook.names["fast"] == exercises.find("kinds.settings").resolve()[1]
    notebook('fast["rank"] = 0')
    assert exercises.find("kinds.settings").resolve()[1]["rank"] == 8


def test_require_of_a_value(notebook, monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(PeftTeachError, match="largest_rank is not defined"):
        require("kinds.rank")
    for value, raised in ((None, NotAttempted), (192, PeftTeachError), (191, None)):
        monkeypatch.setattr(learner, "_kernel", learner._Kernel())
        notebook(f"largest_rank = {value}")
        for line in ("", CHECK):
            notebook(line)
            if raised:
                with pytest.raises(raised):
                    require("kinds.rank")
            else:
                require("kinds.rank")
    monkeypatch.setattr(learner, "_kernel", learner._Kernel())
    notebook(f"largest_rank = 192\n{CHECK}")
    notebook(CHECK)
    with pytest.raises(PeftTeachError, match="is the reference"):
        require("kinds.rank")


# ── the stub of a value ──────────────────────────────────────────────────────────────────────


def test_the_stub_of_a_value_is_none(tree):
    write(tree, "99_kinds", LESSON_99)
    lesson, = make(tree, ["99"])
    assert lesson.stubs["kinds.rank"].split("\n")[1:] == ["largest_rank = None"]
    assert lesson.stubs["kinds.settings"] == "slow = None\nfast = None"
    assert lesson.stubs["kinds.law"].endswith('raise pt.NotAttempted("kinds.law")')


def test_without_the_exercise_each_name_of_a_region_is_none():
    source = "a = 1\n### BEGIN SOLUTION\nb, (c, d) = e = 2, (3, a)\nf: int = 4\n### END SOLUTION"
    assert stub_of(source) == "a = 1\nb = None\nc = None\nd = None\ne = None\nf = None"
    assert stub_of("def f():\n  ### BEGIN SOLUTION\n  x = 1\n  ### END SOLUTION") == (
        "def f():\n  raise pt.NotAttempted()")


@pytest.mark.parametrize(("old", "new", "message"), [
    ("largest_rank = max(smaller)", "smaller", "does not define largest_rank(.|\n)*left margin"),
    ("### BEGIN SOLUTION\nslow", "slow = fast = None\ndef f():\n    ### BEGIN SOLUTION\n    slow",
     "inside of a function, and the answer is a value"),
    ('def doubles(double):\n    """Objects to a function that does not double."""\n'
     "    ### BEGIN SOLUTION\n    assert double(3) == 6\n    assert double(-1) == -2\n    ###",
     "### BEGIN SOLUTION\ndoubles = lambda double: None\n###",
     "at the left margin, and the answer is code")])
def test_a_region_that_does_not_fit_its_kind_is_named(tree, old, new, message):
    assert old in LESSON_99
    write(tree, "99_kinds", LESSON_99.replace(old, new))
    with pytest.raises(PeftTeachError, match=message):
        build(tree, ["99"])


# ── a value in the grader ────────────────────────────────────────────────────────────────────


LOOP = "for largest_rank in range(3):\n    pass"


def value_of(*cells, id="kinds.rank"):
    """What the grader takes for the answer, by running its plan here; or what it says."""
    exercise = exercises.find(id)
    plan = definitions(Code([Cell(n, text) for n, text in enumerate(cells, 1)]), exercise)
    if plan.missing:
        return plan.missing
    namespace = {}
    for cell, index in plan.statements:
        node = ast.parse(plan.cells[cell]).body[index]
        exec(compile(ast.Module([node], []), cell, "exec"), namespace)
    return exercise.as_one([namespace[name] for name in exercise.names])


@pytest.mark.parametrize("cells", [
    ["largest_rank = 191"], ["largest_rank = 191", CHECK],
    ["largest_rank = None", "largest_rank = 191", CHECK],
    ["largest_rank = 7", "largest_rank = 191", CHECK, "largest_rank = 'used for something else'"],
    [CHECK, "largest_rank = 191"],                                          # cells were moved
    ["largest_rank = None", CHECK, "largest_rank = 191"],                   # a new cell below
    ["largest_rank = 191", CHECK, "largest_rank = None"],
    ["largest_rank = 191", CHECK, LOOP, "largest_rank = 'mine'"],
    [LOOP, "largest_rank = 191", CHECK], ["largest_rank = 191", LOOP, CHECK],
    ["largest_rank = 7", CHECK, "largest_rank = 191", CHECK],
    ["largest_rank = 190\nlargest_rank += 1", CHECK, "largest_rank += 1"],
    ["largest_rank = 0\nfor r in range(192):\n    if r:\n        largest_rank = r", CHECK],
    ["n = 384", "def room(r):\n    return 2 * r < n", CHECK.replace("_rank)", "_rank) # x"),
     "largest_rank = max(filter(room, range(n)))"],
    ["largest_rank: int = 191"], ["x = largest_rank = 191"], ["x, largest_rank = 1, 191"],
    ["largest_rank = None", 'largest_rank = pt.check("kinds.rank", 191)'],
    ["mine = 191", 'pt.check("kinds.rank", mine)'],
    ["(largest_rank := 191)"], ["import math\nlargest_rank = math.isqrt(191**2)"]])
def test_a_value_is_its_last_assignment_before_its_check(cells):
    assert value_of(*cells) == 191


def test_what_changes_a_table_counts_up_to_its_check():
    cells = ('slow, fast = {}, {"rank": 8}', 'slow["rank"] = 4', CHECK_TWO, 'fast["rank"] = 0')
    assert value_of(*cells, id="kinds.settings") == ({"rank": 4}, {"rank": 8})


def test_a_value_that_is_not_there():
    assert value_of("largest_rank = None", CHECK, "x = 1") is None
    assert value_of("slow = fast = None", id="kinds.settings") == (None, None)
    assert "no definition" in value_of("x = 1", CHECK)
    assert "not Python" in value_of("largest_rank = (191", CHECK)
    assert "write the value itself" in value_of("largest_rank = pt.evaluate(model).accuracy", CHECK)


# ── a test, and mutants ─────────────────────────────────────────────────────────────────────────

RIGHT = {"doubles": lambda x: 2 * x, "adds": lambda x: x + x}
BROKEN = {"squares": lambda x: x * x, "gives it back": lambda x: x}


def tried(test, seed=0):
    return score(outcomes(test, RIGHT | BROKEN, seed), RIGHT, BROKEN)


def good(double):
    assert double(3) == 6, "three"


def told(caught, wronged):
    return f"It rejects {caught} of 2 broken versions, and {wronged} of 2 right ones."


def test_no_survivor_and_no_false_positive_passes():
    assert tried(good) == Verdict(True, told(2, 0))
    assert outcomes(good, RIGHT | BROKEN, 0) == {
        "doubles": None, "adds": None, "squares": "AssertionError: three",
        "gives it back": "AssertionError: three"}


def weak(double):
    assert double(2) == 4


def picky(double):
    assert double(3) == 6
    assert double is None, "no"


def backwards(double):
    if double(3) == 6:
        raise AssertionError


@pytest.mark.parametrize(("test", "mistake", "told"), [
    (weak, "let_through", f"{told(1, 0)} Accepted though broken: one that squares."),
    (lambda double: None, "let_through", f"{told(0, 0)} Accepted though broken: one that squares."),
    (picky, "objects_to_all",
     f"{told(2, 2)} Rejected though right: one that doubles (AssertionError: no)."),
    (lambda double: doubel(3), "objects_to_all",  # noqa: F821
     f"{told(2, 2)} Rejected though right: one that doubles "
     "(NameError: name 'doubel' is not defined)."),
    (backwards, "accused",
     f"{told(0, 2)} Rejected though right: one that doubles (AssertionError)."),
    (lambda double: double(3) == 6, "returned_bool", "It returned True."),
    (lambda double: np.bool_(double(3) == 6), "returned_bool", "It returned True."),
    (lambda double: torch.tensor(double(3)) == 6, "returned_bool", "It returned True."),
])
def test_the_score_names_the_mistake(test, mistake, told):
    assert tried(test) == Verdict(False, told, mistake)
    assert mistake in MISTAKES


@pytest.fixture
def cells(monkeypatch):
    """Give a loophole, from the tests `weak` and `law` of a lesson's cells."""
    def made(**tests):
        monkeypatch.setattr(mutants, "resolved", lambda path: tests[path.rpartition(":")[2]])
        return Loophole("kinds", "weak", "law")
    return made


@pytest.mark.parametrize(("version", "mistake", "told"), [
    (lambda x: x * x, None, "weak accepts it. A test of the whole law does not: AssertionError: "
                            "three."),
    (lambda x: x - 1, "caught", "weak rejects it: AssertionError: assert 1 == 4."),
    (lambda x: x / 0, "caught", "weak rejects it: ZeroDivisionError: division by zero."),
    (lambda x: x + x, "lawful", "weak accepts it, and so does a test of the whole law."),
])
def test_a_broken_version_must_pass_the_weak_test_and_break_the_law(version, mistake, told,
                                                                    cells):
    loophole = cells(weak=weak, law=good)
    verdict = loophole.judge(None, loophole.run(version, {"seed": 0}))
    assert verdict == Verdict(not mistake, told, mistake)
    assert mistake is None or mistake in loophole.mistakes


def test_a_law_that_sees_a_breach_now_and_then_is_asked_more_than_once(cells):
    seen = []

    def now_and_then(double):
        seen.append(double)
        assert len(seen) != TRIES

    loophole = cells(weak=weak, law=now_and_then)
    assert loophole.judge(None, loophole.run(lambda x: x * x, {"seed": 0})).passed


@pytest.mark.parametrize("error", [SystemExit("x"), GeneratorExit(), ValueError(),
                                   type("Failed", (BaseException,), {})()], ids=repr)
def test_whatever_is_raised_is_an_objection(error):
    def test(double):
        if double(3) != 6:
            raise error

    assert tried(test).passed


@pytest.mark.parametrize("error", [NotAttempted(), KeyboardInterrupt(), TrainingStopped([], 2)],
                         ids=repr)
def test_what_is_no_objection_passes_through(error):
    def test(double):
        raise error

    with pytest.raises(type(error)):
        tried(test)


def test_the_order_is_drawn_from_the_seed_and_nothing_tells_versions_apart():
    versions, orders = RIGHT | BROKEN, set()
    for seed in range(8):
        faces, met = set(), []

        def look(double, faces=faces, met=met):
            faces.add((type(double), double.__name__, double.__qualname__, double.__doc__,
                       double.__code__))
            met.append((double(3), (torch.rand(1).item(), np.random.rand(), random.random())))

        outcomes(look, versions, seed)
        again = met.copy()
        outcomes(look, versions, seed)
        assert met == again * 2
        assert len(faces) == 1
        assert len({drawn for _, drawn in met}) == 1    # the same random numbers for each
        orders.add(tuple(x for x, _ in again))
    assert len(orders) > 2


def test_what_classes_among_the_versions_make_has_one_name_and_they_keep_theirs():
    kinds, made = {name: type(name, (), {}) for name in ("Right", "Broken")}, set()
    Law(kinds, {}).run(lambda version: made.add(repr(version()).partition(" at ")[0]), {"seed": 0})
    assert made == {f"<{mutants.__name__}.Version object"}
    assert [kind.__name__ for kind in kinds.values()] == [*kinds]


def test_a_test_that_looks_behind_the_wrapper_is_flagged():
    code = "def doubles(double):\n    assert double.__closure__[0].cell_contents(3) == 6"
    plan = definitions(Code([Cell(1, code)]), exercises.find("kinds.law"))
    assert suspicious(plan.nodes) == {"__closure__"}
