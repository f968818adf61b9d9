"""The grader's parts, each alone: what crosses the border, what is extracted, who handed it in."""

import base64
import contextlib
import copy
import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import psutil
import pytest
import torch
from cheats import CHEATS, SIGNS
from grading_corpus import ROOT, solved, untouched, zipped
from honest import HONEST

from peft_teach.course.exercise import OF_THE_COURSE, judged
from peft_teach.course.grade import Limits, _select, engine, grade, hidden, job, report
from peft_teach.course.grade.cells import Code
from peft_teach.course.grade.collect import collect, latest, safe_name
from peft_teach.course.grade.extract import definitions
from peft_teach.course.grade.notebook import Cell, Unreadable, lesson_of, parse
from peft_teach.course.grade.plain import (
    DEEPEST,
    LENGTHS,
    Foreign,
    Malformed,
    from_bytes,
    split,
    to_bytes,
)
from peft_teach.course.grade.run import Runner, mark
from peft_teach.course.grade.server import _is_full
from peft_teach.course.lessons import find, of_lesson
from peft_teach.errors import PeftTeachError

# ── plain: what crosses ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [
    None, True, 0, -7, 2**4000 - 1, 0.5, "ä\ud800", [], [1, [2]], (1, (2, "x")), {"a": {"b": ()}},
    {1: 2, (1, "x"): None}, {"dict": [], "float": "nan"}, torch.float16, math.inf, -math.inf,
    math.nan])
def test_plain_values_cross_as_they_are(value):
    assert repr(from_bytes(to_bytes(value))) == repr(value)


@pytest.mark.parametrize("tensor", [
    torch.zeros(0, 3), torch.tensor(1.5), torch.arange(6).reshape(2, 3).T, torch.tensor([True]),
    torch.randn(3).bfloat16(), torch.nn.Parameter(torch.ones(2)), torch.randn(3).half()])
def test_tensors_cross_as_plain_ones(tensor):
    found = from_bytes(to_bytes({"x": [tensor, tensor]}))["x"][1]
    assert type(found) is torch.Tensor
    assert found.dtype == tensor.dtype
    assert torch.equal(found, tensor)
    assert not found.requires_grad


class Sly(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class Liar:
    __class__ = int


def test_subclasses_and_lies_stay_behind():
    found = from_bytes(to_bytes([Sly(3), Liar(), type("D", (dict,), {"items": None})(a=1)]))
    assert type(found[0]) is int
    assert found[0] != 4
    assert isinstance(found[1], Foreign)
    assert repr(found[1]) == "<Liar>"
    assert found[2] == {"a": 1}


@pytest.mark.parametrize("value", [
    object(), 10**5000, {1, 2}, b"x", 1j, torch.zeros(2, device="meta"), torch.zeros(2).to_sparse(),
    torch.zeros(2, dtype=torch.complex64), lambda: 0, torch.strided],
    ids=lambda value: type(value).__name__)
def test_all_else_is_foreign(value):
    assert type(from_bytes(to_bytes(value))).__name__ == type(value).__name__
    assert isinstance(from_bytes(to_bytes(value)), Foreign)


def framed(text: str, data: bytes = b"") -> bytes:
    tree = text.encode()
    return LENGTHS.pack(len(tree), len(data)) + tree + data


@pytest.mark.parametrize("frame", [
    b"", b"\0", LENGTHS.pack(5, 5), framed("{"), framed("NaN"), framed('{"a": 1, "b": 2}'),
    framed('{"eval": "1"}'), framed('{"tensor": "0"}'), framed('{"dtype": "qint8"}'), framed("{}"),
    framed('{"dict": [[[], 1]]}'), framed('{"dict": [[1]]}'), framed('{"float": "1e5"}'),
    framed("[" * 10_000 + "]" * 10_000), framed("[" * 200 + "]" * 200), framed("9" * 5000),
    framed("[" + "1," * 300_000 + "1]"), framed("1", b"xxxxxxxxxxxx"), framed('{"tuple": 3}'),
    framed("1", struct.pack("<Q", 2**60) + b"{}"), framed('"\\ud8'), b"\xff" * 100],
    ids=lambda frame: str(frame[:40]))
def test_what_was_not_written_by_us_is_refused(frame):
    with pytest.raises(Malformed):
        from_bytes(frame)


def test_a_frame_that_was_cut_off_is_left_out():
    whole = to_bytes([1, torch.ones(3)])
    assert split(whole + whole + whole[:-1]) == [whole, whole]
    assert split(b"\xff" * 20) == []


def test_what_is_too_deep_is_cut():
    value = []
    for _ in range(5 * DEEPEST):
        value = [value]
    found, depth = from_bytes(to_bytes(value)), 0
    while isinstance(found, list):
        found, depth = found[0], depth + 1
    assert depth == DEEPEST


# ── extract: which code counts ───────────────────────────────────────────────────────────────


def plan(*cells: str, id: str = "lora.count"):
    return definitions(Code([Cell(n, text) for n, text in enumerate(cells, 1)]), find(id))


def statements(*cells: str, id: str = "lora.count") -> list[tuple[str, int]]:
    return list(plan(*cells, id=id).statements)


DEF = "def lora_count(n_in, n_out, rank):\n    return {}"
RIGHT_TEXT = DEF.format("rank * (n_in + n_out)")
STUB = 'def lora_count(n_in, n_out, rank):\n    raise pt.NotAttempted("lora.count")'


def test_the_last_definition_that_is_no_stub():
    assert statements(DEF.format(1), DEF.format(2), STUB)[-1] == ("cell 2", 0)
    assert statements(STUB, STUB)[-1] == ("cell 2", 0)
    assert statements("lora_count = lambda *s: 1", "x = 1")[-1] == ("cell 1", 0)
    assert statements(DEF.format(1), 'lora_count = pt.check("lora.count", lora_count)',
                      "lora_count = lora_count(1, 2, 3)")[-1] == ("cell 1", 0)


def test_what_it_needs_comes_with_it():
    assert statements("import math\nimport os", DEF.format("f(rank)"), "print(1)\nX = 2",
                      "def f(r):\n    return math.sqrt(r) + X") == [
        ("cell 1", 0), ("cell 2", 0), ("cell 3", 1), ("cell 4", 0)]


def test_of_two_the_one_before_its_use():
    assert ("cell 1", 0) in statements("X = 1", DEF.format("X"), "X = 2")
    assert ("cell 2", 0) in statements("X = 1", "X = X + 1", DEF.format("X"))
    assert ("cell 1", 0) in statements("X = 1", "X = X + 1", DEF.format("X"))


@pytest.mark.parametrize("line", [
    "X = pt.train(model, batches)", "X, _ = pt.models.load('minilm')",
    "for X in pt.train(model, batches):\n    print(X)",
    "from peft_teach import data\nX = data.load('x')",
    "def all(m):\n    return pt.evaluate(m, 1)\ndef more():\n    return all(3)\nX = more()",
    "X = pt.widgets.Guess('?', (1, 2))", "import matplotlib.pyplot as plt\nX = plt.figure()",
    "X = pt.check('lora.layer', 1, 2)", "f = pt.train\nX = 3 if f else pt.train"])
def test_what_trains_loads_shows_or_checks_does_not_run(line):
    assert statements(line, DEF.format("X")) == [("cell 2", 0)]
    assert plan(line, DEF.format("X")).notes == (
        "needs X, whose line trains, loads or shows something, which does not run here",)


@pytest.mark.parametrize("line", [
    "print(1)", "while True:\n    pass", "n_in = 3\nn_in += 1", "torch.allclose = print",
    "lora_count(1, 2, 3)",
    "del X", "x = lora_count(1, 2, 3)", "exit()", "torch.manual_seed(0)", "print(lora_count)",
    "lora_count = lora_count(1, 2, 3)", "CFG = {}\nCFG['rank'] = 1",
    "lora_count = 3\nlora_count = str(lora_count)"])
def test_what_no_answer_needs_does_not_run(line):
    assert statements(DEF.format(1), line) == [("cell 1", 0)]


def test_own_names_hide_the_notebooks():
    assert statements("n_in = 1\nrank = 2\nx = 3", DEF.format("sum(x for x in (rank, n_in))")) == [
        ("cell 2", 0)]


def test_lost_imports_are_given():
    assert statements(DEF.format("torch.ones(1)")) == [("given", 0), ("cell 1", 0)]


@pytest.mark.parametrize("cell", [
    DEF.format("(1"), DEF.format("-" * 100_000 + "1"), DEF.format("(" * 5000), DEF.format("\0"),
    DEF.format("a" + ".b" * 40_000), DEF.format("'" + "x" * 200_000 + "'"), DEF.format("'\ud800'"),
    DEF.format(1) + "\nx = 1" * 6000], ids=len)
def test_what_is_no_python_is_said_and_harms_nothing(cell):
    assert "not Python {}.{}:".format(*sys.version_info) in plan(cell).missing
    assert plan(cell, DEF.format(1)).statements == (("cell 2", 0),)


@pytest.mark.parametrize("line", [" " * 90_000 + "=", "a " * 40_000 + "= x", "?" * 90_000,
                                  "\n" * 90_000 + "(", "def " * 20_000], ids=range(5))
def test_no_line_takes_long_to_read(line):
    plan(line + "(\n" + DEF.format(1))    # a pattern that backtracks would take minutes


# ── notebook: which lesson ───────────────────────────────────────────────────────────────────


def notebook(**named) -> bytes:
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "x"}]} | named).encode()


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b'{"cells": 3}', b'{"cells": []}',
                                  b"\xff\xfe", b"[" * 100_000, b'{"cells": [1'],
                         ids=len)
