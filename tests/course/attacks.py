"""What hostile students hand in, by kind: answers that attack the grader, and files that do.

    ANSWERS = {"kind": {"what it does": Answer("body of lora_count", …), …}}
    FILES = {student: Handed({path: bytes}, points, flag)}

CANARY is a folder of the instructor's with `precious.txt` in it, OTHERS the submission of another
student, SOLUTIONS the folder with further cases, PORT a server that listens. No answer may open or
change any of them, and none gets a point that it has not earned. What reaches for them and goes on
gives the right count: a point then means that it was refused, for else it raises `Reached`.
"""

import io
import json
import warnings
import zipfile
from typing import NamedTuple

from cheats import BODY
from grading_corpus import code_cell, zipped
from honest import CHECK

RIGHT = "return rank * (n_in + n_out)"
REFUSED = "PermissionError"


class Answer(NamedTuple):
    """The body of `lora_count`, or the cell of another exercise; and what must come of it."""

    body: str
    says: str = ""      # in the message or in the traceback
    flag: str = ""
    points: int = 0
    id: str = "lora.count"

    @property
    def cells(self) -> tuple[str, ...]:
        """What stands in the notebook."""
        whole = self.id != "lora.count"
        return (self.body if whole else BODY + "\n    ".join(self.body.strip().split("\n")),)


def refused(*lines: str, by: str = "OSError") -> Answer:
    """Each line alone must raise an error of this kind: the grader's `Reached` else."""
    tries = [f"try:\n    {line}\nexcept {by}:\n    pass\nelse:\n    raise RuntimeError('Reached')"
             for line in lines]
    lines = ("import os, shutil, socket, subprocess, sys", *tries, RIGHT)
    return Answer("\n".join(lines), points=1)


def silent(*lines: str, says: str = "", flag: str = "") -> Answer:
    """It may do so: nothing comes of it, and its count is right."""
    return Answer("\n".join(["import os, sys", *lines, RIGHT]), says, flag, 1)


def wrong(*lines: str, says: str = "", flag: str = "") -> Answer:
    """It does so, and gives a count that is wrong."""
    return Answer("\n".join(["import os, sys", *lines, "return 7"]), says, flag)


def frame(value: str) -> str:
    """A line that sends what the child would."""
    return f"from peft_teach.course.grade.plain import to_bytes; os.write(3, to_bytes({value}))"


PASSED = ("{'ended': {'state': 'passed', 'mistake': None, 'message': '', 'traceback': '', "
          "'reason': '', 'lacks': ''}}")
SLY = """class Sly(int):
    def __eq__(self, other):
        return True
    __ne__ = __lt__ = __gt__ = lambda self, other: False
    __hash__ = int.__hash__
    __class__ = int
    real = numerator = property(lambda self: rank * (n_in + n_out))
    __index__ = __int__ = __trunc__ = lambda self: rank * (n_in + n_out)
return Sly(7)"""
LYING = """class Lying(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True
def merged(layer):
    wrong = torch.nn.Linear(layer.base.in_features, layer.base.out_features)
    wrong.weight = torch.nn.Parameter(wrong.weight.detach().as_subclass(Lying))
    return wrong
"""

