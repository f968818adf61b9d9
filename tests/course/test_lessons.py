"""Every lesson as a whole: built from its source, solvable, and safe to run in any way."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import answers
import nbformat
import pytest
from grading_corpus import solved
from safetensors.torch import load_file

import peft_teach as pt
from peft_teach.course import protocol
from peft_teach.course.desk import my_peft_file, work
from peft_teach.course.desk.board import LESSONS
from peft_teach.course.lessons import all_exercises, find, names, of_lesson
from peft_teach.course.publish import check, start_page
from peft_teach.course.publish.authored import read
from peft_teach.course.publish.source import SOLUTION

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "solutions").glob("*/lesson.py"))


def solution(source: Path):
    return nbformat.read(source.with_name(f"{source.parent.name}.ipynb"), as_version=4)


def test_notebooks_are_what_their_sources_give_and_no_solution_is_out():
    assert check.problems(ROOT) == []


FROM_SOURCES = """
from pathlib import Path
from peft_teach.course.publish.notebooks import make
for lesson in make(Path()):
    for file, text in lesson.files.items():
        file.write_text(text, "utf-8")
"""


def test_what_a_build_writes_it_does_not_read(tmp_path):
    """From the sources alone it gives every file that git keeps of an earlier build."""
    written = [*(ROOT / "peft_teach/course/lessons").glob("*/stubs.json"),
               *(ROOT / "peft_teach/course/lessons").glob("*/reference.py")]
    shutil.copytree(ROOT / "peft_teach", tmp_path / "peft_teach", ignore=lambda folder, names: {
        "__pycache__", *(file.name for file in written if file.parent == Path(folder))})
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for source in SOURCES:
        shutil.copytree(source.parent, tmp_path / source.parent.relative_to(ROOT),
                        ignore=shutil.ignore_patterns("*.ipynb", "__pycache__"))
    subprocess.run([sys.executable, "-c", FROM_SOURCES], cwd=tmp_path, check=True,
                   env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert {file: (tmp_path / file.relative_to(ROOT)).read_text("utf-8") for file in written} == {
        file: file.read_text("utf-8") for file in written}


# What each lesson has, and how its source shows it. `peft-teach new lesson` writes all of it.
ANATOMY = {
    "how long it takes, **Time**": r"\*\*Time\*\*",
    "its **Sources**": r"\*\*Sources\*\*",
    "a source on arXiv": "arXiv",
    "a bet before a result, by pt.commit or Guess": r"\b(commit|Guess)\(",
    "an output that is compared, by the tag nbval-check-output": "nbval-check-output",
    "a picture": r"\bpictures\.|plots\.show",
    "a line, not folded, that says where it computes, by pt.device()":
        r"^[^#\n]*(pt\.device\(\)|use_cpu=True)",
}


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.parent.name)
def test_a_lesson_follows_the_anatomy(source):
    cells = read(source)
    assert 2 <= len([c for c in cells if c.part == SOLUTION]) <= 8, f"{source}: 2 to 8 exercises"
    shown = "\n".join(f"{c.source}\n{c.metadata}" for c in cells
                      if not c.metadata.get("jupyter", {}).get("source_hidden"))
    lacking = [what for what, sign in ANATOMY.items() if not re.search(sign, shown, re.MULTILINE)]
    assert not lacking, f"{source} lacks {'; '.join(lacking)}"
    assert not (left := re.findall(r"20YY|0000\.00000", shown)), (
        f"{source}: Sources has the skeleton's {' and '.join(left)}")
    code = "\n".join(c.source for c in cells if c.kind == "code")
    bets = re.findall(r'\b(?:commit|Guess)\(.*?"([a-z]\w*\.[a-z]\w*)"', code, re.DOTALL)
    unanswered = {*bets} - {*re.findall(r'\bcompare\("(.*?)"', code)}
    assert not unanswered, f"{source}: no pt.compare answers the bets {sorted(unanswered)}"
    for cell in cells:
        lines = len(cell.source.splitlines()) if cell.kind == "code" else 0
        assert lines <= 30, f"{cell.where}: {lines} lines are more than a screen"


def test_the_ladder_knows_where_each_rung_is_built():
    built = {rung: source.parent.name[:2] for source in SOURCES for rung in re.findall(
        r'board\.(?:train|offer)\("(.*?)"', source.read_text("utf-8")) if rung in protocol.NAMES}
    assert built == LESSONS, "LESSONS in peft_teach/course/desk/board.py says something else"


# A verdict is one of four words (`verdicts.word`).
OLD_VERDICTS = re.compile(r"no difference seen|could not tell|clearly (better|worse|ahead)", re.I)


def test_a_comparison_ends_in_a_word_of_the_one_verdict():
    files = [*(ROOT / "peft_teach/course").rglob("*.py"),
             *(file for source in SOURCES
               for file in (source, source.with_name("guide.md"), source.with_name("claims.py"))
               if file.exists())]
    for file in files:
        text = re.sub(r"\s+#?\s*", " ", file.read_text("utf-8"))
        assert not (found := OLD_VERDICTS.search(text)), f"{file}: {found[0]}"


def test_a_heading_says_what_the_exercise_says():
    """Its points, its minutes, and whether it is optional, as the card of progress shows them."""
    for source in SOURCES:
        cells = read(source)
        headings = re.findall(r"^### (.* minutes\))$", "\n".join(
            c.source for c in cells if c.kind == "markdown"), re.MULTILINE)
        solved = [c.exercise for c in cells if c.part == SOLUTION]
        for heading, exercise in zip(headings, solved, strict=True):
            assert not re.search(r"· Its | (it|them) \(", heading), (
                f"{source}: {heading!r} stands on START's card, too, where nobody knows what it is")
            points, minutes = re.findall(r"(\d+) (?:point|minute)", heading)
            more = "optional" in heading or "A stretch" in heading
            assert (int(points), int(minutes), more) == (
                exercise.points, exercise.minutes, exercise.optional), (
                    f"{source}: {heading!r} is not what {exercise.id} says in its exercises.py")


def test_a_lesson_has_one_title():
    """In its source, its notebook (which the site shows), the README's table and START's."""
    titles = {source.parent.name: start_page.title(source.read_text("utf-8")) for source in SOURCES}
    assert not any("START.ipynb" in s.read_text("utf-8") for s in SOURCES)    # the build links them
    assert {s.parent.name: solution(s).cells[0].source.partition("\n")[0].removeprefix("# ")
            for s in SOURCES} == titles
    start = nbformat.read(ROOT / "lessons/START.ipynb", as_version=4).cells[-1].source
    assert {name: title for title, name in
            re.findall(r"^\| \[(.+?)\]\((\w+)\.ipynb\) \|", start, re.MULTILINE)} == titles
    readme = (ROOT / "README.md").read_text("utf-8")
    assert {name: title for title, name in re.findall(
        r"^\| \[(.+?)\]\(lessons/(\w+)\.ipynb\) \|", readme, re.MULTILINE)} == titles


@pytest.mark.parametrize("lesson", [name for name in names() if hasattr(
    import_module(f"peft_teach.course.lessons.{name}.exercises"), "LOOPHOLE")])
def test_a_weak_test_has_holes_and_a_law_has_none(lesson):
    exercises = import_module(f"peft_teach.course.lessons.{lesson}.exercises")
    law, loophole = exercises.LAW, exercises.LOOPHOLE
    said = {name: loophole.run(version, {"seed": 0}) for name, version in law.versions.items()}
    through = {name for name in said if said[name]["weak"] is None}
    assert {*law.right} < through < {*said}, (
        f"{loophole.weak} in the lesson must accept each right version and some of the broken "
        f"ones in {lesson}/mutants.py: it accepts {sorted(through)}")
    assert [name for name in said if not any(said[name]["law"])] == [*law.right]


def test_what_nbval_compares_and_what_a_page_shows_is_stored():
    for source in SOURCES:
        cells = [c for c in solution(source).cells if c.cell_type == "code"]
        tagged = [c for c in cells if "nbval-check-output" in c.metadata.get("tags", ())]
        assert tagged, source
        shown = [c for c in cells
                 if re.search(r"^(pt\.plots\.show|.* = pt\.check)\(", c.source, re.MULTILINE)]
        assert shown, source
        lost = [c.source for c in (*tagged, *shown) if not c.outputs]
        assert not lost, f"{source}: no stored output of {lost}: peft-teach build --execute NN"


def test_a_solved_lesson_has_all_points_and_every_figure_a_text():
    for source in SOURCES:
        cells = solution(source).cells
        page = str([c.outputs for c in cells if c.cell_type == "code"])
        assert page.count(": passed (") >= len(of_lesson(source.parent.name[:2])), source
        cards = {*re.findall(r": ([\w ]+) \(\d+ of \d+ points", page)}    # progress may differ
        assert cards == {"passed"}, f"{source}: a card says {cards}: execute it anew"
        assert page.count("<img ") == page.count('<img alt="') > 0, source
        assert 'alt=""' not in page, source
        trains = "pt.board.train(" in source.read_text("utf-8")    # .ci/run stops it early
        assert (f"step {protocol.STEPS} of {protocol.STEPS}" in page) == trains, source


DESKS = {source: re.findall(r"## At your desk.*?```python\n(.*?)```", "\n".join(
    cell.source for cell in read(source) if cell.kind == "markdown"), re.DOTALL)
    for source in SOURCES}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::FutureWarning")    # peft asks transformers by an old name
@pytest.mark.parametrize("source", [s for s in DESKS if DESKS[s]], ids=lambda s: s.parent.name)
def test_the_code_for_the_desk_runs(source, monkeypatch, tmp_path, capsys):
    """With the real library, on a plain model, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    chat = any("apply_chat_template" in code for code in DESKS[source])
    model, tokenizer = pt.models.load(*(["smollm2"] if chat else ["minilm", 2]))
    names = {"model": model, "tokenizer": tokenizer, "name": model.name_or_path}
    for code in DESKS[source]:
        exec(code, names)
    assert "trainable params" in capsys.readouterr().out
    if plain := names.get("plain"):
        assert not any(part in name for name, _ in plain.named_modules()
                       for part in ("lora_", "ia3_"))
    saved, = tmp_path.glob("*/adapter_model.safetensors")
    assert chat or any("classifier" in name for name in load_file(saved))    # the head is there


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder whose `my_peft.py` holds the whole course, nothing of it as we wrote it.

    Gives the folder and the cells: of each exercise the last right answer whose helpers bear no
    name that another's has taken.
    """
    folder, cells = tmp_path_factory.mktemp("reader"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(work.VARIABLE, str(folder))
        for exercise in all_exercises():
            for text in reversed(answers.right(exercise.id).values()):
                cells[exercise.id] = answers.cell(text)
                if not exercise.kept:
                    break
                said = my_peft_file.keep(exercise, [cells[exercise.id]])
                if said == "It is kept in my_peft.py.":
                    break
                assert "is already there for" in said, (exercise.id, said)
            else:
                pytest.fail(f"{exercise.id}: {said}")
    return folder, cells


@pytest.mark.long
@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.parent.name)
def test_a_reader_runs_each_cell_twice(source, reader, tmp_path):
    """Each cell runs once more before the next one, in a lesson that a reader has solved.

    The answers are a reader's, and so are the pieces of earlier lessons. A piece that passed its
    check is asked for nothing more, by its own lesson or by a later one.
    """
    from nbclient import NotebookClient

    folder, cells = reader
    before = (folder / my_peft_file.FILE).read_text("utf-8")
    lesson, exercises = source.parent.name[:2], of_lesson(source.parent.name[:2])
    notebook = nbformat.reads(json.dumps(solved(lesson, **{
        e.id.replace(".", "_"): cells[e.id] for e in exercises})), as_version=4)
    notebook.cells = [nbformat.from_dict({**cell, "id": cell.id + turn})
                      for cell in notebook.cells if cell.cell_type == "code" for turn in "ab"]
    NotebookClient(notebook, kernel_name="python3", timeout=300,
                   resources={"metadata": {"path": str(tmp_path)}}).execute(
        env={**os.environ, "PEFT_TEACH_BUDGET": "smoke", work.VARIABLE: str(folder)})
    page = str([cell.outputs for cell in notebook.cells])
    assert all(page.count(f"{e.id}: passed (") >= 2 for e in exercises)
    assert (folder / my_peft_file.FILE).read_text("utf-8") == before
    assert "the course's: " not in page    # what `mine` says of a piece that is not the reader's
    for asked in re.findall(r"pt\.mine\((.*?)\)", "\n".join(c.source for c in notebook.cells)):
        names = [name for id in re.findall(r"\w+\.\w+", asked) for name in find(id).names]
        assert f"yours: {', '.join(names)}" in page
