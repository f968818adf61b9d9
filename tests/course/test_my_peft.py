"""The reader's own library: what comes into `my_peft.py`, stays there, and is given out of it."""

# ruff: noqa: F811 (fixtures are imported, and asked for by their names)

import importlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from demo_course import LESSON_99, demo, exercises, notebook, tree, write  # noqa: F401
from exact import assert_equal
from grading_corpus import ROOT, lessons
from together import run_together

import peft_teach as pt
from peft_teach.course.desk import learner, my_peft_file, work
from peft_teach.course.desk.card import SIGN
from peft_teach.course.lessons import Shelved
from peft_teach.course.publish import check
from peft_teach.course.publish.notebooks import build
from peft_teach.errors import UnknownName

DOUBLE = "def double(x):\n    return 2 * x"
PAIR = "def encode(text):\n    return text[::-1]\n\n\ndecode = encode"
LATER = "def later(x):\n    return double(x)"
SHIFT = '''
class Shift(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.b = torch.nn.Parameter(torch.zeros(base.out_features))

    def forward(self, x):
        return self.base(x) + self.b
'''
LAW = "def doubles(double):\n    assert double(3) == 6\n    assert double(-1) == -2"
CHECKS = {"demo.double": 'double = pt.check("demo.double", double)',
          "demo.pair": 'encode, decode = pt.check("demo.pair", encode, decode)',
          "later.add": 'later = pt.check("later.add", later)',
          "kinds.shift": 'Shift = pt.check("kinds.shift", Shift)',
          "kinds.rank": 'largest_rank = pt.check("kinds.rank", largest_rank)',
          "kinds.law": 'doubles = pt.check("kinds.law", doubles)'}


@pytest.fixture
def answer(notebook, reader_folder):
    """Runs a cell, and the check of an exercise; what the card says of keeping it."""
    def answer(id, cell):
        notebook(cell)
        notebook(CHECKS[id])
        return notebook.cards[-1].paragraphs[-1]
    return answer


def text(reader_folder):
    return (reader_folder / "my_peft.py").read_text()


def loaded(reader_folder):
    return my_peft_file.read().module


# ── what comes into it ───────────────────────────────────────────────────────────────────────


def test_the_pieces_stand_in_the_order_of_the_course(answer, reader_folder):
    assert answer("kinds.shift", SHIFT) == "It is kept in my_peft.py."
    assert answer("later.add", "def later(x):\n    return x + x") == "It is kept in my_peft.py."
    assert answer("demo.double", DOUBLE) == "It is kept in my_peft.py."
    found = text(reader_folder)
    assert found.split("\n")[0].startswith('"""My own library')
    places = [found.index(part) for part in (
        "\nimport peft_teach as pt\nimport torch\n", "# ── demo.double ──", "\ndef double(x):",
        "# ── later.add ──", "\ndef later(x):", "# ── kinds.shift ──", SHIFT.strip())]
    assert places == sorted(places)
    assert found.endswith("self.b\n")


def test_it_is_read_by_a_plain_script_with_the_course_for_its_adapter_only(answer, reader_folder):
    answer("demo.double", "import math\n" + DOUBLE)
    code = "import my_peft, sys; print(my_peft.double(4), 'peft_teach' in sys.modules)"

    def run(code):
        return subprocess.run([sys.executable, "-c", code], cwd=reader_folder, text=True,
                              env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True,
                              capture_output=True).stdout

    assert run(code) == "8 False\n"
    assert "import math" not in text(reader_folder)
    answer("kinds.shift", SHIFT)
    assert run("import my_peft; print(my_peft.Shift.__mro__[1].__name__)") == "Adapter\n"


