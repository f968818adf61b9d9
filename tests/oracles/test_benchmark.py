"""The benchmark's parts on tiny models: both sides build, train, save and hold the same numbers.

Nothing here looks at a clock: how fast they are is measured by the script itself.
"""

import importlib.util
from pathlib import Path

import pytest
import torch
import vera
from tiny import build as tiny_model

import peft_teach as pt
from peft_teach import export
from peft_teach.course import recording, records
from peft_teach.methods import METHODS

pytest.importorskip("peft")
pytest.importorskip("bitsandbytes")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

SCRIPT = Path(__file__).parents[2] / "assets" / "records" / "benchmark.py"
FAMILIES = {"minilm": ("bert", "classifier"), "smollm2": ("llama", "lm")}
HERE = {"device": "cpu", "machine": {"threads": 1}}


def loaded():
    """Give the script as a module, with short prompts: a tiny model has 42 positions."""
    spec = importlib.util.spec_from_file_location("benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.LENGTH, module.PROJECTION = 5, 24
    module.plain = lambda name, device="cpu": tiny_model(*FAMILIES[name])
    return module


ROWS = [(name, label) for script in [loaded()] for name in FAMILIES
        for label in script.methods(script.plain(name))]
ALONE = {label for _, label in ROWS if label.partition(",")[0] not in export.WRITTEN}
RECORDED = [row for row in ROWS if row != ("smollm2", "bitfit")]    # it has no biases


@pytest.fixture(scope="module")
def script():
    return loaded()


def test_every_method_of_the_library_races():
    for name in FAMILIES:
        assert {label.partition(",")[0] for model, label in ROWS if model == name} == set(METHODS)
    assert ("minilm", "lora, bfloat16") in ROWS
    assert ("smollm2", "lora, bfloat16") not in ROWS    # too slow


def test_a_method_that_peft_has_not_races_alone(script, monkeypatch, capsys):
    """Without a row in the script; and a name that is none is refused before anything is loaded."""
    monkeypatch.setitem(METHODS, "vera", vera)
    module, config, other = script.methods(script.plain("minilm"))["vera"]
    assert (module, config, other) == (vera, vera.Config(), None)
    monkeypatch.setattr("sys.argv", ["benchmark.py", "--methods", "full", "vara"])
    with pytest.raises(SystemExit):
        script.main()
    assert "no vara; there are full, " in capsys.readouterr().err


@pytest.mark.parametrize(("name", "label"), ROWS)
def test_both_sides_train_the_same(script, name, label):
    plain = script.plain(name)
    assert label in script.methods(plain)
    assert (script.methods(plain)[label][2] is None) == (label in ALONE)
    batch = script.batch_of(plain, 3, 7)
    counts = {}
    for side in ("ours", "peft")[:1 + (label not in ALONE)]:
        model = script.build(script.plain(name), label, side)
        assert model.training
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        step = script.stepper(model, batch)
        assert torch.tensor([step(), step()]).isfinite().all()
        moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert moved
        assert moved <= set(trained)
        assert all(p.grad is None for p in model.parameters())
        counts[side] = script.trained(model)
        head = sum(p.numel() for n, p in trained.items() if "classifier" in n)
        assert 0 < counts[side] == sum(p.numel() for p in trained.values()) - head
        sizes = script.file_bytes(model)
        assert 4 * (head + 1) < sizes["weights"] < sizes["folder"]
    if (name, label) == ("smollm2", "prefix, projection"):
        # peft's vectors are as wide as its grouped keys, 16; the paper's and ours as d_model, 32.
        hidden = script.PROJECTION
        assert counts["ours"] - counts["peft"] == (script.LENGTH + hidden) * (32 - 16)
    elif "peft" in counts:
        assert counts["ours"] == counts["peft"]


@pytest.mark.parametrize(("name", "label"), [
    row for row in ROWS if row[1].partition(",")[0] in ("lora", "dora", "qlora", "ia3")])
def test_both_sides_change_the_same_layers_alike(script, name, label):
    ours = pt.adapters(script.build(script.plain(name), label, "ours"))
    theirs = {n.removeprefix("base_model.model."): m for n, m in
              script.build(script.plain(name), label, "peft").named_modules()
              if hasattr(m, "base_layer")}
    assert set(ours) == set(theirs)
    for layer, adapter in ours.items():
        if label == "ia3":
            assert (adapter.side == "input") == theirs[layer].is_feedforward
        else:
            assert adapter.scale == theirs[layer].scaling["default"] == 2
            assert bool(getattr(theirs[layer], "use_dora", {}).get("default")) == hasattr(
                adapter, "m")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_4_bit_model_holds_as_many_bytes_on_both_sides(script, name):
    held = {side: script.held_bytes(script.build(script.plain(name), "qlora", side))
            for side in ("ours", "peft")}
    assert held["ours"] < script.held_bytes(script.plain(name))
    # peft keeps the head twice: as it was, and as it is trained.
    head = sum(p.numel() for n, p in script.plain(name).named_parameters() if "classifier" in n)
    assert held["ours"] == held["peft"] - 4 * head


def test_a_model_without_biases_has_no_bitfit(script, monkeypatch):
    monkeypatch.setattr(script, "plain", lambda *name: tiny_model("qwen3", "lm"))
    monkeypatch.setattr(script, "in_fresh_processes", lambda function, calls: [{}])
    assert list(script.measurements(HERE, ["smollm2"], ["bitfit"], fast=True)) == []


def test_rows_make_a_table_and_a_file(script, monkeypatch, tmp_path):
    """One method and one matrix, from the race to Markdown, without child processes."""
    peaks = {"full": 8, "ours": 2, "peft": 4}
    monkeypatch.setattr(script, "in_fresh_processes", lambda function, calls: [
        {"model": 1, "peak": peaks["full" if call[1] == "full" else call[2]]} for call in calls])
    monkeypatch.setattr(script, "SHAPES", ((64, 64),))
    monkeypatch.setitem(script.MODELS, "minilm", {"batch": (3, 7), "labels": 3, "rounds": 2})
    here = {"device": "cpu", "machine": recording.machine(script.peft, script.bnb, threads=1)}
    wanted = (here, ["minilm"], ["full", "lora", "nf4"], False)
    found = list(script.measurements(*wanted))
    assert [(part, about.get("method")) for part, about, _ in found] == [
        ("runs", "full"), ("runs", "lora"), *[("nf4", None)] * 4]
    lora = found[1][2]
    assert set(lora["step_to"]) == {"peft", "full"}
    ours, theirs = (lora[side]["file_bytes"] for side in ("ours", "peft"))
    told = ours["folder"] - ours["weights"]    # the description, which stands with the weights, too
    assert ours["weights"] - told < 1.1 * theirs["weights"]
    assert [row["bits"] for *_, row in found[2:]] == pytest.approx(
        2 * [4.5, 8 * (2048 + 64 + 4 + 4) / 4096], abs=1e-4)

    stored = recording.Recorder(tmp_path / "benchmark.py")
    for part, about, row in found:
        stored.add(about, row | recording.today(), part)
    record = stored.read()
    assert record == {
        "runs": [{**about, **row, **recording.today()} for _, about, row in found[:2]],
        "nf4": [{**about, **row, **recording.today()} for _, about, row in found[2:]]}
    assert list(script.measurements(*wanted, stored.holds)) == []
    lines = script.table(record).splitlines()
    full, beside_full, beside_peft = ([cell.strip() for cell in line.split("|")[1:-1]]
                                      for line in lines if line.startswith(("| lora", "| full")))
    assert full[2:] == ["1.00", "1.00"]
    assert beside_full[1] == beside_peft[1] == "2,048"    # 2 blocks · 2 · 8 · (32 + 32)
    assert (beside_full[3], beside_peft[3]) == ("0.25", "0.50")
    assert len(beside_peft) == 5
    widths = [len(line) for line in lines if line.startswith(("| lora", "| full"))]
    assert widths[0] == widths[1]


@pytest.mark.parametrize("flags", ["", "--threads 2", "--again", "--memory", "--forget"])
def test_a_run_drops_no_row_that_it_does_not_make(script, monkeypatch, tmp_path, flags):
    """Rows of another machine, thread count, version and method stand, unless they are to go."""
    monkeypatch.setattr(script, "__file__", str(tmp_path / "benchmark.py"))
    monkeypatch.setattr(script, "remember", lambda row, *_: row["ours"].update(memory_bytes={}))
    monkeypatch.setattr(script, "measure", lambda *_: {"ours": {"parameters": 5}, "step_to": {}})
    monkeypatch.setattr(script.torch, "set_num_threads", lambda threads: None)
    here = recording.machine(script.transformers, script.peft, script.bnb, threads=1)
    about = {"device": "cpu", "model": "minilm"}
    rows = [about | {"machine": here | other, "method": method, "date": "2020-01-01", "n": n,
                     "ours": {"parameters": 4}, "step_to": {}}
            for n, (other, method) in enumerate([
                ({}, "full"), ({"threads": 4}, "lora"), ({"device": "B"}, "lora"),
                ({"torch": "1.0"}, "lora"), ({"device": "B"}, "full")])]
    recording.Recorder(tmp_path / "benchmark.py").save({"runs": rows})
    common = "benchmark.py --threads 1 --device cpu --models minilm --methods lora"
    monkeypatch.setattr("sys.argv", f"{common} {flags}".split())
    script.main()
    left = recording.Recorder(tmp_path / "benchmark.py").read()["runs"]
    assert [row for row in left if "n" in row] == ([] if flags == "--forget" else rows)
    made = [] if flags == "--memory" else [here | {"threads": 2 if "2" in flags else 1}]
    assert [row["machine"] for row in left if "n" not in row] == made
    script.main()    # what stands is not made again
    assert len(recording.Recorder(tmp_path / "benchmark.py").read()["runs"]) == len(left)


def test_the_sides_take_turns(script):
    order = []
    seconds = script.race({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert "".join(order) == "ba" "ab" "ba" "ab" "ba"    # two rounds are warm-up
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}
    slower, ones = [2.0, 4.0, 8.0], [1.0, 1.0, 1.0]
    assert script.ratio(slower, ones) == {"median": 4.0, "low": 2.0, "high": 8.0}


def test_the_stored_record_is_whole(script):
    record = records.load("benchmark")
    for name in script.MODELS:
        rows = {r["method"]: r for r in records.select(record, device="cpu", model=name)}
        wanted = {label for model, label in RECORDED if model == name}
        assert set(rows) == wanted, ("assets/records/benchmark.json lacks or has beyond METHODS "
                                     f"{set(rows) ^ wanted}: benchmark.py --methods full NAME")
        for label in wanted:
            assert ("peft" in rows[label]) == (label not in ALONE)
            assert rows[label]["ours"]["memory_bytes"]["peak"] > 0
    assert {r["bits"] for r in record["nf4"]} == {4.5, 4.127}


PAGE = (SCRIPT.parents[2] / "assets/site/fast.md").read_text("utf-8")


def test_the_page_says_what_nf4_costs():
    page = " ".join(PAGE.split())
    rows = records.load("benchmark")["nf4"]
    said = [("quantize", None, "{} of bitsandbytes' time on a CPU"),
            ("dequantize", "float32", "{} of it for float32"),
            ("dequantize", "bfloat16", "{} for bfloat16")]
    for work, dtype, words in said:
        ratios = [row[work]["time"]["median"] for row in rows if dtype in (None, row["dtype"])]
        assert words.format(f"{min(ratios):.1f} to {max(ratios):.1f}") in page
    slowest = max(rows, key=lambda row: row["dequantize"]["time"]["median"])
    assert slowest["shape"] == max(row["shape"] for row in rows)    # "most for the largest"
