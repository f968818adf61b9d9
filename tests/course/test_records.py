"""The records: whole, made by their scripts, and of the data as they are now."""

import ast
import base64
import inspect
import json
import re
import runpy
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.desk import reviews as reading
from peft_teach.course.verdicts import POINT, UNSURE, verdict

SCRIPTS = Path(__file__).parents[2] / "assets/records"
TRAINED = [file.stem for file in sorted(SCRIPTS.glob("*.json")) if any(
    "accuracy" in row for row in records.load(file.stem).get("runs", ()))]


@pytest.fixture(scope="module")
def record():
    return records.load("lora")


@pytest.fixture(scope="module")
def change():
    return records.load("change")


def test_the_head_that_is_trained_to_its_end_has_ended():
    """Less penalty, less loss; the end without any is where nothing pulls any more."""
    for pool in ("cls", "mean"):
        rows = records.select(records.load("full"), group="converged", pool=pool)
        assert [row["penalty"] for row in rows] == sorted(row["penalty"] for row in rows)
        assert all(row["gradient"] <= 1e-6 for row in rows)
        losses = [row["loss"] for row in rows]
        assert losses == sorted(losses)


def test_no_penalty_is_what_validation_would_choose_for_the_yardstick():
    """So the head at its end is the head as good as validation can make it, too."""
    rows = records.select(records.load("full"), group="converged", pool="cls")
    assert max(rows, key=lambda row: row["validation"])["penalty"] == 0


def test_a_head_reads_no_more_out_of_the_pooler_that_comes_with_the_model_than_out_of_a_new_one():
    (ours,) = records.select(records.load("full"), group="converged", pool="cls", penalty=0.0)
    rows = records.select(records.load("full"), group="poolers")
    assert [row["pooler"] for row in rows] == [0, 1, 2, 3, "none"]
    assert all(abs(row["accuracy"] - ours["accuracy"]) < 0.01 for row in rows)


def test_the_gain_is_0_for_the_head_alone_and_1_for_full_fine_tuning(record):
    head, full = records.ends()
    assert records.gain(head) == 0
    assert records.gain(full) == pytest.approx(1)
    assert records.gain((head + full) / 2) == pytest.approx(0.5)
    assert records.gain(0.5) < 0
    short, _ = records.accuracy(records.select(record, group="methods", method="head"))
    assert short < head < full
    error = records.standard_error(full, record["setting"]["test_examples"])
    assert error == pytest.approx(0.0075, abs=5e-4)
    assert error / (full - head) == pytest.approx(0.07, abs=0.005)    # as the docstring says


def test_the_standard_error_is_what_chance_in_the_test_sentences_does():
    """A thousand tests of a model that is right in 80 % of all sentences that there are."""
    generator = torch.Generator().manual_seed(0)
    found = (torch.rand(1000, 2563, generator=generator) < 0.8).float().mean(1)
    assert records.standard_error(0.8, 2563) == pytest.approx(found.std().item(), rel=0.1)


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
    rows = records.select(record, targets=("query", "value"), rank=16)
    assert rows
    assert all(row["targets"] == ["query", "value"] for row in rows)


@pytest.mark.parametrize("name", [name for name in TRAINED if "\ndef settings():" in (
    SCRIPTS / f"{name}.py").read_text("utf-8")])
def test_the_script_of_a_record_makes_the_settings_that_it_holds(name):
    """Each once, and so with all its seeds; the runs themselves take hours."""
    made = runpy.run_path(str(SCRIPTS / f"{name}.py"))["settings"]()
    held = [[row["group"], row["setting"]] for row in records.load(name)["runs"]]
    assert sorted(json.dumps(run[-2:], sort_keys=True) for run in made) == sorted(
        json.dumps(run, sort_keys=True) for run in held)


