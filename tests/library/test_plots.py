"""What pictures of many lessons share: they show their numbers; controls move; a still stands."""

import asyncio
import base64
import itertools
import re
from types import SimpleNamespace

import ipywidgets as ipw
import numpy as np
import pytest
import traitlets
from matplotlib.figure import Figure

import peft_teach as pt
from peft_teach import ink, plots, widgets


def test_a_figure_on_the_page_has_a_picture_a_caption_and_a_text():
    figure = plots.curves({"a & b": [1.0, 0.5]})
    assert figure.axes[0].get_title() == "a & b: loss 1.00 → 0.75"
    page = plots.html(figure, "A loss & its <parts>")
    data = re.search(r'src="data:image/png;base64,([^"]+)"', page).group(1)
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "A loss &amp; its &lt;parts&gt;" in page
    assert 'alt="Loss, first and last running mean. a &amp; b: 1.00 to 0.75"' in page
    assert 'class="peft-teach-figure"' in page    # the one that a dark page inverts
    assert re.search(r"\.peft-teach-figure \{ filter: invert", page)
    assert "<source" not in page


def test_what_is_drawn_for_both_has_another_picture_for_a_phone():
    page = plots.html(ink.both(plots.curves)({"a": [1.0, 0.5]}), "A loss.")
    files = re.findall(r'data:image/png;base64,([^" ]+)', page)
    phone, wide = (int.from_bytes(base64.b64decode(file)[16:20], "big") for file in files)
    assert (phone, wide) == (2 * ink.PHONE, 8 * plots.DPI)
    assert re.search(r'<picture><source media="\(max-width: 480px\)" [^>]* 2x" width="432" '
                     r'height="\d+"><img [^>]*></picture>', page)


@pytest.mark.parametrize(("given", "window"), [({}, 20), ({"window": 8}, 8)])
def test_curves_are_running_means(given, window):
    losses = [float(i % 7) for i in range(60)]
    figure = plots.curves({"a": losses}, **given)
    line = figure.axes[0].lines[0].get_ydata()
    assert figure.get_label().endswith(f"a: {line[0]:.2f} to {line[-1]:.2f}")
    assert line[0] == losses[0]
    assert line[-1] == pytest.approx(np.mean(losses[-window:]))
    assert len(line) == 60


def test_what_lies_on_top_is_dashed():
    lines = plots.curves({"a": [1.0, 2.0], "b": [1.0, 2.0]}, dashed=("b",)).axes[0].lines
    assert [line.get_linestyle() for line in lines] == ["-", "--"]
    assert lines[1].get_zorder() > lines[0].get_zorder()