def test_helpers_imports_and_comments_come_along_and_training_stays_out(answer, reader_folder):
    answer("demo.double", "import math\nfrom torch import nn, Tensor\nmodel = nn.Linear(1, 1)\n"
           "def fit():\n    for step in pt.train(model, []):\n        print(step)\n\n\n"
           "if not model:\n    fit()\nx = 1 if model else pt.train\n"
           "TWO = 2; unused = nn.Linear\n\n\n# How often.\ndef times(x):    # as it is\n"
           "    return math.prod([TWO, 1])\n\n\n# ours\n@torch.no_grad()\n"
           "def double(x: Tensor):\n    # inside\n    return times(x) * x")
    assert text(reader_folder).partition('checks."""\n')[2] == (
        "\nimport math\nimport torch\nfrom torch import Tensor\n\n\n"
        + "# ══ lesson 97 ".ljust(95, "═") + "\n\n\n" + "# ── demo.double ".ljust(95, "─") + "\n\n"
        "TWO = 2\n\n\n"
        "# How often.\ndef times(x):    # as it is\n    return math.prod([TWO, 1])\n\n\n"
        "# ours\n@torch.no_grad()\ndef double(x: Tensor):\n    # inside\n    return times(x) * x\n")


def test_tests_are_kept_and_values_are_no_pieces_of_a_library(answer, reader_folder):
    answer("kinds.law", LAW)
    before = text(reader_folder)
    assert LAW in before
    assert answer("kinds.rank", "largest_rank = 190\nlargest_rank += 1") == ""
    assert text(reader_folder) == before


def test_a_lessons_pieces_stand_under_its_title_and_paper(answer, reader_folder, monkeypatch):
    there = {"97": Shelved(name="97 · Doubling", paper="Ada 1843, Notes, arXiv 1843.00001")}
    monkeypatch.setattr(my_peft_file, "shelf", lambda: there)
    answer("kinds.shift", SHIFT)
    answer("demo.double", DOUBLE)
    answer("demo.pair", PAIR)
    lines = [line.rstrip("─═ ") for line in text(reader_folder).splitlines() if line[:1] == "#"]
    assert lines == ["# ══ 97 · Doubling", "#    Ada 1843, Notes, arXiv 1843.00001",
                     "# ── demo.double", "# ── demo.pair", "# ══ lesson 99", "# ── kinds.shift"]


def test_a_file_of_an_earlier_release_loads_and_loses_nothing(answer, reader_folder):
    """Without titles, and with an answer that is a value; both stay where they are."""
    old = ('"""My own library."""\n\nimport math\n\nMINE = 1    # mine\n\n\n# ── demo.double ──\n\n'
           f"{DOUBLE}\n\n\n# ── kinds.rank ────\n\nlargest_rank = 191\n")
    (reader_folder / "my_peft.py").write_text(old)
    assert pt.mine("kinds.rank") == 191
    assert answer("demo.double", DOUBLE) == "It is kept in my_peft.py."    # not "in place of"
    answer("later.add", LATER)
    for _ in range(2):
        assert (loaded(reader_folder).MINE, loaded(reader_folder).largest_rank) == (1, 191)
        found = text(reader_folder)
        for once in ("largest_rank = 191", "# mine", "══ lesson 97"):
            assert found.count(once) == 1
        answer("later.add", LATER.replace("x + x", "2 * x"))


def test_the_last_cell_counts_however_often_it_ran(answer, notebook, reader_folder):
    notebook("TWO = 2")
    for _ in range(120):    # more than the grader reads, were each run a cell
        notebook("x = 1" + " " * 9000)
    answer("demo.double", DOUBLE.replace("2", "TWO"))
    assert "TWO = 2\n" in text(reader_folder)
    for number in range(60):
        notebook(f"x = {number}" + " " * 9000)
    answer("demo.double", "def double(x):\n    return x + x")
    assert "x + x" in text(reader_folder)


def test_a_cell_that_does_not_compile_affects_no_check(answer, notebook, reader_folder):
    with pytest.raises(SyntaxError):
        notebook("def helper(a, a): return a")
    answer("demo.double", "def double(x):\n    return x + x")
    assert "x + x" in text(reader_folder)