ANSWERS: dict[str, dict[str, Answer]] = {
    "reads": {
        "the further cases": Answer("open('SOLUTIONS/07_lora/further.py').read()", REFUSED),
        "another submission": Answer("raise ValueError(open('OTHERS').read())", REFUSED),
        "the names of the class": refused("os.listdir(os.path.dirname('OTHERS'))"),
        "files of the system": refused(
            "open('/etc/passwd')", "open('/etc/hostname')", "os.listdir('/')", "os.listdir('/tmp')",
            "os.scandir('/proc')", "open('/proc/self/environ')", "open('/proc/self/maps')",
            "open('/proc/1/cmdline')", "open('/dev/shm/x', 'w')", "open('/dev/tty')",
            "open('/dev/mem')"),
        "by a link in its folder": refused(
            "os.symlink('OTHERS', 'soft'); open('soft')", "os.link('OTHERS', 'hard'); open('hard')",
            "os.symlink('/', 'root'); os.listdir('root')", "os.rename('OTHERS', 'mine')",
            "shutil.copy('OTHERS', '.')", "os.readlink('/proc/self/cwd')"),
        "by a descriptor of a path": refused(
            "os.read(os.open('OTHERS', os.O_PATH), 1)",
            "os.fdopen(os.open(os.path.basename('OTHERS'), os.O_RDONLY, dir_fd=os.open("
            "os.path.dirname('OTHERS'), os.O_PATH)))",
            "os.listdir(os.open(os.path.dirname('OTHERS'), os.O_PATH))",
            "os.chdir(os.path.dirname('OTHERS')); open(os.path.basename('OTHERS'))",
            "os.chroot('/')"),
        "by a library": refused(
            "torch.load('OTHERS')", "torch.from_file('OTHERS', size=1, dtype=torch.uint8)",
            "__import__('numpy').fromfile('OTHERS')", "__import__('numpy').memmap('OTHERS')",
            "__import__('safetensors').safe_open('OTHERS', 'pt')",
            "torch.jit.load('OTHERS')", "__import__('linecache').getlines('OTHERS')[0]",
            "__import__('zipfile').ZipFile('OTHERS')",
            "__import__('sqlite3').connect('OTHERS').execute('select * from sqlite_master')",
            by="Exception"),
        "descriptors that the grader left open": silent(
            "for number in range(4, 256):\n    try:\n        os.fstat(number)\n"
            "    except OSError:\n        continue\n    raise RuntimeError('Reached')"),
        "the environment of the grader": silent(
            "told = set(os.environ) & {'PATH', 'USER', 'LOGNAME', 'PYTHONPATH', 'HOSTNAME'}",
            "assert not told and os.environ['HOME'] == '.'"),
    },
    "writes": {
        "into a folder of the instructor's": refused(
            "open('CANARY/x', 'w')", "open('CANARY/precious.txt', 'w')", "os.mkdir('CANARY/x')",
            "open('CANARY/precious.txt', 'r+')", "os.remove('CANARY/precious.txt')",
            "os.rename('CANARY/precious.txt', 'CANARY/y')", "os.symlink('/', 'CANARY/x')",
            "os.mkfifo('CANARY/x')", "os.truncate('CANARY/precious.txt', 0)",
            "os.chmod('CANARY/precious.txt', 0o666)", "os.utime('CANARY/precious.txt', (1, 1))",
            "shutil.rmtree('CANARY')", "shutil.move('CANARY', 'mine')",
            "os.link('CANARY/precious.txt', 'x')"),
        "into the course and its libraries": refused(
            "open(pt.__file__, 'a')", "open(torch.__file__, 'r+')", "os.remove(pt.__file__)",
            "open(os.path.join(os.path.dirname(pt.__file__), 'sitecustomize.py'), 'w')",
            "os.mkdir(os.path.join(sys.prefix, 'x'))", "open(sys.executable, 'a')"),
        "the marks, by their name": refused("open('../grades.csv', 'w')", "os.mkdir('../x')",
                                            "open('CANARY/../overrides.csv', 'w')"),
        "a module that a later answer would import": silent(
            "open('torch.py', 'w').write('raise SystemExit')", "sys.path.insert(0, '.')"),
    },
    "reaches": {
        "a server": refused(
            "socket.create_connection(('127.0.0.1', PORT), 1)", "socket.socket(socket.AF_UNIX)",
            "socket.getaddrinfo('example.org', 80)",
            "__import__('urllib.request').request.urlopen('http://127.0.0.1:PORT', timeout=1)",
            "__import__('http.client').client.HTTPConnection('127.0.0.1', PORT).connect()",
            "__import__('_socket').socket()"),
        "by asyncio": refused(
            "import asyncio; asyncio.run(asyncio.open_connection('127.0.0.1', PORT))"),
        "by the C library": Answer(
            "import ctypes\nlibc = ctypes.CDLL(None)\nassert libc.socket(2, 1, 0) == -1\n" + RIGHT,
            flag="ctypes", points=1),
    },
    "starts processes": {
        "by Python": refused(
            "os.fork()", "os.execv('/bin/sh', ['sh', '-c', 'touch CANARY/x'])",
            "os.posix_spawn('/bin/sh', ['sh', '-c', 'touch CANARY/x'], {})", "os.forkpty()",
            "subprocess.run(['touch', 'CANARY/x'])",
            "__import__('multiprocessing').get_context('fork').Process(target=print).start()",
            "__import__('multiprocessing').get_context('spawn').Process(target=print).start()"),
        "by a shell": silent("os.system('touch CANARY/x')"),
        "by the C library": Answer(
            "import ctypes\nlibc = ctypes.CDLL(None)\nassert libc.fork() == -1 == libc.vfork()\n"
            "libc.system(b'touch CANARY/x')\n" + RIGHT, flag="ctypes", points=1),
    },
    "kills": {
        "whom it finds": refused(*(f"os.kill({pid}, 9)" for pid in (-1, 0, 1, "os.getppid()", 2)),
                                 "os.killpg(0, 9)", "os.setsid()", "os.setpriority(0, 0, 19)",
                                 "os.pidfd_open(1)"),
        "itself": Answer("import signal\nsignal.raise_signal(9)", "ended by the system"),
        "itself, by a pointer": Answer("import ctypes\nctypes.string_at(0)", "crashed (SIGSEGV)",
                                       "ctypes"),
        "itself, by an abort": Answer("import os\nos.abort()", "crashed (SIGABRT)"),
        "itself, by the depth of its stack": Answer(
            "import sys\nsys.setrecursionlimit(10**9)\nclass Deep:\n"
            "    def __getattr__(self, name):\n        return getattr(self, name)\nDeep().x"),
    },
    "exhausts": {
        "the memory": Answer("return len(bytearray(10**11))", "MemoryError"),
        "the memory, by a tensor": Answer("torch.ones(2**31)", "raised RuntimeError"),
        "the stack": Answer("return lora_count(n_in, n_out, rank)", "RecursionError"),
        "time, deaf to signals": Answer(
            "import signal\nfor each in range(1, 64):\n    try:\n"
            "        signal.signal(each, signal.SIG_IGN)\n    except (OSError, ValueError):\n"
            "        pass\nwhile True:\n    pass", "longer than", "look at its signal"),
        "time, in a pattern": Answer("import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
                                     "longer than"),
        "time, asleep": Answer("import time\ntime.sleep(1000)", "longer than"),
        "threads": Answer("import threading\nwhile True:\n"
                          "    threading.Thread(target=print).start()", flag="threading"),
        "descriptors": Answer("held = [open('/dev/null') for _ in range(10**6)]", "OSError"),
        "the disk, by one file": Answer("open('x', 'wb').write(bytes(2**25))", "OSError"),
        "the disk, by many": Answer("for i in range(10**7):\n    open(f'{i}', 'w').close()"),
        "the disk, by folders that nobody can remove": Answer(
            "import os\nfor i in range(10**6):\n    os.mkdir('x' * 200)\n    os.chdir('x' * 200)"),
        "what it gives back": Answer("return torch.zeros(10**7)", "more than 8 MB"),
        "what it gives back, in words": Answer("return 'x' * 10**8", "more than 8 MB"),
        "what it gives back, in pieces": Answer("return [0] * 300_000", "could not be read"),
        "what it gives back, by itself": Answer("x = []\nx.append(x)\nreturn x", "list"),
        "what it sends": Answer("import os\nwhile True:\n    os.write(3, os.urandom(10**6))",
                                "more than 8 MB"),
        "what it says": Answer("raise ValueError('x' * 10**7)", "more than 8 MB"),
        "what it says, in lines": Answer("raise ValueError('x\\n' * 10**5)", "ValueError"),
        "what it prints": silent("print('x' * 10**7); sys.stderr.write('x' * 10**7)"),
        "a number's digits": Answer("return 10 ** 5000", "an int too large to be read"),
    },
    "ends": {
        "by exit": Answer("import sys\nsys.exit(0)", "SystemExit"),
        "without a word": Answer("import os\nos._exit(0)", "ended its process"),
        "by Ctrl-C": Answer("raise KeyboardInterrupt", "ended its process"),
        "as not attempted": Answer("raise pt.NotAttempted('lora.count')"),
        "as an error that cannot be shown": Answer(
            "class E(Exception):\n    def __str__(self):\n        raise self\nraise E", "raised E"),
        "as an error with its own class": Answer(
            "class E(BaseException):\n    __class__ = KeyboardInterrupt\nraise E", "raised E"),
        "the pipe": Answer("import os\nos.close(3)\n" + RIGHT, "process"),    # or what stands there
        "later": silent("import atexit; atexit.register(os.write, 3, b'x' * 99)"),
        "in a thread that outlives it": silent(
            "import threading, time",
            "threading.Thread(target=lambda: [time.sleep(1), os.write(3, b'x')]).start()",
            flag="starts a thread"),
    },
    "forges": {
        "a frame where it prints": wrong(
            "from peft_teach.course.grade.plain import to_bytes",
            "data = to_bytes({'outputs': rank * (n_in + n_out)})",
            "sys.stdout.write(data.decode('latin-1')); os.write(1, data); os.write(2, data)",
            says="expected"),
        "that it passed": wrong(frame(PASSED), "os._exit(0)"),
        "that it passed, and goes on": wrong(frame(PASSED)),
        "what stands for all cases": wrong(frame("{'outputs': 128}"), "os._exit(0)"),
        "how it was confined": wrong(frame("{'confined': []}"), "os._exit(0)",
                                     says="could not be read"),
        "a frame of great length": Answer("import os\nos.write(3, b'\\xff' * 8)\n" + RIGHT,
                                          "ended its process"),
        "a frame that is a pickle": wrong(
            "import pickle; data = pickle.dumps(7)",
            "os.write(3, len(data).to_bytes(4, 'big') + bytes(4) + data)", "os._exit(0)",
            says="could not be read"),
        "a million frames": wrong("os.write(3, bytes(8 * 10**5))", "os._exit(0)",
                                  says="could not be read"),
        "deep JSON": wrong("os.write(3, (10**5).to_bytes(4, 'big') + bytes(4) + b'[' * 10**5)",
                           "os._exit(0)", says="could not be read"),
    },
    "patches": {
        "comparisons": wrong(
            "import math, builtins, operator",
            "torch.allclose = torch.equal = math.isclose = operator.eq = lambda *a, **k: True",
            "builtins.isinstance = builtins.all = builtins.any = lambda *a: True"),
        "the judge": wrong(
            "from peft_teach.course.checks import examination, exercise, judge",
            "for name in dir(judge):\n"
            "    setattr(judge, name, lambda *a, **k: exercise.Verdict(True))",
            "examination.judge_case = lambda *a: examination.Result('passed')", says="expected"),
        "the exercise": wrong(
            "from peft_teach.course.checks.exercise import Verdict",
            "from peft_teach.course.lessons import find",
            "for name, value in (('judge', lambda *a: Verdict(True)), ('points', 99),\n"
            "                    ('cases', lambda seed: [])):\n"
            "    object.__setattr__(find('lora.count'), name, value)", says="expected"),
        "the grader": wrong(
            "from peft_teach.course.grade import child, run, runner, server, sandbox",
            "for module in (run, runner, server, sandbox):\n    for name in list(vars(module)):\n"
            "        setattr(module, name, None)",
            "child.from_exception = child.wrong_kind = child.run_case = lambda *a: None"),
        "the reference": wrong("pt.lora.count = lambda *a: 7", says="expected"),
        "the cases, in all objects": wrong(
            "import gc",
            "for each in gc.get_objects():\n    if type(each) is dict and 'n_in' in each:\n"
            "        each.update(n_in=0, n_out=7, rank=1)", says="expected"),
        "the cases, in its caller": wrong(
            "frame = sys._getframe()",
            "while frame := frame.f_back:\n"
            "    if type(case := frame.f_locals.get('case')) is dict:\n"
            "        case.update(n_in=0, n_out=7, rank=1)", says="expected"),
        "its caller, as it is traced": wrong(
            "def trace(frame, event, argument):\n"
            "    frame.f_locals.update(found=0)\n    return trace",
            "sys.settrace(trace)", says="expected"),
        "what is imported": wrong("sys.modules.clear(); sys.meta_path.clear()"),
        "what is written": wrong(
            "from peft_teach.course.grade import child, plain",
            "child.to_bytes = plain.to_bytes = lambda value: b''"),
    },
    "lies": {
        "a number equal to all": Answer(SLY, "expected"),
        "a text": Answer("return str(rank * (n_in + n_out))", "not an int"),
        "a tensor": Answer("return torch.tensor(rank * (n_in + n_out))"),
        "true": Answer("return True"),
        "no number": Answer("return float('nan')"),
        "a class of the name": Answer("return type('int', (), {'__eq__': lambda *a: True})()"),
        "a module that computes nothing": Answer(LYING, id="lora.merge"),
        "rows of zeros, whose angles are no numbers": Answer(
            "def forge(weights, slope, start):\n    return [0 * W for W in weights]",
            id="dora.forge"),
        "a setting that is no number": Answer(
            "def to_peft(adapters, head):\n    front = 'base_model.model.'\n"
            "    tensors = {front + name: tensor.detach() for name, tensor in head.items()}\n"
            "    for name, layer in adapters.items():\n        for side in 'AB':\n"
            "            tensors[f'{front}{name}.lora_{side}.weight'] = getattr(layer, side)"
            ".detach()\n"
            "    return tensors, {'peft_type': 'LORA', 'r': layer.A.shape[0], 'lora_alpha': "
            "float('nan'), 'target_modules': list(adapters), 'modules_to_save': sorted("
            "{name.rpartition('.')[0] for name in head})}", id="real.names"),
    },
    "asks the course": {
        "as not examined": Answer(
            "from peft_teach.course.checks import examination\nexamination._examined.clear()\n"
            "return pt.mine('lora.count')(n_in, n_out, rank)", "own solution",
            "uses the reference"),
        "in all objects": Answer(
            "import gc\nfor each in gc.get_objects():\n    if getattr(each, '__module__', '') == "
            "'peft_teach.methods.lora' and each.__name__ == 'count':\n"
            "        return each(n_in, n_out, rank)", "own solution", "uses the reference"),
        "by its bytes": Answer(
            "import marshal, types\ncode = marshal.loads(marshal.dumps(pt.lora.count.__code__))\n"
            "return types.FunctionType(code, {}, '', (False,))(n_in, n_out, rank)", "own solution",
            "uses the reference"),
        "by a pickle": Answer(
            "import pickle\nreturn pickle.loads(b'cpeft_teach.methods.lora\\ncount\\n.')"
            "(n_in, n_out, rank)", "own solution", "uses the reference"),
        "by an exception's frames": Answer(
            "try:\n    pt.lora.count(None, n_out, rank)\nexcept TypeError as error:\n"
            "    at = error.__traceback__\n    while at.tb_next:\n        at = at.tb_next\n"
            "    return eval(at.tb_frame.f_code, {}, dict(n_in=n_in, n_out=n_out, rank=rank))",
            "own solution", "uses the reference"),
    },
    "speaks to the instructor": {
        "in an error": Answer("raise ValueError('<script>alert(1)</script>')", "<script>"),
        "in an error's name": Answer("raise type('<img src=x onerror=alert(1)>', (Exception,), {})",
                                     "<img"),
        "in its source": Answer("'</pre><script>alert(1)</script>' + 1", "</pre>"),
        "with other directions": Answer("raise ValueError('\\u202e5 fo 5 \\u2066')", "5 fo 5"),
        "to a terminal": Answer("raise ValueError('\\x1b]0;x\\x07\\x1b[2J\\x9b2J\\0')"),
        "to a terminal, in its source": Answer("1 / 0    # \x1b[2J\u202e5 fo 5", "5 fo 5"),
        "in surrogates": Answer("raise ValueError('\\ud800\\udfff')"),
        "as a formula": Answer("raise type('=cmd|x', (Exception,), {})('=cmd|x')"),
    },
}
EACH = {f"{kind}: {what}": answer for kind, rows in ANSWERS.items()
        for what, answer in rows.items()}


