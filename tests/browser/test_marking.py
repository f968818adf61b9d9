"""Pages are marked by keys, in a real browser; nothing of a student's runs in it."""

import threading

import pytest

pytest.importorskip("playwright", reason="needs the extra: pip install -e '.[browser]'")

from lab import CHROMIUM, FLAGS
from playwright.sync_api import expect, sync_playwright

from peft_teach.course.grade import marking, overrides
from peft_teach.course.grade.row import Row

pytestmark = [pytest.mark.browser,
              pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")]

PARTS = [{"heading": heading, "text": "<img src=x onerror='document.title=1'> 1.5",
          "runs": [[3, "it gave 1.5"]], "missing": []}
         for heading in ("What I predicted", "The pair that decided", "My claim",
                         "When not to use it")]


def test_a_page_is_marked_by_keys(tmp_path):
    mark = {"exercise": "capstone.page", "maximum": 12, "page": PARTS, "state": "x"}
    marking.write([Row(student, "14", "x", (mark,), ()) for student in ("anna", "bo")],
                  tmp_path)
    made, address = marking.server(tmp_path)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(address)
        page.get_by_role("link", name="Go on").click()
        assert page.title() == "anna"
        assert page.locator("mark").all_inner_texts() == ["1.5"] * 4
        for key in ("3", "9", "2", "k", "1", "3", "c", "2", "Escape", "0"):
            page.keyboard.press(key)
        expect(page.locator("#told")).to_have_text("saved")
        expect(page.locator("#sum")).to_have_text("7 points")
        page.keyboard.press("n")
        page.wait_for_url("**/2")
        assert page.title() == "bo"
        page.keyboard.press("l")
        page.wait_for_url(address)
        browser.close()
    made.shutdown()
    made.server_close()
    assert not errors
    line, = overrides.read(tmp_path)
    assert (line.student, line.points) == ("anna", 7)
    assert line.comment.endswith(". 2")
