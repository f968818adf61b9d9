"""Pictures show their numbers, and every control of every widget can be moved.

The recorded runs of lesson 07 are the data. `compute` is swept over its whole grid; the controls
are driven through `.value`, where a callback that fails raises.
"""

import base64
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import peft_teach as pt
from peft_teach import plots, widgets
from peft_teach.course import records


@pytest.fixture(scope="module")
def record():
    return records.load("lora")


@pytest.fixture(scope="module")
def minilm():
    return pt.models.load("minilm", labels=2)[0]


# ── plots ────────────────────────────────────────────────────────────────────────────────────


def test_a_figure_on_the_page_has_a_picture_a_caption_and_a_text():
    page = plots.html(plots.to_scale(384, 384, 8), "W & its <parts>")
    data = re.search(r'src="data:image/png;base64,([^"]+)"', page).group(1)
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "W &amp; its &lt;parts&gt;" in page
    assert 'alt="W, 384 × 384' in page


def test_areas_are_drawn_to_scale():
    W, B, A = (p for p in plots.to_scale(100, 200, 4).axes[0].patches)
    assert [p.get_width() * p.get_height() for p in (W, B, A)] == [100 * 200, 100 * 4, 200 * 4]


def test_curves_are_running_means():
    losses = [float(i % 7) for i in range(60)]
    line = plots.curves({"a": losses}, window=10).axes[0].lines[0].get_ydata()
    assert line[0] == losses[0]
    assert line[-1] == pytest.approx(np.mean(losses[-10:]))
    assert len(line) == 60


def test_dots_show_every_seed_and_the_mean():
    ax = plots.dots([("one", [0.7, 0.8]), ("two", [0.9])], {"full": (0.85, "blue")}).axes[0]
    assert sorted(ax.lines[0].get_xdata()) == [0.7, 0.8]
    assert ax.lines[1].get_xdata()[0] == pytest.approx(0.75)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["one", "two"]


def test_ledger_bars_add_up():
    ledger = pt.account.Ledger(4_000_000, 3_000_000, 2_000_000, 1_000_000)
    ax = plots.ledgers({"full": ledger}).axes[0]
    assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(10.0)


def test_every_figure_says_what_it_shows(record):
    figures = [plots.rates({"LoRA": {1e-3: 0.8}}, {}, 0.5), plots.curves({"a": [1.0, 0.5]}),
               plots.sizes({"a": {1: 1.0, 2: 2.0}}, "size")]
    for figure in figures:
        assert isinstance(figure, Figure)
        assert re.search(r"\d", figure.get_label())


# ── widgets ──────────────────────────────────────────────────────────────────────────────────


def test_budget_over_its_whole_grid(record):
    shapes = {"query": (384, 384), "value": (384, 384), "ffn_in": (1536, 384)}
    points = records.points(record, depth=6)
    subsets = [c for n in range(4) for c in itertools.combinations(shapes, n)]
    blocks = [(a, b) for a in range(6) for b in range(a, 6)]
    for rank, places, span in itertools.product((1, 8, 192), subsets, blocks):
        data = widgets.compute_lora_budget(shapes, 22_713_986, points, rank, places, span)
        count = span[1] - span[0] + 1
        assert data["parameters"] == rank * count * sum(sum(shapes[p]) for p in places)
        assert data["share"] == data["parameters"] / 22_713_986
        if places and all(shapes[p][0] == shapes[p][1] for p in places):
            assert data["line"][192] == data["whole_matrices"]     # the break-even of a square one


def test_a_recorded_setting_is_found_with_its_accuracy(record):
    points = records.points(record, depth=6)
    shapes = {"query": (384, 384), "value": (384, 384)}
    data = widgets.compute_lora_budget(shapes, 1, points, 8, ("value", "query"), (0, 5), guess=4)
    chosen = [p for p in data["recorded"] if p["chosen"]]
    mean, spread = records.accuracy(records.select(record, group="ranks", rank=8))
    assert len(chosen) == 1
    assert chosen[0]["mean"] == pytest.approx(mean)
    assert chosen[0]["spread"] == pytest.approx(spread)
    assert data["guess_parameters"] == 4 * 12 * 768


