"""The command line."""

# ruff: noqa: F811 (fixtures are imported, and asked for by their names)

import errno
import re

import pytest
from demo_course import demo, tree  # noqa: F401

from peft_teach import fetch
from peft_teach.course.cli import main
from peft_teach.errors import FetchError


def test_build_and_check(tree, capsys):
    root = ["--root", str(tree)]
    assert main(["build", "--check", *root]) == 1
    assert "lessons/97_demo.ipynb: is missing" in capsys.readouterr().err
    assert not (tree / "lessons").exists()

    assert main(["build", *root]) == 0
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["97_demo", "98_later"]
    assert err == ""
    assert main(["build", "--check", *root]) == 0
    assert main(["build", "98", *root]) == 0
    assert capsys.readouterr().err == ""


def test_alone_it_prints_its_commands_a_line_each(capsys):
    assert main([]) == 0
    told = capsys.readouterr().out
    for command in ("start", "pack", "fetch", "new", "build", "grade", "release", "site"):
        assert re.search(rf"^    {command} +\w", told, re.MULTILINE)


def test_only_start_hands_on_what_it_does_not_know(capsys):
    with pytest.raises(SystemExit):
        main(["fetch", "--port=9"])
    assert "unrecognized arguments: --port=9" in capsys.readouterr().err


def test_here_is_the_default(tree, capsys, monkeypatch):
    monkeypatch.chdir(tree)
    assert main(["build"]) == 0
    assert (tree / "lessons/97_demo.ipynb").exists()


@pytest.mark.parametrize("arguments", [["build", "07"], ["build", "--check", "97"]])
def test_an_error_is_a_message(tree, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tree)
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) == 2


def test_fetch(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(fetch, "fetch_all", lambda: calls.append(1))
    assert main(["fetch"]) == 0
    assert calls == [1]

    def fails():
        raise FetchError("No network.", hint="go online once")

    monkeypatch.setattr(fetch, "fetch_all", fails)
    assert main(["fetch"]) == 1
    assert capsys.readouterr() == ("", "No network.\nTry: go online once\n")


def test_a_full_disk_is_a_message_and_leaves_the_notebooks(tree, capsys, monkeypatch):
    def full(path, data):
        with open(path, "wb") as file:
            file.write(data[:20])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    main(["build", "--root", str(tree)])
    before = {path: path.read_bytes() for path in tree.rglob("*.*")}
    source, = (tree / "solutions").glob("97_*/lesson.py")
    source.write_text(source.read_text().replace("# ", "# More: ", 1))
    before[source] = source.read_bytes()
    capsys.readouterr()
    monkeypatch.setattr(type(tree), "write_bytes", full)
    assert main(["build", "--root", str(tree)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert {path: path.read_bytes() for path in tree.rglob("*.*")} == before


@pytest.mark.parametrize("arguments", [["nothing"], ["build", "--check", "--execute"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: peft-teach" in capsys.readouterr().err


def test_help_of_grade_has_its_defaults_and_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["grade", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for default in ("each notebook its own", "all cores", "20", "1024", "outside of Linux only",
                    "the visible ones alone decide"):
        assert f"default: {default}" in text
    assert "example: peft-teach grade submissions.zip --out marks" in text