def test_dots_show_every_seed_and_the_mean():
    ax = plots.dots({"one": [0.7, 0.8], "two": [0.9]}, {"full": (0.85, plots.COLOURS["full"])},
                    {"two": (plots.COLOURS["lora"], "s")}).axes[0]
    level, seeds, bar, other, _ = ax.lines
    assert level.get_xdata()[0] == 0.85
    assert sorted(seeds.get_xdata()) == [0.7, 0.8]
    assert bar.get_xdata()[0] == pytest.approx(0.75)
    assert (other.get_marker(), other.get_color()) == ("s", plots.COLOURS["lora"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["one", "two"]


def test_seeds_are_marks_and_their_means_a_line():
    _, ax = plots.figure()
    plots.seeds(ax, {1: [0.7, 0.8], 4: [0.9]}, plots.COLOURS["lora"], "--s")
    line, *marks = ax.lines
    assert (line.get_linestyle(), line.get_marker()) == ("--", "None")
    assert list(line.get_xydata().flat) == pytest.approx([1, 0.75, 4, 0.9])
    assert [(*m.get_xdata(), *m.get_ydata(), m.get_marker()) for m in marks] == [
        (1, 1, 0.7, 0.8, "s"), (4, 0.9, "s")]


def test_names_stand_at_the_ends_of_their_lines_and_none_on_another():
    _, ax = plots.figure()
    ax.set_ylim(0, 1)
    plots.name_ends(ax, {name: (y, plots.COLOURS["ink"]) for name, y in (("b", 0.51), ("a", 0.5))})
    (_, a), (_, b) = (text.get_position() for text in ax.texts)
    assert [text.get_text() for text in ax.texts] == ["a", "b"]
    assert (a + b, b - a) == pytest.approx((1.01, 0.25 / 3.4))


def test_ticks_that_would_stand_on_one_another_are_left_out():
    _, ax = plots.figure()
    ax.set_xscale("log")
    plots.plain_ticks(ax.xaxis, [4, 1, 1.2, 2])
    assert list(ax.get_xticks()) == [1, 2, 4]


def test_every_figure_says_what_it_shows():
    figures = [plots.curves({"a": [1.0, 0.5]}),
               plots.dots({"one": [0.5]}, {"full": (0.8, plots.COLOURS["full"])})]
    for figure in figures:
        assert isinstance(figure, Figure)
        assert re.search(r"\d", figure.get_label())


def test_bytes_in_words():
    assert [plots.bytes_text(n) for n in (8, 6168, 912_000, 9_120_000, 90_900_000, 53.9e9)] == [
        "8 bytes", "6.17 kB", "912 kB", "9.12 MB", "90.9 MB", "53.9 GB"]


# ── widgets ──────────────────────────────────────────────────────────────────────────────────


def test_a_control_that_fails_is_heard():
    def compute(x):
        if x > 1:
            raise ZeroDivisionError
        return {"x": x}

    widget = widgets.Explorer({"x": ipw.IntSlider(value=1)}, compute,
                              lambda d: plots.curves({"a": [1.0]}), lambda d: str(d["x"]))
    with pytest.raises(ZeroDivisionError):
        widget.controls["x"].value = 2


def counted(compute=lambda x: x):
    """Return an explorer with one slider, and the list of what it drew."""
    drawn = []

    def draw(data):
        drawn.append(data)
        return plots.curves({"a": [float(data), 0.5]})

    slider = ipw.IntSlider(value=1, description="x")
    return widgets.Explorer({"x": slider}, compute, draw, lambda data: f"It is {data}."), drawn


def test_a_picture_is_drawn_when_the_slider_rests(monkeypatch):
    monkeypatch.setattr(widgets, "REST", 0.01)

    async def in_a_notebook():
        explorer, drawn = counted()
        for value in (2, 3, 4):
            explorer.controls["x"].value = value
        assert drawn == [1]                          # it still moves
        while len(drawn) == 1:
            await asyncio.sleep(0.005)
        assert drawn == [1, 4]                       # 2 and 3 were passed by
        assert "It is 4." in explorer.picture.value
        explorer.controls["x"].value = 5
        assert explorer.data == 5                    # whoever asks does not wait
        await asyncio.sleep(0.03)
        assert drawn == [1, 4, 5]                    # and it is not drawn again

    asyncio.run(in_a_notebook())


def test_what_fails_after_a_rest_is_shown(monkeypatch):
    monkeypatch.setattr(widgets, "REST", 0)

    async def in_a_notebook():
        explorer, _ = counted(lambda x: 1 // (x - 2))
        explorer.controls["x"].value = 2
        await asyncio.sleep(0.01)
        assert explorer.picture.value.startswith("<b>ZeroDivisionError</b>")

    asyncio.run(in_a_notebook())


def test_the_caption_says_how_the_sliders_stand():
    explorer, _ = counted()
    explorer.controls["x"].value = 7
    assert "<figcaption" in explorer.picture.value
    assert "Drawn at x = 7. It is 7.</figcaption>" in explorer.picture.value


def test_choices_are_checkboxes_with_names():
    choices = widgets.Choices([("first", 1), ("second", 2), ("third", 3)], (1,), "shown")
    seen = []
    choices.observe(lambda change: seen.append(change["new"]), names="value")
    assert [box.description for box in choices.boxes.values()] == ["first", "second", "third"]
    choices.boxes[3].value = True
    choices.boxes[2].value = True
    assert choices.value == (1, 2, 3)                # in their order, not in that of the clicks
    choices.value = (3, 1)
    assert choices.value == (1, 3)
    assert [box.value for box in choices.boxes.values()] == [True, False, True]
    assert seen == [(1, 3), (1, 2, 3), (1, 3)]       # one move, one call
    with pytest.raises(traitlets.TraitError, match="shown: there is no 4"):
        choices.value = (4,)


# ── a training that can be watched ───────────────────────────────────────────────────────────


class Page:
    """Stands in for a notebook's page and its clock: what is displayed, and when."""

    def __init__(self, monkeypatch, drawing_seconds=0.0):
        self.now, self.lines, self.curves = 0.0, [], []
        monkeypatch.setattr(widgets, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr("IPython.display.display", lambda shown, display_id: self)
        monkeypatch.setattr(plots, "html", self.draw)
        self.drawing_seconds = drawing_seconds

    def draw(self, figure, caption):
        self.now += self.drawing_seconds
        return "<figure>"

    def update(self, shown):
        (self.curves if "<figure" in shown.data else self.lines).append(self.now)

    def training(self, steps, seconds):
        for i in range(steps):
            self.now += seconds
            yield pt.Step(i, 1.0 / (i + 1), 10, seconds, 1e-3)


def test_watch_returns_every_step(capsys):
    steps = [pt.Step(i, 1.0 / (i + 1), 10, 0.01, 1e-3) for i in range(30)]
    assert widgets.watch(iter(steps), 30, {"before": [1.0] * 30}) == steps


def test_the_line_moves_each_second_and_the_curve_each_three(monkeypatch):
    page = Page(monkeypatch)
    widgets.watch(page.training(80, 0.125), 80)
    assert page.lines == [float(i) for i in range(1, 11)]
    assert page.curves == [3.0, 6.0, 9.0, 10.0]      # and at the end
    widgets.watch(page.training(80, 0.125), 80, curve=False)
    assert (len(page.lines), len(page.curves)) == (20, 4)


def test_the_line_moves_with_each_step_where_steps_are_slow(monkeypatch):
    page = Page(monkeypatch)
    widgets.watch(page.training(4, 2.0), 4)
    assert page.lines == [2.0, 4.0, 6.0, 8.0]


def test_a_slow_curve_takes_a_twentieth_of_the_time(monkeypatch):
    page = Page(monkeypatch, drawing_seconds=1.0)
    widgets.watch(page.training(100, 1.0), 100)
    gaps = [later - earlier for earlier, later in itertools.pairwise(page.curves[:-1])]
    assert gaps == [21.0] * 4


@pytest.mark.parametrize("within", [True, False])
def test_an_interrupted_training_says_what_was_done(monkeypatch, within):
    page = Page(monkeypatch)
    closed = []

    def training():
        try:
            yield from page.training(3, 1.0)
            if within:
                raise KeyboardInterrupt
            yield "a step at which the page is interrupted"
        finally:
            closed.append(True)

    monkeypatch.setattr(page, "update", lambda shown: None if page.now < 3 or within else stop())
    with pytest.raises(pt.errors.TrainingStopped) as stopped:
        widgets.watch(training(), 10)
    assert [step.index for step in stopped.value.steps] == [0, 1, 2]
    assert stopped.value.total == 10
    assert closed


def stop():
    raise KeyboardInterrupt


@pytest.mark.long
def test_in_a_kernel_a_widget_comes_with_a_still_picture_and_its_controls_work():
    """A real kernel, as JupyterLab uses it; what reaches the front end is looked at."""
    from nbclient import NotebookClient
    from nbformat import v4

    cells = ["import peft_teach as pt",
             "w = pt.course.pictures('ia3').explore_row()\nw",
             "w.controls['b'].value = 0.0\nw.controls['l'].value = 2.0\n"
             "print(w.data.angle('gain'))",
             "pt.widgets.Guess('Which?', (1, 2))",
             "done = []\ndef steps():\n    for i in range(10**9):\n        done.append(i)\n"
             "        yield pt.widgets.Progress(i + 1, 10**9, 'on and on')\n"
             "run = pt.widgets.Run('Go', steps, print)\nrun.start_button.click()",
             "import asyncio\nwhile not done:\n    await asyncio.sleep(0.01)\n"
             "print(len(done) > 0)\nrun.stop_button.click()",
             "while run.task:\n    await asyncio.sleep(0.01)\n"
             "print(run.line.value[:11])",
             "before = len(done)\nrun.start_button.click()\nwhile len(done) == before:\n"
             "    await asyncio.sleep(0.01)\nrun.stop_button.click()"]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    box, still = (output.data for output in notebook.cells[1].outputs)
    assert list(box) == ["application/vnd.jupyter.widget-view+json"]
    assert still["text/html"].count("data:image/png") == 1
    assert widgets.STILL in still["text/html"]
    assert notebook.cells[2].outputs[0].text == "turned by 0°, 2 times as long\n"
    assert "2 times as long" in still["text/plain"]    # renewed when the controls had moved
    assert "2 times as long" in still["text/html"]            # and it says how they stand
    guess = notebook.cells[3].outputs[1].data
    assert "Which?" in guess["text/html"]
    assert notebook.cells[5].outputs[0].text == "True\n"    # it goes on beside the cells
    assert notebook.cells[6].outputs[0].text == "Stopped at \n"    # and begins anew
