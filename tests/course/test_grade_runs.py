"""Whole runs of the grader, an instructor's evening with it, and the report that is left."""

import base64
import csv
import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote

import psutil
import pytest
from exact import files
from grading_corpus import ROOT, solved, untouched

from peft_teach.course import records
from peft_teach.course.grade import Options, engine, feedback, grade, job, report
from peft_teach.course.grade.row import Row
from peft_teach.course.grade.runner import Runner
from peft_teach.course.lessons import find, of_lesson
from peft_teach.errors import PeftTeachError


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three submissions, graded once in this process; the folder of `in` and `out`."""
    folder = tmp_path_factory.mktemp("small")
    for student, given in (("anna", solved("00")), ("bo", untouched("00")), ("cy", solved("00"))):
        path = folder / f"in/{student}/00_inside.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(given | {"cells": [
            *given["cells"], {"cell_type": "markdown", "source": student}]}))
    with pytest.MonkeyPatch.context() as patched:    # tasks still must be fit to be sent
        patched.setattr(engine, "run", lambda tasks, **named: (
            (name, function(*arguments)) for name, task in tasks.items()
            for function, *arguments in [pickle.loads(pickle.dumps(task))]))
        grade(folder / "in", folder / "out")
    return folder


def weaker(results: Path) -> None:
    """Let the first answer that ran have run on a machine without Landlock and seccomp."""
    for path in sorted(results.iterdir()):
        marks = json.loads(path.read_text())
        for mark in marks:
            if mark["confined"]:
                mark["confined"] = ["limits", "sockets"]
                path.write_text(json.dumps(marks))
                return


def test_the_command(small, tmp_path, capsys):
    from peft_teach.course.cli import main

    assert main(["grade", str(small / "in"), "--out", str(small / "out")]) == 0
    assert "3 graded, 0 to look at" in capsys.readouterr().out
    if sys.platform == "linux":
        page = (small / "out/report.html").read_text(encoding="utf-8")
        assert "The sandbox: limits, landlock, capabilities, seccomp." in page
    shutil.copytree(small / "in", tmp_path / "in")
    (tmp_path / "in/di.ipynb").write_text("")
    shutil.copytree(small / "out", tmp_path / "out")
    weaker(tmp_path / "out/results")
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    assert "3 graded, 1 could not be, 1 to look at" in capsys.readouterr().out
    if sys.platform == "linux":
        page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
        assert "not the same for all answers" in page
        assert "; 1 in limits, sockets." in page
    assert main(["grade", str(tmp_path / "out/results"), "--out", str(tmp_path)]) == 1
    assert "There is no notebook" in capsys.readouterr().err


@pytest.mark.long
def test_an_interrupted_run_goes_on_to_the_same_bytes(small, tmp_path, monkeypatch):
    """What is done is not done again, and what comes of both is as if nothing had happened.

    With two processes where the other run had none: the same input gives the same bytes.
    """
    done, run = [], engine.run

    def stops(tasks, **named):
        for result in run(tasks, **named):
            yield result
            done.append(result)
            if len(done) == 2:    # the proof of the reference, and one submission
                raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run", stops)
    with pytest.raises(KeyboardInterrupt):
        grade(small / "in", tmp_path, Options(jobs=1))
    assert len(list((tmp_path / "results").iterdir())) == 1
    assert not (tmp_path / "grades.csv").exists()

    tasks_of = []
    monkeypatch.setattr(engine, "run", lambda tasks, **named: (
        tasks_of.append(len(tasks)), run(tasks, **named))[1])
    grade(small / "in", tmp_path, Options(jobs=2))
    assert tasks_of == [1 + 2]
    assert files(tmp_path) == files(small / "out")
    assert len(files(tmp_path)) == 3 + 3 + 3    # results, pages; the table, the report, its picture
    grade(small / "in", tmp_path, Options(jobs=1))
    assert tasks_of == [3, 0]


@pytest.mark.long
def test_dask_gives_the_same_bytes(small, tmp_path):
    """On a local cluster of two workers."""
    grade(small / "in", tmp_path, Options(dask="local:2"))
    assert files(tmp_path) == files(small / "out")


@pytest.mark.long
def test_a_broken_grader_grades_nobody(small, tmp_path):
    """Further cases that the reference itself fails are the instructor's mistake."""
    (tmp_path / "00_inside").mkdir()
    (tmp_path / "00_inside/further.py").write_text(
        'CASES = {"inside.linear": lambda: [{"n_in": "x", "n_out": 2}]}')
    with pytest.raises(PeftTeachError, match=r"(?s)reference of lesson 00 gets no points.*linear"):
        grade(small / "in", tmp_path / "out", Options(solutions=tmp_path, jobs=1))
    assert not list((tmp_path / "out").glob("*/*"))


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="counts the processes of Linux")
@pytest.mark.parametrize(("way", "sent"), [
    ((), signal.SIGKILL), (("--fresh",), signal.SIGKILL), (("--fresh",), signal.SIGINT)])
