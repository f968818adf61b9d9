"""From sources to notebooks: what a build writes, refuses, keeps and never lets out."""

# ruff: noqa: F811 (fixtures are imported, and asked for by their names)

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from demo_course import LESSON_97, REGISTER, demo, tree, write  # noqa: F401
from exact import files

from peft_teach import widgets
from peft_teach.course.publish import check, execution, start_page
from peft_teach.course.publish.notebooks import LESSONS, _shelve, build, make
from peft_teach.course.publish.source import stub_of
from peft_teach.errors import PeftTeachError, UnknownName
from peft_teach.progress_bar import line
from peft_teach.training import Step

LAST = "# NBVAL_CHECK_OUTPUT\nprint(double(torch.arange(3)).tolist())"    # of LESSON_97


def notebook(tree, name):
    return nbformat.read(tree / name, as_version=4)


def change(tree, old, new, lesson="97_demo"):
    path = tree / "solutions" / lesson / "lesson.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


# ---- what is written ------------------------------------------------------------------------


def test_the_student_gets_stubs(tree):
    build(tree)
    student = notebook(tree, "lessons/97_demo.ipynb")
    cells = {cell.id: cell for cell in student.cells}
    assert cells["demo-double-solution"].source == (
        'def double(x):\n    """Twice x."""\n    raise pt.NotAttempted("demo.double")')
    assert cells["demo-pair-solution"].source.count('raise pt.NotAttempted("demo.pair")') == 2
    assert all(not cell.outputs for cell in execution.code_cells(student))
    assert student.metadata["peft_teach"] == {"lesson": "97", "release": "1.2.3"}
    assert student.metadata.kernelspec.name == "python3"


def test_what_a_reader_need_not_read_is_folded(tree):
    build(tree)
    folded = [cell.source for cell in notebook(tree, "lessons/97_demo.ipynb").cells
              if cell.metadata.get("jupyter", {}).get("source_hidden")]
    assert "pip" in folded[0]
    assert len(folded[0].splitlines()) < 8
    assert folded[1:] == ['pt.require("demo.double")', 'pt.require("demo.pair")']


def test_the_solution_is_the_same_but_solved(tree):
    build(tree)
    student = notebook(tree, "lessons/97_demo.ipynb")
    solution = notebook(tree, "solutions/97_demo/97_demo.ipynb")
    assert [cell.id for cell in solution.cells] == [cell.id for cell in student.cells]
    assert [cell.metadata for cell in solution.cells] == [cell.metadata for cell in student.cells]
    differing = [new.id for old, new in zip(student.cells, solution.cells)
                 if old.source != new.source]
    assert differing == ["demo-double-solution", "demo-pair-solution"]
    assert "return x * factor" in solution.cells[3].source
    assert "SOLUTION" not in str(solution)


def test_cells_carry_what_nbgrader_and_jupyterlab_need(tree):
    build(tree)
    cells = {cell.id: cell.metadata for cell in notebook(tree, "lessons/97_demo.ipynb").cells}
    both = {"schema_version": 3, "task": False}
    locked = {"editable": False, "deletable": False}
    assert cells["demo-double-solution"] == {"nbgrader": both | {
        "grade_id": "demo-double-solution", "grade": False, "solution": True, "locked": False}}
    assert cells["demo-double-check"] == locked | {"nbgrader": both | {
        "grade_id": "demo-double-check", "grade": False, "solution": False, "locked": True}}
    assert cells["demo-double-grade"] == locked | {
        "jupyter": {"source_hidden": True}, "nbgrader": both | {
        "grade_id": "demo-double-grade", "grade": True, "solution": False, "locked": True,
        "points": 3}}
    plain = [metadata for id, metadata in cells.items() if not id.startswith(("demo-", "install"))]
    assert plain == [{}, {}, {"tags": ["play"]}, {}]


def test_stubs_for_reset_and_titles_for_cards(tree):
    change(tree, "that doubles.", "that doubles.\n#\n# ### Exercise 1 · Double (3 points)")
    build(tree)
    demo, later = (json.loads((tree / LESSONS / n / "stubs.json").read_text())
                   for n in ("demo", "later"))
    assert list(demo) == ["demo.double", "demo.pair"]
    assert later["later.add"] == {
        "lesson": "98", "names": ["later"], "title": "",
        "stub": 'def later(x):\n    raise pt.NotAttempted("later.add")'}
    assert demo["demo.double"]["title"] == "Exercise 1 · Double"


