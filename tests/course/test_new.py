"""`peft-teach new`: what it writes, what it refuses, and that the skeletons do what they should.

The long ones let a method and a lesson come into a checkout of their own, as a contributor would.
"""

import ast
import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peft_teach.course.publish import new
from peft_teach.errors import PeftTeachError
from peft_teach.methods import METHODS

ROOT = Path(__file__).parents[2]
EDITED = ("peft_teach/methods/__init__.py", "peft_teach/__init__.py",
          "peft_teach/export/writing.py", "tests/library/test_laws.py", "README.md")


@pytest.fixture
def tree(tmp_path):
    """What `new` reads of a checkout."""
    for path in EDITED:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    shutil.copytree(ROOT / new.SKELETON, tmp_path / new.SKELETON)
    (tmp_path / "solutions/07_lora").mkdir(parents=True)
    (tmp_path / "tests/course").mkdir()
    (tmp_path / "tests/course/test_build.py").touch()
    return tmp_path


def files(tree):
    return {path.relative_to(tree).as_posix(): path.read_text("utf-8")
            for path in tree.rglob("*") if path.is_file()}


def changed(before, after):
    return {name for name in after if before.get(name) != after[name]}


def test_a_method_comes_with_its_files_and_its_rows(tree):
    before = files(tree)
    said = new.method(tree, "tried")
    after = files(tree)
    made = {"peft_teach/methods/tried.py", "assets/site/methods/tried.py",
            "tests/oracles/test_tried_oracle.py"}
    assert changed(before, after) == {*made, *EDITED[:4]}
    assert all(name in said for name in (*made, *EDITED[:4], "pytest --method tried"))
    assert not any(re.search(r"\bNAME|Name\b", after[name]) for name in made)
    for name in EDITED[:4]:    # one row more, and nothing else
        lines = {*after[name].splitlines()} - {*before[name].splitlines()}
        assert 1 <= len(lines) <= 6, name
        assert any("tried" in line for line in lines), name
    tables = {ast.unparse(node.targets[0]): node.value for name in EDITED[:4]
              for node in ast.parse(after[name]).body if isinstance(node, ast.Assign)}
    assert [key.value for key in tables["METHODS"].keys][-1] == "tried"    # of the laws, read last
    assert "tried" in ast.literal_eval(tables["__all__"])
    subprocess.run(["ruff", "check", "--config", ROOT / "pyproject.toml", tree / "peft_teach",
                    *(tree / name for name in made)], check=True)


def test_a_second_method_is_one_row_more(tree):
    for name in ("tried", "a_method_with_a_long_name", *(f"m{number}" for number in range(9))):
        new.method(tree, name)
    listed = ast.parse(files(tree)["peft_teach/methods/__init__.py"]).body
    imported, table = listed[1], listed[2]
    names = [alias.name for alias in imported.names]
    assert names == sorted(names)
    assert {key.value for key in table.value.keys} == {*names} > {*METHODS, "tried", "m8"}
    subprocess.run(["ruff", "check", "--config", ROOT / "pyproject.toml", tree / EDITED[0],
                    tree / EDITED[1]], check=True)


def test_a_method_is_called_as_its_paper_calls_it(tree):
    new.method(tree, "VeLoRA")
    card, code = (tree / f"{folder}/methods/velora.py" for folder in ("assets/site", "peft_teach"))
    assert 'TITLE = "VeLoRA"' in card.read_text("utf-8")
    assert "class VeLoRALinear(" in code.read_text("utf-8")


def test_a_lesson_comes_with_its_files_and_a_row(tree):
    before = files(tree)
    said = new.lesson(tree, "90", "small")
    after = files(tree)
    assert changed(before, after) == {
        "README.md", "tests/course/test_small.py",
        *(f"solutions/90_small/{name}" for name in (
            "lesson.py", "guide.md", "further.py", "answers.py", "claims.py", "drawn.py")),
        *(f"peft_teach/course/lessons/small/{name}" for name in (
            "__init__.py", "exercises.py", "pictures.py"))}
    rows = [line for line in after["README.md"].splitlines() if re.match(r"\| \[\d\d ", line)]
    assert rows[-1] == ("| [90 · Small: which question does it ask?](lessons/90_small.ipynb) "
                        "| a function, a value |")
    assert rows[:-1] == [line for line in before["README.md"].splitlines()
                         if re.match(r"\| \[\d\d ", line)]
    assert "peft-teach build --execute 90" in said
    assert "pytest --lesson small" in said


