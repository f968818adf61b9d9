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
from peft_teach import outlines, plots, widgets
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


def test_what_lies_on_top_is_dashed_or_open():
    lines = plots.curves({"a": [1.0, 2.0], "b": [1.0, 2.0]}, dashed=("b",)).axes[0].lines
    assert [line.get_linestyle() for line in lines] == ["-", "--"]
    assert lines[1].get_zorder() > lines[0].get_zorder()
    lines = plots.rates({"a": {1.0: 0.5}, "b": {1.0: 0.5}}, {}, 0.5, rings=("a",)).axes[0].lines
    assert [line.get_markerfacecolor() == "none" for line in lines[:2]] == [True, False]
    assert lines[0].get_zorder() > lines[1].get_zorder()


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


# ── lesson 01 ────────────────────────────────────────────────────────────────────────────────

BEST = {"scratch": 1e-4, "head": 1e-1, "full": 1e-4}


@pytest.fixture(scope="module")
def ways(record):
    return records.ways(records.load("full"), record)


def test_three_ways_are_solid_where_they_train():
    boxes = plots.three_ways(22_713_216, 770).axes[0].patches
    assert [box.get_linestyle() for box in boxes] == ["-", "-", "-", "-", "--", "-"]
    assert "stays frozen" in plots.three_ways(22_713_216, 770).get_label()
    said = [text.get_text() for text in plots.three_ways(22_713_216, 770).axes[0].texts]
    assert sum(text.endswith("\ntrained") for text in said) == 5
    assert sum(text.endswith("\nfrozen") for text in said) == 1


def test_learning_over_its_whole_grid(ways):
    rates = {m: [r["lr"] for r in ways if r["method"] == m] for m in BEST}
    assert all(BEST[m] in rates[m] for m in BEST)
    for chosen in itertools.product(*rates.values()):
        settings = dict(zip(rates, chosen))
        for methods in itertools.chain.from_iterable(
                itertools.combinations(BEST, n) for n in range(4)):
            data = widgets.compute_learning(ways, 0.495, methods, {"head": 0.6}, **settings)
            assert [line["method"] for line in data["lines"].values()] == list(methods)
            assert bool(data["guesses"]) == ("head" in methods)


def test_learning_draws_the_curve_and_the_last_accuracy(ways):
    data = widgets.compute_learning(ways, 0.495, ("full",), None, **BEST)
    left, right = plots.learning(data).axes
    line, = data["lines"].values()
    assert len(left.lines[0].get_xdata()) == len(line["losses"]) == 250
    assert list(right.lines[0].get_ydata()) == [accuracy for _, accuracy in line["curve"]]
    assert list(right.lines[1].get_ydata()) == [line["accuracy"]]


def test_every_control_of_lesson_01_moves(minilm, ways):
    head = pt.full.inject(pt.models.load("minilm", labels=2)[0], pt.full.Config("head"))
    for widget, moves in (
            (widgets.learning(ways, 0.495, BEST, {"scratch": 0.7, "head": None}), {
                "methods": ((), ("head",), ("scratch", "full")), "full": (1e-3, 1e-5),
                "scratch": (1e-3,)}),
            (widgets.ways_memory({"full": minilm, "head": head}), {
                "batch": (1, 256), "tokens": (8, 512), "optimizer": ("sgd", "momentum")})):
        for name, values in moves.items():
            for value in values:
                before = widget.picture.value
                widget.controls[name].value = value
                assert widget.picture.value != before, (name, value)


def test_memory_of_the_ways_over_its_whole_grid(minilm):
    for batch, tokens, optimizer in itertools.product((1, 256), (8, 512), ("sgd", "adamw")):
        data = widgets.compute_ways_memory({"full": minilm}, batch, tokens, optimizer)
        assert data["ledgers"]["full"] == pt.account.ledger(minilm, batch, tokens, optimizer)


def test_the_record_of_lesson_01_agrees_with_that_of_lesson_07(record):
    """The same runs, made by two scripts: to the digit, the losses too."""
    for method in ("head", "full"):
        one, = records.select(records.load("full"), group="curves", method=method)
        other, = records.select(record, group="methods", method=method, seed=0)
        assert one["accuracy"] == other["accuracy"]
        assert one["losses"] == pytest.approx(other["losses"], abs=0.01)


def test_heads_are_compared_with_three_seeds_each(record):
    for rows in (records.select(records.load("full"), group="pooling"),
                 records.select(record, group="methods", method="head")):
        assert sorted(row["seed"] for row in rows) == [0, 1, 2]


