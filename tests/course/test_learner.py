"""What a learner calls: check, require, hint, reset, progress."""

# ruff: noqa: F811 (fixtures are imported, and asked for by their names)

import json
import sys
from types import SimpleNamespace

import IPython
import pytest
from demo_course import demo, exercises  # noqa: F401

from peft_teach.course import (
    budget,
    check,
    commit,
    compare,
    hint,
    progress,
    require,
    reset,
    sentence,
)
from peft_teach.course.desk import board, learner, work
from peft_teach.course.desk.buttons import HintButton  # before: ipywidgets 7 asks the kernel
from peft_teach.course.desk.predict import TOO_LATE
from peft_teach.course.lessons import Shelved
from peft_teach.errors import BadConfig, CheckStopped, NotAttempted, PeftTeachError, UnknownName


def double(x):
    return 2 * x


def wrong(x):
    return x


def stub(x):
    raise NotAttempted("demo.double")


def encode(text):
    return text[::-1]


decode = encode


@pytest.fixture
def said(capsys):
    """What was said since the last call, after making sure that stderr is empty."""
    def said():
        out, err = capsys.readouterr()
        assert err == ""
        return out
    return said


@pytest.fixture
def grading(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")


@pytest.fixture
def shell(monkeypatch):
    """Stands for a notebook's shell."""
    shell = SimpleNamespace(user_ns={}, cells=[])
    shell.set_next_input = shell.cells.append
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr("IPython.display.display", print)
    return shell


def test_a_passed_object_is_the_learners_own(said):
    assert check("demo.double", double) is double
    assert "passed (3 of 3 points)" in said()
    assert check("demo.double", double) is double
    assert "passed" in said()


def test_a_wrong_one_is_replaced_by_the_reference(demo, said):
    assert check("demo.double", wrong) is demo.reference_double
    text = said()
    for part in ("wrong (0 of 3 points)", "The output is the input.", "reference",
                 "pt.hint('demo.double')"):
        assert part in text


def added(x):
    return x + 2


@pytest.mark.parametrize(("answers", "named"), [
    ([added], False), ([added, added], True), ([stub, stub, added], False),
    ([added, added, double, added], False)])
def test_the_first_failure_shows_what_does_not_hold_and_the_second_names_the_mistake(
        said, answers, named):
    for own in answers:
        said()
        check("demo.double", own)
    text = said()
    assert "instead of" in text
    assert ("Times, not plus." in text) == named


def test_a_grader_is_told_both_at_once(grading):
    check("demo.double", added)
    with pytest.raises(PeftTeachError, match=r"instead of .* Times, not plus\."):
        require("demo.double")


def test_a_stub_is_replaced_by_the_reference(demo, said):
    assert check("demo.double", stub) is demo.reference_double
    text = said()
    assert "not attempted (0 of 3 points)" in text
    assert "Traceback" not in text


def test_the_learners_traceback_is_shown(said):
    def broken(x):
        raise ValueError("five")

    check("demo.double", broken)
    text = said()
    assert "ValueError: five" in text
    assert "in broken" in text


def test_an_interrupted_check_names_the_learners_line():
    def stopped(x):
        raise KeyboardInterrupt    # as of Jupyter's button, in the learner's own line

    with pytest.raises(CheckStopped, match=r"demo\.double while .*: line \d+, in stopped: `raise"):
        check("demo.double", stopped)
    assert check("demo.double", double) is double


def test_a_card_has_the_title_of_its_exercise_and_the_id(stubs, said):
    for ask, heading in ((lambda: check("demo.double", wrong), ": wrong (0 of 3 points)"),
                         (lambda: hint("demo.double"), " (hint 1 of ")):
        ask()
        assert f"Exercise 1 · Double · demo.double{heading}" in said()


def test_the_check_line_run_twice_does_not_pass(demo, said):
    for own, state, verdict in ((wrong, "wrong", "The output is the input."),
                                (stub, "not attempted", "")):
        mine = check("demo.double", own)
        said()
        assert check("demo.double", mine) is demo.reference_double
        text = said()
        assert "nothing was checked" in text
        assert f"your own code: {state}" in text
        assert not verdict or f"Of your own code, when it was checked: {verdict}" in text
        assert "passed" not in text
    progress()
    assert "0 of 6 passed" in said()


@pytest.mark.parametrize("worse", [wrong, stub])
def test_the_last_check_counts_and_the_card_says_so(worse, said):
    check("demo.double", wrong)
    assert "the last check counts" not in said()
    check("demo.double", double)
    assert "the last check counts" not in said()
    check("demo.double", worse)
    assert "It had passed before, but the last check counts." in said()
    progress()
    assert "0 of 6 passed" in said()
    check("demo.double", worse)
    assert "the last check counts" not in said()


def test_the_reference_does_not_undo_what_passed(demo, said):
    check("demo.double", double)
    check("demo.double", demo.reference_double)
    assert "your own code: passed" in said()
    progress()
    assert "3 of 3" in said()


def test_several_names(demo, said):
    assert check("demo.pair", encode, decode) == (encode, decode)
    assert "passed (2 of 2 points)" in said()
    both = check("demo.pair", encode, stub)
    assert both == (demo.reference_encode, demo.reference_decode)
    assert "encode and decode" in said()
    # One of the two is the reference's: nothing can be said of the learner's own.
    assert check("demo.pair", encode, both[1]) == (encode, both[1])
    assert "nothing was checked" in said()


@pytest.mark.parametrize("objects", [(), (encode,), (encode,) * 3])
def test_the_wrong_number_of_objects(objects):
    with pytest.raises(PeftTeachError, match=f"given {len(objects)} .*\n.*2: encode, decode\n"):
        check("demo.pair", *objects)


@pytest.mark.parametrize("call", [check, hint, reset])
def test_unknown_exercises(call):
    with pytest.raises(UnknownName, match=r"demo\.double"):
        call("demo.treble")


def test_the_first_hint_says_what_the_first_failures_card_left_out(said):
    for tries, left_out in ((1, True), (2, False)):
        for _ in range(tries):
            check("demo.double", lambda x: x + 2)
        assert ("Times, not plus." in said()) == (not left_out)
        hint("demo.double")
        assert ("Times, not plus." in said()) == left_out
        hint("demo.double")
        assert "Times, not plus." not in said()
        check("demo.double", double)
        said()
        learner._kernel.exercises.clear()


def test_hints_come_one_by_one_and_run_out(said):
    for number, text in enumerate(("Think of two.", "Multiply by it.", "x * 2"), 1):
        hint("demo.double")
        shown = said()
        assert f"hint {number} of 3" in shown
        assert text in shown
        assert ("Next" in shown) == (number < 3)
    for _ in range(2):
        hint("demo.double")
        shown = said()
        assert "the last of 3" in shown
        assert "1. Think of two." in shown
        assert "3. x * 2" in shown


def test_require_does_nothing_outside_of_a_grader(said, monkeypatch):
    assert require("demo.double") is None
    monkeypatch.setenv("NBGRADER_EXECUTION", "")
    check("demo.double", wrong)
    said()
    assert require("demo.double") is None
    assert said() == ""


@pytest.mark.usefixtures("grading")
def test_require_wants_the_last_checked_object_to_be_right_and_the_learners(demo, said):
    assert check("demo.double", double) is double
    said()
    assert require("demo.double") is None
    assert said() == ""

    mine = check("demo.double", wrong)
    with pytest.raises(PeftTeachError, match=r"not solved.*The output is the input"):
        require("demo.double")
    check("demo.double", mine)
    with pytest.raises(PeftTeachError, match="is the reference"):
        require("demo.double")
    check("demo.double", stub)
    with pytest.raises(NotAttempted):
        require("demo.double")


@pytest.mark.usefixtures("grading")
def test_require_takes_what_is_defined_if_nothing_was_checked(demo, monkeypatch):
    main = sys.modules["__main__"]
    monkeypatch.delattr(main, "double", raising=False)
    with pytest.raises(PeftTeachError, match="double is not defined"):
        require("demo.double")
    for own, error in ((double, None), (demo.reference_double, "is the reference"),
                       (wrong, "not solved"), (stub, "not attempted")):
        monkeypatch.setattr(main, "double", own, raising=False)
        if error:
            with pytest.raises(PeftTeachError, match=error):
                require("demo.double")
        else:
            require("demo.double")


@pytest.mark.usefixtures("grading")
def test_require_looks_into_the_notebook(shell):
    shell.user_ns.update(encode=encode, decode=decode)
    assert require("demo.pair") is None
    shell.user_ns["decode"] = str.upper
    with pytest.raises(PeftTeachError, match="Not there and back"):
        require("demo.pair")


@pytest.mark.usefixtures("grading")
def test_require_writes_nothing_whatever_the_learner_prints(said):
    def loud(x):
        print("working")
        print("working", file=sys.stderr)
        return 2 * x

    learner._kernel.history("demo.double").checked = (loud,)
    require("demo.double")
    assert said() == ""


@pytest.mark.usefixtures("grading")
def test_require_shows_the_learners_traceback():
    def broken(x):
        raise SystemExit("five")

    check("demo.double", broken)
    with pytest.raises(PeftTeachError, match=r"(?s)in broken.*SystemExit: five"):
        require("demo.double")


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    path = tmp_path / "demo/stubs.json"
    path.parent.mkdir()
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(tmp_path)])
    path.write_text(json.dumps({"demo.double": {
        "lesson": "97", "names": ["double"], "title": "Exercise 1 · Double",
        "stub": "def double(x):\n    ..."}}))
    return path


