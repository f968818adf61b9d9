"""What an answer may do to the grader: the border, the sandbox, the server, the judges."""

import contextlib
import copy
import functools
import json
import math
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from exact import assert_equal
from grading_corpus import ROOT, marked, untouched
from honest import COUNT

from peft_teach.course import lessons
from peft_teach.course.checks.examination import judge_case
from peft_teach.course.checks.judge import named, not_whole
from peft_teach.course.grade import Limits, job
from peft_teach.course.grade.plain import (
    DEEPEST,
    LENGTHS,
    REFUSED,
    Foreign,
    Malformed,
    from_bytes,
    split,
    to_bytes,
)
from peft_teach.course.grade.run import Mark, mark
from peft_teach.course.grade.runner import Runner
from peft_teach.course.grade.server import _is_full
from peft_teach.course.lessons import find
from peft_teach.course.reading.cells import Code
from peft_teach.course.reading.notebook import Cell, parse

# ── the border: plain data ───────────────────────────────────────────────────────────────────


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
    assert_equal(found, tensor)
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
    name = type(value).__name__
    assert type(from_bytes(to_bytes(value))).__name__ == REFUSED.get(name, name)
    assert isinstance(from_bytes(to_bytes(value)), Foreign)


@pytest.mark.parametrize(("value", "says"), [
    (10**5000, "an int too large to be read"),
    (torch.zeros(2, device="meta"), "a tensor of a kind that is not read"),
    (functools.reduce(lambda inner, _: [inner], range(99), []), "list too deep")],
    ids=["int", "tensor", "list"])
def test_what_is_refused_is_not_called_what_was_expected(value, says):
    found = from_bytes(to_bytes(value))
    while isinstance(found, list):
        found, = found
    assert says in named(found)
    assert not_whole(found) == f"That is {named(found)}" + (
        "." if type(value) is int else ", not an int.")


def framed(text: str, data: bytes = b"") -> bytes:
    tree = text.encode()
    return LENGTHS.pack(len(tree), len(data)) + tree + data


@pytest.mark.parametrize("frame", [
    b"", LENGTHS.pack(5, 5), framed("{"), framed("NaN"), framed('{"a": 1, "b": 2}'),
    framed('{"eval": "1"}'), framed('{"tensor": "0"}'), framed('{"dtype": "qint8"}'),
    framed('{"dict": [[[], 1]]}'), framed('{"float": "1e5"}'), framed('{"tuple": 3}'),
    framed("[" * 10_000 + "]" * 10_000), framed("[" * 200 + "]" * 200), framed("9" * 5000),
    framed("[" + "1," * 200_000 + "1]"), framed("1", b"xxxxxxxxxxxx"),
    framed("1", struct.pack("<Q", 2**60) + b"{}")], ids=lambda frame: str(frame[:40]))
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


FORGED = """def lora_count(n_in, n_out, rank):
    import os, torch
    from peft_teach.course.grade.plain import to_bytes
    os.write(3, to_bytes({}))
    os._exit(0)
"""


@pytest.mark.parametrize(("sent", "says"), [
    ("[torch.ones(2)]", "could not be read"), ("None", "could not be read"),
    ("{'ended': torch.ones(2)}", "could not be read"),
    ("{'ended': {'state': 'passed', 'mistake': None, 'message': '', 'traceback': ''}}", "")])
def test_a_forged_frame_gives_no_points_and_ends_nothing(sent, says):
    given = marked(FORGED.replace("{}", sent))
    assert (given.state, given.points) == ("wrong", 0)
    assert says in given.message


# ── the sandbox ──────────────────────────────────────────────────────────────────────────────