# ── lesson 02 ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def change():
    return records.load("change")


def test_a_hashed_matrix_has_one_entry_a_weight():
    ax = plots.signed_hashing([0, 2, 2, 1], [1.0, -1.0, 1.0, -1.0], 3).axes[0]
    assert [(p.get_x(), p.get_y()) for p in ax.patches] == [(0, 0), (1, 2), (2, 2), (3, 1)]
    assert [t.get_text() for t in ax.texts] == ["+", "−", "+", "−"]


def test_a_spectrum_shows_where_the_share_is_reached():
    figure = plots.spectrum({"one": [3.0, 0.0], "four": [1.0, 1.0, 1.0, 1.0]})
    assert [line.get_xdata()[0] for line in figure.axes[0].lines[1:4:2]] == [1, 4]
    assert figure.get_label().endswith("one 1; four 4")


def test_subspace_over_its_whole_grid(change):
    for share, measure, starts in itertools.product(
            range(50, 101, 5), ("accuracy", "gain"), ("pretrained", "random", "both")):
        data = widgets.compute_subspace(change, share, measure, starts, guess=64)
        assert set(data["points"]) <= {"pretrained", "random"}
        assert data["head"] < data["full"]
        if data["reached"]:
            values = data["points"]["pretrained"][data["reached"]]
            assert np.mean(values) >= data["goal"]
            assert f"d = {data['reached']:,}" in data["told"]
        plots.subspace(data)


def test_a_higher_goal_needs_as_many_numbers_or_more(change):
    found = [widgets.compute_subspace(change, share, "accuracy", "both")["reached"] or np.inf
             for share in range(85, 101, 5)]
    assert found == sorted(found)
    assert widgets.compute_subspace(change, 50, "accuracy", "both")["told"].endswith("d = 0")


def test_truncation_over_its_whole_grid(change):
    kept = [int(k) for k in change["truncated"]["update 0"]["kept"]]
    for place, block, k in itertools.product(widgets.PLACES, range(6), kept):
        data = widgets.compute_truncation(change, 0.68, place, block, k)
        assert data["sigma"] == sorted(data["sigma"], reverse=True)
        assert data["ninety"] == pt.spectra.energy_rank(pt.spectra.torch.tensor(data["sigma"]))
        assert (data["energy"] >= 0.9) == (k >= data["ninety"])
        for kind, seeds in data["seeds"].items():
            assert all(len(values) == 2 for values in seeds.values())
            assert {n: pytest.approx(np.mean(v)) for n, v in seeds.items()} == data[kind]
    assert data["kept"][384] > data["kept"][0]
    assert plots.truncation(data).axes[0].get_xlim()[0] < 0    # the tall values stand off the axis


def test_every_control_of_lesson_02_moves(change):
    for widget, moves in ((widgets.subspace(change, 256), {
            "share": (50, 100), "measure": ("gain",), "starts": ("random", "pretrained")}),
            (widgets.truncation(change, 0.68), {
                "place": ("value", "ffn_out"), "block": (0, 3), "k": (0, 384)})):
        for name, values in moves.items():
            for value in values:
                before = widget.picture.value
                widget.controls[name].value = value
                assert widget.picture.value != before


