"""The grader's parts, each alone: what crosses the border, what is extracted, who handed it in."""

import io
import json
import math
import os
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from grading_corpus import ROOT, solved, untouched, zipped

from peft_teach.course.exercises import all_exercises, find
from peft_teach.course.grade import Limits, engine, grade
from peft_teach.course.grade.collect import collect, latest, safe_name
from peft_teach.course.grade.extract import Code, definitions
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
from peft_teach.errors import PeftTeachError

# ── plain: what crosses ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [
    None, True, 0, -7, 2**4000 - 1, 0.5, "ä\ud800", [], [1, [2]], (1, (2, "x")), {"a": {"b": ()}},
    {1: 2, (1, "x"): None}, {"dict": [], "float": "nan"}, torch.float16, math.inf, -math.inf])
def test_plain_values_cross_as_they_are(value):
    found = from_bytes(to_bytes(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("tensor", [
    torch.zeros(0, 3), torch.tensor(1.5), torch.arange(6).reshape(2, 3).T, torch.tensor([True]),
    torch.randn(3).bfloat16(), torch.nn.Parameter(torch.ones(2)), torch.randn(3).half()])
def test_tensors_cross_as_plain_ones(tensor):
    found = from_bytes(to_bytes({"x": [tensor, tensor]}))["x"][1]
    assert type(found) is torch.Tensor
    assert found.dtype == tensor.dtype
    assert torch.equal(found, tensor)
    assert not found.requires_grad


def test_not_a_number_crosses():
    assert math.isnan(from_bytes(to_bytes(math.nan)))


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
    assert plan(line, DEF.format("X")).flags == ("needs X, whose line does not run here",)


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
    "%matplotlib inline\n" + DEF.format(1), "%%time\n" + DEF.format(1), "!ls\n" + DEF.format(1),
    "x = !ls\n" + DEF.format(1), DEF.format(1) + "\nlora_count?", "\r\n" + DEF.format(1)])
def test_magics_do_nothing(cell):
    assert not plan(cell).missing


@pytest.mark.parametrize("cell", ["%%bash\n" + DEF.format(1), "%%writefile x.py\n" + DEF.format(1)])
def test_other_languages_are_no_answer(cell):
    assert "no definition" in plan(cell).missing


@pytest.mark.parametrize("cell", [
    DEF.format("(1"), DEF.format("-" * 100_000 + "1"), DEF.format("(" * 5000), DEF.format("\0"),
    DEF.format("a" + ".b" * 40_000), DEF.format("'" + "x" * 200_000 + "'"), DEF.format("'\ud800'"),
    DEF.format(1) + "\nx = 1" * 6000], ids=len)
def test_what_is_no_python_is_said_and_harms_nothing(cell):
    assert "not Python" in plan(cell).missing
    assert plan(cell, DEF.format(1)).statements == (("cell 2", 0),)


@pytest.mark.parametrize("line", [" " * 90_000 + "=", "a " * 40_000 + "= x", "?" * 90_000,
                                  "\n" * 90_000 + "(", "def " * 20_000], ids=range(5))
def test_no_line_takes_long_to_read(line):
    plan(line + "(\n" + DEF.format(1))    # a pattern that backtracks would take minutes


@pytest.mark.parametrize(("id", "code"), [
    ("lora.count", DEF.format("pt.lora.count(n_in, n_out, rank)")),
    ("lora.count", "from peft_teach.methods.lora import count as lora_count2\n"
                   + DEF.format("lora_count2(n_in, n_out, rank)")),
    ("lora.count", DEF.format("pt.check('lora.count', 0)")),
    ("lora.layer", "class LoRALinear(pt.lora.LoRALinear):\n    pass"),
    ("lora.layer", "import peft_teach\nLoRALinear = peft_teach.methods.lora.LoRALinear"),
    ("lora.merge", "def merged(layer):\n    return layer.merged()"),
    ("change.truncate", "def truncate(d, k):\n    return pt.spectra.truncate(d, k)"),
    ("inside.linear", "def linear_count(a, b):\n"
                      "    from peft_teach.course.exercises import inside\n"
                      "    return inside.linear_count(a, b)")])