def test_a_second_build_writes_the_same_bytes(tree):
    build(tree)
    first = files(tree)
    build(tree)
    assert files(tree) == first
    assert len(first) == 3 + 4 + 2 + 1


def test_ids_stay_when_cells_move_and_repeat(tree):
    build(tree)
    before = {cell.source: cell.id for cell in notebook(tree, "lessons/97_demo.ipynb").cells}
    text = (tree / "solutions/97_demo/lesson.py").read_text()
    (tree / "solutions/97_demo/lesson.py").write_text(
        f"# %%\n1 + 1\n\n# %%\n1 + 1\n\n# %%\n1 + 1\n\n{text}")
    build(tree)
    cells = notebook(tree, "lessons/97_demo.ipynb").cells
    first = cells[1].id
    assert [cell.id for cell in cells[:4]] == ["install", first, f"{first}-2", f"{first}-3"]
    assert {cell.source: cell.id for cell in (cells[0], *cells[4:])} == before


def test_one_lesson_can_be_built(tree):
    build(tree)
    stubs = tree / LESSONS / "later/stubs.json"
    before = stubs.read_text()
    change(tree, "# # Doubling", "# # Twice")
    change(tree, "def later(x):", "def later(x, /):", "98_later")
    later = (tree / "lessons/98_later.ipynb").read_bytes()
    assert build(tree, ["97"])[0].startswith("97_demo: built")
    assert (tree / "lessons/98_later.ipynb").read_bytes() == later
    assert stubs.read_text() == before
    build(tree, ["98_later", "98"])
    assert "later(x, /)" in stubs.read_text()
    with pytest.raises(UnknownName, match=r"no lesson '07'.*\n.*97_demo, 98_later"):
        build(tree, ["07"])


def test_the_first_page_begins_with_two_minutes_and_leads_to_the_lessons(tree, monkeypatch):
    monkeypatch.setattr(start_page, "FIRST", "demo.double")
    monkeypatch.setattr(start_page, "stub_of", lambda id: f"double = {id!r}")
    build(tree)
    cells = {cell.id: cell for cell in notebook(tree, "lessons/START.ipynb").cells}
    assert list(cells)[:8] == [
        "start", "install", "next", "bet", "guess", "exercise", "stub", "check"]
    assert cells["stub"].source == "double = 'demo.double'"
    assert cells["check"].source == 'double = pt.check("demo.double", double)'
    assert cells["progress"].source == "pt.progress()"
    assert "| [Doubling](97_demo.ipynb) | 2 | 10 |\n| [98_later](98_later.ipynb) | 0 | 0 |" in (
        cells["lessons"].source)


def test_each_lesson_begins_and_ends_with_links_to_its_neighbours(tree):
    build(tree)
    first, second = (notebook(tree, f"lessons/{name}.ipynb").cells for name in (
        "97_demo", "98_later"))
    assert first[0].source.startswith(
        "# Doubling\n\n[START](START.ipynb) · [98_later →](98_later.ipynb)\n\nWrite a")
    assert first[-1].source == "[START](START.ipynb) · [98_later →](98_later.ipynb)"
    assert second[-1].source == "[← Doubling](97_demo.ipynb) · [START](START.ipynb)"


@pytest.mark.parametrize(("text", "linked"), [
    ("arXiv 2106.09685.", "[arXiv 2106.09685](https://arxiv.org/abs/2106.09685)."),
    ("(1902.00751)", "([1902.00751](https://arxiv.org/abs/1902.00751))"),
    ("arXiv:cs/0112017", "[arXiv:cs/0112017](https://arxiv.org/abs/cs/0112017)"),
    ("doi 10.64434/tml.2025;", "[doi 10.64434/tml.2025](https://doi.org/10.64434/tml.2025);"),
    ("`2106.09685` [2106.09685](there) https://x.org/2106.09685 1.12345 20260.12345", None)])
def test_papers_are_links(tree, text, linked):
    change(tree, "that doubles.", f"that doubles: {text}")
    build(tree)
    assert notebook(tree, "lessons/97_demo.ipynb").cells[0].source.endswith(linked or text)


@pytest.mark.parametrize(("code", "line"), [
    ('pt.plots.show(pictures.draw(1), "A block: three parts. Grey is frozen.")',
     "Picture: A block: three parts"),
    ('pt.compare("x", 2, f"{1:.0%} of the way")', "Result: … of the way"),
    ("# @title Its own\nf(1)", "Its own"),
    ('model = pt.train(1)\npt.plots.show(pictures.draw(1), "A curve.")', None),
    ('torch.randn(3)\npt.compare("x", 2, "of three")', None),
    ("def draw():\n    pass\n\n\npt.plots.show(draw(), \"It.\")", None),
    ("pictures.explore()", None)])