FORBIDDEN = """
import ctypes, os, sys, tempfile, threading
from pathlib import Path
import torch
from peft_teach.course.grade.sandbox import Limits, confine
scratch = Path(tempfile.mkdtemp())
open(scratch / "mine", "w").close()
theirs = sys.argv[1]
parent = os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
shared = libc.shmget(0, 4096, 0o1600)    # as another program's; it goes when this process ends
assert libc.shmat(shared, 0, 0) != -1 and libc.shmctl(shared, 0, 0) == 0
print(*confine(Limits(), scratch))

def tried(name, do):
    try:
        do()
    except (OSError, RuntimeError, MemoryError) as error:
        print(name, "refused")
    else:
        print(name, "done")

def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
tried("limits", lambda: __import__("resource").prlimit(parent, 0, (1, 1)))
tried("trace", lambda: call(101, 16, parent, 0, 0))
tried("namespace", lambda: call(272, 0x10000000))
tried("ring", lambda: call(425, 8, ctypes.create_string_buffer(200)))
tried("x32", lambda: call(0x40000000 + 57))
tried("shared memory", lambda: call(30, shared, 0, 0))
tried("watch", lambda: call(294, 0))
tried("log", lambda: call(103, 10, 0, 0))    # its size
tried("group", lambda: os.getpgid(0))
tried("session", lambda: os.getsid(0))
tried("fchmod", lambda: os.chmod(os.open(os.__file__, os.O_RDONLY), 0o644))
tried("chown", lambda: os.chown(theirs, os.getuid(), os.getgid()))
tried("lchown", lambda: os.lchown(theirs, os.getuid(), os.getgid()))
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
    assert len(lines) == 21 + len(open_)


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


# ── the server ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_without_a_fork_the_marks_are_the_same():
    """As on Windows and macOS: a fresh process for each answer."""
    runner = Runner(Limits(seconds=2), warm=False)
    for text, points, says in (
            (COUNT.format("rank * (n_in + n_out)"), 1, "A and B"),
            (COUNT.format("n_in.x"), 0, "AttributeError"),
            (COUNT.format("__import__('os')._exit(3)"), 0, "ended its process"),
            ("def lora_count(*sizes):\n    while True:\n        pass", 0, "longer than"),
            (COUNT.format("[open(f'{n}', 'wb').write(bytes(10**6)) for n in range(9999)]"), 0,
             "MB to the disk")):
        given = mark(runner, Code([Cell(1, text)]), find("lora.count"))
        assert given.points == points
        assert says in given.message


def test_where_the_grader_fails_the_other_answers_count(monkeypatch):
    def fails(running, code, exercise, further):
        if exercise.id == "inside.block":
            raise RuntimeError("secret")
        return Mark(exercise.id, "passed", exercise.points, exercise.points)

    monkeypatch.setattr(job, "mark", fails)
    found = job.mark_all(parse(json.dumps(untouched("00")).encode()), "00", job.Settings())
    assert [each["exercise"] for each in found if not each["points"]] == ["inside.block"]
    flags = [flag for each in found for flag in each["flags"]]
    assert flags == ["inside.block: the grader failed at it, RuntimeError: look at it by hand"]


@pytest.mark.parametrize("broken", ["Code", "handed.examined"])
def test_a_notebook_that_the_grader_fails_at_is_flagged_and_stops_no_class(monkeypatch, broken):
    monkeypatch.setattr(f"{job.__name__}.{broken}", lambda *_: 1 / 0)
    found = job.mark_all(parse(json.dumps(untouched("14")).encode()), "14", job.Settings())
    assert [(each["points"], *each["flags"]) for each in found] == [
        (0, f"{each.id}: the grader failed at it, ZeroDivisionError: look at it by hand")
        for each in lessons.marked("14")]


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
    word = "".join(reversed("drowterces"))
    for body in (f"'{word}' + n_in.{word}", "rank * (n_in + n_out)"):
        given = marked(COUNT.format(body))
    assert given.points == 1
    held = memory(job.runner(Limits(), job.FORKS)._server.pid)
    assert b"lora_count" in held    # the course's own: the search finds what is there
    assert word.encode() not in held


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the server of Linux")
def test_the_server_ends_with_the_grader_and_with_its_supervisor():
    runner = Runner(Limits())
    mark(runner, Code([Cell(1, COUNT.format("0"))]), find("lora.count"))
    server, deadline = runner._server, time.monotonic() + 20
    while server.poll() is None and time.monotonic() < deadline:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        for supervisor in children.read_text().split():    # the last one may still be ending
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(supervisor), 9)
        time.sleep(0.05)
    assert server.poll() == 0
    assert mark(runner, Code([Cell(1, COUNT.format("rank * (n_in + n_out)"))]),
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
    assert judge_case(exercise, case, seen, 0).passed
    lie = {"trains": {"classifier.weight": True}, "found": 1}
    assert not judge_case(exercise, case, seen | lie, 0).passed


@pytest.mark.parametrize("claim", ["rank", "alpha", "lr"])
def test_no_part_of_a_setting_is_believed_whatever_its_type(claim):
    """Nor does a judge multiply a text."""
    exercise, case, seen = good("lora.case")
    assert judge_case(exercise, case, seen, 0).passed    # and what is imported late has been
    one, other = seen["clears"]
    start = time.process_time()
    for odd in (None, True, -0.5, "x" * 3_000_000, [], {}, torch.ones(2), torch.float32):
        lie = seen | {"clears": (one | {claim: odd}, other)}
        assert not judge_case(exercise, case, lie, 0).passed, odd
    assert time.process_time() - start < 0.5


def test_no_step_without_a_loss():
    exercise, case, seen = good("full.step")
    assert judge_case(exercise, case, seen, 0).passed
    for steps in ([], seen["steps"][:1], [{**each, "loss": None} for each in seen["steps"]]):
        assert not judge_case(exercise, case, seen | {"steps": steps}, 0).passed
