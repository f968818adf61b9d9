"""The whole site, built and opened in Chromium, wide and narrow."""

import http.server
import re
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
pytest.importorskip("sphinx")
from playwright.sync_api import sync_playwright  # noqa: E402

from peft_teach.course import records  # noqa: E402
from peft_teach.course.publish import charts  # noqa: E402
from peft_teach.course.publish.site import site  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Serve the built site; the folder and its address."""
    out = tmp_path_factory.mktemp("site")
    site(ROOT, out)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(out))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield out, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_every_link_within_the_site_leads_somewhere(pages):
    out, _ = pages
    for page in out.rglob("*.html"):
        if page.parent.name == "_static":    # a chart, bundled
            continue
        for link in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text("utf-8")):
            if not re.match(r"\w+:", link):
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("width", [1280, 400])
def test_no_page_complains_asks_elsewhere_or_scrolls_sideways(pages, width):
    out, address = pages
    names = [str(p.relative_to(out)) for p in out.rglob("*.html") if p.parent.name != "_static"]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium")
        for name in sorted(names):
            page, found = browser.new_page(viewport={"width": width, "height": 900}), []
            page.on("console", lambda m, f=found: f.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error, f=found: f.append(str(error)))
            page.on("request", lambda r, f=found: None if r.url.startswith(
                (address, "data:", "blob:")) else f.append(r.url))
            page.goto(address + name, wait_until="networkidle")
            assert not found, name
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            page.close()
        browser.close()


def test_the_charts_show_the_records_numbers():
    runs = records.load("lora").runs.query("group == 'ranks' and rank == 8")
    shown = [row for data in charts.rank().to_dict()["datasets"].values() for row in data
             if row.get("rank") == 8 and row.get("where") == "query, value"]
    assert shown[0]["accuracy"] == pytest.approx(runs.accuracy.mean())
    full = [row for data in charts.updates().to_dict()["datasets"].values() for row in data
            if row.get("update") == "full fine-tuning" and row["matrix"] == "query, block 2"]
    assert full[-1]["k"] == 384
    assert full[-1]["share"] == pytest.approx(1)
    ladder = [row for data in charts.ladder().to_dict()["datasets"].values() for row in data]
    assert {row["method"] for row in ladder} >= {"full fine-tuning", "LoRA 8", "the head alone"}


def test_a_menu_of_a_chart_works_without_a_kernel(pages):
    _, address = pages
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page()
        page.goto(address + "_static/updates.html", wait_until="networkidle")
        before = page.locator("#vega-chart canvas, #vega-chart svg").screenshot()
        page.locator("select").select_option("value, block 0")
        page.wait_for_timeout(300)
        assert page.locator("#vega-chart canvas, #vega-chart svg").screenshot() != before
        browser.close()