def test_validation_cannot_tell_the_rates_of_lesson_03_apart():
    asked = sorted(reading.short(pt.data.load("movies").validation), key=lambda e: len(e.text))
    liked = torch.tensor([example.label for example in asked])
    right = {row["lr"]: (torch.tensor([*map(int, row["answers"])]) == liked).double()
             for row in records.select(records.load("prompt"), group="rates")}
    used = records.load("prompt")["setting"]["lr"]
    assert min(right) < used < max(right)
    assert {verdict(right[used], other, POINT).word for lr, other in right.items()
            if lr != used} == {UNSURE}


def test_answers_of_lesson_03_are_as_accurate_as_is_recorded():
    record, every = records.load("prompt"), reading.short(pt.data.load("movies").test)
    for row in (row for row in record["runs"] if row["group"] != "rates"):    # on validation
        tests = sorted(every[:row.get("tests", record["setting"]["tests"])],
                       key=lambda example: len(example.text))
        right = [int(a) == e.label for a, e in zip(row["answers"], tests, strict=True)]
        assert sum(right) / len(right) == pytest.approx(row["accuracy"], abs=1e-4)
        assert 0.5 < row["ranked"] <= 1


def test_a_gate_that_is_shut_has_no_share():
    for row in records.select(records.load("prefix"), group="gate"):
        assert row["shares"]["before"] == [0] * 6
        assert row["shares"]["after"] != [0] * 6


def test_each_placement_was_trained_at_the_best_rate_of_its_search():
    """At one budget, three seeds; the best rate on validation lies between two that were tried."""
    record, script = records.load("adapters"), runpy.run_path(str(SCRIPTS / "adapters.py"))
    searched = records.select(record, group="placements")
    for place in pt.course.pictures("adapters").PLACES:
        rows = [row for row in searched if row["setting"]["place"] == place]
        tried = {row["setting"]["lr"]: row["validation_loss"] for row in rows
                 if row["setting"]["seed"] == 0}
        best, ladder = min(tried, key=tried.get), script["LADDER"]
        assert [row["setting"]["seed"] for row in rows if row["setting"]["lr"] == best] == [0, 1, 2]
        rung = ladder.index(best)
        assert {ladder[rung - 1], ladder[rung + 1]} <= set(tried)
        assert all(row["parameters"] <= script["BUDGET"] for row in rows)
        assert rows[0]["parameters"] + rows[0]["modules"] * 769 > script["BUDGET"]


def test_at_one_rate_all_placements_have_three_seeds():
    runs = records.load("adapters").runs
    runs = runs.query("group in ['placements', 'one_rate'] and lr == 0.001")
    assert {frozenset(seeds) for _, seeds in runs.groupby("place").seed} == {frozenset((0, 1, 2))}
    assert set(runs.place) == set(pt.course.pictures("adapters").PLACES)


def lacking():
    """Return the columns that a run may lack, as their meanings say."""
    return {name for name, meaning in records.COLUMNS.items() if meaning.startswith("? ")}


@pytest.mark.parametrize(("name", "group", "seeds", "settings"), [
    ("qlora", "runs", (0, 1, 2), 3), ("dora", "pairs", range(1, 11), 6)])
def test_what_lessons_08_and_09_claim_has_all_its_seeds(name, group, seeds, settings):
    runs = records.load(name).runs
    held = runs[runs.group == group].groupby(["method", "targets", "rank"])
    assert len(held) == settings
    assert all(sorted(same.seed) == [*seeds] for _, same in held)


def test_lesson_10_compares_all_methods_with_all_seeds():
    """And the predictions that it keeps are those of which R² and the right signs were counted."""
    from peft_teach.course import protocol
    from peft_teach.course.lessons.ladder import rungs

    record, script = records.load("ladder"), runpy.run_path(str(SCRIPTS / "ladder.py"))
    rating = torch.tensor([label for _, label in pt.data.ratings("movies").test])
    for method in rungs.RUNGS:
        final = records.select(record, group="final", method=method)
        assert {*script["SEEDS"]} <= {row["seed"] for row in final}
        for row in final:
            guess = protocol.unpack(row["answers"])
            assert protocol.r2(guess, rating) == pytest.approx(row["r2"], abs=2e-3)
            if guess.std() > 0.5:    # near zero, rounding to 1/31 changes sides
                assert protocol.sign_accuracy(guess, rating) == pytest.approx(row["accuracy"],
                                                                             abs=5e-3)


