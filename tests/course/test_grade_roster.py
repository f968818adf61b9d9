"""The course's own list, marks by hand, and what goes back to the platform."""

import csv
import io
import json
import os
import re
import zipfile
from pathlib import PurePosixPath

import pytest
from grading_corpus import solved
from matplotlib.figure import Figure

from peft_teach.course.grade import Options, blind, engine, grade, job, picture, report
from peft_teach.course.grade.entries import File
from peft_teach.course.grade.roster import Roster
from peft_teach.course.grade.row import Row
from peft_teach.course.grade.students import Label, Submission
from peft_teach.course.lessons import of_lesson
from peft_teach.errors import PeftTeachError

FILE = File(PurePosixPath("x.ipynb"))
CANVAS = '''\
Student,ID,SIS User ID,SIS Login ID,Section,Notes,Lesson 07 (4711),Quiz 1 (4712),Final Score
,,,,,,Manual Posting,,
    Points Possible,,,,,,26.00,5.00,(read only)
"Meier, Jo",101,S1,jo@x.org,A,,,3.00,1
"Lee, Kim",102,S2,kim@x.org,A,,,,
"Żak, Ola",103,S3,ola@x.org,"A, B",,7.00,,
"Žák, Ola",104,S4,ola2@x.org,A,,EX,,
"Student, Test",105,,5b2f,A,,,,
'''
GROUPS = '''\
name,canvas_user_id,user_id,login_id,sections,group_name,canvas_group_id,group_id
"Meier, Jo",101,S1,jo@x.org,A,Tide Clock,5,
"Lee, Kim",102,S2,kim@x.org,A,Tide Clock,5,
"Żak, Ola",103,S3,ola@x.org,A,,,
'''
MOODLE = '''\
Identifier,"Full name","Email address",Status,Grade,"Maximum Grade","Grade can be changed",\
"Last modified (submission)","Last modified (grade)","Feedback comments"
"Participant 101","Jo Meier",jo@x.org,"Submitted for grading",,100.00,Yes,"Friday, 5 June",-,
"Participant 102","Kim Lee",kim@x.org,"Submitted for grading - 3 mins late",,100.00,Yes,-,-,old
"Participant 103","Ola Nowak",ola@x.org,"No submission",,100.00,Yes,-,-,
'''
PARTICIPANTS = '''\
"First name","Last name","Email address",Groups
Jo,Meier,jo@x.org,Tide
Kim,Lee,kim@x.org,Tide
Ola,Nowak,ola@x.org,
'''
WORKSHEET = '''\
ID;"Vollständiger Name";E-Mail-Adresse;Status;Bewertung;Bestwertung;\
"Bewertung kann geändert werden";"Zuletzt geändert (Abgabe)";"Zuletzt geändert (Bewertung)";\
"Feedback als Kommentar"
Teilnehmer/in101;"Jo Meier";jo@x.org;"Zur Bewertung abgegeben";;100,00;Ja;"Freitag, 5. Juni 2026";-;
Teilnehmer/in102;"Kim Lee";kim@x.org;"Zur Bewertung abgegeben - 3 Minuten verspätet";;100,00;Ja;-;-;
Teilnehmer/in103;"Ola Nowak";ola@x.org;"Keine Abgabe";;100,00;Ja;-;-;
'''
ANONYMOUS = '''\
ID,Statut,Note,"Note maximale","La note peut être modifiée","Dernière modification (note)"
"Participant 101","Remis pour évaluation",,"20,00",Oui,-
"Participant 102","Remis pour évaluation - en retard de 2 min",,"20,00",Oui,-
'''
TEILNEHMER = '''\
Vorname,Nachname,E-Mail-Adresse,Gruppen
Jo,Meier,jo@x.org,Tide
Kim,Lee,kim@x.org,Tide
Ola,Nowak,ola@x.org,
'''
MOST = sum(e.points for e in of_lesson("07") if not e.optional)


