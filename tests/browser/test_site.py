"""The whole site, built and opened in Chromium, wide and narrow."""

import http.server
import re
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
pytest.importorskip("sphinx")
from playwright.sync_api import sync_playwright  # noqa: E402

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
        if page.parent.name == "_static":    # a chart
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


def test_a_menu_of_a_chart_works_without_a_kernel(pages):
    _, address = pages
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page()
        page.goto(address + "_static/updates.html", wait_until="networkidle")
        shown = page.locator("figure:visible img")
        assert "query, block 0" in shown.get_attribute("alt")
        page.locator("select").select_option("value, block 3")
        assert "value, block 3" in shown.get_attribute("alt")
        browser.close()