@pytest.mark.long
def test_what_lesson_10_records_without_training_comes_out_again():
    """The head, solved; and one of the recorded adapters, on the sentences of its own task."""
    from peft_teach.course.lessons.ladder import rungs

    record, script = records.load("ladder"), runpy.run_path(str(SCRIPTS / "ladder.py"))
    movies = pt.data.ratings("movies")
    for part, how in script["SOLVED"].items():
        found = script["exact"](*how)
        assert {name: found[name] for name in ("r2", "accuracy", "validation", "penalty")} == (
            pytest.approx({name: record[part][name] for name in (
                "r2", "accuracy", "validation", "penalty")}, abs=2e-3)), part
    row, = (row for row in record["tasks"] if row["adapter"] == row["task"] == "movies"
            and row["seed"] == script["KEPT_SEEDS"][0])
    model, tokenizer = pt.models.load("minilm", labels=1)
    model = rungs.put_on("lora 1", model, tokenizer)
    kept = load(base64.b64decode(record["adapters"]["movies"]))
    assert not model.load_state_dict(kept, strict=False).unexpected_keys
    found = script["scores"](model.eval(), movies.test, tokenizer)
    assert found["r2"] == pytest.approx(row["r2"], abs=2e-3)


def test_recorded_counts_of_lesson_09_are_the_closed_form():
    for row in records.load("dora")["runs"]:
        if row["method"] != "full":
            lora = 12 * row["rank"] * 768
            assert row["parameters"] == lora + (0 if row["method"] == "lora" else 12 * 384)


@pytest.mark.long
@pytest.mark.parametrize("name", ["qlora", "dora"])
def test_a_recorded_run_begins_so_again(name):
    row = next(r for r in records.load(name)["runs"] if r["group"] in ("runs", "pairs")
               and r["method"] == name)
    config = {field: tuple(row[field]) if field == "targets" else row[field]
              for field in ("rank", "alpha", "targets")}
    pt.seed(row["seed"])
    model, tokenizer = pt.models.load("minilm", labels=2)
    method = getattr(pt, name)
    model = method.inject(model, method.Config(**config))
    batches = pt.data.batches(pt.data.load("movies").train[:4000], tokenizer, seed=row["seed"])
    losses = [step.loss for step, _ in zip(pt.train(model, batches, row["lr"]), range(4))]
    assert losses == pytest.approx(row["losses"][:4], abs=2e-3)


def test_every_column_is_in_a_record_and_lacks_where_its_meaning_says():
    found = {name: records.load(name).runs for name in TRAINED}
    assert set(records.COLUMNS) <= {column for runs in found.values() for column in runs}
    assert {n for runs in found.values() for n in records.COLUMNS if n in runs
            and runs[n].isna().any()} == lacking()
    for name, runs in found.items():    # a record's own: its script explains them
        said = ast.get_docstring(ast.parse((SCRIPTS / f"{name}.py").read_text("utf-8")))
        own = [column for column in runs if column not in records.COLUMNS]
        assert all(re.search(rf"\b{column}\b", said) for column in own), (name, own)
        assert list(runs) == [column for column in records.COLUMNS if column in runs] + own


def test_what_one_record_knows_besides_is_a_column_behind_the_shared_ones():
    run = {"group": "dials", "model": "minilm", "method": "lora", "accuracy": 0.5}
    runs = records.Record(runs=[run | {"dial": 3, "shade": "dark", "on": True},
                                run | {"dial": 4, "weight": 0.5, "answers": 100 * "x"}]).runs
    own = {name: str(dtype) for name, dtype in runs.dtypes.items() if name not in run}
    assert own == {"dial": "Int64", "shade": "string", "on": "boolean", "weight": "Float64"}
    assert list(runs) == [*run, *own]
    assert runs[["shade", "on", "weight"]].isna().sum().tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", TRAINED)
