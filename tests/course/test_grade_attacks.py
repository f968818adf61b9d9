"""Attacks on the grader: each gets the mark that it earned, and nothing is opened, changed or run.

The answers run one after another in one warm server, each in a process of its own.
"""

import csv
import io
import re
import socket
from dataclasses import asdict
from pathlib import Path

import pytest
from attacks import EACH, FILES
from grading_corpus import ROOT, marked

from peft_teach.course.grade import Limits, Options, engine, grade, job, report
from peft_teach.course.grade.row import Row
from peft_teach.course.lessons import find

pytestmark = pytest.mark.long

_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def place(tmp_path):
    """The folder of an instructor: `canary`, another student's file, a server that listens."""
    canary, others = tmp_path / "canary", tmp_path / "class/others.ipynb"
    canary.mkdir()
    others.parent.mkdir()
    (canary / "precious.txt").write_text("precious")
    others.write_text("the work of others")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        yield lambda text: text.replace("CANARY", str(canary)).replace(
            "OTHERS", str(others)).replace("SOLUTIONS", str(ROOT / "solutions")).replace(
            "PORT", str(port))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert [path.name for path in canary.iterdir()] == ["precious.txt"]
    assert (canary / "precious.txt").read_text() == "precious"
    assert others.read_text() == "the work of others"


def must_be_safe(out: Path) -> None:
    """No text of a student's runs, moves a cursor, is a formula, or turns a page's direction."""
    for page in (out / "report.html", *(out / "feedback").iterdir()):
        text = page.read_text(encoding="utf-8")
        assert len(re.findall("<script", text)) == (page.name == "report.html")
        assert "<img src=x" not in text
        assert not _UNSEEN.search(text), page
    table = (out / "grades.csv").read_text(encoding="utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(table)) for cell in row]
    assert not [cell for cell in cells if re.search(r"(^|[;,|])\s*[=+\-@]", cell)
                or _UNSEEN.search(cell)]


def test_no_answer_gets_what_it_has_not_earned(place, tmp_path, monkeypatch):
    monkeypatch.setattr(job.runner(Limits(), job.FORKS), "limits", Limits(seconds=1))
    rows, failed = [], {}
    for what, attack in EACH.items():
        given = marked(*map(place, attack.cells), id=attack.id)
        told = f"{given.message}\n{given.traceback}"
        if (given.points > 0) != attack.points or attack.says not in told or (
                not any(attack.flag in flag for flag in given.flags or [""])):
            failed[what] = given
        assert "the work of others" not in told
        rows.append(Row(what, find(attack.id).lesson, "", (asdict(given),), given.flags))
    assert not failed
    report.write(rows, tmp_path / "out", [])
    must_be_safe(tmp_path / "out")


def test_no_file_gets_what_it_has_not_earned(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engine, "run", lambda tasks, **named: (
        (name, function(*arguments)) for name, (function, *arguments) in tasks.items()))
    for student, handed in FILES.items():
        for name, data in handed.files.items():
            path = tmp_path / "in" / student / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(place(data.decode("latin-1")).encode("latin-1"))
    before = {*tmp_path.rglob("*")}
    rows = {row.student: row for row in grade(
        tmp_path / "in", tmp_path / "out", Options(lesson="07"))}
    new = {path.relative_to(tmp_path).parts[0] for path in {*tmp_path.rglob("*")} - before}
    assert new == {"out"}
    failed = {student: rows.get(student) for student, handed in FILES.items()
              if student not in rows or rows[student].given("lora.count") != handed.points
              or not any(handed.flag in flag for flag in rows[student].flags or [""])}
    assert not failed
    must_be_safe(tmp_path / "out")
    assert not _UNSEEN.search(capsys.readouterr().err.replace("\r", ""))
