"""What is read of what was handed in, of which lesson it is, and who handed it in."""

import json
import os
import time
import zipfile
from pathlib import Path

import pytest
from attacks import encrypted
from grading_corpus import untouched, zipped

from peft_teach.course.grade import feedback
from peft_teach.course.grade.collect import by_time, collect, counted
from peft_teach.course.grade.entries import LARGEST_ADAPTER
from peft_teach.course.grade.row import Row
from peft_teach.course.reading.notebook import Unreadable, lesson_of, parse
from peft_teach.errors import PeftTeachError

# ── what is a notebook, and of which lesson ──────────────────────────────────────────────────


def notebook(**named) -> bytes:
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "x"}]} | named).encode()


EMPTY = json.dumps({"cells": [{"cell_type": "code", "source": "x = 1"}]}).encode()


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


@pytest.mark.parametrize(("cells", "says"), [
    ([{}] * 5001, "5,001 cells"), ([{"source": "x = 1\n" * 200_000}], "1,200,000 characters"),
    ([{"source": "x" * 600_000}] * 2, "1,200,000 characters of code")])
def test_a_notebook_has_bounds(cells, says):
    with pytest.raises(Unreadable, match=says):
        parse(json.dumps({"cells": cells}).encode())


def test_values_are_counted_before_any_is_made(monkeypatch):
    """31 MB of small ones would take a gigabyte. A text is one, whatever signs are in it."""
    monkeypatch.setattr("peft_teach.course.reading.notebook.MOST_VALUES", 3000)
    outputs = ["iVBORw0KGgo", "[0.125, {'x': 1}, \"]" * 5000]
    assert parse(notebook(cells=[{"source": "x = 1", "outputs": outputs}])).cells[0].number == 1
    monkeypatch.setattr(json, "loads", None)
    for unit in ("[]", '""', '{"":0}'):
        with pytest.raises(Unreadable, match="3,000 values"):
            parse(f'{{"cells": [{",".join([unit] * 3001)}]}}'.encode())