@pytest.fixture
def evening(tmp_path, monkeypatch):
    """Grade files with lists, all given by their texts; the rows of grades.csv by student.

    Whatever is graded gets all points without being run.
    """
    def all_points(tasks, **named):
        for name, (function, *arguments) in tasks.items():
            yield name, [] if function is job.mark_references else [
                {"exercise": e.id, "points": e.points, "maximum": e.points, "state": "passed",
                 "message": "", "mistake": None, "traceback": "", "further": False,
                 "notes": [], "flags": []}
                for e in of_lesson(arguments[1])]

    monkeypatch.setattr(engine, "run", all_points)
    monkeypatch.setattr("peft_teach.course.grade._notes", lambda *_: [])
    monkeypatch.setattr(picture, "outcomes", lambda *_: Figure((1, 1)))

    def run(files, *lists, overrides=None, **named):
        for name in files:
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(solved("07")))
        paths = [tmp_path / f"list{number}.csv" for number in range(len(lists))]
        for path, text in zip(paths, lists):
            path.write_text(text, encoding="utf-8")
        if overrides is not None:
            (tmp_path / "out").mkdir(exist_ok=True)
            (tmp_path / "out/overrides.csv").write_text(overrides, encoding="utf-8")
        grade(tmp_path / "in", tmp_path / "out", Options(roster=paths, **named))
        return {row["student"]: row for row in table(tmp_path / "out/grades.csv")}

    run.out = tmp_path / "out"
    return run


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def test_who_is_missing_has_a_row(evening):
    rows = evening(["meierjo_101_1_x.ipynb", "zakola_103_2_x.ipynb", "mallory_9_3_x.ipynb"], CANVAS)
    assert set(rows) == {"Meier, Jo", "Lee, Kim", "Żak, Ola", "Žák, Ola", "mallory"}
    assert rows["Meier, Jo"]["flags"] == ""
    assert {student for student, row in rows.items() if row["flags"] == "nothing handed in"} == {
        "Lee, Kim", "Žák, Ola"}
    assert "not in the roster" in rows["mallory"]["flags"]
    assert rows["Lee, Kim"]["total"] == "0"
    assert "nothing handed in" in (evening.out / "feedback/Lee_ Kim.html").read_text()


@pytest.mark.parametrize(("student", "id"), [
    ("Jo Meier", ""), ("meierjo", ""), ("jo", ""), ("jo@x.org", ""), ("Team 3-Jo Meier", "101")])
@pytest.mark.parametrize("course", [
    MOODLE, PARTICIPANTS, CANVAS, CANVAS.replace(",", ";").replace("; ", ", "), WORKSHEET,
    TEILNEHMER], ids=["worksheet", "participants", "Canvas", "semicolons", "German", "names"])
def test_people_are_found_by_their_number_name_or_login(tmp_path, student, id, course):
    (tmp_path / "x.csv").write_text(course, encoding="utf-8")
    listed = Roster([tmp_path / "x.csv"])
    assert len(listed.people) == (5 if "Section" in course else 3)
    found, = listed.named([Submission(student, FILE, Label(id=id))])
    known = not id or course[:2] == "ID" or "Identifier" in course or "Section" in course
    assert (found.flags == ()) == known
    assert found.student in (("Jo Meier", "Meier, Jo") if known else student)


def test_canvas_gets_back_its_own_rows(evening):
    evening(["meierjo_LATE_101_1_x.ipynb", "zakola_103_2_x.ipynb", "zakola_104_3_x.ipynb"], CANVAS,
            late=10)
    file = evening.out / "canvas-import.csv"
    assert file.read_text(encoding="utf-8").startswith(
        "Student,ID,SIS User ID,SIS Login ID,Section,Lesson 07 (4711)\n")
    rows = table(file)
    assert {row["ID"]: row["Lesson 07 (4711)"] for row in rows} == {
        "": "26.00", "101": "23.4", "103": "26"}    # 104 is excused, 102 has no mark
    assert rows[0]["Student"] == "    Points Possible"
    assert rows[2]["Section"] == "A, B"


def test_moodle_gets_back_its_own_rows(evening):
    rows = evening(["Jo Meier_101_assignsubmission_file_/x.ipynb",
                    "Kim Lee_102_assignsubmission_file_/x.ipynb"], MOODLE,
                   overrides="student,exercise,points,comment\nJo Meier,07,5,a < b\n")
    assert rows["Kim Lee"]["late"] == "late"
    assert rows["Jo Meier"]["late"] == ""
    before = table(evening.out.parent / "list0.csv")
    assert table(evening.out / "moodle-import.csv") == [
        before[0] | {"Grade": f"{round(500 / MOST, 2):g}",
                     "Feedback comments": "07: 5 points, a &lt; b"},
        before[1] | {"Grade": "100"}]
    report = (evening.out / "report.html").read_text()
    assert f"Lesson 07 has {MOST} points, the platform 100" in report