def test_no_number_of_the_lesson_depends_on_it(answer, reader_folder):
    before = torch.get_rng_state()
    answer("demo.double", "noise = torch.randn(3)\n\n\n"
                          "def double(x):\n    return 2 * x + 0 * noise[0]")
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    torch.randn(3)    # of the cell itself
    assert_equal(after, torch.get_rng_state())
    assert "noise" in text(reader_folder)


# ── what stays ───────────────────────────────────────────────────────────────────────────────


def test_a_better_answer_replaces_and_a_worse_one_does_not(answer, notebook, reader_folder):
    answer("demo.double", DOUBLE)
    answer("later.add", "def later(x):\n    return x + x")
    first = text(reader_folder)
    for worse, state in (("return x", "wrong"),
                         ('raise pt.NotAttempted("demo.double")', "not attempted")):
        notebook.ran[1:] = []    # a new kernel: the cell that passed did not run in it
        said = answer("demo.double", f"def double(x):\n    {worse}")
        for again in range(2):
            stands = f"{state} (3 of 3 points stand)"
            if again:    # it is the answer that stands, and that one passes
                stands = f"passed (3 of 3 points stand; your newer code: {state})"
            card = repr(notebook.cards[-1])
            assert card.splitlines()[0] == f"{SIGN[stands.split(' (')[0]]} demo.double: {stands}"
            assert again == ("Of your newer code, when it was checked: The" in card) or (
                state == "not attempted")
            assert ("nothing was checked anew" if again else "Your passing answer stands") in said
            assert "my_peft.py" in said
            assert work.states()["demo.double"] == "passed"
            assert pt.mine("demo.double") is notebook.names["double"]    # to go on with
            assert text(reader_folder) == first
            notebook(CHECKS["demo.double"])    # its line alone
            said = notebook.cards[-1].paragraphs[-1]
    assert answer("demo.double", DOUBLE) == "It stands in my_peft.py."
    assert not (reader_folder / "my_peft.bak.py").exists()
    said = answer("demo.double", "def double(x):\n    return x + x")
    assert said == ("It is kept in my_peft.py, in place of another; the file as it was is "
                    "my_peft.bak.py.")
    assert (reader_folder / "my_peft.bak.py").read_text() == first
    assert text(reader_folder) == first.replace("return 2 * x", "return x + x")


def test_what_the_reader_changes_is_the_readers(answer, reader_folder, capsys):
    answer("demo.double", DOUBLE)
    edited = text(reader_folder).replace("return 2 * x", "return x * 2    # nicer").replace(
        '"""\n', '"""\n\nimport math\nNAME = "me"\n', 1) + "\n\ndef extra():\n    return NAME\n"
    (reader_folder / "my_peft.py").write_text(edited)
    assert pt.mine("demo.double")(3) == 6
    assert loaded(reader_folder).extra() == "me"
    answer("later.add", "import math\nimport os\n\ndef later(x):\n    return math.floor(2 * x)")
    for part in ("# nicer", 'NAME = "me"', "def extra():", "def later"):
        assert part in text(reader_folder)
    assert text(reader_folder).count("import math") == 1
    before = text(reader_folder)
    answer("demo.double", DOUBLE)
    assert (reader_folder / "my_peft.bak.py").read_text() == before


def test_another_exercise_is_the_courses_until_it_passes(answer, reader_folder, capsys):
    answer("later.add", f"{DOUBLE}\n\n\n{LATER}")
    assert DOUBLE not in text(reader_folder)
    line = ("from peft_teach.course.lessons.demo.exercises import reference_double as double"
            "    # the course's, until yours passes")
    assert line in text(reader_folder)
    assert text(reader_folder).index(line) < text(reader_folder).index("def later")
    capsys.readouterr()
    pt.mine("demo.double", "later.add")
    assert capsys.readouterr().out == "yours: later · the course's: double\n"
    assert answer("demo.double", DOUBLE) == "It is kept in my_peft.py."
    assert line not in text(reader_folder)
    assert DOUBLE in text(reader_folder)


