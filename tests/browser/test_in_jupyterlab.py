"""The course in a real browser: JupyterLab in Chromium, worked in by mouse and keyboard.

Lesson 00 runs as students get it; a training is stopped and an exercise begun anew; lesson 07's
picture of the rank trains at its button.
Needs the extra `browser` and a Chromium of the system; what has no front end is tested elsewhere.
"""

import json
import re
from collections.abc import Sequence

import pytest

pytest.importorskip("playwright", reason="needs the extra: pip install -e '.[browser]'")
pytest.importorskip("jupyterlab", reason="needs the extra: pip install -e '.[browser]'")

from lab import CHROMIUM, FLAGS, ROOT, Notebook, server
from playwright.sync_api import TimeoutError, expect, sync_playwright

from peft_teach.widgets import Guess

pytestmark = [pytest.mark.browser,
              pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")]

LESSON = json.loads(next((ROOT / "lessons").glob("00_*.ipynb")).read_text("utf-8"))
_CODE = "".join(line for cell in LESSON["cells"] if cell["cell_type"] == "code"
                for line in cell["source"])
PICTURES = len(re.findall(r"\.explore_\w+\(", _CODE))    # beside them, boxes of bets

TRIES, MOVED = 3, 40_000    # moves of a control; milliseconds until another picture, at most
CONTROLS = "select, input[type=checkbox], [role=slider], .widget-toggle-buttons"
OTHERS = "button:not(.mod-active)"    # than the chosen one

# What a box shows: its pictures, or the chosen answer of a question, which has no picture.
SHOWN = """box => {
    const images = [...box.querySelectorAll('img')].map(image => image.src);
    return images.length ? images.join()
        : [...box.querySelectorAll('.mod-active')].map(button => button.innerText).join();
}"""

# The least contrast of the texts in an element with what is behind them (WCAG 2.1, 1.4.3).
CONTRAST = """element => {
    const rgba = text => {
        const numbers = text.match(/[\\d.]+/g).map(Number);
        return numbers.length > 3 ? numbers : [...numbers, 1];
    };
    const luminance = colour => {
        const [r, g, b] = colour.map(c => c / 255).map(
            c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = node => {
        for (; node; node = node.parentElement) {
            const colour = rgba(getComputedStyle(node).backgroundColor);
            if (colour[3] > 0.99) return colour;
        }
        return [255, 255, 255, 1];
    };
    const texts = [element, ...element.querySelectorAll('*')].filter(node =>
        node.getClientRects().length && node.tagName !== 'STYLE' && node.tagName !== 'OPTION'
        && [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
    return Math.min(...texts.map(node => {
        const two = [rgba(getComputedStyle(node).color), behind(node)].map(luminance);
        return (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05);
    }));
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with server(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(lab, browser):
    """Give a function: name → the notebook, opened in a page of its own."""
    pages = []

    def open_(name: str) -> Notebook:
        pages.append(browser.new_page(viewport={"width": 1200, "height": 1000}))
        return Notebook(pages[-1], lab, name)

    yield open_
    for page in pages:
        page.close()


@pytest.fixture(scope="module")
def lesson(lab, browser):
    """Lesson 00, run from top to bottom."""
    lab.add(LESSON, "lesson.ipynb")
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    notebook = Notebook(page, lab, "lesson.ipynb")
    notebook.run_all()
    yield notebook
    page.close()


def boxes(notebook: Notebook) -> list:
    """Return the live boxes, and see that each is shown and the still copy behind it is not."""
    page = notebook.page
    page.wait_for_function("""pictures => {
        const [live, still] = ['live', 'still'].map(
            kind => document.querySelectorAll(`.peft-teach-${kind}`).length);
        return live === still && live > pictures;
    }""", arg=PICTURES)
    found = page.locator(".peft-teach-live").all()
    assert all(box.is_visible() for box in found)
    assert not any(still.is_visible() for still in page.locator(".peft-teach-still").all())
    return found


def by_keyboard(control) -> None:
    """Focus a control and move it by one."""
    kind = control.evaluate("c => c.tagName === 'INPUT' ? c.type : c.role || c.tagName")
    if kind == "SELECT":
        last = control.evaluate("c => c.selectedIndex === c.length - 1")
        _from_list(control, "ArrowUp" if last else "ArrowDown")
    elif kind == "slider":
        last = control.get_attribute("aria-valuenow") == control.get_attribute("aria-valuemax")
        control.press("ArrowLeft" if last else "ArrowRight")
    elif kind == "checkbox":
        control.press("Space")
    else:
        control.locator(OTHERS).first.press("Enter")


def _from_list(select, arrow: str) -> None:
    """Open a list, go on by one, take that: an arrow alone is JupyterLab's, to another cell.

    A list is a window of its own, and while it opens a key may be lost: then it is pressed again.
    """
    chosen = select.evaluate("c => c.selectedIndex")
    for _ in range(10):
        select.press("Space")
        select.page.wait_for_function("c => c.matches(':open')", arg=select.element_handle())
        select.press(arrow)
        while select.evaluate("c => c.matches(':open')"):
            select.press("Enter")
            select.page.wait_for_timeout(100)
        if select.evaluate("c => c.selectedIndex") != chosen:
            return


def by_mouse(control) -> None:
    """Click a control, or drag it."""
    kind = control.evaluate("c => c.tagName === 'INPUT' ? c.type : c.role || c.tagName")
    if kind == "SELECT":    # its list is a window of the system, which no page can click in
        control.select_option(index=control.evaluate("c => (c.selectedIndex + 1) % c.length"))
    elif kind == "slider":
        control.scroll_into_view_if_needed()
        handle, track = control.bounding_box(), control.locator("../..").bounding_box()
        x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
        middle = track["x"] + track["width"] / 2
        mouse = control.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + (80 if x < middle else -80), y, steps=5)
        mouse.up()
    elif kind == "checkbox":
        control.click()
    else:
        control.locator(OTHERS).last.click()


def moves(box, move, most: int | None = None) -> int:
    """Move controls of a box, and wait each time until the box shows something else."""
    controls = box.locator(CONTROLS).all()[:most]
    for control in controls:
        told = control.locator("xpath=following-sibling::*[1]")
        if control.is_disabled() or told.filter(has_text="your prediction stands").count():
            continue    # what this model lacks; or a committed guess
        before = box.evaluate(SHOWN)
        for _ in range(TRIES):    # a busy machine may lose a key or a drag, as a hurried hand does
            move(control)
            if _another(box, before):
                break
        else:
            still = control.evaluate("c => c.outerHTML + ' of value ' + c.value")
            pytest.fail(f"{move.__name__}: the picture stayed as it was after {TRIES} moves of "
                        f"{still}\nin {box.inner_text()}")
    return len(controls)


def _another(box, before: str) -> bool:
    """Wait until the box shows something else than `before`; tell whether it did."""
    try:
        box.page.wait_for_function(f"([box, before]) => ({SHOWN})(box) !== before",
                                   arg=[box.element_handle(), before], timeout=MOVED)
    except TimeoutError:
        return False
    return True


def test_run_all_runs_every_cell(lesson):
    prompts = lesson.page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()
    for number, prompt in enumerate(prompts, 1):    # folded cells show none
        assert prompt.strip() in ("", f"[{number}]:")
    assert lesson.errors() == []
    assert len(boxes(lesson)) > PICTURES >= 3


@pytest.mark.parametrize("move", [by_keyboard, by_mouse])
def test_each_control_moves_its_picture(lesson, move):
    assert sum(moves(box, move) for box in boxes(lesson)) == 7
    # The still copies followed, unseen.
    for box, still in zip(boxes(lesson), lesson.page.locator(".peft-teach-still").all()):
        image = box.locator("img").last
        if image.count():
            lesson.page.wait_for_function(
                "([still, src]) => [...still.querySelectorAll('img')].at(-1).src === src",
                arg=[still.element_handle(), image.get_attribute("src")])


NAMED = {"button", "checkbox", "combobox", "image", "slider", "textbox"}


def heard(page) -> tuple[list[str], set[str]]:
    """Return what a screen reader cannot say of the lesson's outputs, and the roles it meets."""
    session = page.context.new_cdp_session(page)
    nodes = {node["nodeId"]: node for node in session.send("Accessibility.getFullAXTree")["nodes"]}
    tops = page.locator(".jp-Cell-outputWrapper").evaluate_all(
        "each => each.forEach((e, i) => e.id ||= `output-${i}`) || each.length")
    faults, roles = [], set()
    root = session.send("DOM.getDocument", {"depth": 0})["root"]["nodeId"]
    for n in range(tops):
        at = session.send("DOM.querySelector", {"nodeId": root, "selector": f"#output-{n}"})
        below = session.send("DOM.describeNode", at)["node"]["backendNodeId"]
        left = [node for node in nodes.values() if node.get("backendDOMNodeId") == below]
        while left:
            node = left.pop()
            left += [nodes[child] for child in node["childIds"] if child in nodes]
            role, name = (node.get(each, {}).get("value", "") for each in ("role", "name"))
            if node["ignored"]:
                continue
            roles.add(role)
            heads = [nodes[child]["name"]["value"] for child in node["childIds"]
                     if role == "row" and nodes[child]["role"]["value"] == "columnheader"]
            if role in NAMED and name.strip() in ("", "Image"):    # JupyterLab's own for none
                faults.append(f"{role} without a name in output {n}")
            named = [*map(bool, heads)]
            if heads and (named != sorted(named) or not any(named)):    # above rows' names is none
                faults.append(f"columns without a head in output {n}")
            if role == "StaticText" and re.fullmatch(r"[●○■▪•]+", name):
                faults.append(f"{name} in output {n}")
    return faults, roles


def test_a_screen_reader_is_told_everything(lesson):
    live = boxes(lesson)
    for box in live:    # what was never on the screen is not there for a screen reader either
        box.scroll_into_view_if_needed()
    faults, roles = heard(lesson.page)
    assert faults == []
    assert roles >= {"button", "combobox", "image", "slider", "table", "group"}
    for box in live:
        for slider in box.get_by_role("slider").all():
            assert slider.get_attribute("aria-valuetext") == slider.locator(
                "xpath=ancestor::*[contains(@class, 'widget-slider')]").locator(
                ".widget-readout").text_content()
        for buttons in box.locator(".widget-toggle-buttons").all():
            pressed = buttons.locator("[aria-pressed=true]").all_inner_texts()
            assert pressed == buttons.locator(".mod-active").all_inner_texts()
            assert buttons.locator("xpath=ancestor-or-self::*[@role='group']").last.get_attribute(
                "aria-label")
        assert box.locator("[aria-live=polite]").count()    # what changes is announced


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_texts_can_be_read_in_both_themes(lesson, theme):
    lesson.page.evaluate("theme => window.jupyterapp.commands.execute("
                         "'apputils:change-theme', {theme}).then(() => null)", theme)
    light = str(theme.endswith("Light")).lower()
    lesson.page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached")
    cards = lesson.page.locator('.jp-OutputArea [role="group"][aria-label]').all()
    assert len(cards) >= 4
    pictures = lesson.page.locator(".peft-teach-figure").all()
    inverted = {image.evaluate("i => getComputedStyle(i).filter") != "none" for image in pictures}
    assert inverted == {light == "false"}
    for element in [*cards, *boxes(lesson)]:
        element.scroll_into_view_if_needed()
        assert element.evaluate(CONTRAST) >= 4.5, element.text_content()


def test_after_a_reload_the_boxes_live(lesson):
    stills = lesson.page.locator(".peft-teach-still")
    lesson.save()
    before = stills.count()
    lesson.reload()
    live = boxes(lesson)
    stills.nth(before - 1).wait_for(state="attached")
    copies = [still.inner_html() for still in lesson.page.locator(".peft-teach-still").all()]
    for box in live:
        assert moves(box, by_keyboard, most=1) == 1
    # Their copies stay as they were, and say so themselves: each names its settings.
    again = [still.inner_html() for still in lesson.page.locator(".peft-teach-still").all()]
    assert again == copies
    assert sum("model: " in copy for copy in copies) >= 1


@pytest.mark.parametrize("trusted", [True, False])
def test_opened_without_its_kernel_the_pictures_stay(lesson, lab, opened, trusted):
    lesson.save()
    saved = lab.read("lesson.ipynb")
    if not trusted:    # written elsewhere: this machine's Jupyter has not signed it
        saved["metadata"]["from"] = "elsewhere"
    lab.add(saved, "reopened.ipynb")
    reopened = opened("reopened.ipynb")
    stills = reopened.page.locator(".peft-teach-still")
    stills.nth(lesson.page.locator(".peft-teach-still").count() - 1).wait_for(state="attached")
    for still in stills.all():
        still.scroll_into_view_if_needed()
        assert still.is_visible()
        for image in still.locator("img").all():
            assert image.evaluate("image => image.naturalWidth") > 100
            assert image.get_attribute("alt")
    assert stills.locator("figure").count() == PICTURES
    lost = reopened.page.get_by_text(re.compile("model not found", re.IGNORECASE))
    assert not any(message.is_visible() for message in lost.all())


def test_on_a_page_without_boxes_a_copy_hides_neither_text_nor_another_copy(browser):
    copies = [Guess(question, (1, 2))._copy()["text/html"] for question in ("First?", "Second?")]
    page = browser.new_page()
    page.set_content("".join(f'<div class="jp-OutputArea-child">{output}</div>'
                             for output in ("A text", *copies)))
    for text in ("A text", "First?", "Second?"):
        assert page.get_by_text(text).is_visible()
    page.close()


# ── a training is stopped, an exercise begun anew ────────────────────────────────────────────

STEPS = 20_000
CELLS = ("""\
import torch
from transformers import BertConfig, BertForSequenceClassification

import peft_teach as pt

sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
model = BertForSequenceClassification(BertConfig(num_attention_heads=4, vocab_size=97, **sizes))
ids = torch.arange(40).reshape(4, 10)
batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}
""", """\
def linear_count(n_in, n_out):
    return n_in * n_out
""", """\
linear_count = pt.check("inside.linear", linear_count)
""", f"""\
steps = pt.widgets.watch(pt.train(model, [batch] * {STEPS}, lr=1e-3), {STEPS})
""", """\
print("the cell after the training")
""", """\
pt.reset("inside.linear")
""")


def notebook_of(sources: Sequence[str]) -> dict:
    cells = [{"cell_type": "code", "id": f"cell-{n}", "metadata": {}, "source": source,
              "outputs": [], "execution_count": None} for n, source in enumerate(sources)]
    return {"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {
        "name": "python3", "display_name": "Python 3", "language": "python"}}}


