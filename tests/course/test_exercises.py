"""Every exercise of every lesson, proven: its right answers pass, its wrong ones hear their name.

The answers stand in answers.py of each lesson's folder in solutions. What holds for one exercise
alone is tested beside its lesson, in test_<lesson>.py.
"""

import ast
import copy
import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import answers
import pytest
import torch
from demo_course import FOLDER
from grading_corpus import ROOT, lessons

import peft_teach as pt
from peft_teach.course import lessons as course_lessons
from peft_teach.course.checks import adapter_judge, merge_judge, mutants
from peft_teach.course.checks.examination import (
    NOT_ATTEMPTED,
    PASSED,
    WRONG,
    examine,
    judge_case,
    run_case,
)
from peft_teach.course.checks.exercise import CODE, COMMON_MISTAKES, VALUE, resolved
from peft_teach.course.grade import further as further_cases
from peft_teach.course.grade.plain import from_bytes, to_bytes
from peft_teach.course.grade.suspicion import suspicious
from peft_teach.course.lessons import all_exercises, names, stub_of
from peft_teach.course.publish.authored import but, define
from peft_teach.course.reading.cells import Code
from peft_teach.course.reading.definitions import definitions
from peft_teach.course.reading.notebook import Cell
from peft_teach.course.reading.watch import REFERENCE, is_the_courses, seeing

# Mistakes of several lessons, each proven in one place: the answers to lora.layer, lora.merge and
# kinds.law.
SHARED = {*adapter_judge.MISTAKES, *merge_judge.MISTAKES, *mutants.MISTAKES}
SEEDS = range(4)
ONE, OTHERS = SEEDS[:1], SEEDS[1:]    # in every run, and among the long tests
TEXTS = further_cases.read(ROOT / "solutions")
EXERCISES = {e.id: e for e in all_exercises()}
each = pytest.mark.parametrize("id", EXERCISES)
each_seed = pytest.mark.parametrize("seeds", [
    pytest.param(ONE, id="one_seed"),
    pytest.param(OTHERS, id="other_seeds", marks=pytest.mark.long)])
each_code = pytest.mark.parametrize("id", [id for id in EXERCISES if EXERCISES[id].answer == CODE])


@cache
def visible(id: str, seed: int) -> tuple[Any, ...]:
    """The cases of a notebook's check, and those of another seed."""
    return tuple(EXERCISES[id].cases(seed))


@cache
def further(id: str) -> tuple[Any, ...]:
    """The cases of the instructor's folder."""
    return further_cases.cases(TEXTS).get(id, ())


def all_of(id: str, seeds: Sequence[int]) -> list[Any]:
    """The cases of these seeds; with those of a notebook's check, the further ones."""
    return [*(case for seed in seeds for case in visible(id, seed)),
            *(further(id) if 0 in seeds else ())]


