"""`peft-teach start`: what is copied, what stays as the reader left it, and what is opened."""

import os
import subprocess
import sys
import time
import urllib.request
import webbrowser
from pathlib import Path
from types import SimpleNamespace

import pytest

from peft_teach.course import lessons
from peft_teach.course.cli import main
from peft_teach.course.desk import start


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """The folder of an installation's notebooks, two of them."""
    folder = tmp_path / "_lessons"
    folder.mkdir()
    for name in ("00_inside", "START"):
        (folder / f"{name}.ipynb").write_text(f"{name}, first")
    monkeypatch.setattr(lessons, "INSTALLED", folder)
    return folder


def texts(folder):
    return {path.name: path.read_text() for path in sorted(folder.iterdir())
            if path.name != start.GIVEN_OUT}


def test_a_changed_notebook_stays_and_a_newer_one_comes_beside_it_once(shipped, tmp_path):
    mine = tmp_path / "mine ä"
    assert "2 notebooks written, 0 there already." in start.copy(mine)
    (mine / "00_inside.ipynb").write_text("my work")
    (mine / "my_peft.py").write_text("my own")
    assert "0 notebooks written, 2 there already." in start.copy(mine)
    left = {"00_inside.ipynb": "my work", "my_peft.py": "my own", "START.ipynb": "START, first"}
    assert texts(mine) == left
    for name in ("00_inside", "START"):
        (shipped / f"{name}.ipynb").write_text(f"{name}, second")
    newer = {"00_inside-2.ipynb": "00_inside, second", "START.ipynb": "START, second"}
    assert "1 notebooks written, 0 there already, newer ones beside yours: 00_" in start.copy(mine)
    assert "0 notebooks written, 2 there already." in start.copy(mine)
    assert texts(mine) == left | newer


def test_a_notebook_of_unknown_origin_stays(shipped, tmp_path):
    """What was given out is not known, or its list is damaged."""
    (tmp_path / "00_inside.ipynb").write_bytes(b"\xff mine")
    (tmp_path / start.GIVEN_OUT).write_text("[1")
    start.copy(tmp_path)
    assert (tmp_path / "00_inside.ipynb").read_bytes() == b"\xff mine"
    assert (tmp_path / "00_inside-2.ipynb").read_text() == "00_inside, first"


def test_it_opens_the_page_that_leads_to_the_lessons(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "theirs")
    opened = []
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", SimpleNamespace(main=opened.append))
    assert main(["start", "--no-browser"]) == 0
    assert main(["start", "--port", "9", "mine", "--ServerApp.base_url=/x", "--allow-root"]) == 0
    assert [[page, *options[-given:]] for (page, *options), given in zip(opened, (1, 3))] == [
        [str(tmp_path / "peft-teach/START.ipynb"), "--no-browser"],
        [str(tmp_path / "mine/START.ipynb"), "--port=9", "--ServerApp.base_url=/x",
         "--allow-root"]]
    assert "--LabApp.default_url=/lab/tree/START.ipynb" in opened[0]
    theirs, *_, ours = os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert theirs == "theirs"
    assert "announcements" in (Path(ours) / "labconfig/page_config.json").read_text()    # news


def test_a_server_that_runs_there_is_opened_and_no_second_one(shipped, tmp_path, monkeypatch,
                                                               capsys):
    """Unless another port is asked for; one that does not answer is none."""
    for name in ("RUNTIME", "CONFIG", "DATA"):
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(tmp_path / name))
    started, opened = [], []
    monkeypatch.setattr("jupyterlab.labapp.main", started.append)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    mine = tmp_path / "mine"
    start.copy(mine)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0",
               str(mine / "START.ipynb")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            while not opened and len(started) < 200:    # as long as it may take to answer
                time.sleep(0.3)
                start.open_lab(mine)
            address, = opened
            with urllib.request.urlopen(address) as page:
                assert "START.ipynb" in page.url
                assert "JupyterLab" in page.read().decode()
            started.clear()
            port = address.split(":")[2].partition("/")[0]
            assert main(["start", str(mine), "--port", port, "--no-browser", "--ServerApp.x=a=b"
                         ]) == 0
            assert capsys.readouterr().out.endswith(f"JupyterLab runs there already: {address}\n")
            assert (started, opened) == ([], [address])
            start.open_lab(mine, ["--port=1"])
            start.open_lab(tmp_path)
            file, = (tmp_path / "RUNTIME").glob("jpserver-*.json")
            file.write_text(file.read_text().replace(port, "1"))    # after a crash
            start.open_lab(mine)
            assert (len(started), opened) == (3, [address])
        finally:
            server.terminate()


def test_root_is_told_what_to_type(shipped, tmp_path, monkeypatch, capsys):
    """JupyterLab itself says it above many lines of its own, and stops."""
    def refuses(options):
        raise SystemExit(1)

    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", SimpleNamespace(main=refuses))
    monkeypatch.setattr("os.geteuid", lambda: 0, raising=False)
    assert main(["start", str(tmp_path / "mine")]) == 1
    assert "peft-teach start --allow-root --no-browser --ip=0.0.0.0" in capsys.readouterr().err
    with pytest.raises(SystemExit):    # told, and stopped for another reason
        main(["start", str(tmp_path / "mine"), "--allow-root"])


def no_home(options):
    raise PermissionError(13, "Permission denied", "/home/nobody")


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda here, patch: patch.setitem(sys.modules, "jupyterlab.labapp",
                                       SimpleNamespace(main=no_home)), "/home/nobody"),
    (lambda here, patch: (here / "mine/peft_teach").mkdir(parents=True), "is a checkout"),
    (lambda here, patch: (here / "mine").write_text(""), "cannot be written"),
    (lambda here, patch: patch.setitem(sys.modules, "jupyterlab.labapp", None), "pip install jup")])
def test_what_cannot_be_is_told_with_what_to_try(shipped, tmp_path, monkeypatch, capsys, spoil,
                                                 message):
    spoil(tmp_path, monkeypatch)
    assert main(["start", str(tmp_path / "mine")]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert "\nTry: " in told


def test_a_checkouts_own_lessons_are_left_as_they_are(shipped):
    before = texts(shipped)
    assert "git will see" in start.copy(shipped)
    assert texts(shipped) == before
    assert not (shipped / start.GIVEN_OUT).exists()


def test_a_checkout_gives_out_its_own_lessons():
    """Asked of the true folders: where they stand depends on how deep this file lies."""
    root = Path(__file__).parents[2]
    assert root / "lessons" == lessons.CHECKOUT
    assert root / "peft_teach/_lessons" == lessons.INSTALLED    # as pyproject.toml has it
    assert list(lessons.CHECKOUT.glob("[0-9][0-9]_*.ipynb"))