@pytest.fixture(scope="module")
def workbench(lab, browser):
    """A notebook with an exercise, and with a training that would take minutes: it is stopped."""
    lab.add(notebook_of(CELLS), "bench.ipynb")
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    notebook = Notebook(page, lab, "bench.ipynb")
    notebook.run_all(wait=False)
    page.get_by_text(re.compile(rf"step \d+ of {STEPS}, loss")).wait_for()
    page.locator('[data-command="notebook:interrupt-kernel"]').first.click()
    notebook.idle()
    yield notebook
    page.close()


def test_a_stopped_training_is_one_line_and_stops_run_all(workbench):
    error, = workbench.errors()
    assert len(error.strip().splitlines()) == 1
    assert re.search(rf"\d+ of {STEPS}", error)
    assert "Traceback" not in error
    assert workbench.page.get_by_text("the cell after the training", exact=True).count() == 0


def test_reset_puts_the_stub_below_and_what_follows_runs(workbench):
    page = workbench.page
    before = page.locator(".jp-Cell").count()
    page.locator(".jp-CodeCell", has_text='pt.reset("inside.linear")').locator(
        ".cm-content").click()
    page.keyboard.press("Control+Enter")
    page.wait_for_function(f"() => document.querySelectorAll('.jp-Cell').length > {before}")
    workbench.idle()
    stub = page.locator(".jp-CodeCell").nth(before)
    assert "NotAttempted" in stub.text_content()
    stub.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    stub.get_by_text("inside.linear: not attempted").wait_for()
    assert len(workbench.errors()) == 1    # that of the training alone