def test_what_is_read_for_its_result_is_folded_to_a_line(tree, code, line):
    change(tree, LAST, code)
    build(tree)
    cell = notebook(tree, "lessons/97_demo.ipynb").cells[-2]
    folded = {"jupyter": {"source_hidden": True}, "cellView": "form"}
    assert cell.source.partition("\n")[0] == (
        f"# @title {line}" if line else code.partition("\n")[0])
    assert {key: cell.metadata.get(key) for key in folded} == (
        folded if line else dict.fromkeys(folded))


def test_elsewhere_than_in_a_checkout(tmp_path):
    with pytest.raises(PeftTeachError, match="checkout"):
        build(tmp_path)


def test_regions_keep_their_indentation():
    source = ("class A:\n    def f(self):\n        # BEGIN SOLUTION\n        1\n"
              "        # END SOLUTION")
    assert stub_of(source, "a.b") == (
        'class A:\n    def f(self):\n        raise pt.NotAttempted("a.b")')


# ---- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new", "message"), [
    ('part="check"', "part=check", "quote both values"),
    ('exercise="demo.double" part="grade"', 'exercise="demo.double"', r"part None"),
    ('exercise="demo.double" part="grade"', 'part="grade"', r"exercise None"),
    ('part="grade"', 'part="grades"', "solution, check, grade"),
    ('exercise="demo.pair" part="solution"', "", "a cell that is not marked"),
    ('# %% exercise="demo.double" part="check"', '# %% [markdown] exercise="demo.double" '
     'part="check"', "is code"),
    ("    ### BEGIN SOLUTION\n    factor", "    factor", "END SOLUTION without BEGIN|only there"),
    ("factor\n    ### END SOLUTION", "factor", "BEGIN SOLUTION without END"),
    ("    factor = ", "    ### BEGIN SOLUTION\n    factor = ", "a second BEGIN SOLUTION"),
    ('double = pt.check("demo.double", double)', "# BEGIN SOLUTION", "only there"),
    ('exercise="demo.double"', 'exercise="demo.duble"', r"did you mean 'demo\.double'"),
    ('exercise="demo.double"', 'exercise="later.add"', "of lesson 98"),
    ('"demo.pair" part="check"', '"demo.pair" part="solution"', "only there"),
    ('"demo.double" part="grade"', '"demo.double" part="check"', "a second check cell"),
    ('"demo.double" part="check"', '"demo.double" part="grade"', "no check cell before its grade"),
    ('pt.check("demo.double"', 'pt.check("demo.pair"', r"does not call check(.|\n)*demo\.double"),
    ('pt.require("demo.double")', "True", "does not call require"),
    ("def double(x):", "def treble(x):", "does not define double"),
    ('def double(x):\n    """Twice x."""\n    ### BEGIN SOLUTION\n',
     "### BEGIN SOLUTION\ndef double(x):\n", "does not define double"),
    ("    return x * factor\n    ### END SOLUTION",
     "    return x * factor\n    ### END SOLUTION\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION",
     "inside of a function"),
    ("print(", "%time print(", "plain Python"),
    ("print(", "print((", "not Python"),
    ("import torch\n", f"import torch    {'#' * 85}\n", "a line of 101 characters"),
])
def test_a_wrong_cell_is_named_with_what_to_do(tree, old, new, message):
    change(tree, old, new)
    with pytest.raises(PeftTeachError, match=message) as caught:
        build(tree)
    assert re.match(r"solutions/97_demo/lesson\.py, cell \d+ \('.+'", str(caught.value))
    assert "\nTry: " in str(caught.value)
    assert not (tree / "lessons").exists()


def test_a_missing_cell_is_named(tree):
    change(tree, '# %% exercise="demo.pair" part="grade"\npt.require("demo.pair")\n', "")
    with pytest.raises(PeftTeachError, match=r"lesson\.py: the exercise demo\.pair has no grade"):
        build(tree)


# ---- outputs --------------------------------------------------------------------------------


def executed(tree, *cells):
    """Give the solution notebook outputs, as if it had been executed."""
    path = tree / "solutions/97_demo/97_demo.ipynb"
    stored = notebook(tree, "solutions/97_demo/97_demo.ipynb")
    for count, cell in enumerate(execution.code_cells(stored), 1):
        cell.execution_count = count
        cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
    execution.code_cells(stored)[-1].outputs = list(cells)
    stored.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    nbformat.write(stored, path)


