"""Submissions of real and of hostile students, with the marks that they must get.

Each is made here from the lessons' own sources, by a small change; nothing is stored. `CORPUS` maps
a student to a `Case`. Styles of answers are in `honest`, and calls of the reference in `cheats`.
"""

import functools
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import answers
import nbformat

from peft_teach.course.desk.card import with_code
from peft_teach.course.grade import Limits, job
from peft_teach.course.grade.run import Mark, mark
from peft_teach.course.lessons import all_exercises, find, of_lesson
from peft_teach.course.publish.notebooks import Lesson, make
from peft_teach.course.reading.cells import Code
from peft_teach.course.reading.notebook import Cell

ROOT = Path(__file__).parents[2]


def marked(*cells: str, id: str = "lora.count", further: Sequence = ()) -> Mark:
    """The mark of one answer, given as cells of code, by the one server of this process."""
    code = Code([Cell(number, text) for number, text in enumerate(cells, 1)])
    return mark(job.runner(Limits(), job.FORKS), code, find(id), further)


@functools.cache
def lessons() -> dict[str, Lesson]:
    """All lessons, built in memory."""
    return {lesson.name[:2]: lesson for lesson in make(ROOT)}


@functools.cache
def text(lesson: str, version: str) -> str:
    """A lesson's notebook as a file: its "student" or its "solution"."""
    return nbformat.writes(getattr(lessons()[lesson], version))


def untouched(lesson: str) -> dict:
    """The student notebook as it is given out."""
    return json.loads(text(lesson, "student"))


def solved(lesson: str, **answers: str | None) -> dict:
    """The lesson with the author's solutions, but these answers: `lora_layer="class …"`.

    None leaves the stub.
    """
    notebook = json.loads(text(lesson, "solution"))
    stubs = untouched(lesson)
    for key, code in answers.items():
        id = f"{key.replace('__', '-').replace('_', '-')}-solution"
        index = next(i for i, cell in enumerate(notebook["cells"]) if cell["id"] == id)
        notebook["cells"][index]["source"] = (stubs["cells"][index]["source"] if code is None
                                              else code)
    return notebook


def full(lesson: str) -> dict[str, int]:
    """All points of a lesson."""
    return {exercise.id: exercise.points for exercise in of_lesson(lesson)}


def but(*ids: str) -> dict[str, int]:
    """All points of the exercises' lesson, but none for these."""
    return full(find(ids[0]).lesson) | dict.fromkeys(ids, 0)


@dataclass(frozen=True)
class Case:
    """A submission: its notebook, or its bytes, and what must come of it."""

    notebook: dict | bytes
    points: dict[str, int]
    says: tuple[str, ...] = ()        # in the student's feedback
    flag: str = ""                    # in the flags
    file: str = ""                    # where it lies; by default STUDENT/NN.ipynb

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        if isinstance(self.notebook, bytes):
            return self.notebook
        return json.dumps(self.notebook, ensure_ascii=False).encode()


CORPUS: dict[str, Case] = {}


def add(student: str, notebook, points: dict[str, int], *says: str, **named: str) -> None:
    assert student not in CORPUS
    CORPUS[student] = Case(notebook, points, says, **named)



# ── what students hand in ────────────────────────────────────────────────────────────────────

# An answer that is wrong, with the mistake that it makes.
WRONG = {exercise.id: (answers.cell(text), mistake) for exercise in all_exercises()
         for mistake, text in [answers.usual(exercise.id)]}


for lesson in lessons():
    add(f"perfect {lesson}", solved(lesson), full(lesson), "passed")
    if lesson in ("00", "02"):    # with code, values and a test
        add(f"untouched {lesson}", untouched(lesson), dict.fromkeys(full(lesson), 0),
            "not attempted")
    for first in (0, 1):    # every other answer is wrong, beside right ones
        wrong = {exercise.id: WRONG[exercise.id] for exercise in of_lesson(lesson)[first::2]}
        if not wrong:    # a lesson of one exercise
            continue
        add(f"wrong {lesson} from {first}",
            solved(lesson, **{id.replace(".", "_"): code for id, (code, _) in wrong.items()}),
            but(*wrong), *(with_code(find(id).explained(name)) for id, (_, name) in wrong.items()))