def test_reset_gives_the_stub_back_and_forgets(stubs, shell, said):
    check("demo.double", double)
    hint("demo.double")
    reset("demo.double")
    cell, = shell.cells
    assert cell == 'def double(x):\n    ...\n\n\ndouble = pt.check(\'demo.double\', double)'
    said()
    hint("demo.double")
    assert "hint 1 of 3" in said()
    progress("97")
    assert "0 of 2 passed" in said()


def test_reset_without_a_notebook_shows_the_stub(stubs, said):
    reset("demo.double")
    text = said()
    assert "def double(x):" in text
    assert "new cell" not in text


def test_reset_without_a_stub_says_so(stubs):
    with pytest.raises(PeftTeachError, match=r"stub of demo\.pair"):
        reset("demo.pair")
    stubs.unlink()
    with pytest.raises(PeftTeachError, match="fresh notebook of lesson 97"):
        reset("demo.double")


def test_progress_is_of_the_whole_course_or_of_one_lesson(said):
    progress()
    text = said()
    assert "The whole course (0 of 6 passed, 0 of 13 points; optional: 0 of 1)" in text
    assert text.endswith("\nNext: lesson 97 · demo.double\n")
    assert "lesson 98 · later.add" in text

    check("demo.double", double)
    check("demo.pair", encode, wrong)
    said()
    progress(97)
    text = said()
    assert "Lesson 97 (1 of 2 passed, 3 of 5 points)" in text
    assert "later.add" not in text
    rows = [line.split() for line in text.splitlines()]
    assert ["demo.double", "1", "5", "3", "of", "3", "passed"] in rows
    assert ["demo.pair", "2", "5", "0", "of", "2", "wrong"] in rows
    assert text.endswith("\nNext: lesson 97 · demo.pair\n")

    progress(98)
    text = said()
    assert "Lesson 98 (0 of 0 passed, 0 of 0 points; optional: 0 of 1)" in text
    assert "0 of 4, optional" in text
    assert "Next" not in text
    check("later.add", double)
    said()
    progress(98)
    text = said()
    assert "optional: 1 of 1" in text
    assert "4 of 4, optional" in text
    with pytest.raises(UnknownName, match="97, 98, 99"):
        progress("05")


