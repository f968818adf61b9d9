"""What pictures of many lessons share: they show their numbers; controls move; a still stands."""

import base64
import re

import ipywidgets as ipw
import numpy as np
import pytest
from matplotlib.figure import Figure

import peft_teach as pt
from peft_teach import plots, widgets


def test_a_figure_on_the_page_has_a_picture_a_caption_and_a_text():
    figure = plots.curves({"a & b": [1.0, 0.5]})
    page = plots.html(figure, "A loss & its <parts>")
    data = re.search(r'src="data:image/png;base64,([^"]+)"', page).group(1)
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "A loss &amp; its &lt;parts&gt;" in page
    assert 'alt="Loss, first and last running mean. a &amp; b: 1.00 to 0.75"' in page


def test_curves_are_running_means():
    losses = [float(i % 7) for i in range(60)]
    line = plots.curves({"a": losses}, window=10).axes[0].lines[0].get_ydata()
    assert line[0] == losses[0]
    assert line[-1] == pytest.approx(np.mean(losses[-10:]))
    assert len(line) == 60


def test_what_lies_on_top_is_dashed_or_open():
    lines = plots.curves({"a": [1.0, 2.0], "b": [1.0, 2.0]}, dashed=("b",)).axes[0].lines
    assert [line.get_linestyle() for line in lines] == ["-", "--"]
    assert lines[1].get_zorder() > lines[0].get_zorder()
    lines = plots.rates({"a": {1.0: 0.5}, "b": {1.0: 0.5}}, {}, 0.5, rings=("a",)).axes[0].lines
    assert [line.get_markerfacecolor() == "none" for line in lines[:2]] == [True, False]
    assert lines[0].get_zorder() > lines[1].get_zorder()


def test_dots_show_every_seed_and_the_mean():
    ax = plots.dots([("one", [0.7, 0.8]), ("two", [0.9])],
                    {"full": (0.85, plots.COLOURS["full"])}).axes[0]
    assert sorted(ax.lines[0].get_xdata()) == [0.7, 0.8]
    assert ax.lines[1].get_xdata()[0] == pytest.approx(0.75)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["one", "two"]


def test_ledger_bars_add_up():
    ledger = pt.account.Ledger(4_000_000, 3_000_000, 2_000_000, 1_000_000)
    ax = plots.ledgers({"full": ledger}).axes[0]
    assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(10.0)


def test_every_figure_says_what_it_shows():
    figures = [plots.rates({"LoRA": {1e-3: 0.8}}, {}, 0.5), plots.curves({"a": [1.0, 0.5]}),
               plots.dots([("one", [0.5])], {"full": (0.8, plots.COLOURS["full"])})]
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


def test_a_guess_is_none_until_it_is_made():
    guess = widgets.Guess("Which?", (1, 2, 4))
    assert guess.value is None
    guess.buttons.value = 4
    assert guess.value == 4


def test_watch_returns_every_step(capsys):
    steps = [pt.Step(i, 1.0 / (i + 1), 10, 0.01, 1e-3) for i in range(30)]
    assert widgets.watch(iter(steps), 30, {"before": [1.0] * 30}) == steps


def test_in_a_kernel_a_widget_comes_with_a_still_picture_and_its_controls_work():
    """A real kernel, as JupyterLab uses it; what reaches the front end is looked at."""
    from nbclient import NotebookClient
    from nbformat import v4

    cells = ["import peft_teach as pt\nrecord = pt.course.records.load('lora')",
             "w = pt.course.pictures('lora').explore_spectra(record['spectra'])\nw",
             "w.controls['block'].value = 2\nw.controls['place'].value = 'value'\n"
             "print(w.data.matrix)",
             "pt.widgets.Guess('Which?', (1, 2))"]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    shown = notebook.cells[1].outputs[0].data
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "data:image/png" in shown["text/html"]
    assert notebook.cells[2].outputs[0].text == "value, block 2\n"
    assert "Which?" in notebook.cells[3].outputs[0].data["text/html"]