@pytest.mark.parametrize(("ask", "says"), [
    (lambda tree: new.method(tree, "lora"), "'lora' is taken"),
    (lambda tree: new.method(tree, "LoRA"), "'lora' is taken"),
    (lambda tree: new.method(tree, "train"), "'train' is taken"),
    (lambda tree: new.method(tree, "export"), "'export' is taken"),
    (lambda tree: new.method(tree, "My-Method"), "'my-method' is not a module name"),
    (lambda tree: new.method(tree, "../x"), "is not a module name"),
    (lambda tree: new.method(tree, "lambda"), "is not a module name"),
    (lambda tree: new.method(tree, ""), "is not a module name"),
    (lambda tree: new.lesson(tree, "90", "lora"), "'lora' is taken"),
    (lambda tree: new.lesson(tree, "90", "build"), "'build' is taken"),
    (lambda tree: new.lesson(tree, "90", "Small"), "is not a module name"),
    (lambda tree: new.lesson(tree, "07", "small"), "Lesson 07 already exists: 07_lora"),
    (lambda tree: new.lesson(tree, "7", "small"), "'7' is not a lesson number"),
    (lambda tree: new.lesson(tree / "tests", "90", "small"), "is missing.*checkout"),
])
def test_what_is_taken_or_no_name_is_refused_and_nothing_written(tree, ask, says):
    before = files(tree)
    with pytest.raises(PeftTeachError, match=says.replace(".*", "(.|\n)*")):
        ask(tree)
    assert files(tree) == before


def test_a_file_that_stands_there_is_left_alone(tree):
    (tree / "tests/oracles").mkdir()
    (tree / "tests/oracles/test_tried_oracle.py").write_text("mine")
    before = files(tree)
    with pytest.raises(PeftTeachError, match=r"test_tried_oracle\.py already exists"):
        new.method(tree, "tried")
    assert files(tree) == before


# ── in a whole checkout ──────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of all that git keeps here."""
    root = tmp_path_factory.mktemp("whole") / "checkout"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(
        ".git", "__pycache__", ".pytest_cache", ".ruff_cache", "build", "work", "*.webp"))
    return root


def run(checkout, *arguments):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], cwd=checkout, capture_output=True, text=True,
        check=False, env=os.environ | {"PYTHONPATH": str(checkout)})


@pytest.mark.long
def test_a_new_method_fails_for_want_of_its_words_an_oracle_and_records_only(checkout):
    cli = "peft_teach.course.cli"
    assert run(checkout, cli, "new", "method", "tried").returncode == 0
    assert run(checkout, cli, "build", "00").returncode == 0
    done = run(checkout, "pytest", "--method", "tried", "-n", "0", "-q", "--tb=line")
    assert {*re.findall(r"FAILED \S+::(\w+)", done.stdout)} == {
        "test_a_method_file_has_what_the_library_asks_of_one",
        "test_another_implementation_gives_the_same", "test_the_stored_record_is_whole",
        "test_every_list_has_the_methods_of_the_table"}, done.stdout[-3000:]
    assert "write the oracle: `reference` in tests/oracles/test_tried_oracle.py" in done.stdout
    assert "benchmark.py --methods full" in done.stdout


@pytest.mark.long
def test_a_new_lesson_fails_for_want_of_a_source_only(checkout, tmp_path):
    cli = "peft_teach.course.cli"
    assert run(checkout, cli, "new", "lesson", "90", "small").returncode == 0
    built = run(checkout, cli, "build", "90", "--execute")
    assert built.returncode == 0, built.stderr[-3000:]
    done = run(checkout, "pytest", "--lesson", "small", "-n", "0", "-q", "--tb=line",
               "-k", "not twice and not installs")    # long, and no skeleton moves them
    assert {*re.findall(r"FAILED \S+::(\w+)", done.stdout)} == {
        "test_a_lesson_follows_the_anatomy"}, done.stdout[-3000:]
    assert "lesson.py: Sources has the skeleton's 20YY" in done.stdout
    graded = run(checkout, cli, "grade", "solutions/90_small/90_small.ipynb", "--out", tmp_path,
                 "--solutions", "solutions")
    assert graded.returncode == 0, graded.stderr[-3000:]
    row, = csv.DictReader((tmp_path / "grades.csv").read_text("utf-8-sig").splitlines())
    assert [float(row[id]) for id in ("small.saved", "small.largest")] == [2, 1]