def test_a_lessons_own_table_gives_titles_with_links(stubs, monkeypatch):
    on_shelf = {"97": Shelved("97_demo.ipynb", "97 · Doubling", anchors={
        "demo.double": "Exercise-1-·-Double", "demo.pair": "Exercise-2"})}
    monkeypatch.setattr(sys.modules[progress.__module__], "shelf", lambda: on_shelf)
    shown = []
    monkeypatch.setattr(sys.modules[progress.__module__], "show", shown.append)
    progress(97)
    table, following = (each._repr_html_() for each in shown)
    link = '<a href="97_demo.ipynb#Exercise-1-·-Double">'
    assert f"{link}Exercise 1 · Double</a>" in table
    assert "demo.double" not in table + repr(shown)
    assert f"{link}97 · Doubling · Exercise 1 · Double</a>" in following


@pytest.fixture
def kept(reader_folder, monkeypatch):
    """A folder in which a reader works, and a function that starts a new kernel there."""
    return lambda: monkeypatch.setattr(learner, "_kernel", learner._Kernel())


def test_a_lesson_that_has_passed_says_what_the_reader_has_of_it_and_what_is_next(
        kept, tmp_path, shell, monkeypatch, said):
    shell.kernel = "of a notebook"
    (tmp_path / "my_peft.py").write_text(
        "# ── demo.double ──\n\ndef double(x):\n    return x + x\n")
    check("demo.double", double)
    work.checked("demo.pair", "wrong")
    said()
    progress(97)
    assert "demo.pair" in said()
    work.checked("demo.pair", "passed")
    monkeypatch.setattr(sys.modules[progress.__module__], "_places",
                        lambda: {"97": "R² 0.497, 1st of 2"})
    progress(97)
    assert said().splitlines() == [
        "✓ Lesson 97: passed (2 of 2 passed, 5 of 5 points)", "  In your my_peft.py: `double`.",
        "  On your ladder: R² 0.497, 1st of 2.", "Next: lesson 99 · kinds.shift"]
    monkeypatch.setenv(work.BUILD, "1")    # of a lesson's executed page
    progress(97)
    assert "demo.pair" in said()
    progress(98)    # nothing is asked there
    assert "later.add" in said()