def test_what_is_no_notebook(data):
    with pytest.raises(Unreadable):
        parse(data)


@pytest.mark.parametrize("change", [
    {"metadata": None}, {"metadata": []}, {"metadata": {"peft_teach": 7}},
    {"metadata": {"peft_teach": {"lesson": ["07"]}}},
    {"cells": [None, 1, {}, {"source": None}, {"source": [1, "x"]}, {"cell_type": 5}]}])
def test_odd_notebooks_are_read(change):
    assert parse(notebook(**change)).lesson is None


def lesson(notebook: dict, file: str = "x.ipynb") -> str | None:
    return lesson_of(parse(json.dumps(notebook).encode()), file)


def test_the_lesson_is_found_by_what_is_left():
    whole = untouched("07")
    bare = [{"cell_type": c["cell_type"], "source": c["source"]} for c in whole["cells"]]
    definition = {"cell_type": "code", "source": "def merged(layer): pass"}
    assert lesson(whole) == "07"
    assert lesson({"cells": bare}) == "07"
    assert lesson({"cells": [definition]}) == "07"
    assert lesson({"cells": [bare[0]]}) == "07"
    assert lesson({"cells": [{"cell_type": "code", "source": "1"}]}, "a/02_small.ipynb") == "02"
    assert lesson({"cells": [{"cell_type": "code", "source": "1"}]}, "a/b.ipynb") is None
    # pasted into another lesson's notebook
    assert lesson({"cells": bare, "metadata": {"peft_teach": {"lesson": "01"}}}) == "07"


# ── collect: who ─────────────────────────────────────────────────────────────────────────────


def students(folder: Path, *paths: str) -> list[str]:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"{}")
    return sorted({submission.student for submission in collect(folder)})


@pytest.mark.parametrize(("paths", "expected"), [
    (("anna_07_lora.ipynb", "07_lora_bo.ipynb"), ["anna", "bo"]),
    (("anna/07_lora.ipynb", "bo/07_lora (2).ipynb", "cy/Copy of 07_lora.ipynb"),
     ["anna", "bo", "cy"]),
    (("hw/anna.ipynb", "hw/bo.ipynb"), ["anna", "bo"]),
    (("07_lora/anna.ipynb", "02_small_change/anna.ipynb"), ["anna"]),
    (("all/anna/try/x.ipynb", "all/bo/x.ipynb"), ["anna", "bo"]),
    (("meierjo_1_7_x.ipynb", "meierjo_2_8_x.ipynb", "meierjo_2_9_y-1.ipynb", "bo_3_1_x.ipynb"),
     ["bo", "meierjo (1)", "meierjo (2)"]),
    (("c/submitted/jo/lora/07_lora.ipynb", "c/submitted/bo/lora/07_lora.ipynb"), ["bo", "jo"]),
    (("Zoe\u0308/07_lora.ipynb", "李/07_lora.ipynb"), ["Zoë", "李"]),
    # a number behind the lesson's own file name is a copy's; any other is a part of the name
    (("team-1.ipynb", "team-2.ipynb"), ["team-1", "team-2"]),
    (("team-1_07_lora-2.ipynb", "07_lora (3)_team-2.ipynb"), ["team-1", "team-2"]),
    (("07_lora_team (1).ipynb", "07_lora_team (2).ipynb"), ["team (1)", "team (2)"]),
    (("07_lora-4711.ipynb", "07_lora-4712.ipynb"), ["4711", "4712"]),
    (("anna_07_lora.ipynb", "anna_07_lora-1.ipynb", "anna_07_lora (2).ipynb"), ["anna"]),
    (("submitted/student-1/lora/07_lora.ipynb", "submitted/student-2/lora/07_lora.ipynb",
      "submitted/student-3/lora/07_lora-1.ipynb"), ["student-1", "student-2", "student-3"]),
    (("team-1_5_6_x.ipynb", "team-2_7_8_x.ipynb"), ["team-1", "team-2"]),
    (("g (1)_5_assignsubmission_file_/x.ipynb", "g (2)_6_assignsubmission_file_/x.ipynb"),
     ["g (1)", "g (2)"]),
    # numbers and names that are no platform's, and files that are no notebooks
    (("anna/exercise_07_1_lora.ipynb", "bo/exercise_07_1_lora.ipynb"), ["anna", "bo"]),
    (("anna/exercise_07_1_lora.ipynb", "bo/exercise_07_2_lora.ipynb"), ["anna", "bo"]),
    (("exercise_07_1_anna.ipynb", "exercise_08_1_bo.ipynb"),
     ["exercise_07_1_anna", "exercise_08_1_bo"]),
    (("hw/meierjo_1_2_x.ipynb", "hw/bo_LATE_3_4_x.ipynb"), ["bo", "meierjo"]),
    (("w6/meierjo_1_2_x.ipynb", "w6/bo_3_4_x.ipynb", "w7/bo_3_9_y.ipynb"), ["bo", "meierjo"]),
    (("Anna Müller_12_assignsubmission_file_07_lora.ipynb", "Bo_3_assignsubmission_file_x.ipynb"),
     ["Anna Müller", "Bo"]),
    (("bo_3_14_x.ipynb", "cy_5_16_x.ipynb", "Anna_7_assignsubmission_file_x.py"),
     ["Anna", "bo", "cy"]),
    (("w6/Anna_1_assignsubmission_file_/x.ipynb", "w7/Anna_2_assignsubmission_file_/x.ipynb"),
     ["Anna"]),
    (("w6/Anna_1_assignsubmission_file_/x.ipynb", "w6/Anna_2_assignsubmission_file_/x.ipynb"),
     ["Anna (1)", "Anna (2)"]),
    (("an\u202enA/x.ipynb", "\u2066bo\u200f/x.ipynb"), ["annA", "bo"])])
def test_who(tmp_path, paths, expected):
    assert students(tmp_path, *paths) == expected