def same(a: Any, b: Any) -> bool:
    """Whether two pieces of plain data are equal, types and all."""
    if isinstance(a, torch.Tensor):
        return type(a) is type(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def defined(code: Code, id: str) -> Any:
    """The answer that the grader finds in a notebook's code, with what it needs."""
    plan = definitions(code, EXERCISES[id])
    assert (plan.missing, plan.flags, suspicious(plan.nodes)) == ("", (), set())
    namespace: dict[str, Any] = {"__name__": "answers"}
    for label, index in plan.statements:
        node = ast.parse(plan.cells[label]).body[index]
        exec(compile(ast.Module([node], []), label, "exec"), namespace)
    return EXERCISES[id].as_one([namespace[name] for name in EXERCISES[id].names])


@cache
def code(lesson: str) -> Code:
    """The code of a lesson with its solutions."""
    cells = [cell.source for cell in lessons()[lesson].solution.cells if cell.cell_type == "code"]
    return Code([Cell(number, source) for number, source in enumerate(cells, 1)])


def author(id: str) -> Any:
    """The solution that stands in the lesson."""
    return defined(code(EXERCISES[id].lesson), id)


# ── what passes ──────────────────────────────────────────────────────────────────────────────


@each_seed
@each
def test_the_reference_and_the_author_pass(id, seeds):
    """The author's answer as the grader finds it; on other cases than below, in "the solution"."""
    for obj, of_each in ((EXERCISES[id].resolve(), (0, 1)), (author(id), (1,))):
        for seed in (2 * number + more for number in seeds for more in of_each):
            result = examine(EXERCISES[id], obj, EXERCISES[id].cases(seed))
            assert result.state == PASSED, (seed, result)
    if 0 in seeds and further(id):
        assert examine(EXERCISES[id], EXERCISES[id].resolve(), further(id)).state == PASSED


@each
def test_the_reference_is_seen_when_it_answers(id):
    exercise, noted = EXERCISES[id], set()
    if exercise.answer == CODE:
        obj = exercise.resolve()
        with seeing(exercise, noted.add):
            exercise.run(obj, copy.deepcopy(visible(id, 0)[0]))
        assert noted == {REFERENCE}
    else:
        assert not is_the_courses(exercise, exercise.resolve())    # it is a copy
        with seeing(exercise, noted.add):
            exercise.resolve()
        assert noted == {REFERENCE}
    for path in exercise.equivalents:
        assert callable(resolved(path))


def test_there_are_right_answers_of_several_styles():
    """Six at least, or three for a choice, which is an exercise without further cases."""
    styles = {id: set(answers.right(id).values()) for id in EXERCISES}
    assert [id for id in EXERCISES if len(styles[id]) < (6 if further(id) else 3)] == []
    assert [id for id in EXERCISES if len(styles[id]) < len(answers.right(id))] == []


@pytest.mark.filterwarnings("ignore")    # a learner's code may warn: torch calls CSR a beta
@pytest.mark.parametrize(("id", "style"), [
    pytest.param(id, style, marks=[pytest.mark.long] if number > 3 else [])
    for id in EXERCISES for number, style in enumerate(answers.right(id), 1)])
@each_seed
def test_right_answers_pass_and_leave_their_inputs_as_they_were(id, style, seeds):
    """Judged as in the notebook, and by what crosses to the grader's own process.

    None of them runs its own reference, and no case does: those who do get no points.
    """
    exercise, obj = EXERCISES[id], define(id, answers.right(id)[style])
    changed, there, noted = [], [], set()

    def watched(obj: Any, case: Any) -> Any:
        before = copy.deepcopy(case)
        with seeing(exercise, noted.add):
            outputs = exercise.run(obj, case)
        changed.append(not same(before, case))
        there.append(judge_case(exercise, case, from_bytes(to_bytes(outputs)), 0))
        return outputs

    here = examine(dataclasses.replace(exercise, run=watched), obj, all_of(id, seeds))
    assert here.state == PASSED, here
    assert not any(changed)
    assert not noted
    assert {result.state for result in there} == {PASSED}, there


@each
def test_right_answers_are_found_by_the_grader(id):
    """Each in a cell of a notebook, from which the grader takes what it needs, and no flag."""
    for text in answers.right(id).values():
        defined(Code([Cell(1, answers.cell(text))]), id)


# ── what does not ────────────────────────────────────────────────────────────────────────────


@each
def test_the_stub_is_not_attempted(id):
    stub = define(id, stub_of(id))
    for cases in (visible(id, 0), further(id) or visible(id, 1)):
        assert examine(EXERCISES[id], stub, cases).state == NOT_ATTEMPTED


def judged_in(id: str) -> str:
    return f"peft_teach/course/lessons/{id.partition('.')[0]}"


@pytest.mark.parametrize(("id", "mistake", "text"), [
    pytest.param(id, mistake, text, id=f"{id}-{mistake}-{number}")
    for id in EXERCISES for mistake, texts in answers.wrong(id).items()
    for number, text in enumerate(texts)])
@each_seed
def test_wrong_answers_hear_their_name(id, mistake, text, seeds):
    """And what is known of it, whichever random cases the grader takes.

    What was found is read alone at the first failure, so it is a whole sentence, and not yet the
    remedy.
    """
    exercise, obj = EXERCISES[id], define(id, text)
    known = exercise.explained(mistake) if mistake else ""
    for seed in seeds:
        result = examine(exercise, obj, visible(id, seed))
        assert (result.state, result.mistake) == (WRONG, mistake or None), (
            f"WRONG[{id!r}][{mistake!r}] in {answers.place(id)}, or its judge in "
            f"{judged_in(id)}: seed {seed} gives {result}")
        assert result.message == f"{result.found} {known}".strip()
        assert not known or known not in result.found
        assert mistake == "no_return" or result.found[-1:] in tuple(".?"), result.found


def nudged(value: Any) -> Iterator[Any]:
    """The value with one number in it greater or smaller by one."""
    if type(value) in (int, float):
        yield from (value - 1, value + 1)
    for key, each in (value.items() if isinstance(value, dict) else
                      enumerate(value) if isinstance(value, list | tuple) else ()):
        for other in nudged(each):
            yield value | {key: other} if isinstance(value, dict) else type(value)(
                (*value[:key], other, *value[key + 1:]))


@pytest.mark.parametrize("id", [id for id in EXERCISES if EXERCISES[id].answer == VALUE
                                and id not in getattr(answers.file(id.partition(".")[0]),
                                                      "TOLERANT", ())])
def test_a_number_beside_the_right_one_does_not_pass(id):
    for value in nudged(EXERCISES[id].resolve()):
        assert examine(EXERCISES[id], value).state == WRONG, (
            f"{id} accepts {value!r}: its judge in {judged_in(id)}, or TOLERANT in "
            f"{answers.place(id)}")


@pytest.mark.parametrize(("id", "mistake", "which", "says"), [
    ("inside.attention", "no_scale", 1, "of width w must be q · k / √w; the output["),
    ("inside.attention", "interleaved", 0, "the first d / heads entries alone, and so on; the"),
    ("inside.attention", "mask_inverted", 0, "the mask is true, and there alone; the output["),
    ("inside.attention", "leak", 0, "that no query may read, the output must stay"),
    ("inside.attention", "added", 0, "that no query may read, the output must stay"),
    ("inside.transformer", "no_residual", 1, "must also come out of it, in a sum; the output["),
    ("inside.transformer", "other_gelu", 0, "z must become z · Φ(z)"),
    ("full.step", "no_clip", 0, "the right way, but "),
    ("full.step", "no_zero_grad", 0, "another way"),
    ("full.step", "", 0, "did not move"),
    ("prompt.front", "predicted", 0, "that of the text's labels, and of nothing else: loss is"),
    ("prompt.front", "hidden", 0, "every real token must see P; at the first"),
    ("adapters.bottleneck", "scaled", 0, "With values in its parameters, A(u) is "),
    ("adapters.sealed", "too_many", 0, "asked a fifth time where"),
    ("dora.layer", "norm_learns", 0, "learns through the norm"),
    ("ia3.layer", "bias_spared", 1, "(l ⊙ x) Wᵀ + b, with the base's bias as it is. layer(x)[")])
def test_a_first_failure_names_the_property(id, mistake, which, says):
    found = examine(EXERCISES[id], define(id, answers.wrong(id)[mistake][which]))
    assert says in found.found


def test_each_mistake_has_a_message_of_its_own_and_a_wrong_answer():
    for id, exercise in EXERCISES.items():
        mistakes = exercise.mistakes
        assert set(mistakes) - SHARED <= set(answers.wrong(id)), id
        assert set(answers.wrong(id)) <= {*mistakes, *COMMON_MISTAKES, ""}, id
        assert all(mistakes.values()), id
        assert len(set(mistakes.values())) == len(mistakes), id


def test_each_shared_mistake_has_a_wrong_answer():
    assert {*adapter_judge.MISTAKES} <= {*answers.wrong("lora.layer")}
    assert {*merge_judge.MISTAKES} <= {*answers.wrong("lora.merge")}
    assert {*mutants.MISTAKES} <= {*answers.wrong("kinds.law")}


def test_there_are_three_hints():
    assert [id for id, exercise in EXERCISES.items() if len(set(exercise.hints)) != 3] == []


def odd_in_place_of(reference: Any, odd: Any) -> Any:
    """What does all that the reference does, and gives something odd in place of its result."""
    if not isinstance(reference, type):
        def answer(*args: Any, **kwargs: Any) -> Any:
            reference(*args, **kwargs)
            return odd
        return answer
    methods = [name for name, method in vars(reference).items()
               if callable(method) and not name.startswith("_")]
    return type(reference.__name__, (reference,), {
        name: odd_in_place_of(vars(reference)[name], odd) for name in methods})


ODD = {"text": "12", "none": None, "true": True, "tensor": torch.tensor(32), "tensors": torch.zeros(
    2), "nan": math.nan, "object": object(), "dict": {"weights": "a", "gradients": None}}


@each
def test_odd_answers_are_judged(id):
    exercise, case = EXERCISES[id], visible(id, 0)[0]
    reference = exercise.one_by_one(exercise.resolve())
    # Of what a test returns, a bool alone is read: four tell that of a test of the learner's own.
    law = isinstance(getattr(exercise.run, "__self__", None), mutants.Law)
    for name, odd in [*ODD.items()][:4 if law else None]:
        if exercise.answer == VALUE:
            given = [[odd] * len(reference)]
        else:
            given = [[odd_in_place_of(each, odd) for each in reference],
                     [lambda *args, odd=odd, **kwargs: odd] * len(reference)]
        for obj in map(exercise.as_one, given):
            result = examine(exercise, obj)
            assert "could not be judged" not in result.message, name
            assert odd is None or COMMON_MISTAKES["no_return"] not in result.message, name
            if result.state != WRONG:    # a value that is None; or nobody reads what is odd
                assert odd is None or same(run_case(exercise, obj, case, 0), run_case(
                    exercise, exercise.resolve(), case, 0)), name
        assert judge_case(exercise, case, odd, 0).state == WRONG, name


@each
def test_no_report_is_believed_whose_entries_are_of_another_kind_or_missing(id):
    """What crosses to the grader comes from a process that a learner's code may have changed."""
    exercise, case = EXERCISES[id], visible(id, 0)[0]
    outputs, _ = run_case(exercise, exercise.resolve(), case, 0)
    assert judge_case(exercise, case, outputs, 0).state == PASSED
    for name, value in outputs.items() if isinstance(outputs, dict) else ():
        forged = [outputs | {name: odd} for odd in ODD.values()
                  if not isinstance(odd, type(value))]
        forged.append({key: value for key, value in outputs.items() if key != name})
        for report in forged:
            assert judge_case(exercise, case, report, 0).state == WRONG, (name, report.get(name))


# ── the cases ────────────────────────────────────────────────────────────────────────────────


def test_further_cases_are_three_at_least_and_say_what_they_ask():
    for name, text in TEXTS:
        namespace: dict[str, Any] = {}
        exec(text, namespace)
        assert all(make.__doc__ for make in namespace["CASES"].values()), name
    assert all(len(cases) >= 3 for cases in further_cases.cases(TEXTS).values())


def test_cases_cross_to_the_other_process_as_they_are():
    changed = [id for id in EXERCISES for case in (*visible(id, 0), *further(id))
               if not same(from_bytes(to_bytes(case)), case)]
    assert changed == []


def test_the_further_cases_are_not_the_visible_ones():
    twice = [id for id in EXERCISES for seed in SEEDS for a in visible(id, seed)
             for b in further(id) if same(a, b)]
    assert twice == []


@pytest.mark.parametrize("id", [id for id in EXERCISES if further(id)])
def test_the_further_cases_find_what_the_visible_ones_let_through(id):
    obj = define(id, answers.beyond(id))
    assert examine(EXERCISES[id], obj).state == PASSED
    assert examine(EXERCISES[id], obj, further(id)).state == WRONG


# ── the check line ───────────────────────────────────────────────────────────────────────────


@each_code
def test_after_a_failure_the_check_line_run_twice_is_still_not_passed(id, capsys):
    exercise, wrong = EXERCISES[id], define(id, answers.usual(id)[1])
    given = exercise.one_by_one(pt.check(id, *exercise.one_by_one(wrong)))
    assert given == exercise.one_by_one(exercise.resolve())
    capsys.readouterr()
    assert exercise.one_by_one(pt.check(id, *given)) == given
    assert "reference" in (said := capsys.readouterr().out)
    assert "passed" not in said
    pt.progress(exercise.lesson)
    assert f"0 of {exercise.points}" in capsys.readouterr().out
    pt.course.desk.learner._kernel.exercises.pop(id)


@each_code
def test_a_call_in_place_of_the_function_is_told(id):
    result = examine(EXERCISES[id], EXERCISES[id].as_one([6144] * len(EXERCISES[id].names)))
    assert f"pass {EXERCISES[id].names[0]}, without brackets" in result.message


# ── the answers ──────────────────────────────────────────────────────────────────────────────


def test_loading_all_exercises_leaves_every_class_its_name():
    assert not [f"{name}.{key}" for name, module in sys.modules.items() if name.startswith(
        "peft_teach") for key, kind in vars(module).items() if isinstance(kind, type)
        and kind.__module__ == name and not hasattr(module, kind.__name__)]


def test_the_answers_are_those_of_the_lessons_on_the_disk():
    for name in names():
        ids = [id for id in EXERCISES if id.startswith(f"{name}.")]
        assert set(answers.file(name).RIGHT) == set(ids)
        assert set(answers.file(name).WRONG) == set(ids)


def test_a_change_that_changes_nothing_is_an_error():
    assert but("a + b", "a", "c") == "c + b"
    with pytest.raises(ValueError, match="stands 0 times"):
        but("a + b", "d", "c")
    with pytest.raises(ValueError, match="stands 2 times"):
        but("a + a", "a", "c")


# ── the other kinds ──────────────────────────────────────────────────────────────────────────


def test_values_and_tests_are_proven_as_code_is(monkeypatch):
    """On the demonstration course, which has an exercise of each kind."""
    monkeypatch.setattr(course_lessons, "__path__", [str(FOLDER)])
    monkeypatch.setattr(sys.modules[__name__], "EXERCISES", {
        e.id: e for e in all_exercises() if e.id.startswith("kinds.")})
    assert {e.answer for e in EXERCISES.values()} == {CODE, VALUE}
    test_there_are_right_answers_of_several_styles()
    for id in EXERCISES:
        for style in answers.right(id):
            test_right_answers_pass_and_leave_their_inputs_as_they_were(id, style, SEEDS)
        assert set(answers.wrong(id)) == set(EXERCISES[id].mistakes)
        for mistake, texts in answers.wrong(id).items():
            for text in texts:
                test_wrong_answers_hear_their_name(id, mistake, text, SEEDS)
        test_odd_answers_are_judged(id)
        test_no_report_is_believed_whose_entries_are_of_another_kind_or_missing(id)
        right = next(iter(answers.right(id).values()))
        with pytest.raises(AssertionError):    # a right answer among the wrong ones would show
            test_wrong_answers_hear_their_name(id, next(iter(answers.wrong(id))), right, SEEDS)