def test_below_a_card_a_readers_page_has_a_button_for_the_next_hint(
        demo, kept, shell, monkeypatch):
    shell.kernel, shown = "of a notebook", []
    monkeypatch.setattr("IPython.display.display", lambda each, **more: shown.append(each))
    check("demo.double", wrong)
    card, button = shown
    assert isinstance(button, HintButton)
    assert not card.next    # the button does what it would say
    for number in (1, 2, 3):
        assert button.button.description == "Hint"
        button.button.click()
        seen = [f"hint {n} of 3" in button.shown.value for n in (1, 2, 3)]
        assert seen == [n <= number for n in (1, 2, 3)]    # a new one comes below the last
        assert "pt.hint" not in button.shown.value
    assert button.button.description == "No more hints"
    before = button.still()
    button.button.click()    # it is not disabled, so that the keyboard's place stays
    assert button.still() == before == (button.shown.value, "")
    for own in (wrong, demo.reference_double, stub):    # its cell is run again, or another
        check("demo.double", own)
        assert (again := shown[-1]).still() == button.still()
        assert again.button.description == "No more hints"
    shown[2:] = []
    check("demo.double", double)
    monkeypatch.setenv(work.VARIABLE, "")    # a build: no reader works here
    check("demo.double", wrong)
    assert [type(each) for each in shown[2:]] == [type(card)] * 2


def test_on_a_page_progress_is_home(kept, shell, monkeypatch):
    """What is next, a row a lesson, the ladder, and all exercises folded."""
    monkeypatch.setattr(sys.modules[progress.__module__], "shelf", lambda: {"97": Shelved(
        "97_demo.ipynb", "97 · Doubling", "twice?", anchors={"demo.pair": "Exercise-2"})})
    monkeypatch.setattr(board, "rows", lambda: {"ia3": {"r2": 0.4}, "lora 8": {"r2": 0.5}})
    monkeypatch.setattr(board, "LESSONS", {"ia3": "97", "lora 8": "98"})
    monkeypatch.setattr(board, "show", lambda: shown.append("the ladder"))
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda each, **more: shown.append(each))
    check("demo.double", double)
    shown.clear()
    progress()
    following, rows, ladder, exercises = shown
    assert '<a href="97_demo.ipynb#Exercise-2">97 · Doubling · demo.pair</a>' in following.html
    assert ladder == "the ladder"
    assert exercises.html.startswith("<details><summary>All exercises: 1 of 6 passed")
    first, second = rows.html.split("<tr>")[2:4]
    for part in ('<a href="97_demo.ipynb">97 · Doubling</a>', 'value="1" max="2"', "twice?",
                 "5 min left", "R² 0.400, 2nd of 2"):
        assert part in first
    assert "R² 0.500, 1st of 2" in second
    shown.clear()
    monkeypatch.setattr(board, "rows", dict)
    progress()
    assert "begins with your first run" in repr(shown[2])