def test_runs_are_a_frame_with_a_row_for_each_run(name):
    record = records.load(name)
    rows = {id: row for id, row in enumerate(record["runs"]) if "accuracy" in row}
    assert list(record.runs.index) == list(rows)
    assert record.runs.index.name == "id"
    for id, row in rows.items():
        run = record.runs.loc[id]
        for field, value in (row.get("setting", {}) | row).items():
            if field in ("targets", "layers"):
                places = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
                everything = value is None or value == list(places)
                assert run[field] == ("all" if everything else "+".join(map(str, value)))
            elif (name, field) == ("change", "length"):
                assert run["distance"] == value
            elif isinstance(value, int | float) or (isinstance(value, str) and len(value) < 50):
                assert run[field] == (str(value) if field == "pooler" else value), (id, field)
        assert record.losses.get(id) == row.get("losses")
        assert "losses" not in row or run["steps"] == len(row["losses"])
        assert "answers" not in row or "r2" in row or run["tests"] == len(row["answers"])


def test_a_shared_column_is_text_or_numbers_in_all_records():
    found = [records.load(name).runs.dtypes for name in TRAINED]
    for column in records.COLUMNS:
        kinds = {str(dtypes[column]).lower().rstrip("0123456789") for dtypes in found
                 if column in dtypes}
        assert len(kinds) == 1 or kinds == {"int", "float"}, column


@pytest.mark.parametrize("name", TRAINED)
def test_grouping_drops_no_run(name):
    runs = records.load(name).runs
    for column in runs:
        assert runs[column].notna().any()
        assert runs[column].map(hash).notna().all()
    settings = list(runs.columns[:list(runs.columns).index("tests") + 1])
    for about, group in runs.groupby(["group", "model", "method"]):
        known = [column for column in settings if group[column].notna().any()]
        assert group.groupby(known).size().sum() == len(group), about
    always = [c for c in settings if c not in lacking()]
    assert runs.groupby(always).size().sum() == len(runs)


def test_settings_that_a_run_does_not_name_are_its_methods_defaults():
    for column in ("dropout", "rank_stabilized"):
        assert records.DEFAULTS[column] == getattr(pt.lora.Config(), column)
    for module in (pt.prompt, pt.prefix):
        method = module.__name__.rpartition(".")[2]
        assert records.METHOD_DEFAULTS[method]["start"] == module.Config().start
    for column, function, argument in (("pool", pt.models.load, "pool"),
                                       ("pretrained", pt.models.load, "pretrained"),
                                       ("penalty", pt.train, "weight_decay")):
        assert records.DEFAULTS[column] == inspect.signature(function).parameters[argument].default


def test_settings_that_one_group_varies_have_one_value_in_the_others(record):
    def elsewhere(name, column, *groups):
        runs = records.load(name).runs
        assert runs.group.isin(groups).any()
        return set(runs[~runs.group.isin(groups)][column])

    assert elsewhere("full", "standardized", "read") == {False}
    assert elsewhere("full", "pooler", "poolers") == {"its own"}
    assert elsewhere("prompt", "text", "written", "all") == {""}
    assert elsewhere("prompt", "start", "soft", "rates", "all", "faster", "back") == {"none"}
    assert elsewhere("lora", "plus", "variants", "traded") == {1}
    for column in ("targets", "layers"):
        assert set(record.runs[record.runs.method == "head"][column]) == {"none"}
        assert set(record.runs[record.runs.method == "full"][column]) == {"all"}
    assert list(record.runs[record.runs.spectrum != "none"].index) == list(record.spectra)


def test_steps_are_the_epochs_of_the_sentences_in_batches():
    for name in ("change", "full", "lora"):
        record = records.load(name)
        runs, size = record.runs.dropna(subset=["steps"]), record["setting"]["batch_size"]
        assert (runs["steps"] * size == runs["examples"] * runs.get("epochs", 1)).all()