def test_a_worksheet_in_german_goes_back_as_it_came(evening):
    rows = evening(["Jo Meier_101_assignsubmission_file_/x.ipynb",
                    "Kim Lee_102_assignsubmission_file_/x.ipynb"], WORKSHEET,
                   overrides="student,exercise,points,comment\nJo Meier,07,5,Schön\n")
    assert {name: row["late"] for name, row in rows.items()} == {
        "Jo Meier": "", "Kim Lee": "late", "Ola Nowak": ""}
    back = (evening.out / "moodle-import.csv").read_text(encoding="utf-8").splitlines()
    assert back[0] == WORKSHEET.splitlines()[0].replace('"', "") or back[0].count(";") == 9
    jo, kim = (line.split(";") for line in back[1:])
    assert (jo[0], jo[4], jo[9]) == ("Teilnehmer/in101", f"{round(500 / MOST, 2):g}",
                                     "07: 5 points, Schön")
    assert kim[4] == "100"


def test_a_blind_form_stays_blind_and_its_lines_hold_when_the_names_are_known(evening):
    files = ["Participant_101_assignsubmission_file_/x.ipynb",
             "Participant_102_assignsubmission_file_/x.ipynb"]
    by_hand = "student,exercise,points,comment\nParticipant 101,07,3,\n"
    rows = evening(files, ANONYMOUS, overrides=by_hand)
    assert {name: (row["total"], row["late"]) for name, row in rows.items()} == {
        "Participant 101": ("3", ""), "Participant 102": (str(MOST), "late")}
    assert [row["Note"] for row in table(evening.out / "moodle-import.csv")] == [
        f"{round(60 / MOST, 2):g}", "20"]
    rows = evening(files, MOODLE, overrides=by_hand)    # the identities are revealed
    assert rows["Jo Meier"]["total"] == "3"


def everything(out):
    """All that is written, but what is the instructor's own: names of files, and texts."""
    return "\n".join([*(str(path.relative_to(out)) for path in out.rglob("*")), *(
        path.read_text(encoding="utf-8-sig", errors="replace") for path in out.rglob("*")
        if path.suffix in (".csv", ".html", ".json") and path.name != "overrides.csv")])


def test_a_name_in_other_letters_costs_no_run(tmp_path):
    """To a pattern without case İ is an i; to `casefold` it is not."""
    rows = [Row("ali", "07", "ali/x", (), ()),
            Row("bo", "07", "bo/x", (), ("as ALİ and Ali have it",))]
    assert not re.search("(?i)ali", blind.masked(rows, [], tmp_path)[1].flags[0])


def test_no_page_names_anybody_until_the_marks_are_final(evening, capsys):
    files = ["meierjo_LATE_101_1_x.ipynb", "meierjo_LATE_101_2_07_lora.ipynb",
             "leekim_102_3_07_lora_leekim.ipynb", "zakola_103_5_meierjo.txt"]
    names = ("Meier", "meierjo", "leekim", "Kim", "Ola", "zakola", "101", "102", "103")
    evening(files, CANVAS)
    assert all(name in everything(evening.out) for name in ("Meier, Jo", "leekim"))
    capsys.readouterr()
    rows = evening(files, CANVAS, blind=True, board="names")
    told = everything(evening.out) + capsys.readouterr().err
    assert [name for name in names if re.search(rf"(?<![^\W_]){name}(?![^\W_])", told)] == []
    assert not list(evening.out.glob("canvas-*"))
    assert len(rows) == 4
    late, = (name for name, row in rows.items() if row["late"])
    assert "2 submissions" in rows[late]["flags"]
    by_hand = f"student,exercise,points,comment\n{late},07,3,\n"
    assert evening(files, CANVAS, blind=True, overrides=by_hand)[late]["total"] == "3"
    assert evening(files, CANVAS)["Meier, Jo"]["total"] == "3"
    assert (evening.out / "canvas-import.csv").exists()