def test_the_reference_is_no_answer(id, code):
    assert "own solution" in plan(code, id=id).missing


def test_innocent_names_are_no_reference():
    assert not plan(DEF.format("[rank].count(rank)")).missing
    assert not plan("class LoRALinear(pt.Adapter):\n    def f(self):\n        return self.merged()",
                    id="lora.layer").missing


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
    return lesson_of(parse(json.dumps(notebook).encode()), file, all_exercises())


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
    (("meierjo_123_456_07_lora-1.ipynb", "bo_LATE_1_2_x y.ipynb"), ["bo", "meierjo"]),
    (("Jo Meier_12_assignsubmission_file_/x.ipynb", "Bo_3_assignsubmission_file/y.ipynb"),
     ["Bo", "Jo Meier"]),
    (("meierjo_1_7_x.ipynb", "meierjo_2_8_x.ipynb", "meierjo_2_9_y-1.ipynb", "bo_3_1_x.ipynb"),
     ["bo", "meierjo (1)", "meierjo (2)"]),
    (("c/submitted/jo/lora/07_lora.ipynb", "c/submitted/bo/lora/07_lora.ipynb"), ["bo", "jo"]),
    (("Zoe\u0308/07_lora.ipynb", "李/07_lora.ipynb"), ["Zoë", "李"])])
def test_who(tmp_path, paths, expected):
    assert students(tmp_path, *paths) == expected


def test_one_file_or_one_zip(tmp_path):
    (tmp_path / "anna_07_lora.ipynb").write_bytes(b"{}")
    (tmp_path / "all.zip").write_bytes(zipped({"all/anna/x.ipynb": b"{}", "all/bo/x.ipynb": b"{}"}))
    assert [s.student for s in collect(tmp_path / "anna_07_lora.ipynb")] == ["anna"]
    assert [s.student for s in collect(tmp_path / "all.zip")] == ["anna", "bo"]


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
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(b"{}")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link.ipynb").symlink_to(secret)
    (folder / "links").symlink_to(tmp_path)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        link = zipfile.ZipInfo("link.ipynb")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("__MACOSX/._x.ipynb", b"x")
        archive.writestr("x" * 2000 + ".ipynb", b"{}")
        archive.writestr("../../jo.ipynb", b"{}")
    (folder / "z.zip").write_bytes(zipped({"y.zip": zipped({"x.zip": inner.getvalue()})}))
    assert students(folder, "anna/.ipynb_checkpoints/x.ipynb", "anna/ok.ipynb") == ["anna"]
    (folder / "z.zip").write_bytes(zipped({"y.zip": inner.getvalue()}))
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


# ── the walls ────────────────────────────────────────────────────────────────────────────────