def test_one_file_or_one_zip(tmp_path):
    (tmp_path / "anna_07_lora.ipynb").write_bytes(b"{}")
    (tmp_path / "all.zip").write_bytes(zipped({"all/anna/x.ipynb": b"{}", "all/bo/x.ipynb": b"{}"}))
    assert [s.student for s in collect(tmp_path / "anna_07_lora.ipynb")] == ["anna"]
    assert [s.student for s in collect(tmp_path / "all.zip")] == ["anna", "bo"]


def flags(place: Path) -> dict[str, str]:
    """All flags of each student, of a whole collection as `grade` sorts it out."""
    rows: dict[str, list[str]] = {}
    for submission in _select(collect(place), None):
        rows.setdefault(submission.student, []).append("; ".join(submission.flags))
    return {student: " | ".join(found) for student, found in rows.items()}


def test_where_two_readings_are_possible_the_rows_stay_apart(tmp_path):
    students(tmp_path, "anna/x.ipynb", "anna-1/x.ipynb", "bo-1/x.ipynb", "bo-2/x.ipynb")
    said = flags(tmp_path)
    assert sorted(said) == ["anna", "anna-1", "bo-1", "bo-2"]
    doubted = {student for student in said if "two students, or one?" in said[student]}
    assert doubted == {"anna", "anna-1"}
    pages = report.feedback([report.Row(student, "", "", (), tuple(found.split("; ")))
                             for student, found in said.items()])
    assert "anna-1" not in pages["anna"]    # a page names nobody else


WORK = {lesson: json.dumps(untouched(lesson)).encode() for lesson in ("00", "07")}


@pytest.mark.parametrize(("files", "expected"), [
    ({"00_inside.ipynb": "00", "07_lora-1.ipynb": "07"}, ["anna"]),
    ({"first.ipynb": "00", "Untitled (2).ipynb": "07"}, ["anna"]),
    ({"00_inside.ipynb": "00", "07_lora_final.ipynb": "07"}, ["anna"]),
    ({"bo.ipynb": "07", "cy.ipynb": "07"}, ["bo", "cy"]),
    ({"00_inside_bo.ipynb": "00", "07_lora_cy.ipynb": "07"}, ["bo", "cy"]),
    ({"bo/x.ipynb": "00", "cy/x.ipynb": "07"}, ["bo", "cy"])], ids=str)
def test_one_zip_is_of_one_student_or_of_all(tmp_path, files, expected):
    (tmp_path / "anna.zip").write_bytes(zipped({name: WORK[n] for name, n in files.items()}))
    for place in (tmp_path, tmp_path / "anna.zip"):
        said = flags(place)
        assert list(said) == expected
        guessed = expected == ["anna"] and not all(name[0] == "0" for name in files)
        assert ("taken for one student's" in said[expected[0]]) == (
            guessed or "07_lora_final.ipynb" in files)


@pytest.mark.parametrize("files", [
    {f"{n}.ipynb": b"x" for n in range(3000)},
    {f"repo/{n % 7}/{n}.ipynb": b'{"cells": [{"source": "x = 1"}]}' for n in range(300)}], ids=len)
@pytest.mark.parametrize("beside", [{}, {"07_lora.ipynb": WORK["07"]}])
def test_whatever_a_student_packed_is_one_row_and_a_flag(tmp_path, files, beside):
    (tmp_path / "anna.zip").write_bytes(zipped(files | beside))
    if not beside:
        said = flags(tmp_path)    # alone, too, where it could be a class
        assert list(said) == ["anna"]
        assert f"{len(files):,} files are not graded" in said["anna"]
    (tmp_path / "bo.ipynb").write_bytes(WORK["07"])
    said = flags(tmp_path)
    assert sorted(said) == ["anna", "bo"]
    assert f"{len(files):,} files are not graded" in said["anna"]
    assert "|" not in said["anna"]


@pytest.mark.parametrize(("export", "stray"), [
    (("meierjo_1_2_07_lora.ipynb", "bo_3_4_x-1.ipynb", "cy_LATE_5_6_y.ipynb"), "bo_07_lora.ipynb"),
    (("w/bo_3_4_x.ipynb", "w/cy_5_6_y.ipynb"), "w/notes/bo.ipynb"),
    (("Jo Meier_12_assignsubmission_file_/x.ipynb", "bo_3_assignsubmission_file_/y.ipynb"),
     "07_lora.ipynb")])
def test_a_stray_file_costs_an_export_nothing(tmp_path, export, stray):
    alone = students(tmp_path, *export)
    students(tmp_path, stray)
    said = flags(tmp_path)
    assert len(said) == len(alone) + 1
    assert [student for student in said if "lies beside the export" not in said[student]] == alone


def test_an_export_beside_something_else_is_no_students(tmp_path):
    """Mallory can make one, too: so nobody is who it says that they are."""
    assert students(tmp_path, "anna.ipynb", *(f"export/{who}_{n}_assignsubmission_file_/x.ipynb"
                                              for n, who in enumerate(("anna", "bo")))) == [
        "anna", "export: anna", "export: bo"]
    assert students(tmp_path, "c/cy_1_2_x.ipynb", "c/cy_3_4_x.ipynb", "c/di_5_6_x.ipynb")[1:4] == [
        "c: cy (1)", "c: cy (3)", "c: di"]
    told = {student for student, said in flags(tmp_path).items() if "of an export" in said}
    assert told == {student for student in flags(tmp_path) if ":" in student}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_what_is_called_a_notebook_and_is_none_has_a_row(tmp_path):
    for student in ("anna", "bo", "cy", "di"):
        (tmp_path / student).mkdir()
    (tmp_path / "anna/x.ipynb").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "bo/x.ipynb")
    (tmp_path / "cy/x.ipynb").mkdir()
    (tmp_path / "di/work.zip").symlink_to(tmp_path)
    with zipfile.ZipFile(tmp_path / "ed.zip", "w") as archive:
        link = zipfile.ZipInfo("x.ipynb")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.mkdir("y.ipynb")
    assert flags(tmp_path) == {
        "anna": "x.ipynb is a link, which is not followed", "bo": "x.ipynb is no file",
        "cy": "x.ipynb is a folder", "di": "work.zip is a link, which is not followed",
        "ed": "2 files are not graded; the first: ed.zip/x.ipynb: "
              "x.ipynb is a link, which is not followed"}


def test_which_of_two_counts(tmp_path):
    students(tmp_path, "a/07_lora.ipynb", "a/07_lora (1).ipynb", "a/07_lora-10.ipynb")
    assert latest(collect(tmp_path)).path == "a/07_lora-10.ipynb"
    os.utime(tmp_path / "a/07_lora.ipynb", (9e9, 9e9))
    assert latest(collect(tmp_path)).path == "a/07_lora-10.ipynb"
    (tmp_path / "a/07_lora-10.ipynb").unlink()
    (tmp_path / "a/07_lora (1).ipynb").unlink()
    students(tmp_path, "a/z.ipynb")
    os.utime(tmp_path / "a/z.ipynb", (1e9, 1e9))
    assert latest(collect(tmp_path)).path == "a/07_lora.ipynb"


