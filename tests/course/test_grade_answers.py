"""Which answer counts, who reads why, and what a test is not told of the versions that it meets."""

from honest import CHECK, COUNT, RIGHT, a_right

from peft_teach.course.exercise import WRONG, Result
from peft_teach.course.grade import Limits, job, report, run
from peft_teach.course.grade.cells import Code
from peft_teach.course.grade.notebook import Cell
from peft_teach.course.grade.run import ANOTHER, Mark, mark
from peft_teach.course.lessons import find
from peft_teach.course.lessons.lora import versions


def marks(*cells: str, ids: tuple[str, ...] = ("lora.count",)) -> list[Mark]:
    """The marks for these exercises, in this order, of one notebook."""
    code = Code([Cell(number, text) for number, text in enumerate(cells, 1)])
    return [mark(job.runner(Limits(), job.FORKS), code, find(id)) for id in ids]


LINEAR, BLOCK = "inside.linear", "inside.block"
LINEAR_CHECK = f"linear_count = pt.check({LINEAR!r}, linear_count)"
USES = """def block_count(d_model, d_ff, heads, kv_heads):
    shapes = [(d_model, d_model), (d_model, d_model // heads * kv_heads), (d_model, d_ff)]
    square, narrow, wide = (linear_count(*shape) for shape in shapes)
    return 2 * square + 2 * narrow + wide + linear_count(d_ff, d_model) + 4 * d_model
"""


def test_an_answer_uses_what_passed_not_a_mistake_made_for_its_card():
    mistake = "def linear_count(n_in, n_out):\n    return n_in + n_out"
    for below in (mistake, f"{mistake}\n{LINEAR_CHECK}"):
        cells = (a_right(LINEAR), LINEAR_CHECK, below, USES, f"pt.check({BLOCK!r}, block_count)")
        assert [each.state for each in marks(*cells, ids=(LINEAR, BLOCK))] == ["passed", "passed"]


def test_what_is_mended_below_its_check_for_cases_that_the_check_has_not():
    by_heart = COUNT.format("int(torch.tensor(float(rank * (n_in + n_out))))")
    code = Code([Cell(number, text) for number, text in enumerate((by_heart, CHECK, RIGHT), 1)])
    further = [{"n_in": 5001, "n_out": 3202, "rank": 2053}]
    given = mark(job.runner(Limits(), job.FORKS), code, find("lora.count"), further)
    assert given.points == 1
    assert ANOTHER in given.notes


def test_no_other_reading_is_tried_after_one_that_took_all_its_time(monkeypatch):
    tried, slow = [], Result(WRONG, run._why("time", Limits()))
    monkeypatch.setattr(run, "_outcome", lambda runner, exercise, plan, further: (
        tried.append(plan), run._Outcome(plan, slow))[1])
    given, = marks(RIGHT, CHECK, COUNT.format(2), CHECK)
    assert given.message == slow.message
    assert len(tried) == 1


def test_what_decides_stands_on_both_pages_and_suspicion_on_one():
    """Neither a copy that counts, nor a name whose line does not run, is for one side alone."""
    given, = marks("best = pt.evaluate(model, batches)", RIGHT,
                   COUNT.format("best") + "\n    getattr(torch, 'x').system = 1", CHECK)
    said = ("2 definitions of lora_count, the last counts",
            "needs best, whose line trains, loads or shows something, which does not run here")
    row = report.Row("anna", "07", "", (vars(given),), given.flags)
    page, = report.feedback([row]).values()
    table = report.grades([row])
    for note in said:
        assert note in page
        assert f"lora.count: {note}" in table
    assert "look at its system" in table
    assert "look at" not in page


def test_no_name_tells_a_broken_version_from_a_right_one():
    kinds = [*versions.RIGHT.values(), *versions.BROKEN.values()]
    assert {(kind.__name__, kind.__qualname__) for kind in kinds} == {("Version", "Version")}
