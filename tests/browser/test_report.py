"""The report of a class in a real browser: its table sorts, and nothing else runs in it."""

import pytest

pytest.importorskip("playwright", reason="needs the extra: pip install -e '.[browser]'")

from lab import CHROMIUM, FLAGS
from playwright.sync_api import sync_playwright

from peft_teach.course.grade import report
from peft_teach.course.grade.row import Row

pytestmark = [pytest.mark.browser,
              pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")]


def test_the_table_sorts_by_each_column(tmp_path):
    mark = {"state": "passed", "exercise": "lora.count", "maximum": 15, "message": "",
            "traceback": "", "mistake": None, "notes": ()}
    rows = [Row(student, "07", f"{student}.ipynb", (mark | {"points": points},), ())
            for student, points in (("anna", 9), ("bo", 15), ("cy", 2))]
    report.write(rows, tmp_path, [])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page()
        page.goto((tmp_path / "report.html").as_uri())

        students = page.locator("table", has=page.get_by_role("button", name="student"))

        def order() -> list[str]:
            return students.locator("tbody tr td:first-child").all_inner_texts()

        assert order() == ["anna", "bo", "cy"]
        students.get_by_role("button", name="points").click()
        assert order() == ["cy", "anna", "bo"]
        students.get_by_role("button", name="points").click()
        assert order() == ["bo", "anna", "cy"]
        page.evaluate("document.body.append(Object.assign(document.createElement('script'), "
                      "{textContent: 'document.title = 1'}))")
        assert page.title() == "The class"
        page.get_by_role("link", name="bo").click()
        page.wait_for_url("**/feedback/bo.html")
        browser.close()