def test_the_page_that_leads_to_the_lessons_is_nobodys_work(tmp_path):
    page = Path(__file__).parents[2] / "lessons/START.ipynb"
    for name in ("anna/07_lora.ipynb", "anna/START.ipynb", "ben/07_lora.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(page.read_bytes() if "START" in name else EMPTY)
    assert [s.path for s in collect(tmp_path)] == ["anna/07_lora.ipynb", "ben/07_lora.ipynb"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_other_encodings_are_read(encoding):
    data = EMPTY.decode().replace("x", "ä").encode(encoding)
    read = "\ufffd" if encoding == "latin-1" else "ä"
    assert parse(data).cells[0].source == f"{read} = 1"


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


# ── who ──────────────────────────────────────────────────────────────────────────────────────


def students(folder: Path, *paths: str) -> list[str]:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"{}")
    return sorted({submission.student for submission in collect(folder)})


def flags(place: Path) -> dict[str, str]:
    """All flags of each student, of a whole collection as `grade` sorts it out."""
    rows: dict[str, list[str]] = {}
    for submission in counted(collect(place), None):
        rows.setdefault(submission.student, []).append("; ".join(submission.flags))
    return {student: " | ".join(found) for student, found in rows.items()}


@pytest.mark.parametrize(("paths", "expected"), [
    (("anna_07_lora.ipynb", "07_lora_bo.ipynb"), ["anna", "bo"]),
    (("anna/07_lora.ipynb", "bo/07_lora (2).ipynb", "cy/Copy of 07_lora.ipynb"),
     ["anna", "bo", "cy"]),
    (("all/anna/try/x.ipynb", "all/bo/x.ipynb"), ["anna", "bo"]),
    (("meierjo_1_7_x.ipynb", "meierjo_2_8_x.ipynb", "meierjo_2_9_y-1.ipynb", "bo_3_1_x.ipynb"),
     ["bo", "meierjo (1)", "meierjo (2)"]),
    (("Zoe\u0308/07_lora.ipynb", "李/07_lora.ipynb"), ["Zoë", "李"]),
    (("anon_aB3dE_7_13_x.ipynb", "anon_aB3dE_8_13_x-1.ipynb", "LATE_anon_ab3De_9_07_y.ipynb",
      "anon_1234_10_x.ipynb", "LATE_anon_zzzzz_text.html"),
     ["anon_1234", "anon_aB3dE", "anon_ab3De", "anon_zzzzz"]),
    (("team_a_LATE_1_7_x.ipynb", "team_a_1_8_y.ipynb", "o_brien_3_9_x.ipynb"),
     ["o_brien", "team_a"]),
    (("Participant_12_assignsubmission_file_/x.ipynb",
      "Participant_13_assignsubmission_file_/adapter/adapter.safetensors"),
     ["Participant 12", "Participant 13"]),
    # a number behind the lesson's own file name is a copy's; any other is a part of the name
    (("team-1.ipynb", "team-2.ipynb"), ["team-1", "team-2"]),
    (("team-1_07_lora-2.ipynb", "07_lora (3)_team-2.ipynb"), ["team-1", "team-2"]),
    (("07_lora-4711.ipynb", "07_lora-4712.ipynb"), ["4711", "4712"]),
    (("anna_07_lora.ipynb", "anna_07_lora-1.ipynb", "anna_07_lora (2).ipynb"), ["anna"]),
    (("c/submitted/student-1/lora/07_lora.ipynb", "c/submitted/student-2/lora/07_lora-1.ipynb"),
     ["student-1", "student-2"]),
    # numbers and names that are no platform's, and files that are no notebooks
    *((("anna/exercise_07_1_lora.ipynb", f"bo/exercise_07_{n}_lora.ipynb"), ["anna", "bo"])
      for n in (1, 2)),
    (("w6/meierjo_1_2_x.ipynb", "w6/bo_3_4_x.ipynb", "w7/bo_3_9_y.ipynb"), ["bo", "meierjo"]),
    (("Anna Müller_12_assignsubmission_file_07_lora.ipynb", "Bo_3_assignsubmission_file_x.ipynb"),
     ["Anna Müller", "Bo"]),
    (("w6/Anna_1_assignsubmission_file_/x.ipynb", "w7/Anna_2_assignsubmission_file_/x.ipynb"),
     ["Anna"]),
    (("w6/Anna_1_assignsubmission_file_/x.ipynb", "w6/Anna_2_assignsubmission_file_/x.ipynb"),
     ["Anna (1)", "Anna (2)"]),
    (("an\u202enA/x.ipynb", "\u2066bo\u200f/x.ipynb"), ["annA", "bo"])])
def test_who(tmp_path, paths, expected):
    assert students(tmp_path, *paths) == expected


CAPSTONE = json.dumps({"cells": [{"cell_type": "code", "source": "1"}],
                       "metadata": {"peft_teach": {"lesson": "14"}}}).encode()
ADAPTERS = {    # files, and of each student whose adapter counts, and whether it is late
    "anonymous": (("anon_aB3dE_7_14_capstone.ipynb", "anon_aB3dE_8_adapter.safetensors",
                   "LATE_anon_Zz9yX_9_14_capstone-1.ipynb",
                   "LATE_anon_Zz9yX_10_adapter-1.safetensors",
                   "LATE_anon_Zz9yX_11_adapter.safetensors"),
                  {"anon_aB3dE": ("anon_aB3dE_8_adapter.safetensors", False),
                   "anon_Zz9yX": ("LATE_anon_Zz9yX_11_adapter.safetensors", True)}),
    "one of a class": (("LATE_anon_aB3dE_7_14_capstone.ipynb",
                        "LATE_anon_aB3dE_8_adapter.safetensors"),
                       {"anon_aB3dE": ("LATE_anon_aB3dE_8_adapter.safetensors", True)}),
    "names with _": (("o_brien_LATE_1_7_14_capstone.ipynb",
                      "o_brien_LATE_1_8_Adapter (2).safetensors", "bo_2_9_14_capstone.ipynb"),
                     {"o_brien": ("o_brien_LATE_1_8_Adapter (2).safetensors", True),
                      "bo": ("", False)}),
    "blind": (("Participant_7_assignsubmission_file_/14_capstone.ipynb",
               "Participant_7_assignsubmission_file_/adapter.safetensors",
               "Participant_8_assignsubmission_file_/14_capstone.ipynb"),
              {"Participant 7": (
                  "Participant_7_assignsubmission_file_/adapter.safetensors", False),
               "Participant 8": ("", False)}),
    "blind, one, in German": (("Tide-Teilnehmerin_7_assignsubmission_file/14_capstone.ipynb",),
                              {"Tide-Teilnehmerin 7": ("", False)}),
    "nbgrader": (("submitted/jo/x/14_capstone.ipynb", "submitted/bo/x/14_capstone.ipynb",
                  "submitted/jo/x/work/adapter/adapter.safetensors"),
                 {"jo": ("submitted/jo/x/work/adapter/adapter.safetensors", False),
                  "bo": ("", False)}),
    "loose": (("anna_14_capstone.ipynb", "anna_adapter.safetensors", "bo_14_capstone.ipynb",
               "bo-adapter copy.safetensors", "cy_adapter.safetensors"),
              {"anna": ("anna_adapter.safetensors", False),
               "bo": ("bo-adapter copy.safetensors", False), "cy": ("", False)}),
    "one folder": (("14_capstone.ipynb", "work/adapter/adapter.safetensors",
                    "work/adapter/adapter.json"),
                   {"14_capstone.ipynb": ("work/adapter/adapter.safetensors", False)}),
    "zips": (("anon_aB3dE_9_x.zip", "anon_aB3dE_8_x-1.zip"),
             {"anon_aB3dE": ("anon_aB3dE_9_x.zip", False)})}


@pytest.mark.parametrize("kind", ADAPTERS)
def test_whose_adapter_it_is(tmp_path, kind):
    paths, expected = ADAPTERS[kind]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        packed = {"14_capstone.ipynb": CAPSTONE, "adapter/adapter.safetensors": path.encode()}
        data = {".ipynb": CAPSTONE, ".zip": zipped(packed)}
        (tmp_path / path).write_bytes(data.get(Path(path).suffix, path.encode()))
    nobodys: list[str] = []
    found = counted(collect(tmp_path, nobodys), None)
    assert {each.student: ((each.notebook.adapter if each.notebook else b"") or b"", each.late)
            for each in found} == {who: (path.encode(), late)
                                   for who, (path, late) in expected.items()}
    assert nobodys == []


@pytest.mark.parametrize(("name", "data", "says"), [
    ("meierjo_1_8_meierjo.bin", b"x", "A .bin file of another name is not opened"),
    ("meierjo_1_8_meierjo_adapter.safetensors", bytes(LARGEST_ADAPTER + 1), "far too large"),
    ("meierjo_1_8_x.zip", encrypted(zipped({"meierjo/adapter.safetensors": b"x"})),
     "File … is encrypted")])
def test_why_an_adapter_is_not_read_names_nobody(tmp_path, name, data, says):
    """It stands in a mark, which a blind page shows as it is, and which is kept without names."""
    (tmp_path / "meierjo_1_7_14_capstone.ipynb").write_bytes(CAPSTONE)
    (tmp_path / name).write_bytes(data)
    found, = (each for each in collect(tmp_path) if each.notebook)
    assert says in found.notebook.adapter
    assert "meierjo" not in found.notebook.adapter


def test_what_is_nobodys_is_named(tmp_path):
    students(tmp_path, "anna_14_capstone.ipynb", "bo_14_capstone.ipynb", "adapter.safetensors",
             "readme.txt", "model.pt")
    nobodys: list[str] = []
    assert {each.student for each in collect(tmp_path, nobodys)} == {"anna", "bo"}
    assert sorted(nobodys) == ["adapter.safetensors", "model.pt", "readme.txt"]


def test_one_file(tmp_path):
    students(tmp_path, "anna_07_lora.ipynb")
    assert [s.student for s in collect(tmp_path / "anna_07_lora.ipynb")] == ["anna"]


def test_where_two_readings_are_possible_the_rows_stay_apart(tmp_path):
    students(tmp_path, "anna/x.ipynb", "anna-1/x.ipynb", "bo-1/x.ipynb", "bo-2/x.ipynb")
    said = flags(tmp_path)
    assert sorted(said) == ["anna", "anna-1", "bo-1", "bo-2"]
    doubted = {student for student in said if "two students, or one?" in said[student]}
    assert doubted == {"anna", "anna-1"}
    pages = feedback.pages([Row(student, "", "", (), tuple(found.split("; ")))
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
    {f"{n}.ipynb": b"x" for n in range(1200)},
    {f"repo/{n % 7}/{n}.ipynb": b'{"cells": [{"source": "x = 1"}]}' for n in range(120)}], ids=len)
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


def test_all_other_files_of_a_student_are_one_row(tmp_path):
    students(tmp_path, "an/x.py", "an/y.pdf", "bo/x.ipynb", "bo/y.py")
    assert flags(tmp_path) == {
        "an": "2 files are not graded; the first: an/x.py: x.py has no answer to an exercise: "
              "hand in the notebook itself, a file that ends in .ipynb",
        "bo": "This is JSON, but it has no cells."}


@pytest.mark.parametrize(("export", "stray"), [
    (("meierjo_1_2_07_lora.ipynb", "bo_3_4_x-1.ipynb", "cy_LATE_5_6_y.ipynb"), "bo_07_lora.ipynb"),
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
    assert students(tmp_path, "anna.ipynb", "c/cy_1_2_x.ipynb", "c/cy_3_4_x.ipynb",
                    "c/di_5_6_x.ipynb") == ["anna", "c: cy (1)", "c: cy (3)", "c: di"]
    told = {student for student, said in flags(tmp_path).items() if "of an export" in said}
    assert told == {student for student in flags(tmp_path) if ":" in student}


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


@pytest.mark.parametrize(("student", "expected"), [
    ("Zoë Ž", "Zoë Ž"), ("../../x", "_.._x"), ("a/b\\c:d", "a_b_c_d"), ("", "_"), ("...", "_"),
    ("CON", "_CON"), ("nul.x", "_nul.x"), ("李" * 200, "李" * 33), ("a\n b", "a_ b")])
def test_names_of_files(student, expected):
    assert feedback.safe_name(student) == expected


# ── which files ──────────────────────────────────────────────────────────────────────────────


def test_which_of_two_counts(tmp_path):
    students(tmp_path, "a/07_lora.ipynb", "a/07_lora (1).ipynb", "a/07_lora-10.ipynb")
    assert by_time(collect(tmp_path))[0].path == "a/07_lora-10.ipynb"
    os.utime(tmp_path / "a/07_lora.ipynb", (9e9, 9e9))
    assert by_time(collect(tmp_path))[0].path == "a/07_lora-10.ipynb"
    (tmp_path / "a/07_lora-10.ipynb").unlink()
    (tmp_path / "a/07_lora (1).ipynb").unlink()
    students(tmp_path, "a/z.ipynb")
    os.utime(tmp_path / "a/z.ipynb", (1e9, 1e9))
    assert by_time(collect(tmp_path))[0].path == "a/07_lora.ipynb"


@pytest.mark.parametrize(("paths", "latest"), [
    (("a_1_9_z.ipynb", "a_1_12_b.ipynb", "a_1_7_y-3.ipynb", "bo_2_3_x.ipynb"), "a_1_12_b.ipynb"),
    (("anon_aB_9_z.ipynb", "anon_aB_12_b.ipynb", "anon_cD_3_x.ipynb"), "anon_aB_12_b.ipynb")])
def test_canvas_numbers_files_in_the_order_in_which_they_came(tmp_path, paths, latest):
    """The dates are those of the download."""
    students(tmp_path, *paths)
    os.utime(tmp_path / paths[0], (9e9, 9e9))
    theirs = [each for each in collect(tmp_path) if each.label.id in ("1", "anon_aB")]
    assert by_time(theirs)[0].path == latest


SCRIPT = b"""# %%
def lora_count(n_in, n_out, rank):
    return 1

# %%
lora_count = pt.check("lora.count", lora_count)
"""
LOST = "hand in the notebook itself, a file that ends in .ipynb"


@pytest.mark.parametrize(("files", "lesson", "modules", "flag"), [
    ({"an/07_lora.py": SCRIPT}, "07", [], "Python in a file"),
    ({"an_5_6_07_lora.py": SCRIPT, "bo_7_8_x.ipynb": EMPTY}, "07", [], "Python in a file"),
    ({"an/work.py": SCRIPT, "an/helpers.py": b"ONE = 1", "bo/x.ipynb": EMPTY}, "07", ["helpers"],
     "Python in a file"),
    ({"an.zip": zipped({"x/07_lora.py": SCRIPT}), "bo.ipynb": EMPTY}, "07", [],
     "Python in a file"),
    ({"an/07_lora.ipynb": CAPSTONE, "an/my_peft.py": SCRIPT, "an/x y.py": b""}, "14", ["my_peft"],
     "release"),
    ({"an_5_6_14_capstone.ipynb": CAPSTONE, "an_5_7_helpers-1.py": b"ONE = 2",
      "an_5_8_helpers.py": b"ONE = 3", "bo_7_9_x.ipynb": EMPTY}, "14", ["helpers"], "release"),
    ({"an/14_capstone.ipynb.txt": CAPSTONE}, "14", [], "release"),
    ({"an_14_capstone.ipynb.json": CAPSTONE}, "14", [], "release"),
    ({"an/x.py": b"print(1)"}, None, [], LOST), ({"an/07_lora.html": b"<p>"}, None, [], LOST),
    ({"an/07_lora.rar": b"Rar!"}, None, [], LOST), ({"an/x.py": bytes(10**6)}, None, [], LOST),
    ({"an/peft_teach/07_lora.py": SCRIPT, "bo/x.ipynb": EMPTY}, None, [], LOST)])
def test_what_else_is_handed_in_is_read_or_its_reason_said(tmp_path, files, lesson, modules, flag):
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    found = next(each for each in counted(collect(tmp_path), None) if each.student == "an")
    assert found.lesson == lesson
    assert flag in "|".join(found.flags)
    if lesson:
        assert [name for name, _ in found.notebook.files] == modules
    assert dict(found.notebook.files if lesson else ()).get("helpers", "ONE = 3")[-1] in "13"


def test_of_two_the_other_is_named_and_what_told_them_apart(tmp_path):
    files = ("a_1_9_07_lora.ipynb", "a_1_12_07_lora.ipynb", "bo_2_3_07_lora.ipynb")
    for path in (*files, "../two/cy/07_lora.ipynb", "../two/cy/07_final.ipynb",
                 "../two/di/07_lora.ipynb"):
        (tmp_path / "one" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / path).write_bytes(CAPSTONE)
    said, _ = (each.flags for each in counted(collect(tmp_path / "one"), None))
    assert said[0] == ("2 submissions, the latest counts: a_1_12_07_lora.ipynb, and not "
                       "a_1_9_07_lora.ipynb")
    for path in (tmp_path / "two/cy").iterdir():
        os.utime(path, (1e9, 1e9))
    told, _ = counted(collect(tmp_path / "two"), None)
    assert "no time tells them apart, so it is the last by name" in told.flags[0]


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
        assert by_time(collect(tmp_path))[0].path == "anna/b.zip/b.ipynb"
        os.utime(tmp_path / f"anna/{after}.ipynb", (noon + 60, noon + 60))
        assert by_time(collect(tmp_path))[0].path == f"anna/{after}.ipynb"


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


def test_what_is_not_read(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.ipynb").write_bytes(b"{}")
    (folder / "links").symlink_to(tmp_path)
    inner = zipped({"__MACOSX/._x.ipynb": b"x", "x" * 2000 + ".ipynb": b"{}",
                    "../../jo.ipynb": b"{}"})
    (folder / "z.zip").write_bytes(zipped({"y.zip": zipped({"x.zip": inner})}))
    assert students(folder, "anna/.ipynb_checkpoints/x.ipynb", "anna/ok.ipynb") == ["anna", "z"]
    assert collect(folder)[1].file.problem == "a zip in a zip in a zip"
    (folder / "z.zip").write_bytes(zipped({"y.zip": inner}))
    assert [s.path for s in collect(folder)] == ["anna/ok.ipynb", "z.zip/y.zip/jo.ipynb"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "secret.ipynb"]


@pytest.mark.parametrize("path", ["nothing", "."])
def test_nothing_to_grade_is_said(tmp_path, path):
    with pytest.raises(PeftTeachError, match=r"There is no"):
        collect(tmp_path / path)


def test_a_damaged_entry_costs_itself_only(tmp_path):
    """zlib has an error of its own, which is no OSError and no ValueError."""
    data = bytearray(zipped({"anna/x.ipynb": EMPTY, "bo/x.ipynb": EMPTY}))
    start = 30 + len("anna/x.ipynb")    # behind the header and the name
    data[start:start + 12] = b"\xff" * 12
    (tmp_path / "all.zip").write_bytes(data)
    anna, bo = collect(tmp_path)
    assert (anna.student, anna.notebook) == ("anna", None)
    assert "cannot be read" in anna.file.problem
    assert (bo.student, bo.file.problem) == ("bo", "")


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
    assert "be read: Permission denied" in anna.file.problem
    assert "has no cells" in bo.file.problem


def test_zips_are_held_within_bounds(tmp_path, monkeypatch):
    """What cannot be parsed is not held, nor are outputs, nor more than a zip in a zip may."""
    unit = 10_000    # as if that were a megabyte
    monkeypatch.setattr("peft_teach.course.grade.entries._QUOTAS",
                        ((8192 * unit, 256 * unit), (256 * unit, 16 * unit)))
    large = json.dumps({"cells": [{"source": "x" * 9_000, "outputs": ["x" * unit]}]}).encode()
    (tmp_path / "x.zip").write_bytes(zipped({
        "anna.zip": zipped({f"{n}.ipynb": large for n in range(30)}),
        "bo.zip": zipped({f"{n}.ipynb": bytes(30 * unit) for n in range(9)}),
        "cy.zip": zipped({"x.ipynb": EMPTY})}))
    found = collect(tmp_path)
    held = {student: sum(s.notebook.size for s in found if s.student == student and s.notebook)
            for student in ("anna", "bo", "cy")}
    assert 15 * unit < held["anna"] < 16 * unit
    assert held["bo"] == 0
    assert 0 < held["cy"] < 200
    too_much = {s.student for s in found if s.file.problem == "the zip holds too much"}
    assert too_much == {"anna", "bo"}
