"""Lesson 12: peft reads files as the checks say; wires, knob and tables say what they should."""

import copy
from pathlib import Path

import answers
import pytest
import torch
from exact import assert_equal
from safetensors.torch import load_file

import peft_teach as pt
from peft_teach.course import records
from peft_teach.course.checks.stand_ins import Output, TinyEncoder
from peft_teach.course.desk import my_peft_file as library
from peft_teach.course.desk import work
from peft_teach.course.lessons import find
from peft_teach.course.lessons.real import answers as given
from peft_teach.course.lessons.real import exercises, mutants, peft_side
from peft_teach.course.lessons.real.files import head_of, read, saved, spoil, written
from peft_teach.course.publish.source import SOLUTION
from peft_teach.course.publish.source import read as read_source

real = pt.course.pictures("real")
PLACES = mutants.PLACES
SOLUTIONS = Path(__file__).parents[2] / "solutions"


@pytest.fixture
def ours():
    model = mutants.fresh(4, 6.0)
    peft_side.fill(model)
    return model.eval()


@pytest.fixture
def file(ours):
    return given.to_peft(pt.adapters(ours), head_of(ours))


def test_peft_reads_each_file_as_the_rules_of_the_checks_say(ours, file):
    """The same logits; a warning where the rules miss a tensor of LoRA's; an error where they do.

    The rules know no more targets than peft, no fewer, and no other scale.
    """
    pytest.importorskip("peft")
    x = torch.randn(5, 6)
    files = {"right": file, "stabilized": written(ours)} | peft_side.false_files(*file)
    files["ends"] = (file[0], file[1] | {"target_modules": ["query", "output.dense"]})
    files["more"] = (file[0] | {"base_model.model.nowhere.weight": x}, file[1])
    files["no head, and one is named"] = (spoil(*file, "head")[0], file[1])
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
    pieces = {"to_peft": given.to_peft, "from_peft": given.from_peft}
    given.believes(*exercises.exchanged_by(pieces))
    broken = pieces | {"to_peft": lambda found, _: given.to_peft(found, head_of(TinyEncoder()))}
    with pytest.raises(AssertionError):
        given.believes(*exercises.exchanged_by(broken))


def test_wires_follow_numbers_and_are_green_where_modules_answer_alike(ours, file):
    found = {name: real.wires(ours, TinyEncoder(), each, name) for name, each in (
        {real.YOURS: file} | peft_side.false_files(*file)).items()}
    right = found[real.YOURS]
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
    headless = found["the head left out"]
    assert dict(zip(headless.ours, headless.places))["classifier.bias"] is None
    assert "0 answer" in found["r is not the rank"].told


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


def test_tables_come_from_the_record_where_a_library_is_missing(monkeypatch):
    monkeypatch.setattr(real, "installed", lambda *_: False)
    record = records.load("real")
    said = real.complaints(record, None, None, None, None)
    assert (said["peft (recorded)"] == peft_side.SILENT).sum() == 5    # four, and the right one
    rows = [real.beside_peft(record, method, parts, None, None, None)
            for method, parts in real.built().items()]
    assert all(float(row["largest difference (recorded)"]) < 1e-5 < 0.05 < float(
        row["peft (recorded)"]) for row in rows)
    assert real.four_bits(record, None, None).loc["entries that differ"].item() == "0"
    assert real.losses(record, live=False)["difference (recorded)"].max() < 1e-5


# ── the reader's file, method by method, beside peft ─────────────────────────────────────────


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """The text of a `my_peft.py` with the answers of our solutions."""
    folder, wanted = tmp_path_factory.mktemp("solved"), {*sum(peft_side.PARTS.values(), ())}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(work.VARIABLE, str(folder))
        for source in sorted(SOLUTIONS.glob("0[3-9]_*/lesson.py")):
            for cell in read_source(source):
                if cell.part == SOLUTION and cell.exercise.id in wanted:
                    said = library.keep(cell.exercise, [answers.cell(cell.source)])
                    assert said == "It is kept in my_peft.py."
    return (folder / library.FILE).read_text("utf-8")


@pytest.fixture
def my_peft(solved, tmp_path, monkeypatch):
    """The reader's file, to be changed."""
    monkeypatch.setenv(work.VARIABLE, str(tmp_path))
    (tmp_path / library.FILE).write_text(solved, "utf-8")
    return tmp_path / library.FILE


@pytest.fixture(scope="module")
def minilm():
    """MiniLM, eight reviews, and the `inject` of the course."""
    pt.seed(0)
    base, tokenizer = pt.models.load("minilm", labels=2, device="cpu")
    batch, = pt.data.batches(pt.data.load("movies").test[:8], tokenizer, 8, shuffle=False)
    return base, find("change.inject").resolve(), batch


def test_each_method_of_the_readers_file_answers_as_peft_does(my_peft, minilm):
    pytest.importorskip("peft")
    for method, parts in real.built().items():
        row = real.beside_peft({}, method, parts, *minilm)
        assert list(row) == ["ours", "peft", "largest difference"]
        assert row["ours"] == row["peft"] > "0.02", method
        assert float(row["largest difference"]) < 1e-5, method


@pytest.mark.parametrize(("method", "right", "broken"), [
    ("prompt", "out.logits[:, length:]", "out.logits[:, :-length]"),
    ("prefix", "return pairs, wide", "return [pair[::-1] for pair in pairs], wide"),
    ("prefix", "length + mask.cumsum(1) - 1", "mask.cumsum(1) - 1"),
    ("IA³", "(self.l * y).to", "(self.l * (y - self.base.bias) + self.base.bias).to"),
    ("LoRA", "(y + self.scale * h", "(y + h"),
    ("QLoRA", "self.weight, self.bias)", "self.weight)"),
    ("DoRA", "y if self.base.bias is None else y + self.base.bias", "y + g * self.base.bias"),
    ("DoRA", "self.m = ", "self.length = ")])
def test_the_row_of_a_broken_method_says_so(method, right, broken, my_peft, minilm):
    pytest.importorskip("peft")
    text = my_peft.read_text("utf-8")
    assert text.count(right) == 1
    my_peft.write_text(text.replace(right, broken), "utf-8")
    told = real.beside_peft({}, method, real.built()[method], *minilm)["largest difference"]
    assert told.endswith(": not the same") or told == "KeyError: 'length'"


def test_what_the_reader_has_not_built_is_a_dash(my_peft):
    head, _, rest = my_peft.read_text("utf-8").partition("# ── qlora.layer")
    my_peft.write_text(head + rest[rest.index("# ──"):], "utf-8")
    missing = [method for method, parts in real.built().items() if parts is None]
    assert missing == ["QLoRA"]
    assert set(real.beside_peft({}, "QLoRA", None, None, None, None).values()) == {"–"}


@pytest.mark.long
def test_two_processes_take_the_steps_of_one():
    table = real.losses(records.load("real"), live=True)
    assert "two processes" in table
    assert table.difference.max() < 1e-5
