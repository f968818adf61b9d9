"""Nobody of a class vanishes, and its marks go back to where the class came from."""

import json

import pytest
from grading_corpus import solved, untouched, zipped

from peft_teach.course.grade.collect import collect, counted

WORK = json.dumps(untouched("07")).encode()
PACKED = zipped({"a.zip": zipped({"b.zip": zipped({"07_lora.ipynb": WORK})})})
OTHERS = {"x.json": b"{}", "x.txt": b"", "x.png": b"", "x.odt": b"", "x.zip": zipped({}),
          "y.zip": zipped({"x.txt": b""}), "z.zip": zipped({"__MACOSX/._x": b""}), "d.zip": PACKED}
CANVAS = {f"s{n}_{n}_{n + 50}_{name}": data for n, (name, data) in enumerate(OTHERS.items())}
CANVAS |= {"s8_8_text.html": b"", "s9_LATE_9_link.html": b""}
MOODLE = {f"s{n}_{n}_assignsubmission_file_/{name}": data
          for n, (name, data) in enumerate(OTHERS.items())}
MOODLE |= {"s8_8_assignsubmission_onlinetext_/onlinetext.html": b"",
           "s9_9_assignsubmission_onlinetext_onlinetext.html": b""}
NBGRADER = {f"submitted/s{n}/lora/{name}": data for n, (name, data) in enumerate(OTHERS.items())}
NBGRADER |= {"submitted/s8/lora/timestamp.txt": b"", "submitted/s9/lora/": b""}
LOOSE = {f"s{n}/{name}": data for n, (name, data) in enumerate(OTHERS.items())}
LOOSE |= {"07_lora_s8.txt": b"", "s9.zip": zipped({})}


def put(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_bytes(data)


@pytest.mark.parametrize(("export", "work"), [
    (CANVAS, "anna_77_99_x.ipynb"), (MOODLE, "anna_77_assignsubmission_file_/x.ipynb"),
    (NBGRADER, "submitted/anna/lora/x.ipynb"), (LOOSE, "anna.ipynb")],
    ids=["Canvas", "Moodle", "nbgrader", "loose"])
def test_who_handed_in_no_notebook_has_a_row_and_a_flag(tmp_path, export, work):
    put(tmp_path, export | {"readme.txt": b""})
    rows = counted(collect(tmp_path), None)
    assert sorted(row.student for row in rows) == [f"s{n}" for n in range(10)]
    put(tmp_path, {work: WORK})
    rows = [row for row in counted(collect(tmp_path), None) if row.student != "anna"]
    assert sorted(row.student for row in rows) == [f"s{n}" for n in range(10)]
    assert all(row.flags for row in rows)


@pytest.mark.parametrize(("files", "expected"), [
    (("anna/07_lora.ipynb", "anna/data/x.json", "readme.txt"), ["anna"]),
    (("hw/anna/lora/07_lora.ipynb", "hw/bo/x.txt", "hw/readme.txt"), ["anna", "bo"])])
def test_one_notebook_alone_does_not_say_where_names_stand(tmp_path, files, expected):
    put(tmp_path, dict.fromkeys(files, WORK))
    assert sorted(row.student for row in counted(collect(tmp_path), None)) == expected


def test_a_large_class_without_a_notebook_is_a_class(tmp_path):
    (tmp_path / "all.zip").write_bytes(zipped({
        f"s{n}_{n}_{n + 500}_x.txt": b"" for n in range(150)}))
    assert len(counted(collect(tmp_path), None)) == 150


def both(first, second):
    return json.dumps(first | {"cells": first["cells"] + second["cells"]}).encode()


def lessons(folder, asked=None):
    return {(row.student, row.lesson): row.flags for row in counted(collect(folder), asked)}


def test_two_lessons_in_one_notebook_are_both_graded(tmp_path):
    put(tmp_path, {"anna.ipynb": both(solved("00"), solved("07")), "bo.ipynb": WORK})
    found = lessons(tmp_path)
    assert set(found) == {("anna", "00"), ("anna", "07"), ("bo", "07")}
    assert all("has exercises of lessons 00 and 07" in flags
               for (student, _), flags in found.items() if student == "anna")
    assert found["bo", "07"] == ()
    asked = lessons(tmp_path, "07")
    assert set(asked) == {("anna", "07"), ("bo", "07")}
    assert "this is the notebook of lesson" not in "".join(asked["anna", "07"])
    assert lessons(tmp_path, "00")["bo", "00"][0] == (
        "this is the notebook of lesson 07: hand in that of lesson 00")


def test_a_notebook_of_its_own_counts_before_one_of_two_lessons(tmp_path):
    put(tmp_path, {"anna/07_lora.ipynb": WORK, "bo/x.ipynb": WORK,
                   "anna/z.ipynb": both(untouched("00"), untouched("07"))})
    rows = {(row.student, row.lesson): row.path for row in counted(collect(tmp_path), None)}
    assert rows == {("anna", "00"): "anna/z.ipynb", ("anna", "07"): "anna/07_lora.ipynb",
                    ("bo", "07"): "bo/x.ipynb"}