def test_progress_survives_a_new_kernel_and_begins_anew_on_request(kept, stubs, said):
    check("demo.double", double)
    check("demo.pair", encode, wrong)
    check("later.add", stub)
    kept()
    said()
    progress()
    text = said()
    assert "The whole course (1 of 6 passed, 3 of 13 points; optional: 0 of 1)" in text
    assert [line.split()[-1] for line in text.splitlines()[2:5]] == ["passed", "wrong", "attempted"]
    reset("demo.double")
    said()
    progress()
    assert "0 of 6 passed" in said()
    check("demo.double", double)
    with pytest.raises(PeftTeachError, match="of all lessons"):
        progress("98", reset=True)
    assert work.states()["demo.double"] == "passed"
    progress(reset=True)
    assert "0 of 6 passed" in said()


def test_a_stub_that_is_run_again_erases_nothing(kept, tmp_path, said):
    """As in a newer notebook, or in lesson 07 after START."""
    (tmp_path / "my_peft.py").write_text(
        "# ── demo.double ──\n\ndef double(x):\n    return x + x\n")
    check("demo.double", stub)
    assert work.states()["demo.double"] == "not attempted"    # it has not passed here
    check("demo.double", double)
    kept()
    said()
    assert check("demo.double", stub)(4) == 8
    text = said()
    assert "not attempted (3 of 3 points stand)" in text
    assert "Your passing answer stands in my_peft.py" in text
    assert work.states()["demo.double"] == "passed"
    work.forget("demo.double")    # as pt.reset does
    check("demo.double", stub)
    assert work.states()["demo.double"] == "not attempted"


def test_what_is_kept_solves_nothing(kept, said, monkeypatch):
    check("demo.double", double)
    kept()
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    monkeypatch.setattr(sys.modules["__main__"], "double", stub, raising=False)
    with pytest.raises(NotAttempted):
        require("demo.double")


def test_a_prediction_stands_from_its_result_on_and_is_compared(kept, said):
    assert commit("demo.guess", ...) is None
    assert "no prediction yet" in said()
    commit("demo.guess", 2)
    assert "You may change it" in said()
    assert commit("demo.guess", 8) == 8
    said()
    compare("demo.guess", 4, "the rank")
    text = said()
    assert "The rank (demo.guess)" in text
    assert "You said 8; it is 4: a factor of 2." in text
    compare("demo.guess", 8)
    assert "✓ As you said: 8." in said()
    kept()
    assert commit("demo.guess", 2) == 8
    assert "2 was not taken: the result has been shown." in said()
    commit("demo.guess", 8)
    assert "your prediction stands" in said()


@pytest.mark.parametrize(("value", "measured", "told"), [
    (0.3, 0.03, "You said 0.3; it is 0.03: a factor of 10."),
    (300, 2, "You said 300; it is 2: a factor of 150."),
    (5, 8, "You said 5; it is 8: 3 more."),
    (-0.02, -0.03, "You said −0.02; it is −0.03: 0.01 less."),
    (2, 0, "You said 2; it is 0: 2 less."),
    ("W", "nothing", "You said W; it is nothing."),
    (["A", "B"], ["B", "A"], "You said A · B; it is B · A."),
    ([0.9, 0.5], [0.37, 1.0], "You said 0.9, 50% sure; it is 0.37: a factor of 2.4."),
    (["better", 0.6], "better", "✓ As you said, 60% sure: better."),
    ({"A": 60, "B": 40}, "A and B", "You said A: 60 · B: 40; it is A and B.")])