def test_what_is_not_read(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.ipynb").write_bytes(b"{}")
    (folder / "links").symlink_to(tmp_path)
    inner = zipped({"__MACOSX/._x.ipynb": b"x", "x" * 2000 + ".ipynb": b"{}",
                    "../../jo.ipynb": b"{}"})
    (folder / "z.zip").write_bytes(zipped({"y.zip": zipped({"x.zip": inner})}))
    assert students(folder, "anna/.ipynb_checkpoints/x.ipynb", "anna/ok.ipynb") == ["anna", "z"]
    assert collect(folder)[1].problem == "a zip in a zip in a zip"
    (folder / "z.zip").write_bytes(zipped({"y.zip": inner}))
    assert [s.path for s in collect(folder)] == ["anna/ok.ipynb", "z.zip/y.zip/jo.ipynb"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "secret.ipynb"]


@pytest.mark.parametrize("path", ["nothing", "."])
def test_nothing_to_grade_is_said(tmp_path, path):
    with pytest.raises(PeftTeachError, match=r"There is no"):
        collect(tmp_path / path)


@pytest.mark.parametrize(("student", "expected"), [
    ("Zoë Ž", "Zoë Ž"), ("../../x", "_.._x"), ("a/b\\c:d", "a_b_c_d"), ("", "_"), ("...", "_"),
    ("CON", "_CON"), ("nul.x", "_nul.x"), ("李" * 200, "李" * 33), ("a\n b", "a_ b")])
def test_names_of_files(student, expected):
    assert safe_name(student) == expected


# ── the sandbox ──────────────────────────────────────────────────────────────────────────────

FORBIDDEN = """
import ctypes, os, socket, sys, tempfile, threading
from pathlib import Path
import torch
from peft_teach.course.grade.limits import Limits, confine
scratch = Path(tempfile.mkdtemp())
open(scratch / "mine", "w").close()
theirs = sys.argv[1]
parent = os.getppid()
print(*confine(Limits(), scratch))

def tried(name, do):
    try:
        do()
    except (OSError, RuntimeError, MemoryError) as error:
        print(name, "refused")
    else:
        print(name, "done")

libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
tried("fork", os.fork)
tried("exec", lambda: os.execv("/bin/true", ["true"]))
tried("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
tried("socket", socket.socket)
tried("kill", lambda: os.kill(parent, 0))
tried("limits", lambda: __import__("resource").prlimit(parent, 0, (1, 1)))
tried("trace", lambda: call(101, 16, parent, 0, 0))
tried("namespace", lambda: call(272, 0x10000000))
tried("ring", lambda: call(425, 8, ctypes.create_string_buffer(200)))
tried("x32", lambda: call(0x40000000 + 57))
tried("read", lambda: open("/etc/hostname"))
tried("list", lambda: os.listdir("/"))
tried("proc", lambda: open(f"/proc/{parent}/mem"))
tried("link", lambda: os.readlink("/proc/self/exe"))
tried("group", lambda: os.getpgid(0))
tried("session", lambda: os.getsid(0))
tried("write", lambda: open("/dev/shm/x", "w"))
tried("memory", lambda: torch.zeros(2**31))
tried("large file", lambda: open(scratch / "large", "wb").write(bytes(2**25)))
tried("chmod", lambda: os.chmod(theirs, 0o666))
tried("fchmod", lambda: os.chmod(os.open(os.__file__, os.O_RDONLY), 0o644))
tried("chown", lambda: os.chown(theirs, os.getuid(), os.getgid()))
tried("lchown", lambda: os.lchown(theirs, os.getuid(), os.getgid()))
tried("utime", lambda: os.utime(theirs, (1, 1)))
tried("truncate", lambda: os.truncate(theirs, 0))
tried("attribute", lambda: os.setxattr(theirs, "user.x", b"1"))
tried("no attribute", lambda: os.removexattr(theirs, "user.y"))
import fcntl
pipe = os.pipe()[0]
who = os.getpid()
tried("owner", lambda: fcntl.fcntl(pipe, 8, who))
tried("signal", lambda: fcntl.fcntl(pipe, 10, 9))
tried("other owner", lambda: fcntl.fcntl(pipe, 15, bytes([1, 0, 0, 0]) + who.to_bytes(4, "little")))
tried("cores", lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)))
tried("scheduler", lambda: os.sched_setscheduler(0, 0, os.sched_param(0)))
tried("disk priority", lambda: call(251, 1, 0, 2 << 13 | 4))
tried("close on exec", lambda: fcntl.fcntl(pipe, fcntl.F_SETFD, fcntl.FD_CLOEXEC))
tried("flags", lambda: fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_NONBLOCK))
def shorten():
    with open(scratch / "own", "w") as file:
        file.truncate(0)
tried("own truncate", shorten)
tried("own file", lambda: (scratch / "own").write_text("x"))
tried("thread", lambda: threading.Thread(target=len, args=([],)).start())
tried("tensor", lambda: torch.ones(9, 9) @ torch.ones(9, 9))
tried("gradient", lambda: torch.ones(3, requires_grad=True).sum().backward())
tried("import", lambda: __import__("wave"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox of Linux")
def test_the_sandbox_forbids_all_that_it_should(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_text("x")
    with contextlib.suppress(OSError):    # not on every file system
        os.setxattr(theirs, "user.y", b"1")
    os.chmod(theirs, 0o600)
    before = theirs.stat()
    done = subprocess.run([sys.executable, "-c", FORBIDDEN, str(theirs)], capture_output=True,
                          text=True, cwd=ROOT)
    assert theirs.stat() == before
    layers, *lines = done.stdout.splitlines()
    assert layers.split() == ["limits", "landlock", "capabilities", "seccomp"], done.stderr
    open_ = ("close on exec done", "flags done", "own truncate done", "own file done",
             "thread done", "tensor done", "gradient done", "import done")
    assert [line for line in lines if not line.endswith("refused")] == list(open_)
    assert len(lines) == 33 + len(open_)


# ── whole runs ───────────────────────────────────────────────────────────────────────────────


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three submissions, graded once; the folder of submissions and that of results."""
    folder = tmp_path_factory.mktemp("small")
    for student, given in (("anna", solved("00")), ("bo", untouched("00")), ("cy", solved("00"))):
        path = folder / f"in/{student}/00_inside.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(given | {"cells": [
            *given["cells"], {"cell_type": "markdown", "source": student}]}))
    grade(folder / "in", folder / "out", jobs=2)
    return folder


@pytest.mark.long
def test_an_interrupted_run_goes_on_to_the_same_bytes(small, tmp_path, monkeypatch):
    """What is done is not done again, and what comes of both is as if nothing had happened.

    With one process where the other run had two: the same input gives the same bytes.
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
        grade(small / "in", tmp_path, jobs=1)
    assert len(list((tmp_path / "results").iterdir())) == 1
    assert not (tmp_path / "grades.csv").exists()

    tasks_of = []
    monkeypatch.setattr(engine, "run", lambda tasks, **named: (
        tasks_of.append(len(tasks)), run(tasks, **named))[1])
    grade(small / "in", tmp_path, jobs=1)
    assert tasks_of == [1 + 2]
    assert files(tmp_path) == files(small / "out")
    assert len(files(tmp_path)) == 3 + 3 + 3    # results, pages; the table, the report, its picture
    grade(small / "in", tmp_path, jobs=1)
    assert tasks_of == [3, 0]


@pytest.mark.long
def test_a_damaged_result_is_made_again(small, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(small / "out", out)
    result, *_ = (out / "results").iterdir()
    result.write_text("[{")
    grade(small / "in", out, jobs=1)
    assert files(out) == files(small / "out")


@pytest.mark.long
def test_the_lesson_that_was_asked_for(small, tmp_path):
    row, *_ = grade(small / "in/anna", tmp_path, lesson="1", jobs=1)
    asked = sum(exercise.points for exercise in of_lesson("01") if not exercise.optional)
    assert (row.lesson, row.points()) == ("01", (0, asked))
    assert "this is the notebook of lesson 00" in row.flags
    with pytest.raises(PeftTeachError, match="no lesson with exercises '77'"):
        grade(small / "in", tmp_path, lesson="77")


@pytest.mark.long
def test_a_broken_grader_grades_nobody(small, tmp_path):
    """Further cases that the reference itself fails are the instructor's mistake."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/inside.py").write_text(
        'CASES = {"inside.linear": lambda: [{"n_in": "x", "n_out": 2}]}')
    with pytest.raises(PeftTeachError, match=r"(?s)reference of lesson 00 gets no points.*linear"):
        grade(small / "in", tmp_path / "out", solutions=tmp_path, jobs=1)
    assert not list((tmp_path / "out").glob("*/*"))