@pytest.mark.parametrize(("files", "name", "there"), [
    (["Jo Meier_101_assignsubmission_file_/x.ipynb", "Kim Lee_102_assignsubmission_file/x.ipynb",
      "Di_103_assignsubmission_onlinetext_/onlinetext.html"], "moodle-feedback.zip",
     ["Di_103_assignsubmission_file_/feedback.html",
      "Jo Meier_101_assignsubmission_file_/feedback.html",
      "Kim Lee_102_assignsubmission_file_/feedback.html"]),
    ([f"Participant_{n}_assignsubmission_file_x.ipynb" for n in (101, 102)], "moodle-feedback.zip",
     [f"Participant_{n}_assignsubmission_file_/feedback.html" for n in (101, 102)]),
    (["meierjo_LATE_101_1_07_lora-1.ipynb", "leekim_102_2_x.ipynb", "di_103_text.html"],
     "canvas-feedback.zip", ["leekim_102_2_x.html", "meierjo_LATE_101_1_07_lora-1.html"]),
    (["LATE_anon_aB3dE_1_x.ipynb", "anon_Zz9_2_x.zip.ipynb"], "canvas-feedback.zip",
     ["LATE_anon_aB3dE_1_x.html", "anon_Zz9_2_x.zip.html"]),
    (["anna.ipynb"], "", [])], ids=len)
def test_feedback_goes_back_under_the_platforms_own_names(evening, files, name, there):
    rows = evening(files)
    found = [path.name for path in evening.out.glob("*.zip")]
    assert found == [name] * bool(name)
    if name:
        with zipfile.ZipFile(evening.out / name) as archive:
            assert archive.namelist() == there
            pages = {path.read_text() for path in (evening.out / "feedback").glob("*.html")}
            assert {archive.read(each).decode() for each in there} <= pages
        told = "handed in no file" in (evening.out / "report.html").read_text()
        assert told == any(each.endswith("_text.html") for each in files)
    evening(files, blind=True)
    assert not list(evening.out.glob("*.zip"))
    assert len(rows) >= len(there)