def said(text):
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def shown(**data):
    return nbformat.v4.new_output("display_data", data=data)


def last_outputs(tree):
    return execution.code_cells(notebook(tree, "solutions/97_demo/97_demo.ipynb"))[-1].outputs


def test_outputs_are_kept_while_the_code_is_the_same(tree):
    for _ in range(2):
        assert all("without outputs" in line for line in build(tree))
    executed(tree, said("[0, 2, 4]\n"))
    change(tree, "# # Doubling", "# # Twice")
    assert build(tree)[0] == "97_demo: built, outputs kept"
    stored = notebook(tree, "solutions/97_demo/97_demo.ipynb")
    assert stored.cells[0].source.startswith("# Twice")
    assert last_outputs(tree)[0].text == "[0, 2, 4]\n"
    assert "widgets" not in stored.metadata
    del stored.cells[1]    # of a build that installed by another cell, or by none
    nbformat.write(stored, tree / "solutions/97_demo/97_demo.ipynb")
    assert build(tree)[0] == "97_demo: built, outputs kept"
    assert last_outputs(tree)[0].text == "[0, 2, 4]\n"
    assert all("execution" not in cell.metadata for cell in stored.cells)

    change(tree, "# NBVAL_CHECK_OUTPUT", "# What one sees")
    assert build(tree)[0] == "97_demo: built, outputs kept"
    change(tree, "arange(3)", "arange(4)")
    assert "peft-teach build --execute 97_demo" in build(tree)[0]
    assert last_outputs(tree) == []


def test_live_widgets_are_dropped_and_what_stands_beside_them_is_kept(tree):
    build(tree)
    executed(tree, shown(**{execution.WIDGET: {"model_id": "1"}, "text/plain": "100%"}),
             shown(**{execution.WIDGET: {"model_id": "2"}}), said("done"))
    build(tree)
    kept = last_outputs(tree)
    assert len(kept) == 2
    assert kept[0].data == {"text/plain": "100%"}


@pytest.mark.parametrize("output", [
    said("see /tmp/data.txt"), said("in /home/ann/x"), said("C:\\Users\\ann"),
    shown(**{"text/html": "<b>/root/x</b>"}), shown(**{"image/svg+xml": "<svg>/Users/x</svg>"}),
    nbformat.v4.new_output("error", ename="E", evalue="", traceback=["a", "File /tmp/x.py"])])
def test_outputs_that_name_this_machine_are_refused(tree, output):
    build(tree)
    executed(tree, output)
    with pytest.raises(PeftTeachError, match=r"97_demo\.ipynb: the output of the cell"):
        build(tree)
    assert any("names" in problem for problem in check.problems(tree))


def test_paths_in_tracebacks_are_shortened_and_others_left(tree):
    build(tree)
    executed(tree, said(f'File "/tmp/ipykernel_12/345.py", line 1\nFile "{tree}/peft_teach/a.py"\n'
                        "https://example.org/home/x, and/or, a/tmp/b"),
             shown(**{"image/png": "/tmp/"}))
    build(tree)
    assert last_outputs(tree)[0].text == ('File "cell", line 1\nFile "peft_teach/a.py"\n'
                                          "https://example.org/home/x, and/or, a/tmp/b")


def test_how_long_a_bar_took_is_left_out(tree, monkeypatch):
    """It says how busy the machine was; live, the bar says it."""
    lines = []
    monkeypatch.setattr("peft_teach.progress_bar.line", lambda *said: lines.append(line(*said)))
    widgets.watch([Step(0, 0.5, 8, 0.1, 1e-3)], 1, curve=False)
    said_live = lines[-1]
    assert "0 s in all" in said_live
    build(tree)
    executed(tree, shown(**{"text/html": said_live}))
    build(tree)
    assert "step 1 of 1, loss 0.500<" in last_outputs(tree)[0].data["text/html"]