# ── a picture with a button that trains ──────────────────────────────────────────────────────

RANK_CELLS = ("""\
import dataclasses
import os
import tempfile

os.environ["PEFT_TEACH_WORK"] = tempfile.mkdtemp()    # a reader who commits, and keeps runs
os.environ["PEFT_TEACH_BUDGET"] = "cpu"

import peft_teach as pt
from peft_teach.course.lessons.lora.picture_of_rank import RankExplorer

movies = pt.data.load("movies")
movies = dataclasses.replace(movies, test=movies.test[:128])
""", """\
guess = pt.widgets.Guess("Which rank is enough?", (1, 8, 64), "browser.rank")
RankExplorer(pt.course.records.load("lora"), guess, movies, train_examples=640)
""")


def test_lesson_07_s_picture_opens_trains_and_stops(lab, opened):
    lab.add(notebook_of(RANK_CELLS), "rank.ipynb")
    notebook = opened("rank.ipynb")
    notebook.run_all()
    assert notebook.errors() == []
    box = notebook.page.locator(".peft-teach-live").first    # the guess above has one of its own
    start, stop = (box.get_by_role("button", name=name) for name in ("Train this", "Stop"))

    def waits_for(text: str, seconds: int = 60) -> None:
        notebook.page.wait_for_function(
            "([box, text]) => box.querySelector('img').alt.includes(text)",
            arg=[box.element_handle(), text], timeout=1000 * seconds)

    assert "full fine-tuning" not in box.locator("img").get_attribute("alt")
    box.locator(".widget-toggle-buttons button", has_text="64").click()
    waits_for("full fine-tuning")
    notebook.page.set_viewport_size({"width": 1280, "height": 800})
    panel = notebook.page.locator(".jp-WindowedPanel-outer")
    assert box.bounding_box()["height"] < panel.bounding_box()["height"]    # all is seen at once
    assert moves(box, by_keyboard) > 10
    # Each block was unticked: the button says that none is left.
    start.click()
    box.get_by_text("Nothing is ticked").wait_for()
    box.get_by_role("checkbox").last.check()
    waits_for("block 5")

    start.click()
    box.get_by_text(re.compile(r"^ ?rank \d+, .*: step \d+ of 40, loss")).wait_for()
    moves(box, by_keyboard, most=2)    # the page lives: the commitment stands, the slider moves
    stop.click()
    box.get_by_text("Nothing of it is kept").wait_for()
    assert "your own run" not in box.locator("img").get_attribute("alt")
    start.click()
    box.get_by_text("of 128 test sentences").wait_for()
    waits_for("your own run")
    for button in (start, stop):    # the keyboard's place stays
        button.press("Enter")
        expect(button).to_be_focused()
    box.get_by_text("Nothing of it is kept").wait_for()
    expect(stop).to_be_focused()