def cells_of(notebook: dict, change: Callable[[list], list]) -> dict:
    """The notebook with its cells changed."""
    return notebook | {"cells": change(notebook["cells"])}


def source(cell: dict) -> str:
    """The text of a cell."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def code_cell(text: str) -> dict:
    """A new cell."""
    return {"cell_type": "code", "source": text, "metadata": {}, "outputs": []}


def moved(id: str, change: Callable[[dict], list[dict]]) -> dict:
    """Its solved lesson, with other cells in place of the answer to an exercise."""
    cell_id = f"{id.replace('.', '-').replace('_', '-')}-solution"
    return cells_of(solved(find(id).lesson), lambda cells: [
        each for cell in cells for each in (change(cell) if cell["id"] == cell_id else [cell])])


add("deleted one", cells_of(solved("07"), lambda cells: [
    c for c in cells if c["id"] != "lora-count-solution"]), but("lora.count"),
    "no definition of lora_count", flag="lora.count: no definition")
add("stub below", cells_of(solved("02"), lambda cells: cells + untouched("02")["cells"]),
    full("02"), flag="an empty truncate after the answer")
add("reordered", cells_of(solved("01"), lambda cells: cells[::-1]), full("01"))
add("metadata lost", {"cells": [{"cell_type": c["cell_type"], "source": source(c).splitlines(
    keepends=True)} for c in solved("07")["cells"]]}, full("07"), flag="its metadata is lost")
add("older release", solved("00") | {"metadata": {"peft_teach": {"lesson": "00",
                                                                 "release": "0.0.3"}}},
    full("00"), flag="made from release 0.0.3")
add("not json", b"<html>Log in to see this page</html>", {}, "This is not a notebook",
    file="not json/07_lora.ipynb")
add("another course", {"cells": [code_cell("print('hello')")], "metadata": {}}, {},
    "no lesson of this course", file="another course/hello.ipynb")
add("Zoë Žižková-李", solved("00"), full("00"),
    file="Zoë Žižková-李_4711_assignsubmission_file_/00_inside.ipynb")
add("=cmd|' calc'!A0", solved("00"), full("00"))
add("twice", solved("00"), full("00"), flag="2 submissions, the latest counts: twice/00_inside-1",
    file="twice/00_inside-1.ipynb")
add("better before", untouched("00"), dict.fromkeys(full("00"), 0), "would have 11 of 11 points",
    flag="better before/00_inside.ipynb would have 11 of 11 points, this one has 0",
    file="better before/00_inside-1.ipynb")
for kind in ("markdown", "raw"):
    add(f"as {kind}", moved("lora.count", lambda cell, kind=kind: [cell | {"cell_type": kind}]),
        full("07"), "and is read all the same", flag=f"a {kind.capitalize()} cell")
add("in a fence", moved("lora.count", lambda cell: [
    {"cell_type": "markdown", "source": f"```python\n{source(cell)}\n```"}]), full("07"))
add("in prose", moved("lora.count", lambda cell: [
    {"cell_type": "markdown", "source": f"This is it:\n\n{source(cell)}"}]), but("lora.count"),
    "which no kernel runs: put it alone into a cell of code")
add("into a file", moved("lora.count", lambda cell: [
    code_cell(f"%%writefile mine.py\n{source(cell)}"), code_cell("from mine import lora_count")]),
    full("07"), flag="a cell of %%writefile")
add("from my_peft", moved("lora.count", lambda cell: [
    code_cell("from my_peft import lora_count")]), but("lora.count"),
    "comes from my_peft.py, which was not handed in")
add("by a record", moved("lora.count", lambda cell: [
    code_cell('runs = pt.course.records.load("lora").runs'),
    code_cell(f"ONE = len(runs) // len(runs)\n{source(cell)}".replace("rank * (", "ONE * rank * ("))
    ]), full("07"))
add("as a script", "\n\n".join(source(cell) for cell in solved("07")["cells"]
                               if cell["cell_type"] == "code").encode(), full("07"),
    flag="Python in a file", file="as a script/07_lora.py")


# ── what hostile students hand in ────────────────────────────────────────────────────────────


def hostile(body: str) -> dict:
    """Lesson 07 with `lora_count` doing something else."""
    lines = body.strip("\n").split("\n")
    return solved("07", lora_count="\n    ".join(["def lora_count(n_in, n_out, rank):", *lines]))


# What one answer can do is in `attacks`; these are here for what becomes of all the others.
add("fork bomb", hostile("import os\nwhile True:\n    os.fork()"), but("lora.count"),
    "PermissionError", flag="look at its fork")
add("deletes by a file", moved("lora.count", lambda cell: [
    code_cell("%%writefile mine.py\nimport shutil\nshutil.rmtree('CANARY')\n" + source(cell)),
    code_cell("from mine import *")]), full("07"))
add("deletes by a script", b"import shutil\ndef lora_count(n_in, n_out, rank):\n"
    b"    shutil.rmtree('CANARY')\n    return rank * (n_in + n_out)\n",
    dict.fromkeys(full("07"), 0), "PermissionError", file="deletes by a script/07_lora.py")
# Right on the visible cases, wrong beyond; one says what it saw, by words and by its error's name.
add("by heart", hostile(
    "import torch\nreturn int(torch.tensor(float(rank * (n_in + n_out))))"), but("lora.count"),
    "but not a further case")
add("tells the case", hostile(
    "if rank > 1000:\n    raise type(f'Saw{n_in}', (Exception,), {})(f'{n_in} {n_out} {rank}')\n"
    "return rank * (n_in + n_out)"), but("lora.count"), "but not a further case")
add("trains", cells_of(solved("07"), lambda cells: [
    code_cell("open('CANARY/trained', 'w')\nwhile True:\n    pass"), *cells]), full("07"))


# ── onto the disk ────────────────────────────────────────────────────────────────────────────


def write(folder: Path, canary: str) -> None:
    """Write the whole corpus, with this folder as CANARY."""
    for number, (student, case) in enumerate(CORPUS.items()):
        data = case.data.replace(b"CANARY", canary.encode())
        path = folder / (case.file or f"{safe(student)}/{number:03d}.ipynb")
        if path.name == f"{number:03d}.ipynb" and number % 5 == 0:    # some come in zips
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{safe(student)}.zip").write_bytes(zipped({"my work/lesson.ipynb": data}))
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "twice/00_inside.ipynb").write_text(json.dumps(untouched("00")))
    (folder / "better before/00_inside.ipynb").write_text(json.dumps(solved("00")))
    (folder / "escape.zip").write_bytes(zipped({
        "../../../escaped.ipynb": json.dumps(solved("00")).encode(),
        "/tmp/escaped.ipynb": b"{}", "C:\\escaped.ipynb": b"{}"}))
    (folder / "bomb.zip").write_bytes(zipped({"bomb/07_lora.ipynb": bytes(70 * 2**20)}))
    (folder / "broken.zip").write_bytes(zipped({"broken/07_lora.ipynb": b"{}"})[:-30])
    essay = folder / "Kim Lee_77_assignsubmission_file_/essay.pdf"
    essay.parent.mkdir(parents=True)
    essay.write_bytes(b"%PDF")
    (folder / "readme.txt").write_text("Nobody's.")


def safe(student: str) -> str:
    """A name that can be a folder's."""
    return student.replace("/", "⁄")


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()
