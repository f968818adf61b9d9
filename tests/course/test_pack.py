"""`peft-teach pack`: what the reader wrote becomes a package that pip takes, or nothing happens."""

import os
import subprocess
import sys

import answers
import pytest

from peft_teach.course.cli import main
from peft_teach.course.desk import work
from peft_teach.course.desk.my_peft_file import FILE, added
from peft_teach.course.lessons import find


@pytest.fixture
def desk(reader_folder):
    """A folder of notebooks where two answers have passed; one uses a piece of the course's."""
    text = ""
    for id in ("lora.layer", "capstone.laws"):
        text = added(find(id), [answers.cell(answers.right(id)["the solution"])], text)
    (reader_folder / FILE).write_text(text, "utf-8")
    return reader_folder


@pytest.mark.long
def test_pip_installs_it_and_it_works_alone(desk, capsys):
    work.write("capstone.name", "I put my name to {this}.")
    made = desk / "mine"
    assert main(["pack", str(made)]) == 0
    assert "2 pieces of yours, 1 of the course's" in capsys.readouterr().out
    page = (made / "README.md").read_text("utf-8")
    assert "> I put my name to {this}.\n" in page
    assert "| 07 | LoRALinear | mine |" in page
    assert "| 01 | frozen_stays | the course's |" in page
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps",
           "--no-build-isolation", "--target", str(desk / "there"), str(made)]
    subprocess.run(pip, check=True, cwd=desk)
    said = subprocess.run(
        [sys.executable, "-c", "import my_peft; from my_peft import keeps_the_laws; print(my_peft."
         "__file__); keeps_the_laws(lambda base: my_peft.LoRALinear(base, 2, 4.0))"],
        check=True, cwd=desk / "there", capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(desk / "there")})
    assert str(desk / "there") in said.stdout
    listed = [file.name for file in (desk / "there").glob("my_peft-1.0.0*")]
    assert listed == ["my_peft-1.0.0.dist-info"]


@pytest.mark.parametrize(("break_it", "says"), [
    (lambda desk: (desk / FILE).unlink(), "is missing"),
    (lambda desk: (desk / FILE).write_text("import nothing_such"), "ModuleNotFoundError"),
    (lambda desk: (desk / FILE).write_text("a = 1"), "holds no piece"),
    (lambda desk: (desk / FILE).write_bytes(b"\xff\xfe"), "is not text"),
    (lambda desk: (desk / "mine").mkdir() or (desk / "mine/x").write_text("keep"),
     "already exists"),
    (lambda desk: (desk / "mine").write_text("keep"), "already exists"),
], ids=["missing", "broken", "empty", "bytes", "full", "a file"])
def test_what_cannot_be_packed_is_told_and_nothing_is_written(desk, break_it, says, capsys):
    break_it(desk)
    before = {file: file.is_file() and file.read_bytes() for file in desk.rglob("*")}
    assert main(["pack", str(desk / "mine")]) == 1
    told = capsys.readouterr().err
    assert says in told
    assert "Try: " in told
    assert {file: file.is_file() and file.read_bytes() for file in desk.rglob("*")} == before