def test_where_the_grader_is_killed_nothing_stays(tmp_path, way, sent):
    """Neither what serves nor what runs, not even an answer that sleeps for a minute."""
    for student in ("anna", "bo"):
        path = tmp_path / f"in/{student}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"cells": [
            {"cell_type": "code", "source": f"{student} = 'lora.count'"},
            {"cell_type": "code", "source": "def lora_count(*sizes):\n    import time\n"
             "    open('asleep', 'w').close()\n    time.sleep(60)"}]}))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    grader = subprocess.Popen(
        [sys.executable, "-m", "peft_teach.course.cli", "grade", str(tmp_path / "in"), "--out",
         str(tmp_path / "out"), "--jobs", "2", "--seconds", "120", *way], stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(scratch)}, cwd=ROOT)
    try:
        deadline = time.monotonic() + 300
        while len(list(scratch.glob("*/asleep"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        below = psutil.Process(grader.pid).children(recursive=True)
        assert len(below) >= (7 if not way else 5)    # a tracker, workers, servers, answers
    finally:
        grader.send_signal(sent)
        grader.wait()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)
    assert (way and sent == signal.SIGKILL) or not list(scratch.glob("peft-teach-*"))


class Suicidal:
    """Work that kills its process, unless it is alone there."""

    def __call__(self, number):
        if number == 2:
            os._exit(1)
        return number * 10


@pytest.mark.long
def test_a_job_that_kills_its_process_costs_no_other_one():
    found = dict(engine.run({n: (Suicidal(), n) for n in range(1, 4)}, jobs=1))
    assert found == {1: 10, 2: None, 3: 30}


# ── an instructor's evening ──────────────────────────────────────────────────────────────────


def said(capsys, *arguments: object) -> tuple[int, str]:
    """What `peft-teach grade` returned, and the one line that it said besides the progress."""
    from peft_teach.course.cli import main

    code = main(["grade", *map(str, arguments)])
    lines = [line for line in capsys.readouterr().err.split("\n")    # without the progress
             if line and "notebook" not in line.rpartition("\r")[2]]
    assert len(lines) == 1
    return code, lines[0].rpartition("\r")[2]


def fails_at(monkeypatch, name: str, number: int) -> None:
    """Let writing of a file fail, as on a full or a read-only disk."""
    write = Path.write_bytes

    def refused(path, data):
        if path.match(name):
            write(path, data[:10])
            raise OSError(number, os.strerror(number))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", refused)


def test_out_must_be_writable(small, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/below", Path("/proc/out")):
        code, line = said(capsys, small / "in", "--out", out)
        assert code == 1
        assert line.startswith(f"{out} cannot be written: ")


@pytest.mark.parametrize("name", [
    pytest.param("results/*.part", marks=pytest.mark.long), "grades.csv.*.part",
    "report.png.*.part"])
def test_a_disk_that_is_full_costs_nothing_that_is_done(small, tmp_path, capsys, monkeypatch, name):
    out = tmp_path / "out"
    shutil.copytree(small / "out", out)
    done, *others = sorted((out / "results").iterdir())
    if name.startswith("results"):
        done.write_text("[{")    # what is damaged is made again
    with monkeypatch.context() as patched:
        fails_at(patched, name, 28)
        code, line = said(capsys, small / "in", "--out", out, "--jobs", 1)
    assert code == 1
    assert "No space left on device" in line
    assert not list(out.rglob("*.part"))
    assert set(others) <= set((out / "results").iterdir())
    grade(small / "in", out, Options(jobs=1))
    assert files(out) == files(small / "out")


@pytest.mark.parametrize(("text", "says"), [
    ("CASES = {\n'x': (\n", "line 2, SyntaxError"), ("\nimport nosuchlib\n", "line 2, Module"),
    ("CASES = {'inside.linaer': list}", "line 1, "),
    ("def f():\n    return [1 / 0]\nCASES = {'inside.linear': f}", "line 2, ZeroDivisionError")])
def test_further_cases_that_do_not_run_are_named(small, tmp_path, capsys, text, says):
    (tmp_path / "00_inside").mkdir()
    (tmp_path / "00_inside/further.py").write_text(text)
    code, line = said(capsys, small / "in", "--out", tmp_path / "out", "--solutions", tmp_path)
    assert code == 1
    assert f"00_inside/further.py do not run: {says}" in line


@pytest.mark.parametrize("address", ["local:x", "local:0", "nowhere"])
def test_a_dask_that_is_not_there_is_a_line(small, tmp_path, capsys, address):
    code, line = said(capsys, small / "in", "--out", tmp_path / "out", "--dask", address)
    assert code == 1
    assert line.startswith(f"Dask does not run at {address!r} (")
    assert "try local:2" in line


def ctrl_c():
    raise KeyboardInterrupt    # the signal itself is ignored where tests run in the background


def terminated():
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("stop", [ctrl_c, terminated])
def test_an_interrupt_is_a_line_and_leaves_no_folder(small, tmp_path, capsys, monkeypatch, stop):
    def interrupted(tasks, **named):
        *_, settings = next(iter(tasks.values()))
        runner = Runner(settings.limits, settings.warm, settings.run)
        os.makedirs(os.path.join(tempfile.mkdtemp(prefix=runner.scratch), "deep/below"))
        stop()
        yield

    monkeypatch.setattr(engine, "run", interrupted)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, line = said(capsys, small / "in", "--out", tmp_path / "out")
    assert (code, line) == (130, "Stopped. The same command goes on from here.")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("arguments", [
    ("--memory", 1), ("--seconds", 0), ("--seconds", "nan"), ("--seconds", "inf")])
def test_limits_that_no_answer_meets_are_refused(small, tmp_path, capsys, arguments):
    code, line = said(capsys, small / "in", "--out", tmp_path / "out", *arguments)
    assert code == 1
    assert "No answer can be graded within" in line
    assert not (tmp_path / "out").exists()


def test_a_mark_depends_on_the_records_too(tmp_path, monkeypatch):
    def key():
        job._sources.cache_clear()
        return job.key(None, "07", job.Settings())

    monkeypatch.setattr(records, "FOLDER", tmp_path)
    (tmp_path / "lora.json").write_text("{}")
    before = key()
    assert key() == before
    (tmp_path / "lora.json").write_text("{ }")
    assert key() != before
    job._sources.cache_clear()


@pytest.mark.parametrize("why", [job.FAILED, "not installed here: nosuchlib"])
def test_a_mark_for_which_this_machine_is_to_blame_is_not_kept(small, tmp_path, monkeypatch, why):
    """It may be that the disk was full; and a library can be installed."""
    failed = [{"exercise": "inside.linear", "points": 0, "flags": [f"inside.linear: {why}"],
               "state": "wrong", "mistake": None, "message": "", "traceback": "", "maximum": 1,
               "notes": (), "further": False, "confined": (), "reason": ""}]
    monkeypatch.setattr(engine, "run", lambda tasks, **named: (
        (name, failed if task[0] is job.mark_all else []) for name, task in tasks.items()))
    grade(small / "in", tmp_path, Options(jobs=1))
    assert not (tmp_path / "results").exists()


# ── the report ───────────────────────────────────────────────────────────────────────────────


def test_what_is_optional_is_counted_apart(tmp_path):
    """As `pt.progress` does: with all that was asked an answer has all points."""
    marks = [{"exercise": e.id, "points": e.points, "maximum": e.points, "state": "passed",
              "message": "", "mistake": None, "traceback": "", "notes": (), "further": False,
              "reason": ""} for e in of_lesson("07")]
    without = [m | {"points": 0, "state": "wrong"} if find(m["exercise"]).optional else m
               for m in marks]
    rows = [Row("anna", "07", "", tuple(marks), ()),
            Row("bo", "07", "", tuple(without), ()), Row("cy", "", "", (), ())]
    report.write(rows, tmp_path, [])
    asked = sum(e.points for e in of_lesson("07") if not e.optional)
    more = sum(e.points for e in of_lesson("07") if e.optional)
    number = sum(not e.optional for e in of_lesson("07"))
    shown = (tmp_path / "report.html").read_text(encoding="utf-8")
    for student, given in (("anna", more), ("bo", 0)):
        page = (tmp_path / f"feedback/{student}.html").read_text(encoding="utf-8")
        assert f"{asked} of {asked} points; optional: {given} of {more}" in page
        assert page.count(" points, optional)</strong") == sum(e.optional for e in of_lesson("07"))
        assert (f"<td>{asked} of {asked}</td><td>{number} of {number}</td>"
                f"<td>{given} of {more}</td>") in shown
    assert "optional" not in (tmp_path / "feedback/cy.html").read_text(encoding="utf-8")


def test_the_report_sorts_and_leads_to_the_pages(small, tmp_path):
    rows = [Row(student, "", f"{student}.ipynb", (), ("<b>",))
            for student in ("a/b", "a_b", "100% #1?", "Zoë <i>")]
    report.write(rows, tmp_path, [])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    links = [unquote(link) for link in re.findall(r'href="([^"]+)"', page)]
    assert len(set(links)) == 4
    assert {tmp_path / link for link in links} == set((tmp_path / "feedback").iterdir())
    script, = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "<b>" not in page
    assert "<i>" not in page


@pytest.mark.parametrize("text", ["＝1+1", " @x", "\t=1", "\u202e=1", 'x;"=cmd', "release ; -1",
                                  "a|+1", "x,=1"])
def test_no_cell_is_a_formula(text):
    """Neither whole nor split at semicolons or commas, as spreadsheets elsewhere do."""
    written = report.grades([Row(text, "", text, (), (text, text))])
    (_, line), = [written.split("\n", 1)]
    for cell in csv.reader([line.strip()]).__next__():
        for part in re.split(r"[;,|]", cell):
            assert part.strip(" \t\"\u202e")[:1] not in [*"=+-@＝＋－＠"]
    assert line.count('","') == 9
    assert "\u202e" not in feedback.pages([Row(text, "", text, (), (text,))]).popitem()[1]
