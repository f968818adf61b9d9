"""Pages that students wrote: read in whatever dress, and marked on a local page."""

import http.client
import json
import threading
from urllib.parse import urlsplit

import pytest

from peft_teach.course.checks.examination import NOT_ATTEMPTED
from peft_teach.course.grade import feedback, handed, marking, overrides
from peft_teach.course.grade.row import Row
from peft_teach.course.lessons import parts
from peft_teach.course.reading.notebook import parse
from peft_teach.errors import PeftTeachError

PART, = (part for part in parts("14") if part.rubric)
HEADINGS = [heading for heading, *_ in PART.rubric]
SAID = ("+6 points <script>alert(1)</script>", "rank 1: +1.1 (-2.5 to 4.6), and 87.1 %",
        "nothing wider", "irony")
LESSON = ("| **What I predicted** | a number |\n\n> *My claim.* LoRA 8 has an R² of 0.50.\n\n"
          "| part | why |\n| My claim | 2 of 3 |\n")


def notebook(*page: tuple[str, str]) -> bytes:
    """A notebook of the capstone with the cells of a page, and what runs have put out."""
    def cell(kind, source, text=""):
        return {"cell_type": kind, "source": source, "outputs": [{"text": text}]}
    return json.dumps({"metadata": {"peft_teach": {"lesson": "14"}}, "cells": [
        cell("code", "tries", "all\tqueries\u202e, rank 1: +1.1 (−2.5 to +4.6)" + 5 * "\nx"
             + "\nbelow"),
        cell("code", "other", "nothing that is cited: 12"), cell("markdown", LESSON),
        *(cell(*each) for each in page), cell("markdown", "## Your name\n\nMy claim: none.")
    ]}).encode()


def written(form: str, between: str = "\n\n", said=SAID) -> str:
    return between.join(form.format(heading, text) for heading, text in zip(HEADINGS, said))


DOTS = written("**{}**: {}", said=["…"] * 4)


@pytest.mark.parametrize("page", [
    [("markdown", "Replace the dots.\n\n" + written("**{}**: {}"))],
    [("markdown", written("## {}\n\n{}"))], [("markdown", written("{}: {}"))],
    [("raw", written("*{}.* {}"))], [("markdown", written("- __{}__: {}"))],
    [("markdown", written("1. **{}:** {}").lower())], [("code", written("**{}**: {}"))],
    [("markdown", f"**{heading}**\n{text}") for heading, text in zip(HEADINGS, SAID)],
    [("markdown", DOTS), ("markdown", written("**{}**: {}"))],
    [("markdown", written("**{}**: {}")), ("markdown", DOTS)],
    [("code", f"# {heading}: {text}") for heading, text in zip(HEADINGS, SAID)],
    [("code", written("# {}\n# {}", "\n#\n"))]], ids=range(12))
def test_a_page_is_read_in_whatever_dress(page):
    made = handed._page(PART, parse(notebook(*page)))
    assert made.state == handed.TO_MARK
    assert [(each["heading"], each["text"].casefold()) for each in made.page] == [
        (heading, text.casefold()) for heading, text in zip(HEADINGS, SAID)]
    pair = made.page[1]
    assert pair["missing"] == ["87.1"]
    assert [cell for cell, _ in pair["runs"]] == [1]
    assert "below" not in pair["runs"][0][1]
    assert "queries, rank" in pair["runs"][0][1]    # nothing that turns the direction of a text


def test_a_page_without_headings_is_one_part_and_dots_are_none():
    free = "I expected six points, since lesson seven had nine, and the pair did not decide."
    made = handed._page(PART, parse(notebook(("markdown", free))))
    assert [(each["heading"], each["text"]) for each in made.page] == [("The page", free)]
    for page in ([("markdown", DOTS)], [], [("markdown", "Later.")]):
        made = handed._page(PART, parse(notebook(*page)))
        assert (made.state, made.page) == (NOT_ATTEMPTED, ())


@pytest.mark.parametrize("text", [" " * 400_000, "**" * 200_000, "-\t" * 200_000, "1." * 200_000,
                                  "What I predicted\n" * 20_000, "123.4 " * 60_000], ids=range(6))
def test_no_page_takes_long_to_read(text):
    made = parse(json.dumps({"cells": [
        {"cell_type": "code", "source": "", "outputs": [{"text": "123.4 " * 20_000}]},
        {"cell_type": "markdown", "source": f"What I predicted: {text}\n{text}x"}]}).encode())
    handed._page(PART, made)    # a pattern that backtracks would take minutes


def rows(*students: str) -> list[Row]:
    mark = vars(handed._page(PART, parse(notebook(("markdown", written("**{}**: {}"))))))
    return [Row(student, "14", f"{student}.ipynb", (mark,), ()) for student in students]