WALLS = """
import ctypes, os, socket, sys, tempfile, threading
from pathlib import Path
import torch
from peft_teach.course.grade.limits import Limits, confine
scratch = Path(tempfile.mkdtemp())
open(scratch / "mine", "w").close()
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
tried("kill", lambda: os.kill(os.getppid(), 0))
tried("limits", lambda: __import__("resource").prlimit(os.getppid(), 0, (1, 1)))
tried("trace", lambda: call(101, 16, os.getppid(), 0, 0))
tried("namespace", lambda: call(272, 0x10000000))
tried("ring", lambda: call(425, 8, ctypes.create_string_buffer(200)))
tried("x32", lambda: call(0x40000000 + 57))
tried("read", lambda: open("/etc/hostname"))
tried("list", lambda: os.listdir("/"))
tried("proc", lambda: open(f"/proc/{os.getppid()}/mem"))
tried("write", lambda: open("/dev/shm/x", "w"))
tried("memory", lambda: torch.zeros(2**31))
tried("large file", lambda: open(scratch / "large", "wb").write(bytes(2**25)))
tried("own file", lambda: (scratch / "own").write_text("x"))
tried("thread", lambda: threading.Thread(target=len, args=([],)).start())
tried("tensor", lambda: torch.ones(9, 9) @ torch.ones(9, 9))
tried("gradient", lambda: torch.ones(3, requires_grad=True).sum().backward())
tried("import", lambda: __import__("wave"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the walls of Linux")
def test_the_walls_stand():
    done = subprocess.run([sys.executable, "-c", WALLS], capture_output=True, text=True, cwd=ROOT)
    walls, *lines = done.stdout.splitlines()
    assert walls.split() == ["limits", "landlock", "capabilities", "seccomp"], done.stderr
    open_ = ("own file done", "thread done", "tensor done", "gradient done",
             "import done")
    assert [line for line in lines if not line.endswith("refused")] == list(open_)
    assert len(lines) == 16 + len(open_)


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
        path.write_text(json.dumps(given | {"of": student}))
    grade(folder / "in", folder / "out", jobs=1)
    return folder


def test_the_same_input_gives_the_same_bytes(small, tmp_path):
    grade(small / "in", tmp_path, jobs=2)
    assert files(tmp_path) == files(small / "out")
    assert len(files(tmp_path)) == 3 + 3 + 3    # results, pages; the table, the report, its picture


def test_an_interrupted_run_goes_on(small, tmp_path, monkeypatch):
    """What is done is not done again, and what comes of both is as if nothing had happened."""
    done, run = [], engine.run

    def stops(function, items, **named):
        for result in run(function, items, **named):
            yield result
            done.append(result)
            if len(done) == 2:    # the proof of the reference, and one submission
                raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run", stops)
    with pytest.raises(KeyboardInterrupt):
        grade(small / "in", tmp_path, jobs=1)
    assert len(list((tmp_path / "results").iterdir())) == 1
    assert not (tmp_path / "grades.csv").exists()

    items_of = []
    monkeypatch.setattr(engine, "run", lambda function, items, **named: (
        items_of.append(len(items)), run(function, items, **named))[1])
    grade(small / "in", tmp_path, jobs=1)
    assert items_of == [1 + 2]
    assert files(tmp_path) == files(small / "out")
    grade(small / "in", tmp_path, jobs=1)
    assert items_of == [3, 0]


def test_a_damaged_result_is_made_again(small, tmp_path):
    grade(small / "in/anna", tmp_path, jobs=1)
    before = files(tmp_path)
    result, = (tmp_path / "results").iterdir()
    result.write_text("[{")
    grade(small / "in/anna", tmp_path, jobs=1)
    assert files(tmp_path) == before


def test_the_lesson_that_was_asked_for(small, tmp_path):
    row, *_ = grade(small / "in/anna", tmp_path, lesson="01", jobs=1)
    assert (row.lesson, row.points, row.maximum) == ("01", 0, 7)
    assert "this is the notebook of lesson 00" in row.flags
    with pytest.raises(PeftTeachError, match="no lesson '77'"):
        grade(small / "in", tmp_path, lesson="77")


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
            (DEF.format("rank * (n_in + n_out)"), 1, "rank"), (DEF.format("7"), 0, "gave 7"),
            (DEF.format("n_in.x"), 0, "AttributeError"), ("while True: pass\n" + STUB, 0, ""),
            (DEF.format("__import__('os')._exit(3)"), 0, "ended its process"),
            ("def lora_count(*sizes):\n    while True:\n        pass", 0, "longer than")):
        given = mark(runner, Code([Cell(1, text)]), find("lora.count"))
        assert given.points == points
        assert says in given.message


class Suicidal:
    """Work that kills its process, unless it is alone there."""

    def __call__(self, number):
        if number == 2:
            os._exit(1)
        return number * 10


@pytest.mark.long
def test_a_job_that_kills_its_process_costs_no_other_one():
    found = dict(engine.run(Suicidal(), [(n,) for n in range(1, 4)], jobs=1))
    assert isinstance(found.pop(1), engine.Died)
    assert found == {0: 10, 2: 30}


@pytest.mark.long
def test_dask_gives_the_same_bytes(small, tmp_path):
    """On a local cluster of two workers."""
    grade(small / "in", tmp_path, dask="local:2")
    assert files(tmp_path) == files(small / "out")


def test_the_command(small, tmp_path, capsys):
    from peft_teach.course.cli import main

    assert main(["grade", str(small / "in"), "--out", str(small / "out")]) == 0
    assert "3 graded, 0 to look at" in capsys.readouterr().out
    assert main(["grade", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "There is no notebook" in capsys.readouterr().err


# ── honest answers in many styles ────────────────────────────────────────────────────────────

@pytest.fixture(scope="module")
def running():
    runner = Runner(Limits(seconds=5))
    yield runner
    runner.close()


def marked(runner: Runner, *cells: str, id: str = "lora.count"):
    return mark(runner, Code([Cell(n, text) for n, text in enumerate(cells, 1)]), find(id))


RIGHT = DEF.format("rank * (n_in + n_out)")
ONE = DEF.format("ONE * rank * (n_in + n_out)")
LAYER = """class LoRALinear(pt.Adapter):
    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__(base)
        self.scale = alpha / rank
        self.A = torch.nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = torch.nn.Parameter(torch.zeros(base.out_features, rank))