def test_curves_and_spectra_are_found_by_the_runs_id(record, change):
    id, = record.runs.query("group == 'ranks' and rank == 8 and seed == 0").index
    assert record.spectra[id] == record["spectra"]["8"]
    assert len(record.losses[id]) == 250
    assert len(record.spectra) == len(record["spectra"]) - 1    # that of the weights
    for id, spectrum in record.spectra.items():
        rank = record.runs["rank"][id]
        sigmas = [len(matrix["sigma"]) for matrix in spectrum.values()]
        assert all(n > 64 for n in sigmas) if pd.isna(rank) else set(sigmas) == {rank}
    assert {*change.runs.spectrum[[*change.spectra]]} == {*change["truncated"]}
    for id, spectrum in change.spectra.items():
        run = change.runs.loc[id]
        assert change["spectra"][run.spectrum] == spectrum
        assert [len(sigma) for sigma in spectrum.values()] == 36 * [384]
        assert change["truncated"][run.spectrum]["kept"]["384"] == pytest.approx(
            run.accuracy, abs=0.002)


def test_a_table_tells_means_and_deviations_as_text():
    runs = pd.DataFrame({"rank": [8, 1, 8, 2], "lr": [0.1, 0.1, 0.1, 0.3],
                         "accuracy": [0.79, 0.7, 0.81, 0.6], "gain": [0.9, 0.5, 1.0, 0.25]})
    runs["seed"] = pd.array([0, 0, None, 0], dtype="Int64")
    assert records.table(runs, "rank").reset_index().values.tolist() == [
        [1, "70.0 %", 1], [2, "60.0 %", 1], [8, "80.0 ± 1.4 %", 2]]
    both = records.table(runs, ["rank", "lr"], "accuracy", "gain")
    assert list(both.columns) == ["accuracy", "gain", "runs"]
    assert both.loc[(8, 0.1)].tolist() == ["80.0 ± 1.4 %", "95.0 ± 7.1 %", 2]
    assert records.table(runs, "seed")["runs"].sum() == len(runs)    # no seed is a group, too


def test_the_same_table_is_the_same_page_each_time(record):
    def page():
        return records.table(records.load("lora").runs, ["group", "rank"])._repr_html_()

    assert page() == page()
    assert " id=" not in page()
    assert "62.6 ± 6.8 %" in page()


def test_gain_and_standard_error_take_columns(record):
    runs = record.runs
    for of_column, of_number in (
            (records.gain(runs["accuracy"]), [records.gain(a) for a in runs["accuracy"]]),
            (records.standard_error(runs["accuracy"], runs["tests"]),
             [records.standard_error(a, 2563) for a in runs["accuracy"]])):
        assert list(of_column) == pytest.approx(of_number)


def test_rows_without_an_accuracy_are_no_runs():
    for name in ("benchmark", "grading"):
        with pytest.raises(pt.errors.PeftTeachError, match="json_normalize"):
            records.load(name).runs  # noqa: B018
        assert len(pd.json_normalize(records.load(name)["runs"])) == len(records.load(name)["runs"])


def test_rungs_that_read_the_mean_are_compared_with_all_seeds():
    """The head alone, solved, is the best of a grid whose ends are worse; answers are its own."""
    from peft_teach.course import protocol

    record, script = records.load("ladder"), runpy.run_path(str(SCRIPTS / "ladder.py"))
    rating = protocol.rated(record)
    for part, (_, *grid) in script["SOLVED"].items():
        for penalties in grid:
            assert min(penalties) < record[part]["penalty"] < max(penalties)
        assert protocol.r2(protocol.unpack(record[part]["answers"]), rating) == pytest.approx(
            record[part]["r2"], abs=2e-3)
    assert record["exact_penalty"]["validation"] >= record["exact"]["validation"]
    for method in {row["method"] for row in record["runs"] if row["group"] == "mean"}:
        rows = records.select(record, group="mean", method=method)
        assert sorted(row["seed"] for row in rows) == [*script["SEEDS"][:3]]
        for row in rows:
            assert row["pool"] == "mean"
            assert protocol.r2(protocol.unpack(row["answers"]), rating) == pytest.approx(
                row["r2"], abs=2e-3)