# ── files ────────────────────────────────────────────────────────────────────────────────────


def notebook(**named) -> bytes:
    """A notebook of lesson 07 with one right answer in it."""
    cells = [code_cell(BODY + RIGHT), code_cell(CHECK)]
    whole = {"cells": cells, "metadata": {"peft_teach": {"lesson": "07"}}}
    return json.dumps(whole | named).encode()


def within(end: str) -> bytes:
    """The notebook with one more entry, as JSON."""
    return notebook()[:-1] + f', "x": {end}}}'.encode()


def twice(name: str, *files: bytes) -> bytes:
    """A zip in which several files have one name."""
    with warnings.catch_warnings(action="ignore"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for data in files:
                archive.writestr(name, data)
    return buffer.getvalue()


def encrypted(packed: bytes) -> bytes:
    """The zip, which says that a password is needed."""
    at = packed.index(b"PK\1\2") + 8
    return packed[:6] + b"\1" + packed[7:at] + b"\1" + packed[at + 1:]


def smaller(packed: bytes) -> bytes:
    """The zip, which says that its file has 10 bytes."""
    at = packed.index(b"PK\1\2") + 24
    return packed[:at] + (10).to_bytes(4, "little") + packed[at + 4:]


class Handed(NamedTuple):
    """The files of a student's folder, by their paths; the points, and what is flagged."""

    files: dict[str, bytes]
    points: int | None = 1
    flag: str = ""


WORK = "07_lora.ipynb"
PACKED = zipped({WORK: notebook()})
LIBRARIES = ("torch.py", "sitecustomize.py", "conftest.py", "peft_teach/__init__.py", "json.py")
FILES: dict[str, Handed] = {    # by student: some of the names are the attack
    "<script>alert(1)<b": Handed({WORK: notebook()}),
    "'\"><img src=x onerror=alert(1)>": Handed({WORK: notebook()}),
    "=HYPERLINK(x)": Handed({WORK: notebook()}), "@SUM(1)": Handed({WORK: notebook()}),
    "a;=cmd|x": Handed({WORK: notebook()}), "+1+1": Handed({WORK: notebook()}),
    "$\\frac{a$": Handed({WORK: notebook()}), "CON": Handed({WORK: notebook()}),
    "100% #1?": Handed({WORK: notebook()}), "x" * 200: Handed({WORK: notebook()}),
    "names of files": Handed({"<script>\x1b[2J=1\u202e.pdf": b"", "=cmd|x.ipynb": notebook()}),
    "a release": Handed({WORK: notebook(metadata={"peft_teach": {
        "lesson": "../../07", "release": "<b>\x1b[2J\u202e;=1"}})}, flag="made from release <b>"),
    "no numbers": Handed({WORK: within("[NaN, -Infinity, 1e999]")}),
    "many digits": Handed({WORK: within("1" * 10**6)}, None, "This is not a notebook"),
    "deep": Handed({WORK: within("[" * 10**5 + "]" * 10**5)}, None, "This is not a notebook"),
    "less deep": Handed({WORK: within("[" * 500 + "]" * 500)}),
    "a key twice": Handed({WORK: b'{"cells": [], ' + notebook()[1:]}),
    "a byte order mark": Handed({WORK: b"\xef\xbb\xbf" + notebook()}),
    "no text": Handed({WORK: within('"\\ud800"').replace(b'"x"', b'"\xff\xc0\x80"')}),
    "control characters": Handed({WORK: within('"\x00\x1b"')}, None, "This is not a notebook"),
    "a gigantic cell": Handed({WORK: notebook(cells=[code_cell("x = 1\n" * 400_000)])}, None,
                              "2,400,000 characters"),
    "cells of other kinds": Handed({WORK: notebook(cells=[[], None, {"source": {}}, code_cell(
        BODY + RIGHT), {"cell_type": ["code"], "source": [[1], None, "x"]}])}),
    "hidden": Handed({f".ipynb_checkpoints/{WORK}": b"", f"__MACOSX/._{WORK}": b"", "._x.zip": b"",
                      WORK: notebook()}),
    "libraries": Handed(dict.fromkeys(LIBRARIES, b"import os\nos.mkdir('CANARY/x')") | {
        WORK: notebook()}),
    "pickles": Handed({"adapter.pkl": b"cos\nsystem\n(S'touch CANARY/x'\ntR.", "model.pt": b"",
                       WORK: notebook()}),
    "a climbing zip": Handed({"work.zip": zipped({
        "../../../up.ipynb": notebook(), "/tmp/up.ipynb": b"{}", "..\\..\\up.py": b"",
        "C:\\up.ipynb": b"{}"})}),
    "one name twice": Handed({"work.zip": twice(WORK, b"{}", notebook())}),
    "a password": Handed({"work.zip": encrypted(PACKED)}, None, "cannot be read"),
    "a false size": Handed({"work.zip": smaller(PACKED)}, None),
    "no zip": Handed({"work.zip": b"PK\3\4" + bytes(99)}, None, "cannot be read"),
    "a zip for a notebook": Handed({WORK: PACKED}, None, "This is not a notebook"),
    "a folder for a notebook": Handed({f"{WORK}/x.txt": b""}, None),
}