@pytest.mark.long
def test_without_a_fork_the_marks_are_the_same():
    """As on Windows and macOS: a fresh process for each answer."""
    runner = Runner(Limits(seconds=2), warm=False)
    for text, points, says in (
            (DEF.format("rank * (n_in + n_out)"), 1, "A and B"), (DEF.format("7"), 0, "gave 7"),
            (DEF.format("n_in.x"), 0, "AttributeError"), ("while True: pass\n" + STUB, 0, ""),
            (DEF.format("__import__('os')._exit(3)"), 0, "ended its process"),
            ("def lora_count(*sizes):\n    while True:\n        pass", 0, "longer than"),
            (DEF.format("[open(f'{n}', 'wb').write(bytes(10**6)) for n in range(9999)]"), 0,
             "MB to the disk")):
        given = mark(runner, Code([Cell(1, text)]), find("lora.count"))
        assert given.points == points
        assert says in given.message


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
         str(tmp_path / "out"), "--jobs", "2", *way], stderr=subprocess.DEVNULL,
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


@pytest.mark.long
def test_dask_gives_the_same_bytes(small, tmp_path):
    """On a local cluster of two workers."""
    grade(small / "in", tmp_path, dask="local:2")
    assert files(tmp_path) == files(small / "out")


def test_the_command(small, tmp_path, capsys):
    from peft_teach.course.cli import main

    assert main(["grade", str(small / "in"), "--out", str(small / "out")]) == 0
    assert "3 graded, 0 to look at" in capsys.readouterr().out
    shutil.copytree(small / "in", tmp_path / "in")
    (tmp_path / "in/di.ipynb").write_text("")
    shutil.copytree(small / "out", tmp_path / "out")
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    assert "3 graded, 1 could not be, 1 to look at" in capsys.readouterr().out
    assert main(["grade", str(tmp_path / "out/results"), "--out", str(tmp_path)]) == 1
    assert "There is no notebook" in capsys.readouterr().err


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
    pytest.param("results/*.part", marks=pytest.mark.long), "grades.csv.part", "report.png.part"])
def test_a_disk_that_is_full_costs_nothing_that_is_done(small, tmp_path, capsys, monkeypatch, name):
    out = tmp_path / "out"
    shutil.copytree(small / "out", out)
    done, *others = sorted((out / "results").iterdir())
    if name.startswith("results"):
        done.unlink()
    with monkeypatch.context() as patched:
        fails_at(patched, name, 28)
        code, line = said(capsys, small / "in", "--out", out, "--jobs", 1)
    assert code == 1
    assert "No space left on device" in line
    assert not list(out.rglob("*.part"))
    assert set(others) <= set((out / "results").iterdir())
    grade(small / "in", out, jobs=1)
    assert files(out) == files(small / "out")


@pytest.mark.parametrize(("text", "says"), [
    ("CASES = {\n'x': (\n", "line 2, SyntaxError"), ("\nimport nosuchlib\n", "line 2, Module"),
    ("CASES = {'inside.linaer': list}", "line 1, "),
    ("def f():\n    return [1 / 0]\nCASES = {'inside.linear': f}", "line 2, ZeroDivisionError")])
def test_further_cases_that_do_not_run_are_named(small, tmp_path, capsys, text, says):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/inside.py").write_text(text)
    code, line = said(capsys, small / "in", "--out", tmp_path / "out", "--solutions", tmp_path)
    assert code == 1
    assert f"hidden/inside.py do not run: {says}" in line


@pytest.mark.parametrize("address", ["local:x", "local:0", "nowhere", "tcp://127.0.0.1:x"])
def test_a_dask_that_is_not_there_is_a_line(small, tmp_path, capsys, address):
    code, line = said(capsys, small / "in", "--out", tmp_path / "out", "--dask", address)
    assert code == 1
    assert line.startswith(f"Dask does not run at {address!r} (")
    assert "try local:2" in line


def test_an_interrupt_is_a_line_and_leaves_no_folder(small, tmp_path, capsys, monkeypatch):
    def interrupted(tasks, **named):
        *_, settings = next(iter(tasks.values()))
        runner = Runner(settings.limits, settings.warm, settings.run)
        os.makedirs(os.path.join(tempfile.mkdtemp(prefix=runner.scratch), "deep/below"))
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(engine, "run", interrupted)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, line = said(capsys, small / "in", "--out", tmp_path / "out")
    assert (code, line) == (130, "Stopped. The same command goes on from here.")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("arguments", [
    ("--memory", 1), ("--memory", -5), ("--seconds", 0), ("--seconds", -1), ("--seconds", "nan"),
    ("--seconds", "inf")])
def test_limits_that_no_answer_meets_are_refused(small, tmp_path, capsys, arguments):
    code, line = said(capsys, small / "in", "--out", tmp_path / "out", *arguments)
    assert code == 1
    assert "No answer can be graded within" in line
    assert not (tmp_path / "out").exists()


def test_a_mark_that_the_grader_failed_at_is_not_kept(small, tmp_path, monkeypatch):
    """It may be that the disk was full."""
    failed = [{"exercise": "inside.linear", "points": 0, "flags": [f"inside.linear: {job.FAILED}"],
               "state": "wrong", "mistake": None, "message": "", "traceback": "", "maximum": 1,
               "notes": (), "further": False}]
    monkeypatch.setattr(engine, "run", lambda tasks, **named: (
        (name, failed if task[0] is job.mark_all else []) for name, task in tasks.items()))
    grade(small / "in", tmp_path, jobs=1)
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox of Linux")
def test_the_report_names_the_layers_of_the_sandbox(small):
    page = (small / "out/report.html").read_text(encoding="utf-8")
    assert "The sandbox on this system: limits, landlock, capabilities, seccomp." in page


def test_what_is_optional_is_counted_apart(tmp_path):
    """As `pt.progress` does: with all that was asked an answer has all points."""
    marks = [{"exercise": e.id, "points": e.points, "maximum": e.points, "state": "passed",
              "message": "", "mistake": None, "traceback": "", "notes": (), "further": False}
             for e in of_lesson("07")]
    without = [m | {"points": 0, "state": "wrong"} if find(m["exercise"]).optional else m
               for m in marks]
    rows = [report.Row("anna", "07", "", tuple(marks), ()),
            report.Row("bo", "07", "", tuple(without), ()), report.Row("cy", "", "", (), ())]
    report.write(rows, tmp_path, [])
    asked = sum(e.points for e in of_lesson("07") if not e.optional)
    more = sum(e.points for e in of_lesson("07") if e.optional)
    shown = (tmp_path / "report.html").read_text(encoding="utf-8")
    for student, given in (("anna", more), ("bo", 0)):
        page = (tmp_path / f"feedback/{student}.html").read_text(encoding="utf-8")
        assert f"{asked} of {asked} points; optional: {given} of {more}" in page
        assert f"({given} of {more} points, optional)" in page
        assert f"<td>{asked} of {asked}</td><td>6 of 6</td><td>{given} of {more}</td>" in shown
    assert "optional" not in (tmp_path / "feedback/cy.html").read_text(encoding="utf-8")