def test_who_waits_for_a_mark_reads_so(tmp_path):
    row, = rows("anna")
    page, = feedback.pages([row]).values()
    assert "waiting for your instructor (12 points)" in page
    assert ", and 12 more to give" in page
    assert "0 of 12" not in page
    assert "overrides.csv" not in page
    for exercise in ("capstone.page", "14"):
        hand = (overrides.Override("anna", "14", exercise, 9.0, "Good."),)
        page, = feedback.pages([Row("anna", "14", "x", row.marks, (), hand)]).values()
        assert "marked by your instructor" in page
        assert "more to give" not in page


@pytest.fixture
def served(tmp_path):
    """Ask the server for a path below its address, or below its host: `served(path, body)`."""
    assert marking.write(rows("anna", "bo <b>"), tmp_path) == 2
    made, address = marking.server(tmp_path)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    at = urlsplit(address)

    def ask(path="", body=None, root=at.path, **headers):
        connection = http.client.HTTPConnection(at.hostname, at.port)
        named = {"Content-Type": "application/json"} if body else {}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST" if body else "GET", root + path, body, named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers

    ask.out, ask.port = tmp_path, at.port
    yield ask
    made.shutdown()
    made.server_close()


def give(*points, comment="") -> str:
    return json.dumps({"points": points, "comment": comment})


def test_a_page_without_headings_is_one_part_of_all_points(tmp_path):
    page = {"student": "anna", "exercise": "capstone.page", "maximum": 12,
            "parts": [{"heading": "The page"}]}
    marking.save(tmp_path, page, [9], "Fine.")
    line, = overrides.read(tmp_path)
    assert line.comment == "The page 9/12. Fine."
    assert marking.given(page, [line]) == ((9,), "Fine.", 9)


def test_marks_and_comments_stand_in_overrides_as_they_are_given(served):
    (served.out / overrides.FILE).write_text("student;exercise;points;comment\nbo <b>;07;2;\n")
    assert served("1", give(3, None, None, None))[0] == 200
    line = overrides.read(served.out)[-1]
    assert (line.student, line.exercise, line.points) == ("anna", "capstone.page", None)
    assert served("1", give(3, 2, 0, 3, comment="Why; 345?\nSo."))[0] == 200
    found = overrides.read(served.out)
    assert [(each.student, each.points) for each in found] == [("bo <b>", 2), ("anna", 8)]
    assert found[1].comment == ("What I predicted 3/3; The pair that decided 2/3; My claim 0/3; "
                                "When not to use it 3/3. Why; 345? So.")
    page = served("1")[1]
    assert page.count('aria-pressed="true"') == 4
    assert "Why; 345? So.</textarea>" in page
    assert "1 of 2 pages are marked" in served()[1]
    assert "8 of 12" in served()[1]
    for number in ("2", "0", ""):
        assert "<b>" not in served(number)[1]
        assert "<script>alert" not in served(number)[1]


def test_no_name_is_a_formula_in_the_line_that_is_written(tmp_path):
    students = ["=cmd|x", "a;=b", "'t Hooft", "anna"]
    for student in (*students, *students):
        overrides.add(tmp_path, student, "capstone.page", 1.0, "")
    assert [each.student for each in overrides.read(tmp_path)] == students
    assert (tmp_path / overrides.FILE).read_text().split("\n")[1:3] == [
        "'=cmd|x,capstone.page,1,", "a;'=b,capstone.page,1,"]


def test_a_mark_that_stands_there_by_hand_is_kept(served):
    (served.out / overrides.FILE).write_text(
        "student,exercise,points,comment\nanna,capstone.page,7,Oral.\n")
    assert "by hand: 7 points" in served("1")[1]
    assert "Oral.</textarea>" in served("1")[1]
    assert served("1", give(None, None, None, None, comment="Oral, in May."))[0] == 200
    line, = overrides.read(served.out)
    assert (line.points, "Oral, in May." in line.comment) == (7, True)


@pytest.mark.parametrize(("body", "status"), [
    (give(4, 0, 0, 0), 409), (give(1, 1, 1), 409), (give("3", 1, 1, 1), 409), ("{}", 400),
    ("x", 400), ('{"points": 3, "comment": ""}', 400), (give(-1, 0, 0, 0), 409),
    (" " * (marking.LARGEST_REQUEST + 1), 400)])
def test_what_is_no_mark_changes_nothing(served, body, status):
    assert served("1", body)[0] == status
    assert not (served.out / overrides.FILE).exists()


def test_nobody_else_is_served(served):
    assert served("1")[0] == 200
    for refused in (served("1", root="/"), served("3"), served("", give(1, 1, 1, 1)),
                    served("1", Host="evil.example"), served("../1"),
                    served("1", give(1, 1, 1, 1), Origin="http://evil.example"),
                    served("1", give(1, 1, 1, 1), Host=f"localhost:{served.port}")):
        assert refused[0] == 404
    assert served("1", give(1, 1, 1, 1), Content_Type="text/plain")[0] == 400
    assert not (served.out / overrides.FILE).exists()
    policy = served("1")[2]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'nonce-" in policy


def test_without_pages_it_says_so(tmp_path):
    assert marking.write([Row("anna", "07", "x", (), ())], tmp_path) == 0
    with pytest.raises(PeftTeachError, match="no page to mark"):
        marking.server(tmp_path)
