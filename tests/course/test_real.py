"""Lesson 12: peft reads files as the checks say; wires, knob and tables say what they should."""

import copy

import pytest
import torch
from exact import assert_equal
from safetensors.torch import load_file

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.checks.stand_ins import Output, TinyEncoder
from peft_teach.course.lessons.real import exercises, mutants, peft_side, reference
from peft_teach.course.lessons.real.files import head_of, read, saved, written

real = pt.course.pictures("real")
PLACES = mutants.PLACES


@pytest.fixture
def ours():
    model = mutants.fresh(4, 6.0)
    peft_side.fill(model)
    return model.eval()


@pytest.fixture
def file(ours):
    return reference.to_peft(pt.adapters(ours), head_of(ours))


def test_peft_reads_each_file_as_the_rules_of_the_checks_say(ours, file):
    """The same logits; a warning where the rules miss a tensor of LoRA's; an error where they do.

    The rules know no more targets than peft, no fewer, and no other scale.
    """
    pytest.importorskip("peft")
    x = torch.randn(5, 6)
    files = {"right": file, "stabilized": written(ours)} | peft_side.false_files(*file)
    files["ends"] = (file[0], file[1] | {"target_modules": ["query", "output.dense"]})
    files["more"] = (file[0] | {"base_model.model.nowhere.weight": x}, file[1])
    seen = set()
    for name, (tensors, settings) in files.items():
        theirs, said = peft_side.load(TinyEncoder(), tensors, settings)
        seen.add(said)
        if said == peft_side.REFUSED:
            with pytest.raises(ValueError, match="here"):
                read(TinyEncoder(), tensors, settings)
            continue
        found = read(TinyEncoder(), tensors, settings)
        missed = any("lora_" in each for each in found.missing)
        assert (said == peft_side.WARNED) == missed, name
        if not any("lora_A" in each for each in found.missing):    # peft draws these anew
            torch.testing.assert_close(theirs(x), found.model(x), rtol=1e-5, atol=1e-5)
    assert seen == {peft_side.REFUSED, peft_side.WARNED, peft_side.SILENT}


@pytest.mark.parametrize("wanted", [None, ["classifier"], ["score"], ["classifier.weight"],
                                    ["score", "sifier"]])
def test_peft_saves_the_head_that_the_rules_of_the_checks_say(file, wanted, tmp_path):
    pytest.importorskip("peft")
    settings = file[1] | {"modules_to_save": wanted}
    peft_side.load(TinyEncoder(), file[0], settings)[0].save_pretrained(tmp_path)
    kept = load_file(tmp_path / "adapter_model.safetensors")
    named = saved(TinyEncoder(), settings) == ["classifier"]
    assert any("classifier" in name for name in kept) == named


def test_the_test_of_belief_meets_the_readers_own_file_and_way_back():
    pieces = {"to_peft": reference.to_peft, "from_peft": reference.from_peft}
    reference.believes(*exercises.exchanged_by(pieces))
    broken = pieces | {"to_peft": lambda found, _: reference.to_peft(found, head_of(TinyEncoder()))}
    with pytest.raises(AssertionError):
        reference.believes(*exercises.exchanged_by(broken))


def test_wires_follow_numbers_and_are_green_where_modules_answer_alike(ours, file):
    found = {name: real.wires(ours, TinyEncoder(), each) for name, each in (
        {"right": file} | peft_side.false_files(*file)).items()}
    right = found["right"]
    assert all(right.agree)
    assert None not in right.places
    names = dict(zip(right.ours, right.places))
    assert right.theirs[names[f"{PLACES[0]}.A"]].endswith(f"{PLACES[0]}.lora_A.weight")
    scaled, exchanged = found["a false scale"], found["A and B exchanged"]
    assert scaled.places == right.places
    assert [name for name, agrees in zip(scaled.ours, scaled.agree) if agrees] == [
        "classifier.bias", "classifier.weight"]
    crossed = exchanged.places[exchanged.ours.index(f"{PLACES[0]}.A")]
    assert exchanged.theirs[crossed].endswith(f"{PLACES[0]}.lora_B.weight")
    headless = found["the head left out, and not named"]
    assert dict(zip(headless.ours, headless.places))["classifier.bias"] is None
    assert not any(found["r is not the rank"].agree)
    one = real.wires(ours, TinyEncoder(), file, ".1.")
    assert len(one.ours) == len(one.theirs) == 6
    assert all(one.agree)


def test_a_knob_multiplies_the_update_and_is_put_back(ours, file):
    class Classifier(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return Output(logits=self.inner(x))

    x = torch.randn(3, 6)
    ask, before = peft_side.knob(Classifier(ours), {"x": x}), ours(x)
    louder = copy.deepcopy(ours)
    for layer in pt.adapters(louder).values():
        layer.B.data *= 3
    torch.testing.assert_close(ask(3), louder(x).detach())
    assert_equal(ours(x), before)


def test_tables_come_from_the_record_where_peft_is_missing(monkeypatch):
    monkeypatch.setattr(real, "installed", lambda: False)
    record = records.load("real")
    said = real.complaints(record, None, None, None, None)
    assert (said["peft (recorded)"] == peft_side.SILENT).sum() == 5    # four, and the right one
    assert [*said.iloc[[1, 5, 7], 1]] == ["0.25", "0.012", "0.99"]    # as in the record, rounded
    assert real.losses(record, live=False)["difference (recorded)"].max() < 1e-5


def test_a_comparison_of_fresh_models_notices_what_needs_no_numbers():
    found = real.noticed(reference.believes)
    assert (found["your test"] == "notices it").all()
    assert [*found.index[found["two fresh models"] == "notices it"]] == [
        "rounds every tensor to half precision", "gives every answer a little louder"]
    assert (real.noticed(lambda *_: None)["your test"] == "–").all()


@pytest.mark.parametrize("here", [True, False])
def test_a_file_with_a_fault_is_loaded_with_it(here, monkeypatch):
    """With peft and by its rules."""
    if here:
        pytest.importorskip("peft")
    monkeypatch.setattr(real, "installed", lambda: here)
    ours, base, file = real._small()
    batch = {"input_ids": torch.arange(200, 216).view(2, 8)}
    for fault in ("scale", "exchanged", "head"):
        theirs = real.loaded(base, file, fault, batch)
        assert reference.diagnose(real.knob(ours, batch), theirs, 2) == fault


@pytest.mark.long
def test_two_processes_take_the_steps_of_one():
    table = real.losses(records.load("real"), live=True)
    assert "two processes" in table
    assert table.difference.max() < 1e-5