def test_the_report_sorts_and_leads_to_the_pages(small, tmp_path):
    rows = [report.Row(student, "", f"{student}.ipynb", (), ("<b>",))
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


# ── what an answer may do to the grader, and learn from it ───────────────────────────────────

FORGED = """def lora_count(n_in, n_out, rank):
    import os, torch
    from peft_teach.course.grade.plain import to_bytes
    os.write(3, to_bytes({}))
    os._exit(0)
"""


@pytest.mark.parametrize("sent", [
    "torch.ones(2)", "[torch.ones(2)]", "'outputs'", "None", "{'ended': torch.ones(2)}"])
def test_a_forged_frame_gives_no_points_and_ends_nothing(sent):
    given = mark(job.runner(Limits(), job.FORKS), Code([Cell(1, FORGED.replace("{}", sent))]),
                 find("lora.count"))
    assert (given.points, given.message) == (0, "What it gave could not be read.")


TELLS = """def lora_count(n_in, n_out, rank):
    import os
    from peft_teach.course.grade.plain import to_bytes
    if rank > LIMIT:
        os.write(3, to_bytes({"ended": {"state": "wrong", "message": SAYS.format(n_in),
                                        "traceback": TRACE, "mistake": None}}))
        os._exit(0)
    return rank * (n_in + n_out)
"""
FURTHER = [{"n_in": 5001, "n_out": 3202, "rank": 2053}]


@pytest.mark.parametrize(("says", "trace"), [
    ("✓ Passed! 3 of 3 points", ""), ("", "Passed!"), ("Passed\nYour code raised E", ""),
    ("It uses Passed! Your code, which is not attempted yet.", "")])
def test_no_words_of_a_learner_stand_alone_on_a_page(running, says, trace):
    cell = f"LIMIT, SAYS, TRACE = -1, {says!r}, {trace!r}\n{TELLS}"
    given = marked(running, cell)
    assert (given.points, given.message) == (0, "What it gave could not be read.")


@pytest.mark.parametrize("says", [
    "It took longer than 5 seconds, at {}", "Your code raised MemoryError: {}",
    "Your code raised E: {}", "It uses lora.layer{}, which is not attempted yet."])
def test_nobody_tells_a_further_case_by_what_is_repeated(running, says):
    cell = f"LIMIT, SAYS, TRACE = 1000, {says!r}, ''\n{TELLS}"
    given = mark(running, Code([Cell(1, cell)]), find("lora.count"), FURTHER)
    assert given.further
    assert "5001" not in given.message + given.traceback


@pytest.mark.parametrize(("body", "says"), [
    ("len(bytearray(10**11))", "more than 1024 MB of memory"),
    ("torch.zeros(10**12)", "more than 1024 MB of memory"),
    ("sum(iter(lambda: 0, 1))", "longer than 5 seconds"),
    ("torch.zeros(10**7)", "more than 8 MB"), ("__import__('os')._exit(0)", "not a further case")])
def test_a_further_case_that_meets_a_limit_says_so(running, body, says):
    cell = DEF.format(f"rank * (n_in + n_out) if rank < 1000 else {body}")
    given = mark(running, Code([Cell(1, cell)]), find("lora.count"), FURTHER)
    assert (given.points, given.further) == (0, True)
    assert says in given.message


def test_the_feedback_of_an_answer_that_passed_is_that_of_the_visible_cases(running):
    for exercise in of_lesson("07"):
        code = Code(parse(json.dumps(solved("07")).encode()).cells)
        further = hidden.cases(hidden.read(ROOT / "solutions")).get(exercise.id, ())
        visible, all_ = (mark(running, code, exercise, cases) for cases in ((), further))
        assert visible.points == exercise.points
        assert all_ == visible


def test_a_traceback_is_that_of_every_machine_and_of_every_run(running):
    """No environment, no numbers of processes, and no link can be read."""
    cell = DEF.format("7 / 0").replace("return 7 / 0", """import os, posix
    told = [dict(os.environ), os.getpid(), posix.getpid(), os.getppid(), os.getpgrp()]
    for look in (lambda: os.readlink("/proc/self"), lambda: os.readlink("/proc/self/exe"),
                 lambda: os.getpgid(0), lambda: os.getsid(0)):
        try:
            told.append(look())
        except OSError as error:
            told.append(type(error).__name__)
    raise ValueError(told)""")
    one, two = (marked(running, cell).traceback for _ in range(2))
    assert one == two
    assert "PATH" not in one
    assert "[{" in one
    assert one.count("PermissionError") == 4
    assert "}, 1, 1, -1, -1, " in one


def test_where_the_grader_fails_the_other_answers_count(monkeypatch):
    def fails(running, code, exercise, further):
        if exercise.id == "inside.block":
            raise RuntimeError("secret")
        return mark(running, code, exercise, further)

    monkeypatch.setattr(job, "mark", fails)
    found = job.mark_all(parse(json.dumps(solved("00")).encode()), "00", job.Settings())
    assert [each["exercise"] for each in found if not each["points"]] == ["inside.block"]
    flags = [flag for each in found for flag in each["flags"]]
    assert flags == ["inside.block: the grader failed at it, RuntimeError: look at it by hand"]


def memory(pid: int) -> bytes:
    """All that a process can write to, as it is now."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, *_ = line.split()
            if rights.startswith("rw"):
                start, end = (int(number, 16) for number in place.split("-"))
                file.seek(start)
                while start < end and (part := file.read(end - start)):
                    found.append(part)
                    start += len(part)
    return b"".join(found)


@pytest.mark.skipif(sys.platform != "linux", reason="the server of Linux")
def test_the_server_keeps_nothing_of_an_answer():
    """What is not in its memory cannot be inherited by the child that runs a later answer."""
    runner = Runner(Limits())
    word = "".join(reversed("drowterces"))
    try:
        for body in (f"'{word}' + n_in.{word}", "rank * (n_in + n_out)"):
            given = mark(runner, Code([Cell(1, DEF.format(body))]), find("lora.count"))
        assert given.points == 1
        held = memory(runner._server.pid)
        assert b"lora_count" in held    # the course's own: the search finds what is there
        assert word.encode() not in held
    finally:
        runner.close()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the server of Linux")
def test_the_server_ends_with_the_grader_and_with_its_supervisor():
    runner = Runner(Limits())
    mark(runner, Code([Cell(1, DEF.format("0"))]), find("lora.count"))
    server, deadline = runner._server, time.monotonic() + 20
    while server.poll() is None and time.monotonic() < deadline:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        for supervisor in children.read_text().split():    # the last one may still be ending
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(supervisor), 9)
        time.sleep(0.05)
    assert server.poll() == 0
    assert mark(runner, Code([Cell(1, DEF.format("rank * (n_in + n_out)"))]),
                find("lora.count")).points == 1
    runner._server.stdin.close()
    assert runner._server.wait(10) == 0
    runner.close()


# ── what a judge believes ────────────────────────────────────────────────────────────────────


def good(id: str) -> tuple:
    """An exercise, a case of it, and what its reference gives."""
    exercise = find(id)
    case = exercise.cases(0)[0]
    torch.manual_seed(0)
    return exercise, case, exercise.run(exercise.resolve(), copy.deepcopy(case))


def test_the_judge_of_the_head_knows_the_model_itself():
    exercise, case, seen = good("full.head_only")
    assert judged(exercise, case, seen, 0).passed
    lie = {"trains": {"classifier.weight": True}, "found": 1}
    assert not judged(exercise, case, seen | lie, 0).passed


@pytest.mark.parametrize("claim", ["rank", "targets", "layers", "dropout", "alpha"])
def test_no_part_of_a_setting_is_believed_whatever_its_type(claim):
    """Nor does a judge multiply a text."""
    exercise, case, seen = good("lora.forty_kb")
    start = time.process_time()
    for odd in (None, True, -0.5, "x" * 3_000_000, [], {}, torch.ones(2), torch.float32):
        result = judged(exercise, case, seen | {"ship": seen["ship"] | {claim: odd}}, 0)
        same = {"layers": (None,), "dropout": (None, [], {})}.get(claim, ())    # as left out
        assert not result.passed or any(odd is each or odd == each for each in same), odd
    assert time.process_time() - start < 0.5


def test_no_step_without_a_loss():
    exercise, case, seen = good("full.step")
    assert judged(exercise, case, seen, 0).passed
    for steps in ([], seen["steps"][:1], [{**each, "loss": None} for each in seen["steps"]]):
        assert not judged(exercise, case, seen | {"steps": steps}, 0).passed


# ── the disk ─────────────────────────────────────────────────────────────────────────────────


def test_a_folder_that_cannot_be_read_is_full(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    assert not _is_full(tmp_path, 10_000)
    scandir = os.scandir

    def refused(path):    # a mode of 0o300 does it, but not for root
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert _is_full(tmp_path, 10_000)


class Listed:
    """A file in a folder, of so many bytes and blocks; None for one that is gone again."""

    path = "listed"

    def __init__(self, size, blocks):
        self.status = SimpleNamespace(st_size=size, st_blocks=blocks)

    def is_dir(self, follow_symlinks):
        return False

    def stat(self, follow_symlinks):
        if self.status.st_size is None:
            raise FileNotFoundError
        return self.status


@pytest.mark.parametrize(("files", "size"), [
    ([(None, 0), (20_000, 0)], 20_000),    # what vanishes hides no other
    ([(0, 2048)], 2**20)])                 # allocated beyond the end, as by fallocate on Linux
def test_the_size_of_a_folder(monkeypatch, files, size):
    listed = [Listed(*each) for each in files]
    monkeypatch.setattr(os, "scandir", lambda path: contextlib.nullcontext(listed))
    assert _is_full("folder", size + 4096 * len(files) - 1)
    assert not _is_full("folder", size + 4096 * len(files))


# ── collecting and reporting, attacked ───────────────────────────────────────────────────────

EMPTY = json.dumps({"cells": [{"cell_type": "code", "source": "x = 1"}]}).encode()


def test_a_damaged_entry_costs_itself_only(tmp_path):
    """LZMA has an error of its own, which is no OSError and no ValueError."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("anna/x.ipynb", EMPTY, zipfile.ZIP_LZMA)
        archive.writestr("bo/x.ipynb", EMPTY)
    data = bytearray(buffer.getvalue())
    start = 30 + len("anna/x.ipynb") + 9    # behind the header, the name and LZMA's own header
    data[start:start + 12] = b"\xff" * 12
    (tmp_path / "all.zip").write_bytes(data)
    anna, bo = collect(tmp_path)
    assert (anna.student, anna.notebook) == ("anna", None)
    assert "cannot be read" in anna.problem
    assert (bo.student, bo.problem) == ("bo", "")


@pytest.mark.parametrize(("own", "others"), [
    ("Mallory_9_assignsubmission_file/work.zip", "Anna_1_assignsubmission_file/07_lora.ipynb"),
    ("Mallory_9_10_work.zip", "Anna_1_2_07_lora.ipynb"),
    ("submitted/Mallory/lora/work.zip", "submitted/Anna/lora/07_lora.ipynb"),
    ("Mallory.zip", "Anna.ipynb"), ("Mallory/work.zip", "Anna/07_lora.ipynb")])
def test_nobody_hands_in_for_somebody_else(tmp_path, own, others):
    forged = {"Anna_1_assignsubmission_file/07_lora-99.ipynb": EMPTY, "Anna_1_77_x-99.ipynb": EMPTY,
              "submitted/Anna/lora/07_lora-99.ipynb": EMPTY, "Anna/07_lora-99.ipynb": EMPTY}
    for path, data in ((own, zipped(forged)), (others, EMPTY)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    assert [s.path for s in collect(tmp_path) if s.student == "Anna"] == [others]
    assert len([s for s in collect(tmp_path) if s.student == "Mallory"]) == 4


def test_all_other_files_of_a_student_are_one_row(tmp_path):
    students(tmp_path, "an/x.py", "an/y.pdf", "bo/x.ipynb", "bo/y.py")
    assert flags(tmp_path) == {
        "an": "2 files are not graded; the first: an/x.py: nothing that could be read, but x.py",
        "bo": "This is JSON, but it has no cells."}


def test_a_date_in_a_zip_is_one_on_the_disk(tmp_path):
    (tmp_path / "anna").mkdir()
    for name in ("a.ipynb", "c.ipynb"):
        (tmp_path / "anna" / name).write_bytes(EMPTY)
    with zipfile.ZipFile(tmp_path / "anna/b.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("b.ipynb", (2025, 6, 15, 12, 0, 0)), EMPTY)
        archive.writestr(zipfile.ZipInfo("odd.ipynb", (2025, 0, 0, 0, 0, 0)), EMPTY)
    noon = time.mktime((2025, 6, 15, 12, 0, 0, 0, 0, -1))
    for before, after in (("a", "c"), ("c", "a")):
        os.utime(tmp_path / f"anna/{before}.ipynb", (noon - 60, noon - 60))
        os.utime(tmp_path / f"anna/{after}.ipynb", (noon - 30, noon - 30))
        assert latest(collect(tmp_path)).path == "anna/b.zip/b.ipynb"
        os.utime(tmp_path / f"anna/{after}.ipynb", (noon + 60, noon + 60))
        assert latest(collect(tmp_path)).path == f"anna/{after}.ipynb"


def test_a_number_counts_among_copies_of_one_name(tmp_path):
    students(tmp_path, "a/lesson-7.ipynb", "a/lesson_final.ipynb")
    os.utime(tmp_path / "a/lesson-7.ipynb", (1e9, 1e9))
    assert latest(collect(tmp_path)).path == "a/lesson_final.ipynb"


def test_zips_are_held_within_bounds(tmp_path):
    """What cannot be parsed is not held, nor are outputs, nor more than a zip in a zip may."""
    large = json.dumps({"cells": [{"source": "x" * 900_000, "outputs": ["x" * 10**6]}]}).encode()
    (tmp_path / "x.zip").write_bytes(zipped({
        "anna.zip": zipped({f"{n}.ipynb": large for n in range(30)}),
        "bo.zip": zipped({f"{n}.ipynb": bytes(30 * 2**20) for n in range(9)}),
        "cy.zip": zipped({"x.ipynb": EMPTY})}))
    found = collect(tmp_path)
    held = {student: sum(s.notebook.size for s in found if s.student == student and s.notebook)
            for student in ("anna", "bo", "cy")}
    assert 15e6 < held["anna"] < 20e6
    assert held["bo"] == 0
    assert 0 < held["cy"] < 200
    assert {s.student for s in found if s.problem == "the zip holds too much"} == {"anna", "bo"}


@pytest.mark.parametrize(("cells", "says"), [
    ([{}] * 5001, "5,001 cells"), ([{"source": "x = 1\n" * 200_000}], "1,200,000 characters"),
    ([{"source": "x" * 600_000}] * 2, "1,200,000 characters of code")])
def test_a_notebook_has_bounds(cells, says):
    with pytest.raises(Unreadable, match=says):
        parse(json.dumps({"cells": cells}).encode())


@pytest.mark.long
@pytest.mark.parametrize("unit", ["[]", '"",'])    # and another in the corpus
def test_no_notebook_becomes_a_gigabyte(unit):
    """31 MB of small things would take forty times as much in memory."""
    data = ('{"cells": [' + ",".join([unit] * (31 * 2**20 // (len(unit) + 1))) + "]}").encode()
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="3,000,000 values"):
            parse(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("output", [
    "iVBORw0KGgo" * 2_700_000, "[0.125, {'x': 1}, \"]" * 1_400_000, [0.123456] * 2_900_000],
    ids=["picture", "page", "numbers"])
def test_a_notebook_with_large_outputs_is_read(output):
    data = json.dumps({"cells": [{"source": "x = 1", "outputs": [output]}]}).encode()
    assert 24e6 < len(data) < 34e6
    assert parse(data).cells[0].source == "x = 1"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_read(encoding):
    assert parse(EMPTY.decode().replace("x", "ä").encode(encoding)).cells[0].source == "ä = 1"


def test_one_byte_costs_itself_only():
    assert parse(EMPTY.replace(b"= 1", b"= 1  # \xe4")).cells[0].source == "x = 1  # \ufffd"


@pytest.mark.parametrize("method", ["open", "lstat"])    # the file's mode, or its folder's
def test_a_file_that_cannot_be_read_costs_itself_only(tmp_path, monkeypatch, method):
    assert students(tmp_path, "anna/x.ipynb", "bo/x.ipynb") == ["anna", "bo"]
    real = getattr(Path, method)

    def refused(path, *given):
        if path.match("anna/x.ipynb"):
            raise PermissionError(13, "Permission denied")
        return real(path, *given)

    monkeypatch.setattr(Path, method, refused)
    anna, bo = collect(tmp_path)
    assert "be read: Permission denied" in anna.problem
    assert "has no cells" in bo.problem


@pytest.mark.parametrize("text", ["=1+1", "＝1+1", " @x", "\t=1", "\u202e=1", "x;=cmd|'/c calc'!A0",
                                  'x;"=cmd', "release ; -1", "a|+1", "x,=1"])
def test_no_cell_is_a_formula(text):
    """Neither whole nor split at semicolons or commas, as spreadsheets elsewhere do."""
    written = report.grades([report.Row(text, "", text, (), (text, text))])
    (_, line), = [written.split("\n", 1)]
    for cell in csv.reader([line.strip()]).__next__():
        for part in re.split(r"[;,|]", cell):
            assert part.strip(" \t\"\u202e")[:1] not in [*"=+-@＝＋－＠"]
    assert line.count('","') == 9
    assert "\u202e" not in report.feedback([report.Row(text, "", text, (), (text,))]).popitem()[1]


# ── honest answers in many styles, and others ────────────────────────────────────────────────


@pytest.fixture(scope="module")
def running():
    runner = Runner(Limits(seconds=5))
    yield runner
    runner.close()


def marked(runner: Runner, *cells: str, id: str = "lora.count"):
    return mark(runner, Code([Cell(n, text) for n, text in enumerate(cells, 1)]), find(id))


@pytest.mark.parametrize("kind", HONEST)
def test_honest_answers_count(running, kind):
    id, cells = HONEST[kind]
    given = marked(running, *cells, id=id)
    assert given.points == given.maximum, given


@pytest.mark.parametrize("way", CHEATS)
def test_what_calls_the_reference_is_no_answer(running, way):
    id, cells = CHEATS[way]
    given = marked(running, *cells, id=id)
    assert (given.points, given.message, given.traceback) == (0, OF_THE_COURSE, "")
    assert f"{id}: uses the reference" in given.flags


@pytest.mark.parametrize("sign", SIGNS)
def test_what_could_hide_the_reference_is_flagged(running, sign):
    id, cells, flag = SIGNS[sign]
    given = marked(running, *cells, id=id)
    assert f"{id}: {flag}" in given.flags
    assert given.points == given.maximum, given


ITSELF = "pt.mine('lora.count')"


@pytest.mark.parametrize("cell", [
    f"lora_count = {ITSELF}", DEF.format(f"{ITSELF}(n_in, n_out, rank)"),
    f"given = {ITSELF}\n" + DEF.format("given(n_in, n_out, rank)"),
    f"def lora_count(n_in, n_out, rank, given={ITSELF}):\n    return given(n_in, n_out, rank)"])
def test_no_answer_is_made_of_what_mine_gives_for_it(running, cell):
    given = marked(running, cell)
    assert (given.state, given.points) == ("not attempted", 0)


def with_line(line: str) -> str:
    """The right answer, with a line more."""
    return RIGHT_TEXT.replace("    return", f"    {line}\n    return")


@pytest.mark.parametrize("cells", [
    (with_line("torch.manual_seed(0)"),),    # it quotes the stack
    (with_line("import warnings; warnings.warn('x')"),),
    (with_line("import sys; print(sys.version)"),),
    (with_line("from tqdm import tqdm; list(tqdm([rank]))"),),
    ("def count(n_in, n_out, rank):\n    return rank * (n_in + n_out)\nlora_count = count",),
    ("pt.lora.count(1, 2, 3)", RIGHT_TEXT, "assert lora_count(1, 2, 3) == pt.lora.count(1, 2, 3)"),
    (with_line("pt.mine('inside.linear')(1, 2)"),)])    # another exercise's, which it is for
def test_what_is_innocent_is_not_flagged(running, cells):
    given = marked(running, *cells)
    assert (given.points, given.flags) == (1, ()), given


def test_an_error_in_the_library_is_no_sign(running):
    """Its traceback quotes the library's source."""
    given = marked(running, DEF.format("pt.lora.scale(0, 'x')"))
    assert "lora.py" in given.traceback
    assert given.flags == ()


@pytest.mark.parametrize(("cells", "says"), [
    ((f"TEXT = {RIGHT_TEXT!r}\nexec(TEXT)",), "lora_count stands in a text (cell 1)"),
    ((STUB, f"exec({RIGHT_TEXT!r})"), "lora_count stands in a text (cell 2)"),
    (("import pathlib\npathlib.Path('x.py').write_text('def lora_count(): 1')",), "neither for"),
    (("%%writefile x.py\n" + DEF.format(1), "from x import lora_count"), "a cell of %%writefile"),
    ((STUB, "  %%bash\n  " + DEF.format(1)), "a cell of %%bash"),
    (("for id, f in [('lora.count', print)]:\n    pt.check(id, f)",), "no definition"),
    ((STUB, DEF.format("(")), "not Python")])
def test_a_reason_that_is_true(cells, says):
    assert says in plan(*cells).missing


def test_a_value_of_the_course_may_be_made_outside(running):
    given = marked(running, "best = pt.lora.Config(rank=1, alpha=2.0, targets=('query',))",
                   "ship, leave = best, best", id="lora.forty_kb")
    assert "NameError" not in given.message + given.traceback


def test_a_library_that_is_not_here_is_named(running):
    given = marked(running, "from nosuchlib import f", DEF.format("f(rank)"))
    assert "No module named 'nosuchlib'" in given.traceback
    assert given.flags == ("lora.count: not installed here: nosuchlib",)
    assert not marked(running, "import nosuchlib", RIGHT_TEXT).flags
    assert not marked(running, "try:\n    import nosuchlib as a\nexcept ImportError:\n    a = 0",
                      DEF.format("a + rank * (n_in + n_out)")).flags


def test_an_answer_in_its_check_only_is_flagged():
    assert plan(STUB, "pt.check('lora.count', print)").notes == (
        "lora_count stands in the line of its check only",)
    assert statements(DEF.format(1), "pt.check('lora.count', print)") == [("cell 2, check 0", 0)]


@pytest.mark.parametrize("line", [
    "import peft_teach.course.grade.child as c", "from peft_teach.course import exercise as c",
    "from peft_teach import course as c", "c = pt.course.grade"])
def test_who_reaches_for_the_course_is_looked_at(line):
    assert "look at its peft_teach.course" in plan(DEF.format(f"1\n    {line}")).flags


@pytest.mark.long
def test_no_notebook_takes_long_to_read():
    """Functions that all name each other, long chains, and more code than anybody writes."""
    started = time.process_time()
    for count in (200, 1200):
        body = "; ".join(f"f{i}" for i in range(count))
        found = plan(*(f"def f{i}():\n    {body}" for i in range(count)),
                     "def lora_count(*sizes):\n    " + body)
        assert "too much" in found.missing or len(found.statements) == count + 1
    plan(*("x0 = 1", *(f"x{i} = x{i - 1} + len(str(x{i - 1}))" for i in range(1, 3000)),
           DEF.format("x2999")))
    chains = "; ".join(["x" + ".b" * 190] * 200)
    plan(*[f"def f{i}():\n    {chains}" for i in range(3)], DEF.format("f0() + f1() + f2()"))
    assert "too much" in plan(*[f"x = '{'x' * 90_000}'"] * 3, DEF.format(1)).missing
    assert time.process_time() - started < 30    # one that is quadratic takes minutes