def test_the_record_of_lesson_02_is_made_by_its_script(change):
    code = ("import json, runpy; m = runpy.run_path('assets/records/change.py'); "
            "print(json.dumps([s[1:] for s in m['settings']()]))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         cwd=Path(__file__).parents[2])
    made = json.loads(out.stdout)
    held = [json.dumps([row["group"], row["setting"]], sort_keys=True) for row in change["runs"]]
    assert len(set(held)) == len(held)
    assert set(held) <= {json.dumps(run, sort_keys=True) for run in made}    # it may still grow


def test_every_recorded_spectrum_and_truncation_is_whole(change):
    for name, table in change["truncated"].items():
        sigmas = change["spectra"][name]
        assert len(sigmas) == 36
        assert all(len(s) == 384 for s in sigmas.values())
        run = next(r for r in change["runs"] if f"{r['group']} {r['seed']}" == name
                   and r["method"] == "full" and r.get("pretrained", True))
        assert table["kept"]["384"] == pytest.approx(run["accuracy"], abs=0.002)


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


# ── lesson 00 ────────────────────────────────────────────────────────────────────────────────


def test_the_parameter_map_over_its_whole_grid():
    for model, dtype in itertools.product(outlines.SIZES, outlines.DTYPES):
        counts = outlines.counts(model)
        for place in plots.PARTS:
            data = widgets.compute_parameter_map(model, (place,), dtype)
            assert data["chosen"] == counts.get(place, 0)
            assert ("it has no" in data["told"]) == (not counts.get(place))
            assert sum(n for _, column in data["columns"] for n in column.values()) == (
                data["total"]) == sum(counts.values())
        everything = widgets.compute_parameter_map(model, tuple(counts), dtype)
        assert everything["share"] == 1
        size = plots.bytes_text(data["total"] * outlines.DTYPES[dtype].itemsize)
        assert size in everything["told"]


def test_areas_of_the_map_are_numbers_of_parameters():
    data = widgets.compute_parameter_map("minilm", ("query",))
    areas = [p.get_width() * p.get_height() for p in plots.parameter_map(data).axes[0].patches]
    drawn = [n for _, column in data["columns"] for n in column.values()]
    assert areas == pytest.approx(drawn)


def test_every_control_of_the_map_moves():
    widget = widgets.parameter_map()
    for name, values in {"model": ("llama-2-7b", "smollm2-135m", "minilm"),
                         "places": ((), ("ffn_gate",), ("query", "value")),
                         "dtype": ("bfloat16", "float32")}.items():
        for value in values:
            before = widget.picture.value
            widget.controls[name].value = value
            assert widget.picture.value != before
    assert "1,774,080 numbers" in widget.picture.value


def test_the_ledger_over_its_whole_grid():
    grid = itertools.product(outlines.SIZES, outlines.TRAINS, ("adamw", "momentum", "sgd"),
                             (1, 256), (8, 4096), outlines.DTYPES, (False, True))
    for model, trains, optimizer, batch, tokens, dtype, fused in grid:
        data = widgets.compute_ledger(model, trains, optimizer, batch, tokens, dtype, fused)
        chosen = data["ledgers"][trains]
        assert data["total_bytes"] == chosen.total_bytes
        assert data["growth"][batch] == chosen
        assert data["tokens"] == min(tokens, outlines.longest(model))
        assert len({x.weights_bytes for x in data["growth"].values()}) == 1
        assert chosen.activations_bytes <= data["ledgers"]["everything"].activations_bytes
        fits = [name for name, size in plots.GPUS.items() if data["total_bytes"] <= size]
        assert data["fits"] == (f"fits into {fits[0]}" if fits else "more than 80 GB")


def test_bars_of_the_ledger_add_up():
    data = widgets.compute_ledger("minilm", "everything")
    bars = plots.ledger_explorer(data).axes[0].patches
    assert sum(bar.get_width() for bar in bars) * 1e6 == pytest.approx(
        sum(ledger.total_bytes for ledger in data["ledgers"].values()))


def test_every_control_of_the_ledger_moves():
    widget = widgets.ledger()
    for name, values in {"model": ("llama-2-7b", "tinyllama-1.1b"), "trains": outlines.TRAINS[1:],
                         "optimizer": ("sgd", "momentum"), "batch": (1, 256), "tokens": (8, 512),
                         "dtype": ("bfloat16",), "fused": (True, False)}.items():
        for value in values:
            before = widget.picture.value
            widget.controls[name].value = value
            assert widget.picture.value != before
            assert plots.bytes_text(widget.data["total_bytes"]) in widget.figure.axes[1].get_title()


def test_the_block_shows_every_shape():
    shapes = {place: f"{i} × {i + 1}" for i, place in enumerate((
        "query", "key", "value", "attention_out", "attention_norm", "ffn_in", "ffn_out",
        "ffn_norm"))}
    figure = plots.block_diagram(shapes)
    texts = " ".join(t.get_text() for t in figure.axes[0].texts)
    assert all(shape in texts and shape in figure.get_label() for shape in shapes.values())


def test_bytes_in_words():
    assert [plots.bytes_text(n) for n in (8, 6168, 912_000, 9_120_000, 90_900_000, 53.9e9)] == [
        "8 bytes", "6.17 kB", "912 kB", "9.12 MB", "90.9 MB", "53.9 GB"]


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


@pytest.mark.parametrize("name", ["full", "lora"])
def test_the_script_of_the_record_runs(name):
    """It makes the same settings as the record holds; the runs themselves take an hour."""
    code = (f"import json, runpy; m = runpy.run_path('assets/records/{name}.py'); "
            "print(json.dumps([s for s in m['settings']()]))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         cwd=Path(__file__).parents[2])
    made = json.loads(out.stdout)
    held = [[row["group"], row["setting"]] for row in records.load(name)["runs"]]
    assert sorted(map(json.dumps, made)) == sorted(map(json.dumps, held))