def test_a_group_gets_one_page_back_unless_its_members_differ(evening):
    files = ["tideclock_101_7_x.ipynb", "zakola_103_2_x.ipynb"]
    evening(files, CANVAS, GROUPS)
    with zipfile.ZipFile(evening.out / "canvas-feedback.zip") as archive:
        assert archive.namelist() == ["tideclock_101_7_x.html", "zakola_103_2_x.html"]
        page = archive.read("tideclock_101_7_x.html").decode()
    assert "Your group" in page
    assert "Meier" not in page
    evening(files, CANVAS, GROUPS, overrides='student,exercise,points\n"Meier, Jo",07,3\n')
    with zipfile.ZipFile(evening.out / "canvas-feedback.zip") as archive:
        assert archive.namelist() == ["zakola_103_2_x.html"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_what_has_names_in_it_is_its_owners_alone(evening):
    old = os.umask(0)
    try:
        evening(["meierjo_101_1_x.ipynb"], CANVAS, blind=True,
                overrides="student,exercise,points\n\"Meier, Jo\",07,3\n")
        evening(["meierjo_101_1_x.ipynb"], CANVAS)
    finally:
        os.umask(old)
    open_to_others = [path.name for path in evening.out.rglob("*")
                      if path.is_file() and path.stat().st_mode & 0o077]
    assert open_to_others == []
    assert {"board.key", "grades.csv", "canvas-import.csv", "canvas-feedback.zip"} <= {
        path.name for path in evening.out.iterdir()}


def test_more_points_than_there_are_must_be_meant(evening):
    evening(["anna.ipynb"])
    before = (evening.out / "grades.csv").read_bytes()
    for line, says in (("anna,lora.count,15,", "15 points for lora.count, which has 1"),
                       (f"anna,07,{MOST + 1},", f"{MOST + 1} points for 07, which has {MOST}")):
        with pytest.raises(PeftTeachError, match=says):
            evening([], overrides=f"student,exercise,points,comment\n{line}\n")
        assert (evening.out / "grades.csv").read_bytes() == before
    assert evening([], bonus=True)["anna"]["total"] == str(MOST + 1)


def test_the_column_is_named_or_known(evening):
    other = CANVAS.replace("Lesson 07 (4711)", "Homework (4711)")
    evening(["meierjo_101_1_x.ipynb"], other)
    assert not (evening.out / "canvas-import.csv").exists()
    assert "of Homework (4711), Quiz 1 (4712). " in (evening.out / "report.html").read_text()
    evening([], other, column="Homework")
    assert "Homework (4711)" in table(evening.out / "canvas-import.csv")[0]


@pytest.mark.parametrize("lists", [(CANVAS, GROUPS), (GROUPS, CANVAS)], ids=len)
def test_what_a_group_handed_in_counts_for_its_members(evening, lists):
    rows = evening(["tideclock_LATE_101_7_x.ipynb", "zakola_103_2_x.ipynb"], *lists)
    assert {student: (row["total"], row["late"]) for student, row in rows.items()} == {
        "Meier, Jo": (str(MOST), "late"), "Lee, Kim": (str(MOST), "late"),
        "Żak, Ola": (str(MOST), ""), "Žák, Ola": ("0", "")}
    assert len(table(evening.out / "canvas-import.csv")) == 4


NAMES = re.sub("Email address|[a-z]+@x.org", "", PARTICIPANTS)


@pytest.mark.parametrize("lists", [
    (MOODLE, PARTICIPANTS), (TEILNEHMER, WORKSHEET), (MOODLE, NAMES)], ids=len)
def test_two_lists_of_one_class_are_one_class(evening, lists):
    rows = evening(["Jo Meier_101_assignsubmission_file_/x.ipynb", "tide.ipynb"], *lists)
    assert {name for name, row in rows.items() if row["flags"] == "nothing handed in"} == {
        "Ola Nowak"}
    assert {*rows} == {"Jo Meier", "Kim Lee", "Ola Nowak"}


@pytest.mark.parametrize("lists", [
    (ANONYMOUS, PARTICIPANTS), (MOODLE, NAMES + "Jo,Meier,,\n"),
    (MOODLE + MOODLE.splitlines()[1].replace("101", "104"), NAMES)], ids=len)
def test_lists_that_do_not_say_who_is_who_are_refused(evening, lists):
    with pytest.raises(PeftTeachError, match="does not say who Jo Meier is in "):
        evening(["Jo Meier_101_assignsubmission_file_/x.ipynb"], *lists)


def test_of_two_with_one_name_neither_is_taken(tmp_path):
    (tmp_path / "x.csv").write_text(MOODLE.replace("Ola Nowak", "Jo Meier").replace("ola@", "j@"),
                                    encoding="utf-8")
    listed = Roster([tmp_path / "x.csv"])
    one, two = listed.named([Submission("Jo Meier", FILE),
                             Submission("Jo Meier", FILE, Label(id="103"))])
    assert one.flags == ("2 in the roster have this name",)
    assert (two.student, two.flags) == ("Jo Meier (103)", ())


def test_nobody_takes_the_name_of_another(evening):
    """An export beside something else may be anybody's: its numbers are not believed."""
    rows = evening(["kim.ipynb", "mallory/meierjo_101_1_x.ipynb", "mallory/leekim_102_2_x.ipynb"],
                   CANVAS)
    assert rows["Meier, Jo"]["flags"] == "nothing handed in"


def test_late_costs_nothing_unless_it_is_said(evening):
    files = ["meierjo_LATE_101_1_x.ipynb", "leekim_102_2_x.ipynb"]
    assert evening(files)["meierjo"]["total"] == str(MOST)
    assert "loses nothing" in (evening.out / "report.html").read_text()
    rows = evening([*files, "uno_LATE_106_3_x.txt", "adapter.safetensors"], late=50)
    page = (evening.out / "report.html").read_text()
    assert "Nobody&#x27;s, and not looked at: adapter.safetensors." in page
    assert (rows["meierjo"]["total"], rows["leekim"]["total"]) == (f"{MOST / 2:g}", str(MOST))
    assert [rows[name]["late"] for name in ("meierjo", "leekim", "uno")] == ["late", "", "late"]
    for page in ("feedback/meierjo.html", "report.html"):
        assert "50 % of the points are deducted" in (evening.out / page).read_text()
    by_hand = "student,exercise,points\nmeierjo,07,3\nleekim,07,4\n"
    rows = evening(files, late=50, overrides=by_hand)    # which has the last word
    assert (rows["meierjo"]["total"], rows["leekim"]["total"]) == ("3", "4")
    with pytest.raises(PeftTeachError, match="120 % cannot be deducted"):
        evening(files, late=120)


def test_marks_by_hand_have_the_last_word_on_each_run(evening):
    lines = ("student,exercise,points,comment\nanna,lora.count,0.5,<b>half</b>\n"
             "anna,lora.layer,,Well written.\nbo,7,3,Oral exam.\n")
    for _ in range(2):
        rows = evening(["anna.ipynb", "bo.ipynb", "cy.ipynb"], overrides=lines)
        assert (rows["anna"]["lora.count"], rows["anna"]["total"]) == ("0.5", f"{MOST - 0.5:g}")
        assert (rows["bo"]["total"], rows["cy"]["total"]) == ("3", str(MOST))
        page = (evening.out / "feedback/anna.html").read_text()
        assert "lora.count: 0.5 points, &lt;b&gt;half&lt;/b&gt;" in page
        assert "0.5 of 1 points" in page
        report = (evening.out / "report.html").read_text()
        for said in ("&lt;b&gt;half", "Well written.", "07: 3 points, Oral exam."):
            assert said in report


def test_who_handed_in_nothing_can_have_a_mark_by_hand(evening):
    """And a line for a lesson that was not asked for waits."""
    evening(["meierjo_101_1_x.ipynb", "zakola_103_2_x.txt"], CANVAS, lesson="7", overrides=(
        'student;exercise;points;comment\nLee, Kim;07;2,5;ill\nLee, Kim;03;2,5;\n'))
    assert {(row["lesson"], row["maximum"]) for row in table(evening.out / "grades.csv")} == {
        ("07", str(MOST))}
    assert {row["ID"]: row["Lesson 07 (4711)"] for row in table(evening.out / "canvas-import.csv")
            }["102"] == f"{round(2.5 * 26 / MOST, 2):g}"


@pytest.mark.parametrize(("line", "says"), [
    ("ana,07,1,", "'ana'"), ("anna,lora.cuont,1,", "lora.cuont"), ("anna,77,1,", "'77'"),
    ("anna,07,much,", "much"), ("anna,07,-1,", "-1"), ("anna,07,nan,", "nan")])
def test_a_line_by_hand_that_would_be_lost_is_refused(evening, line, says):
    evening(["anna.ipynb"])
    before = (evening.out / "grades.csv").read_bytes()
    with pytest.raises(PeftTeachError, match=says):
        evening([], overrides=f"student,exercise,points,comment\n{line}\n")
    assert (evening.out / "grades.csv").read_bytes() == before
    with pytest.raises(PeftTeachError, match="columns 'name,points'"):
        evening([], overrides="name,points\n")


def test_a_table_edited_by_hand_is_kept(evening, capsys):
    evening(["anna.ipynb"])
    path = evening.out / "grades.csv"
    written = path.read_bytes()
    evening(["bo.ipynb"])
    assert not list(evening.out.glob("grades-*"))
    path.write_bytes(path.read_bytes() + b"by hand")
    edited = path.read_bytes()
    evening([])
    assert (evening.out / "grades-edited-1.csv").read_bytes() == edited
    assert path.read_bytes() not in (edited, written)
    assert "kept as grades-edited-1.csv" in capsys.readouterr().err
    evening([])
    assert len(list(evening.out.glob("grades-*"))) == 1


def test_what_is_no_list_is_refused(evening):
    for text in ("a,b\n1,2\n", ""):
        with pytest.raises(PeftTeachError, match="is not a course list"):
            evening(["anna.ipynb"], text)
    with pytest.raises(PeftTeachError, match="cannot be read"):
        grade(evening.out.parent / "in", evening.out, Options(roster=["nowhere.csv"]))


def test_the_report_tells_how_each_exercise_went(tmp_path):
    said = {"passed": {"state": "passed"},
            "wrong": {"mistake": "only_input", "message": "The mask is longer than the words."},
            "error": {"traceback": "Traceback (most recent call last):", "message": "E"},
            "crash": {"reason": "SIGSEGV"}, "slow": {"reason": "time"},
            "stub": {"state": "not attempted"}}
    empty = {"exercise": "lora.count", "state": "wrong", "points": 0, "maximum": 1, "message": "",
             "mistake": None, "traceback": "", "further": False, "notes": (), "flags": (),
             "reason": ""}
    rows = [Row(student, "07", "x", (empty | mark,), ()) for student, mark in said.items()]
    value = empty | {"exercise": "lora.case", "state": "passed"}
    rows += [Row("ill", "07", "", (), ()), Row("more", "07", "x", (value,), ())]
    report.write(rows, tmp_path, [])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    lines = [re.findall("<td>(.*?)</td>", line) for line in re.findall("<tr>(.*?)</tr>", page)]
    assert re.findall("<button>(.*?)</button>", page)[:9] == [
        "exercise", "solved by", "passed", "wrong", "error", "out of time",
        "to be marked by a person", "not attempted", "nothing handed in"]
    assert ["lora.count", "17 %", "1", "1", "2", "1", "", "1", "1",
            "an error 2, only input 1, out of time 1"] in lines
    assert ["lora.case *", "100 %", "1", "", "", "", "", "", "1", ""] in lines
    assert "* The answer is a value." in page
    assert "Half of the students have 0 % of the points or more." in page