@pytest.fixture
def kernel(monkeypatch):
    """Kernels find this package from any folder, and nbgrader its own tools (alembic)."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]),
                                         os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)


def test_the_folder_of_the_environment_is_refused_too(tree):
    build(tree)
    executed(tree, said(f"in {sys.prefix}/bin"))
    with pytest.raises(PeftTeachError, match=r"names .*bin"):
        build(tree)


@pytest.mark.long
@pytest.mark.usefixtures("kernel")
def test_executing(tree):
    slider = "\n# %%\nimport ipywidgets\n\nipywidgets.IntSlider(5)\n"
    write(tree, "97_demo", REGISTER + slider + LESSON_97)
    assert build(tree, ["97"], execute=True) == ["97_demo: built and executed"]
    stored = notebook(tree, "solutions/97_demo/97_demo.ipynb")
    cells = {cell.id: cell for cell in stored.cells}
    card = cells["demo-double-check"].outputs
    assert len(card) == 1  # and nothing on stderr
    assert "passed (3 of 3 points)" in card[0].data["text/plain"]
    assert 'role="group"' in card[0].data["text/html"]
    assert cells["demo-double-grade"].outputs == []
    assert last_outputs(tree)[0].text == "[0.0, 2.0, 4.0]\n"
    assert all("execution" not in cell.metadata for cell in stored.cells)
    assert stored.cells[2].outputs[0].data == {"text/plain": "IntSlider(value=5)"}
    built = notebook(tree, "lessons/97_demo.ipynb")
    assert stored.metadata == built.metadata  # no state of widgets, no version of Python

    before = files(tree)
    assert build(tree, ["97"]) == ["97_demo: built, outputs kept"]
    assert files(tree) == before

    change(tree, "arange(3)", "arange(-1)")
    with pytest.raises(PeftTeachError, match=r"97_demo\.ipynb stopped with an error"):
        build(tree, ["97"], execute=True)


# As if two steps were a whole run: each lesson trains one rung, and says what stands on the ladder.
RUNG = """
# %%
import peft_teach as pt
from peft_teach.course import protocol