"""
FORWARD = """def forward(self, x):
    y = self.base(x)
    return y + (self.scale * (x.float() @ self.A.T @ self.B.T)).to(y.dtype)
"""
METHOD = "\n".join(f"    {line}" for line in FORWARD.splitlines())
MERGED = """def merged(layer):
    class Result:
        pass
    r, b = Result(), layer.base
    r.merged = nn.Linear(b.in_features, b.out_features, b.bias is not None, dtype=b.weight.dtype)
    r.merged.weight.copy_(b.weight.float() + layer.scale * layer.B @ layer.A)
    if b.bias is not None:
        r.merged.bias.copy_(b.bias)
    return r.merged
"""


@pytest.mark.parametrize("helper", [
    "ONE = 0\nONE += 1", "for ONE in (1,):\n    pass", "print(ONE := 1)",
    "with open('x', 'w'):\n    ONE = 1",
    "XS = []\nXS.append(1)\nONE = XS[0]", "XS = []\nfor x in (1,):\n    XS.append(x)\nONE = XS[0]",
    "CFG = {'one': 0}\nCFG['one'] = 1\nONE = CFG['one']",
    "def setup():\n    global ONE\n    ONE = 1\nsetup()",
    "def setup():\n    global ONE\n    ONE += 1\nONE = 0\nsetup()",
    "def one():\n    pass\none.value = 1\nONE = one.value", "k = 1\nclass P:\n    k = k\nONE = P.k",
    "def fill(xs):\n    xs.append(1)\nXS = []\nfill(XS)\nONE = XS[0]",
    "X = 1\nONE = X\nX = 2\ndel X",
    "class S:\n    pass\nS.one = 0\nsetattr(S, 'one', 1)\nONE = S().one",
    "ONE = len('in out'.split()) - 1",
    "import torch as th\nONE = int(th.tensor(1))", "from math import sqrt\nONE = int(sqrt(1))",
    "from enum import Enum\nONE = len(Enum('E', 'IN'))",
    "import logging\nONE = bool(logging.getLogger('x'))",
    "from collections import defaultdict\nD = defaultdict(int)\nD['x'] += 1\nONE = D['x']",
    "def make():\n    return later()\ndef later():\n    return 1\nONE = make()",
    "ONE = next(iter([1]))",
    "lc = pt.check('inside.linear', linear)\ndef linear(a, b):\n    return a * b\nONE = lc(1, 1)",
    "import os, nosuchlib, math\nONE = math.prod([])", "from nosuchlib import *\nONE = 1",
    "broken = 1 / 0\nONE = 1\nif False:\n    ONE = broken",
    "!pip install -q \\\n    einops\nONE = 1",
    "%time\nONE = (7\n    % 3)",
    "class lora:\n    def count():\n        return 1\nONE = lora.count()",
    "from peft_teach import Adapter, check\nONE = issubclass(Adapter, nn.Module)"])
def test_what_a_helper_may_be(running, helper):
    given = marked(running, helper, ONE)
    assert given.points == 1, given.message + given.traceback


@pytest.mark.parametrize("cells", [
    ("calls = 0\ndef lora_count(n_in, n_out, rank):\n    global calls\n    calls += 1\n"
     "    return rank * (n_in + n_out)",),
    (STUB, RIGHT.replace("lora_count", "mine") + "\nlora_count = pt.check('lora.count', mine)"),
    (STUB, "pt.check('lora.count', lambda n_in, n_out, rank: rank * (n_in + n_out))"),
    (STUB, "import functools\nlora_count = functools.cache(lambda n, m, r: r * (n + m))"),
    (DEF.format(1), RIGHT + "\n    raise pt.NotAttempted('lora.count')"),
    ("import warnings\nwith warnings.catch_warnings():\n"
     "    lora_count = lambda n_in, n_out, rank: rank * (n_in + n_out)",),
    ("from functools import singledispatch\n@singledispatch\n" + DEF.format(0)
     + "\n@lora_count.register\ndef _(n_in: int, n_out, rank):\n    return rank * (n_in + n_out)",),
    ("T = TypeVar('T')\n" + RIGHT, "from typing import TypeVar")])
def test_how_a_function_may_be_written(running, cells):
    given = marked(running, *cells)
    assert given.points == 1, given.message + given.traceback


@pytest.mark.parametrize(("id", "cells"), [
    ("lora.layer", (LAYER + "\nclass LoRALinear(LoRALinear):\n" + METHOD,)),
    ("lora.layer", (LAYER, FORWARD + "\nsetattr(LoRALinear, 'forward', forward)")),
    ("lora.layer", (LAYER, "def add_to_class(C):\n    def put(f):\n"
                           "        setattr(C, f.__name__, f)\n    return put\n"
                           "@add_to_class(LoRALinear)\n" + FORWARD)),
    ("lora.layer", ("LoRALinear.forward = forward", FORWARD, LAYER)),
    ("lora.merge", (MERGED, "merged = torch.no_grad()(merged)"))])
def test_what_is_completed_later(running, id, cells):
    if cells[0].startswith("LoRALinear"):
        cells = cells[::-1]
    given = marked(running, *cells, id=id)
    assert given.points == given.maximum, given.message + given.traceback


def test_a_value_of_the_course_may_be_made_outside(running):
    given = marked(running, "best = pt.lora.Config(rank=1, alpha=2.0, targets=('query',))",
                   "def forty_kb():\n    return best", id="lora.forty_kb")
    assert "NameError" not in given.message + given.traceback


def test_a_library_that_is_not_here_is_named(running):
    given = marked(running, "from nosuchlib import f", DEF.format("f(rank)"))
    assert "No module named 'nosuchlib'" in given.traceback
    assert given.flags == ("lora.count: not installed here: nosuchlib",)
    assert not marked(running, "import nosuchlib", RIGHT).flags
    assert not marked(running, "try:\n    import nosuchlib as a\nexcept ImportError:\n    a = 0",
                      DEF.format("a + rank * (n_in + n_out)")).flags


def test_an_answer_in_its_check_only_is_flagged():
    assert plan(STUB, "pt.check('lora.count', print)").flags == (
        "lora_count stands in the line of its check only",)
    assert statements(DEF.format(1), "pt.check('lora.count', print)") == [("cell 1", 0)]


def test_the_python_is_named():
    assert "not Python {}.{}:".format(*sys.version_info) in plan(DEF.format("(")).missing


@pytest.mark.parametrize("line", [
    "import peft_teach.course.grade.child as c", "from peft_teach.course import exercise as c",
    "from peft_teach import course as c", "c = pt.course.grade"])
def test_who_reaches_for_the_course_is_looked_at(line):
    assert "look at its peft_teach.course" in plan(DEF.format(f"1\n    {line}")).flags


def test_no_notebook_takes_long_to_read():
    """Functions that all name each other, long chains, and more code than anybody writes."""
    started = time.monotonic()
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
    assert time.monotonic() - started < 30    # one that is quadratic takes minutes
