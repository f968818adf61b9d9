"""The whole site, built and opened in Chromium, wide and narrow, light and dark."""

import http.server
import re
import threading
from html import unescape
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
pytest.importorskip("sphinx")
from playwright.sync_api import expect, sync_playwright  # noqa: E402

from peft_teach.course.lessons import in_two  # noqa: E402
from peft_teach.course.publish.notebooks import make  # noqa: E402
from peft_teach.course.publish.site import site  # noqa: E402
from peft_teach.course.publish.start_page import title  # noqa: E402
from peft_teach.ink import PHONE  # noqa: E402
from peft_teach.plots import NARROW  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Serve the built site; the folder and its address."""
    out = tmp_path_factory.mktemp("site")
    site(ROOT, out, most=12)    # all of a thousand settings would take minutes

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


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium")
        yield browser
        browser.close()


def names(out: Path) -> list[str]:
    return sorted(str(page.relative_to(out)) for page in out.rglob("*.html"))


def test_every_link_within_the_site_leads_somewhere(pages):
    """To a file, and to a place in it."""
    out, _ = pages
    text = {out / name: (out / name).read_text("utf-8") for name in names(out)}
    places = {page: {"", *re.findall(r'\bid="([^"]+)"', html)} for page, html in text.items()}
    for page, html in text.items():
        for link in re.findall(r'(?:href|src)="([^"]+)"', html):
            if not re.match(r"\w+:", link):
                file, _, place = unescape(link).partition("#")
                leads = (page.parent / file.partition("?")[0]).resolve() if file else page
                assert leads.exists(), f"{page.name} links to {link}"
                assert place in places.get(leads, {place}), f"{page.name} links to {link}"


# What is said where cells run, and is true nowhere else.
OF_NOTEBOOKS = (r"\b[Cc]lick|Shift\+Enter|\b[Pp]ress(?! play)\b.{,30}\d|the button|this notebook"
                r"|\b[Rr]un the\b.*\b(cells?|lines)\b|(review|question|one) of your own"
                r"|pt\.hint\(|\bRun pt\.")


def test_no_page_asks_for_what_only_a_notebook_can_do(pages, browser):
    """A picture that one is to play has a button for it; what else moves is tested below."""
    out, address = pages
    page = browser.new_page()
    for name in names(out):
        page.goto(address + name)
        prose = page.locator("article :is(p, li, td)").all_text_contents()
        assert not [each for each in prose if re.search(OF_NOTEBOOKS, " ".join(each.split()))], name
        if any("Press play" in each for each in prose):
            assert page.locator(".moving button", has_text="Play").count(), name


@pytest.mark.parametrize("width", [1400, 1000, 390])
def test_code_cards_and_pictures_have_one_width(pages, browser, width):
    _, address = pages
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(address + "lessons/07_lora.html", wait_until="networkidle")
    left, right, text = page.evaluate("""() => {
        const boxes = (what) => [...document.querySelectorAll(what)].filter(
            (each) => each.checkVisibility()).map((each) => each.getBoundingClientRect());
        const wide = boxes(`article :is(div.cell_input, .bet, .cell_output figure,
            .cell_output [role=group])`), text = boxes("article section > p");
        return [[...wide, ...text].map((box) => box.left), wide.map((box) => box.right),
                text.map((box) => box.right)];
    }""")
    assert len(left) > 50
    assert max(left) - min(left) < 1
    assert max(text) <= min(right) + 1    # lines of words are shorter
    assert max(right) - min(right) < 1
    for picture in page.locator("article figure img:visible").all():
        natural, box = int(picture.get_attribute("width")), picture.bounding_box()
        assert natural < 600 or box["x"] + box["width"] > max(right) - 1


FAULTS = (Path(__file__).parent / "faults.js").read_text("utf-8")


@pytest.mark.parametrize(("width", "theme"), [
    (1400, "light"), (1320, "light"), (1000, "dark"), (390, "light")])
def test_no_page_complains_asks_elsewhere_scrolls_sideways_or_is_hard_to_read(
        pages, browser, width, theme):
    out, address = pages
    for name in names(out):
        page, found = browser.new_page(viewport={"width": width, "height": 900},
                                       color_scheme=theme), []
        page.on("console", lambda m, f=found: f.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error, f=found: f.append(str(error)))
        page.on("request", lambda r, f=found: None if r.url.startswith(
            (address, "data:", "blob:")) else f.append(r.url))
        page.goto(address + name, wait_until="networkidle")
        assert not found, name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        if name not in ("search.html", "genindex.html"):
            assert page.evaluate(FAULTS) == [], name
        page.close()


def test_a_keyboard_sees_where_it_stands_and_stays_at_a_bet(pages, browser):
    _, address = pages
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(address + "lessons/07_lora.html", wait_until="networkidle")
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", (
            page.evaluate("document.activeElement.outerHTML"))
    button = page.locator(".bet button").first
    button.press("Enter")
    assert button.evaluate("each => each === document.activeElement")


def test_the_sidebar_names_each_lesson_once_in_a_line(pages, browser):
    _, address = pages
    page = browser.new_page()
    page.goto(address + "index.html")
    start, lessons, *_ = page.locator(".sidebar-tree > ul").all()
    assert start.locator("a").all_inner_texts() == ["Start"]
    assert lessons.locator("a").all_inner_texts() == [
        in_two(title(Path(ROOT / lesson.source).read_text("utf-8")))[0] for lesson in make(ROOT)]


def test_a_lesson_leads_to_the_one_before_and_the_next(pages, browser):
    _, address = pages
    page, lessons = browser.new_page(), [lesson.name for lesson in make(ROOT)]
    page.goto(f"{address}lessons/{lessons[-2]}.html")    # where a number may be missing
    for way, name in (("prev", lessons[-3]), ("next", lessons[-1])):
        link = page.locator(f".related-pages .{way}-page")
        assert link.get_attribute("href").endswith(f"{name}.html")
    link.click()
    page.wait_for_url(f"**/{name}.html")
    assert page.evaluate("scrollY") == 0


def test_each_picture_with_controls_is_alive(pages):
    out, _ = pages
    still = {}
    for lesson in make(ROOT):
        asked = sum(bool(re.search(r"\bpictures\.explore_\w+\(", cell.source))
                    for cell in lesson.cells)
        alive = (out / f"lessons/{lesson.name}.html").read_text("utf-8").count('class="moving"')
        still[lesson.name] = asked - alive
    assert {name: count for name, count in still.items() if count} == {}


def test_a_picture_follows_its_controls_and_a_bet_opens_its_answer(pages, browser):
    _, address = pages
    page = browser.new_page()
    page.goto(address + "lessons/07_lora.html", wait_until="networkidle")
    bet = page.locator(".bet", has_text="The lowest rank within four points")
    picture = page.locator(".after-bet .moving")
    assert not picture.is_visible()
    waiting, = page.locator(".measured", has_text="the lowest rank within four points").all()
    assert not waiting.is_visible()
    bet.get_by_role("button", name="8", exact=True).press("Enter")    # by keyboard, too
    assert waiting.inner_text().startswith(
        "You said 8: off by a factor of 8. The lowest rank within four points: 1")
    assert waiting.is_visible()
    bet.get_by_role("button", name="1", exact=True).click()
    assert waiting.inner_text().startswith("Right. The lowest rank")
    image, slider = picture.locator("img"), picture.locator("input[type=range]")
    assert "rank 8, query, value: 73,728" in image.get_attribute("alt")
    before = image.get_attribute("src")
    slider.press("ArrowRight")
    assert ". rank 16, " in image.get_attribute("alt")
    assert picture.locator("output").inner_text() == "16"
    assert image.get_attribute("src") != before
    assert page.evaluate("async (src) => (await fetch(src)).ok", image.get_attribute("src"))


def test_a_bet_is_answered_where_the_lesson_answers_it(pages, browser):
    _, address = pages
    page = browser.new_page()
    page.goto(address + "lessons/07_lora.html")
    bet = page.locator(".bet", has_text="Rank 64 failed because of")
    answer = page.locator("[id='measured-lora.suspect']")
    assert not answer.is_visible()
    bet.get_by_role("button", name="the rank").click()
    assert bet.get_by_role("status").inner_text() == "You said the rank. The answer comes below."
    bet.get_by_role("link").click()
    assert answer.inner_text().startswith("You said the rank. Why rank 64 failed: alpha")
    assert answer.is_visible()
    bet.get_by_role("button", name="alpha").click()    # judged beside what shows it, and no earlier
    assert bet.get_by_role("status").inner_text() == "You said alpha. The answer comes below."
    assert answer.inner_text().startswith("Right. Why rank 64 failed: alpha")


# The bets whose answer the lesson tells in a later section.
LATER = {"inside.memory", "full.head", "full.scratch", "adapters.better", "ladder.bets",
         "capstone.gain", "capstone.sure"}


def test_each_bets_answer_stands_below_it_in_its_section_and_its_link_shows_it(pages, browser):
    _, address = pages
    page, later = browser.new_page(viewport={"width": 1400, "height": 900}), set()
    for lesson in make(ROOT):
        page.goto(f"{address}lessons/{lesson.name}.html", wait_until="networkidle")
        names = page.locator(".bet[data-name]").evaluate_all(
            "all => all.map((each) => each.dataset.name)")
        for bet in page.locator(".bet").all():
            if (field := bet.get_by_label("Your bet")).count():
                field.fill(field.get_attribute("placeholder"))
            bet.locator("button").first.click()
        for name in names:
            answer = page.locator(f"[id='measured-{name}']")
            later |= {name} if answer.evaluate("""(answer, name) => {
                const all = [...document.querySelectorAll("article *")];
                const asks = document.querySelector(`.bet[data-name='${name}']`);
                const [bet, told] = [asks, answer].map((each) => all.indexOf(each));
                if (told < bet) throw name;
                return all.slice(bet, told).some((each) => each.matches("h2"));
            }""", name) else set()
            page.locator(f".bet[data-name='{name}'] [role=status] a").click()
            expect(answer).to_be_in_viewport(timeout=5000)
    assert later == LATER


def test_a_bet_without_buttons_takes_an_answer_and_what_its_result_says_waits_too(pages, browser):
    _, address = pages
    page = browser.new_page()
    page.goto(address + "lessons/07_lora.html")
    said = page.get_by_text("in the outputs they line up")
    assert not said.is_visible()
    page.get_by_role("button", name="eight times as far").click()
    said.wait_for()    # a fold says in a moment that it is open
    page.goto(address + "lessons/03_prompt.html")
    said = page.get_by_text("None changes here, either")
    bet = page.locator("[data-name='prompt.left']")
    answer = page.locator("[id='measured-prompt.left']")
    sure = bet.get_by_label("How sure")
    for nothing, doubt in (("0.5", "2"), ("", ""), ("banana", ""), ("0.5, 0.6", ""), ("7", "")):
        bet.get_by_label("Your bet").fill(nothing)
        sure.fill(doubt)
        bet.get_by_role("button").click()
        assert not answer.is_visible()
    assert bet.get_by_label("Your bet").input_value() == nothing
    assert bet.get_by_label("Your bet").evaluate("field => field.validationMessage") == (
        "Expected: an answer such as 0.5, from 0 to 1.")
    assert not said.is_visible()
    bet.get_by_label("Your bet").fill("50%")
    bet.get_by_label("Your bet").press("Enter")
    assert answer.inner_text().startswith(
        "You said 50%: off by 0.28. Its nearest words, on 470 reviews: 0.78")
    bet.get_by_label("Your bet").fill("0.1")
    sure.fill("0.8")
    bet.get_by_role("button").click()
    assert answer.inner_text().startswith("You said 0.1, 80% sure: off by a factor of 7.8. ")
    said.wait_for()    # a fold says in a moment that it is open
    page.goto(address + "lessons/07_lora.html")
    bet = page.locator("[data-name='lora.zero_gradients']")
    for answer, heard in (("AB, A, A, B", "You said AB, A, A, B. "),
                          ('"AB", "A", "B", ""', "Right. ")):
        bet.get_by_label("Your bet").fill(answer)
        bet.get_by_role("button").click()
        assert page.locator("[id='measured-lora.zero_gradients']").inner_text().startswith(heard)


def test_a_result_that_answers_a_later_bet_waits_for_it(pages, browser):
    _, address = pages
    page = browser.new_page()
    page.goto(address + "lessons/10_ladder.html")
    answer = page.locator("[id='measured-ladder.mask']")
    table = page.locator("td", has_text="a colleague").first    # Monday's, of a run each
    assert not table.is_visible()
    page.get_by_role("button", name="LoRA everywhere").first.click()
    assert table.is_visible()
    page.get_by_role("link", name="The answer").first.click()    # to the bet for which it waits
    expect(page.locator("[data-name='ladder.bets']")).to_be_in_viewport()
    assert not answer.is_visible()
    bet = page.locator("[data-name='ladder.bets']")
    for chips, opened in (("xyz", False), ("LoRA 8: 90, BitFit: 40", False), ("LoRA: 100", False),
                          ("BitFit: 100", True)):
        bet.get_by_label("Your bet").fill(chips)
        bet.get_by_role("button").click()
        assert answer.is_visible() == opened
    assert answer.inner_text().startswith("Right. Nearest to the mask: LoRA everywhere")


def test_the_landing_begins_with_its_picture_and_the_way_in_and_has_a_bet(pages, browser):
    _, address = pages
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(address + "index.html", wait_until="networkidle")
    start, picture, film, words = (page.locator(each).bounding_box() for each in (
        "a.first", ".all-methods", ".film img:visible", ".film ol"))
    assert start["y"] < picture["y"]
    assert page.get_by_text("hours, if you know PyTorch; no GPU.").is_visible()
    assert picture["y"] + picture["height"] <= 900
    assert film["x"] + film["width"] < words["x"]    # beside each other
    assert film["y"] < words["y"] < film["y"] + film["height"]
    told = page.locator(".bet [role=status]")
    assert not told.is_visible()
    page.get_by_role("button", name="40", exact=True).click()
    assert told.inner_text().startswith("You said 40. It is 4: ")
    assert page.locator(".bet button.right").all_inner_texts() == ["4"]
    page.get_by_role("button", name="4", exact=True).click()
    assert told.inner_text().startswith("Right. It is 4: ")
    assert page.locator(".moving").count() == 0    # no picture that answers a lesson's bet


def test_tables_take_free_width_and_are_cards_on_a_phone(pages, browser):
    _, address = pages
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    for width in (1400, 1000):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(address + "symptoms.html")
        assert page.locator("article table").bounding_box()["width"] > 850
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(address + "map.html")
    for cell in page.locator("tr", has_text="LoRA at small ranks").locator("td").all():
        box = cell.bounding_box()
        assert box["x"] + box["width"] <= 390
    assert {*page.locator("table.cards td:visible > p").evaluate_all(    # a name above its fields
        "texts => texts.map((each) => getComputedStyle(each).marginLeft)")} == {"0px"}
    assert not page.locator("thead").is_visible()
    page.goto(address + "index.html")
    box = page.get_by_text("the training step; ").bounding_box()
    assert box["width"] > 300    # two cells below each other, not beside
    page.goto(address + "fast.html")
    for table in page.locator("article .table-wrapper").all():    # of numbers, in their columns
        assert table.locator("thead").is_visible()
        assert table.evaluate("each => each.scrollWidth - each.clientWidth") == 0
    page.goto(address + "lessons/13_sixty.html")    # of formulas: of words, not of numbers
    assert page.locator("table.cards td", has_text="is orthogonal").is_visible()
    page.goto(address + "lessons/10_ladder.html")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert {*page.locator(".cell_output:has(table.dataframe)").evaluate_all(
        "all => all.map((each) => each.scrollWidth > each.clientWidth)")} == {False}


def test_on_a_phone_the_first_column_of_a_table_that_scrolls_stays(pages, browser):
    _, address = pages
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(address + "lessons/11_chat.html")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    output = page.locator(".cell_output", has=page.locator("th", has_text="-0.50"))
    assert output.evaluate("each => (each.scrollLeft = 99) && each.scrollLeft") > 20
    first, box = output.locator("tbody th").first.bounding_box(), output.bounding_box()
    assert 0 <= first["x"] - box["x"] < 8    # a fold's edge


def test_on_a_phone_letters_of_pictures_have_ten_pixels(pages, browser):
    """They are drawn anew, and fit."""
    _, address = pages
    page, wide = browser.new_page(viewport={"width": 390, "height": 900}), []
    for lesson in make(ROOT):
        page.goto(f"{address}lessons/{lesson.name}.html", wait_until="networkidle")
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        for image in page.locator("article figure img").all():
            image.scroll_into_view_if_needed()
            if image.locator("xpath=preceding-sibling::source").count():
                image.evaluate("image => image.decode()")
                assert image.evaluate("image => image.naturalWidth") in (PHONE, 96 * NARROW)
                assert 330 < image.bounding_box()["width"] < 390
            else:
                wide.append(image.get_attribute("alt"))
    assert wide == []


def test_each_method_of_the_landings_picture_leads_to_its_lesson(pages, browser):
    _, address = pages
    for width in (1400, 390):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(address + "index.html")
        frame, picture = (page.locator(each).bounding_box()["height"] for each in (
            ".all-methods", ".all-methods img:visible"))
        assert frame == picture    # of which the links are shares
        page.get_by_role("link", name="QLoRA: lesson 08").click()
        assert page.url.endswith("lessons/08_qlora.html")
        page.close()


def test_wide_a_line_of_code_of_a_hundred_letters_and_a_long_formula_are_whole(pages, browser):
    """In folds, too."""
    _, address = pages
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    for lesson in ("00_inside", "12_real"):
        page.goto(f"{address}lessons/{lesson}.html", wait_until="networkidle")
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        assert page.evaluate("""[...document.querySelectorAll("article div.math")].filter(
            (each) => each.scrollWidth > each.clientWidth).length""") == 0, lesson
        assert page.evaluate("""[...document.querySelectorAll("article div.cell_input pre")].filter(
            (each) => {    // no line is broken
                const style = getComputedStyle(each);
                const lines = each.textContent.trimEnd().split("\\n");
                const shown = each.clientHeight - parseFloat(style.paddingTop) * 2;
                return Math.round(shown / parseFloat(style.lineHeight)) > lines.length;
            }).length""") == 0, lesson


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone_code_keeps_its_lines_and_underlines_no_class(pages, browser, theme):
    _, address = pages
    page = browser.new_page(viewport={"width": 390, "height": 900}, color_scheme=theme)
    page.goto(f"{address}lessons/07_lora.html", wait_until="networkidle")
    code = page.locator("article pre:visible")
    assert code.count() > 20
    assert {*code.evaluate_all("""all => all.map((each) => {
        const style = getComputedStyle(each);
        return style.whiteSpace + " " + style.overflowX;
    })""")} == {"pre auto"}
    assert {*page.locator("pre .nc").evaluate_all(
        "all => all.map((each) => getComputedStyle(each).textDecorationLine)")} <= {"none"}


@pytest.mark.parametrize(("query", "page"), [
    ("loss nan", "symptoms.html"), ("merge", "glossary.html#term-merge"), ("install", "start.html"),
    ("rank", "glossary.html#term-rank"), ("lora", "lessons/07_lora.html"),
    ("qlora", "lessons/08_qlora.html"), ("bitfit", "lessons/02_small_change.html"),
    ("which method", "map.html"), ("own data", "own_data.html"),
    ("seed", "glossary.html#term-seed"), ("out of memory", "symptoms.html"),
])
def test_the_search_has_first_what_a_newcomer_means(pages, browser, query, page):
    _, address = pages
    opened = browser.new_page()
    opened.goto(f"{address}search.html?q={query}")
    found = opened.locator("#search-results li > a").first
    assert found.get_attribute("href").partition("?")[0] == page


def test_a_search_without_hits_says_what_to_try(pages, browser):
    _, address = pages
    page = browser.new_page()
    page.goto(f"{address}search.html?q=xyzzy")
    page.get_by_text("No page has all of these words. Try fewer.").wait_for()


def test_a_term_shows_what_the_glossary_says_of_it(pages):
    for page in (pages[0] / "lessons").iterdir():
        html = page.read_text("utf-8")
        assert html.count("std-term") == len(re.findall('#term-[^"]*" title="[^"]+', html))
        assert "07" not in page.name or 'title="A frozen weight and beside it' in html


def test_the_search_finds_a_lesson(pages, browser):
    _, address = pages
    page = browser.new_page()
    page.goto(address + "index.html")
    page.locator("input[name=q]").fill("stochastic rounding")
    page.locator("input[name=q]").press("Enter")
    page.locator("#search-results li a").first.wait_for()
    heights = """results => results.map((each) => {
        const full = each.clientHeight;
        each.querySelector(".context").remove();
        return full - each.clientHeight;
    })"""
    page.locator("#search-results .context").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert "QLoRA" in page.locator("#search-results").inner_text()
    # A summary that comes later pushes nothing down.
    assert {*page.locator("#search-results li:has(.context)").evaluate_all(heights)} == {0}


@pytest.mark.parametrize(("query", "page", "sentence"), [
    ("merge", "glossary.html", "merge · Make one plain model of base and adapter"),
    ("stochastic rounding", "lessons/08_qlora.html", "Merge · Let each weight go to one of"),
    ("memory", "lessons/08_qlora.html", "But frozen weights need memory, too"),
    ("loss nan", "symptoms.html", "The loss is nan. · The rate is too high"),
    ("install", "package.html", "pack.py"),
])
def test_the_search_shows_a_page_once_by_the_sentence_in_which_the_words_stand(
        pages, browser, query, page, sentence):
    _, address = pages
    opened = browser.new_page()
    opened.goto(f"{address}search.html?q={query}", wait_until="networkidle")
    results = opened.locator("#search-results li")
    told = {each.locator("a").get_attribute("href").partition("#")[0]:
            each.locator(".context").inner_text() for each in results.all()}
    assert len(told) == results.count() > 0
    assert told[page].startswith(sentence)
    assert not [text for text in told.values() if re.search(r"\\\(|¶|A page to read", text)]