def test_the_course_reaches_a_method_as_well():
    assert my_peft_file._the_courses(learner.find("demo.double")).startswith("from peft_teach")
    dotted = type("E", (), {"names": ("merged",), "references": ("pathlib:Path.home",)})
    assert my_peft_file._the_courses(dotted).split("\n") == [
        "from pathlib import Path as _Path    # the course's, until yours passes",
        "merged = _Path.home"]


def test_a_helpers_name_that_is_taken_is_refused(answer, reader_folder):
    both = "def both(x):\n    return {}\n\n\ndef {}(x):\n    return both(x)"
    answer("demo.double", both.format("2 * x", "double"))
    before = text(reader_folder)
    assert answer("later.add", both.format("x + x", "later")) == (
        "Passed, not kept: `both` is already there for demo.double: rename one.")
    assert text(reader_folder) == before
    assert answer("later.add", both.format("2 * x", "later")) == "It is kept in my_peft.py."
    assert answer("later.add", "from operator import mul as both\n\ndef later(x):\n"
                               "    return both(2, x)") == (
        "Passed, not kept: `both` is already there for demo.double: rename one.")
    assert answer("demo.pair", "import math as torch\n" + PAIR + "\ntorch.pi")
    answer("kinds.shift", "import torch\n" + SHIFT)
    assert answer("demo.pair", "import math as torch\n\ndef encode(text):\n    torch.pi\n"
                               "    return text[::-1]\n\n\ndecode = encode") == (
        "Passed, not kept: `torch` is already there for the imports: rename one.")


def test_what_does_not_run_on_its_own_is_not_written(answer, notebook, reader_folder):
    answer("later.add", LATER.replace("double", "2 * "))
    before = text(reader_folder)
    notebook("import types\nhere = types.SimpleNamespace()\nsetattr(here, 'factor', 2)")
    for helper in ("factor = pt.models and 2", "globals()['factor'] = 2"):
        said = answer("demo.double", f"{helper}\n\n\n" + DOUBLE.replace("2", "factor"))
        assert said == ("Passed, not kept: it needs factor, which my_peft.py would not have: "
                        "define that beside it.")
    said = answer("demo.double", "if __name__ == 'my_peft':\n    raise OSError('only here')\n"
                  "else:\n    def double(x):\n        return 2 * x")
    assert said == "Passed, not kept: my_peft.py would not run (OSError: only here)."
    assert text(reader_folder) == before


def test_what_a_class_reads_of_its_own_is_there(answer, reader_folder):
    assert answer("demo.double", "class Twice:\n    two = 2\n    factor = two\n\n"
                  "    def of(self, x):\n        return self.factor * x\n\n\n"
                  "double = Twice().of") == "It is kept in my_peft.py."


def test_the_reference_is_not_kept_as_the_readers(answer, reader_folder):
    said = answer("demo.double", "def double(x):\n"
                                 "    import peft_teach.course.lessons.demo.exercises as demo\n"
                                 "    return demo.reference_double(x)")
    assert said == "Passed, not kept: This calls the course's own solution. Write it yourself."
    assert not (reader_folder / "my_peft.py").exists()


def keep_one(meet, id, cell):
    my_peft_file._try = lambda *_: meet()
    my_peft_file.keep(learner.find(id), [cell])


@pytest.mark.long
def test_two_kernels_at_once_keep_the_answers_of_both(reader_folder):
    cells = {"lora.layer": "class LoRALinear:\n    pass",
             "change.inject": "def inject():\n    pass"}
    run_together(keep_one, [*cells.items()])
    assert all(cell in text(reader_folder) for cell in cells.values())


# ── when it cannot be written or read ────────────────────────────────────────────────────────