def test_every_control_of_the_budget_moves(minilm, record):
    widget = widgets.lora_budget(minilm, records.points(record, depth=6), guess=8)
    for name, values in {"rank": (1, 64, 384), "places": ((), ("ffn_out",), widgets.PLACES),
                         "blocks": ((0, 0), (2, 4), (5, 5))}.items():
        for value in values:
            before = widget.picture.value
            widget.controls[name].value = value
            assert widget.picture.value != before
            assert f"{widget.data['parameters']:,}" in widget.picture.value


def test_spectra_over_their_whole_grid(record):
    spectra = record["spectra"]
    ranks = [r for r in spectra if r.isdigit()]
    for place, block, rank in itertools.product(("query", "value"), range(6), ranks):
        data = widgets.compute_lora_spectra(spectra, place, block, (rank,))
        assert len(data["sigma"][rank]) <= int(rank)
        for sigma in data["sigma"].values():
            assert sigma == sorted(sigma, reverse=True)
        for name, shared in data["overlap"].items():
            assert 0 <= shared["in"] <= 1
            assert 0 <= shared["out"] <= 1
            assert data["chance"][name] < 0.05


def test_every_control_of_the_spectra_moves(record):
    widget = widgets.lora_spectra(record["spectra"])
    for name, values in {"place": ("value", "query"), "block": (0, 3),
                         "ranks": ((), ("1",), ("1", "64"))}.items():
        for value in values:
            before = widget.picture.value
            widget.controls[name].value = value
            assert widget.picture.value != before


def test_a_control_that_fails_is_heard():
    import ipywidgets as ipw

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
             "w = pt.widgets.lora_spectra(record['spectra'])\nw",
             "w.controls['block'].value = 2\nw.controls['place'].value = 'value'\n"
             "print(w.data['matrix'])",
             "pt.widgets.Guess('Which?', (1, 2))"]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    shown = notebook.cells[1].outputs[0].data
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "data:image/png" in shown["text/html"]
    assert notebook.cells[2].outputs[0].text == "value, block 2\n"
    assert "Which?" in notebook.cells[3].outputs[0].data["text/html"]


# ── the record itself ────────────────────────────────────────────────────────────────────────


def test_the_record_has_three_seeds_wherever_a_claim_is_made(record):
    for group in ("methods", "ranks", "places", "layers", "variants", "forty_kb"):
        for rows in records.by_setting(records.select(record, group=group)):
            assert sorted(row["seed"] for row in rows) == [0, 1, 2], rows[0]["setting"]


def test_recorded_counts_are_the_closed_form(record):
    widths = {"ffn_in": 1920, "ffn_out": 1920}
    for row in records.select(record, method="lora"):
        blocks = len(row["layers"] or range(6))
        matrices = sum(widths.get(t, 768) for t in row["targets"])
        assert row["parameters"] == row["rank"] * blocks * matrices


def test_the_record_is_of_the_data_as_they_are_now(record):
    movies = pt.data.load("movies")
    assert record["setting"]["test_examples"] == len(movies.test)
    assert record["setting"]["majority"] == round(movies.majority, 4)


def test_an_unknown_record_and_an_unknown_setting_are_told(record):
    with pytest.raises(pt.errors.UnknownName, match="lora"):
        records.load("lara")
    with pytest.raises(pt.errors.PeftTeachError, match="rank"):
        records.select(record, rank=7)


def test_the_script_of_the_record_runs(tmp_path):
    """It makes the same settings as the record holds; the runs themselves take an hour."""
    code = ("import json, runpy; m = runpy.run_path('assets/records/lora.py'); "
            "print(json.dumps([s for s in m['settings']()]))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         cwd=Path(__file__).parents[1])
    made = json.loads(out.stdout)
    held = [[row["group"], row["setting"]] for row in records.load("lora")["runs"]]
    assert sorted(map(json.dumps, made)) == sorted(map(json.dumps, held))