def test_a_sentence_says_how_a_prediction_came_out(kept, said, value, measured, told):
    compare("demo.guess", measured, "what; and how sure one is now")
    assert "You said" not in said()    # to who did not predict
    work.forget()
    commit("demo.guess", value)
    said()
    compare("demo.guess", measured, "what; and how sure one is now")
    assert said().splitlines() == ["What (demo.guess)", f"  {told}"]


@pytest.mark.parametrize("value", [0.9, [0.9], [0.9, "half"], [0.9, ...], "0.9, 0.5", [0.9, True]])
def test_a_prediction_of_another_form_is_no_answer(kept, value):
    assert commit("demo.guess", [1, 0.5], like=[0.9, 0.5]) == [1, 0.5]
    with pytest.raises(BadConfig, match=r"an answer such as \[0.9, 0.5\]"):
        commit("demo.guess", value, like=[0.9, 0.5])
    assert commit("demo.guess", ..., like=[0.9, 0.5]) == [1, 0.5]


@pytest.mark.parametrize("value", [{"A": 90, "B": 40}, {"A": 150, "B": -50}, {"A": "all"}, "A"])
def test_chips_are_as_many_as_there_are(kept, value):
    like = {"LoRA 8": 60, "BitFit": 40}
    assert commit("demo.guess", {"A": 99.9}, like=like) == {"A": 99.9}
    with pytest.raises(BadConfig, match=r"'BitFit': 40\}, 100 in all"):
        commit("demo.guess", value, like=like)


def test_a_prediction_after_its_result_says_that_it_counts_as_none(kept, said):
    compare("demo.guess", 4)
    assert "nothing" in said()
    assert commit("demo.guess", 4) is None
    assert "no prediction" in (text := said())
    assert TOO_LATE in text


def test_the_readers_sentence_is_kept_beside_the_result(kept, said):
    sentence("demo.why", ...)
    assert "no sentence yet" in said()
    sentence("demo.why", " The rank is small. ")
    assert "The rank is small." in said()
    sentence("demo.why", ...)
    assert "The rank is small." in said()


@pytest.mark.parametrize(("load", "cores", "omp", "given"), [
    (0.3, "max 100000", None, None), (6.4, "max 100000", None, 2), (30, "max 100000", None, 1),
    (0, "350000 100000", None, 3), (30, "max 100000", "8", None)])
def test_the_set_up_takes_the_threads_that_are_idle(
        load, cores, omp, given, monkeypatch, tmp_path, capsys):
    import torch

    module, file, found = sys.modules[budget.__module__], tmp_path / "cpu.max", []
    file.write_text(cores)
    monkeypatch.setattr(module, "CGROUP", file)
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0, 0), raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    monkeypatch.setenv(work.VARIABLE, str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS")
    if omp:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    module._choose_threads.cache_clear()
    budget()
    monkeypatch.setattr("os.getloadavg", lambda: (7.8, 0, 0), raising=False)
    budget()    # a later call counts this kernel's own training among the load, and changes nothing
    assert found == [given] * (given is not None)
    assert (f"torch uses {given} of 8 threads" in capsys.readouterr().out) is (given is not None)


@pytest.mark.parametrize(("name", "claims"), [("smoke", False), ("cpu", True), ("gpu", True)])
def test_budget_by_name(name, claims, monkeypatch, said):
    monkeypatch.setenv("PEFT_TEACH_BUDGET", name)
    sys.modules[budget.__module__]._warn.cache_clear()    # it warns once a kernel
    found = budget()
    assert ("the numbers that come mean nothing" in said()) is not claims
    budget()
    assert said() == ""
    assert (found.name, found.claims) == (name, claims)


def test_budget_by_hardware_and_unknown(monkeypatch):
    monkeypatch.delenv("PEFT_TEACH_BUDGET", raising=False)
    for gpu, name in ((True, "gpu"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda gpu=gpu: gpu)
        assert budget().name == name
    monkeypatch.setenv("PEFT_TEACH_BUDGET", "smok")
    with pytest.raises(UnknownName, match="did you mean 'smoke'"):
        budget()