protocol.STEPS, protocol.TESTS = 2, pt.course.budget().test_examples
{run}
print(sorted(pt.board.rows()), pt.course.desk.work.is_reader_here())
"""


@pytest.mark.long
@pytest.mark.usefixtures("kernel")
def test_lessons_that_are_executed_together_have_one_reader(tree, monkeypatch):
    """And one that is executed alone has what earlier ones built, and no rung."""
    def seen(*names, **more):
        build(tree, names, execute=True, **more)
        return {name: next(o.text for o in cell.outputs if o.output_type == "stream")
                for name, lesson in (("97", "97_demo"), ("98", "98_later"))
                for cell in notebook(tree, f"solutions/{lesson}/{lesson}.ipynb").cells
                if "protocol" in cell.source}

    monkeypatch.setenv("PEFT_TEACH_BUDGET", "smoke")
    for lesson, run in (("97_demo", 'pt.board.train("bitfit", pt.bitfit.inject);'),
                        ("98_later", 'pt.board.train("lora 8", pt.lora.inject);')):
        write(tree, lesson, REGISTER + RUNG.format(run=run)
              + (LESSON_97 if lesson == "97_demo" else ""))
    one, both, other = ("['bitfit'] False\n", "['bitfit', 'lora 8'] False\n", "['lora 8'] False\n")
    assert seen("98", "97") == {"97": one, "98": both}    # in their order
    assert seen("98") == {"97": one, "98": other}
    kept = tree / "kept"
    seen("97", desk=kept)
    assert seen("98", desk=kept) == {"97": one, "98": both}
    alone = tree / "alone"
    seen("98", desk=alone)
    assert "# ── demo." in (alone / "my_peft.py").read_text("utf-8")
    assert not (tree / "solutions/97_demo/work").exists()


def test_a_lesson_that_is_executed_anew_has_what_earlier_ones_built_and_no_more(tree):
    lesson, = make(tree, ["97"])
    for name, shelved in (("98_later", True), ("97_demo", False)):
        _shelve(tree, replace(lesson, name=name), tree)
        assert ("# ── demo." in (tree / "my_peft.py").read_text("utf-8")) == shelved


# ---- build --check --------------------------------------------------------------------------


def test_a_fresh_build_is_clean(tree):
    build(tree)
    before = files(tree)
    assert check.problems(tree) == []
    executed(tree, said("[0, 2, 4]\n"))
    build(tree)
    assert check.problems(tree) == []  # outputs of solutions are not compared
    assert files(tree).keys() == before.keys()


def problems(tree, *patterns):
    found = check.problems(tree)
    for pattern in patterns:
        assert any(re.search(pattern, problem) for problem in found), (pattern, found)
    return found


def test_a_changed_source_or_notebook_is_found(tree):
    build(tree)
    change(tree, "# # Doubling", "# # Twice")
    found = problems(tree, r"^lessons/97_demo\.ipynb, cell 1 \('# Twice'\): its id, source differs",
                     r"^solutions/97_demo/97_demo\.ipynb, cell 1", r"^lessons/START\.ipynb, cell 6",
                     r"^lessons/98_later\.ipynb, cell 5", r"^solutions/98_later/98_later\.ipynb, c")
    assert len(found) == 5    # the next lesson leads back by this one's title
    build(tree)
    change(tree, "# # Twice", "# # Twice\n\n# %%\n1")
    problems(tree, "has 11 cells and its source 12")


@pytest.mark.parametrize(("edit", "message"), [
    (lambda nb: nb.cells[4].metadata.nbgrader.update(locked=False), "cell 5 .* its metadata"),
    (lambda nb: nb.metadata.peft_teach.update(release="0"), "its metadata differs"),
    (lambda nb: nb.cells[3].update(outputs=[said("x")]), "its outputs differs"),
    (lambda nb: nb.cells[3].update(execution_count=1), "its execution_count differs")])
def test_a_student_notebook_is_exactly_what_a_build_writes(tree, edit, message):
    build(tree)
    edited = notebook(tree, "lessons/97_demo.ipynb")
    edit(edited)
    nbformat.write(edited, tree / "lessons/97_demo.ipynb")
    assert len(problems(tree, message)) == 1


def test_missing_and_left_over_files_are_found(tree):
    build(tree)
    (tree / "lessons/98_later.ipynb").rename(tree / "lessons/99_old.ipynb")
    (tree / "solutions/98_later/98_later.ipynb").rename(tree / "solutions/96_old.ipynb")
    (tree / LESSONS / "demo/stubs.json").write_text("{}")
    assert len(problems(
        tree, r"lessons/98_later\.ipynb: is missing", r"99_old\.ipynb: has no source",
        r"solutions/98_later/98_later\.ipynb: is missing", r"96_old\.ipynb: has no source",
        r"stubs\.json: is not what solutions/.* gives")) == 5


def test_an_exercise_without_cells_is_found(tree):
    write(tree, "98_later", "# %%\n1")
    build(tree)
    assert problems(tree, r"98_later/lesson\.py: has no cells for the exercise later\.add")


def leak(tree, text, cell="# %% [markdown]"):
    """Put a text into the other lesson, and build."""
    with (tree / "solutions/98_later/lesson.py").open("a") as file:
        file.write(f"\n{cell}\n{text}\n")
    build(tree)
    return check.problems(tree)


@pytest.mark.parametrize(("text", "cell"), [
    ("# one may write `return x * factor`, of course", "# %% [markdown]"),
    ("def f(x, factor):\n    if x:\n        return x*factor", "# %%"),
    ("y = 1  # return x * factor", "# %%")])
def test_a_line_of_a_solution_is_found_anywhere_in_the_lessons(tree, text, cell):
    found = leak(tree, text, cell)
    assert len(found) == 1
    assert re.search(r"lessons/98_later\.ipynb: holds a line of the solution of "
                     r"solutions/97_demo/lesson\.py, cell 3 .*'return x \* factor'; move", found[0])


def test_a_leak_beside_the_notebooks_is_found(tree):
    build(tree)
    (tree / "lessons/answers.md").write_text("return x * factor")
    assert len(problems(tree, r"^lessons/answers\.md: holds a line of the solution")) == 1


def test_common_lines_are_no_leak(tree):
    change(tree, "    factor = torch.tensor(2.0)",
           "    class Scale(torch.nn.Module):\n        def __init__(self, base, factor):\n"
           "            super().__init__()\n            self.factor = factor\n"
           "    factor = torch.tensor(2.0)")
    assert leak(tree, "class Scale(torch.nn.Module):\n    def __init__(self, base, factor):\n"
                      "        super().__init__()\n        self.factor = factor", "# %%") == []


def test_lines_that_the_stub_shows_are_no_leak(tree):
    change(tree, '    """Twice x."""', '    """Twice x, in that you return x * factor."""')
    assert leak(tree, "# return x * factor") == []


@pytest.mark.parametrize(("text", "message"), [
    ("from peft_teach.methods.lora import LoRALinear", "gives solutions away"),
    ("from peft_teach import methods", "gives solutions away"),
    ("import peft_teach.course.lessons", "gives solutions away"),
    ("pt.course.lessons.find('demo.double')", "gives solutions away"),
    ("### BEGIN HIDDEN TESTS", "no student should see")])
def test_references_and_hidden_tests_are_found(tree, text, message):
    found = leak(tree, text, "# %%")
    assert len(found) == 1
    assert message in found[0]