def test_a_file_is_written_whole_or_not_at_all(answer, reader_folder, monkeypatch):
    answer("demo.double", DOUBLE)
    before, files = text(reader_folder), set(reader_folder.rglob("*"))

    def full(path, data):
        with open(path, "wb") as file:
            file.write(data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert answer("later.add", LATER) == "Passed, not kept: my_peft.py: No space left on device."
    assert text(reader_folder) == before
    assert set(reader_folder.rglob("*")) == files    # nothing half-written


def test_a_folder_that_cannot_be_written_is_one_line(answer, reader_folder, monkeypatch):
    monkeypatch.setenv(work.VARIABLE, str(reader_folder / "file/inside"))
    (reader_folder / "file").write_text("")
    said = answer("demo.double", DOUBLE)
    assert said == "Passed, not kept: my_peft.py: Not a directory."


RIGHT = """
import sys
from IPython.core.interactiveshell import InteractiveShell
for cell in ("import peft_teach as pt",
             "def lora_count(n_in, n_out, rank):\\n    return rank * (n_in + n_out)",
             "lora_count = pt.check('lora.count', lora_count)"):
    InteractiveShell.instance().run_cell(cell, store_history=True)
print({name.split(".")[3] for name in sys.modules if name.startswith("peft_teach.course.lessons.")})
"""


def test_a_passing_cell_touches_its_own_lesson_only(reader_folder):
    done = subprocess.run([sys.executable, "-c", RIGHT], capture_output=True, text=True, cwd=ROOT,
                          env=os.environ | {"IPYTHONDIR": str(reader_folder / "ipython")})
    assert "kept in my_peft.py" in done.stdout, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "{'lora'}"


def test_the_file_is_not_blamed_for_an_error_of_the_course(answer, reader_folder, monkeypatch):
    """A piece that an answer needs stands in a lesson that does not parse."""
    def broken(id):
        raise SyntaxError(id)

    monkeypatch.setattr(my_peft_file, "find", broken)
    with pytest.raises(SyntaxError, match=r"demo\.double"):
        answer("later.add", f"{DOUBLE}\n\n\n{LATER}")


@pytest.mark.parametrize(("edit", "why"), [
    ("def (:\n", "SyntaxError: invalid syntax, line 1"), ("1 / 0\n", "ZeroDivisionError"),
    ("exit()\n", "SystemExit"), ("# \xff\n", "UnicodeDecodeError"), ("x = '\0'\n", "null byte"),
    ("import peft_teach as pt\npt.mine('demo.pair')\n", "NotAttempted")])
def test_a_file_that_does_not_run_gives_one_line_and_ours(
        answer, reader_folder, demo, capsys, edit, why):
    answer("demo.double", DOUBLE)
    before = edit.encode("latin-1") + text(reader_folder).encode()
    (reader_folder / "my_peft.py").write_bytes(before)
    capsys.readouterr()
    assert pt.mine("demo.double") is demo.reference_double
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("my_peft.py does not run (")
    assert why in first
    assert second == "the course's: double"
    said = answer("later.add", "def later(x):\n    return x + x")
    assert said.startswith("Passed, not kept: my_peft.py ")
    assert "\n" not in said
    assert (reader_folder / "my_peft.py").read_bytes() == before


# ── what is given out of it ──────────────────────────────────────────────────────────────────


def test_without_a_file_all_pieces_are_the_courses(reader_folder, demo, capsys):
    assert pt.mine("demo.double") is demo.reference_double
    assert pt.mine("demo.double", "demo.pair") == (
        demo.reference_double, (demo.reference_encode, demo.reference_decode))
    assert capsys.readouterr().out == ("the course's: double\n"
                                       "the course's: double, encode, decode\n")
    with pytest.raises(UnknownName, match=r"did you mean 'demo\.double'"):
        pt.mine("demo.duble")


def test_pieces_are_loaded_by_path_and_newly(answer, reader_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "my_peft", demo)
    answer("demo.double", DOUBLE)
    first = pt.mine("demo.double")
    assert first(3) == 6
    assert sys.modules["my_peft"] is demo
    assert pt.mine("demo.double") is first
    answer("demo.double", "def double(x):\n    return x + x\n\n\ndouble.newer = True")
    assert pt.mine("demo.double").newer


def test_a_name_that_the_file_lost_is_the_courses(answer, reader_folder, demo, capsys):
    answer("demo.pair", PAIR)
    (reader_folder / "my_peft.py").write_text(text(reader_folder).replace("decode =", "decoded ="))
    capsys.readouterr()
    assert pt.mine("demo.pair")[0] is demo.reference_encode
    assert capsys.readouterr().out == "the course's: encode, decode\n"


ITSELF = {
    "class": ("kinds.shift", 'class Shift(pt.mine("kinds.shift")):\n    pass'),
    "alias": ("kinds.shift", 'Shift = pt.mine("kinds.shift")'),
    "factory": ("kinds.shift", 'def Shift(base):\n    return pt.mine("kinds.shift")(base)'),
    "function": ("demo.double", 'def double(x):\n    return pt.mine("demo.double")(x)'),
    "helper": ("demo.double", 'given = pt.mine("demo.double")\n\n\ndef double(x):\n'
                              "    return given(x)"),
    "default": ("demo.double", 'def double(x, given=pt.mine("demo.double")):\n    return given(x)'),
    "value": ("kinds.rank", 'largest_rank = pt.mine("kinds.rank") + 0'),
}


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("form", ITSELF)
def test_no_answer_is_made_of_what_mine_gives_for_it(answer, notebook, reader_folder, form, kept,
                                                     monkeypatch):
    id, code = ITSELF[form]
    if kept:
        answer(id, {"kinds.shift": SHIFT, "demo.double": DOUBLE,
                    "kinds.rank": "largest_rank = 191"}[id])
        before = text(reader_folder) if form != "value" else None
        notebook.ran[1:] = []    # a new kernel
    answer(id, code)
    state = "reference" if form == "alias" and not kept else "not attempted"    # by its identity
    assert notebook.cards[-1].state == state
    if kept and before:
        assert text(reader_folder) == before
    else:
        assert not (reader_folder / "my_peft.py").exists()
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(pt.errors.PeftTeachError):
        pt.require(id)


def test_a_table_is_given_anew_each_time(answer, reader_folder):
    (reader_folder / "my_peft.py").write_text('# ── kinds.rank\nlargest_rank = [1]\n')
    pt.mine("kinds.rank").append(2)
    assert pt.mine("kinds.rank") == [1]


def test_a_piece_that_imports_the_file_is_refused(answer, reader_folder):
    answer("demo.double", DOUBLE)
    sys.modules.pop("my_peft", None)
    sys.path.insert(0, str(reader_folder))
    try:
        said = answer("later.add", "import my_peft\n\n\ndef later(x):\n"
                                   "    return my_peft.double(x)")
    finally:
        sys.path.remove(str(reader_folder))
        sys.modules.pop("my_peft", None)
    assert said == ("Passed, not kept: it imports my_peft.py itself; pt.mine gives what it takes "
                    "from there.")


def test_a_check_that_asks_often_says_nothing(answer, reader_folder, capsys):
    answer("demo.double", DOUBLE)
    capsys.readouterr()
    assert answer("later.add", 'def later(x):\n    return pt.mine("demo.double")(x)') == (
        "It is kept in my_peft.py.")
    assert capsys.readouterr().out == ""


def test_other_pieces_can_be_used(answer, notebook, reader_folder):
    answer("demo.double", DOUBLE)
    notebook('double = pt.mine("demo.double")')
    assert answer("later.add", LATER) == "It is kept in my_peft.py."
    assert "mine" not in text(reader_folder)


# ── where nothing is kept ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("variable", [work.VARIABLE, "NBGRADER_EXECUTION"])
def test_where_nothing_is_kept_nothing_is_read(answer, notebook, reader_folder, demo, variable,
                                               monkeypatch):
    answer("demo.double", DOUBLE)
    before = text(reader_folder)
    monkeypatch.setenv(variable, "" if variable == work.VARIABLE else "autograde")
    assert pt.mine("demo.double") is demo.reference_double
    assert answer("demo.double", "def double(x):\n    return x + x") == ""
    assert text(reader_folder) == before
    assert [path.name for path in reader_folder.iterdir() if path.suffix == ".py"] == ["my_peft.py"]


def test_without_cells_nothing_is_kept(reader_folder):
    """As in a plain script."""
    namespace = {}
    exec(DOUBLE, namespace)
    pt.check("demo.double", namespace["double"])
    assert not (reader_folder / "my_peft.py").exists()


def test_the_file_goes_neither_into_the_repository_nor_to_students(tree):
    build(tree)
    (tree / "lessons/my_peft.py").write_text(
        "# BEGIN SOLUTION\nfactor = torch.tensor(2.0)\nfrom peft_teach.methods import lora\n")
    assert check.problems(tree) == []
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert set(work.LIBRARY) <= set(ignored)
    release = importlib.import_module("peft_teach.course.publish.release")
    assert set(work.OWN) <= set(release._LEFT_OUT)
    for name in release.FILES:
        (tree / name).touch()
    for name in ("peft_teach", "assets", "lessons/work"):
        (tree / name).mkdir(exist_ok=True)
    (tree / "lessons/my_peft.bak.py").touch()
    (tree / "lessons/work/course.json").touch()
    release.release(tree, tree / "out")
    given = {path.name for path in (tree / "out").rglob("*") if path.is_file()}
    assert "97_demo.ipynb" in given
    assert not given & {*work.LIBRARY, "course.json"}


def test_names_are_those_of_one_exercise_only(monkeypatch):
    monkeypatch.undo()
    lessons = importlib.import_module("peft_teach.course.lessons")
    for found in (lessons.all_exercises(), exercises.all_exercises()):
        names = Counter(name for exercise in found for name in exercise.names)
        assert [name for name, count in names.items() if count > 1] == []
        assert "audit" not in names


# ── the course ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_every_exercise_of_the_course_is_kept_from_its_lessons_cells(monkeypatch, tmp_path):
    """The cells are those of the solutions, in which much else stands; none of them runs here."""
    monkeypatch.undo()
    monkeypatch.setenv(work.VARIABLE, str(tmp_path))
    there = importlib.import_module("peft_teach.course.lessons")
    course = [exercise for exercise in there.all_exercises() if exercise.kept]
    for exercise in reversed(course):
        cells = [cell.source for cell in lessons()[exercise.lesson].cells if cell.kind == "code"]
        assert my_peft_file.keep(exercise, cells) == "It is kept in my_peft.py.", exercise.id
    found = my_peft_file.read()
    kept = {exercise.id for exercise in course}
    assert list(found.sections) == [id for id in there.known() if id in kept]    # as cells stand
    assert all(found.own(exercise) for exercise in course)
    assert len(text(tmp_path).splitlines()) < 25 * len(course)
    for part in ("pt.train", "pt.models.load", "pt.check", "plots", "UNTIL"):
        assert part not in text(tmp_path)


# ── the reader's own tests ───────────────────────────────────────────────────────────────────


def rows(capsys_or_cards):
    return [tuple(row) for row in capsys_or_cards[-1].table[1:]]


def test_the_readers_tests_are_put_to_their_pieces_and_to_anothers(answer, notebook, reader_folder):
    pt.audit()
    assert notebook.cards[-1].paragraphs == ("No test of yours stands in my_peft.py yet.",)
    answer("kinds.law", LAW)
    pt.audit()
    assert rows(notebook.cards) == [("doubles", "the course's double", "accepts")]
    answer("demo.double", DOUBLE)
    pt.audit()
    assert rows(notebook.cards) == [("doubles", "your double", "accepts")]
    assert notebook.cards[-1].note == "1 of 1 accept"
    pt.audit(double=lambda x: x + 2)
    assert rows(notebook.cards) == [("doubles", "the double given", "rejects: AssertionError")]
    assert notebook.cards[-1].note == "0 of 1 accept"
    with pytest.raises(UnknownName, match="did you mean 'double'"):
        pt.audit(duble=len)


def test_audit_leaves_the_readers_names_alone(answer, notebook, reader_folder):
    answer("kinds.law", LAW)
    pt.audit(double=lambda x: 2 * x)
    assert learner._kernel.exercises["kinds.law"].result.passed
