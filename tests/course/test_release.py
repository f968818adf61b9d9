"""What students get: it installs, its lessons run, and nothing in it gives a mark away."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import answers
import nbformat
import pytest
from exact import files
from grading_corpus import ROOT

from peft_teach.course.cli import main
from peft_teach.course.grade import further
from peft_teach.course.lessons import all_exercises
from peft_teach.course.publish.authored import solution
from peft_teach.course.publish.release import release, secrets_in
from peft_teach.course.publish.source import BEGIN
from peft_teach.errors import PeftTeachError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    out = tmp_path_factory.mktemp("release") / "peft-teach"
    assert "lessons and the package" in release(ROOT, out)
    return out


def text_of(path: Path) -> str:
    """What can be read in a file, without white space."""
    if path.suffix == ".ipynb":
        return "".join("".join(cell.source.split()) for cell in nbformat.read(path, 4).cells)
    return "".join(path.read_text("utf-8", errors="replace").split())


def test_it_holds_lessons_and_package_and_nothing_of_ours(bundle):
    assert sorted(path.name for path in bundle.iterdir()) == [
        "CITATION.cff", "LICENSE", "README.md", "assets", "lessons", "peft_teach", "pyproject.toml"]
    assert sorted(p.name for p in (bundle / "lessons").iterdir()) == sorted(
        p.name for p in (ROOT / "lessons").glob("*.ipynb"))
    for kind in ("solutions", "tests", "__pycache__", ".git"):
        assert not [*bundle.rglob(f"*{kind}*")]
    assert [path.parent.name for path in bundle.rglob("*further*")] == ["grade"]
    assert (bundle / "peft_teach/course/lessons/lora/stubs.json").exists()


def test_some_lessons_alone_lead_to_no_other(tmp_path):
    release(ROOT, tmp_path / "two", ["7", "08_qlora"])
    pages = {path.name: path.read_text("utf-8") for path in (tmp_path / "two/lessons").iterdir()}
    assert set(pages) == {"07_lora.ipynb", "08_qlora.ipynb", "START.ipynb"}
    links = {link for page in pages.values() for link in re.findall(r"\]\((\d\d_\w+)", page)}
    assert links == {"07_lora", "08_qlora"}
    assert all(nbformat.reads(page, 4).cells for page in pages.values())
    assert (tmp_path / "two/peft_teach/course/lessons/full/stubs.json").exists()
    with pytest.raises(PeftTeachError, match="no lesson 77"):
        release(ROOT, tmp_path / "none", ["07", "77"])
    assert not (tmp_path / "none").exists()


def test_no_further_case_and_no_wrong_answer_is_in_it(bundle):
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert secrets_in(ROOT, [ROOT / path.relative_to(bundle) for path in files]) == []
    wrong = [cut for exercise in all_exercises()
             for texts in answers.wrong(exercise.id).values()
             for cut in ("".join(text.split()) for text in texts)
             if cut not in "".join(solution(exercise.id).split())]    # but its beginning
    for path in files:
        text = text_of(path)
        assert not [code for code in wrong if code in text], path
        if path.suffix == ".ipynb":
            assert "".join(BEGIN.split()) not in text


def test_a_further_case_that_got_out_is_found(tmp_path):
    """One line of each file of further cases, in another spacing, in one of the files given out."""
    for name in ("lessons", "peft_teach", "assets"):
        (tmp_path / name).mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "CITATION.cff"):
        (tmp_path / name).write_text(name)
    for name, text in further.read(ROOT / "solutions"):
        (tmp_path / "solutions" / name).parent.mkdir(parents=True)
        (tmp_path / "solutions" / name).write_text(text)
        line = next((line for line in text.splitlines() if len(re.findall(r"\d+", line)) > 3), "")
        if not line:    # the capstone's further cases are what is handed in
            continue
        (tmp_path / "lessons/notes.md").write_text(f"Note: {line.replace(' ', '  ')}")
        with pytest.raises(PeftTeachError, match=r"lines of further cases:\nlessons/notes\.md"):
            release(tmp_path, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    (tmp_path / "lessons/notes.md").unlink()
    release(tmp_path, tmp_path / "out")


def test_it_refuses_what_it_should(bundle, tmp_path, capsys):
    assert main(["release", "--root", str(ROOT), "--out", str(bundle)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert main(["release", "--root", str(bundle), "--out", str(tmp_path / "x")]) == 1
    assert "is not a checkout" in capsys.readouterr().err


@pytest.mark.long
def test_it_installs_and_a_lesson_runs(bundle, tmp_path):
    """In an environment that has all packages but this one, from the bundle alone."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    site = next((tmp_path / "venv/lib").glob("python*/site-packages"))
    (bundle / "lessons/my_peft.py").write_text("somebody worked there")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target",
                    str(site), str(bundle)], check=True)
    (site / "others.pth").write_text("\n".join(
        path for path in sys.path if path.endswith("site-packages")))

    def run(code: str, *arguments: str) -> str:
        environment = os.environ | {"PEFT_TEACH_BUDGET": "smoke", "PYTHONPATH": ""}
        return subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True,
                              check=True, env=environment, cwd=tmp_path).stdout

    assert str(site) in run("import peft_teach; print(peft_teach.__file__)")
    records = {f"_records/{name}": held for name, held in files(ROOT / "assets/records").items()}
    (bundle / "lessons/my_peft.py").unlink()
    lessons = files(bundle / "lessons")
    # What is installed is what is here, so each lesson meets there what it meets here.
    assert files(site / "peft_teach") == files(ROOT / "peft_teach") | records | {
        f"_lessons/{name}": held for name, held in lessons.items()}
    assert lessons == {name: held for name, held in files(
        ROOT / "lessons").items() if name.endswith(".ipynb")}
    lesson, = (bundle / "lessons").glob("06_*.ipynb")    # it reads a record and draws pictures
    run("import nbformat, sys\nfrom nbclient import NotebookClient\n"
        "nb = nbformat.read(sys.argv[1], 4)\n"
        "NotebookClient(nb, timeout=600, kernel_name='python3').execute()\n"
        "said = [o for c in nb.cells for o in c.get('outputs', [])]\n"
        "assert said and not any(o.output_type == 'error' for o in said)", str(lesson))
